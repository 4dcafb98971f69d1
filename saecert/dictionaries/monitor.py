"""Feature explosion as an alarm: too many active latents, at a guaranteed rate of false alarms."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import betainc

from saecert.records import SequenceLosses
from saecert.statistics.rounding import lower_text, probability_text, upper_text
from saecert.storage import atomic_path
from saecert.untrusted import read_json

FORMAT = 2
"""Version of the JSON file; one that this code does not know is refused. Version 1 had no delta."""

STATISTICS = {
    "mean": "mean over the positions at which any latent is active",
    "max": "largest value at any position",
}
"""What may stand for a sequence: a function of its active latents per position."""

_SAME = ("model_sha256", "hook_name", "sae_sha256")
_RECORDED = ("subject", "sae", *_SAME, "population", "n_ctx", "bos")

ActiveLatents = SequenceLosses | Int[np.ndarray, "n_seq n_ctx"]
"""A record, or its `l0`: active latents at each position, 0 where nothing was spliced."""


class ConstantCountError(ValueError):
    """Every calibration sequence has the same score, so that nothing could raise an alarm."""


@dataclass(frozen=True)
class Monitor:
    """An alarm for sequences with unusually many active latents (two-sided: or unusually few).

    **Guarantee.** A sequence that is exchangeable with the `n_seq` of the calibration (drawn i.i.d.
    from the same population, say) raises the alarm with probability at most `level`, whatever the
    distribution of the scores. Probability is over calibration *and* sequence: given one
    calibration set, the rate of false alarms scatters around `level` with a standard deviation of
    about ``sqrt(level * (1 - level) / n_seq)``. With `delta` it is about the calibration that one
    has: for i.i.d. sequences the rate of false alarms of *this* monitor is at most `level`, except
    with probability `delta` over calibrations (see `trained_threshold`). Nothing is promised about
    sequences of another kind: whether they raise it is what one wants to know.

    Raises
    ------
    ValueError
        Thresholds that are not finite or cross, an unknown statistic, a level outside (0, 1), or
        one that `n_seq` sequences cannot guarantee.
    """

    upper: float
    """Alarm when the score is above."""
    lower: float | None
    """Alarm when the score is below; None when too few active latents are no reason for one."""
    statistic: str
    """A key of `STATISTICS`."""
    level: float
    """Rate of false alarms that is not exceeded, in (0, 1)."""
    n_seq: int
    """Sequences it was calibrated on."""
    source: Mapping[str, str | int | bool] = field(default_factory=dict)
    """Subject, hook point, SAE and population of the calibration; empty for bare numbers."""
    delta: float | None = None
    """Probability that this calibration has a rate above `level`; None where `level` is kept to on
    average over calibrations only.
    """

    def __post_init__(self) -> None:
        _check_statistic(self.statistic)
        bottom = self.upper if self.lower is None else self.lower
        if not (math.isfinite(self.upper) and math.isfinite(bottom)):
            raise ValueError(
                f"thresholds must be finite, got {self.lower} and {self.upper}: calibrate again"
            )
        if bottom > self.upper:
            raise ValueError(f"the lower threshold {bottom:g} is above the upper, {self.upper:g}")
        _n_above(self.n_seq, self.level, self.delta, two_sided=self.lower is not None)

    def __str__(self) -> str:
        """Thresholds and what they promise."""
        limits = f"above {upper_text(self.upper)}"
        if self.lower is not None:
            limits += f" or below {lower_text(self.lower)}"
        promise = "on average over calibrations"
        if self.delta is not None:
            risk = probability_text(self.delta)
            promise = f"for this calibration, except with probability {risk}"
        return (
            f"alarm when the {self.statistic} of active latents is {limits}\n"
            f"  false alarms at a rate of at most {probability_text(self.level)} {promise}; "
            f"calibrated on {self.n_seq} sequences"
        )

    def score(self, l0: ActiveLatents) -> Float[np.ndarray, "n_seq"]:
        """The statistic of each sequence, from that sequence alone.

        Raises
        ------
        ValueError
            A record of another model, SAE or hook point, or counts that are negative or not finite.
        """
        asked = l0.provenance if isinstance(l0, SequenceLosses) else {}
        shared = [key for key in _SAME if key in asked and key in self.source]
        different = [key for key in shared if asked[key] != self.source[key]]
        if different:
            raise ValueError(
                f"calibrated on {_place(self.source)}, asked about {_place(asked)} "
                f"(another {', '.join(different)}): calibrate a monitor for it"
            )
        return count_scores(l0, self.statistic)

    def alarm(self, l0: ActiveLatents) -> Bool[np.ndarray, "n_seq"]:
        """Which sequences have a score outside the limits; raises as `score` does."""
        score = self.score(l0)
        too_many = score > self.upper
        if self.lower is None:
            return too_many
        return too_many | (score < self.lower)

    def save(self, path: str | Path) -> None:
        """Write a JSON file, whole or not at all."""
        content = {"monitor": FORMAT} | asdict(self)
        with atomic_path(path) as partial:
            partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Monitor:
        """The monitor in a file written by `save`.

        Raises
        ------
        ValueError
            If it is not one, or was written by a version that this code does not know, in one line
            that names the file.
        """
        content = read_json(path)
        version = content.pop("monitor", None) if isinstance(content, dict) else None
        if type(version) is int and version == 1 and "delta" not in content:
            version, content = FORMAT, {"delta": None} | content
        known = {entry.name for entry in fields(cls)}
        if type(version) is not int or version != FORMAT or set(content) != known:
            raise ValueError(
                f"{path} is not a monitor of version {FORMAT}, which this saecert reads: "
                "update saecert or calibrate again"
            )
        try:
            _check_types(content)
            numbers = {name: float(content[name]) for name in ("upper", "level")}
            for name in ("lower", "delta"):
                if content[name] is not None:
                    numbers[name] = float(content[name])
            return cls(**content | numbers)
        except ValueError as error:
            raise ValueError(f"{path} is not a valid monitor: {error}") from error


def calibrate(
    l0: ActiveLatents,
    level: float,
    *,
    statistic: str = "mean",
    two_sided: bool = False,
    delta: float | None = None,
) -> Monitor:
    """A `Monitor` that a sequence like those given alarms with probability at most `level`.

    On average over calibrations; with `delta`, for this calibration except with that probability.

    Parameters
    ----------
    l0
        Calibration sequences of the population on which alarms are false, used for nothing else:
        a record, or counts of active latents, (n_seq, n_ctx).
    level
        Rate of false alarms to keep to, in (0, 1); at least ``1 / (n_seq + 1)``, twice that if
        two-sided.
    statistic
        "mean" (default) or "max", see `STATISTICS`.
    two_sided
        Also raise the alarm when too few latents are active; each side gets half of `level` (and of
        `delta`).
    delta
        Probability, in (0, 1), that this calibration is one whose rate of false alarms is above
        `level`. It takes ``ln(delta) / ln(1 - level)`` sequences, and a higher threshold. None
        promises `level` on average over calibrations.

    Raises
    ------
    ConstantCountError
        Every sequence has the same score, as with a TopK SAE. It is a ValueError too.
    ValueError
        Unknown statistic, a level or delta outside (0, 1), negative counts, or fewer sequences than
        the promise needs (says how many).

    Examples
    --------
    >>> monitor = calibrate(np.arange(1, 40)[:, None], level=0.05)
    >>> monitor.upper, monitor.alarm(np.array([[38], [39]])).tolist()
    (38.0, [False, True])
    """
    _check_statistic(statistic)
    scores = count_scores(l0, statistic)
    share = level / 2 if two_sided else level
    risk = delta / 2 if two_sided and delta is not None else delta
    upper = _threshold(scores, share, risk)
    lower = -_threshold(-scores, share, risk) if two_sided else None
    if scores.min() == scores.max():
        raise ConstantCountError(
            f"all {len(scores)} calibration sequences have the same {statistic} of active latents, "
            f"{scores[0]:g}: a constant count (a TopK SAE's) cannot raise an alarm"
        )
    facts = l0.provenance if isinstance(l0, SequenceLosses) else {}
    source = {key: facts[key] for key in _RECORDED if key in facts}
    sure = None if delta is None else float(delta)
    return Monitor(upper, lower, statistic, float(level), len(scores), source, sure)


def conformal_threshold(scores: Float[np.ndarray, "n_seq"], level: float) -> float:
    """The value that one more exchangeable score exceeds with probability at most `level`.

    It is the k-th smallest of n scores, ``k = ceil((n + 1)(1 - level))``, and works for any score,
    larger being stranger.

    **Guarantee.** All ranks of the new score among the n + 1 are equally likely (ties only help),
    and it exceeds the k-th smallest of the others only at ranks above k: probability at most
    ``1 - k / (n + 1) <= level`` (Lei et al. 2018).

    Raises
    ------
    ValueError
        A level outside (0, 1), scores that are not finite, or too few of them for the level.

    Examples
    --------
    >>> conformal_threshold(np.arange(1.0, 20.0), level=0.1)
    18.0
    """
    return _threshold(scores, level, None)


def trained_threshold(scores: Float[np.ndarray, "n_seq"], level: float, delta: float) -> float:
    """The value above which the share of all scores is at most `level`, for this very sample.

    It is the k-th largest of n scores, with k the largest number for which ``P(Binomial(n, level)
    < k) <= delta``.

    **Guarantee.** ``P(P(S > threshold | scores) <= level) >= 1 - delta`` for i.i.d. scores, ties or
    not. Let q be the smallest value that a score exceeds with probability at most `level`. The rate
    is above `level` only if the threshold is below q, and then fewer than k of the n scores are at
    least q, although each is so with probability at least `level`: by the choice of k this has
    probability at most `delta` (tolerance limits, Wilks 1941; the tail is Clopper and Pearson's).

    Raises
    ------
    ValueError
        A level or delta outside (0, 1), scores that are not finite, or fewer than ``ln(delta) /
        ln(1 - level)`` of them.

    Examples
    --------
    >>> trained_threshold(np.arange(1.0, 201.0), level=0.05, delta=0.05)
    196.0
    """
    return _threshold(scores, level, delta)


def _threshold(scores: Float[np.ndarray, "n_seq"], level: float, delta: float | None) -> float:
    """`conformal_threshold`, or with a delta `trained_threshold`."""
    if not np.isfinite(scores).all():
        raise ValueError(
            "calibration scores must be finite numbers: look at the sequences behind the others"
        )
    n_above = _n_above(len(scores), level, delta)
    return float(np.sort(scores)[len(scores) - n_above])


def _n_above(n_seq: int, level: float, delta: float | None, *, two_sided: bool = False) -> int:
    """How many of the largest scores lie at or above the threshold of one side, at least 1."""
    for name, value in {"level": level, "delta": delta}.items():
        if value is not None and not 0 < value < 1:
            raise ValueError(f"{name} must lie strictly between 0 and 1, got {value}")
    sides = 1 + two_sided
    share = level / sides
    if delta is None:
        # 20 * 0.05 is 1, whatever floats say
        n_above = math.floor((n_seq + 1) * share * (1 + 1e-12))
        needed = math.ceil(1 / share * (1 - 1e-12)) - 1
        promise = f"a level of {share:g} on one side"
    else:
        n_above = _n_tolerated(n_seq, share, delta / sides)
        needed = math.ceil(math.log(delta / sides) / math.log1p(-share))
        promise = f"a level of {share:g} on one side at delta = {delta / sides:g}"
    if n_above == 0:
        raise ValueError(
            f"{n_seq} calibration sequences cannot guarantee {promise}, it takes {needed}"
        )
    return n_above


def _n_tolerated(n_seq: int, level: float, delta: float) -> int:
    """Largest k with ``P(Binomial(n_seq, level) < k) <= delta``, by bisection."""
    fits = 0
    fails = n_seq + 1
    while fails - fits > 1:
        middle = (fits + fails) // 2
        fewer = betainc(n_seq - middle + 1, middle, 1 - level)
        fits, fails = (middle, fails) if fewer <= delta else (fits, middle)
    return fits


def count_scores(l0: ActiveLatents, statistic: str = "mean") -> Float[np.ndarray, "n_seq"]:
    """One of `STATISTICS` of each sequence.

    ValueError for counts that are negative or not finite, or that have no position.

    >>> count_scores(np.array([[0, 2, 4]]))
    array([3.])
    """
    _check_statistic(statistic)
    counts = np.asarray(l0.l0 if isinstance(l0, SequenceLosses) else l0)
    if counts.ndim != 2 or not counts.shape[1]:
        raise ValueError(
            f"active latents need a row a sequence and a column a position, got shape "
            f"{counts.shape}"
        )
    if not np.isfinite(counts).all():
        raise ValueError(
            "numbers of active latents must be finite: look at the sequences behind the others"
        )
    if counts.size and counts.min() < 0:
        raise ValueError(f"numbers of active latents cannot be negative, got {counts.min()}")
    if statistic == "max":
        return counts.max(axis=1).astype(float)
    n_positions = (counts > 0).sum(axis=1)
    return counts.sum(axis=1) / np.maximum(n_positions, 1)


def _place(facts: Mapping[str, object]) -> str:
    return f"{facts.get('subject', '?')} at {facts.get('hook_name', '?')}"


def _check_statistic(statistic: str) -> None:
    if statistic not in STATISTICS:
        raise ValueError(f"unknown statistic '{statistic}'; there are {', '.join(STATISTICS)}")


def _check_types(content: Mapping[str, Any]) -> None:
    """Raise ValueError naming the first field of a file that holds something of another type."""
    lower = content["lower"]
    delta = content["delta"]
    n_seq = content["n_seq"]
    source = content["source"]
    right = {
        "upper": _is_number(content["upper"]),
        "lower": lower is None or _is_number(lower),
        "statistic": isinstance(content["statistic"], str),
        "level": _is_number(content["level"]),
        "delta": delta is None or _is_number(delta),
        "n_seq": type(n_seq) is int and n_seq > 0,
        "source": isinstance(source, dict)
        and all(name in _RECORDED for name in source)
        and all(isinstance(fact, (str, int)) for fact in source.values()),
    }
    for name in right:
        if not right[name]:
            raise ValueError(f"'{name}' cannot be {_shortened(content[name])}")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."

"""Feature explosion as an alarm: too many active latents, with a guaranteed rate of false alarms (split conformal)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Int

from saecert.records import SequenceLosses
from saecert.storage import atomic_path, cached_arrays

if TYPE_CHECKING:
    from saecert.corpora.corpus import Corpus
    from saecert.subjects.subject import Subject

FORMAT = 1
"""Version of the JSON file; one that this code does not know is refused."""

STATISTICS = {
    "mean": "mean over the positions at which any latent is active",
    "max": "largest value at any position",
}
"""What may stand for a sequence: a function of its active latents per position."""

_SAME = ("model_sha256", "hook_name", "sae_sha256")
_RECORDED = ("subject", *_SAME, "population", "n_ctx", "bos")

ActiveLatents = SequenceLosses | Int[np.ndarray, "n_seq n_ctx"]
"""A record, or its `l0`: active latents at each position, 0 where nothing was spliced."""


@dataclass(frozen=True)
class Monitor:
    """An alarm for sequences on which unusually many latents (or, two-sided, unusually many or few) are active.

    **Guarantee.** A sequence that is exchangeable with the `n_seq` of the calibration (drawn i.i.d. from the same population, say)
    raises the alarm with probability at most `level`, whatever the distribution of the scores. Probability is over calibration *and*
    sequence: given one calibration set, the rate of false alarms scatters around `level` with a standard deviation of about
    ``sqrt(level / n_seq)``. Nothing is promised about sequences of another kind: whether they raise it is what one wants to know.
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
    """Subject, hook point, SAE and population of the calibration; empty when it was given bare numbers."""

    def __post_init__(self) -> None:
        if self.statistic not in STATISTICS:
            raise ValueError(
                f"unknown statistic '{self.statistic}'; there are {', '.join(STATISTICS)}"
            )
        if not math.isfinite(self.upper) or not math.isfinite(
            0.0 if self.lower is None else self.lower
        ):
            raise ValueError(
                f"thresholds must be finite, got {self.lower} and {self.upper}: calibrate again"
            )

    def score(self, l0: ActiveLatents) -> Float[np.ndarray, "n_seq"]:
        """The statistic of each sequence, from that sequence alone. ValueError for a record of another model, SAE or hook point."""
        asked = l0.provenance if isinstance(l0, SequenceLosses) else {}
        if different := [
            key
            for key in _SAME
            if key in asked and key in self.source and asked[key] != self.source[key]
        ]:
            one, other = (
                f"{facts.get('subject', '?')} at {facts['hook_name']}"
                for facts in (self.source, asked)
            )
            raise ValueError(
                f"calibrated on {one}, asked about {other} (another {', '.join(different)}): calibrate a monitor for it"
            )
        return _scores(l0, self.statistic)

    def alarm(self, l0: ActiveLatents) -> Bool[np.ndarray, "n_seq"]:
        """Which sequences have a score outside the limits."""
        score = self.score(l0)
        return (score > self.upper) | (score < (-math.inf if self.lower is None else self.lower))

    def save(self, path: str | Path) -> None:
        """Write a JSON file, whole or not at all."""
        with atomic_path(path) as partial:
            partial.write_text(
                json.dumps({"monitor": FORMAT} | asdict(self), indent=1) + "\n", encoding="utf-8"
            )

    @classmethod
    def load(cls, path: str | Path) -> Monitor:
        """Read a file written by `save`. Raises ValueError when it is not one, or of a version that this code does not know."""
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(
                f"{path} is not a whole JSON file ({error}): calibrate and save again"
            ) from error
        known = {entry.name for entry in fields(cls)}
        if (
            not isinstance(content, dict)
            or content.pop("monitor", None) != FORMAT
            or set(content) != known
        ):
            raise ValueError(
                f"{path} is not a monitor of version {FORMAT}, which this saecert reads: update saecert or calibrate again"
            )
        return cls(**content)


def calibrate(
    l0: ActiveLatents, level: float, *, statistic: str = "mean", two_sided: bool = False
) -> Monitor:
    """A `Monitor` that a sequence like those given alarms with probability at most `level`.

    Parameters
    ----------
    l0
        Calibration sequences of the population on which alarms are false, used for nothing else.
    level
        Rate of false alarms to keep to, in (0, 1); at least ``1 / (n_seq + 1)``, twice that if two-sided.
    statistic
        "mean" (default) or "max", see `STATISTICS`.
    two_sided
        Also raise the alarm when too few latents are active; each side gets half of `level`.

    Raises
    ------
    ValueError
        Unknown statistic, no sequences, or fewer than the level needs (says how many).

    Examples
    --------
    >>> monitor = calibrate(np.arange(1, 40)[:, None], level=0.05)
    >>> monitor.upper, monitor.alarm(np.array([[38], [39]])).tolist()
    (38.0, [False, True])
    """
    scores, share = _scores(l0, statistic), level / 2 if two_sided else level
    facts = l0.provenance if isinstance(l0, SequenceLosses) else {}
    lower = -conformal_threshold(-scores, share) if two_sided else None
    source = {key: facts[key] for key in _RECORDED if key in facts}
    return Monitor(conformal_threshold(scores, share), lower, statistic, level, len(scores), source)


def conformal_threshold(scores: Float[np.ndarray, "n_seq"], level: float) -> float:
    """The value that the score of one more exchangeable sequence exceeds with probability at most `level`.

    It is the k-th smallest of n scores, ``k = ceil((n + 1)(1 - level))``. **Guarantee.** All ranks of the new score among the n + 1 are
    equally likely (ties only help), and it exceeds the k-th smallest of the others only at ranks above k: probability at most
    ``1 - k / (n + 1) <= level`` (Lei et al. 2018). Works for any score, larger being stranger.
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie strictly between 0 and 1, got {level}")
    if not np.isfinite(scores).all():
        raise ValueError(
            "calibration scores must be finite numbers: look at the sequences behind the others"
        )
    above = math.floor(
        (len(scores) + 1) * level * (1 + 1e-12)
    )  # 20 * 0.05 is 1, whatever floats say
    if above == 0:
        needed = math.ceil(1 / level * (1 - 1e-12)) - 1
        raise ValueError(
            f"{len(scores)} calibration sequences cannot guarantee a level of {level:g} on one side, it takes {needed}"
        )
    return float(np.sort(scores)[len(scores) - above])


def _scores(l0: ActiveLatents, statistic: str) -> Float[np.ndarray, "n_seq"]:
    counts = l0.l0 if isinstance(l0, SequenceLosses) else l0
    if statistic == "max":
        return counts.max(axis=1).astype(float)
    return counts.sum(axis=1) / np.maximum((counts > 0).sum(axis=1), 1)


def rivals(
    subject: Subject, corpus: Corpus, hook_name: str
) -> dict[str, Float[np.ndarray, "n_seq"]]:
    """What else could raise an alarm, by sequence and larger when stranger: "SAE error" and "low confidence". Cached.

    SAE error is ``||x - x_hat||^2 / ||x||^2`` at the hook point, averaged over spliced positions; low confidence is minus the largest
    next-token probability, averaged over all (Hendrycks & Gimpel 2017).
    """
    import torch  # a saved monitor needs none of this

    from saecert.measurement.identity import code_of, identity
    from saecert.subjects import forward

    def build() -> dict[str, np.ndarray]:
        error, top = [], []
        for _, tokens in corpus.batches(16, subject.device, "rivals", False):
            acts = forward.native_acts(subject.model, tokens, hook_name)
            with torch.no_grad():
                lost = (acts - sae.decode(sae.encode(acts))).square().sum(-1) / acts.square().sum(
                    -1
                )
                final = forward.final_residual(subject.model, tokens, hook_name, acts)
                top += [
                    forward.logits_of(subject.model, x).float().softmax(-1).amax(-1).mean().item()
                    for x in final
                ]
            error += lost[:, int(corpus.bos) :].mean(dim=1).tolist()
        return {"SAE error": np.array(error), "low confidence": -np.array(top)}

    sae = subject.sae_at(hook_name)
    return cached_arrays(
        "rivals", identity(subject, corpus, hook_name, code_of(forward, rivals)), build
    )

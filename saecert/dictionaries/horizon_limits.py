"""What horizon KL lets one say of expectations: certified limits, shares, t intervals (no torch).

The KL of two predictions has no upper end, so no limit on its mean is valid for every population.
Three things can be said instead, and each is called by its name: limits on the mean of the
*smoothed* KL, whose range is known; limits on the *share* of sequences on which one error has the
larger KL; and a t interval for the mean of the KL as it is, which holds approximately.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import no_type_check

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.stats import t as student

from saecert.dictionaries.quantities import (
    CEILING,
    OUTPUT,
    PERTURBATIONS,
    divergence_name,
    horizons_of,
)
from saecert.statistics.inequalities import clopper_pearson_upper
from saecert.statistics.paired import difference_limits

Values = Mapping[str, Float[np.ndarray, "n_seq"]]
"""What `saecert.dictionaries.horizon.horizon` measures at one hook point."""
Rows = Float[np.ndarray, "*pairs n_seq"]

SAE, *CONTROLS = PERTURBATIONS
_APPROXIMATE = ["mean", "t, lower", "t, upper"]
CERTIFIED = ["smoothed, lower", "smoothed, upper", "share, lower", "share, upper"]
"""Columns of `paired` that are limits; "t, lower" and "t, upper" hold approximately."""


def mean_divergences(measured: Mapping[str, Values], delta: float) -> pd.DataFrame:
    """Mean KL in bits: a row a hook point, perturbation and horizon.

    Columns hook_name, perturbation, horizon, mean, and the ends lower and upper of t intervals,
    which all hold together with probability about ``1 - delta`` if means are about normal.
    """
    rows = [
        (hook_name, perturbation, h, values[divergence_name("KL", perturbation, h)])
        for hook_name, values in measured.items()
        for perturbation in PERTURBATIONS
        for h in horizons_of(values)
    ]
    names = ["hook_name", "perturbation", "horizon"]
    frame = pd.DataFrame([row[:3] for row in rows], columns=names)
    stacked = np.stack([row[3] for row in rows])
    low, high = t_interval(stacked, delta / len(rows))
    return frame.assign(mean=stacked.mean(axis=1), lower=low, upper=high)


def against_controls(measured: Mapping[str, Values], delta: float, inequality: str) -> pd.DataFrame:
    """KL of the SAE's error less that of errors as large, at horizon 0 and at the output: `paired`.

    Index control, horizon and hook point; all certified limits hold together.
    """
    pairs = [
        (control, h, hook_name)
        for control in CONTROLS
        for h in (0, OUTPUT)
        for hook_name in measured
    ]
    first = [(measured[hook], SAE, h) for _, h, hook in pairs]
    second = [(measured[hook], control, h) for control, h, hook in pairs]
    frame = _paired(first, second, delta, inequality)
    index = pd.MultiIndex.from_tuples(pairs, names=["control", "horizon", "hook_name"])
    return frame.set_axis(index)


def output_against_local(
    measured: Mapping[str, Values], delta: float, inequality: str
) -> pd.DataFrame:
    """KL of the SAE's error at the output less that at horizon 0, by hook point: `paired`.

    Hook points with no block behind them are left out: there the two are the same.
    """
    names = [
        name
        for name, values in measured.items()
        if (
            values[divergence_name("KL", SAE, 0)] != values[divergence_name("KL", SAE, OUTPUT)]
        ).any()
    ]
    if not names:
        return pd.DataFrame(columns=[*_APPROXIMATE, "smoothed", "share", *CERTIFIED])
    first = [(measured[name], SAE, OUTPUT) for name in names]
    second = [(measured[name], SAE, 0) for name in names]
    return _paired(first, second, delta, inequality).set_axis(pd.Index(names, name="hook_name"))


def known_pairs(
    delta: float, inequality: str, seed: int, samples: int = 200, n_seq: int = 100
) -> float:
    """Share of samples in which any limit of `paired` is wrong, for made-up KL of known means.

    Three pairs, uniform on [0, 1] and on [0, w] for w = .5, .8, 1: the difference of the means is
    ``(1 - w) / 2``, and the first is the larger one with probability ``1 - w / 2``.
    """
    rng = np.random.default_rng(seed)
    widths = np.array([0.5, 0.8, 1.0])
    shape = (samples, len(widths), n_seq)
    first = rng.uniform(size=shape).reshape(-1, n_seq)
    second = (rng.uniform(size=shape) * widths[:, None]).reshape(-1, n_seq)
    pair = (first, second)
    limits = paired(pair, pair, 1.0, delta, inequality, n_pairs=len(widths))
    truths = {"smoothed": np.tile((1 - widths) / 2, samples)}
    truths["share"] = np.tile(1 - widths / 2, samples)
    wrong = np.zeros(len(first), dtype=bool)
    for name, truth in truths.items():
        low, high = (limits[f"{name}, {end}"].to_numpy() for end in ("lower", "upper"))
        wrong |= (low > truth) | (high < truth)
    return float(wrong.reshape(samples, -1).any(axis=1).mean())


def last_against_first(
    measured: Mapping[str, Values], delta: float, inequality: str
) -> pd.DataFrame:
    """KL of the SAE's error at the last hook point less that at the first: `paired`.

    Index horizon: 0 and the output. Hook points are taken in the order given.
    """
    names = list(measured)
    horizons = [0, OUTPUT]
    first = [(measured[names[-1]], SAE, h) for h in horizons]
    second = [(measured[names[0]], SAE, h) for h in horizons]
    return _paired(first, second, delta, inequality).set_axis(pd.Index(horizons, name="horizon"))


def paired(
    plain: tuple[Rows, Rows],
    smoothed: tuple[Rows, Rows],
    ceiling: float,
    delta: float,
    inequality: str,
    n_pairs: int = 0,
) -> pd.DataFrame:
    """What is known of J pairs of KL values, the first less the second: a row a pair.

    **Guarantee.** For sequences drawn i.i.d., with probability at least ``1 - delta`` all limits in
    the columns `CERTIFIED` hold: on the expected difference of the smoothed KL, which lies in
    [-ceiling, ceiling], and on the probability that the first KL of a sequence is the larger one
    (Clopper & Pearson 1934; ties count for the second), each at ``ln(4 J / delta)`` nats a side.

    Parameters
    ----------
    plain, smoothed
        First and second KL, and the same smoothed; pairs by rows, sequences by columns.
    ceiling
        What no smoothed KL exceeds, in bits.
    delta
        Probability that any of the limits is wrong.
    inequality
        A key of `saecert.statistics.inequalities.INEQUALITIES`.
    n_pairs
        J, if it is not the number of rows: rows may be several samples of J pairs.

    Returns
    -------
    pd.DataFrame
        Columns "mean" (of the difference of plain KL, bits) with its t interval "t, lower" and "t,
        upper", approximate and together at `delta`; "smoothed" and "share" with their limits.

    Raises
    ------
    ValueError
        Shapes that differ, a KL that is nan, or a smoothed one outside its support.
    """
    first, second = plain
    _check_paired(first, second, *smoothed)
    n_seq = first.shape[-1]
    count = n_pairs or len(first)
    nats = math.log(4 * count / delta)
    difference = first - second
    t_low, t_high = t_interval(difference, delta / count)
    support = (0.0, ceiling, 0.0, ceiling)
    low, high = difference_limits(*smoothed, support, nats, inequality)
    larger = (difference > 0).sum(axis=-1)
    values = {
        "mean": difference.mean(axis=-1),
        "t, lower": t_low,
        "t, upper": t_high,
        "smoothed": (smoothed[0] - smoothed[1]).mean(axis=-1),
        "smoothed, lower": low,
        "smoothed, upper": high,
        "share": larger / n_seq,
        "share, lower": 1 - clopper_pearson_upper(n_seq - larger, n_seq, nats),
        "share, upper": clopper_pearson_upper(larger, n_seq, nats),
    }
    return pd.DataFrame(values)


def t_interval(x: Rows, delta: float) -> tuple[np.ndarray, np.ndarray]:
    """Student's interval for the mean of each row, wrong with probability about `delta`.

    Exact for normal values only: it knows nothing of what the sample does not show, and is no
    certified limit.

    >>> low, high = t_interval(np.array([[0.0, 1.0] * 50]), 0.05)
    >>> low.round(3), high.round(3)
    (array([0.4]), array([0.6]))
    """
    n = x.shape[-1]
    mean = x.mean(axis=-1)
    width = student.ppf(1 - delta / 2, n - 1) * x.std(axis=-1, ddof=1) / math.sqrt(n)
    return mean - width, mean + width


def _paired(
    first: Sequence[tuple[Values, str, int | str]],
    second: Sequence[tuple[Values, str, int | str]],
    delta: float,
    inequality: str,
) -> pd.DataFrame:
    plain = (_stacked("KL", first), _stacked("KL", second))
    smoothed = (_stacked("smoothed KL", first), _stacked("smoothed KL", second))
    ceiling = float(first[0][0][CEILING][0])
    return paired(plain, smoothed, ceiling, delta, inequality)


@no_type_check  # shapes are what it judges, in words for people
def _check_paired(*kinds: Rows) -> None:
    if len(shapes := {x.shape for x in kinds}) > 1:
        raise ValueError(f"KL of the same pairs and sequences has one shape, got {sorted(shapes)}")
    if any(np.isnan(x).any() for x in kinds):
        raise ValueError("a KL that is nan is larger than none: leave its sequence out")


def _stacked(divergence: str, places: Sequence[tuple[Values, str, int | str]]) -> Rows:
    return np.stack([*_arrays(divergence, places)])


def _arrays(
    divergence: str, places: Sequence[tuple[Values, str, int | str]]
) -> Iterator[np.ndarray]:
    for values, perturbation, h in places:
        yield values[divergence_name(divergence, perturbation, h)]

"""What norms of codes let one say of a population of sequences: limits, and ranks (no torch)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from saecert.dictionaries.coherent import eps_lbo, welch_limit
from saecert.dictionaries.quantities import (
    BANDS,
    COHERENCE,
    COHERENCE_WITH_BIAS,
    PREDICTORS,
    SPLICE_COSTS,
    outside_name,
    tau_name,
    token_name,
)
from saecert.statistics.inequalities import INEQUALITIES, lower
from saecert.statistics.order import quantile_upper
from saecert.statistics.rank import kendall_limits, kendall_tau, tau_of_intervals
from saecert.statistics.rounding import half_step, half_steps, widened

Values = Mapping[str, Float[np.ndarray, "..."]]
"""What `saecert.dictionaries.norms.norms` measures at one hook point, or of one SAE."""
Measured = Mapping[str, Values]
"""The same by hook point, or by the name of an SAE."""

RATIO = "ratio"
MEDIANS = (RATIO, "nmse", "eps_lbo", "eps_identity")
"""What `medians` are of, in this order."""
LIMITS = ["lower", "value", "upper"]
SHARES = tuple(map(outside_name, BANDS))
BOUNDED = ("nmse", *SHARES, "total_variation")
"""Means over a sequence that lie in [0, 1]."""
WITHIN = [(predictor, cost) for cost in SPLICE_COSTS for predictor in PREDICTORS]
"""Pairs whose ranks are compared."""
_HALF = 2.0**-11  # by how much of itself half precision may move a value


def tokens_of(values: Values) -> dict[str, Float[np.ndarray, "n_seq"]]:
    """`MEDIANS`, and those of `SPLICE_COSTS` that were kept, at one random token of each sequence.

    Tokens of different sequences are independent where the sequences are; those of one are not.
    """
    norm_z, norm_f = (values[token_name(name)][:, 0] for name in ("norm_z", "norm_f"))
    found = {
        RATIO: norm_f / norm_z,
        "eps_lbo": eps_lbo(norm_z, norm_f, int(values["d_sae"][0])),
        "norm_deviation": np.abs(norm_f / norm_z - 1),
    }
    for name in ("nmse", "eps_identity", *SPLICE_COSTS):
        if token_name(name) in values:
            found[name] = values[token_name(name)][:, 0]
    return found


def token_ends(values: Values) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """`tokens_of` the least, and the largest, values that half precision keeps as these."""
    ends = []
    for sign in (-1, 1):
        moved = {}
        for name in map(token_name, ("norm_f", "nmse", "eps_identity")):
            moved[name] = np.maximum(values[name] + sign * half_steps(values[name]), 0.0)
        ends.append(tokens_of({**values, **moved}))
    first, second = ends
    low = {name: np.minimum(first[name], second[name]) for name in first}
    high = {name: np.maximum(first[name], second[name]) for name in first}
    crosses = (first[RATIO] < 1) & (second[RATIO] > 1)
    for name in ("eps_lbo", "norm_deviation"):
        low[name] = np.where(crosses, 0.0, low[name])
    return low, high


def medians(
    measured: Measured, delta: float, of: Sequence[str] = MEDIANS, *, half: bool = False
) -> pd.DataFrame:
    """Medians over tokens with certified limits: a row an SAE, columns by `of` and `LIMITS`.

    **Guarantee.** For sequences drawn i.i.d. and a token drawn at random from each, all limits of
    the frame hold together with probability ``1 - delta``, whatever the distributions: they are
    order statistics (`saecert.statistics.order.quantile_upper`). ValueError for too few sequences.
    `half`: values were kept in half precision, and limits are to be of what was measured.
    """
    nats = math.log(2 * len(of) * len(measured) / delta)
    rows = {}
    for name, values in measured.items():
        tokens = tokens_of(values)
        least, most = token_ends(values) if half else (tokens, tokens)
        for quantity in of:
            low, *_ = _median(least[quantity], nats)
            _, middle, _ = _median(tokens[quantity], nats)
            *_, high = _median(most[quantity], nats)
            limits = (low, middle, high)
            row = rows.setdefault(name, {})
            row |= {(quantity, end): x for end, x in zip(LIMITS, limits, strict=True)}
    return pd.DataFrame(rows).T


def means(measured: Measured, delta: float, inequality: str) -> pd.DataFrame:
    """Means of `BOUNDED` with certified limits, all together at `delta`; layout as `medians`.

    ``nmse`` counts as at most 1 at each token.
    """
    nats = math.log(2 * len(BOUNDED) * len(measured) / delta)
    rows = {}
    for name, values in measured.items():
        limits = {x: mean_limits(values[x], (0.0, 1.0), nats, inequality) for x in BOUNDED}
        rows[name] = {
            (x, end): limit for x in BOUNDED for end, limit in zip(LIMITS, limits[x], strict=True)
        }
    return pd.DataFrame(rows).T


def coherences(measured: Measured) -> pd.DataFrame:
    """What all tokens of the sample say of the coherence, and the truth: a row an SAE.

    Columns: the largest "eps_lbo" and "eps_identity" of any token, "Welch" (what no dictionary of
    this size is below), "decoder" and "with bias", the coherence of the atoms without and with the
    bias. No limits: the first two are facts about these sequences, the others about the SAE.
    """
    rows = {
        name: {
            "eps_lbo": values["largest eps_lbo"].max(),
            "eps_identity": values["largest eps_identity"].max(),
            "Welch": welch_limit(int(values["d_sae"][0]), int(values["d_in"][0])),
            "decoder": values[COHERENCE][0],
            "with bias": values[COHERENCE_WITH_BIAS][0],
        }
        for name, values in measured.items()
    }
    return pd.DataFrame(rows).T


def ranks_within(
    measured: Measured,
    delta: float,
    inequality: str,
    pairs: Sequence[tuple[str, str]] = WITHIN,
    *,
    half: bool = False,
) -> pd.DataFrame:
    """Mean over sequences of Kendall's tau over the tokens of each, with certified limits.

    Index cost, predictor and SAE; columns `LIMITS`. All limits hold together at `delta`, for
    sequences drawn i.i.d.: tau lies in [-1, 1]. `pairs` are predictors with costs; `half` as for
    `medians`.
    """
    nats = math.log(2 * len(pairs) * len(measured) / delta)
    step = half_step(1) if half else 0.0
    rows = {
        (cost, predictor, name): widened(
            mean_limits(values[tau_name(predictor, cost)], (-1.0, 1.0), nats, inequality), step
        )
        for predictor, cost in pairs
        for name, values in measured.items()
    }
    return _ranked(rows)


def ranks_between(measured: Measured, delta: float) -> pd.DataFrame:
    """Kendall's tau over tokens of different sequences, one of each; layout as `ranks_within`.

    All limits hold together at `delta`, for sequences drawn i.i.d. (Hoeffding 1963).
    """
    nats = math.log(2 * len(WITHIN) * len(measured) / delta)
    rows = {}
    for predictor, cost in WITHIN:
        for name, values in measured.items():
            tokens = tokens_of(values)
            low, high = kendall_limits(tokens[predictor], tokens[cost], nats)
            rows[cost, predictor, name] = (low, kendall_tau(tokens[predictor], tokens[cost]), high)
    return _ranked(rows)


def ranks_of_saes(
    measured: Measured,
    increases: Mapping[str, Float[np.ndarray, "n_seq"]],
    largest: float,
    delta: float,
    inequality: str,
    *,
    half: bool = False,
) -> pd.DataFrame:
    """Kendall's tau over layers or SAEs: medians of a predictor against what splicing costs.

    Index cost and predictor; "value" is tau of the sample's medians and means. The limits are the
    smallest and the largest tau that limits on both leave open: those of `medians` at ``delta / 2``
    and of the means of both costs at ``delta / 2``. All hold together at `delta`.

    Parameters
    ----------
    measured
        Rows of each SAE: `PREDICTORS` are judged, and "total_variation" is the first cost.
    increases
        The second, by the same names: what splicing costs each sequence in smoothed loss, bits.
    largest
        What these cannot exceed in size, ``hi - lo``.
    delta, inequality
        As for `means`.
    half
        As for `medians`; also of the costs.

    Raises
    ------
    ValueError
        Fewer than two SAEs, or too few sequences for a limit on a median.
    """
    middle = medians(measured, delta / 2, PREDICTORS, half=half)
    costs = {
        "total_variation": ({x: rows["total_variation"] for x, rows in measured.items()}, 0.0, 1.0),
        "loss_increase": (increases, -largest, largest),
    }
    nats = math.log(2 * len(costs) * len(measured) / (delta / 2))
    rows = {}
    for cost, (values, lo, hi) in costs.items():
        step = half_step(hi) if half else 0.0
        limits = [
            widened(mean_limits(values[x], (lo, hi), nats, inequality), step) for x in measured
        ]
        low, mean, high = np.array(limits).T
        for predictor in PREDICTORS:
            ends = middle[predictor]
            known = (ends["lower"].to_numpy(), ends["upper"].to_numpy())
            least, most = tau_of_intervals(known, (low, high))
            seen = kendall_tau(ends["value"].to_numpy(), mean)
            rows[cost, predictor] = {"lower": least, "value": seen, "upper": most}
    frame = pd.DataFrame(rows).T[LIMITS]
    return frame.rename_axis(["cost", "predictor"])


def better_ranked(
    measured: Measured, cost: str, pair: tuple[str, str], delta: float, inequality: str
) -> pd.DataFrame:
    """By how much the first of two predictors ranks tokens better than the second: a row an SAE.

    Difference of the two taus of each sequence, in [-2, 2]: its mean, with limits that hold
    together at `delta`.
    """
    nats = math.log(2 * len(measured) / delta)
    rows = {}
    for name, values in measured.items():
        first, second = (values[tau_name(predictor, cost)] for predictor in pair)
        limits = mean_limits(first - second, (-2.0, 2.0), nats, inequality)
        rows[name] = dict(zip(LIMITS, limits, strict=True))
    return pd.DataFrame(rows).T[LIMITS]


def mean_limits(
    x: Float[np.ndarray, "n"], support: tuple[float, float], nats: float, inequality: str
) -> tuple[float, float, float]:
    """Lower limit, sample mean and upper limit of values in `support`.

    Values may lie outside by what half precision rounds, no more. ValueError for others, and for
    what is not finite.
    """
    upper = INEQUALITIES[inequality]
    x = np.asarray(x, np.float64)
    dust = max(map(abs, support)) * _HALF
    outside = ~((x >= support[0] - dust) & (x <= support[1] + dust))
    if outside.any():
        index = int(np.argmax(outside))
        raise ValueError(
            f"value {index} is {x[index]:.6g}, no number in [{support[0]:g}, {support[1]:g}]; pass "
            "the support fixed before measuring, do not widen it to the data"
        )
    inside = x.clip(*support)
    return (
        float(lower(upper, inside, *support, nats)),
        float(inside.mean()),
        float(upper(inside, *support, nats)),
    )


def _median(x: Float[np.ndarray, "n"], nats: float) -> tuple[float, float, float]:
    """Lower limit, sample median and upper limit."""
    low = -quantile_upper(-x, 0.5, nats)
    return float(low), float(np.median(x)), float(quantile_upper(x, 0.5, nats))


def _ranked(rows: Mapping[tuple[str, str, str], Sequence[float]]) -> pd.DataFrame:
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=LIMITS)
    return frame.set_axis(pd.MultiIndex.from_tuples(rows, names=["cost", "predictor", "name"]))

"""How often a score raises the alarm on each kind of text, and how well it could at any level.

Scores are arrays, one value a sequence, larger when stranger: ``{kind: {score: values}}``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import no_type_check

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import stats

from saecert.dictionaries.monitor import conformal_threshold
from saecert.statistics.inequalities import dirichlet_upper, lower

Values = Float[np.ndarray, "_"]
"""One value a sequence; kinds of text may have different numbers of sequences."""
Scores = Mapping[str, Values]
"""By name of the score."""


def alarm_table(
    scores: Mapping[str, Scores],
    calibration: Scores,
    level: float,
    delta: float,
    *,
    usual: str,
    count: str,
) -> pd.DataFrame:
    """One row per kind of text and score: alarms, AUC against usual text, lead of the count in AUC.

    Columns "kind", "score", "n_seq"; "alarms", the share of sequences above the conformal threshold
    of `level`; "AUC", the probability that a sequence of the kind scores above one of usual text,
    ties counted half; "count ahead by", the AUC of the score `count` minus that of the row's, nan
    where `count` is not among the scores. Each of the three has a column with ", at least" and one
    with ", at most" added to its name.

    **Guarantee.** All limits hold at once with probability at least ``1 - delta``, given the
    thresholds, for sequences drawn independently: each has ``delta`` over three times the number of
    rows. Alarms have Clopper and Pearson's limits. For the AUC every sequence gets one partner of
    usual text, which makes independent values, and the Dirichlet bound.

    Parameters
    ----------
    scores
        By kind and score; among the kinds is `usual`.
    calibration
        By score, from sequences of usual text that are in none of the kinds.
    level
        Rate of false alarms that is promised.
    delta
        Probability that any limit of the table is wrong.
    usual, count
        Names of the kind on which an alarm is false, and of the score that others are held against.

    Raises
    ------
    ValueError
        A delta outside (0, 1), a kind without the scores of usual text, scores that are not finite
        numbers, fewer than two, or too few calibration sequences for `level`.
    """
    if not 0 < delta < 1:
        raise ValueError(f"delta must lie strictly between 0 and 1, got {delta}")
    scores = _checked(scores, usual)
    names = list(scores[usual])
    share = delta / (3 * len(scores) * len(names))
    nats = math.log(2 / share)
    rows = []
    for kind, values in scores.items():
        for name in names:
            row: dict[str, object] = {"kind": kind, "score": name, "n_seq": len(values[name])}
            threshold = conformal_threshold(calibration[name], level)
            row |= _alarms(values[name], threshold, share)
            wins = _wins(values[name], scores[usual][name])
            row |= _with_limits("AUC", auc(values[name], scores[usual][name]), wins, 0.0, nats)
            if count in names:
                lead = auc(values[count], scores[usual][count]) - row["AUC"]
                ahead = _wins(values[count], scores[usual][count]) - wins
                row |= _with_limits("count ahead by", lead, ahead, -1.0, nats)
            rows.append(row)
    return pd.DataFrame(rows)


def auc(strange: Values, usual: Values) -> float:
    """Share of all pairs in which the strange one scores above the usual one, ties counted half.

    ValueError for scores that are not finite numbers.

    >>> auc(np.array([1.0, 3.0]), np.array([1.0, 2.0]))
    0.625
    """
    differences = _numbers(strange)[:, None] - _numbers(usual)
    return float((differences > 0).mean() + (differences == 0).mean() / 2)


def roc_curve(strange: Values, usual: Values) -> pd.DataFrame:
    """Shares "false_alarms" and "detected" above every threshold that tells sequences apart.

    ValueError for scores that are not finite numbers.
    """
    strange, usual = _numbers(strange), _numbers(usual)
    cuts = np.unique(np.concatenate([usual, strange]))[::-1]
    shares = {
        "false_alarms": (usual[:, None] >= cuts).mean(axis=0),
        "detected": (strange[:, None] >= cuts).mean(axis=0),
    }
    start = pd.DataFrame({"false_alarms": [0.0], "detected": [0.0]})
    return pd.concat([start, pd.DataFrame(shares)], ignore_index=True)


def promise_pvalue(n_false: int, n_seq: int, n_calibration: int, level: float) -> float:
    """Probability of at least so many false alarms in `n_seq` sequences, if the promise is kept.

    By exchangeability their number is beta-binomial, or smaller where scores tie. ValueError for
    more false alarms than sequences, or a level that so few of the calibration cannot promise.

    >>> promise_pvalue(0, 200, 200, 0.05)
    1.0
    """
    rank = math.ceil((n_calibration + 1) * (1 - level) - 1e-9)
    above = n_calibration + 1 - rank
    if not (0 <= n_false <= n_seq and above >= 1 and rank >= 1):
        raise ValueError(
            f"{n_false} false alarms in {n_seq} sequences at level {level:g}, promised by "
            f"{n_calibration}: give 0 to {n_seq}, and a level from 1 / ({n_calibration} + 1) on"
        )
    return float(stats.betabinom.sf(n_false - 1, n_seq, above, rank))


def is_constant(values: Values) -> bool:
    """Whether a score cannot raise an alarm because it is the same for every sequence."""
    return bool(np.ptp(values) <= 1e-9 * max(1.0, abs(float(values[0]))))


def _checked(scores: Mapping[str, Scores], usual: str) -> dict[str, dict[str, Values]]:
    """All scores of usual text, of every kind, in float64; or what is wrong."""
    if usual not in scores:
        raise ValueError(f"no kind '{usual}'; there are {', '.join(scores)}")
    checked: dict[str, dict[str, Values]] = {}
    for kind, values in scores.items():
        if absent := [name for name in scores[usual] if name not in values]:
            raise ValueError(f"'{kind}' lacks scores that '{usual}' has: {', '.join(absent)}")
        checked[kind] = {
            name: _numbers(values[name], f"'{name}' of '{kind}'") for name in scores[usual]
        }
    return checked


@no_type_check  # types and shapes are what it judges, in words for people
def _numbers(values: Values, what: str = "scores") -> Values:
    """One finite number a sequence, in float64: unsigned ones have no negative differences."""
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise ValueError(
            f"{what}: one finite number a sequence is needed, got shape {values.shape} with "
            f"{(~np.isfinite(values)).sum()} that are not: look at these sequences"
        )
    return values


def _alarms(values: Values, threshold: float, share: float) -> dict[str, float]:
    raised = int((values > threshold).sum())
    low, high = stats.binomtest(raised, len(values)).proportion_ci(1 - share)
    row = {"alarms": raised / len(values), "alarms, at least": low, "alarms, at most": high}
    return {name: float(number) for name, number in row.items()}


def _wins(strange: Values, usual: Values) -> Values:
    """1 where a sequence scores above its partner of usual text, 1/2 where they tie, else 0."""
    n_pairs = min(len(strange), len(usual))
    differences = strange[:n_pairs] - usual[:n_pairs]
    return (differences > 0) + (differences == 0) / 2


def _with_limits(name: str, mean: float, x: Values, lo: float, nats: float) -> dict[str, float]:
    """A mean over all pairs, with the limits that the pairs `x` give."""
    return {
        name: mean,
        f"{name}, at least": float(lower("dirichlet", x, lo, 1.0, nats)),
        f"{name}, at most": float(dirichlet_upper(x, lo, 1.0, nats)),
    }

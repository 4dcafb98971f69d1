"""How far losses in one number type are from those in another, on the same sequences."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from saecert.records import SequenceLosses, smoothed_support
from saecert.statistics.paired import difference_limits
from saecert.statistics.rounding import lower_text, nearest_text, upper_text

INEQUALITY = "dirichlet"
"""Chosen beforehand: of those in the library the least wide where differences are small."""


def precision_table(
    first: SequenceLosses, second: SequenceLosses, *, alpha: float = 0.5, delta: float = 0.05
) -> pd.DataFrame:
    """Loss of each predictor in `second` less that in `first`, a row each, paired by sequence.

    **Guarantee.** With probability at least ``1 - delta`` every expected difference lies between
    its ``lower`` and ``upper``, for sequences drawn i.i.d. from one population, of which neither
    model has seen any: delta is divided among the rows and the two sides.

    Parameters
    ----------
    first, second
        Records of one corpus, such as of a subject in float32 and in bfloat16.
    alpha
        Smoothing weight in (0, 1), recorded in both.
    delta
        Probability in (0, 1) that any limit is wrong.

    Returns
    -------
    Indexed by predictor, in bits per token: ``first`` and ``second`` (means), ``difference``,
    ``lower``, ``upper``, and ``largest``, the largest absolute difference of one sequence.

    Raises
    ------
    ValueError
        Records of different sequences or vocabularies, or without losses at `alpha`, or delta
        outside (0, 1).
    """
    if not 0 < delta < 1:
        raise ValueError(f"delta must lie in (0, 1), got {delta}")
    if first.n_vocab != second.n_vocab or not np.array_equal(first.ids, second.ids):
        raise ValueError("the records are of different sequences: collect both on one corpus")
    names = [name for name in first.loss if name in second.loss]
    support = smoothed_support(alpha, first.n_vocab)
    nats = math.log(2 * len(names) / delta)
    rows = {}
    for name in names:
        a = first.at(name, alpha)
        b = second.at(name, alpha)
        low, high = difference_limits(b, a, (*support, *support), nats, INEQUALITY)
        rows[name] = {
            "first": a.mean(),
            "second": b.mean(),
            "difference": (b - a).mean(),
            "lower": float(low),
            "upper": float(high),
            "largest": np.abs(b - a).max(),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("predictor")


def precision_text(table: pd.DataFrame) -> str:
    """The table for people to read, limits rounded outwards."""
    lines = [f"{'predictor':<14}{'difference':>12}{'limits':>20}{'largest':>10}   (bits per token)"]
    for name, row in table.iterrows():
        limits = f"{lower_text(row.lower, 3, sign=True)} to {upper_text(row.upper, 3, sign=True)}"
        difference = nearest_text(row.difference, 4, sign=True)
        lines.append(f"{name:<14}{difference:>12}{limits:>20}{upper_text(row.largest, 4):>10}")
    return "\n".join(lines)

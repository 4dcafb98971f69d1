"""Pages 20 and 23: limits of certificates on losses that were kept in half precision (no torch)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from saecert.certificates.certificate import Certificate
from saecert.certificates.recovered import Recovered, loss_recovered
from saecert.records import SequenceLosses
from saecert.reporting import top_afa
from saecert.statistics.rounding import half_step

IN_WORDS = {
    "gap": "gap, bits",
    "mismatch": "mismatch, bits",
    "sharp": "sharp bound, bits",
    "recovered": "loss recovered",
    "recovered, lower": "loss recovered, lower",
    "within 0.25, lower": "within 0.25 bits, lower",
}
"""Columns of `certified` as pages name them."""


def certified(
    made: Mapping[str, tuple[Certificate, SequenceLosses]], delta: float, inequality: str
) -> pd.DataFrame:
    """`saecert.reporting.top_afa.certified`, its limits widened for losses in half precision.

    The sharp bound moves by a half-step of a loss. "within 0.25" is about a quarter of a bit to
    within a half-step there, 0.0001.
    """
    table = top_afa.certified(made, delta, inequality)
    for label, (certificate, record) in made.items():
        table.loc[label, "sharp"] += half_step(certificate.hi - certificate.lo)
        less = _recovered(certificate, record, delta, inequality, 1)
        table.loc[label, "recovered, lower"] = math.nan if less.lower is None else less.lower
    return table


def of_saes(
    native: SequenceLosses,
    arrays: top_afa.Arrays,
    found: Sequence[top_afa.Measured],
    settings: Mapping[str, Any],
) -> pd.DataFrame:
    """`certified` of all SAEs of a hook point, columns in words.

    Each sharp bound holds at the delta of `settings`, which are those of `certify`; each limit on
    loss recovered and on the tail at ``delta / (2 * len(found))``.
    """
    made = top_afa.certificates_of(native, arrays, found, settings)
    each = settings["delta"] / (2 * len(made))
    return certified(made, each, settings["inequality"]).rename(columns=IN_WORDS)


def recovered(
    certificate: Certificate, record: SequenceLosses, delta: float, inequality: str
) -> tuple[float, float, float]:
    """Loss recovered against zero ablation with its limits, nan where there is none.

    As `saecert.certificates.recovered.loss_recovered`, for losses in half precision: the lower
    limit is that of losses a half-step larger, the upper one that of losses a half-step smaller.
    """
    less, mean, more = (_recovered(certificate, record, delta, inequality, x) for x in (1, 0, -1))
    low, value, high = (
        math.nan if x is None else float(x) for x in (less.lower, mean.recovered, more.upper)
    )
    return low, value, high


def _recovered(
    certificate: Certificate, record: SequenceLosses, delta: float, inequality: str, steps: int
) -> Recovered:
    """Loss recovered by a proxy whose losses are so many half-steps larger than what was kept."""
    lo, hi = certificate.lo, certificate.hi
    full = (record.loss["full"] + steps * half_step(hi - lo)).clip(lo, hi)
    options = {"delta": delta, "alpha": certificate.alpha, "inequality": inequality}
    moved = replace(record, loss=record.loss | {"full": full})
    return loss_recovered(moved, ablation="zero", **options)

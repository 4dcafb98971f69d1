"""Loss recovered as a statement of a certificate: the field's usual score, from below."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from saecert.certificates.recovered import ABLATIONS
from saecert.certificates.sample import Sample
from saecert.records import SequenceLosses
from saecert.statistics.ratio import ratio_lower


def measured_ablations(
    losses: SequenceLosses, asked: Sequence[str] | None, population_size: int | None
) -> list[str]:
    """The ablations to state loss recovered against: those asked for, by default all there are.

    None, unless asked for, about a finite list: the ratio's limit is for i.i.d. sequences.

    Raises
    ------
    ValueError
        One that does not exist or was not measured, or any at all about a finite list.
    """
    there = [name for name in ABLATIONS if name in losses.loss]
    if asked is None:
        return there if population_size is None else []
    if asked and population_size is not None:
        raise ValueError(
            "loss recovered is stated for i.i.d. sequences, not for a finite list: give "
            "ablations=() or no population_size"
        )
    if unknown := [name for name in asked if name not in there]:
        raise ValueError(
            f"ablation '{unknown[0]}' is not in the record, which has {', '.join(there) or 'none'}"
        )
    return list(dict.fromkeys(asked))


def recovered_rows(
    sample: Sample, ablations: Sequence[str], delta: float, inequality: str
) -> list[dict[str, Any]]:
    """Loss recovered by the whole SAE, one row an ablation, each a statement of its own at `delta`.

    **Guarantee.** `saecert.statistics.ratio.ratio_lower`: where the ablation hurts, the ratio of
    expectations is at least "lower" except with probability `delta` over samples drawn i.i.d. Keys
    "ablation", "recovered" (of the sample means, None where the ablation does not hurt there) and
    "lower" (None where no limit above 0 is shown).
    """
    full = sample.record.at("full", sample.alpha)
    support = (sample.lo, sample.hi)
    rows = []
    for ablation in ablations:
        ablated = sample.record.at(ablation, sample.alpha)
        losses = (ablated[None], full[None], sample.clean[None])
        lower = float(ratio_lower(*losses, support, -math.log(delta), inequality)[0])
        cost = float(np.mean(ablated - sample.clean))
        point = float(np.mean(ablated - full)) / cost if cost > 0 else None
        shown = lower if lower > 0 else None  # nan is not
        rows.append({"ablation": ablation, "recovered": point, "lower": shown})
    return rows

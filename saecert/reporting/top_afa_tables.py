"""Page 23: everything that is said of SAEs at one hook point, jointly, with probes (no torch).

`Member.values` have what `saecert.training.compared_probed` adds to them, where it does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from saecert.records import SequenceLosses
from saecert.reporting import judged, top_afa, widened
from saecert.reporting.claims import NOT_SHOWN, Undecided, decided
from saecert.reporting.top_afa import Arrays, Member, matched
from saecert.statistics.rounding import half_step

BUILD = "saecert.training.compared_probed:compared_probed"
"""What trains, measures and probes them."""
BEST = "best latents"
FLOOR = "random latents"
"""Columns of `scores`."""
PARTS = 4
"""Tables with limits among which `tables` divides delta."""


class Tables(NamedTuple):
    """What is said of the SAEs of one hook point."""

    quality: pd.DataFrame
    """As `saecert.reporting.top_afa.quality` has it."""
    paired: pd.DataFrame
    """As `saecert.reporting.top_afa.differences` has it."""
    certified: pd.DataFrame
    """As `saecert.reporting.widened.certified` has it."""
    scores: pd.DataFrame | None
    """As `scores` has it; None for SAEs that were not probed."""
    probed: pd.DataFrame | None
    """As `differences` has it, likewise."""


def tables(
    native: SequenceLosses, arrays: Arrays, delta: float, alpha: float, inequality: str
) -> Tables:
    """All tables of one hook point, whose limits hold together at `delta`.

    `native` is any record of the same sequences at the hook point, `arrays` what was measured of
    the SAEs. ValueError if they are of different sequences.
    """
    found = top_afa.members(arrays)
    part = delta / PARTS
    each = part / (3 * len(found))  # sharp bound, loss recovered and tail of each SAE
    settings = {"alpha": alpha, "delta": each, "inequality": inequality}
    made = top_afa.certificates_of(native, arrays, found, settings)
    probes = [_scores_of(member) for member in found]
    return Tables(
        quality=top_afa.quality(found, part, inequality),
        paired=top_afa.differences(made, matched(found), part, inequality),
        certified=widened.certified(made, each, inequality),
        scores=scores(found) if all(probes) else None,
        probed=differences(found, part, inequality) if all(probes) else None,
    )


def joined(every: Mapping[str, Tables], name: str) -> pd.DataFrame:
    """One table of several hook points, by what they are called; those that are None left out.

    `name` is a field of `Tables`. Empty if there is none.
    """
    parts = {label: getattr(told, name) for label, told in every.items()}
    parts = {label: table for label, table in parts.items() if table is not None}
    return pd.concat(parts, names=[""]) if parts else pd.DataFrame()


def on_most_texts(paired: pd.DataFrame, *columns: str) -> bool | Undecided:
    """Whether top-AFA has the larger value on more than half of all texts, for every pair.

    `columns` are `LARGER_NMSE` or `LARGER_GAP` of `saecert.reporting.top_afa`, or both. Shares have
    lower limits only: where one is not above a half, the claim is undecided.
    """
    least = paired[[(column, "at least") for column in columns]]
    return decided((least > 0.5).all(axis=None), False, NOT_SHOWN)


def scores(found: Sequence[Member]) -> pd.DataFrame:
    """Sample means of probes on the best latents, beside those on random ones: a row an SAE.

    Columns: the measure ("probe 1", "probe 5"), and `BEST` and `FLOOR`; means over labels.
    """
    rows = {}
    for member in found:
        own = _scores_of(member)
        rows[member.label] = {
            (measure, word): float(np.mean([x.mean() for x in judged.values_of(own, measure, low)]))
            for measure in judged.PROBES
            for word, low in ((BEST, False), (FLOOR, True))
        }
    return pd.DataFrame(rows).T


def differences(found: Sequence[Member], delta: float, inequality: str) -> pd.DataFrame:
    """Probes of top-AFA less those of TopK and of BatchTopK of as many active latents.

    A row a pair, columns measure and end; paired by unit, the same for all SAEs. All limits hold
    together at `delta` (`saecert.reporting.judged.differences`), widened for scores that were kept
    in half precision.
    """
    own = {member.label: _scores_of(member) for member in found}
    pairs = [(a.label, b.label) for a, *others in matched(found) for b in others]
    options = (delta / len(pairs), inequality, list(judged.PROBES))
    parts = {(a, b): judged.differences(own, {a: b}, *options).iloc[0] for a, b in pairs}
    table = pd.DataFrame(parts).T.rename_axis(["top-AFA", "compared with"])
    for measure in judged.PROBES:
        table[measure, "lower"] -= 2 * half_step(1)
        table[measure, "upper"] += 2 * half_step(1)
    return table


def untold(table: pd.DataFrame) -> bool:
    """Whether every pair of limits of `differences` has 0 between or at its ends."""
    low, high = (table.xs(end, axis=1, level=1) for end in ("lower", "upper"))
    return bool(((low <= 0) & (high >= 0)).all(axis=None))


def _scores_of(member: Member) -> dict[str, np.ndarray]:
    return {name: x for name, x in member.values.items() if name.startswith("probe ")}

"""A part of a study measured live, on this machine and now, next to what is kept of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from saecert.records import SequenceLosses
from saecert.reporting.study import Study
from saecert.statistics.rounding import upper_text

PREDICTORS = ("clean", "full")
"""What is measured live: the model and its SAE proxy, which need no discovery."""
CLOSE = 2e-3
"""Bits by which a loss of a sequence may change between machines."""


@dataclass(frozen=True)
class Live:
    """How far live losses are from those of a record, in bits a sequence."""

    n_seq: int
    """Sequences that were measured live."""
    kept: bool
    """Whether the record is one that is kept, rather than measured for this page."""
    largest: float
    """Largest difference of a loss."""
    mean: float
    """Largest difference of a risk."""

    @property
    def verdict(self) -> bool | str:
        """Whether live losses are `CLOSE` to the kept ones; a text where nothing is kept."""
        if not self.kept:
            return "nothing is kept for this study"
        return self.largest <= CLOSE

    def __str__(self) -> str:
        what = "kept losses" if self.kept else "losses above (nothing is kept)"
        largest = upper_text(self.largest, significant=2)
        mean = upper_text(self.mean, significant=2)
        return (
            f"{self.n_seq} sequences measured live, against the {what}:\n"
            f"a sequence differs by at most {largest} bits,\n"
            f"a mean by at most {mean} bits"
        )


def live_losses(study: Study, n_seq: int, alphas: Sequence[float] = ()) -> SequenceLosses:
    """Losses of `PREDICTORS` on the first `n_seq` sequences, measured whether or not kept.

    No more of them than the study itself has. `alphas` are smoothing weights besides those always
    recorded, as for `Study.losses`.
    """
    most = study.settings["n_seq"] or n_seq
    part = study.beside(n_seq=min(n_seq, most), n_discovery=None)
    return part.losses(pools=[], controls=False, alphas=alphas, live=True)


def compare_live(live: SequenceLosses, losses: SequenceLosses, alpha: float, kept: bool) -> Live:
    """How far live losses are from the same sequences of a record.

    Raises
    ------
    ValueError
        They are other sequences.
    """
    n = min(len(live), len(losses))
    if not np.array_equal(live.ids[:n], losses.ids[:n]):
        raise ValueError("the live losses are of other sequences than the record's")
    pairs = [(live.at(name, alpha)[:n], losses.at(name, alpha)[:n]) for name in PREDICTORS]
    differences = [now - then for now, then in pairs]
    largest = max(float(np.abs(change).max()) for change in differences)
    mean = max(abs(float(change.mean())) for change in differences)
    return Live(n, kept, largest, mean)

"""The verdict ladder: which references a certified loss beats, in an order fixed in advance."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from saecert.records import SequenceLosses
from saecert.statistics.inequalities import uppers

Losses = Float[np.ndarray, "n_seq"]

ORDER = ("unigram", "bigram")
"""References with a place of their own; any others come after them, by name."""


@dataclass(frozen=True)
class Rung:
    """A reference predictor on the certification sample."""

    name: str
    """"uniform", "unigram", "bigram" or another predictor of the record."""
    losses: Losses
    """Its smoothed bits per token on each sequence."""
    lowest: float
    """Smallest loss it can have on any sequence."""
    highest: float
    """Largest loss it can have on any sequence."""


def rungs(sample: SequenceLosses, alpha: float) -> list[Rung]:
    """The references to beat, in the order in which they are tested.

    Uniform, unigram, bigram, then others of the record by name.

    The uniform predictor loses exactly ``log2 V`` bits on every token, whatever alpha.
    """
    bits = math.log2(sample.n_vocab)
    ladder = [Rung("uniform", np.full(len(sample), bits), bits, bits)]
    names = [name for name in ORDER if name in sample.reference_support]
    for name in names + sorted(set(sample.reference_support) - set(ORDER)):
        losses = sample.at(name, alpha)
        lowest, highest = sample.reference_support[name][sample.alphas.index(alpha)]
        if losses.min() < lowest - 1e-6 or losses.max() > highest + 1e-6:
            raise ValueError(
                f"losses of '{name}' leave their recorded support [{lowest:.6g}, {highest:.6g}]: "
                "fit and measure it again"
            )
        ladder.append(Rung(name, np.clip(losses, lowest, highest), lowest, highest))
    return ladder


def climb(
    losses: Losses, ladder: list[Rung], lo: float, hi: float, nats: float, upper: Callable[..., Any]
) -> list[dict[str, Any]]:
    """One row per rung: is the mean of `losses` certifiably below the reference's risk?

    Rung r is claimed when ``upper(losses - l_r; lo - highest_r, hi - lowest_r; nats) < 0``. The
    comparison is paired: the reference's risk is an expectation too, and standing in its sample
    mean would make false claims.

    **Guarantee.** With probability at least ``1 - exp(-nats)`` *no* claim is false, for i.i.d.
    sequences and rungs ordered beforehand, without dividing delta among them: a false claim needs
    the first untrue rung to be claimed, and that is one test (fixed-sequence testing; Maurer,
    Hothorn & Lehmacher 1995). When the pool was chosen on the same sample, take `nats` =
    ln(1/delta) + its selection cost: pool A's chain then errs with probability at most delta *
    weight(A), so by the union bound no chain errs, whichever pool is shown in the end.
    """
    paired = [losses - rung.losses for rung in ladder]
    supports = [(lo - rung.highest, hi - rung.lowest) for rung in ladder]
    rows = [(x, *support, nats) for x, support in zip(paired, supports, strict=True)]
    table: list[dict[str, Any]] = []
    standing = True
    for rung, x, limit in zip(ladder, paired, uppers(rows, upper), strict=True):
        row = {
            "rung": rung.name,
            "risk": float(rung.losses.mean()),
            "mean": float(x.mean()),
            "upper": limit if standing else None,
        }
        standing = standing and limit < 0
        table.append(row | {"claimed": standing})
    return table

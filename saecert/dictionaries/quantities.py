"""What is measured of a dictionary in each sequence: names and ranges, read without torch."""

from __future__ import annotations

from collections.abc import Iterable

FIDELITY = {"explained variance": (0.0, 1.0), "cosine": (-1.0, 1.0), "relative error": (0.0, 1.0)}
"""What `saecert.dictionaries.fidelity.fidelity` returns, in this order, with its smallest and
largest possible value."""

RIVALS = ("SAE error", "low confidence")
"""What `saecert.dictionaries.rivals.rivals` returns, larger when stranger."""

PERTURBATIONS = ("SAE error", "noise", "shuffled latents")
"""What `saecert.dictionaries.horizon.horizon` puts in the place of an activation: the
reconstruction, and two errors exactly as large at every position."""

DIVERGENCES = ("KL", "smoothed KL")
"""What it measures of each, in bits: of the predictions as they are, which has no upper end, and of
the smoothed ones, which has."""

OUTPUT = "output"
"""The horizon of what the model really predicts; the others are numbers of blocks."""


COSTS = ("encoder", "optimal", "better", "floor")
"""Costs by sequence that `saecert.dictionaries.optimality.optimality` measures, as shares of the
cost of no activity: each is at most the one before, but for "better", which was tried on other
data."""

PAIRS = {"opposite": -1, "alike": 1}
"""Kinds of pairs of atoms in `saecert.dictionaries.phenomena.phenomena`, by the sign of the cosine
between them."""

BESIDES = ("first", "second", "both")
"""What it counts of a pair."""

ABSORBED = "absorbed"
"""Its pairs of a parent and a child."""

CEILING = "largest smoothed KL"
"""What no smoothed KL exceeds, in bits: beside the others, the same for every sequence."""


def divergence_name(divergence: str, perturbation: str, horizon: int | str) -> str:
    """Name of one array of `horizon`.

    >>> divergence_name("KL", "noise", 2)
    'KL of noise at 2'
    """
    return f"{divergence} of {perturbation} at {horizon}"


def horizons_of(names: Iterable[str]) -> list[int | str]:
    """Horizons that arrays of these names are at, the nearest first.

    >>> horizons_of(["KL of noise at output", "KL of noise at 2", "KL of noise at 0"])
    [0, 2, 'output']
    """
    words = {name.rpartition(" at ")[2] for name in names if name != CEILING}
    blocks = sorted(int(word) for word in words if word != OUTPUT)
    return [*blocks, OUTPUT]

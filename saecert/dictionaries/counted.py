"""Measurements of a trained SAE as counts on fixed grids: small enough to be kept as text."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

ERROR_STEPS = 400
"""Steps of the grid on [0, 1] on which relative errors are counted, each rounded up."""
COSINE_STEPS = 50
"""Steps of the grid on [0, 1] on which largest cosines are counted, each rounded down."""
BINS_A_DECADE = 4
"""Bins of firing probability."""


def relative_errors(
    acts: Float[np.ndarray, "n d_in"], recons: Float[np.ndarray, "n d_in"]
) -> Float[np.ndarray, "n"]:
    """``min(||x - x_hat||^2 / ||x||^2, 1)`` of each sample, in [0, 1]; 1 where x is 0.

    ValueError for values that are not finite.
    """
    acts = acts.astype(float)
    square = (acts**2).sum(axis=1)
    error = ((acts - recons) ** 2).sum(axis=1)
    if not (np.isfinite(square).all() and np.isfinite(error).all()):
        raise ValueError("samples and reconstructions must be finite")
    return np.divide(error, square, out=np.ones_like(error), where=square > 0).clip(0.0, 1.0)


def error_counts(errors: Float[np.ndarray, "n"]) -> Int[np.ndarray, "steps"]:
    """How many errors lie on each point of the grid when they are rounded up."""
    steps = np.ceil(errors * ERROR_STEPS).astype(int)
    return np.bincount(steps, minlength=ERROR_STEPS + 1)


def errors_from(counts: Int[np.ndarray, "steps"], *, rounded: str = "up") -> Float[np.ndarray, "n"]:
    """The errors that were counted, each on the grid: "up", at least what it was, or "down", at
    most.

    So an upper limit on the mean of the first, and a lower limit on that of the second, hold for
    the errors themselves.
    """
    places = np.arange(len(counts)) - (rounded == "down")
    return np.repeat(places.clip(0) / ERROR_STEPS, counts)


def cosine_counts(cosines: Float[np.ndarray, "n"]) -> Int[np.ndarray, "steps"]:
    """How many cosines lie in each step of the grid; those below 0 in the first."""
    steps = np.floor(cosines * COSINE_STEPS).astype(int)
    return np.bincount(steps.clip(0, COSINE_STEPS - 1), minlength=COSINE_STEPS)


def bins_of(probabilities: Float[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
    """Bin of each firing probability: bin b holds ``10^(b/4)`` up to ``10^((b+1)/4)``."""
    return np.floor(BINS_A_DECADE * np.log10(probabilities)).astype(int)


def counts_text(counts: Int[np.ndarray, "n"]) -> str:
    """Counts as text for a cell of a table, zeros at the end left out.

    >>> counts_text(np.array([3, 0, 1, 0]))
    '3 0 1'
    """
    return " ".join(map(str, np.trim_zeros(counts, "b"))) or "0"


def counts_of(text: str | int, length: int = 0) -> Int[np.ndarray, "n"]:
    """The counts that `counts_text` wrote, with zeros up to `length`.

    >>> counts_of("3 0 1", 4).tolist()
    [3, 0, 1, 0]
    """
    counts = np.array([int(word) for word in str(text).split()])
    return np.pad(counts, (0, max(0, length - len(counts))))

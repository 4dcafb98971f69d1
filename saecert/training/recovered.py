"""What an SAE recovers of a world whose features are known, as one row of a kept table.

Nothing here imports torch before an SAE is trained: pages that read the table do without.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from saecert.dictionaries.counted import (
    ERROR_STEPS,
    bins_of,
    cosine_counts,
    counts_text,
    error_counts,
    relative_errors,
)
from saecert.dictionaries.recovery import largest_cosines, recovered
from saecert.training.recipes import BATCH_TOP_K, TOP_K
from saecert.training.synthetic import World, new_world, uniform_directions

if TYPE_CHECKING:
    from sae_lens import SAE

JUMP_RELU = "jumprelu"
MATRYOSHKA = "matryoshka"
TRUE_DECODER = "true decoder"
TRUE_START = "true start"
ARCHITECTURES = (TOP_K, BATCH_TOP_K, JUMP_RELU, MATRYOSHKA, TRUE_DECODER, TRUE_START)
"""Kinds of SAEs; the last two are TopK SAEs whose decoder is the true features: in one it stays so,
in the other it only starts there. The encoder of both starts as its transpose."""

TEST = 3
"""Offset of the seed of test samples from that of the world."""
FRESH = 4
"""Offset of the seed of directions that no SAE has seen."""
BATCH = 1_000
"""Test samples at once."""


def recovery_row(
    *,
    world: str,
    architecture: str,
    n_features: int,
    d_in: int,
    d_sae: int,
    l0: int,
    n_samples: int,
    learning_rate: float,
    batch_size: int,
    threshold: float,
    n_test: int,
    n_fresh: int,
    seed: int,
) -> list[dict[str, Any]]:
    """One row: an SAE trained on a world, and measured on fresh samples of it.

    Columns: "explained_variance", "l0", "true_l0", "silent" (share of latents never active on the
    test samples), "recovered" (features with a row beyond `threshold`), "mean_cosine" (mean largest
    cosine of a feature), "fresh" (of `n_fresh` new uniform directions, how many have such a row),
    "f1", "mcc" (`sae_lens.synthetic`), "steps", "cpu_seconds", and counts as text (`counts_of`):
    "errors", test samples by relative error on a grid; "cosines", features by largest
    cosine on a grid; "features" and "recovered_features" by bin of firing probability, of which
    "first_bin" is the first (grids and bins: `saecert.dictionaries.counted`).

    Parameters
    ----------
    world, n_features, d_in, seed
        As for `saecert.training.synthetic.new_world`; `l0` is its number of active features.
    architecture, d_sae, l0, n_samples, learning_rate, batch_size
        As in `saecert.training.synthetic_saes.SyntheticRecipe`.
    threshold
        Cosine beyond which a feature is recovered, in (0, 1).
    n_test, n_fresh
        Test samples, and new directions.

    Raises
    ------
    ValueError
        What `new_world`, `SyntheticRecipe`, `train_on` and
        `saecert.dictionaries.recovery.recovered` refuse, before anything is trained.
    """
    from saecert.training.synthetic_saes import SyntheticRecipe, train_on

    recipe = SyntheticRecipe(
        architecture=architecture,
        n_samples=n_samples,
        d_sae=d_sae,
        l0=l0,
        learning_rate=learning_rate,
        batch_size=batch_size,
        seed=seed,
    )
    made = new_world(world, n_features=n_features, d_in=d_in, n_active=l0, seed=seed)
    recovered(np.ones((d_sae, d_in)), made.features, threshold)  # refused before training
    trained = train_on(made, recipe)
    fresh = uniform_directions(n_fresh, d_in, np.random.default_rng(seed + FRESH))
    rows = trained.sae.W_dec.detach().numpy()
    row = {"steps": recipe.steps, "cpu_seconds": round(trained.cpu_seconds, 1)}
    row |= of_decoder(rows, made, threshold)
    row["fresh"] = int((largest_cosines(rows, fresh) > threshold).sum())
    row |= of_samples(trained.sae, made, n_test, seed + TEST)
    return [row]


def of_decoder(
    rows: Float[np.ndarray, "d_sae d_in"], world: World, threshold: float
) -> dict[str, Any]:
    """What a decoder has of the features: columns "recovered" to "first_bin" of `recovery_row`."""
    from sae_lens.synthetic import mean_correlation_coefficient
    from torch import from_numpy

    cosines = largest_cosines(rows, world.features)
    found = recovered(rows, world.features, threshold)
    bins = bins_of(world.probabilities)
    first = int(bins.min())
    sizes = np.bincount(bins - first)
    return {
        "recovered": int(found.sum()),
        "mean_cosine": float(cosines.mean()),
        "cosines": counts_text(cosine_counts(cosines)),
        "first_bin": first,
        "features": counts_text(sizes),
        "recovered_features": counts_text(np.bincount(bins[found] - first, minlength=len(sizes))),
        "mcc": mean_correlation_coefficient(from_numpy(rows), from_numpy(world.features)),
    }


def of_samples(sae: SAE, world: World, n_test: int, seed: int) -> dict[str, Any]:
    """What an SAE does on fresh samples: errors, L0 and F1, columns of `recovery_row`."""
    import torch
    from sae_lens.synthetic import ClassificationMetricsCalculator

    features = torch.from_numpy(world.features)
    classified = ClassificationMetricsCalculator(sae.W_dec.detach(), features)
    sums = _Sums(world.features.shape[1], sae.cfg.d_sae)
    for acts, codes in world.samples(n_test, BATCH, seed):
        with torch.no_grad():
            latents = sae.encode(torch.from_numpy(acts))
            recons = sae.decode(latents).numpy()
        classified.add_batch(latents, torch.from_numpy(codes.toarray()))
        sums.add(acts, recons, latents.numpy() != 0, codes.nnz)
    return {**sums.row(), "f1": classified.compute().f1_score}


class _Sums:
    """Running sums over test samples."""

    def __init__(self, d_in: int, d_sae: int) -> None:
        self.n = 0
        self.total = np.zeros(d_in)
        self.square = 0.0
        self.error = 0.0
        self.active = 0
        self.true_active = 0
        self.fired = np.zeros(d_sae, dtype=bool)
        self.errors = np.zeros(ERROR_STEPS + 1, dtype=int)

    def add(self, acts: np.ndarray, recons: np.ndarray, on: np.ndarray, n_true: int) -> None:
        self.n += len(acts)
        self.total += acts.sum(axis=0, dtype=float)
        self.square += float((acts.astype(float) ** 2).sum())
        self.error += float(((acts.astype(float) - recons) ** 2).sum())
        self.active += int(on.sum())
        self.true_active += n_true
        self.fired |= on.any(axis=0)
        self.errors += error_counts(relative_errors(acts, recons))

    def row(self) -> dict[str, Any]:
        variance = self.square - float((self.total**2).sum()) / self.n
        return {
            "explained_variance": 1 - self.error / variance,
            "l0": self.active / self.n,
            "true_l0": self.true_active / self.n,
            "silent": 1 - float(self.fired.mean()),
            "errors": counts_text(self.errors),
        }

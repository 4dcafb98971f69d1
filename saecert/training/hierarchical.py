"""A world in which features are active only with their parents, made by `sae_lens.synthetic`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from sae_lens.synthetic import (
    HierarchyConfig,
    SyntheticModel,
    SyntheticModelConfig,
    ZipfianFiringProbabilityConfig,
)
from scipy.sparse import csr_array

from saecert.training.synthetic import Samples

BRANCHING = 4
"""Children of a feature that has any."""
DEPTH = 3
"""Generations below a root."""
N_PROBED = 20_000
"""Samples on which firing probabilities are counted: the hierarchy changes those asked for."""


@dataclass(frozen=True)
class Hierarchical:
    """Trees of features after SynthSAEBench (arXiv 2602.14687), smaller.

    Firing probabilities fall as a power of the rank (exponent .5, from .4 down to 5e-4). Two thirds
    of the features are in trees of `BRANCHING` children, `DEPTH` generations deep: a child is
    active only with its parent, and siblings exclude one another. Strengths are |N(4, 1/2)|. Unlike
    there, features are not correlated otherwise, not made more orthogonal, and have no bias.
    """

    model: SyntheticModel
    """Of sae_lens."""
    features: Float[np.ndarray, "n_features d_in"]
    """Unit directions."""
    probabilities: Float[np.ndarray, "n_features"]
    """Shares of `N_PROBED` samples."""

    @classmethod
    def new(cls, n_features: int, d_in: int, seed: int) -> Hierarchical:
        """A world of that size; ValueError if it is too small for one tree."""
        of_tree = sum(BRANCHING**depth for depth in range(DEPTH + 1))
        n_roots = 2 * n_features // (3 * of_tree)
        if n_roots < 1:
            raise ValueError(
                f"{n_features} features are too few for a hierarchy: {3 * of_tree // 2 + 1} or more"
            )
        settings = SyntheticModelConfig(
            num_features=n_features,
            hidden_dim=d_in,
            firing_probability=ZipfianFiringProbabilityConfig(
                exponent=0.5, max_prob=0.4, min_prob=5e-4
            ),
            hierarchy=HierarchyConfig(
                total_root_nodes=n_roots,
                branching_factor=BRANCHING,
                max_depth=DEPTH,
                mutually_exclusive_portion=1.0,
                compensate_probabilities=True,
            ),
            mean_firing_magnitudes=4.0,
            std_firing_magnitudes=0.5,
            bias=False,
            seed=seed,
        )
        model = SyntheticModel(settings)
        features = model.feature_dict.feature_vectors.detach().numpy()
        drawn = _samples(model, N_PROBED, 1_000, seed)
        counts = sum((codes != 0).sum(axis=0) for _, codes in drawn)
        return cls(model, features, np.asarray(counts) / N_PROBED)

    def samples(self, n: int, batch_size: int, seed: int) -> Iterator[Samples]:
        """`n` independent samples, `batch_size` at once."""
        return _samples(self.model, n, batch_size, seed)

    def acts(self, n: int, batch_size: int, seed: int) -> Iterator[Float[np.ndarray, "_ d_in"]]:
        """The activations of the same `samples`, whose strengths stay unpacked."""
        return (acts for acts, _ in _drawn(self.model, n, batch_size, seed))


def _samples(model: SyntheticModel, n: int, batch_size: int, seed: int) -> Iterator[Samples]:
    return ((acts, csr_array(codes)) for acts, codes in _drawn(model, n, batch_size, seed))


def _drawn(
    model: SyntheticModel, n: int, batch_size: int, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Activations and strengths."""
    state = torch.Generator().manual_seed(seed).get_state()
    for start in range(0, n, batch_size):
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.set_rng_state(state)
            codes = model.activation_generator.sample(min(batch_size, n - start))
            acts = model.feature_dict(codes)
            state = torch.get_rng_state()
        yield acts.numpy(), codes.numpy()

"""Worlds whose features are known: sparse sums of fixed directions, sampled fast and exactly.

The first kind is that of arXiv 2602.14111: unit features uniform on the sphere, each active on its
own with a probability of its own and with a LogNormal strength. The second is hierarchical, from
`sae_lens.synthetic`. No torch is imported before a hierarchical world is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float
from scipy.sparse import csr_array

CONSTANT = "constant"
LOG_UNIFORM = "log-uniform"
HIERARCHY = "hierarchy"
WORLDS = (CONSTANT, LOG_UNIFORM, HIERARCHY)
"""Names of worlds."""

EXPONENTS = (-5.5, -1.2)
"""Ends of the log-uniform firing probabilities, powers of ten."""
SIGMA = 0.25
"""Standard deviation of the logarithm of an active feature's strength."""

Samples = tuple[Float[np.ndarray, "n d_in"], csr_array]
"""Activations, and the strengths of the features that they are sums of (one row a sample)."""


@runtime_checkable
class World(Protocol):
    """What activations are drawn from."""

    features: Float[np.ndarray, "n_features d_in"]
    """Unit directions."""
    probabilities: Float[np.ndarray, "n_features"]
    """How often each is active."""

    def samples(self, n: int, batch_size: int, seed: int) -> Iterator[Samples]:
        """`n` independent samples, `batch_size` at once."""
        ...

    def acts(self, n: int, batch_size: int, seed: int) -> Iterator[Float[np.ndarray, "_ d_in"]]:
        """The activations of the same `samples`."""
        ...


@dataclass(frozen=True)
class Superposition:
    """Independent features in superposition, ``x = sum_i b_i c_i f_i``.

    b_i is Bernoulli(p_i), and c_i LogNormal(0, `sigma`).
    """

    features: Float[np.ndarray, "n_features d_in"]
    """Unit directions f_i, one a row."""
    probabilities: Float[np.ndarray, "_"]
    """p_i, each in (0, 1)."""
    sigma: float = SIGMA
    """Standard deviation of log c_i."""

    def __post_init__(self) -> None:
        if self.probabilities.shape != (len(self.features),):
            raise ValueError(
                f"{len(self.features)} features need as many firing probabilities, got an array "
                f"of shape {self.probabilities.shape}"
            )
        if not ((self.probabilities > 0) & (self.probabilities < 1)).all():
            raise ValueError("firing probabilities lie in (0, 1)")
        if not 0 <= self.sigma < np.inf:
            raise ValueError(f"sigma must be 0 or more, got {self.sigma}")

    @cached_property
    def _rates(self) -> np.ndarray:
        """Running sums of the rates at which Poisson counts are positive with probability p_i."""
        return np.cumsum(-np.log1p(-self.probabilities))

    def codes(self, n: int, rng: np.random.Generator) -> csr_array:
        """Strengths of the active features of `n` samples, sparse, in time that grows with their
        number and not with that of all features.

        A Poisson count of rate ``-ln(1 - p)`` is positive with probability p. All counts of all
        features and samples together are one Poisson number of events, each at an independent
        place: so events are drawn, and places that have several count once. The distribution is
        exactly that of independent Bernoulli variables.
        """
        n_features = len(self.features)
        rates = self._rates
        n_events = rng.poisson(n * rates[-1])
        feature = np.searchsorted(rates, rng.random(n_events) * rates[-1], side="right")
        feature = np.minimum(feature, n_features - 1)  # a product may round up to the last sum
        row = rng.integers(0, n, n_events)
        row, feature = np.divmod(np.unique(row * n_features + feature), n_features)
        strengths = np.exp(self.sigma * rng.standard_normal(len(row))).astype(np.float32)
        starts = np.searchsorted(row, np.arange(n + 1))
        return csr_array((strengths, feature, starts), shape=(n, n_features))

    def samples(self, n: int, batch_size: int, seed: int) -> Iterator[Samples]:
        """`n` independent samples, `batch_size` at once, the last batch smaller if need be."""
        rng = np.random.default_rng(seed)
        for start in range(0, n, batch_size):
            codes = self.codes(min(batch_size, n - start), rng)
            yield codes @ self.features, codes

    def acts(self, n: int, batch_size: int, seed: int) -> Iterator[Float[np.ndarray, "_ d_in"]]:
        """The activations of the same `samples`."""
        return (acts for acts, _ in self.samples(n, batch_size, seed))


def new_world(name: str, *, n_features: int, d_in: int, n_active: float | int, seed: int) -> World:
    """The world of that name, its features and probabilities drawn with `seed`.

    Parameters
    ----------
    name
        One of `WORLDS`: every p_i the same; log p_i uniform between `EXPONENTS`; or features that
        are active only with their parents.
    n_features, d_in
        How many features, in how many dimensions.
    n_active
        How many are active at once on average, if every p_i is the same.
    seed
        Of the features and probabilities.

    Raises
    ------
    ValueError
        An unknown name, fewer than 2 dimensions, or a p_i outside (0, 1).
    """
    if name not in WORLDS:
        raise ValueError(f"world is one of {', '.join(WORLDS)}, got {name!r}")
    if d_in < 2:
        raise ValueError(f"d_in must be at least 2, got {d_in}")
    if not 0 < n_active < n_features:
        raise ValueError(f"n_active={n_active} of {n_features} features: it lies between")
    if name == HIERARCHY:
        from saecert.training.hierarchical import Hierarchical

        return Hierarchical.new(n_features, d_in, seed)
    rng = np.random.default_rng(seed)
    features = uniform_directions(n_features, d_in, rng)
    if name == CONSTANT:
        probabilities = np.full(n_features, n_active / n_features)
    else:
        probabilities = 10 ** rng.uniform(*EXPONENTS, n_features)
    return Superposition(features, probabilities)


def uniform_directions(n: int, d_in: int, rng: np.random.Generator) -> Float[np.ndarray, "n d_in"]:
    """`n` independent directions, uniform on the unit sphere, in single precision."""
    drawn = rng.standard_normal((n, d_in))
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)

"""A certification sample, taken apart once: everything else works on these arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from saecert.records import SequenceLosses, smoothed_support

Losses = Float[np.ndarray, "n_seq"]


@dataclass(frozen=True)
class Sample:
    """Smoothed losses at one alpha, bits per token, of the model and of every measured proxy."""

    record: SequenceLosses
    """The sequences, in the order in which they are read."""
    alpha: float
    """Weight of the uniform distribution in every predictor."""
    lo: float
    """Smallest possible loss."""
    hi: float
    """Largest possible loss."""
    clean: Losses
    """Losses of the model, l(f)."""
    full: Losses
    """Losses of the SAE proxy, l(g)."""
    sizes: tuple[int, ...]
    """Measured pool sizes, ascending; the last is the full dictionary."""
    pools: Float[np.ndarray, "n_pool n_seq"]
    """Losses of the pooled proxies, l(g_A), one row a size."""

    @classmethod
    def of(cls, record: SequenceLosses, alpha: float) -> Sample:
        """The arrays behind a record. Raises ValueError or KeyError for what was not measured."""
        lo, hi = smoothed_support(alpha, record.n_vocab)
        clean = record.at("clean", alpha)
        full = record.at("full", alpha)
        pools = [record.at(f"pool_{k}", alpha) for k in record.pool_sizes[:-1]]
        return cls(
            record=record,
            alpha=alpha,
            lo=lo,
            hi=hi,
            clean=clean,
            full=full,
            sizes=record.pool_sizes,
            pools=np.stack([*pools, full]),
        )

    def __len__(self) -> int:
        return len(self.record)

    def pooled(self, sizes: Sequence[int]) -> Float[np.ndarray, "n_chosen n_seq"]:
        """Losses of the pooled proxies of some sizes; ValueError for one that was not measured."""
        if tuple(sizes) == self.sizes:
            return self.pools
        for k in sizes:
            if k not in self.sizes:
                raise ValueError(
                    f"a pool of {k} latents was not measured; "
                    f"measured sizes: {', '.join(map(str, self.sizes))}"
                )
        return self.pools[[self.sizes.index(k) for k in sizes]]

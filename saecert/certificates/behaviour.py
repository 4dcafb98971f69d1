"""What a record says of a pool beyond losses: shares in [0, 1], one for each sequence."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from saecert.records import SequenceLosses

OUTSIDE = ("outside_firings", "outside_energy")
"""Statements about what is outside the pool."""


def pool_behaviour(
    sample: SequenceLosses, k: int, measured: int
) -> dict[str, tuple[Float[np.ndarray, "n_seq"], float]]:
    """Each sequence's share and the largest there can be, by statement, for a pool of size `k`.

    `measured` is the size of the pool whose proxy stands for it: `d_sae` for a pool that contains
    every latent active on the sample, so that nothing of the *sample* lies outside. Nothing at all
    lies outside the full dictionary. What was not recorded is left out.
    """
    whole = measured == sample.d_sae
    proxy = "full" if whole else f"pool_{measured}"
    tables = {
        "total_variation": sample.total_variation,
        "disagreement": sample.top1_disagreement,
        "outside_firings": sample.outside_firings,
        "outside_energy": sample.outside_energy,
    }
    shares = {
        name: (np.clip(np.asarray(table[proxy], np.float64), 0.0, 1.0), 1.0)
        for name, table in tables.items()
        if proxy in table
    }
    if whole:
        highest = float(k < sample.d_sae)
        shares |= {name: (np.zeros(len(sample)), highest) for name in OUTSIDE}
    return shares

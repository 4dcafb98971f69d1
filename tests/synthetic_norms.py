"""Rows as `saecert.dictionaries.norms.norms` measures them, made up."""

import numpy as np

from saecert.dictionaries.norm_limits import BOUNDED, WITHIN
from saecert.dictionaries.quantities import tau_name, token_name


def made_up(n_seq, seed, ratio=0.7):
    """Rows as `norms` has them, with known medians and means."""
    rng = np.random.default_rng(seed)
    rows = {name: rng.random(n_seq) * 0.5 for name in BOUNDED}
    rows |= {tau_name(*pair): rng.uniform(-0.5, 0.9, n_seq) for pair in WITHIN}
    z = 10 * np.exp(rng.normal(size=(n_seq, 2)))
    rows[token_name("norm_z")] = z
    rows[token_name("norm_f")] = z * ratio * np.exp(0.1 * rng.normal(size=z.shape))
    for name in ("nmse", "eps_identity", "loss_increase", "total_variation"):
        rows[token_name(name)] = rng.random((n_seq, 2))
    rows |= {"d_sae": np.full(n_seq, 5.0), "d_in": np.full(n_seq, 3.0)}
    rows |= {"largest eps_lbo": rng.random(n_seq), "largest eps_identity": rng.random(n_seq)}
    rows |= {"coherence": np.full(n_seq, 0.9), "coherence with b_dec": np.full(n_seq, 0.95)}
    return rows

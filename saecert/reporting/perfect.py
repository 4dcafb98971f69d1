"""The model as a proxy of itself: bounds by number of sequences, however they are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from saecert.certificates.certificate import certify
from saecert.certificates.exact_set import exact_set_bound
from saecert.measurement.stand_in import as_sae
from saecert.records import SequenceLosses

EXACT = "exactly the active latents"
"""Row of the pool that is paid for as the set that is active on the sample."""
_SIZES = (2, 3, 5, 10, 20, 50, 100, 200, 500, 1000)


def perfect_bounds(
    losses: SequenceLosses, asked: Mapping[str, Mapping[str, Any]], *, delta: float, alpha: float
) -> pd.DataFrame:
    """Bounds of the model in the place of the SAE: a row a label, a column a number of sequences.

    **Guarantee.** Each bound holds on its own at the delta of its row, under the assumptions of
    `saecert.certify`.

    Parameters
    ----------
    losses
        Record of the SAE, whose activity is that of the sample.
    asked
        Settings of `saecert.certify` by label.
    delta, alpha
        Of the last row, `EXACT`, by Hoeffding's inequality.

    Returns
    -------
    pd.DataFrame
        Bits per token. Columns are 2, 3, 5, 10, ... below the number of sequences, and that number.
    """
    perfect = as_sae(losses, "clean")
    sizes = [*(n for n in _SIZES if n < len(losses)), len(losses)]
    rows = {
        label: [certify(perfect, n_seq=n, **settings).bound for n in sizes]
        for label, settings in asked.items()
    }
    exact = (exact_set_bound(perfect, n, delta=delta, alpha=alpha) for n in sizes)
    rows[EXACT] = [paid.bound for paid in exact]
    return pd.DataFrame.from_dict(rows, orient="index", columns=pd.Index(sizes, name="n_seq"))

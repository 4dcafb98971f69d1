"""Certificates of an SAE whose latents were split into aliases, as tables (no torch)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from saecert.certificates.certificate import certify
from saecert.certificates.exact_set import exact_set_bound
from saecert.dictionaries.aliased import aliased, leaving, merged
from saecert.records import SequenceLosses
from saecert.reporting.claims import Undecided, decided

EPS = 0.5
"""Bits within which concepts are counted."""


def by_copies(
    losses: SequenceLosses,
    packed: np.ndarray,
    counts: Mapping[str, np.ndarray],
    k: int,
    *,
    delta: float,
    alpha: float,
    inequality: str,
) -> pd.DataFrame:
    """What certificates and pools make of 1, 2, 4, ... aliases a latent: a row a number of them.

    **Guarantee.** Each bound holds on its own with probability at least ``1 - delta``, as do the
    limits of "leaving the pool" in each row, under the assumptions of `saecert.certify`.

    Parameters
    ----------
    losses
        Record of the SAE itself, with discovery.
    packed
        "active" of `saecert.dictionaries.aliases.aliases`, on its first sequences.
    counts
        What `saecert.dictionaries.aliases.alias_counts` says of discovery.
    k
        Latents in the pool of T1, measured.
    delta, alpha, inequality
        As for `saecert.certify`.

    Returns
    -------
    pd.DataFrame
        Columns on two levels: "dictionary" ("latents", "active" on the sample), "unmoved" ("T1",
        "direct", "price": upper limits), "concepts" ("count", within `EPS` bits), "nats" and
        "bound" ("exact set", "whole dictionary", "product prior": three ways to pay for a pool read
        off the sample), "leaving" ("pool", "share", "lower", "upper", "unseen").
    """
    sizes = sorted(int(name.rpartition("_")[2]) for name in counts if name.startswith("n_active"))
    copies = sizes[-1]
    shape = losses.d_sae * copies
    rows = np.unpackbits(packed.astype(np.uint8), axis=1, count=shape).astype(bool)
    common = {"delta": delta, "alpha": alpha, "inequality": inequality}
    table = {}
    for r in sizes:
        active = merged(rows, copies, r)
        n_active = counts[f"n_active_{r}"]
        record = aliased(losses, active, n_active, int(counts["n_seq"]))
        row = _certified(record, r * k, common)
        left = leaving(active, n_active, math.log(2 / delta))
        row |= {("leaving", name): value for name, value in left.items()}
        row["dictionary", "active"] = int(active.any(axis=0).sum())
        table[r] = row
    frame = pd.DataFrame(table.values(), index=pd.Index(table, name="aliases"))
    frame.columns = pd.MultiIndex.from_tuples(frame.columns)
    whole = [("dictionary", "latents"), ("dictionary", "active"), ("leaving", "pool")]
    return frame.astype(dict.fromkeys(whole, int))


def unmoved_table(split: pd.DataFrame) -> pd.DataFrame:
    """Of the frame of `by_copies`, limits that aliases leave as they are, and concept counts."""
    names = {"T1": "bound, fixed pool", "direct": "direct bound", "price": "price of explanation"}
    table = split["unmoved"].rename(columns=names)
    table.insert(0, "latents", split["dictionary", "latents"])
    table[f"concepts within {EPS:g} bits"] = split["concepts", "count"]
    return table


def moved_table(split: pd.DataFrame) -> pd.DataFrame:
    """Of the frame of `by_copies`, prices and bounds of pools read off the sample."""
    chosen = split[["dictionary", "nats", "bound"]].drop(columns=[("dictionary", "latents")])
    titles = {"nats": "cost of the pool, nats", "bound": "bound, bits"}
    return chosen.rename(columns=titles, level=0)


def leave_more(split: pd.DataFrame) -> bool | Undecided:
    """Whether sequences leave the pool more often when latents are split, of `by_copies`.

    A sequence that leaves goes on leaving when aliases are split further. So one that stays with
    the fewest aliases and leaves with the most decides it; without any, the sample leaves it open.
    """
    share = split["leaving", "share"]
    falls = not share.is_monotonic_increasing
    more = share.iloc[-1] > share.iloc[0]
    return decided(more and not falls, falls, "as many of these sequences leave as with one alias")


def _certified(record: SequenceLosses, pool: int, common: Mapping[str, Any]) -> dict[Any, Any]:
    """The certificates of one record."""
    fixed = certify(record, pool=pool, eps=(EPS,), **common)
    read_off = {"method": "in_sample", "eps": (), **common}
    uniform = certify(record, prior="uniform", **read_off)
    product = certify(record, prior="product", **read_off)
    exact = exact_set_bound(record, **common)
    return {
        ("dictionary", "latents"): record.d_sae,
        ("unmoved", "T1"): fixed.bound,
        ("unmoved", "direct"): fixed.direct,
        ("unmoved", "price"): fixed.price,
        ("concepts", "count"): fixed.concepts[0]["k"],
        ("nats", "exact set"): exact.nats,
        ("nats", "whole dictionary"): uniform.selection_nats,
        ("nats", "product prior"): product.selection_nats,
        ("bound", "exact set"): exact.bound,
        ("bound", "whole dictionary"): uniform.bound,
        ("bound", "product prior"): product.bound,
    }

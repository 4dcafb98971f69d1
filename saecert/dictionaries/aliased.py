"""The record of an SAE whose latents were split into aliases: what certificates make of it.

No torch: the losses are those of the record, since the reconstruction is the same at every token;
only which latents there are, and where they are active, changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int

from saecert.records import SequenceLosses
from saecert.statistics.inequalities import clopper_pearson_upper

Value = TypeVar("Value")
_ROUNDED = 1e-3
"""Share of active latents about which two processors may disagree: those at their threshold."""
_TABLES = (
    "loss",
    "raw",
    "total_variation",
    "top1_disagreement",
    "outside_firings",
    "outside_energy",
)


def merged(
    active: Bool[np.ndarray, "*lead aliases"], copies: int, r: int
) -> Bool[np.ndarray, "*lead fewer"]:
    """Activity of `r` aliases a latent from that of `copies`: those of classes equal modulo r.

    ValueError unless `r` divides `copies`.

    >>> merged(np.array([False, False, True, False]), 4, 2)
    array([ True, False])
    """
    if r < 1 or copies % r:
        raise ValueError(f"{copies} aliases of a latent cannot be merged into {r}")
    shape = active.shape[:-1]
    return active.reshape(*shape, -1, copies // r, r).any(axis=-2).reshape(*shape, -1)


def aliased(
    losses: SequenceLosses,
    active: Bool[np.ndarray, "n_seq aliases"],
    n_active: Int[np.ndarray, "aliases"] | None = None,
    n_discovery: int = 0,
) -> SequenceLosses:
    """The record of the same SAE with every latent split into as many aliases as `active` has.

    Losses, and all that is derived from predictions, are those of `losses` at the sequences of
    `active` (the first ones). A pool of k latents becomes the pool of all their aliases, r k of
    them, with the same reconstruction; the ranking puts the aliases of a latent side by side.

    Parameters
    ----------
    losses
        Record of the SAE itself.
    active
        Which aliases are active in each of its first sequences; alias (j, s) is column
        ``j * r + s``.
    n_active
        In how many discovery sequences each alias is active. None leaves discovery out, as does a
        record without.
    n_discovery
        How many sequences these are; by default those counted in the record.

    Raises
    ------
    ValueError
        No whole number of aliases a latent, more sequences than the record has, or aliases that are
        active where their latent is not.
    """
    r, rest = divmod(active.shape[1], losses.d_sae)
    if rest or not r:
        raise ValueError(
            f"{active.shape[1]} aliases of {losses.d_sae} latents: not as many for each"
        )
    if len(active) > len(losses):
        raise ValueError(f"aliases of {len(active)} sequences, and losses of {len(losses)}")
    some = losses.take(slice(0, len(active)))
    latents = some.activity()
    if (merged(active, r, 1) != latents).sum() > _ROUNDED * latents.sum():
        raise ValueError("the aliases are not active where the latents of this record are")
    tables = {name: _renamed(getattr(some, name), r) for name in _TABLES}
    discovery = None
    if some.discovery is not None and n_active is not None:
        order = (some.discovery.order[:, None] * r + np.arange(r)).ravel()
        seen = {"n_active": n_active, "n_seq": n_discovery or some.discovery.n_seq}
        discovery = replace(some.discovery, order=order, losses=None, **seen)
    return replace(
        some,
        d_sae=losses.d_sae * r,
        active=np.packbits(active, axis=1),
        discovery=discovery,
        provenance={**some.provenance, "aliases": r},
        **tables,
    )


def leaving(
    active: Bool[np.ndarray, "n_seq aliases"], n_active: Int[np.ndarray, "aliases"], nats: float
) -> pd.Series:
    """How often sequences leave the pool of all aliases that were active on discovery.

    **Guarantee.** "upper" is at least the probability that a sequence activates an alias outside
    the pool, "lower" at most, each except with probability ``exp(-nats)``, for sequences drawn
    i.i.d. (Clopper & Pearson 1934).

    Entries "pool" (its size), "share" of the sequences, "lower", "upper", and "unseen": aliases
    outside the pool that a sequence activates, on average.
    """
    outside = active & (n_active == 0)
    n_seq = len(active)
    leave = int(outside.any(axis=1).sum())
    values = {
        "pool": int((n_active > 0).sum()),
        "share": leave / n_seq,
        "lower": float(1 - clopper_pearson_upper(n_seq - leave, n_seq, nats)),
        "upper": float(clopper_pearson_upper(leave, n_seq, nats)),
        "unseen": float(outside.sum(axis=1).mean()),
    }
    return pd.Series(values)


def _renamed(table: Mapping[str, Value], r: int) -> dict[str, Value]:
    """The same values, pools under the number of their aliases."""
    sizes = {name: name.removeprefix("pool_") for name in table}
    return {
        name if sizes[name] == name else f"pool_{int(sizes[name]) * r}": values
        for name, values in table.items()
    }

"""Bounds against the number of sequences by way of choosing the pool: the frames of page 03."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from saecert.certificates.certificate import certify
from saecert.certificates.exact_set import exact_set_bound
from saecert.certificates.published import published_bound
from saecert.certificates.sample import Sample
from saecert.records import SequenceLosses

SIZES = (3, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)
"""Sample sizes, as far as there are as many sequences; all of them come last."""
PRINTED = "as printed (not valid)"


def sizes_up_to(n: int) -> list[int]:
    """The sample sizes of a curve that ends with all `n` sequences."""
    return [*(size for size in SIZES if size < n), n]


def certified_bounds(
    losses: SequenceLosses,
    sizes: Sequence[int],
    ways: Mapping[str, Mapping[str, Any]],
    **settings: Any,
) -> pd.DataFrame:
    """One row per alpha, size and way: alpha, n_seq, label, bound, k, nats, valid.

    `ways` has the arguments of `saecert.certify` by label; `settings` are common to all.
    """
    rows = []
    for alpha in losses.alphas:
        for n in sizes:
            for label, own in ways.items():
                chosen = {**settings, **own, "alpha": alpha, "n_seq": n, "eps": ()}
                certificate = certify(losses, **chosen)
                result = {"bound": certificate.bound, "k": certificate.k}
                result |= {"nats": certificate.selection_nats, "valid": True}
                rows.append({"alpha": alpha, "n_seq": n, "label": label, **result})
    return pd.DataFrame(rows)


def exact_bounds(
    losses: SequenceLosses, sizes: Sequence[int], ways: Mapping[str, str], delta: float
) -> pd.DataFrame:
    """The same columns for exactly the latents active on the sample, uniform prior.

    `ways` has the name of an inequality by label.
    """
    rows = []
    for alpha in losses.alphas:
        for n in sizes:
            for label, inequality in ways.items():
                settings = {"delta": delta, "alpha": alpha, "inequality": inequality}
                exact = exact_set_bound(losses, n, **settings)
                result = {"bound": exact.bound, "k": exact.k, "nats": exact.nats, "valid": True}
                rows.append({"alpha": alpha, "n_seq": n, "label": label, **result})
    return pd.DataFrame(rows)


def printed_bounds(losses: SequenceLosses, sizes: Sequence[int], delta: float) -> pd.DataFrame:
    """The same columns but nats for the formula that the paper's predecessor prints. **Not valid.**

    It takes the mean number of active latents for the size of the pool, and counts tokens.
    """
    facts = losses.provenance
    first = int(facts.get("bos", False) and not facts.get("bos_replaced", False))
    tokens = losses.l0[:, first:]
    rows = []
    for alpha in losses.alphas:
        sample = Sample.of(losses, alpha)
        gaps = np.abs(sample.clean - sample.full)
        for n in sizes:
            shape = {"k": float(tokens[:n].mean()), "d_sae": losses.d_sae}
            shape |= {"n_tokens": n * tokens.shape[1], "n_vocab": losses.n_vocab}
            means = (float(sample.full[:n].mean()), float(gaps[:n].mean()))
            printed = published_bound(*means, **shape, alpha=alpha, delta=delta)
            result = {"bound": printed.bound, "k": shape["k"], "valid": False}
            rows.append({"alpha": alpha, "n_seq": n, "label": PRINTED, **result})
    return pd.DataFrame(rows)


def by_size(
    frame: pd.DataFrame, alpha: float, sizes: Sequence[int], values: Sequence[str]
) -> pd.DataFrame:
    """One row a way and, for each of some sizes, its `values` (bound, k, nats), at one alpha."""
    part = frame[(frame["alpha"] == alpha) & frame["n_seq"].isin(sizes)]
    labels = list(dict.fromkeys(part["label"]))
    columns = {}
    for n in sizes:
        rows = part[part["n_seq"] == n].set_index("label").reindex(labels)
        for name in values:
            whole = rows[name].round().astype("Int64") if name == "k" else rows[name]
            columns[f"n = {n:,}", name] = whole
    table = pd.DataFrame(columns, index=labels)
    table.columns = pd.MultiIndex.from_tuples(columns)
    return table.rename_axis("pool")


def first_below(frame: pd.DataFrame, ceiling: float) -> pd.DataFrame:
    """The first size in the frame at which each way is below `ceiling`, by alpha; NA if at none."""
    below = frame[frame["valid"] & (frame["bound"] < ceiling)]
    first = below.groupby(["label", "alpha"])["n_seq"].min().unstack("alpha")
    labels = list(dict.fromkeys(frame.loc[frame["valid"], "label"]))
    alphas = list(dict.fromkeys(frame["alpha"]))
    return first.reindex(labels, columns=alphas).astype("Int64")


def times_as_many(
    first: pd.DataFrame, label: str, reference: str, factor: float | int, largest: int
) -> bool | str:
    """Whether one way needs `factor` times the sequences of another, or why that is not known.

    `first` is that of `first_below`, `largest` the largest size tried: a way that was not below
    there needs more.
    """
    verdicts = []
    for alpha in first.columns:
        needed = first.loc[reference, alpha]
        if pd.isna(needed):
            return f"'{reference}' needs more than {largest} sequences"
        least = first.loc[label, alpha]
        if pd.isna(least) and largest < factor * needed:
            return f"needs at least {factor * needed:g} sequences"
        verdicts.append(bool(pd.isna(least) or least >= factor * needed))
    return all(verdicts)

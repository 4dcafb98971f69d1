"""How much of a model a ranking of latents carries: certified concept counts, and the frontier of pool size and faithfulness."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from saecert.certificates.checks import checked_sample
from saecert.certificates.pool_rules import BEHAVIOUR, pooled_losses, split_delta
from saecert.records import SequenceLosses, smoothed_support
from saecert.statistics.inequalities import INEQUALITIES, uppers

COLUMNS = ("pool_gap", "price", *BEHAVIOUR)
"""What `frontier` follows over pool sizes."""


def pool_behaviour(
    sample: SequenceLosses, k: int, measured: int
) -> dict[str, tuple[Float[np.ndarray, "n_seq"], float]]:
    """What a record says of a pool of `k` latents in [0, 1], by statement: each sequence's value, and the largest there can be.

    `measured` is the size of the pool whose proxy stands for it, `d_sae` for the latents active on the sample: nothing of the
    *sample* lies outside those. Nothing at all lies outside the full dictionary. What was not recorded is left out.
    """
    proxy = "full" if measured == sample.d_sae else f"pool_{measured}"
    tables = (
        sample.total_variation,
        sample.top1_disagreement,
        sample.outside_firings,
        sample.outside_energy,
    )
    found = {
        name: (np.clip(table[proxy], 0.0, 1.0), 1.0)
        for name, table in zip(BEHAVIOUR, tables, strict=True)
        if proxy in table
    }
    return found | (
        dict.fromkeys(BEHAVIOUR[2:], (np.zeros(len(sample)), float(k < sample.d_sae)))
        if proxy == "full"
        else {}
    )


def concept_counts(
    sample: SequenceLosses,
    alpha: float,
    nats: float,
    eps: Sequence[float],
    upper: Callable[..., Any],
) -> list[dict[str, Any]]:
    """One row per tolerance: "eps", "k" (the certified concept count, None if not even the full SAE keeps within eps), "tested".

    Measured pools are tested from the full dictionary downwards: size k passes if ``upper(|l(f) - l(g_A)|; 0, hi - lo; nats)``
    is at most eps bits per token. The first failure ends it, and the count is the last size that passed; "tested" lists every size tried
    with its limit.

    **Guarantee.** For each eps on its own: with probability at least ``1 - exp(-nats)`` every pool that passed has
    ``E |l(f) - l(g_A)| <= eps``. Nats are not divided among sizes: a false claim needs the largest pool that exceeds eps to pass, and
    that is one test (fixed-sequence testing, as in `saecert.certificates.ladder.climb`). Several eps hold jointly at the sum of their deltas.
    The limits under "tested" hold one by one, not together: `frontier` has limits that do.
    The count belongs to the ranking fixed on discovery and to the sizes measured: another ranking may need fewer latents.

    Raises
    ------
    ValueError
        An eps that is not a positive number.
    """
    if not all(0 < e < math.inf for e in eps):
        raise ValueError(
            f"every eps must be a positive number of bits per token, got {', '.join(map(str, eps))}"
        )
    lo, hi = smoothed_support(alpha, sample.n_vocab)
    sizes, clean = sample.pool_sizes[::-1], sample.at("clean", alpha)
    limits = uppers(
        [
            (np.abs(pooled - clean), 0.0, hi - lo, nats)
            for pooled in pooled_losses(sample, sizes, alpha)
        ],
        upper,
    )
    rows = []
    for e in eps:
        passed = next((i for i, limit in enumerate(limits) if limit > e), len(sizes))
        tested = [{"k": k, "upper": limit} for k, limit in zip(sizes, limits, strict=True)][
            : passed + 1
        ]
        rows.append({"eps": float(e), "k": sizes[passed - 1] if passed else None, "tested": tested})
    return rows


def frontier(
    losses: SequenceLosses,
    *,
    delta: float = 0.05,
    alpha: float = 0.5,
    inequality: str = "dirichlet",
    n_seq: int | None = None,
    seed: int = 0,
    pools: Sequence[int] | None = None,
    allow: Sequence[str] = (),
) -> list[dict[str, int | float | None]]:
    """One row per pool size, ascending: "k", and for each of `COLUMNS` its sample mean under that name and its limit under "<name>_upper".

    Columns: "pool_gap", ``|l(f) - l(g_A)|`` in bits per token; "price", ``l(g_A) - l(f)``, signed; "total_variation" and
    "disagreement" of model and pooled proxy; "outside_firings" and "outside_energy", the expected share of a sequence's firings and
    activation energy outside the pool. Both are None where the record does not hold them. At k = d_sae the last two are 0 by definition.

    **Guarantee.** For each column on its own: with probability at least ``1 - delta`` all its limits hold, at every size in `pools`
    at once (K sizes with weights 1/K, T2), if the ranking of the latents and every argument were fixed before the certification
    sample was looked at. Two columns hold jointly at the sum of their deltas. It is the frontier of *this ranking*, at the sizes
    measured: it does not say how many concepts the model needs.

    Parameters
    ----------
    losses
        Record of the certification sample.
    delta, alpha, inequality, n_seq, seed, allow
        As for `certify`.
    pools
        Measured sizes to show, d_sae for the full dictionary. Default: every measured size.

    Raises
    ------
    ValueError
        A setting out of range or unknown, a size that was not measured, or an assumption check that fires (see `certify`).
    """
    split_delta(delta)
    if inequality not in INEQUALITIES:
        raise ValueError(f"unknown inequality '{inequality}'; there are {', '.join(INEQUALITIES)}")
    lo, hi = smoothed_support(alpha, losses.n_vocab)
    sample, _, _ = checked_sample(losses, n_seq, seed, allow)
    sizes = sample.pool_sizes if pools is None else tuple(sorted({int(k) for k in pools}))
    if not sizes:
        raise ValueError("a frontier needs at least one pool size")
    signed = pooled_losses(sample, sizes, alpha) - sample.at("clean", alpha)
    nats, rows = math.log(len(sizes)) - math.log(delta), []
    for k, price in zip(sizes, signed, strict=True):
        cells = {
            "pool_gap": (np.abs(price), 0.0, hi - lo, nats),
            "price": (price, lo - hi, hi - lo, nats),
        }
        cells |= {
            name: (x, 0.0, highest, nats)
            for name, (x, highest) in pool_behaviour(sample, k, k).items()
        }
        limits = dict(
            zip(cells, uppers(list(cells.values()), INEQUALITIES[inequality]), strict=True)
        )
        row: dict[str, int | float | None] = {"k": k}
        for name in COLUMNS:
            row |= {
                name: float(cells[name][0].mean()) if name in cells else None,
                f"{name}_upper": limits.get(name),
            }
        rows.append(row)
    return rows

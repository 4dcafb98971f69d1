"""How much of a model a ranking of latents carries: concept counts, and pool size against gap."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from saecert.certificates.behaviour import pool_behaviour
from saecert.certificates.checks import checked_sample
from saecert.certificates.delta import BEHAVIOUR, split_delta
from saecert.certificates.sample import Losses, Sample
from saecert.records import SequenceLosses
from saecert.statistics.inequalities import INEQUALITIES, uppers

COLUMNS = ("pool_gap", "price", *BEHAVIOUR)
"""What `frontier` follows over pool sizes."""


def concept_counts(
    sample: Sample, nats: float, eps: Sequence[float], upper: Callable[..., Any]
) -> list[dict[str, Any]]:
    """One row per tolerance: "eps", "k" (the certified concept count), "tested".

    The count is None if not even the full SAE keeps within eps.
    Measured pools are tested from the full dictionary downwards: size k passes if ``upper(|l(f) -
    l(g_A)|; 0, hi - lo; nats)`` is at most eps bits per token. The first failure ends it, and the
    count is the last size that passed; "tested" lists every size tried with its limit.

    **Guarantee.** For each eps on its own: with probability at least ``1 - exp(-nats)`` every pool
    that passed has ``E |l(f) - l(g_A)| <= eps``. Nats are not divided among sizes: a false claim
    needs the largest pool that exceeds eps to pass, and that is one test (fixed-sequence testing,
    as in `saecert.certificates.ladder.climb`). Several eps hold jointly at the sum of their deltas.
    The limits under "tested" hold one by one, not together: `frontier` has limits that do. The
    count belongs to the ranking fixed on discovery and to the sizes measured: another ranking may
    need fewer latents.

    Raises
    ------
    ValueError
        An eps that is not a positive number.
    """
    if not all(0 < tolerance < math.inf for tolerance in eps):
        raise ValueError(
            f"every eps must be a positive number of bits per token, got {', '.join(map(str, eps))}"
        )
    width = sample.hi - sample.lo
    gaps = np.abs(sample.pools - sample.clean)
    limits = uppers([(gap, 0.0, width, nats) for gap in gaps], upper)
    downwards = list(zip(sample.sizes, limits, strict=True))[::-1]
    return [_count(downwards, tolerance) for tolerance in eps]


def _count(downwards: list[tuple[int, float]], tolerance: float) -> dict[str, Any]:
    """Sizes and limits, from the largest pool down to the first that fails."""
    count = None
    tested = []
    for k, limit in downwards:
        tested.append({"k": k, "upper": limit})
        if limit > tolerance:
            break
        count = k
    return {"eps": float(tolerance), "k": count, "tested": tested}


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
    """One row per pool size, ascending: "k", and for each of `COLUMNS` a mean and a limit.

    The sample mean stands under the column's name, the limit under "<name>_upper".

    Columns: "pool_gap", ``|l(f) - l(g_A)|`` in bits per token; "price", ``l(g_A) - l(f)``, signed;
    "total_variation" and "disagreement" of model and pooled proxy; "outside_firings" and
    "outside_energy", the expected share of a sequence's firings and activation energy outside the
    pool. Both are None where the record does not hold them. At k = d_sae the last two are 0 by
    definition.

    **Guarantee.** For each column on its own: with probability at least ``1 - delta`` all its
    limits hold, at every size in `pools` at once (K sizes with weights 1/K, T2), if the ranking of
    the latents and every argument were fixed before the certification sample was looked at. Two
    columns hold jointly at the sum of their deltas. It is the frontier of *this ranking*, at the
    sizes measured: it does not say how many concepts the model needs.

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
        A setting out of range or unknown, a size that was not measured, or an assumption check that
        fires (see `certify`).
    """
    split_delta(delta)
    if inequality not in INEQUALITIES:
        raise ValueError(f"unknown inequality '{inequality}'; there are {', '.join(INEQUALITIES)}")
    record, _, _ = checked_sample(losses, n_seq, seed, allow)
    sample = Sample.of(record, alpha)
    sizes = sample.sizes if pools is None else tuple(sorted({int(k) for k in pools}))
    if not sizes:
        raise ValueError("a frontier needs at least one pool size")
    nats = math.log(len(sizes)) - math.log(delta)
    pooled = sample.pooled(sizes)
    return [
        _frontier_row(sample, k, losses, nats, INEQUALITIES[inequality])
        for k, losses in zip(sizes, pooled, strict=True)
    ]


def grid_gap(losses: SequenceLosses, alpha: float) -> Losses:
    """``|l(f) - l(g_A)|`` of each sequence, averaged over the measured pool sizes."""
    sample = Sample.of(losses, alpha)
    return np.abs(sample.pools - sample.clean).mean(axis=0)


def _frontier_row(
    sample: Sample, k: int, pooled: Losses, nats: float, upper: Callable[..., Any]
) -> dict[str, int | float | None]:
    width = sample.hi - sample.lo
    price = pooled - sample.clean
    cells = {"pool_gap": (np.abs(price), 0.0, width, nats), "price": (price, -width, width, nats)}
    for name, (shares, highest) in pool_behaviour(sample.record, k, k).items():
        cells[name] = (shares, 0.0, highest, nats)
    limits = dict(zip(cells, uppers(list(cells.values()), upper), strict=True))
    row: dict[str, int | float | None] = {"k": k}
    for name in COLUMNS:
        row[name] = float(cells[name][0].mean()) if name in cells else None
        row[f"{name}_upper"] = limits.get(name)
    return row

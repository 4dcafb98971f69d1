"""Limits on a ratio of two means, by inverting a test of one linear combination of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, no_type_check

import numpy as np
from jaxtyping import Float

from saecert.statistics.inequalities import MONOTONE, Nats, misses

STEP = 2.0**-14
"""Width of the smallest interval of ratios that is tested at once."""
HIGHEST = 2.0
"""Ratios are looked for between 0 and this one."""
NOT_MONOTONE = ("empirical_bernstein",)
"""Inequalities whose limit can rise when a value falls."""
_BLOCK = 1024

Losses = Float[np.ndarray, "n_seq"]
Rows = Float[np.ndarray, "rows n_seq"]


class RatioLimits(NamedTuple):
    """Limits on a ratio of two means."""

    lower: float | None
    """Lower limit; None if there is none from 0."""
    upper: float | None
    """Upper limit; None if there is none up to `HIGHEST`."""
    defined: bool
    """Whether it is shown that the denominator is above 0; if not, there are no limits."""


def ratio_limits(
    ablated: Losses,
    proxy: Losses,
    clean: Losses,
    support: tuple[float, float],
    nats: float,
    inequality: str,
) -> RatioLimits:
    """Lower and upper limit on ``rho = (E ablated - E proxy) / (E ablated - E clean)``.

    Without limits, and not "defined", where it is not shown that ``E ablated > E clean``: the ratio
    means nothing where that is false. ValueError for shapes that differ, and as the inequality.

    **Guarantee.** For losses in `support`, drawn i.i.d. as triples, and the assumptions of the
    inequality: with probability at least ``1 - exp(-nats)`` the lower limit, if there is one, is at
    most rho; the same of the upper limit; both hold except with probability ``2 exp(-nats)``.

    Derivation (ours). Let ``W_c = proxy - ablated + c (ablated - clean)``, D = E ablated - E clean.
    If D > 0, ``E W_c = D (c - rho)``: it is 0 at rho. For an interval [a, b] let M be the larger of
    W_a and W_b, value by value. W_c is linear in c, so that ``M >= W_c`` for every c between, and E
    M >= 0 if rho is one of them: an upper limit on E M below 0 refutes all of [a, b] at once, and
    is wrong with probability at most exp(-nats). Intervals are refuted from 0 upwards until one is
    not, whose beginning is the lower limit. It exceeds rho only if the one interval that holds rho
    was refuted (for rho < 0 the first, where ``E W_0 > 0``). So all intervals are tested at full
    nats, and nothing is asked of the set of accepted c: it need not be an interval where a sequence
    loses less when ablated; what is returned is the end of its hull. The upper limit does the same
    with -W_c, from `HIGHEST` downwards. That D > 0 is tested first, also at full nats: where it is
    false nothing else can be wrong.

    Intervals are chosen by bisection, down to `STEP`: an inequality that is monotone in its data
    refutes [a, b] only if it refutes every c in it, so that looking for them costs nothing. For
    empirical Bernstein, which is not, all intervals have width `STEP` and are fixed beforehand. For
    betting, which is not either, bisection costs ln 15 nats: its intervals are dyadic, rho lies in
    one of each of 15 sizes, and the limit is wrong only if one of these was refuted.

    For ``0 <= c <= 1`` W_c is a difference of a loss and a mean of two, in ``[-B, B]`` with B the
    range of the loss; for c > 1 in ``[-c B, c B]``.

    Examples
    --------
    >>> clean = np.linspace(2.0, 3.0, 500)
    >>> low, high, _ = ratio_limits(clean + 5, clean + 1, clean, (1, 13), 3.0, "dirichlet")
    >>> round(low, 3), round(high, 3)
    (0.786, 0.814)
    """
    ablated, proxy, clean = _doubles(ablated, proxy, clean)
    low = ratio_lower(ablated[None], proxy[None], clean[None], support, nats, inequality)[0]
    if np.isnan(low):
        return RatioLimits(None, None, defined=False)
    slope = ablated - clean
    start = ablated - proxy - HIGHEST * slope
    width = support[1] - support[0]
    paid = np.full(1, float(nats))
    gap = _first_not_refuted(start[None], slope[None], width, paid, inequality, turned=True)[0]
    lower = float(low) if low > 0 else None
    return RatioLimits(lower, HIGHEST - float(gap) if gap > 0 else None, defined=True)


def ratio_lower(
    ablated: Rows,
    proxy: Rows,
    clean: Rows,
    support: tuple[float, float],
    nats: Nats,
    inequality: str,
) -> Float[np.ndarray, "rows"]:
    """Lower limit of `ratio_limits` for each row; 0 where there is none, nan where not defined."""
    ablated, proxy, clean = _doubles(ablated, proxy, clean)
    width = support[1] - support[0]
    paid = np.broadcast_to(np.asarray(nats, float), len(clean))
    defined = misses(inequality, clean - ablated, -width, width, paid, 0.0)
    limits = np.full(len(clean), np.nan)
    start, slope = (proxy - ablated)[defined], (ablated - clean)[defined]
    limits[defined] = _first_not_refuted(
        start, slope, width, paid[defined], inequality, turned=False
    )
    return limits


@no_type_check  # types and shapes are what it judges, in words for people
def _doubles(*losses: Losses) -> list[Losses]:
    doubles = [np.asarray(x, np.float64) for x in losses]
    if len(shapes := {x.shape for x in doubles}) > 1:
        raise ValueError(f"losses of the same sequences have one shape, got {sorted(shapes)}")
    return doubles


def _first_not_refuted(
    start: Rows,
    slope: Rows,
    width: float,
    nats: Float[np.ndarray, "rows"],
    inequality: str,
    *,
    turned: bool,
) -> Float[np.ndarray, "rows"]:
    """How far from one end all intervals are refuted, with ``W = start + distance * slope``."""

    def refuted(begin: np.ndarray, rows: slice, size: float) -> Any:
        both = np.stack([begin, begin + size])[..., None]
        largest = (start[rows] + both * slope[rows]).max(axis=0)
        ratio = HIGHEST - begin if turned else begin + size
        most = width * np.maximum(1.0, ratio)[:, None]
        # every inequality commutes with scaling: each row has a support of its own
        return misses(inequality, largest / most, -1.0, 1.0, nats[rows], 0.0)

    found = np.zeros(len(start))
    if not len(start):
        return found
    if inequality not in (*MONOTONE, *NOT_MONOTONE):
        nats = nats + math.log(math.log2(HIGHEST / STEP))
    if inequality in NOT_MONOTONE:
        for row in range(len(start)):
            found[row] = _one_by_one(partial(refuted, rows=slice(row, row + 1), size=STEP))
        return found
    size = HIGHEST
    while size > STEP:
        size *= 0.5
        found += size * refuted(found, slice(None), size)
    return found


def _one_by_one(refuted: Callable[[np.ndarray], np.ndarray]) -> float:
    begins = np.arange(0.0, HIGHEST, STEP)
    for block in np.split(begins, len(begins) // _BLOCK):
        fine = refuted(block)
        if not fine.all():
            return float(block[np.argmin(fine)])
    return HIGHEST

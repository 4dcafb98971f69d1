"""Limits on a ratio of two means, by inverting a test of one linear combination of them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from saecert.statistics.inequalities import INEQUALITIES, misses

STEP = 2.0**-14
"""Width of the smallest interval of ratios that is tested at once."""
HIGHEST = 2.0
"""Ratios are looked for between 0 and this one."""
NOT_MONOTONE = ("empirical_bernstein",)
"""Inequalities whose limit can rise when a value falls."""
_BLOCK = 1024

Losses = Float[np.ndarray, "n_seq"]


def ratio_limits(
    ablated: Losses,
    proxy: Losses,
    clean: Losses,
    support: tuple[float, float],
    nats: float,
    inequality: str,
) -> tuple[float | None, float | None]:
    """Lower and upper limit on ``rho = (E ablated - E proxy) / (E ablated - E clean)``.

    None where there is no limit between 0 and `HIGHEST`; both are None where it is not shown that
    ``E ablated > E clean``, without which the ratio means nothing.

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

    Intervals are halved where they are not refuted, down to `STEP`. An inequality that is monotone
    in its data refutes [a, b] only if it refutes every interval in it, so that halving costs
    nothing; for one that is not, all intervals have width `STEP`.

    For ``0 <= c <= 1`` W_c is a difference of a loss and a mean of two, in ``[-B, B]`` with B the
    range of the loss; for c > 1 in ``[-c B, c B]``.

    Examples
    --------
    >>> clean = np.linspace(2.0, 3.0, 500)
    >>> low, high = ratio_limits(clean + 5, clean + 1, clean, (1, 13), 3.0, "dirichlet")
    >>> round(low, 3), round(high, 3)
    (0.784, 0.814)
    """
    width = support[1] - support[0]
    if not misses(inequality, clean - ablated, -width, width, nats, 0.0):
        return None, None
    at_zero = proxy - ablated
    slope = ablated - clean
    search = _Search(at_zero, slope, width, nats, inequality)
    mirrored = _Search(-at_zero - HIGHEST * slope, slope, width, nats, inequality, turned=True)
    low = search.first()
    gap = mirrored.first()
    return low, None if gap is None else HIGHEST - gap


class _Search:
    """Intervals of ratios from one end to the other: ``W = start + distance * slope``."""

    def __init__(
        self,
        start: Losses,
        slope: Losses,
        width: float,
        nats: float,
        inequality: str,
        *,
        turned: bool = False,
    ) -> None:
        self.start = start
        self.slope = slope
        self.width = width
        self.nats = nats
        self.inequality = inequality
        self.turned = turned

    def first(self) -> float | None:
        """Where the first interval begins that is not refuted; None for the very first."""
        if self.inequality in NOT_MONOTONE:
            found = self._one_by_one()
        else:
            found = self._halving(0.0, HIGHEST)
        found = HIGHEST if found is None else found
        return found if found > 0 else None

    def _refuted(self, begin: np.ndarray, end: np.ndarray) -> np.ndarray:
        """Whether each interval of distances is refuted."""
        ends = np.stack([begin, end])[..., None]
        largest = (self.start + ends * self.slope).max(axis=0)
        # the ratio that is farthest from 0: the losses' weights add up to it
        ratio = HIGHEST - begin if self.turned else end
        most = self.width * max(1.0, float(np.max(ratio)))
        return misses(self.inequality, largest, -most, most, self.nats, 0.0)

    def _halving(self, begin: float, end: float) -> float | None:
        if self._refuted(np.array([begin]), np.array([end]))[0]:
            return None
        if end - begin <= STEP:
            return begin
        middle = 0.5 * (begin + end)
        left = self._halving(begin, middle)
        return self._halving(middle, end) if left is None else left

    def _one_by_one(self) -> float | None:
        begins = np.arange(0.0, HIGHEST, STEP)
        for start in range(0, len(begins), _BLOCK):
            block = begins[start : start + _BLOCK]
            refuted = self._refuted(block, block + STEP)
            if not refuted.all():
                return float(block[np.argmin(refuted)])
        return None


assert set(NOT_MONOTONE) <= set(INEQUALITIES)

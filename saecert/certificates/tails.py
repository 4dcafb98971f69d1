"""Tails of the gap between model and pooled proxy: shares, quantiles, a capped mean, counts.

A limit on a mean has to allow for sequences that nobody has seen, each as bad as the support
permits. Statements here do not: none depends on the largest possible loss.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from saecert.arguments import checked
from saecert.certificates.checks import checked_sample
from saecert.certificates.delta import split_delta
from saecert.certificates.sample import Sample
from saecert.certificates.settings import ONE_POOL
from saecert.records import SequenceLosses
from saecert.statistics.inequalities import INEQUALITIES
from saecert.statistics.order import quantile_upper, share_lower, values_needed
from saecert.statistics.rounding import lower_text, nearest_text, probability_text, upper_text

EPS = (0.1, 0.25, 0.5, 1.0)
"""Gaps in bits per token at which shares are counted, if not said."""
LEVELS = (0.5, 0.9, 0.95, 0.99)
"""Levels of the quantiles, if not said: those of them that the sample is large enough for."""
CAP = 1.0
"""Bits per token up to which a gap counts in the capped mean, if not said."""


@dataclass(frozen=True)
class Share:
    """A lower limit on the share of sequences whose gap is at most `eps`.

    **Guarantee.** ``P(|l(f) - l(g_A)| <= eps) >= lower``, except with probability `delta` over
    samples drawn i.i.d., for `eps` fixed before they were looked at (Clopper & Pearson 1934). So a
    larger gap has probability at most `exceeded`.
    """

    eps: float
    """Gap in bits per token."""
    share: float
    """Share in the sample."""
    lower: float
    """Limit, in [0, 1]."""
    delta: float
    """How often the limit may be wrong over samples."""

    @property
    def exceeded(self) -> float:
        """Upper limit on the probability of a gap above `eps`."""
        return 1.0 - self.lower

    def __str__(self) -> str:
        low = lower_text(100 * self.lower, 1)
        return (
            f"within {_bits(self.eps)}: {nearest_text(100 * self.share, 1)} % of sequences "
            f"(at least {low} %), delta {probability_text(self.delta)}"
        )


@dataclass(frozen=True)
class Quantile:
    """An upper limit on a quantile of the gap.

    **Guarantee.** At least a share `level` of sequences has a gap of at most `upper`, except with
    probability `delta` over samples drawn i.i.d. (order statistics, see
    `saecert.statistics.order.quantile_upper`). Nothing is assumed of the gap's distribution.
    """

    level: float
    """Level in (0, 1)."""
    quantile: float
    """Quantile of the sample, bits per token."""
    upper: float
    """Limit, bits per token."""
    delta: float
    """How often the limit may be wrong over samples."""

    def __str__(self) -> str:
        return (
            f"quantile at {self.level:g}: {nearest_text(self.quantile, 3)} "
            f"(at most {upper_text(self.upper, 3)}) bits, delta {probability_text(self.delta)}"
        )


@dataclass(frozen=True)
class CappedMean:
    """An upper limit on E min(gap, cap).

    **Guarantee.** ``E min(|l(f) - l(g_A)|, cap) <= upper``, except with probability `delta` over
    samples drawn i.i.d., for a cap fixed before they were looked at, and under the assumptions of
    the inequality on [0, cap]. A cap read off the sample has no such guarantee.
    """

    cap: float
    """Bits per token up to which a gap counts."""
    mean: float
    """Sample mean, bits per token."""
    upper: float
    """Limit, bits per token."""
    delta: float
    """How often the limit may be wrong over samples."""

    def __str__(self) -> str:
        return (
            f"mean of min(gap, {self.cap:g}): {nearest_text(self.mean, 3)} "
            f"(at most {upper_text(self.upper, 3)}) bits, delta {probability_text(self.delta)}"
        )


@dataclass(frozen=True)
class Tails:
    """Statements about the distribution of ``|l(f) - l(g_A)|`` over sequences.

    **Guarantee.** For sequences drawn i.i.d. from the population, independently of the discovery
    split and of every setting here: each statement is wrong with probability at most its own
    `delta`, and all of them hold at once except with probability `spent`, the sum.

    By default (`jointly`) that sum is `delta`, in equal parts. A band for the whole distribution
    function would hold at every eps and level at once, but the Dvoretzky-Kiefer-Wolfowitz band has
    the same width everywhere, ``sqrt(ln(1/delta) / 2n)``: it says nothing of the quantile at .99
    with fewer than ``ln(1/delta) / (2 .01^2)`` sequences, 14,979 at delta = .05, where nine equal
    parts need 517. Tails are what is asked, so the parts were chosen, before any loss was seen.
    """

    k: int
    """Latents in the pool, d_sae for the whole dictionary."""
    n_seq: int
    """Sequences."""
    alpha: float
    """Weight of the uniform distribution in every predictor."""
    delta: float
    """What the caller set."""
    jointly: bool
    """Whether the statements share `delta`, or each spends all of it and holds on its own."""
    shares: tuple[Share, ...]
    """By eps, in the order given."""
    quantiles: tuple[Quantile, ...]
    """By level, in the order given."""
    capped: CappedMean
    """The capped mean."""

    @property
    def statements(self) -> tuple[Share | Quantile | CappedMean, ...]:
        """All statements in the order in which they are printed."""
        return (*self.shares, *self.quantiles, self.capped)

    @property
    def spent(self) -> float:
        """Probability that any of the statements is wrong, at most."""
        return sum(row.delta for row in self.statements)

    def __str__(self) -> str:
        held = "jointly" if self.jointly else "each on its own"
        head = (
            f"|l(f) - l(g_A)|, pool of {self.k}: {self.n_seq} sequences, alpha {self.alpha:g}, "
            f"delta {probability_text(self.delta)} {held}"
        )
        return "\n".join([head, *(f"  {row}" for row in self.statements)])


@dataclass(frozen=True)
class QuantileCount:
    """The smallest pool whose quantile of the gap is certified to be within a tolerance.

    **Guarantee.** Every pool in `tested` that passed, and so the one of `k` latents, keeps a share
    `level` of sequences within `eps`, except with probability `delta` over samples drawn i.i.d.
    Delta is not divided among sizes: a false claim needs the largest pool that exceeds eps to pass,
    and that is one test (as for means, see `saecert.certificates.concepts.concept_counts`). Several
    counts hold at once at the sum of their deltas. It belongs to the ranking fixed on discovery and
    to the sizes measured.
    """

    eps: float
    """Tolerance in bits per token."""
    level: float
    """Level of the quantile."""
    k: int | None
    """Certified count of concepts; None if not even the full SAE keeps within eps."""
    tested: tuple[tuple[int, float], ...]
    """Sizes from the full dictionary downwards, the last one a failure if there was any, each with
    its limit; limits hold one by one, not together.
    """
    delta: float
    """How often the count may be wrong over samples."""

    def __str__(self) -> str:
        count = "none shown, not even all latents" if self.k is None else f"{self.k}"
        return (
            f"concepts that keep {100 * self.level:g} % of sequences within {_bits(self.eps)}: "
            f"{count}, delta {probability_text(self.delta)}"
        )


@checked(ONE_POOL)
def tails(
    losses: SequenceLosses,
    *,
    pool: int | None = None,
    delta: float = 0.05,
    alpha: float = 0.5,
    eps: Sequence[float] = EPS,
    levels: Sequence[float] | None = None,
    cap: float = CAP,
    inequality: str = "dirichlet",
    jointly: bool = True,
    n_seq: int | None = None,
    seed: int = 0,
    allow: Sequence[str] = (),
) -> Tails:
    """`Tails` of the gap between the model and one of its pooled proxies.

    Parameters
    ----------
    losses
        Record of the certification sample.
    pool
        Size of a measured pool, fixed beforehand; the whole dictionary if not said.
    delta, alpha, inequality, n_seq, seed, allow
        As for `certify`; the inequality is that of the capped mean.
    eps
        Gaps in bits per token, from 0, at which shares are counted.
    levels
        Levels of quantiles in (0, 1). Default: those of `LEVELS` that so many sequences allow,
        which no loss decides.
    cap
        Bits per token up to which a gap counts, above 0 and at most the range of the loss.
    jointly
        Divide delta equally among all statements; else each spends all of it.

    Raises
    ------
    ValueError
        A setting out of range, a pool or alpha that was not measured, a quantile too extreme for
        the number of sequences, or an assumption check that fires.
    """
    sample = _sample(losses, delta, alpha, n_seq, seed, allow)
    k = losses.d_sae if pool is None else pool
    gap = np.abs(sample.pooled((k,))[0] - sample.clean)
    upper = _upper(inequality)
    _check(eps, cap, sample.hi - sample.lo)
    if levels is None:
        levels = possible_levels(len(sample), delta, len(eps) + 1 if jointly else 0)
    n_statements = len(eps) + len(levels) + 1
    share = delta / n_statements if jointly else delta
    nats = -math.log(share)
    capped = np.minimum(gap, cap)
    limit = upper(capped, 0.0, cap, nats)
    return Tails(
        k=int(k),
        n_seq=len(sample),
        alpha=alpha,
        delta=delta,
        jointly=jointly,
        shares=tuple(_share(gap, e, share) for e in eps),
        quantiles=tuple(_quantile(gap, level, share) for level in levels),
        capped=CappedMean(float(cap), float(capped.mean()), float(limit), share),
    )


@checked(ONE_POOL)
def quantile_counts(
    losses: SequenceLosses,
    *,
    eps: Sequence[float] = EPS,
    level: float = 0.95,
    delta: float = 0.05,
    alpha: float = 0.5,
    n_seq: int | None = None,
    seed: int = 0,
    allow: Sequence[str] = (),
) -> tuple[QuantileCount, ...]:
    """A `QuantileCount` for each tolerance, each a statement of its own at `delta`.

    Measured pools are tested from the full dictionary downwards: a size passes if the upper limit
    on its quantile is at most eps. The first failure ends it. Parameters as for `tails`.

    Raises
    ------
    ValueError
        As `tails`.
    """
    sample = _sample(losses, delta, alpha, n_seq, seed, allow)
    _check(eps, None, sample.hi - sample.lo)
    gaps = np.abs(sample.pools - sample.clean)
    limits = quantile_upper(gaps, level, -math.log(delta))
    downwards = list(zip(sample.sizes, np.asarray(limits).tolist(), strict=True))[::-1]
    return tuple(_count(downwards, float(e), float(level), delta) for e in eps)


def possible_levels(n: int, delta: float, others: int) -> tuple[float, ...]:
    """Those of `LEVELS` for whose quantile `n` sequences are enough.

    Delta is divided among all of `LEVELS` and `others` more statements (0: not divided at all).

    Examples
    --------
    >>> possible_levels(400, 0.05, 0), possible_levels(100, 0.05, 5)
    ((0.5, 0.9, 0.95, 0.99), (0.5, 0.9))
    """
    nats = math.log((len(LEVELS) + others if others else 1) / delta)
    return tuple(level for level in LEVELS if n >= values_needed(level, nats))


def _bits(eps: float) -> str:
    return "1 bit" if eps == 1 else f"{eps:g} bits"


def _sample(
    losses: SequenceLosses,
    delta: float,
    alpha: float,
    n_seq: int | None,
    seed: int,
    allow: Sequence[str],
) -> Sample:
    split_delta(delta)
    record, _, _ = checked_sample(losses, n_seq, seed, allow)
    return Sample.of(record, alpha)


def _upper(inequality: str) -> Callable[..., Any]:
    if inequality not in INEQUALITIES:
        raise ValueError(f"unknown inequality '{inequality}'; there are {', '.join(INEQUALITIES)}")
    return INEQUALITIES[inequality]


def _check(eps: Sequence[float], cap: float | None, width: float) -> None:
    if not all(0 <= e < math.inf for e in eps):
        raise ValueError(
            f"every eps must be a number of bits per token from 0, got {', '.join(map(str, eps))}"
        )
    if cap is not None and not 0 < cap <= width:
        raise ValueError(
            f"a cap must lie above 0 and be at most the range of the loss, {width:.4g} bits, "
            f"got {cap}"
        )


def _share(gap: Float[np.ndarray, "n_seq"], eps: float, delta: float) -> Share:
    inside = gap <= eps
    lower = share_lower(inside, -math.log(delta))
    return Share(float(eps), float(inside.mean()), float(lower), delta)


def _quantile(gap: Float[np.ndarray, "n_seq"], level: float, delta: float) -> Quantile:
    upper = quantile_upper(gap, level, -math.log(delta))
    here = np.quantile(gap, level, method="inverted_cdf")
    return Quantile(float(level), float(here), float(upper), delta)


def _count(
    downwards: list[tuple[int, float]], eps: float, level: float, delta: float
) -> QuantileCount:
    """Sizes and limits, from the largest pool down to the first that fails."""
    count = None
    tested = []
    for k, limit in downwards:
        tested.append((k, limit))
        if limit > eps:
            break
        count = k
    return QuantileCount(eps, level, count, tuple(tested), delta)

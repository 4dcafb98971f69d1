"""What valid, sharper inequalities certify from published means, with the paper's split of delta.

A Chernoff limit needs a mean, its range and the number of sequences, Clopper and Pearson's a count:
no sequence has to be measured again. Printed means are rounded, so each is first raised by as much
as it may have lost.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from saecert.certificates.published.paper import subset_nats
from saecert.certificates.published.ranges import (
    check_means,
    check_pool,
    check_precision,
    check_sample,
    loss_range,
)
from saecert.statistics.inequalities import Scalar, chernoff_kl, clopper_pearson_upper


class Sharper(NamedTuple):
    """The paper's certificates by sharper inequalities; bits per token unless said."""

    fixed: float
    """Sum of `proxy_risk`, `gap` and `mismatch`."""
    occam: float
    """The same with `occam_proxy_risk`."""
    proxy_risk: float
    """Upper limit on R(h_G), at delta/3."""
    gap: float
    """Upper limit on the expected gap, at delta/6."""
    mismatch: float
    """Upper limit on the expected mismatch term, at delta/3."""
    mismatch_share: float
    """Upper limit on the probability that a sequence leaves the pool."""
    mismatch_count: int
    """Sequences that left it."""
    occam_proxy_risk: float
    """Upper limit on R(h_G) that pays ln C(m,P) as well."""


def sharper(
    *,
    n_seq: int,
    proxy_risk: Scalar,
    gap: Scalar,
    mismatch: Scalar,
    pool: int,
    d_sae: int,
    n_vocab: int,
    alpha: Scalar = 0.5,
    delta: Scalar = 0.05,
    precision: Scalar = 1e-6,
) -> Sharper:
    """The certificates of `saecert.certificates.published.tacl`, from the same means, sharper.

    Proxy risk and gap are limited by `chernoff_kl`, the mismatch by Clopper and Pearson's limit on
    its count; delta is divided as the paper divides it: delta/3, delta/6 and delta/3.

    **Guarantee.** With probability 1 - delta the three limits hold at once, so `fixed` is at least
    the risk of the model, if the sequences are independent and identically distributed and the pool
    was fixed before they were seen. `occam` is never smaller. It is *not* a limit for a pool read
    off the same sequences: see `tacl`. Source: Hoeffding 1963, Theorem 1, and Clopper & Pearson
    1934, with a union bound.

    Parameters
    ----------
    n_seq, proxy_risk, gap, mismatch, pool, d_sae, n_vocab, alpha, delta
        As for `tacl`; `n_seq` is an integer.
    precision
        Largest relative error of the printed means; each is raised by it. The default is for seven
        digits, or sums in single precision. The count is the largest whole number of sequences
        whose share may have been printed like `mismatch`.

    Raises
    ------
    ValueError
        A statistic outside its range, or a mismatch that is no share of so many sequences.

    Examples
    --------
    >>> sizes = {"n_seq": 10_000, "pool": 130_700, "d_sae": 131_072, "n_vocab": 128_256}
    >>> valid = sharper(proxy_risk=6.2064466, gap=0.9151445, mismatch=0.0029, **sizes)
    >>> round(valid.fixed, 3), round(valid.occam, 3), valid.mismatch_count
    (7.543, 13.273, 29)
    """
    check_sample(n_seq, delta)
    check_pool(pool, d_sae)
    check_precision(precision)
    means = {"proxy_risk": proxy_risk, "gap": gap, "mismatch": mismatch}
    check_means(means, n_vocab, alpha)
    lo, hi = loss_range(n_vocab, alpha)
    third = math.log(3 / delta)
    selected = third + subset_nats(pool, d_sae)
    risk = min(proxy_risk * (1 + precision), hi)
    distance = min(gap * (1 + precision), hi - lo)
    count = count_of_share(mismatch, n_seq, precision)
    share = float(clopper_pearson_upper(count, n_seq, third))
    risk_limit = float(chernoff_kl(risk, n_seq, lo, hi, third))
    occam_limit = float(chernoff_kl(risk, n_seq, lo, hi, selected))
    gap_limit = float(chernoff_kl(distance, n_seq, 0, hi - lo, math.log(6 / delta)))
    others = gap_limit + (hi - lo) * share
    return Sharper(
        fixed=risk_limit + others,
        occam=occam_limit + others,
        proxy_risk=risk_limit,
        gap=gap_limit,
        mismatch=(hi - lo) * share,
        mismatch_share=share,
        mismatch_count=count,
        occam_proxy_risk=occam_limit,
    )


def sharper_direct(
    *,
    n_seq: int,
    risk: Scalar,
    n_vocab: int,
    alpha: Scalar = 0.5,
    delta: Scalar = 0.05,
    precision: Scalar = 1e-6,
) -> float:
    """The Chernoff limit on a risk without an SAE, from its published mean; bits per token.

    **Guarantee.** It is at least the risk with probability 1 - delta for independent sequences
    (Hoeffding 1963, Theorem 1). Parameters as for `direct` and `sharper`.

    Raises
    ------
    ValueError
        A statistic outside its range.

    Examples
    --------
    >>> round(sharper_direct(n_seq=10_000, risk=7.164826, n_vocab=50_257), 3)
    7.352
    """
    check_sample(n_seq, delta)
    check_precision(precision)
    check_means({"risk": risk}, n_vocab, alpha)
    lo, hi = loss_range(n_vocab, alpha)
    mean = min(risk * (1 + precision), hi)
    return float(chernoff_kl(mean, n_seq, lo, hi, math.log(1 / delta)))


def count_of_share(share: Scalar, n_seq: int, precision: Scalar = 1e-6) -> int:
    """The largest number of `n_seq` sequences whose share may have been printed as `share`.

    Clopper and Pearson's limit rises with the count, so the largest one is the safe one.

    Parameters
    ----------
    share
        As printed, in [0, 1].
    n_seq
        Number of sequences.
    precision
        Largest relative error of the share.

    Raises
    ------
    ValueError
        No number of sequences has such a share, or a precision outside [0, 1).

    Examples
    --------
    >>> count_of_share(0.0013, 10_000), count_of_share(0.0042, 70_000, precision=0.012)
    (13, 297)
    """
    check_precision(precision)
    most = min(math.floor(share * (1 + precision) * n_seq), n_seq)
    if most < share * (1 - precision) * n_seq:
        raise ValueError(
            f"mismatch = {share} is {share * n_seq:g} of {n_seq} sequences, no whole number; "
            "give more digits, or how precise it is"
        )
    return most

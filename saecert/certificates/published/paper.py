"""The bounds of the paper as printed, in its journal form (TACL) and in its first version."""

from __future__ import annotations

import math
from typing import NamedTuple

from scipy.special import gammaln

from saecert.certificates.published.ranges import check_means, check_pool, check_sample, loss_range
from saecert.statistics.inequalities import Scalar


class Tacl(NamedTuple):
    """The two certificates of the journal form and their terms, bits per token."""

    fixed: float
    """U_SAE: `core` and three penalties, the pool fixed before the sample."""
    occam: float
    """U_SAE+Occam: `fixed` with `occam_penalty` in the place of `risk_penalty`."""
    core: float
    """Proxy risk + gap + mismatch term: what is left when the sample is endless."""
    mismatch: float
    """Share of sequences that leave the pool, times the range of the loss."""
    risk_penalty: float
    """``Delta sqrt(ln(3/delta) / 2N)``, for the proxy risk."""
    mismatch_penalty: float
    """The same again, for the mismatch term."""
    gap_penalty: float
    """``Delta sqrt(ln(6/delta) / 2N)``, for the gap."""
    occam_penalty: float
    """``Delta sqrt((ln C(m,P) + ln(3/delta)) / 2N)``."""
    selection_nats: float
    """``ln C(m,P)``."""
    scale: float
    """Delta, the range of the smoothed loss."""


class V1(NamedTuple):
    """The certificate of the first version and its terms, bits per token."""

    bound: float
    """`core` and both penalties."""
    core: float
    """Proxy risk + gap + mismatch term."""
    mismatch: float
    """Share of sequences that leave the pool, times `scale`."""
    complexity: float
    """``B sqrt((P ln(em/P) + ln(2/delta)) / 2N)``."""
    gap_penalty: float
    """``B sqrt(ln(4/delta) / 2N)``."""
    scale: float
    """B, the largest smoothed loss."""


class Direct(NamedTuple):
    """A bound on one risk without an SAE, bits per token."""

    bound: float
    """Mean loss and penalty."""
    penalty: float
    """``Delta sqrt(ln(1/delta) / 2N)``."""


def tacl(
    *,
    n_seq: Scalar,
    proxy_risk: Scalar,
    gap: Scalar,
    mismatch: Scalar,
    pool: int,
    d_sae: int,
    n_vocab: int,
    alpha: Scalar = 0.5,
    delta: Scalar = 0.05,
) -> Tacl:
    """The certificates of the paper's journal form, as printed, with every term.

    ``R(h_G) + eps + Delta eta + 2 Delta sqrt(ln(3/delta) / 2N) + Delta sqrt(ln(6/delta) / 2N)``
    with ``Delta = log2(1 + (1 - alpha) V / alpha)``; the Occam form pays ln C(m,P) in one of the
    two equal terms.

    **Guarantee.** `fixed`, and `occam`, which is never smaller, are at least the risk of the model
    with probability 1 - delta if the sequences are independent and identically distributed and the
    pool was fixed before they were seen (Hoeffding 1963 three times, at delta/3, delta/3 and
    delta/6). *Not* for a pool read off the same sequences, which the Occam form is named after: the
    mismatch does not pay for that choice there, and the size P is not paid for at all.

    Parameters
    ----------
    n_seq
        Number of *sequences* N.
    proxy_risk
        Mean loss of the pooled proxy, R(h_G); bits per token, in [lo, hi].
    gap
        Mean over sequences of |l(model) - l(whole SAE)|, eps; bits per token, [0, hi - lo].
    mismatch
        Share of sequences with a token whose active latents leave the pool, eta; [0, 1].
    pool, d_sae
        Latents in the pool, P, and in the dictionary, m.
    n_vocab, alpha
        Vocabulary V and smoothing weight.
    delta
        Probability that the bound is wrong.

    Raises
    ------
    ValueError
        A statistic outside its range; the message names it and the range.

    Examples
    --------
    >>> sizes = {"n_seq": 10_000, "pool": 130_700, "d_sae": 131_072, "n_vocab": 128_256}
    >>> printed = tacl(proxy_risk=6.2064466, gap=0.9151445, mismatch=0.0029, **sizes)
    >>> round(printed.fixed, 4), round(printed.occam, 4)
    (7.9189, 13.7391)
    """
    check_sample(n_seq, delta)
    check_pool(pool, d_sae)
    means = {"proxy_risk": proxy_risk, "gap": gap, "mismatch": mismatch}
    check_means(means, n_vocab, alpha)
    proxy_risk, gap, mismatch = map(float, means.values())
    lo, hi = loss_range(n_vocab, alpha)
    scale = hi - lo
    third = math.log(3 / delta)
    nats = subset_nats(pool, d_sae)
    penalty = scale * math.sqrt(third / (2 * n_seq))
    gap_penalty = scale * math.sqrt(math.log(6 / delta) / (2 * n_seq))
    occam_penalty = scale * math.sqrt((nats + third) / (2 * n_seq))
    core = proxy_risk + gap + scale * mismatch
    return Tacl(
        fixed=core + 2 * penalty + gap_penalty,
        occam=core + occam_penalty + penalty + gap_penalty,
        core=core,
        mismatch=scale * mismatch,
        risk_penalty=penalty,
        mismatch_penalty=penalty,
        gap_penalty=gap_penalty,
        occam_penalty=occam_penalty,
        selection_nats=nats,
        scale=scale,
    )


def v1(
    *,
    n_seq: Scalar,
    proxy_risk: Scalar,
    gap: Scalar,
    mismatch: Scalar,
    pool: int,
    d_sae: int,
    n_vocab: int,
    alpha: Scalar = 0.5,
    delta: Scalar = 0.05,
) -> V1:
    """The certificate of arXiv 2606.18383v1, as printed, with every term. **Not valid as it is.**

    ``R(h_G) + eps + B eta + B sqrt((P ln(em/P) + ln(2/delta)) / 2N) + B sqrt(ln(4/delta) / 2N)``
    with ``B = log2(V/alpha)``. Nothing is paid for having estimated eta; and P ln(em/P) is about m
    nats where ln C(m,P) is a few hundred or thousand.

    Parameters and errors as for `tacl`.

    Examples
    --------
    >>> sizes = {"n_seq": 10_000, "pool": 24_510, "d_sae": 24_576, "n_vocab": 50_257}
    >>> printed = v1(proxy_risk=7.3589234, gap=0.215941, mismatch=0.0013, **sizes)
    >>> round(printed.bound, 3), round(printed.complexity, 3)
    (26.264, 18.422)
    """
    check_sample(n_seq, delta)
    check_pool(pool, d_sae)
    means = {"proxy_risk": proxy_risk, "gap": gap, "mismatch": mismatch}
    check_means(means, n_vocab, alpha)
    proxy_risk, gap, mismatch = map(float, means.values())
    _, scale = loss_range(n_vocab, alpha)
    nats = pool * math.log(math.e * d_sae / pool) if pool else 0.0
    complexity = scale * math.sqrt((nats + math.log(2 / delta)) / (2 * n_seq))
    gap_penalty = scale * math.sqrt(math.log(4 / delta) / (2 * n_seq))
    core = proxy_risk + gap + scale * mismatch
    return V1(
        bound=core + complexity + gap_penalty,
        core=core,
        mismatch=scale * mismatch,
        complexity=complexity,
        gap_penalty=gap_penalty,
        scale=scale,
    )


def direct(
    *, n_seq: Scalar, risk: Scalar, n_vocab: int, alpha: Scalar = 0.5, delta: Scalar = 0.05
) -> Direct:
    """The paper's bound on a risk without an SAE: ``R(M) + Delta sqrt(ln(1/delta) / 2N)``.

    **Guarantee.** It is at least the risk with probability 1 - delta for independent sequences
    (Hoeffding 1963, Theorem 1).

    Parameters
    ----------
    n_seq
        Number of sequences.
    risk
        Mean loss of the model, or of another predictor; bits per token, in [lo, hi].
    n_vocab, alpha, delta
        As for `tacl`.

    Raises
    ------
    ValueError
        A statistic outside its range.

    Examples
    --------
    >>> round(direct(n_seq=10_000, risk=7.164826, n_vocab=50_257).bound, 5)
    7.35596
    """
    check_sample(n_seq, delta)
    check_means({"risk": risk}, n_vocab, alpha)
    lo, hi = loss_range(n_vocab, alpha)
    penalty = (hi - lo) * math.sqrt(math.log(1 / delta) / (2 * n_seq))
    return Direct(float(risk) + penalty, penalty)


def subset_nats(pool: int, d_sae: int) -> float:
    """``ln C(d_sae, pool)``: the cost of one subset among those of its size.

    >>> round(subset_nats(24_510, 24_576), 6)
    453.609093
    """
    return float(gammaln(d_sae + 1) - gammaln(pool + 1) - gammaln(d_sae - pool + 1))

"""The papers' pool made valid: exactly the latents active on the sample, under a uniform prior."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from saecert.certificates.delta import split_delta
from saecert.certificates.ladder import climb, rungs
from saecert.certificates.sample import Sample
from saecert.certificates.terms import joint_loss, sharp_loss
from saecert.records import SequenceLosses
from saecert.statistics.inequalities import resolved
from saecert.statistics.priors import uniform_prior_nats


class ExactSet(NamedTuple):
    """A bound for the pool of exactly those latents that were active on the sample."""

    bound: float
    """Upper limit on E v_A, bits per token."""
    sharp: float
    """Upper limit on E s_A, bits per token: another statement, at the same delta."""
    k: int
    """Latents active on the sample."""
    nats: float
    """What choosing this set among all subsets costs."""
    beaten: int
    """References beaten, in the order of the ladder: their risk is certified to exceed E s_A."""


def exact_set_bound(
    losses: SequenceLosses,
    n_seq: int | None = None,
    *,
    delta: float = 0.05,
    alpha: float = 0.5,
    inequality: str = "hoeffding",
) -> ExactSet:
    """The bound of T3 that pays for the active set itself, though a larger set may be cheaper.

    **Guarantee.** With probability at least ``1 - delta`` all three risks are at most `bound`, and
    so for `sharp`,
    under the assumptions of `saecert.certify`: the theorem behind it holds for all subsets at once,
    at ``ln(m + 1) + ln(m choose k)`` nats each (Occam bound, McAllester 1999). `saecert.certify`
    with ``method="in_sample"`` pays for the cheapest set that contains this one, and is never
    worse; this form is for comparison with the papers.

    Parameters
    ----------
    losses
        Record of the certification sample; only "clean", "full", references and activity are used.
    n_seq
        The first so many sequences; all by default.
    delta, alpha, inequality
        As for `saecert.certify`.

    Raises
    ------
    ValueError
        More sequences than there are, a delta outside (0, 1), or an unknown inequality.
    """
    split_delta(delta)
    upper = resolved(inequality)
    n = len(losses) if n_seq is None else n_seq
    if not 2 <= n <= len(losses):
        raise ValueError(f"n_seq = {n} asked of {len(losses)} sequences: from 2 to as many")
    record = losses.take(np.arange(n))
    sample = Sample.of(record, alpha)
    union = np.bitwise_or.reduce(record.active, axis=0)
    k = int(np.unpackbits(union, count=record.d_sae).sum())
    nats = uniform_prior_nats(k, record.d_sae)
    paid = nats - math.log(delta)
    v = joint_loss(sample.clean, sample.full, sample.full, sample.hi)
    s = sharp_loss(sample.clean, sample.full, sample.full)
    bound = float(upper(v, sample.lo, sample.hi, paid))
    sharp = float(upper(s, sample.lo, sample.hi, paid))
    ladder = climb(s, rungs(record, alpha), sample.lo, sample.hi, paid, upper)
    return ExactSet(bound, sharp, k, nats, sum(row["claimed"] for row in ladder))

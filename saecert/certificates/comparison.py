"""compare(): which of two SAEs, layers or pools leaves less behind, paired on the same sequences, with a delta of its own."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from saecert.certificates import pool_rules as spending
from saecert.certificates.certificate import Certificate, joint_loss
from saecert.certificates.checks import CHECKS, checked_sample
from saecert.certificates.concepts import pool_behaviour
from saecert.records import SequenceLosses, smoothed_support
from saecert.statistics.paired import difference_limits

Measured = tuple[Float[np.ndarray, "n_seq"], float, float]

QUANTITIES = {"pool_gap": "E|l(f) - l(g_A)|, model against pooled proxy"} | {
    name: spending.QUANTITIES[name]
    for name in ("gap", "mismatch", "proxy", "bound", *spending.BEHAVIOUR)
}
"""What can be compared, or tested on a stream: expectations that are better when smaller. All but "gap" involve the pool."""


@dataclass(frozen=True)
class Comparison:
    """Two-sided limits on the difference of one quantity between two certificates on the same sequences."""

    quantity: str
    """A key of `QUANTITIES`."""
    labels: tuple[str, str]
    """What "a" and "b" are: subject, hook point, pool size."""
    means: tuple[float, float]
    """Sample means of the quantity for "a" and "b"."""
    difference: float
    """Sample mean of "a" minus "b"."""
    lower: float
    """Lower limit on the expected difference."""
    upper: float
    """Upper limit on the expected difference."""
    delta: float
    """Probability that the expected difference is outside the limits."""
    n_seq: int
    """Sequences on which both were measured."""

    @property
    def smaller(self) -> str | None:
        """ "a" or "b", whichever is certified to have the smaller expectation; None when the sample does not tell."""
        return "a" if self.upper < 0 else "b" if self.lower > 0 else None

    def __str__(self) -> str:
        limits = f"{self.lower:+.3f} to {self.upper:+.3f} except with probability {self.delta:.3g}"
        rows = [
            f"  {name}{mean:9.3f}  {label}\n"
            for name, mean, label in zip("ab", self.means, self.labels, strict=True)
        ]
        verdict = (
            f"{self.smaller} is smaller"
            if self.smaller
            else "the sample does not tell which is smaller"
        )
        return f"{QUANTITIES[self.quantity]}, on {self.n_seq} sequences\n{''.join(rows)}  a - b{self.difference:+9.3f}, {limits}: {verdict}"


def compare(
    cert_a: Certificate,
    cert_b: Certificate,
    losses: tuple[SequenceLosses, SequenceLosses],
    *,
    quantity: str = "gap",
    delta: float = 0.05,
) -> Comparison:
    """A `Comparison` of two SAEs, layers or pools, from the per-sequence values behind their certificates.

    **Guarantee.** With probability at least ``1 - delta`` the expected difference is between the limits, so that `smaller` is wrong
    with probability at most delta: for sequences drawn i.i.d., certificates whose settings were fixed beforehand, and the
    inequality of both at delta/2 a side. Sequences are paired: what makes a text hard for both cancels. A pool that was the best of a
    nested grid is paid for by a union bound over the grid. This delta is on top of those of the certificates, and each of several
    comparisons spends its own: divide delta among them.

    Parameters
    ----------
    cert_a, cert_b
        Certificates on the same sequences at one alpha, sample size, seed and inequality. Each brings its own pool.
    losses
        The records they were computed from, in this order: a certificate holds no per-sequence values. Its pool and what choosing it
        cost are taken at its word: `verify` one that comes from a file.
    quantity
        A key of `QUANTITIES`.
    delta
        Probability of a wrong statement, in (0, 1).

    Raises
    ------
    ValueError
        Delta outside (0, 1), a record that is not the one behind its certificate, certificates that are not paired, a quantity that is
        unknown or was not measured, or one that involves a pool read off the sample ("in_sample"), which was no proxy.
    """
    spending.split_delta(delta)
    _check_paired(cert_a, cert_b, losses)
    sides = [
        _behind(cert, record, quantity)
        for cert, record in ((cert_a, losses[0]), (cert_b, losses[1]))
    ]
    selection = 0.0 if quantity == "gap" else cert_a.selection_nats + cert_b.selection_nats
    (a, *support_a), (b, *support_b) = sides
    low, high = difference_limits(
        a, b, (*support_a, *support_b), math.log(2 / delta) + selection, cert_a.inequality
    )
    labels, means = (_label(cert_a), _label(cert_b)), (float(a.mean()), float(b.mean()))
    return Comparison(
        quantity, labels, means, float((a - b).mean()), float(low), float(high), delta, cert_a.n_seq
    )


def values_of(losses: SequenceLosses, quantity: str, k: int, alpha: float) -> Measured:
    """One of `QUANTITIES` per sequence for the measured pool of `k` latents, and the ends of its support."""
    (lo, hi), clean, full = (
        smoothed_support(alpha, losses.n_vocab),
        losses.at("clean", alpha),
        losses.at("full", alpha),
    )
    pooled = spending.pooled_losses(losses, (k,), alpha)[0]
    gaps = {"gap": clean - full, "mismatch": full - pooled, "pool_gap": clean - pooled}
    table = {name: (np.abs(gap), 0.0, hi - lo) for name, gap in gaps.items()}
    table |= {"proxy": (pooled, lo, hi), "bound": (joint_loss(clean, full, pooled, hi), lo, hi)}
    table |= {name: (x, 0.0, 1.0) for name, (x, _) in pool_behaviour(losses, k, k).items()}
    if quantity not in table:
        raise ValueError(
            f"'{quantity}' is unknown or was not measured; there are {', '.join(table)}"
        )
    return table[quantity]


def _behind(cert: Certificate, losses: SequenceLosses, quantity: str) -> Measured:
    if cert.method == "in_sample" and quantity != "gap":
        raise ValueError(
            f"'{quantity}' involves a pool, and this one was read off the sample: certify another method, or compare 'gap'"
        )
    sample, *_ = checked_sample(
        losses, cert.n_seq, cert.seed, tuple(CHECKS)
    )  # the findings are on the certificate
    return values_of(sample, quantity, losses.d_sae if quantity == "gap" else cert.k, cert.alpha)


def _check_paired(
    cert_a: Certificate, cert_b: Certificate, losses: tuple[SequenceLosses, SequenceLosses]
) -> None:
    for name, cert, record in zip("ab", (cert_a, cert_b), losses, strict=True):
        if record.fingerprint() != cert.fingerprint:
            raise ValueError(
                f"certificate {name} was not computed from these losses: pass losses=(losses_a, losses_b), in this order"
            )
    for name in ("alpha", "inequality", "n_seq", "seed"):
        if (a := getattr(cert_a, name)) != (b := getattr(cert_b, name)):
            raise ValueError(
                f"certificate a has {name} = {a}, certificate b has {b}: certify both at the same"
            )
    if not np.array_equal(losses[0].ids[: cert_a.n_seq], losses[1].ids[: cert_b.n_seq]):
        raise ValueError(
            "the certificates are about different sequences, or about the same in another order: collect both on one corpus"
        )


def _label(cert: Certificate) -> str:
    return f"{cert.provenance.get('subject')} at {cert.provenance.get('hook_name')}, pool of {cert.k} of {cert.d_sae}"

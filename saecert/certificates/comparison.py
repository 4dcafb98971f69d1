"""compare(): which of two SAEs, layers or pools leaves less behind on the same sequences."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from saecert.arguments import checked
from saecert.certificates import delta as spending
from saecert.certificates.behaviour import pool_behaviour
from saecert.certificates.certificate import Certificate
from saecert.certificates.checks import BY_GROUP, CHECKS, checked_sample
from saecert.certificates.sample import Sample
from saecert.certificates.settings import PAIRED
from saecert.certificates.summary import source
from saecert.certificates.terms import joint_loss, sharp_loss
from saecert.records import SequenceLosses
from saecert.statistics.finite import finite_upper
from saecert.statistics.inequalities import Inequality
from saecert.statistics.paired import difference_limits
from saecert.statistics.rounding import lower_text, nearest_text, probability_text, upper_text
from saecert.untrusted import printable

Measured = tuple[Float[np.ndarray, "n_seq"], float, float]

_SHARED = ("gap", "mismatch", "proxy", "bound", "sharp", *spending.BEHAVIOUR)

QUANTITIES = {"pool_gap": "E|l(f) - l(g_A)|, model against pooled proxy"} | {
    name: spending.QUANTITIES[name] for name in _SHARED
}
"""What can be compared, or tested on a stream: expectations that are better when smaller.

All but "gap" involve the pool."""


@dataclass(frozen=True)
class Comparison:
    """Two-sided limits on how much one quantity differs between two certificates."""

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
        """Which is certified to have the smaller expectation, "a" or "b"; None if neither is."""
        return "a" if self.upper < 0 else "b" if self.lower > 0 else None

    def __str__(self) -> str:
        low = lower_text(self.lower, 3, sign=True)
        high = upper_text(self.upper, 3, sign=True)
        verdict = "the sample does not tell which is smaller"
        if self.smaller:
            verdict = f"{self.smaller} is smaller"
        rows = [
            f"  {name}{nearest_text(mean, 3):>9}  {printable(label)}"
            for name, mean, label in zip("ab", self.means, self.labels, strict=True)
        ]
        lines = [
            f"{QUANTITIES[self.quantity]}, on {self.n_seq} sequences",
            *rows,
            f"  a - b{nearest_text(self.difference, 3, sign=True):>9}, {low} to {high} "
            f"except with probability {probability_text(self.delta)}: {verdict}",
        ]
        return "\n".join(lines)


@checked(PAIRED)
def compare(
    cert_a: Certificate,
    cert_b: Certificate,
    losses: tuple[SequenceLosses, SequenceLosses],
    *,
    quantity: str = "gap",
    delta: float = 0.05,
) -> Comparison:
    """A `Comparison` of two SAEs, layers or pools, paired on the same sequences.

    **Guarantee.** With probability at least ``1 - delta`` the expected difference is between the
    limits, so that `smaller` is wrong with probability at most delta: for sequences drawn i.i.d.,
    certificates whose settings were fixed beforehand, and the inequality of both at delta/2 a side.
    Sequences are paired: what makes a text hard for both cancels. A pool that was the best of a
    nested grid is paid for by a union bound over the grid. This delta is on top of those of the
    certificates, and each of several comparisons spends its own: divide delta among them.

    Parameters
    ----------
    cert_a, cert_b
        Certificates on the same sequences at one alpha, sample size, seed and inequality. Each
        brings its own pool.
    losses
        The records they were computed from, in this order: a certificate holds no per-sequence
        values. Its pool and what choosing it cost are taken at its word: `verify` one that comes
        from a file.
    quantity
        A key of `QUANTITIES`.
    delta
        Probability of a wrong statement, in (0, 1).

    Raises
    ------
    ValueError
        Delta outside (0, 1), a record that is not the one behind its certificate, certificates that
        are not paired, a quantity that is unknown or was not measured, or one that involves a pool
        read off the sample ("in_sample"), which was no proxy.
    """
    spending.split_delta(delta)
    _check_paired(cert_a, cert_b, losses)
    a, *support_a = _behind(cert_a, losses[0], quantity)
    b, *support_b = _behind(cert_b, losses[1], quantity)
    selection = 0.0 if quantity == "gap" else cert_a.selection_nats + cert_b.selection_nats
    nats = math.log(2 / delta) + selection
    supports = (support_a[0], support_a[1], support_b[0], support_b[1])
    inequality: str | Inequality = cert_a.inequality
    if cert_a.population_size is not None:
        inequality = finite_upper(cert_a.inequality, cert_a.population_size)
    low, high = difference_limits(a, b, supports, nats, inequality)
    return Comparison(
        quantity=quantity,
        labels=_labels(cert_a, cert_b),
        means=(float(a.mean()), float(b.mean())),
        difference=float((a - b).mean()),
        lower=float(low),
        upper=float(high),
        delta=delta,
        n_seq=cert_a.n_seq,
    )


def values_of(losses: SequenceLosses, quantity: str, k: int, alpha: float) -> Measured:
    """One of `QUANTITIES` per sequence for the measured pool of `k`, and the ends of its support.

    Raises
    ------
    ValueError
        The quantity is unknown or was not measured, or no pool of this size was.
    """
    sample = Sample.of(losses, alpha)
    lo = sample.lo
    hi = sample.hi
    clean = sample.clean
    full = sample.full
    pooled = sample.pooled((k,))[0]
    table: dict[str, Measured] = {
        "gap": (np.abs(clean - full), 0.0, hi - lo),
        "mismatch": (np.abs(full - pooled), 0.0, hi - lo),
        "pool_gap": (np.abs(clean - pooled), 0.0, hi - lo),
        "proxy": (pooled, lo, hi),
        "bound": (joint_loss(clean, full, pooled, hi), lo, hi),
        "sharp": (sharp_loss(clean, full, pooled), lo, hi),
    }
    for name, (shares, _) in pool_behaviour(losses, k, k).items():
        table[name] = (shares, 0.0, 1.0)
    if quantity not in table:
        raise ValueError(
            f"'{quantity}' is unknown or was not measured; there are {', '.join(table)}"
        )
    return table[quantity]


def _behind(cert: Certificate, losses: SequenceLosses, quantity: str) -> Measured:
    if cert.method == "in_sample" and quantity != "gap":
        raise ValueError(
            f"'{quantity}' involves a pool, and this one was read off the sample: "
            "certify another method, or compare 'gap'"
        )
    # what the checks find is on the certificate already
    sample, *_ = checked_sample(losses, cert.n_seq, cert.seed, (*CHECKS, *BY_GROUP), unit=cert.unit)
    k = losses.d_sae if quantity == "gap" else cert.k
    return values_of(sample, quantity, k, cert.alpha)


def _check_paired(
    cert_a: Certificate, cert_b: Certificate, losses: tuple[SequenceLosses, SequenceLosses]
) -> None:
    for name, cert, record in zip("ab", (cert_a, cert_b), losses, strict=True):
        if record.fingerprint() != cert.fingerprint:
            raise ValueError(
                f"certificate {name} was not computed from these losses: "
                "pass losses=(losses_a, losses_b), in this order"
            )
    for name in ("alpha", "inequality", "n_seq", "seed", "unit", "population_size"):
        a = getattr(cert_a, name)
        b = getattr(cert_b, name)
        if a != b:
            raise ValueError(
                f"certificate a has {name} = {a}, certificate b has {b}: certify both at the same"
            )
    if cert_a.fingerprint == cert_b.fingerprint and cert_a.k == cert_b.k:
        raise ValueError(
            f"both certificates are of one record and one pool of {cert_a.k} latents: "
            "there is nothing to compare"
        )
    n = cert_a.n_seq if cert_a.unit == "sequence" else None
    same = np.array_equal(losses[0].ids[:n], losses[1].ids[:n])
    if not same or cert_a.sample_sha256 != cert_b.sample_sha256:
        raise ValueError(
            "the certificates are about different sequences, or about the same in another order: "
            "collect both on one corpus"
        )


def _labels(cert_a: Certificate, cert_b: Certificate) -> tuple[str, str]:
    """What the two are; by the hashes of their SAEs where nothing else tells these apart."""
    hashes = [str(cert.provenance.get("sae_sha256", ""))[:8] for cert in (cert_a, cert_b)]
    places = [source(cert.provenance) for cert in (cert_a, cert_b)]
    if places[0] == places[1] and hashes[0] != hashes[1]:
        places = [f"{place} (SAE {digest})" for place, digest in zip(places, hashes, strict=True)]
    a, b = (
        f"{place}, pool of {cert.k} of {cert.d_sae}"
        for place, cert in zip(places, (cert_a, cert_b), strict=True)
    )
    return a, b

"""Certificate, model alone and ablations beside each other: the frames of page 02."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from saecert.certificates.certificate import Certificate
from saecert.certificates.ladder import rungs
from saecert.certificates.terms import joint_loss
from saecert.records import SequenceLosses
from saecert.reporting.tables import terms_table
from saecert.statistics.inequalities import INEQUALITIES
from saecert.statistics.paired import difference_limits

ABLATIONS = ("mean", "zero")
"""Constants that are put in the place of the activation."""


def measured_ablations(losses: SequenceLosses) -> list[str]:
    """Those of `ABLATIONS` that were measured: without discovery there is no mean."""
    return [name for name in ABLATIONS if name in losses.loss]


def stacked_terms(
    certificate: Certificate, losses: SequenceLosses, ablations: Sequence[str] = ABLATIONS
) -> pd.DataFrame:
    """Columns label, term, bits: the certificate, the model alone, and ablations for the SAE.

    Of each the terms add up to its bound on v_A, or on the model's risk for the model alone.
    """
    pool = f"pool of {certificate.k:,} latents"
    frames = [terms_table({pool: certificate})[["label", "term", "bits"]]]
    risk = certificate.means["model risk"]
    alone = {"model risk": risk, "complexity: sampling": certificate.direct - risk}
    frames.append(_labelled("model alone", alone))
    terms = {name: _ablation_terms(certificate, losses, name) for name in ablations}
    frames += [_labelled(f"{name} ablation", bits) for name, bits in terms.items()]
    return pd.concat(frames, ignore_index=True)


def ablation_risks(
    certificate: Certificate, losses: SequenceLosses, ablations: Sequence[str], reference: str
) -> pd.DataFrame:
    """One row an ablation: its risk, and limits on how far it is above a reference's.

    Each limit holds on its own, at the delta and with the inequality of the certificate; paired,
    on the same sequences.
    """
    alpha = certificate.alpha
    rung = {rung.name: rung for rung in rungs(losses, alpha)}[reference]
    supports = (certificate.lo, certificate.hi, rung.lowest, rung.highest)
    nats = -math.log(certificate.delta)
    above = f"above the {reference}"
    rows = []
    for name in ablations:
        risk = losses.at(name, alpha)
        pair = (risk, rung.losses)
        low, high = difference_limits(*pair, supports, nats, certificate.inequality)
        row = {"proxy": f"{name} ablation", "risk": float(risk.mean())}
        row[above] = float((risk - rung.losses).mean())
        limits = {f"{above}, at least": float(low), f"{above}, at most": float(high)}
        rows.append(row | limits)
    return pd.DataFrame(rows).set_index("proxy")


def _ablation_terms(
    certificate: Certificate, losses: SequenceLosses, name: str
) -> dict[str, float]:
    """The terms of v_A with an ablation in the place of SAE and pooled SAE."""
    clean = losses.at("clean", certificate.alpha)
    ablated = losses.at(name, certificate.alpha)
    v = joint_loss(clean, ablated, ablated, certificate.hi)
    gap = float(np.abs(clean - ablated).mean())
    upper = INEQUALITIES[certificate.inequality]
    bound = upper(v, certificate.lo, certificate.hi, -math.log(certificate.delta))
    measured = {"proxy risk": float(ablated.mean()), "reconstruction gap": gap}
    clipped = min(0.0, float(v.mean()) - sum(measured.values()))
    return {**measured, "clipping": clipped, "complexity: sampling": float(bound - v.mean())}


def _labelled(label: str, terms: dict[str, float]) -> pd.DataFrame:
    return pd.DataFrame({"label": label, "term": list(terms), "bits": list(terms.values())})

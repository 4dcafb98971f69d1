"""Certificates as tidy pandas frames, and how numbers are rounded for print."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pandas as pd

from saecert.certificates.certificate import Certificate
from saecert.statistics.rounding import rounded_up

Certificates = Certificate | Iterable[Certificate] | Mapping[str, Certificate]
"""One certificate, several, or several by label."""


def terms_table(certificates: Certificates) -> pd.DataFrame:
    """One row per certificate and term, in the order in which terms stack up to the bound: a figure's input.

    Columns: those that identify a certificate (`identify`), "term", "bits" (per token). The terms of a certificate add up to its
    bound; complexity has two rows, "complexity: sampling" and "complexity: selection".
    """
    rows = []
    for label, certificate in _labelled(certificates):
        measured = {name: bits for name, bits in certificate.terms.items() if name != "complexity"}
        parts = measured | {
            f"complexity: {name}": bits for name, bits in certificate.complexity.items()
        }
        rows += [
            identify(certificate, label) | {"term": name, "bits": bits}
            for name, bits in parts.items()
        ]
    return pd.DataFrame(rows)


def ladder_table(certificates: Certificates) -> pd.DataFrame:
    """One row per certificate, rung and route ("proxy": through the pooled proxy; "direct": the model's own loss)."""
    rows = []
    for label, c in _labelled(certificates):
        for through, ladder in (("proxy", c.ladder), ("direct", c.direct_ladder)):
            rows += [identify(c, label) | {"through": through} | rung for rung in ladder]
    return pd.DataFrame(rows)


def concepts_table(certificates: Certificates) -> pd.DataFrame:
    """One row per certificate and tolerance "eps": the certified concept count "k" (NA if none holds), each a statement at delta."""
    rows = [
        identify(c, label) | {"eps": row["eps"], "k": row["k"]}
        for label, c in _labelled(certificates)
        for row in c.concepts
    ]
    return pd.DataFrame(rows).astype({"k": "Int64"} if rows else {})


def models_table(certificates: Certificates) -> pd.DataFrame:
    """One row per certificate: what was certified on which text, and the bound next to the uniform predictor's log2 V.

    Bounds at different alpha or vocabulary are about different losses; "share of uniform" and "below uniform" (bits) at least
    say how far each is from saying nothing.
    """
    rows = []
    for label, c in _labelled(certificates):
        source = {
            "subject": c.provenance.get("subject", ""),
            "text": c.provenance.get("corpus", ""),
        }
        limits = {
            "bound": c.bound,
            "uniform": c.uniform,
            "share of uniform": c.bound / c.uniform,
            "below uniform": c.uniform - c.bound,
        }
        rows.append(
            source
            | identify(c, label)
            | {"delta": c.delta}
            | limits
            | {"verdict": c.verdict or "vacuous"}
        )
    return pd.DataFrame(rows)


def identify(certificate: Certificate, label: str = "") -> dict[str, Any]:
    """Columns that tell certificates apart: label, hook point, method, inequality, alpha, number of sequences, pool size."""
    c = certificate
    hook = c.provenance.get("hook_name", "")
    method = c.method if c.prior is None else f"{c.method} ({c.prior})"
    settings = {
        "method": method,
        "inequality": c.inequality,
        "alpha": c.alpha,
        "n_seq": c.n_seq,
        "k": c.k,
    }
    return {"label": label or method, "hook_name": hook} | settings


def rounded(
    frame: pd.DataFrame,
    significant: Iterable[str] = ("tightness", "delta", "nats", "selection nats", "alpha"),
) -> pd.DataFrame:
    """A copy for print: 2 decimals (bits), but 3 significant digits in the columns named in `significant`.

    Limits are rounded to the safe side: columns whose name has "upper", "bound" or "price" in it up, those with "lower" down.
    """
    significant = set(significant)
    printed = frame.copy()
    for name in frame.columns:
        if pd.api.types.is_float_dtype(frame[name]):
            printed[name] = frame[name].map(_rounding(name, name in significant))
    return printed


def _rounding(name: str, significant: bool) -> Callable[[float], float]:
    if significant:
        return lambda x: float(f"{x:.3g}")
    if any(word in name for word in ("upper", "bound", "price")):
        return lambda x: rounded_up(x) if math.isfinite(x) else x
    if "lower" in name:
        return lambda x: -rounded_up(-x) + 0.0 if math.isfinite(x) else x
    return lambda x: round(x, 2) + 0.0  # turns -0.0 into 0.0


def _labelled(certificates: Certificates) -> list[tuple[str, Certificate]]:
    if isinstance(certificates, Certificate):
        return [("", certificates)]
    return (
        list(certificates.items())
        if isinstance(certificates, Mapping)
        else [("", certificate) for certificate in certificates]
    )

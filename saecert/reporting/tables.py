"""Certificates as tidy pandas frames, and what is printed under a table of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from saecert.certificates.certificate import Certificate
from saecert.reporting.show import Printed, rounded, show

__all__ = [
    "Printed",
    "certificates_table",
    "concepts_table",
    "curve_table",
    "footing",
    "identify",
    "ladder_table",
    "models_table",
    "rounded",
    "show",
    "statements_table",
    "terms_table",
    "two_bounds_table",
]

Certificates = Certificate | Iterable[Certificate] | Mapping[str, Certificate]
"""One certificate, several, or several by label."""


def certificates_table(certificates: Certificates) -> pd.DataFrame:
    """One row per certificate: terms, bound, direct bound, price, uniform line and verdict.

    Columns: those that identify a certificate (`identify`), the terms, "model risk", the limits
    "bound", "sharp", "direct bound" and "price of explanation", "uniform", "verdict", "tightness"
    and "selection nats".
    """
    rows = []
    for label, certificate in _labelled(certificates):
        limits = {
            "model risk": certificate.means["model risk"],
            "bound": certificate.bound,
            "sharp": certificate.sharp,
            "direct bound": certificate.direct,
            "price of explanation": certificate.price,
            "uniform": certificate.uniform,
        }
        facts = {
            "verdict": certificate.verdict or "vacuous",
            "tightness": certificate.tightness,
            "selection nats": certificate.selection_nats,
        }
        terms = {"clipping": 0.0, **certificate.terms}
        rows.append({**identify(certificate, label), **terms, **limits, **facts})
    return pd.DataFrame(rows)


def terms_table(certificates: Certificates) -> pd.DataFrame:
    """One row per certificate and term, in the order in which terms stack up to the bound.

    Columns: those that identify a certificate (`identify`), "term", "bits" (per token). The terms
    of a certificate add up to its bound; complexity has two rows, "complexity: sampling" and
    "complexity: selection".
    """
    rows = []
    for label, certificate in _labelled(certificates):
        terms = {name: bits for name, bits in certificate.terms.items() if name != "complexity"}
        for name, bits in certificate.complexity.items():
            terms[f"complexity: {name}"] = bits
        facts = identify(certificate, label)
        rows += [{**facts, "term": name, "bits": bits} for name, bits in terms.items()]
    return pd.DataFrame(rows)


def two_bounds_table(certificate: Certificate) -> pd.DataFrame:
    """The terms of both bounds beside each other, one row a term, columns "absolute" and "sharp".

    Gap and mismatch are absolute differences in the first column; in the second only what the loss
    of the model, or of the SAE proxy, is above what stands above it. Each column adds up to its
    last row, a limit on its own.
    """
    sharp = [*certificate.sharp_terms.values(), certificate.sharp]
    terms = {"clipping": 0.0, **certificate.terms}
    names = ("proxy risk", "reconstruction gap", "pool mismatch", "complexity")
    absolute = [*(terms[name] for name in names), certificate.bound]
    table = pd.DataFrame({"absolute": absolute, "sharp": sharp}, index=[*names, "= bound"])
    if terms["clipping"]:
        table.loc["clipping"] = [terms["clipping"], 0.0]
        table = table.loc[[*names[:3], "clipping", "complexity", "= bound"]]
    return table.rename_axis("term")


def ladder_table(certificates: Certificates) -> pd.DataFrame:
    """One row per certificate, rung and route: through the pooled proxy, or the model's own loss.

    Column "through" says "proxy" or "direct".
    """
    rows = []
    for label, certificate in _labelled(certificates):
        ladders = {"proxy": certificate.ladder, "direct": certificate.direct_ladder}
        facts = identify(certificate, label)
        for through, ladder in ladders.items():
            rows += [{**facts, "through": through, **rung} for rung in ladder]
    return pd.DataFrame(rows)


def statements_table(certificates: Certificates) -> pd.DataFrame:
    """One row per certificate and statement: its limits, delta, nats, and what it holds with.

    Columns: those of `identify`, "statement", and the entries of `Certificate.statements`.
    """
    rows = []
    for label, certificate in _labelled(certificates):
        facts = identify(certificate, label)
        statements = certificate.statements.items()
        rows += [{**facts, "statement": name, **row} for name, row in statements]
    return pd.DataFrame(rows)


def curve_table(certificates: Certificates) -> pd.DataFrame:
    """One row per certificate and pool size: terms and both bounds, each jointly true."""
    labelled = _labelled(certificates)
    return pd.DataFrame([{**identify(c, label), **row} for label, c in labelled for row in c.curve])


def concepts_table(certificates: Certificates) -> pd.DataFrame:
    """One row per certificate and tolerance "eps": the certified concept count "k", NA if none.

    Each row is a statement of its own at delta.
    """
    rows = []
    for label, certificate in _labelled(certificates):
        facts = identify(certificate, label)
        rows += [{**facts, "eps": row["eps"], "k": row["k"]} for row in certificate.concepts]
    return pd.DataFrame(rows).astype({"k": "Int64"} if rows else {})


def models_table(certificates: Certificates) -> pd.DataFrame:
    """One row per certificate: which subject on which text, and the bound next to log2 V.

    Bounds at different alpha or vocabulary are about different losses; "share of uniform" (an upper
    limit) and "below uniform" (a lower one, in bits) at least say how far the sharp one is from
    saying nothing.
    """
    rows = []
    for label, certificate in _labelled(certificates):
        provenance = certificate.provenance
        source = {"subject": provenance.get("subject", ""), "text": provenance.get("corpus", "")}
        limits = {
            "delta": certificate.delta,
            "bound": certificate.bound,
            "sharp": certificate.sharp,
            "uniform": certificate.uniform,
            "share of uniform": certificate.sharp / certificate.uniform,
            "below uniform": certificate.uniform - certificate.sharp,
            "verdict": certificate.verdict or "vacuous",
        }
        rows.append({**source, **identify(certificate, label), **limits})
    return pd.DataFrame(rows)


def identify(certificate: Certificate, label: str = "") -> dict[str, Any]:
    """Columns that tell certificates apart: label, hook point, SAE, method, settings, sizes.

    The column "sae" is there where the record says which SAE it was.
    """
    named = certificate.prior and certificate.prior != "equal"
    prior = f" ({certificate.prior})" if named else ""
    method = f"{certificate.method}{prior}"
    provenance = certificate.provenance
    sae = {"sae": provenance["sae"]} if provenance.get("sae") else {}
    return {
        "label": label or method,
        "hook_name": provenance.get("hook_name", ""),
        **sae,
        "method": method,
        "inequality": certificate.inequality,
        "alpha": certificate.alpha,
        "n_seq": certificate.n_seq,
        "k": certificate.k,
    }


def footing(certificates: Certificates, delta: float | None = None) -> str:
    """What is printed under a table: n, delta, alpha and k, the same for all or from least to most.

    `delta` stands for all of the table where it is not that of each certificate.

    Examples
    --------
    >>> footing(certificate)  # doctest: +SKIP
    'n = 500, delta = 0.05, alpha = 0.5, k = 1152 of 1536 latents'
    """
    chosen = [certificate for _, certificate in _labelled(certificates)]
    sizes = _range([c.d_sae for c in chosen])
    deltas = [c.delta for c in chosen] if delta is None else [delta]
    parts = {
        "n": _range([c.n_seq for c in chosen]),
        "delta": _range(deltas),
        "alpha": _range([c.alpha for c in chosen]),
        "k": f"{_range([c.k for c in chosen])} of {sizes} latents",
    }
    return ", ".join(f"{name} = {text}" for name, text in parts.items())


def _range(values: list[int | float]) -> str:
    least, most = min(values), max(values)
    return f"{least:.4g}" if least == most else f"{least:.4g} to {most:.4g}"


def _labelled(certificates: Certificates) -> list[tuple[str, Certificate]]:
    if isinstance(certificates, Certificate):
        return [("", certificates)]
    if isinstance(certificates, Mapping):
        return list(certificates.items())
    return [("", certificate) for certificate in certificates]

"""The page about a public model: certificates by depth, and text that it may know (no torch)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from saecert.certificates.certificate import Certificate
from saecert.certificates.recovered import loss_recovered
from saecert.certificates.tails import tails
from saecert.corpora.docstrings import PACKAGES
from saecert.corpora.hashes import label_hash
from saecert.records import SequenceLosses, smoothed_support
from saecert.reporting import published
from saecert.reporting.claims import NOT_SHOWN, all_below, decided
from saecert.reporting.layers import labels_of
from saecert.statistics.unpaired import two_sample_limits

BOUNDS = {"direct": "direct bound", "sharp": "sharp", "bound": "bound"}
"""Bounds of a certificate, and what the table calls them."""
SHARES = {"sharp": 2, "bound": 1, "direct": 1, "ladder": 1, "proxy": 1, "gap": 1, "mismatch": 1}
"""Parts of delta for what the page says of one hook point: then all of it holds jointly."""
WITHIN = 0.5
"""Bits per token within which a share of sequences is certified to stay."""


def budget_of(delta: float) -> dict[str, float]:
    """`delta` divided by `SHARES` among the statements of one certificate.

    >>> sum(budget_of(0.04).values()), budget_of(0.04)["sharp"]
    (0.04, 0.01)
    """
    parts = sum(SHARES.values())
    return {name: delta * part / parts for name, part in SHARES.items()}


def bounds_by_layer(certificates: Mapping[str, Certificate]) -> pd.DataFrame:
    """A row a layer: the bounds, what the sharp one is of the uniform predictor's loss, verdict."""
    rows = {}
    for label, certificate in zip(
        labels_of(list(certificates)), certificates.values(), strict=True
    ):
        row: dict[str, Any] = {title: getattr(certificate, name) for name, title in BOUNDS.items()}
        row["share of uniform"] = certificate.sharp / math.log2(certificate.n_vocab)
        rows[label] = {**row, "better than": certificate.verdict or "none"}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("layer")


def terms_by_layer(certificates: Mapping[str, Certificate]) -> pd.DataFrame:
    """A row a layer: sample means of the model's risk and of the terms of both bounds."""
    rows = [certificate.means for certificate in certificates.values()]
    names = ["model risk", "proxy risk", "reconstruction gap", "pool mismatch"]
    frame = pd.DataFrame(rows, index=labels_of(list(certificates)))
    return frame[[*names, "one-sided gap", "one-sided mismatch"]].rename_axis("layer")


def fidelity_by_layer(losses: Mapping[str, SequenceLosses], **settings: Any) -> pd.DataFrame:
    """A row a layer: loss recovered, gap quantile and share of small gaps of the whole SAE.

    **Guarantee.** Each limit is a statement of its own at the `delta` in `settings`: those of
    `saecert.certificates.recovered.loss_recovered` and `saecert.certificates.tails.tails`.
    """
    tail_settings = {key: value for key, value in settings.items() if key != "inequality"}
    rows = {}
    for label, record in _labelled(losses):
        score = loss_recovered(record, ablation="zero", **settings)
        share = tails(
            record, pool=record.d_sae, eps=(WITHIN,), levels=(), jointly=False, **tail_settings
        )
        median = tails(
            record, pool=record.d_sae, eps=(), levels=(0.9,), jointly=False, **tail_settings
        )
        rows[label] = {
            "loss recovered": score.recovered,
            "loss recovered, at least": score.lower,
            "0.9 quantile of the gap, bits, at most": median.quantiles[0].upper,
            f"texts with a gap up to {WITHIN:g} bits, at least": share.shares[0].lower,
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("layer")


def beside_published(certificates: Mapping[str, Certificate]) -> pd.DataFrame:
    """Our depths beside the published models: bounds in bits, and shares of ``log2 V``."""
    rows = {}
    for label, certificate in zip(
        labels_of(list(certificates)), certificates.values(), strict=True
    ):
        uniform = math.log2(certificate.n_vocab)
        subject = certificate.provenance["subject"]
        bounds = (certificate.direct, certificate.bound)
        rows[f"{subject}, layer {label}"] = (certificate.n_seq, *bounds, uniform)
    for row in published.restated("models").itertuples():
        bounds = (row.printed_direct, row.printed_fixed)
        rows[f"{row.model}, as printed"] = (row.n_seq, *bounds, math.log2(row.n_vocab))
    columns = ["n", "direct bound", "bound", "log2 V"]
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    frame["bound / log2 V"] = frame["bound"] / frame["log2 V"]
    return frame.rename_axis("subject")


def contamination(
    old: SequenceLosses, fresh: SequenceLosses, *, alpha: float, delta: float, inequality: str
) -> pd.DataFrame:
    """How much larger means are on old text than on fresh text, with limits: a row a predictor.

    **Guarantee.** With probability at least ``1 - delta`` all limits hold, if each sample is
    i.i.d. from its population. Rows "model", "bigram", and "beyond the bigram": the model's loss
    minus the bigram's. Columns "old", "fresh", "difference", "lower", "upper".
    """
    lo, hi = smoothed_support(alpha, old.n_vocab)
    width = hi - lo
    quantities = {
        "model": (old.at("clean", alpha), fresh.at("clean", alpha), (lo, hi)),
        "bigram": (old.at("bigram", alpha), fresh.at("bigram", alpha), (lo, hi)),
    }
    beyond = [record.at("clean", alpha) - record.at("bigram", alpha) for record in (old, fresh)]
    quantities["beyond the bigram"] = (*beyond, (-width, width))
    nats = math.log(2 * len(quantities) / delta)
    rows = {}
    for name, (there, here, support) in quantities.items():
        lower, upper = two_sample_limits(there, here, support, nats, inequality)
        means = (float(there.mean()), float(here.mean()))
        rows[name] = (*means, means[0] - means[1], lower, upper)
    columns = ["old", "fresh", "difference", "lower", "upper"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("predictor")


def by_group(
    old: SequenceLosses, fresh: SequenceLosses, alpha: float, names: Sequence[str] = PACKAGES
) -> pd.DataFrame:
    """Sample means of the model's loss by package, the most frequent of the fresh texts first.

    Columns "fresh texts", "fresh", "old texts", "old". Empty where a record has no groups, or none
    of those that `names` has.
    """
    columns = ["fresh texts", "fresh", "old texts", "old"]
    rows = {}
    for name in names:
        row: list[float] = []
        for record in (fresh, old):
            of_it = _in_group(record, name)
            mean = float(record.at("clean", alpha)[of_it].mean()) if of_it.any() else math.nan
            row += [int(of_it.sum()), mean]
        if row[0] or row[2]:
            rows[name] = row
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    return frame.sort_values("fresh texts", ascending=False, kind="stable").rename_axis("package")


def claimed(certificates: Mapping[str, Certificate], moved: pd.DataFrame | None) -> dict[str, Any]:
    """What the page claims, as `saecert.reporting.claims.claims` takes it.

    `moved` is that of `contamination`, or None where no known text was named. Verdicts of
    certificates are upper limits, so that the first claim can be shown and cannot be refuted.
    """
    useful = all(certificate.verdict is not None for certificate in certificates.values())
    easier: Any = "no known text"
    if moved is not None:
        easier = all_below(*moved.loc["model", ["lower", "upper"]])
    return {
        "every depth is certified better than a reference": decided(useful, False, NOT_SHOWN),
        "the old texts are easier for it than the fresh ones": easier,
    }


def _in_group(record: SequenceLosses, name: str) -> np.ndarray:
    """Which sequences of a record are of a group; none where it has no groups."""
    if record.groups is None:
        return np.zeros(len(record), dtype=bool)
    return record.groups == label_hash(name)


def _labelled(by_hook: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    return zip(labels_of(list(by_hook)), by_hook.values(), strict=True)

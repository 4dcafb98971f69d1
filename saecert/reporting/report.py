"""A certificate as one page of HTML that needs nothing else: no network, no script, no other file.

Light or dark as the reader's system is. Figures are SVG inside the page; in the dark they are
inverted with their hues kept. Everything that comes from the certificate is escaped: its file may
be from anybody.
"""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Sequence
from pathlib import Path
from string import Template

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from saecert.certificates.certificate import Certificate, certify
from saecert.certificates.meaning import meaning
from saecert.certificates.summary import source
from saecert.records import SequenceLosses
from saecert.reporting.figures import panels, plot_convergence, plot_terms
from saecert.reporting.panels import BLUE, GREY, ORANGE
from saecert.reporting.tables import (
    footing,
    ladder_table,
    show,
    statements_table,
    terms_table,
    two_bounds_table,
)
from saecert.statistics.rounding import nearest_text, probability_text, upper_text
from saecert.storage import atomic_path
from saecert.untrusted import printable

TEMPLATE = Path(__file__).with_name("report.html")
SIZES = (2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000)
"""Sequences at which the limit is drawn, as far as there are so many."""
WIDTH = 7.2
"""Inches across a figure: its letters are legible on a phone."""
_TWO_SIDED = {"one-sided gap": "reconstruction gap", "one-sided mismatch": "pool mismatch"}
_SVG = {"svg.hashsalt": "saecert"}


def save_report(certificate: Certificate, losses: SequenceLosses, path: str | Path) -> None:
    """Write the report on a certificate and the losses behind it, whole or not at all.

    Raises
    ------
    ValueError
        `losses` are not those of the certificate.
    """
    if losses.fingerprint() != certificate.fingerprint:
        raise ValueError("the report needs the losses that the certificate was computed from")
    with atomic_path(path) as partial:
        partial.write_text(report(certificate, losses), encoding="utf-8")


def report(certificate: Certificate, losses: SequenceLosses) -> str:
    """The page."""
    words = meaning(certificate)
    facts = json.dumps(certificate.provenance, indent=1, sort_keys=True)
    parts = {
        "title": _safe(f"Certificate of {source(certificate.provenance) or 'a model'}"),
        "about": _safe(f"{footing(certificate)}, {certificate.inequality}; in bits per token"),
        "cards": _cards(certificate),
        "says": _items(words.says),
        "leaves_open": _items(words.leaves_open),
        **_figures(certificate, losses),
        **_tables(certificate),
        "text": html.escape(str(certificate)),
        "provenance": html.escape(facts),
    }
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(parts)


def growth(certificate: Certificate, losses: SequenceLosses) -> pd.DataFrame:
    """The limits had only the first sequences been read: columns n_seq, label, bound.

    Each on its own at the delta of the certificate; the last ones are those of the certificate.
    """
    sizes = [size for size in SIZES if size < certificate.n_seq]
    settings = {**certificate.settings, "eps": (), "ablations": ()}
    made = [certify(losses, **{**settings, "n_seq": size}) for size in sizes]
    rows = []
    for each in (*made, certificate):
        limits = {"absolute gaps": each.bound, "sharp": each.sharp, "model alone": each.direct}
        rows += [{"n_seq": each.n_seq, "label": name, "bound": x} for name, x in limits.items()]
    return pd.DataFrame(rows)


def plot_limits(certificate: Certificate) -> Figure:
    """The terms of both limits, and of the one on the model alone, stacked."""
    sharp = {_TWO_SIDED.get(name, name): x for name, x in certificate.sharp_terms.items()}
    del sharp["complexity"]
    sharp |= {f"complexity: {name}": x for name, x in certificate.sharp_complexity.items()}
    risk = certificate.means["model risk"]
    alone = {"model risk": risk, "complexity: sampling": certificate.direct - risk}
    absolute = terms_table(certificate).set_index("term")["bits"].to_dict()
    bars = {"absolute gaps": absolute, "sharp": sharp, "model alone": alone}
    rows = [
        {"label": label, "term": term, "bits": bits}
        for label, terms in bars.items()
        for term, bits in terms.items()
    ]
    limits = dict(
        zip(bars, (certificate.bound, certificate.sharp, certificate.direct), strict=True)
    )
    fig, (ax,) = panels(1, height=4.4)
    references = {row["rung"]: row["risk"] for row in certificate.ladder}
    plot_terms(pd.DataFrame(rows), ax, references, limits)
    return fig


def plot_sequences(certificate: Certificate, losses: SequenceLosses) -> Figure:
    """How the losses of single sequences are spread: the model, and the pooled proxy."""
    names = {"model": ("clean", BLUE), "pooled proxy": (pooled(certificate, losses), ORANGE)}
    fig, (ax,) = panels(1, height=3.4)
    values = {label: losses.at(name, certificate.alpha) for label, (name, _) in names.items()}
    edges = np.histogram_bin_edges(np.concatenate(list(values.values())), bins=40)
    for label, (_, colour) in names.items():
        look = {"histtype": "stepfilled", "alpha": 0.45, "color": colour, "edgecolor": colour}
        ax.hist(values[label], bins=edges, label=label, **look)
        ax.axvline(float(values[label].mean()), color=colour, linewidth=2)
    ax.axvline(certificate.sharp, color="black", linestyle="--", linewidth=1.4, label="limit")
    ax.axvline(certificate.uniform, color=GREY, linestyle=":", linewidth=1.6, label="uniform")
    ax.set(xlabel="loss of a sequence (bits per token)", ylabel="sequences")
    fig.legend(loc="outside lower center", ncols=4, fontsize=9.5)
    return fig


def pooled(certificate: Certificate, losses: SequenceLosses) -> str:
    """The name in the record of the pooled proxy; an in-sample pool loses what the SAE does."""
    name = f"pool_{certificate.k}"
    return name if name in losses.loss else "full"


def _figures(certificate: Certificate, losses: SequenceLosses) -> dict[str, str]:
    curve = growth(certificate, losses)
    lines, (ax,) = panels(1, height=4.0)
    plot_convergence(curve, ax, certificate.uniform)
    lines.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return {
        "terms_figure": _figure(
            plot_limits(certificate),
            "What each limit is the sum of; the limit stands beside its bar, rounded up. With "
            "absolute gaps it is the papers' form, the sharp one counts each loss once. Dotted: "
            "references on the same sequences.",
        ),
        "sequences_figure": _figure(
            plot_sequences(certificate, losses),
            f"Losses of single sequences, of which the limit of {upper_text(certificate.sharp)} "
            "bits is about the average only: many are above it. Solid lines are sample means.",
        ),
        "growth_figure": _figure(
            lines,
            "The limits had fewer sequences been read, each on its own. Where the lines are "
            "flat, more text would lower them little.",
        ),
    }


def _tables(certificate: Certificate) -> dict[str, str]:
    ladder = ladder_table(certificate)[["through", "rung", "risk", "mean", "upper", "claimed"]]
    columns = ["statement", "quantity", "mean", "lower", "upper", "delta"]
    statements = statements_table(certificate)[columns].set_index("statement")
    return {
        "terms_table": _table(
            two_bounds_table(certificate), footing(certificate), nearest=["sharp"]
        ),
        "ladder_table": _table(
            ladder.set_index(["through", "rung"]),
            "mean and upper limit of the loss minus that of the reference, paired; "
            f"{footing(certificate)}",
        ),
        "statements_table": _table(statements, "each on its own at its delta"),
    }


def _cards(certificate: Certificate) -> str:
    delta = probability_text(certificate.statements["sharp"]["delta"])
    facts = (
        (upper_text(certificate.sharp), f"bits per token at most, all three (delta {delta})"),
        (upper_text(certificate.direct), "bits at most, the model alone"),
        (upper_text(certificate.price), "bits more at most, read through the pool"),
        (nearest_text(certificate.uniform), "bits, guessing every token alike"),
    )
    cards = [
        f'<div class="card"><b>{number}</b><span>{text}</span></div>' for number, text in facts
    ]
    verdict = f"better than {certificate.verdict}" if certificate.verdict else "vacuous"
    cards.append(
        f'<div class="card"><b class="words">{_safe(verdict)}</b><span>verdict</span></div>'
    )
    return "\n".join(cards)


def _figure(fig: Figure, caption: str) -> str:
    fig.set_figwidth(WIDTH)
    stream = io.BytesIO()
    with matplotlib.rc_context(_SVG):
        fig.savefig(stream, format="svg", metadata={"Date": None})
    plt.close(fig)
    data = base64.b64encode(stream.getvalue()).decode("ascii")
    words = html.escape(caption)
    image = f'<img alt="{words}" src="data:image/svg+xml;base64,{data}">'
    return f"<figure>{image}<figcaption>{words}</figcaption></figure>"


def _table(frame: pd.DataFrame, note: str, nearest: Sequence[str] = ()) -> str:
    printed = show(frame, note=note, nearest=nearest)
    return f'<div class="table">{printed._repr_html_()}</div>'


def _items(sentences: Sequence[str]) -> str:
    return "\n".join(f"<li>{_safe(sentence)}</li>" for sentence in sentences)


def _safe(text: str) -> str:
    return html.escape(printable(text))

"""Figures: each takes a tidy frame and an axes, and returns the axes. Colour-blind-safe, legible on white in light and dark pages."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

BLUE, ORANGE, GREEN, RED, PURPLE, BROWN, PINK, GREY, YELLOW, SKY = sns.color_palette("colorblind")
TERM_COLOURS = {
    "model risk": SKY,
    "proxy risk": BLUE,
    "reconstruction gap": ORANGE,
    "pool mismatch": GREEN,
    "complexity: sampling": GREY,
    "complexity: selection": "0.82",
}
MARKERS = "osD^vPX*<>"


def use_style() -> None:
    """Set the look of every figure of the book: white ground, thin grid, readable at column width."""
    text = {"axes.titlesize": 12, "axes.titleweight": "bold", "legend.frameon": True}
    canvas = {"figure.dpi": 110, "savefig.dpi": 110, "figure.facecolor": "white"}
    sns.set_theme(context="notebook", style="whitegrid", palette="colorblind", rc=text | canvas)


def plot_miss_rates(frame: pd.DataFrame, ax: Axes) -> Axes:
    """Miss rate in percent with its limits by inequality (colour, marker) and population (row), the nominal rate dashed.

    `frame` is that of `saecert.statistics.coverage.coverage_table`: columns inequality, population, miss_rate, ci_low, ci_high, delta.
    """
    rows = list(dict.fromkeys(frame["population"]))
    names = list(dict.fromkeys(frame["inequality"]))
    offsets = np.linspace(-0.3, 0.3, len(names)) if len(names) > 1 else [0.0]
    for name, offset, colour, marker in zip(
        names, offsets, sns.color_palette("colorblind"), MARKERS, strict=False
    ):
        part = frame[frame["inequality"] == name]
        y = np.array([rows.index(population) for population in part["population"]]) + offset
        spread = 100 * np.abs(
            part[["ci_low", "ci_high"]].to_numpy().T - part["miss_rate"].to_numpy()
        )
        ax.errorbar(
            100 * part["miss_rate"],
            y,
            xerr=spread,
            fmt=marker,
            color=colour,
            markersize=6,
            elinewidth=1.5,
            label=name,
        )
    ax.axvline(
        100 * frame["delta"].iloc[0], color="black", linestyle="--", linewidth=1, label="nominal"
    )
    ax.set_yticks(range(len(rows)), rows)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xlabel("misses (% of samples)")
    return ax


def plot_terms(
    frame: pd.DataFrame, ax: Axes, references: Mapping[str, float] | None = None
) -> Axes:
    """Terms stacked up to the bound, one bar a label, and the risks of reference predictors as labelled vertical lines.

    `frame` has columns label, term, bits, in stacking order (see `saecert.reporting.tables.terms_table`); clipping, which is negative, cuts
    the last of the measured terms short.
    """
    labels = list(dict.fromkeys(frame["label"]))
    for row, label in enumerate(labels):
        start, part = 0.0, frame[frame["label"] == label].set_index("term")["bits"]
        measured = part[
            [name for name in part.index if not name.startswith("complexity")]
        ].sum()  # clipping included, which is negative
        for term in [name for name in TERM_COLOURS if name in part.index]:
            length = (
                part[term] if term.startswith("complexity") else min(part[term], measured - start)
            )
            ax.barh(
                row, length, left=start, color=TERM_COLOURS[term], edgecolor="white", height=0.62
            )
            start += length
        ax.text(start, row, f" {start:.2f}", va="center", ha="left", fontsize=11, fontweight="bold")
    for name, bits in (references or {}).items():
        ax.axvline(bits, color="black", linestyle=":", linewidth=1.2)
        ax.text(bits, -0.62, f"{name}\n{bits:.2f}", ha="center", va="bottom", fontsize=9)
    ax.set_yticks(range(len(labels)), labels)
    ax.set_ylim(len(labels) - 0.5, -0.55)
    ax.set_xlabel("bits per token (lower is better)")
    ax.grid(axis="y", visible=False)
    used = [term for term in TERM_COLOURS if frame.loc[frame["term"] == term, "bits"].any()]
    handles = [sns.mpl.patches.Patch(color=TERM_COLOURS[term], label=term) for term in used]
    ax.legend(
        handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=3, fontsize=9.5
    )
    return ax


def plot_convergence(frame: pd.DataFrame, ax: Axes, vacuous: float) -> Axes:
    """Bound against number of sequences, one line a label; above the dashed line a bound says nothing.

    `frame` has columns n_seq, label, bound and valid (False: drawn faint and dashed, not a certificate).
    """
    names = list(dict.fromkeys(frame["label"]))
    for name, colour, marker in zip(names, sns.color_palette("colorblind"), MARKERS, strict=False):
        part = frame[frame["label"] == name].sort_values("n_seq")
        look = (
            {"linestyle": "-", "alpha": 1.0}
            if part["valid"].all()
            else {"linestyle": (0, (2, 2)), "alpha": 0.75}
        )
        ax.plot(
            part["n_seq"],
            part["bound"],
            color=colour,
            marker=marker,
            markersize=4.5,
            linewidth=1.8,
            label=name,
            **look,
        )
    ax.axhline(vacuous, color="black", linestyle="--", linewidth=1)
    ax.annotate(
        "uniform predictor: vacuous above",
        (0.99, vacuous),
        xycoords=("axes fraction", "data"),
        ha="right",
        va="bottom",
        fontsize=9,
    )
    ax.set_xscale("log")
    ax.set_xlabel("certification sequences")
    ax.set_ylabel("bound (bits per token)")
    return ax

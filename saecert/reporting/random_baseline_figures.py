"""Figures of page 20."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from saecert.reporting.panels import COLOURS, MARKERS, panels

DPI = 80
"""Dots per inch: figures of four panels are large, and a page holds three of them."""


ROWS_DPI = 72
"""Of those with a row a baseline."""

IN_BITS = ("gap", "largest loss", "loss increase")
"""What panels show in bits; everything else is a share, a score or a cosine."""


def plot_differences(table: pd.DataFrame, measures: Sequence[str], title: str = "") -> Figure:
    """Baselines less their twins with limits: a panel a measure, a row a baseline.

    `table` is that of `saecert.reporting.random_baselines.all_differences`.
    """
    fig, axes = _rows(list(table.index), len(measures))
    for ax, measure in zip(axes, measures, strict=True):
        _bars(ax, table[measure], 0.0)
        unit = ", bits" if measure in IN_BITS else ""
        ax.set(title=measure, xlabel=f"baseline less trained twin{unit}")
    if title:
        fig.suptitle(title, x=0.01, ha="left")
    return fig


def plot_shares(table: pd.DataFrame, arrays: Sequence[tuple[str, str]], title: str = "") -> Figure:
    """Share of units on which a baseline is worse than its twin, with limits: a panel an array.

    `table` is that of `saecert.reporting.shares.unit_shares` at one hook point, index SAE, measure
    and label; `arrays` are measures with labels. The upper limit is one less the lower one on the
    share on which it is better.
    """
    first = table.xs(arrays[0], level=("measure", "label"))
    fig, axes = _rows(list(first.index), len(arrays))
    for ax, (measure, label) in zip(axes, arrays, strict=True):
        part = table.xs((measure, label), level=("measure", "label"))
        ends = {"lower": part["worse, at least"], "upper": 1 - part["better, at least"]}
        _bars(ax, pd.DataFrame({**ends, "mean": part["worse"] / part["n"]}), 0.5)
        ax.set(title=f"{measure} of {label}", xlim=(0, 1))
        ax.set_xlabel("share of texts: baseline worse")
    if title:
        fig.suptitle(title, x=0.01, ha="left")
    return fig


def _rows(labels: Sequence[str], count: int) -> tuple[Figure, list[Axes]]:
    """Panels with a row a baseline, named on the left."""
    fig, axes = panels(count, height=1.2 + 0.32 * len(labels))
    fig.set_dpi(ROWS_DPI)
    heights = np.arange(len(labels))[::-1]
    for number, ax in enumerate(axes):
        names = [_short(label) for label in labels] if number % 2 == 0 else []
        ax.set_yticks(heights, names or [""] * len(labels), fontsize=12)
        ax.set_ylim(-0.6, len(labels) - 0.4)
    return fig, axes


def _short(label: str) -> str:
    kind, held, start = [*label.split(", "), "", ""][:3]
    return f"{kind}, {held}{' (cov)' if start.startswith('cov') else ''}"


def _bars(ax: Axes, part: pd.DataFrame, line: float) -> None:
    """Means with limits, the first row at the top."""
    heights = np.arange(len(part))[::-1]
    spread = part[["lower", "upper"]].sub(part["mean"], axis=0).abs().to_numpy().T
    look = {"fmt": MARKERS[0], "color": COLOURS[0], "markersize": 6, "capsize": 3}
    ax.errorbar(part["mean"], heights, xerr=spread, **look)
    ax.axvline(line, color="black", linewidth=1)


def plot_sweep(frame: pd.DataFrame) -> Figure:
    """Measures against the number of active latents, by what is held.

    `frame` is that of `saecert.reporting.random_baselines.sweep_frame`.
    """
    return _plot_lines(frame, "l0", "active latents a token", logarithmic=True)


def plot_training(frame: pd.DataFrame) -> Figure:
    """Measures against training steps, of the trained SAE and of the soft decoder.

    `frame` is that of `saecert.reporting.random_baselines.training_frame`. Bars of the cosine go
    down to the smallest of a row.
    """
    fig = _plot_lines(frame, "step", "training steps", logarithmic=False)
    for ax in fig.axes:
        ax.set_xscale("symlog", linthresh=10)
    return fig


def _plot_lines(frame: pd.DataFrame, along: str, name: str, logarithmic: bool) -> Figure:
    titles = list(dict.fromkeys(frame["panel"]))
    kinds = list(dict.fromkeys(frame["held"]))
    fig, axes = panels(len(titles), height=3.6)
    fig.set_dpi(DPI)
    for ax, title in zip(axes, titles, strict=True):
        for place, kind in enumerate(kinds):
            rows = frame[(frame["panel"] == title) & (frame["held"] == kind)].sort_values(along)
            spread = rows[["lower", "upper"]].sub(rows["mean"], axis=0).abs().to_numpy().T
            look = {"fmt": f"-{MARKERS[place]}", "color": COLOURS[place], "markersize": 5}
            ax.errorbar(rows[along], rows["mean"], yerr=spread, label=kind, capsize=2, **look)
        unit = " (bits)" if title in IN_BITS else ""
        ax.set(title=f"{title}{unit}", xlabel=name)
        if logarithmic:
            ticks = sorted(frame[along].unique())
            ax.set_xscale("log")
            ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            ax.minorticks_off()
    place = {"loc": "outside lower center", "ncols": len(kinds), "fontsize": 9.5}
    fig.legend(*axes[0].get_legend_handles_labels(), **place)
    return fig

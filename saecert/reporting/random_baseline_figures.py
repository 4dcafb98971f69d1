"""Figures of page 20."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from saecert.reporting.panels import COLOURS, MARKERS, panels

_OFFSET = 0.55
"""Height between the first and the last mark of a row."""


DPI = 80
"""Dots per inch: figures of four panels are large, and a page holds three of them."""


def plot_differences(
    table: pd.DataFrame, groups: Sequence[tuple[str, Sequence[str]]], title: str = ""
) -> Figure:
    """Baselines less their twins with limits: a panel a group of measures, a row a baseline.

    `table` is that of `saecert.reporting.random_baselines.all_differences`; `groups` has the title
    of each panel and its measures.
    """
    fig, axes = panels(len(groups), height=1.6 + 0.42 * len(table))
    fig.set_dpi(DPI)
    heights = np.arange(len(table))[::-1]
    for number, (ax, (name, measures)) in enumerate(zip(axes, groups, strict=True)):
        offsets = (
            np.linspace(_OFFSET / 2, -_OFFSET / 2, len(measures)) if len(measures) > 1 else [0]
        )
        for place, (measure, offset) in enumerate(zip(measures, offsets, strict=True)):
            part = table[measure]
            spread = part[["lower", "upper"]].sub(part["mean"], axis=0).abs().to_numpy().T
            look = {"fmt": MARKERS[place], "color": COLOURS[place], "markersize": 5}
            ax.errorbar(part["mean"], heights + offset, xerr=spread, label=measure, **look)
        ax.axvline(0, color="black", linewidth=1)
        ax.set(title=name, xlabel="baseline less trained twin", yticks=heights)
        ax.set_yticklabels([label.replace(", ", "\n", 1) for label in table.index], fontsize=8.5)
        ax.legend(fontsize=8.5, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2)
        if number % 2:
            ax.set_yticklabels([])
    if title:
        fig.suptitle(title)
    return fig


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
        ax.set(title=title, xlabel=name)
        if logarithmic:
            ticks = sorted(frame[along].unique())
            ax.set_xscale("log")
            ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            ax.minorticks_off()
    place = {"loc": "outside lower center", "ncols": len(kinds), "fontsize": 9.5}
    fig.legend(*axes[0].get_legend_handles_labels(), **place)
    return fig

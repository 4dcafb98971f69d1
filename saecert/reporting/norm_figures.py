"""Figures of pages 22 and 23."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from saecert.dictionaries.quantities import BANDS
from saecert.reporting.panels import BLUE, COLOURS, MARKERS, panels

_STYLES = ("--", "-.", ":")


def plot_norms(points: pd.DataFrame) -> Figure:
    """ZF plots: norms of codes against those of activations, one panel a title.

    `points` has columns panel, z, f. Bands are ``z / sqrt(1 + b)`` to ``z / sqrt(1 - b)`` for each
    b of `BANDS`; from 1 on there is no upper end.
    """
    titles = list(dict.fromkeys(points["panel"]))
    fig, axes = panels(len(titles), height=4.3)
    for ax, title in zip(axes, titles, strict=True):
        part = points[points["panel"] == title]
        top = 1.05 * float(part["z"].quantile(0.995))
        z = np.array([0.0, top])
        ax.scatter(part["z"], part["f"], s=6, alpha=0.35, color=BLUE, linewidths=0)
        ax.plot(z, z, color="black", linewidth=1.2, label="equal")
        for band, style in zip(BANDS, _STYLES, strict=True):
            look = {"color": "0.35", "linewidth": 1, "linestyle": style}
            ax.plot(z, z / math.sqrt(1 + band), label=f"ε (H − 1) = {band:g}", **look)
            if band < 1:
                ax.plot(z, z / math.sqrt(1 - band), **look)
        ax.set(title=title, xlabel="norm of the activation", ylabel="norm of the code")
        ax.set(xlim=(0, top), ylim=(0, 1.25 * top))
    place = {"loc": "outside lower center", "ncols": 4, "fontsize": 9.5}
    fig.legend(*axes[0].get_legend_handles_labels(), **place)
    return fig


def plot_sparsity(frame: pd.DataFrame, d_in: int) -> Figure:
    """Error and price against the number of active latents, by kind of SAE (page 23).

    `frame` has columns panel, kind, l0, value, lower, upper, unit. Both axes are logarithmic; the
    bar of a lower limit of 0 runs to the lower edge.
    """
    titles = list(dict.fromkeys(frame["panel"]))
    kinds = list(dict.fromkeys(frame["kind"]))
    fig, axes = panels(len(titles), height=4.2)
    for ax, title in zip(axes, titles, strict=True):
        part = frame[frame["panel"] == title]
        for place, kind in enumerate(kinds):
            rows = part[part["kind"] == kind].sort_values("l0")
            spread = rows[["lower", "upper"]].sub(rows["value"], axis=0).abs().to_numpy().T
            look = {"fmt": MARKERS[place], "color": COLOURS[place], "markersize": 6}
            ax.errorbar(rows["l0"], rows["value"], yerr=spread, label=kind, **look)
        ax.axvline(d_in, color="black", linestyle=":", linewidth=1)
        ax.set(title=title, xlabel="active latents a token", ylabel=part["unit"].iloc[0])
        ax.set_xscale("log", base=2)
        ax.xaxis.set_major_formatter(ScalarFormatter())
        ax.set_yscale("log")
        seen = part[["lower", "value"]].to_numpy()
        ax.set_ylim(bottom=seen[seen > 0].min() / 2)
    place = {"loc": "outside lower center", "ncols": 3, "fontsize": 9.5}
    fig.legend(*axes[0].get_legend_handles_labels(), **place)
    return fig

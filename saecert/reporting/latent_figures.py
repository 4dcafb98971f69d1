"""The figure of page 26: what removing latents costs."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from saecert.reporting.panels import BLUE, DASHED, GREY, panels

_COLOURS = {"trained": BLUE, "random": GREY}
_TITLES = {"trained": "trained SAE", "random": "untrained SAE"}


def plot_costs(limits: pd.DataFrame) -> Figure:
    """A panel a kind: cost of removing each latent, from the lower to the upper limit, by rank.

    `limits` is the frame of `saecert.dictionaries.latent_limits.removal_limits`.
    """
    kinds = list(dict.fromkeys(limits["kind"]))
    fig, axes = panels(len(kinds), height=3.8)
    for ax, kind in zip(axes, kinds, strict=True):
        rows = limits[limits["kind"] == kind]
        colour = _COLOURS[kind]
        ax.vlines(rows["rank"], rows["lower"], rows["upper"], color=colour, linewidth=2)
        ax.plot(rows["rank"], rows["mean"], "o", color=colour, markersize=4)
        ax.axhline(0, **DASHED)
        ax.set_title(_TITLES[kind])
        ax.set_xlabel("rank by attribution")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    for ax in axes[1:]:
        ax.sharey(axes[0])
    axes[0].set_ylabel("cost of removal, bits per token")
    return fig

"""The figure of page 09: certificates of one model by layer, and what they are made of."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from saecert.reporting.panels import (
    BLUE,
    DASHED,
    GREEN,
    GREY,
    ORANGE,
    RED,
    SKY,
    legend_below,
    panels,
)

_BOUNDS = {
    "printed_occam": ("with Occam, as printed", {"color": ORANGE, "linestyle": ":", "marker": "o"}),
    "sharper_occam": ("with Occam, sharper", {"color": ORANGE, "marker": "o"}),
    "fixed": ("fixed pool, printed formula", {"color": BLUE, "linestyle": ":", "marker": "s"}),
    "sharper_fixed": ("fixed pool, sharper", {"color": BLUE, "marker": "s"}),
    "sharper_direct": ("direct, no SAE", {"color": GREEN, "linewidth": 1.6}),
    "core": ("empirical core", {"color": "black", "marker": "x", "linewidth": 0.7}),
}
_PARTS = {
    "risk": ("model risk", SKY),
    "excess": ("proxy risk - model risk", ORANGE),
    "gap": ("gap (the same again)", RED),
    "mismatch_bits": ("mismatch term", GREY),
}


def plot_published_layers(frame: pd.DataFrame) -> Figure:
    """Bounds by layer beside their empirical core, and the core's parts (page 09).

    Parameters
    ----------
    frame
        Rows of `saecert.reporting.published.certified`, one a layer of one model. Layers whose core
        is vacuous already are shaded: no inequality helps there.
    """
    fig, (left, right) = panels(2, height=5.6)
    places = range(len(frame))
    names = frame["layer"].astype(str).tolist()
    vacuous = frame["uniform"].iloc[0]
    for place in places:
        if frame["core"].iloc[place] >= vacuous:
            for ax in (left, right):
                ax.axvspan(place - 0.5, place + 0.5, color="0.9", zorder=0, linewidth=0)
    for column, (label, look) in _BOUNDS.items():
        size = 3 if column == "core" else 6  # what it would hide lies just above it
        left.plot(places, frame[column], markersize=size, label=label, **look)
    parts = frame.assign(excess=frame["proxy_risk"] - frame["risk"])
    bottom = pd.Series(0.0, index=frame.index)
    for column, (label, colour) in _PARTS.items():
        look = {"color": colour, "edgecolor": "white", "width": 0.7, "label": label}
        right.bar(places, parts[column], bottom=bottom, **look)
        bottom = bottom + parts[column]
    for ax, title in ((left, "bounds"), (right, "parts of the core")):
        ax.axhline(vacuous, **DASHED)
        ax.set_xticks(places, names)
        ax.set(title=title, xlabel="layer", xlim=(-0.5, len(frame) - 0.5), ylim=(0, None))
        ax.grid(axis="x", visible=False)
        legend_below(ax)
    left.set_ylabel("bits per token")
    words = {"text": "log2 V: vacuous above", "xycoords": ("axes fraction", "data"), "fontsize": 9}
    left.annotate(xy=(0.01, 0.98 * vacuous), ha="left", va="top", **words)
    right.annotate(xy=(0.99, vacuous), ha="right", va="bottom", **words)
    return fig

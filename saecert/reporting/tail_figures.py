"""The figures of page 08: tails of the gap, and loss recovered."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from saecert.reporting.panels import COLOURS, MARKERS, name_rows, panels, plot_intervals


def plot_tails(sample: pd.DataFrame, limits: pd.DataFrame, means: pd.DataFrame) -> Figure:
    """Gaps of the sample with certified quantiles, and what the limit on the mean spends (page 08).

    Parameters
    ----------
    sample
        Columns k, gap, share: the share of sequences whose gap is at least so large.
    limits
        By pool, columns named by level such as "0.95": upper limits on quantiles.
    means
        By pool, columns "mean", "capped, at most" and "mean, at most".
    """
    fig, (left, right) = panels(2, height=3.9)
    levels = [name for name in limits.columns if name.replace(".", "").isdigit()]
    for place, k in enumerate(limits.index):
        part = sample[sample["k"] == k]
        colour = COLOURS[place % len(COLOURS)]
        left.plot(part["gap"], 100 * part["share"], color=colour, linewidth=1.3, label=f"{k:,}")
        outside = [100 * (1 - float(level)) for level in levels]
        look = {"color": colour, "markersize": 6}
        left.plot(limits.loc[k, levels], outside, MARKERS[place % len(MARKERS)], **look)
    left.set(xscale="log", yscale="log", xlabel="gap (bits)", ylabel="sequences above it (%)")
    left.set_xlim(left=max(1e-3, float(sample["gap"].quantile(0.02))))
    _name_percents(left)
    columns = {"mean": "|", "capped, at most": "o", "mean, at most": "D"}
    rows = np.arange(len(means))
    for place, (name, marker) in enumerate(columns.items()):
        look = {"color": COLOURS[place], "markeredgewidth": 1.5}
        size = 13 if marker == "|" else 6
        above = means[name] - means["mean"]
        right.plot(above, rows, marker, markersize=size, label=name, **look)
    name_rows(right, [f"{k:,} latents" for k in means.index])
    right.set(xlabel="above the sample mean (bits)", xlim=(-0.004, None))
    left.legend(title="latents", fontsize=9, title_fontsize=9, loc="lower left")
    right.legend(fontsize=9, loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=2)
    return fig


def plot_recovered(frame: pd.DataFrame) -> Figure:
    """Loss recovered with its limits, one row a pool and one colour an ablation (page 08).

    `frame` has columns ablation, k, mean, lower, upper; a limit that is nan is not drawn.
    """
    shown = frame.assign(row=[f"{k:,} latents" for k in frame["k"]])
    for side in ("lower", "upper"):
        shown[side] = shown[side].fillna(shown["mean"])
    shown = shown.dropna(subset=["mean"])
    fig, (ax,) = panels(1, height=1.6 + 0.45 * shown["row"].nunique())
    plot_intervals(shown, ax, "row", "ablation")
    ax.axvline(1, color="black", linewidth=1)
    ax.set(xlabel="loss recovered")
    fig.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return fig


def _name_percents(ax: Axes) -> None:
    ticks = [100, 50, 10, 5, 1, 0.1]
    ax.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.minorticks_off()

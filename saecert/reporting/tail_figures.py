"""The figures of page 08: tails of the gap, and loss recovered."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from saecert.reporting.panels import COLOURS, MARKERS, log_axis, name_rows, panels, plot_intervals


def plot_tails(sample: pd.DataFrame, limits: pd.DataFrame, means: pd.DataFrame) -> Figure:
    """Gaps of the sample with certified quantiles, and what the limit on the mean spends (page 08).

    Parameters
    ----------
    sample
        Columns k, gap, share: the share of sequences whose gap is at least so large.
    limits
        By pool, columns named by level such as "0.95": upper limits on quantiles.
    means
        By pool, columns "mean", "capped mean" and a limit on each, "mean, at most" and "capped, at
        most".
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
    left.set(yscale="log", xlabel="gap (bits)", ylabel="sequences above it (%)")
    least = max(1e-3, float(sample["gap"].quantile(0.02)))
    ticks = [digit * 10.0**power for power in range(-3, 3) for digit in (1, 2, 5)]
    log_axis(left, [tick for tick in ticks if tick >= least])
    left.set_xlim(least, 1.2 * max(float(sample["gap"].max()), float(limits[levels].max().max())))
    _name_percents(left)
    rows = np.arange(len(means))
    names = {"capped mean": "capped, at most", "mean": "mean, at most"}
    for place, (mean, limit) in enumerate(names.items()):
        look = {"color": COLOURS[place], "markersize": 7, "label": f"limit on the {mean}"}
        right.plot(means[limit] - means[mean], rows, MARKERS[place], **look)
    right.axvline(0, color="black", linewidth=1)
    name_rows(right, [f"{k:,} latents" for k in means.index])
    right.set(xlabel="above its sample mean (bits)")
    right.set_xlim(left=-0.02 * float((means["mean, at most"] - means["mean"]).max()))
    left.legend(title="latents", fontsize=9, title_fontsize=9, loc="lower left")
    right.legend(fontsize=9, loc="lower center", bbox_to_anchor=(0.5, 1.0))
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

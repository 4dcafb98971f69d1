"""The figures of the pages: tidy frames to figures of at most two panels in a row.

`plot_terms`, `plot_convergence`, `plot_miss_rates`, `plot_lines` and `plot_intervals` draw one
panel into given axes; `panels` makes those.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from saecert.reporting.panels import (
    BLUE,
    BROWN,
    COLOURS,
    DASHED,
    GREEN,
    GREY,
    LAYER_COLOURS,
    MARKERS,
    ORANGE,
    PURPLE,
    RED,
    SKY,
    TERM_COLOURS,
    Number,
    legend_below,
    legends_below,
    log_axis,
    name_rows,
    panels,
    plot_convergence,
    plot_densities,
    plot_intervals,
    plot_lines,
    plot_miss_rates,
    plot_terms,
    use_style,
)

__all__ = [
    "BLUE",
    "BROWN",
    "GREEN",
    "GREY",
    "MARKERS",
    "ORANGE",
    "PURPLE",
    "RED",
    "SKY",
    "TERM_COLOURS",
    "panels",
    "plot_behaviour",
    "plot_bounds",
    "plot_convergence",
    "plot_coverage",
    "plot_denser_codes",
    "plot_differences",
    "plot_floors",
    "plot_four_terms",
    "plot_frontier",
    "plot_growth",
    "plot_intervals",
    "plot_layers",
    "plot_lines",
    "plot_miss_rates",
    "plot_models",
    "plot_monitor",
    "plot_outside",
    "plot_price_of_choosing",
    "plot_shuffling",
    "plot_terms",
    "plot_tightness",
    "plot_wealth",
    "use_style",
]

SIZES = (1, 10, 100, 500, 2000, 10_000)
"""Numbers of sequences that are marked on an axis."""


def plot_coverage(
    frames: Mapping[str, pd.DataFrame], rows: str = "population", narrow: Sequence[str] = ()
) -> Figure:
    """Miss rates by title of the panel (pages 01 and 04).

    Parameters
    ----------
    frames
        Frames of `saecert.statistics.coverage.coverage_table`, by title.
    rows
        Column that names the rows.
    narrow
        Titles of panels that show rates up to one and a half times the nominal one.
    """
    count = max(frame[rows].nunique() for frame in frames.values())
    fig, axes = panels(len(frames), height=max(3.6, 1.9 + 0.42 * count))
    for ax, (title, frame) in zip(axes, frames.items(), strict=True):
        plot_miss_rates(frame, ax, rows).set_title(title)
        if title in narrow:
            ax.set_xlim(-0.2, 160 * frame["delta"].iloc[0])
    named = [ax.get_legend_handles_labels() for ax in axes]
    if all(labels == named[0][1] for _, labels in named):
        fig.legend(*named[0], loc="outside lower center", ncols=4, fontsize=9.5)
        return fig
    for ax in axes:
        legend_below(ax, below=0.5 / (fig.get_figheight() - 1.5))
    return fig


def plot_four_terms(frame: pd.DataFrame, references: Mapping[str, Number] | None = None) -> Figure:
    """Terms stacked up to the bounds (page 02); `frame` as for `plot_terms`."""
    fig, (ax,) = panels(1, height=1.9 + 0.62 * frame["label"].nunique())
    plot_terms(frame, ax, references)
    return fig


def plot_price_of_choosing(frame: pd.DataFrame, vacuous: Number) -> Figure:
    """Bounds by way of choosing the pool, one panel an alpha (page 03).

    Parameters
    ----------
    frame
        Columns alpha, n_seq, label, bound, valid.
    vacuous
        Risk of the uniform predictor.
    """
    alphas = list(dict.fromkeys(frame["alpha"]))
    fig, axes = panels(len(alphas), height=5.2)
    top = 1.05 * frame.loc[frame["valid"].astype(bool), "bound"].max()
    for ax, alpha in zip(axes, alphas, strict=True):
        plot_convergence(frame[frame["alpha"] == alpha], ax, vacuous)
        ax.set(title=f"alpha = {alpha:g}", ylim=(0, top))
    place = {"loc": "outside lower center", "ncols": 2}
    fig.legend(*axes[0].get_legend_handles_labels(), **place)
    return fig


def plot_wealth(wealth: pd.DataFrame, delta: Number) -> Figure:
    """Wealth of streams sequence by sequence, each up to where it stopped (page 03).

    Parameters
    ----------
    wealth
        Columns order (0: the recorded one), n_seq, log10_wealth.
    delta
        A stream is certain at a wealth of 1/delta.
    """
    fig, (ax,) = panels(1, height=4)
    recorded = {"color": BLUE, "linewidth": 2.2, "zorder": 3, "label": "recorded order"}
    other = {"color": GREY, "alpha": 0.3, "linewidth": 0.8}
    ax.plot([], [], color=GREY, label="other orders of the same sequences")
    for order, part in wealth.groupby("order"):
        look = recorded if order == 0 else other
        ax.plot(part["n_seq"], 10 ** part["log10_wealth"], **look)
    ax.axhline(1 / delta, label="1/delta: certain", **DASHED)
    ax.set(xlabel="sequences read", ylabel="wealth (starts at 1)", xlim=(0, None), yscale="log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_locator(NullLocator())
    legend_below(ax, columns=3)
    return fig


def plot_tightness(
    frame: pd.DataFrame, default: pd.DataFrame, floor: pd.DataFrame, goal: Number
) -> Figure:
    """Width over the yardstick by inequality, and of the default by quantity (page 05).

    Parameters
    ----------
    frame, default
        Columns n, tightness, and inequality or quantity.
    floor
        Columns n and tightness: widths that theory forbids to go below; drawn into the second
        panel.
    goal
        Drawn dashed.
    """
    fig, axes = panels(2, height=5.2)
    parts = {"inequality": frame, "quantity": default}
    titles = ("joint loss", "Dirichlet bound, each quantity")
    for ax, (by, part), title in zip(axes, parts.items(), titles, strict=True):
        plot_lines(part, ax, "n", "tightness", by)
        ax.axhline(goal, label=f"goal: {goal:g}", **DASHED)
        log_axis(ax, part["n"].unique())
        ax.set(title=title, xlabel="sequences", ylabel="tightness")
    if len(floor):
        look = {"color": "black", "linestyle": ":", "linewidth": 1.8, "label": "floor (theorem)"}
        axes[1].plot(floor["n"], floor["tightness"], **look)
    axes[0].set_yscale("log")
    axes[0].set_yticks([1, 2, 5, 10, 20], ["1", "2", "5", "10", "20"])
    axes[0].minorticks_off()
    for ax in axes:
        legend_below(ax)
    return fig


def plot_frontier(frame: pd.DataFrame, chosen: str, eps: Sequence[Number], d_sae: int) -> Figure:
    """Distance in loss against pool size, one line a ranking (page 06).

    `frame` has a column ranking and those of `saecert.certificates.concepts.frontier`; `eps` are
    drawn dotted.
    """
    fig, (ax,) = panels(1, height=4.6)
    for place, ranking in enumerate(dict.fromkeys(frame["ranking"])):
        part = frame[frame["ranking"] == ranking]
        label = f"{ranking} (chosen)" if ranking == chosen else ranking
        look = {"color": COLOURS[place], "marker": MARKERS[place]}
        ax.plot(part["k"], part["pool_gap_upper"], label=label, **look)
        ax.plot(part["k"], part["pool_gap"], "--", color=COLOURS[place], alpha=0.8)
    ax.hlines(eps, 0, d_sae, color="black", linestyle=":", linewidth=1)
    if (frame["pool_gap"] > 0).all():
        ax.set_yscale("log")
        top = frame["pool_gap_upper"].max()
        ticks = [*eps, *(bits for bits in (2, 4, 8) if max(eps, default=0) < bits < top)]
        ax.set_yticks(ticks, [f"{tolerance:g}" for tolerance in ticks])
        ax.minorticks_off()
    ax.set(xlabel=f"latents in the pool, of {d_sae:,}", ylabel="bits per token")
    ax.legend()
    return fig


def plot_outside(frame: pd.DataFrame, d_sae: int) -> Figure:
    """Price of explanation, and shares outside the pool, along one frontier (page 06).

    `frame` as `saecert.certificates.concepts.frontier` has it; quantities that were not measured
    are left out.
    """
    fig, axes = panels(2, height=4.2)
    drawn = {"price": (0, PURPLE, 1), "outside_firings": (1, RED, 100)}
    drawn |= {"outside_energy": (1, BLUE, 100)}
    for name, (place, colour, unit) in drawn.items():
        if frame[name].isna().all():
            continue
        label = name.removeprefix("outside_")
        upper = unit * frame[f"{name}_upper"]
        mean = unit * frame[name]
        axes[place].plot(frame["k"], upper, "o-", color=colour, label=f"{label}: at most")
        axes[place].plot(frame["k"], mean, "--", color=colour, alpha=0.8, label=f"{label}: mean")
    axes[0].set(title="price of explanation", ylabel="bits per token")
    axes[1].set(title="outside the pool", ylabel="% of a sequence")
    for ax in axes:
        ax.set_xlabel(f"latents in the pool, of {d_sae:,}")
        if ax.get_legend_handles_labels()[0]:
            ax.legend()
    return fig


def plot_behaviour(frame: pd.DataFrame) -> Figure:
    """Certified distances in behaviour, one panel a quantity and one colour an SAE (page 07).

    `frame` has columns quantity, hook (or another name of the SAE), proxy, mean, upper.
    """
    quantities = list(dict.fromkeys(frame["quantity"]))
    hooks = list(dict.fromkeys(frame["hook"]))
    labels = list(dict.fromkeys(frame["proxy"]))
    fig, axes = panels(len(quantities), height=1.6 + 0.42 * len(labels))
    for ax, quantity in zip(axes, quantities, strict=True):
        part = frame[frame["quantity"] == quantity]
        for place, hook in enumerate(hooks):
            rows = part[part["hook"] == hook]
            heights = np.array([labels.index(name) for name in rows["proxy"]], dtype=float)
            heights += 0.3 * (place - (len(hooks) - 1) / 2)
            colour = COLOURS[place]
            ax.plot(rows["upper"], heights, MARKERS[place], color=colour, label=hook)
            ax.plot(rows["mean"], heights, "|", markersize=13, markeredgewidth=1.5, color=colour)
        name_rows(ax, labels)
        ax.set(title=quantity, xlabel="certified limit (bar: mean)", xlim=(0, 1.02))
    for ax in axes[1:]:
        ax.set_yticklabels([])
    place = {"loc": "outside lower center", "ncols": 2}
    fig.legend(*axes[0].get_legend_handles_labels(), **place)
    return fig


def plot_differences(frame: pd.DataFrame) -> Figure:
    """Paired differences with their limits, left and right of zero (page 07).

    `frame` has columns quantity, mean, lower, upper.
    """
    fig, (ax,) = panels(1, height=1.4 + 0.45 * len(frame))
    plot_intervals(frame, ax, "quantity")
    ax.axvline(0, color="black", linewidth=1)
    ax.set(xlabel="first minus second, whole SAEs")
    return fig


def plot_models(
    frame: pd.DataFrame, reported: pd.DataFrame, missing: Sequence[str], published: pd.DataFrame
) -> Figure:
    """Bounds as a share of what the uniform predictor loses, row by row (page 10).

    Parameters
    ----------
    frame
        Columns label, alpha and "share of uniform", one row a certificate.
    reported
        Columns label and "share of uniform" of what was printed elsewhere, not certificates.
    missing
        Labels of rows that nobody has measured.
    published
        The same columns as `reported` for certificates from means that others measured.
    """
    rows = [*frame["label"], *published["label"], *reported["label"], *missing]
    labels = list(dict.fromkeys(rows))
    fig, (ax,) = panels(1, height=1.6 + 0.5 * len(labels))
    for place, (alpha, part) in enumerate(frame.groupby("alpha", sort=False)):
        rows = [labels.index(label) for label in part["label"]]
        look = {"color": COLOURS[place], "markersize": 8}
        name = f"certificate, alpha = {alpha:g}"
        ax.plot(part["share of uniform"], rows, MARKERS[place], label=name, **look)
    rows = [labels.index(label) for label in published["label"]]
    name = "published means, certified by us"
    look = {"color": PURPLE, "markersize": 8, "label": name}
    ax.plot(published["share of uniform"], rows, "X", **look)
    name = "as printed, not a certificate"
    for _, part in reported.groupby("label", sort=False):
        rows = [labels.index(label) for label in part["label"]]
        look = {"color": "0.4", "markerfacecolor": "white", "label": name}
        ax.plot(part["share of uniform"], rows, "D-", **look)
        name = "_"
    for label in missing:
        look = {"va": "center", "fontsize": 9.5, "color": "0.35", "backgroundcolor": "white"}
        ax.annotate("no certificate yet", (0.02, labels.index(label)), **look)
    ax.axvline(1, **DASHED)
    name_rows(ax, labels)
    right = max(1.2, 1.05 * frame["share of uniform"].max())
    ax.set(xlim=(0, right), xlabel="bound as a share of log2 V; lower is better")
    fig.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return fig


def plot_layers(
    frame: pd.DataFrame, logarithmic: Sequence[str] = (), near: Sequence[str] = ()
) -> Figure:
    """Quantities by layer with their limits, a panel for each title (pages 11 and 18).

    Parameters
    ----------
    frame
        Columns panel, unit, quantity, layer, lower, mean, upper. A panel whose limits are its means
        has no bars; panels of the same quantities share a legend. Terms of a certificate have the
        colours that they have everywhere.
    logarithmic
        Titles of panels with a logarithmic axis.
    near
        Titles of panels whose axis goes from limit to limit and not from 0.
    """
    titles = list(dict.fromkeys(frame["panel"]))
    fig, axes = panels(len(titles))
    for ax, title in zip(axes, titles, strict=True):
        part = frame[frame["panel"] == title].assign(layer=lambda rows: rows["layer"].astype(str))
        bare = (part["lower"] == part["mean"]).all() and (part["upper"] == part["mean"]).all()
        bars = () if bare else ("lower", "upper")
        plot_lines(part, ax, "layer", "mean", "quantity", bars, LAYER_COLOURS)
        ax.set(title=title, ylabel=part["unit"].iloc[0], xlabel="layer")
        if title in logarithmic and (part["mean"] > 0).all():
            ax.set_yscale("log")
            ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            ax.yaxis.set_major_formatter("{x:g}")
            ax.yaxis.set_minor_locator(NullLocator())
        elif title not in near:
            least = part["lower"].min()
            ax.set_ylim(0 if least >= 0 else None, None)
    legends_below(fig, axes)
    return fig


def plot_shuffling(
    frame: pd.DataFrame,
    gaps: pd.DataFrame,
    references: Mapping[str, Number],
    ceiling: Number,
    bounds: Mapping[str, Number] | None = None,
) -> Figure:
    """Stacked terms of the SAE and its shufflings, and gaps of single sequences (page 12).

    `gaps` has one column a label of `frame`, one row a sequence; `bounds` as for `plot_terms`.
    """
    fig, (left, right) = panels(2, height=4.8, wide=(1.4, 1))
    plot_terms(frame, left, references, bounds)
    look = {"color": ORANGE, "density_norm": "width", "inner": "quart", "cut": 0, "linewidth": 1}
    sns.violinplot(gaps, orient="h", ax=right, **look)
    right.axvline(ceiling, **DASHED)
    right.set(xlabel="gap of a sequence (bits per token)", yticklabels=[], xlim=(0, None))
    right.set_ylim(left.get_ylim())
    return fig


def plot_bounds(curve: pd.DataFrame, vacuous: Number) -> Figure:
    """Bounds against sequences (pages 05 and 13); `curve` is as for `plot_convergence`."""
    fig, (ax,) = panels(1, height=5.2)
    plot_convergence(curve, ax, vacuous).set(ylim=(0, 1.12 * max(vacuous, curve["bound"].max())))
    fig.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return fig


def plot_floors(floors: pd.DataFrame, vacuous: Number) -> Figure:
    """What remains of bounds when complexity has vanished, row by row (page 13).

    `floors` has columns label, lower, mean, upper, unclipped.
    """
    fig, (ax,) = panels(1, height=1.8 + 0.42 * len(floors))
    spread = floors[["lower", "upper"]].sub(floors["mean"], axis=0).abs()
    for place, row in enumerate(floors.itertuples(index=False)):
        below, above = spread.iloc[place]
        look = {"color": BLUE, "marker": "o", "label": "clipped, with limits" if not place else "_"}
        ax.errorbar(row.mean, place, xerr=[[below], [above]], capsize=3, **look)
    ax.plot(floors["unclipped"], range(len(floors)), "kx", label="without clipping")
    ax.axvline(vacuous, label="uniform predictor", **DASHED)
    name_rows(ax, floors["label"].tolist())
    ax.set(xlabel="floor of the bound (bits per token)", xlim=(0, None))
    fig.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return fig


def plot_monitor(
    scores: pd.DataFrame, roc: pd.DataFrame, alarms: pd.DataFrame, threshold: Number, level: Number
) -> Figure:
    """Active latents by kind of text, detection at every level, and alarms at one (page 14).

    Parameters
    ----------
    scores
        Columns kind and score: active latents per token of each sequence.
    roc
        Columns score, false_alarms, detected.
    alarms
        Columns kind, score, mean, lower, upper.
    threshold, level
        Drawn dashed.
    """
    fig, axes = panels(3)
    plot_densities(scores, axes[0])
    for place, (score, part) in enumerate(roc.groupby("score", sort=False)):
        look = {"color": COLOURS[place], "linewidth": 2, "label": score}
        axes[1].plot(part["false_alarms"], part["detected"], **look)
    plot_intervals(alarms, axes[2], "kind", "score")
    for ax, cut in zip(axes, (threshold, level, level), strict=True):
        ax.axvline(cut, **DASHED)
        legend_below(ax)
    axes[0].set(xlabel="active latents per token, by sequence", ylabel="density (per latent)")
    axes[0].set_title("active latents")
    axes[1].set(xlabel="false alarms", ylabel="detected", title="shifted text, at every level")
    axes[2].set(xlabel="share that raises the alarm", title=f"at level {level:g}")
    return fig


def plot_growth(curve: pd.DataFrame, needed: pd.DataFrame) -> Figure:
    """Size of the pool, what it lacks, and how many sequences it takes (page 15).

    Parameters
    ----------
    curve
        Columns label, n, pool, estimate, fresh, low, high.
    needed
        Columns label, mass, estimate, fresh, low, high.
    """
    fig, axes = panels(3)
    labels = list(dict.fromkeys(curve["label"]))
    shades = sns.color_palette("viridis", len(labels) + 2)[1:-1]
    for colour, label in zip(shades, labels, strict=True):
        part = curve[curve["label"] == label]
        axes[0].plot(part["n"], part["pool"], color=colour, label=label)
        axes[1].plot(part["n"], part["estimate"], color=colour, label=label)
        axes[1].plot(part["n"], part["fresh"], "o", markersize=4, color=colour)
        axes[1].vlines(part["n"], part["low"], part["high"], color=colour)
    named = needed.assign(share=[f"{mass:.0%} of the mass" for mass in needed["mass"]])
    plot_lines(named, axes[2], "label", "fresh", "share", ("low", "high"))
    for line in axes[2].lines:
        line.set_linestyle("none")
    marks = zip(axes[2].containers, named.groupby("share", sort=False), strict=True)
    for drawn, (_, part) in marks:
        ring = {"markersize": 11, "mfc": "none", "color": "0.4"}
        axes[2].plot(drawn[0].get_xdata(), part["estimate"], "o", **ring)
    axes[0].set(title="pool", ylabel="latents in the pool")
    axes[1].set(title="missing", ylabel="latents that a further one adds")
    positive = curve["fresh"][curve["fresh"] > 0]
    if len(positive):
        axes[1].set_yscale("log")
        axes[1].set_ylim(max(positive.min() / 2, 1e-3), 2 * curve["high"].max())
    for ax in axes[:2]:
        log_axis(ax, [n for n in SIZES if n <= 2 * curve["n"].max()])
        ax.set_xlabel("calibration sequences")
    axes[2].set(ylim=(0, None), title="needed", ylabel="calibration sequences")
    legend_below(axes[2], columns=3)
    legend_below(axes[0], columns=3)
    return fig


def plot_denser_codes(codes: pd.DataFrame, faithful: pd.DataFrame, vacuous: Number) -> Figure:
    """Bounds against active latents, and of the model as its own proxy (page 16).

    `codes` has columns family, l0, bound; `faithful` is as for `plot_convergence`.
    """
    fig, (left, right) = panels(2)
    for place, (family, part) in enumerate(codes.groupby("family", sort=False)):
        look = {"color": COLOURS[place], "markersize": 7, "label": family}
        left.plot(part["l0"], part["bound"], f"{MARKERS[place]}-", **look)
    left.axhline(vacuous, **DASHED)
    place = {"xycoords": ("axes fraction", "data"), "ha": "right", "va": "bottom"}
    above = {"xytext": (0, 2), "textcoords": "offset points"}
    left.annotate("uniform predictor", (0.99, vacuous), fontsize=9, **above, **place)
    log_axis(left, sorted(set(codes["l0"].round())))
    top = 1.1 * max(vacuous, codes["bound"].max())
    left.set(xlabel="active latents per token (L0)", ylabel="bound (bits per token)", ylim=(0, top))
    legend_below(left)
    plot_convergence(faithful, right, vacuous).set(ylim=(0, None))
    legend_below(right)
    return fig

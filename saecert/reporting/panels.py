"""Panels of figures: each draws a tidy frame into axes and returns them.

Colour-blind-safe, legible on white in light and dark pages, and at the width of a page (731
pixels). Limits that are written into a panel are rounded outwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from saecert.reporting.wording import worded
from saecert.statistics.rounding import nearest_text, upper_text

BLUE, ORANGE, GREEN, RED, PURPLE, BROWN, PINK, GREY, YELLOW, SKY = sns.color_palette("colorblind")
COLOURS = (BLUE, ORANGE, GREEN, RED, PURPLE, BROWN, SKY, GREY, YELLOW, PINK)
TERM_COLOURS = {
    "model risk": SKY,
    "proxy risk": BLUE,
    "reconstruction gap": ORANGE,
    "pool mismatch": GREEN,
    "complexity: sampling": GREY,
    "complexity: selection": "0.82",
}
LAYER_COLOURS = TERM_COLOURS | {"joint loss": RED}
"""Of the terms of a certificate, in whatever panel they are."""
KIND_COLOURS = (PURPLE, "black", GREY, BROWN)
"""Of kinds of text, where scores have the first four of `COLOURS`."""
NO_BOS = ", no BOS"
MARKERS = "osD^vPX*<>"
DASHED = {"color": "black", "linestyle": "--", "linewidth": 1}
Number = float | int | np.floating | np.integer
WIDTH = 9.0
"""Inches across: two panels side by side, with text that is legible on a page."""


def use_style() -> None:
    """Set the look of every figure of the book: white ground, thin grid, readable on a page."""
    text = {
        "axes.titlesize": 12,
        "axes.titleweight": "bold",
        "axes.labelsize": 11,
        "xtick.labelsize": 10.5,
        "ytick.labelsize": 10.5,
        "legend.fontsize": 10,
        "legend.frameon": True,
    }
    canvas = {"figure.dpi": 110, "savefig.dpi": 110, "figure.facecolor": "white"}
    sns.set_theme(context="notebook", style="whitegrid", palette="colorblind", rc=text | canvas)


def panels(
    count: int, height: Number = 4.4, wide: Sequence[Number] = ()
) -> tuple[Figure, list[Axes]]:
    """A figure and its panels, at most two side by side; a third one has a row of its own.

    Parameters
    ----------
    count
        Number of panels.
    height
        Of one row, in inches.
    wide
        Widths of the two columns, relative to each other.
    """
    use_style()
    columns = min(count, 2)
    rows = -(-count // 2)
    size = (WIDTH, height * rows)
    fig = plt.figure(figsize=size, layout="constrained")
    grid = fig.add_gridspec(rows, columns, width_ratios=list(wide) or [1.0] * columns)
    places = [divmod(place, columns) for place in range(count)]
    last = count - 1
    whole_row = count > 1 and count % 2 == 1
    axes = []
    for place, (row, column) in enumerate(places):
        cell = grid[row, :] if whole_row and place == last else grid[row, column]
        axes.append(fig.add_subplot(cell))
    return fig, axes


def legend_below(ax: Axes, columns: int = 2, below: Number = 0.16) -> None:
    """The legend of a panel under it, where it hides nothing."""
    if ax.get_legend_handles_labels()[0]:
        place = {"loc": "upper center", "bbox_to_anchor": (0.5, -below), "ncols": columns}
        ax.legend(fontsize=9.5, **place)


def legends_below(fig: Figure, axes: Sequence[Axes]) -> None:
    """One legend below all panels if they have the same lines, else one below each."""
    named = [ax.get_legend_handles_labels() for ax in axes]
    if len(axes) > 1 and all(labels == named[0][1] for _, labels in named):
        fig.legend(*named[0], loc="outside lower center", ncols=3)
        return
    for ax in axes:
        legend_below(ax)


def plot_miss_rates(frame: pd.DataFrame, ax: Axes, rows: str = "population") -> Axes:
    """Miss rates in percent with their limits, the nominal rate dashed.

    `frame` is that of `saecert.statistics.coverage.coverage_table`: columns inequality (colour,
    marker), population or what `rows` names, miss_rate, ci_low, ci_high, delta.
    """
    labels = _unique(frame[rows])
    names = _unique(frame["inequality"])
    offsets = _offsets(len(names), 0.6)
    for place, name in enumerate(names):
        part = frame[frame["inequality"] == name]
        heights = np.array([labels.index(label) for label in part[rows]]) + offsets[place]
        percent = 100 * part[["miss_rate", "ci_low", "ci_high"]]
        limits = percent[["ci_low", "ci_high"]]
        spread = limits.sub(percent["miss_rate"], axis=0).abs().to_numpy().T
        look = {"fmt": MARKERS[place % len(MARKERS)], "color": COLOURS[place % len(COLOURS)]}
        look |= {"markersize": 6, "label": worded(name)}
        ax.errorbar(percent["miss_rate"], heights, xerr=spread, **look)
    ax.axvline(100 * frame["delta"].iloc[0], label="nominal", **DASHED)
    name_rows(ax, [worded(str(label)) for label in labels])
    ax.set_xlabel("misses (% of samples)")
    return ax


def plot_terms(
    frame: pd.DataFrame,
    ax: Axes,
    references: Mapping[str, Number] | None = None,
    bounds: Mapping[str, Number] | None = None,
) -> Axes:
    """Terms stacked up to the bound, one bar a label, and risks of references as dotted lines.

    `frame` has columns label, term, bits, in stacking order (see
    `saecert.reporting.tables.terms_table`); clipping, which is negative, cuts the last of the
    measured terms short. The bound beside a bar is rounded up; `bounds` gives it by label (default:
    the sum of the terms, which may miss it by a rounding error).
    """
    labels = _unique(frame["label"])
    longest = 0.0
    for row, label in enumerate(labels):
        terms = frame[frame["label"] == label].set_index("term")["bits"]
        bound = _stack(ax, row, terms)
        text = upper_text((bounds or {}).get(label, bound))
        look = {"va": "center", "ha": "left", "fontsize": 11, "fontweight": "bold"}
        look["bbox"] = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
        ax.annotate(text, (bound, row), (5, 0), textcoords="offset points", zorder=3, **look)
        longest = max(longest, bound)
    longest = max([longest, *(references or {}).values()])
    _name_references(ax, references or {}, close=0.2 * longest)
    name_rows(ax, labels)
    ax.set(xlabel="bits per token (lower is better)", xlim=(0, 1.2 * longest))
    ax.grid(axis="y", visible=False)
    used = [term for term in TERM_COLOURS if frame.loc[frame["term"] == term, "bits"].any()]
    handles = [plt.Rectangle((0, 0), 1, 1, color=TERM_COLOURS[term]) for term in used]
    place = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.18), "ncols": 3}
    ax.legend(handles, used, fontsize=9.5, **place)
    return ax


def _name_references(ax: Axes, references: Mapping[str, Number], close: Number) -> None:
    """Dotted lines with names above; a name that would touch the one before starts at its line."""
    before = -float("inf")
    for name, bits in sorted(references.items(), key=lambda item: item[1]):
        ax.axvline(bits, color="black", linestyle=":", linewidth=1.2)
        side = "left" if bits - before < close else "center"
        text = f"{name}\n{nearest_text(bits)}"
        ax.text(bits, -0.62, text, ha=side, va="bottom", fontsize=9)
        before = bits


def plot_convergence(frame: pd.DataFrame, ax: Axes, vacuous: Number) -> Axes:
    """Bound against number of sequences, one line a label; above the dashed line it says nothing.

    `frame` has columns n_seq, label, bound and valid (False: drawn grey and dashed, not a
    certificate; True if there is no such column).
    """
    for place, name in enumerate(_unique(frame["label"])):
        part = frame[frame["label"] == name].sort_values("n_seq")
        valid = "valid" not in part or part["valid"].all()
        look = {"linestyle": "-" if valid else (0, (2, 2)), "alpha": 1.0 if valid else 0.75}
        colour = COLOURS[place % len(COLOURS)] if valid else "0.45"
        look |= {"marker": MARKERS[place % len(MARKERS)], "color": colour}
        ax.plot(part["n_seq"], part["bound"], markersize=4.5, linewidth=1.8, label=name, **look)
    ax.axhline(vacuous, label="uniform predictor: vacuous above", **DASHED)
    log_axis(ax, _unique(frame["n_seq"]))
    ax.set(xlabel="certification sequences", ylabel="bound (bits per token)")
    return ax


def plot_lines(
    frame: pd.DataFrame,
    ax: Axes,
    x: str,
    y: str,
    by: str,
    limits: Sequence[str] = (),
    colours: Mapping[str, object] | None = None,
) -> Axes:
    """Lines of `y` against `x`, one for each value of `by`, with bars between `limits`.

    `limits` names two columns. Values of `x` that are text are put side by side in the order in
    which they come. `colours` has those of some values of `by`; others are taken in order.
    """
    words = not pd.api.types.is_numeric_dtype(frame[x])
    places = _unique(frame[x])
    names = _unique(frame[by])
    offsets = _offsets(len(names), 0.24) if words else np.zeros(len(names))
    for row, name in enumerate(names):
        part = frame[frame[by] == name]
        positions = [places.index(value) for value in part[x]] if words else part[x]
        shifted = np.asarray(positions, dtype=float) + offsets[row]
        colour = (colours or {}).get(name, COLOURS[row % len(COLOURS)])
        look = {"color": colour, "markersize": 5}
        style = f"-{MARKERS[row % len(MARKERS)]}"
        spread = _spread(part, y, limits) if limits else None
        look |= {"capsize": 3, "label": worded(str(name))}
        ax.errorbar(shifted, part[y], yerr=spread, fmt=style, **look)
    if words:
        step = 1 + len(places) // 16
        ax.set_xticks(range(0, len(places), step), [str(place) for place in places[::step]])
        ax.set_xlim(-0.5, len(places) - 0.5)
    return ax


def plot_densities(scores: pd.DataFrame, ax: Axes) -> Axes:
    """Densities of a score by kind of text, in colours that no score has; dashed without BOS.

    `scores` has columns kind and score. A score that is constant is a line.
    """
    kinds = list(dict.fromkeys(scores["kind"]))
    texts = list(dict.fromkeys(kind.removesuffix(NO_BOS) for kind in kinds))
    for kind in kinds:
        part = scores.loc[scores["kind"] == kind, "score"].to_numpy()
        colour = KIND_COLOURS[texts.index(kind.removesuffix(NO_BOS)) % len(KIND_COLOURS)]
        look = {"color": colour, "linewidth": 2, "label": kind}
        look["linestyle"] = "--" if kind.endswith(NO_BOS) else "-"
        if len(set(part)) == 1:
            ax.axvline(part[0], **look)
        else:
            sns.kdeplot(part, ax=ax, warn_singular=False, **look)
    return ax


def plot_intervals(
    frame: pd.DataFrame, ax: Axes, row: str, by: str = "", mean: str = "mean"
) -> Axes:
    """Means with their limits from left to right, one line a value of `row`, colours by `by`.

    `frame` has columns `mean`, lower and upper.
    """
    labels = _unique(frame[row])
    names = _unique(frame[by]) if by else [""]
    offsets = _offsets(len(names), 0.5)
    for place, name in enumerate(names):
        part = frame[frame[by] == name] if by else frame
        heights = np.array([labels.index(label) for label in part[row]]) + offsets[place]
        look = {"fmt": MARKERS[place % len(MARKERS)], "color": COLOURS[place % len(COLOURS)]}
        spread = _spread(part, mean, ("lower", "upper"))
        ax.errorbar(part[mean], heights, xerr=spread, markersize=6, capsize=3, label=name, **look)
    name_rows(ax, labels)
    return ax


def name_rows(ax: Axes, labels: Sequence[str]) -> None:
    """Name the rows of a panel from top to bottom; long names are broken."""
    ax.set_yticks(range(len(labels)), [broken(str(label)) for label in labels])
    ax.set_ylim(len(labels) - 0.5, -0.5)


def broken(label: str, width: int = 24) -> str:
    """A label in lines short enough for the margin of a panel."""
    lines = [""]
    for word in label.split(" "):
        longer = f"{lines[-1]} {word}".strip()
        lines = [*lines[:-1], longer] if len(longer) <= width else [*lines, word]
    return "\n".join(line for line in lines if line)


def log_axis(ax: Axes, values: Iterable[Number]) -> None:
    """A logarithmic axis from left to right with plain numbers at some of the values."""
    positive = sorted(value for value in values if value > 0)
    if not positive:
        return
    ax.set_xscale("log")
    apart = max(1.9, (positive[-1] / positive[0]) ** (1 / 7))
    marked = [positive[0]]
    for value in positive[1:]:
        if value >= apart * marked[-1]:
            marked.append(value)
    ax.set_xticks(marked, [f"{value:,.4g}" for value in marked])
    ax.minorticks_off()
    if len(positive) == 1:
        ax.set_xlim(positive[0] / 2, 2 * positive[0])


def _stack(ax: Axes, row: int, terms: pd.Series) -> float:
    """Draw the terms of one bar; where it ends, which is the bound."""
    measured = terms[[name for name in terms.index if not name.startswith("complexity")]].sum()
    start = 0.0
    for term in TERM_COLOURS:
        if term not in terms.index:
            continue
        open_ended = term.startswith("complexity")
        length = terms[term] if open_ended else min(terms[term], measured - start)
        look = {"color": TERM_COLOURS[term], "edgecolor": "white", "height": 0.62}
        ax.barh(row, length, left=start, **look)
        start += length
    return float(terms.sum())


def _spread(part: pd.DataFrame, mean: str, limits: Sequence[str]) -> np.ndarray:
    """Lengths of error bars below and above the mean."""
    low, high = limits
    below = (part[mean] - part[low]).to_numpy(dtype=float)
    above = (part[high] - part[mean]).to_numpy(dtype=float)
    return np.clip(np.stack([below, above]), 0, None)


def _offsets(count: int, span: Number) -> np.ndarray:
    return np.linspace(-span / 2, span / 2, count) if count > 1 else np.zeros(1)


def _unique(values: pd.Series) -> list:
    return list(dict.fromkeys(values))

"""Page 21: what SAEs recover of worlds whose features are known, as tables and a figure (no torch).

Rows are those of `saecert.training.recovered.recovery_row`, one an SAE.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from saecert.dictionaries.counted import BINS_A_DECADE, COSINE_STEPS, counts_of, errors_from
from saecert.dictionaries.recovery import chance_cosine
from saecert.reporting.panels import COLOURS, DASHED, panels, plot_lines
from saecert.statistics.inequalities import INEQUALITIES, clopper_pearson_upper, lower

LABELS = {
    "topk": "TopK",
    "batchtopk": "BatchTopK",
    "jumprelu": "JumpReLU",
    "matryoshka": "Matryoshka",
    "true decoder": "true decoder, TopK",
}
"""Kinds of SAEs by their names in the rows."""
STARTS = {
    "topk": "random rows",
    "true start": "the features, free",
    "true decoder": "the features, held there",
}
"""Where the decoder of a TopK SAE starts, by its name in the rows."""
PAPER = ("constant", "log-uniform")
"""Worlds of arXiv 2602.14111."""
REPORTED: Mapping[tuple[str, str], tuple[float, float]] = {
    ("log-uniform", "batchtopk"): (297, 0.71),
    ("log-uniform", "jumprelu"): (225, 0.71),
    ("constant", "topk"): (0.999 * 3_200, float("nan")),
    ("constant", "batchtopk"): (3, 0.67),
    ("constant", "jumprelu"): (3, 0.67),
    ("constant", "matryoshka"): (0.0003 * 3_200, float("nan")),
}
"""Features of 3,200 recovered, and explained variance, as reported in arXiv 2602.14111 (two of the
counts from shares: 99.9 % and .03 %); those not told are nan or not here."""


def cells(worlds: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A cell for each SAE: each world's settings with each kind of `LABELS`.

    The first world's come first. A simulation makes its first cell alone and the others side by
    side, so the smallest world should be first.
    """
    return [
        {"world": world, "architecture": kind, **settings}
        for world, settings in worlds.items()
        for kind in LABELS
    ]


def of_world(rows: pd.DataFrame, world: str) -> pd.DataFrame:
    """The rows of a world, by kind of SAE in the order of `LABELS`."""
    found = rows[rows["world"] == world].set_index("architecture")
    return found.reindex([kind for kind in LABELS if kind in found.index])


def recovery_table(rows: pd.DataFrame, world: str) -> pd.DataFrame:
    """Explained variance, L0, silent latents, recovered features, F1 and MCC, a line an SAE."""
    return _labelled(_columns(of_world(rows, world)))


def by_start(rows: pd.DataFrame) -> pd.DataFrame:
    """What `recovery_table` has, of TopK by where its decoder starts, a line a key of `STARTS`."""
    found = rows.set_index("architecture").loc[list(STARTS)]
    return _columns(found).rename(index=STARTS).rename_axis(None)


def _columns(found: pd.DataFrame) -> pd.DataFrame:
    columns = {
        "explained variance": found["explained_variance"],
        "L0": found["l0"],
        "silent": found["silent"],
        "recovered": found["recovered"].astype(int),
        "share": found["recovered"] / found["n_features"],
        "mean cosine": found["mean_cosine"],
        "F1": found["f1"],
        "MCC": found["mcc"],
    }
    return pd.DataFrame(columns)


def against_reported(rows: pd.DataFrame) -> pd.DataFrame:
    """What arXiv 2602.14111 reports beside what was found, a line a world and kind that it reports.

    Counts are scaled to the number of features here. "agrees": whether the recovered count is
    within a factor of 2 of the reported one or both are at most 1 % of the features, and the
    explained variance, where reported, within .05.
    """
    lines = []
    for (world, kind), (count, variance) in REPORTED.items():
        found = of_world(rows, world)
        if kind not in found.index:
            continue
        row = found.loc[kind]
        asked = count / 3_200 * row["n_features"]
        line = {"world": world, "kind": LABELS[kind], "recovered": int(row["recovered"])}
        line |= {"reported": round(asked), "explained variance": row["explained_variance"]}
        line |= {"reported variance": variance, "agrees": _agrees(row, asked, variance)}
        lines.append(line)
    return pd.DataFrame(lines)


def _agrees(row: pd.Series, count: float, variance: float) -> bool:
    few = 0.01 * row["n_features"]
    both_few = max(row["recovered"], count) <= few
    near = count / 2 <= row["recovered"] <= 2 * count
    same = np.isnan(variance) or abs(row["explained_variance"] - variance) <= 0.05
    return bool((both_few or near) and same)


def by_probability(rows: pd.DataFrame, world: str) -> pd.DataFrame:
    """Recovered features by firing probability: a line a kind and bin that has features.

    Columns: kind, probability (middle of the bin, geometric), features, recovered, share.
    """
    lines = []
    for kind, row in of_world(rows, world).iterrows():
        sizes = counts_of(row["features"])
        found = counts_of(row["recovered_features"], len(sizes))
        bins = row["first_bin"] + np.arange(len(sizes)) + 0.5
        middle = 10 ** (bins / BINS_A_DECADE)
        part = {"kind": LABELS[str(kind)], "probability": middle}
        part |= {"features": sizes, "recovered": found}
        lines.append(pd.DataFrame(part)[sizes > 0])
    frame = pd.concat(lines, ignore_index=True)
    return frame.assign(share=frame["recovered"] / frame["features"])


def rarer_half(frame: pd.DataFrame) -> pd.Series:
    """Share recovered of the rarer half of the features, by kind; whole bins, so about half."""

    def share(part: pd.DataFrame) -> float:
        part = part.sort_values("probability")
        rare = part["features"].cumsum() <= part["features"].sum() / 2
        return float(part["recovered"][rare].sum() / max(1, part["features"][rare].sum()))

    return frame.groupby("kind", sort=False)[["probability", "features", "recovered"]].apply(share)


def splice_limits(rows: pd.DataFrame, delta: float, inequality: str) -> pd.DataFrame:
    """Limits on the mean relative error of each SAE, all jointly at `delta`.

    Lines are the rows; columns: world, kind, lower, mean, upper, in [0, 1]. Each limit has its
    part of `delta`. Errors are kept on a grid, rounded up: upper limits are from these, lower ones
    from the next point of the grid below, means from the middle.
    """
    nats = np.log(2 * len(rows) / delta)
    lines = []
    for _, row in rows.iterrows():
        counts = counts_of(row["errors"])
        above = errors_from(counts)
        below = errors_from(counts, rounded="down")
        line = {"world": row["world"], "kind": LABELS[row["architecture"]]}
        line["lower"] = float(lower(inequality, below, 0.0, 1.0, nats))
        line["mean"] = float(above.mean() + below.mean()) / 2
        line["upper"] = float(INEQUALITIES[inequality](above, 0.0, 1.0, nats))
        lines.append(line)
    return pd.DataFrame(lines)


def fresh_limits(rows: pd.DataFrame, n_fresh: int, delta: float) -> pd.DataFrame:
    """How many of `n_fresh` new uniform directions each dictionary has a row for, and an upper
    limit on their share, all jointly at `delta` (Clopper and Pearson: for a given dictionary the
    directions are independent draws)."""
    nats = np.log(len(rows) / delta)
    limits = clopper_pearson_upper(rows["fresh"].to_numpy(), n_fresh, nats)
    kinds = rows["architecture"].map(LABELS)
    columns = {"world": rows["world"], "kind": kinds, "found": rows["fresh"], "upper": limits}
    return pd.DataFrame(columns)


def cosines(rows: pd.DataFrame, world: str) -> pd.DataFrame:
    """Share of the features with a largest cosine of at least so much: kind, cosine, share."""
    edges = np.arange(COSINE_STEPS) / COSINE_STEPS
    lines = []
    for kind, row in of_world(rows, world).iterrows():
        counts = counts_of(row["cosines"], COSINE_STEPS)
        share = counts[::-1].cumsum()[::-1] / counts.sum()
        part = {"kind": LABELS[str(kind)], "cosine": edges, "share": share}
        lines.append(pd.DataFrame(part))
    return pd.concat(lines, ignore_index=True)


def plot_recovery(rows: pd.DataFrame, threshold: float, d_in: int, d_sae: int) -> Figure:
    """Recovery against firing probability; largest cosines of the features in both worlds.

    The first panel is of the log-uniform world. In the others dashed: the threshold, and the
    largest cosine that a random dictionary has with 999 of 1,000 directions at most.
    """
    kinds = [label for kind, label in LABELS.items() if kind != "true decoder"]
    fig, axes = panels(3, height=4.2)
    worlds = ("log-uniform", "log-uniform", "constant")
    for place, (world, ax) in enumerate(zip(worlds, axes, strict=True)):
        made = by_probability(rows, world) if place == 0 else cosines(rows, world)
        made = made[made["kind"].isin(kinds)]
        if place == 0:
            plot_lines(made, ax, "probability", "share", "kind")
            ax.set(xscale="log", xlabel="firing probability of the feature")
            ax.set(ylabel="share recovered", title="recovered, log-uniform", ylim=(-0.03, 1.03))
            continue
        _cosine_panel(made, ax, (threshold, chance_cosine(0.999, d_in, d_sae)), kinds)
        ax.set_title(f"largest cosines, {world}")
    axes[0].legend(loc="upper left")
    return fig


def _cosine_panel(
    frame: pd.DataFrame, ax: Axes, marks: Sequence[float], kinds: Sequence[str]
) -> None:
    for colour, kind in zip(COLOURS, kinds, strict=False):
        part = frame[frame["kind"] == kind]
        ax.step(part["cosine"], part["share"], where="post", color=colour, label=kind)
    for mark in marks:
        ax.axvline(float(mark), **DASHED)
    ax.set(xlabel="largest cosine with a row, at least", ylabel="share of features")
    ax.set(xlim=(0, 1), ylim=(-0.03, 1.03))


def _labelled(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.rename(index=LABELS).rename_axis(None)

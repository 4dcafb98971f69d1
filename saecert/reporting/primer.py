"""The figure of page 00, and the streams that it looks at."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.figure import Figure
from scipy.stats import binom

from saecert.reporting.panels import BLUE, DASHED, GREY, RED, Number, legend_below, panels

Limits = Float[np.ndarray, " samples"]


class Looks(NamedTuple):
    """What an impatient reader and a gambler do on the same streams, one row a stream."""

    below: Bool[np.ndarray, "streams looks"]
    """Whether the limit made from the first documents of the stream lies below the true share."""
    wealth: Float[np.ndarray, "streams looks"]
    """Of a gambler who starts with 1, after each document."""


def look_each_time(
    rng: np.random.Generator,
    truth: Number,
    delta: Number,
    *,
    streams: int,
    looks: int,
    stake: Number = 0.5,
) -> Looks:
    """Limits of Clopper and Pearson after each document, and the wealth of a fair game.

    A document is bad with probability `truth`. The gambler's wealth is multiplied by ``1 + stake *
    (truth - bad)`` for each: a fair game, as its factor is 1 on average.

    Parameters
    ----------
    rng
        Draws the documents.
    truth
        Share of bad documents, in (0, 1).
    delta
        Of each limit, in (0, 1).
    streams, looks
        How many streams, and documents in each; at least 1.
    stake
        In [0, 1], so that no factor is negative.

    Raises
    ------
    ValueError
        For a share, a delta or a stake outside its range.

    Examples
    --------
    >>> seen = look_each_time(np.random.default_rng(0), 0.2, 0.05, streams=3, looks=10)
    >>> seen.wealth.shape
    (3, 10)
    """
    if not (0 < truth < 1 and 0 < delta < 1 and 0 <= stake <= 1):
        raise ValueError(
            "look_each_time needs truth and delta strictly between 0 and 1 and a stake in [0, 1], "
            f"got truth = {truth}, delta = {delta}, stake = {stake}"
        )
    bad = rng.random((streams, looks)) < truth
    # the limit is below the truth where so few bad ones have a probability below delta
    fewest = binom.ppf(delta, np.arange(1, looks + 1), truth)
    below = bad.cumsum(axis=1) < fewest
    wealth = np.cumprod(1 + stake * (truth - bad), axis=1)
    return Looks(below, wealth)


def plot_hundred(found: Limits, limits: Limits, truth: Number) -> Figure:
    """Samples one below the other, each from what it found to its limit; the wrong ones stand out.

    Parameters
    ----------
    found
        By sample: the share that was found.
    limits
        By sample: the upper limit made from it. It is wrong where it lies below `truth`.
    truth
        Drawn dashed.
    """
    fig, (ax,) = panels(1, height=6)
    rows = np.arange(1, len(limits) + 1)
    wrong = limits < truth
    looks = {
        "the limit is right": (~wrong, GREY, 1.1, BLUE),
        "the limit is wrong": (wrong, RED, 2.2, RED),
    }
    for label, (which, line, width, dot) in looks.items():
        ax.hlines(rows[which], found[which], limits[which], color=line, linewidth=width)
        ax.plot(limits[which], rows[which], "|", color=dot, markersize=7, markeredgewidth=2)
        count = int(which.sum())
        ax.plot(found[which], rows[which], "o", color=dot, markersize=3, label=f"{label}: {count}")
    ax.axvline(truth, label="true share", **DASHED)
    ax.set(xlabel="share of bad documents: found (dot), at most (bar)", ylabel="sample")
    ax.set_ylim(len(limits) + 1, 0)
    legend_below(ax, columns=3, below=0.11)
    return fig

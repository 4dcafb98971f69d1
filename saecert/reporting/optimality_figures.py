"""Figures of the pages about optimality."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from saecert.reporting.panels import BLUE, DASHED, ORANGE, panels, plot_lines

STATES = {"merged": ORANGE, "not told": "0.8", "kept apart": BLUE}


def plot_phases(frame: pd.DataFrame) -> Figure:
    """Which pair of atoms is the optimum of two features, a panel for each price and tilt.

    `frame` has columns lam, tilt, theta, both, kept, certified, a row a cell.
    """
    groups = list(frame.groupby(["lam", "tilt"], sort=False))
    fig, axes = panels(len(groups), height=3.6)
    for ax, ((lam, tilt), part) in zip(axes, groups, strict=True):
        _phase_panel(part, ax)
        ax.set_title(f"λ = {lam:g}, {balance(tilt)}")
    handles = [Patch(color=colour, label=state) for state, colour in STATES.items()]
    fig.legend(handles=handles, loc="outside lower center", ncols=3)
    return fig


def balance(tilt: float) -> str:
    """How often the first feature is alone against the second, in words.

    >>> balance(0.5), balance(0.9)
    ('alone equally often', 'first alone 9 times as often')
    """
    times = tilt / (1 - tilt)
    return "alone equally often" if tilt == 0.5 else f"first alone {times:.3g} times as often"


def plot_widening(frame: pd.DataFrame) -> Figure:
    """Cost above the wide limit against the number of atoms, a line a price; where every long point
    could have its own, dashed."""
    fig, (ax,) = panels(1, height=4.0)
    rows = frame.assign(above=frame["cost"] / frame["floor"] - 1)
    rows = rows.assign(price=[f"λ = {lam:g}" for lam in rows["lam"]])
    plot_lines(rows, ax, "atoms", "above", "price")
    for count in sorted(set(frame["long"])):
        ax.axvline(count, **DASHED)
    ax.set(xlabel="atoms in use", ylabel="cost above the wide limit, share")
    ax.set_yscale("symlog", linthresh=1e-3)
    ax.set_ylim(-2e-4, None)
    ax.legend()
    return fig


def _phase_panel(part: pd.DataFrame, ax: Axes) -> None:
    state = np.where(part["certified"] == 1, np.where(part["kept"] == 1, 2, 0), 1)
    grid = part.assign(state=state).pivot(index="theta", columns="both", values="state")
    colours = ListedColormap(list(STATES.values()))
    ax.pcolormesh(grid.columns, grid.index, grid, cmap=colours, vmin=0, vmax=2, shading="nearest")
    ax.set(xlabel="share of activity with both", ylabel="angle (degrees)")
    ax.grid(False)

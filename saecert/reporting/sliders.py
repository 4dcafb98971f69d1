"""Figures that a hand on a slider changes: limits on a grid, rounded outwards, as a page carries
them. `_static/sliders.js` draws them; without it, and in print, nothing of them is shown.
"""

from __future__ import annotations

import html
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from saecert.certificates.checks import checked_sample
from saecert.certificates.sample import Sample
from saecert.certificates.terms import joint_loss, sharp_loss
from saecert.records import SequenceLosses
from saecert.statistics.finite import finite_upper
from saecert.statistics.inequalities import INEQUALITIES
from saecert.statistics.rounding import (
    lower_text,
    nearest_text,
    probability_text,
    rounded_down,
    rounded_up,
    upper_text,
)

DELTAS = (0.2, 0.1, 0.05, 0.01, 0.001)
"""Probabilities of a wrong statement that a slider offers; the one of the page joins them."""
DECIMALS = 2
"""Of every number that a page carries."""

Grid = Float[np.ndarray, "n_alpha n_pool n_delta n_size"]


@dataclass(frozen=True)
class Control:
    """One slider, with a text for each of its positions."""

    name: str
    """What it is called in a sentence, such as "n"."""
    label: str
    """What stands beside it."""
    texts: tuple[str, ...]
    """What each position means, such as ("0.5", "0.01")."""
    start: int
    """The position at first."""


@dataclass(frozen=True)
class Sliders:
    """Sliders and what they change, ready for a page: HTML in a notebook, one line elsewhere."""

    name: str
    """Beginning of the ids of its elements: unique on a page."""
    title: str
    """A sentence above the sliders."""
    controls: tuple[Control, ...]
    """Those with one position are not shown."""
    drawing: Mapping[str, Any]
    """What `_static/sliders.js` draws, plain JSON."""
    note: str
    """A sentence below: what holds together and what does not."""

    def __repr__(self) -> str:
        names = ", ".join(control.name for control in self.controls)
        return f"Sliders for {names}: shown in the book, in a browser"

    def _repr_html_(self) -> str:
        """Labelled sliders, hidden until the script of the book has found them."""
        spec = {"controls": [vars(control) for control in self.controls], **self.drawing}
        data = json.dumps(spec, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
        shown = [(i, c) for i, c in enumerate(self.controls) if len(c.texts) > 1]
        inputs = "\n".join(self._input(place, control) for place, control in shown)
        ids = " ".join(f"{self.name}-{place}" for place, _ in shown)
        return (
            f'<div class="saecert-sliders" id="{self.name}" hidden>\n'
            f'<p class="saecert-title">{html.escape(self.title)}</p>\n'
            f'<div class="saecert-controls">\n{inputs}\n</div>\n'
            f'<output for="{ids}" aria-live="polite"></output>\n'
            '<div class="saecert-drawing"></div>\n'
            f'<p class="note">{html.escape(self.note)}</p>\n'
            f'<script type="application/json">{data}</script>\n</div>'
        )

    def _input(self, place: int, control: Control) -> str:
        name, last = f"{self.name}-{place}", len(control.texts) - 1
        text = html.escape(control.texts[control.start])
        return (
            f'<label for="{name}">{html.escape(control.label)}</label>'
            f'<input type="range" id="{name}" min="0" max="{last}" step="1" '
            f'value="{control.start}" aria-valuetext="{text}">'
            f'<span class="saecert-value" aria-hidden="true">{text}</span>'
        )


def bound_grid(
    losses: SequenceLosses,
    sizes: Sequence[int],
    deltas: Sequence[float],
    *,
    inequality: str = "dirichlet",
    seed: int = 0,
    population_size: int | None = None,
) -> dict[str, Grid]:
    """The "bound" and "sharp" of `saecert.certify` for every fixed pool and every setting, in bits.

    Axes: the alphas and the pool sizes of the record, `deltas`, and numbers of sequences `sizes`.
    Each value is the limit of one certificate, which holds on its own at its delta.

    Parameters
    ----------
    losses
        Record of a certification sample.
    sizes
        Numbers of sequences, 2 to as many as there are.
    deltas
        Probabilities of a wrong statement, in (0, 1).
    inequality, seed, population_size
        As for `saecert.certify`.

    Raises
    ------
    ValueError
        A delta outside (0, 1); a size, a sample or an inequality that `certify` refuses.
    """
    if not all(0 < delta < 1 for delta in deltas):
        raise ValueError(f"deltas must lie strictly between 0 and 1, got {list(deltas)}")
    if inequality not in INEQUALITIES:
        raise ValueError(f"unknown inequality '{inequality}'; there are {', '.join(INEQUALITIES)}")
    upper = INEQUALITIES[inequality]
    if population_size is not None:
        upper = finite_upper(inequality, population_size)
    shape = (len(losses.alphas), len(losses.pool_sizes), len(deltas), len(sizes))
    grids = {name: np.empty(shape) for name in ("bound", "sharp")}
    nats = np.broadcast_to(-np.log(deltas), shape[1:3])
    for column, n in enumerate(sizes):
        rows, *_ = checked_sample(losses, n, seed, ())
        for row, alpha in enumerate(losses.alphas):
            sample = Sample.of(rows, alpha)
            three = (sample.clean, sample.full, sample.pools)
            values = {"bound": joint_loss(*three, sample.hi), "sharp": sharp_loss(*three)}
            for name, value in values.items():
                repeated = np.broadcast_to(value[:, None], (*nats.shape, n))
                grids[name][row, ..., column] = upper(repeated, sample.lo, sample.hi, nats)
    return grids


def bound_sliders(
    losses: SequenceLosses, sizes: Sequence[int], *, delta: float, pool: int, **settings: Any
) -> Sliders:
    """Bounds against n, with sliders for n, delta, alpha and the size of the pool.

    Parameters
    ----------
    losses, sizes
        As for `bound_grid`; `settings` are its keywords.
    delta, pool
        Where the sliders stand at first; `delta` is one of their positions whatever it is.
    """
    deltas = sorted({*DELTAS, delta}, reverse=True)
    grids = bound_grid(losses, sizes, deltas, **settings)
    pools = losses.pool_sizes
    first = len(sizes) - 1
    controls = (
        Control("alpha", "smoothing weight alpha", _texts(losses.alphas), 0),
        Control("k", "latents in the pool, k", _counts(pools), pools.index(pool)),
        Control("delta", "delta", tuple(map(probability_text, deltas)), deltas.index(delta)),
        Control("n", "sequences, n", _counts(sizes), first),
    )
    series = [
        {"name": name, "values": [rounded_up(value, DECIMALS) for value in grids[key].ravel()]}
        for name, key in (("bound", "bound"), ("sharp bound", "sharp"))
    ]
    drawing = {
        "kind": "curves",
        "decimals": DECIMALS,
        "unit": "bits per token",
        "series": series,
        "line": {
            "name": "guessing uniformly",
            "value": rounded_down(math.log2(losses.n_vocab), DECIMALS),
        },
    }
    note = (
        "Each point is a certificate on its own, at its delta, for settings fixed beforehand. "
        "Whoever moves the sliders until the number pleases has chosen after looking, and the "
        "number that pleases is not certified. Limits are rounded up."
    )
    title = "Bounds on the three risks, by your settings"
    return Sliders("bound-sliders", title, controls, drawing, note)


def layer_sliders(
    tables: Mapping[str, tuple[str, pd.DataFrame]], labels: Sequence[str], note: str
) -> Sliders:
    """Everything about one layer, with a slider that chooses it.

    Parameters
    ----------
    tables
        By quantity: its unit, and "lower", "mean" and "upper" of each layer. A lower limit that is
        nan is none: then only the upper one is told. An upper limit may be infinite.
    labels
        The layers.
    note
        What is printed below.
    """
    rows = []
    for quantity, (unit, frame) in tables.items():
        values = frame[["lower", "mean", "upper"]].to_numpy(float)
        rows.append(
            {
                "name": quantity,
                "texts": [f"{_limits_text(*row)} {unit}".strip() for row in values],
                "lower": [_or_none(rounded_down(x, DECIMALS)) for x in values[:, 0]],
                "mean": [round(x, DECIMALS) for x in values[:, 1]],
                "upper": [_or_none(rounded_up(x, DECIMALS)) for x in values[:, 2]],
            }
        )
    control = Control("layer", "layer", tuple(labels), 0)
    drawing = {"kind": "rows", "rows": rows}
    return Sliders("layer-sliders", "One layer at a time", (control,), drawing, note)


def _limits_text(lower: float, mean: float, upper: float) -> str:
    most = upper_text(upper, DECIMALS)
    if math.isnan(lower):
        return f"{nearest_text(mean, DECIMALS)}, at most {most}"
    return f"{nearest_text(mean, DECIMALS)}, from {lower_text(lower, DECIMALS)} to {most}"


def _or_none(limit: float) -> float | None:
    return limit if math.isfinite(limit) else None


def _texts(values: Sequence[float]) -> tuple[str, ...]:
    return tuple(f"{value:g}" for value in values)


def _counts(values: Sequence[int]) -> tuple[str, ...]:
    return tuple(f"{value:,}" for value in values)

"""The page about optimality: the wide limit on many activations, and a public model (no torch)."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd

from saecert.dictionaries.quantities import OFTEN
from saecert.records import SequenceLosses
from saecert.reporting.layers import labels_of
from saecert.reporting.optimality import Measured, difference_frame, gaps_of, settings_by_layer

QUANTILES = {"10 %": 0.1, "median": 0.5, "90 %": 0.9}
FLOORS = {
    "above the wide limit": ("optimal", "floor"),
    "other directions, less the SAE's atoms": ("directions", "optimal"),
}
"""Differences of what `saecert.dictionaries.wide_limit` measures: the first less the second."""


def prices_of(measured: Measured) -> dict[str, float]:
    """The price by hook point, to the two digits that it was matched to."""
    return {name: float(f"{float(values['lambda']):.2g}") for name, values in measured.items()}


def floor_by_layer(measured: Measured, delta: float, inequality: str) -> dict[str, pd.DataFrame]:
    """Limits on each of `FLOORS`, shares of the cost of no activity, one row a hook point.

    **Guarantee.** With probability at least ``1 - delta`` over sequences drawn i.i.d. all limits on
    the expected differences hold, at ``ln(4 H / delta)`` nats a side (two differences, two sides, H
    hook points). The first lies in [0, 1], as nothing costs less than the wide limit; the second in
    [-1, 1]. Limits are on differences of least costs: they are moved outwards by the duality gap
    (`saecert.reporting.optimality.difference_frame`).
    """
    nats = math.log(2 * len(FLOORS) * len(measured) / delta)
    limits = {}
    for name, (first, second) in FLOORS.items():
        ends = (0.0 if second == "floor" else -1.0, 1.0)
        off = gaps_of(measured, first), gaps_of(measured, second)
        difference = np.stack([values[first] - values[second] for values in measured.values()])
        limits[name] = difference_frame(difference, ends, off, nats, inequality)
    return limits


def floor_means(measured: Measured) -> pd.DataFrame:
    """Sample means of the three costs, and the first as a multiple of the floor: a row a layer."""
    rows = {}
    for label, values in zip(labels_of(list(measured)), measured.values(), strict=True):
        means = {name: float(values[name].mean()) for name in ("floor", "optimal", "directions")}
        rows[label] = {
            "wide limit": means["floor"],
            "SAE's atoms": means["optimal"],
            "other directions": means["directions"],
            "SAE / wide limit": means["optimal"] / means["floor"],
        }
    return pd.DataFrame(rows).T.rename_axis("layer")


def settings_away(measured: Measured) -> pd.DataFrame:
    """`saecert.reporting.optimality.settings_by_layer`, and which percentage of tokens are outliers
    on discovery and in the sample, of what `saecert.dictionaries.usual_optimality` measures."""
    found = [100 * (1 - float(values["usual, discovery"])) for values in measured.values()]
    here = [100 * (1 - float(values["usual"].mean())) for values in measured.values()]
    shares = {"outliers, discovery (%)": found, "outliers, sample (%)": here}
    return settings_by_layer(measured).assign(**shares)


def implied_by_layer(measured: Measured) -> pd.DataFrame:
    """Implied prices of latents for the encoder's codes, shares of lambda: a row a layer.

    Of what `saecert.dictionaries.usual_optimality` measures, over latents that fire at least
    `OFTEN` times on discovery: their number, quantiles of the implied price, and medians of angle
    and agreement; no limits.
    """
    rows = {}
    for label, values in zip(labels_of(list(measured)), measured.values(), strict=True):
        often = values["firings, encoder"] >= OFTEN
        implied = values["implied_lambda, encoder"][often].astype(float) / values["lambda"]
        row = dict(
            zip(("10 %", "median", "90 %"), np.quantile(implied, (0.1, 0.5, 0.9)), strict=True)
        )
        row["angle, degrees"] = float(values["angle, encoder"])
        row["agreement"] = float(values["agreement, encoder"])
        rows[label] = {"latents": int(often.sum())} | row
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("layer")


def beside_terms(
    limits: Mapping[str, pd.DataFrame], losses: Mapping[str, SequenceLosses], alpha: float
) -> pd.DataFrame:
    """Distances beside the terms of the certificate of the whole dictionary: a row a layer.

    Sample means; `limits` are those of `saecert.reporting.optimality.errors_by_layer`, in the order
    of `losses`. In the last, a loss of the SAE below the model's counts as 0.
    """
    rows = {}
    for place, (label, record) in enumerate(
        zip(labels_of(list(losses)), losses.values(), strict=True)
    ):
        model, full = record.at("clean", alpha), record.at("full", alpha)
        row = {name: frame["mean"].iloc[place] for name, frame in limits.items()}
        row["model risk"] = model.mean()
        row["risk with the SAE"] = full.mean()
        row["reconstruction gap"] = np.abs(full - model).mean()
        row["loss above the model's"] = np.maximum(full - model, 0).mean()
        rows[label] = {name: float(value) for name, value in row.items()}
    return pd.DataFrame(rows).T.rename_axis("layer")

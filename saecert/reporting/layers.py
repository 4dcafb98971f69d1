"""The page about layers: hook points by depth, and what is measured there, as frames (no torch)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from saecert.certificates.certificate import Certificate
from saecert.certificates.comparison import Comparison
from saecert.dictionaries.amplification import ERROR, OURS, PAIRED, RANDOM, difference
from saecert.records import SequenceLosses

TERMS = {
    "proxy": "proxy risk",
    "gap": "reconstruction gap",
    "mismatch": "pool mismatch",
    "bound": "joint loss",
}
"""Statements of a certificate, and what they are limits on the expectation of."""
LOSSES, DISTANCES = "losses (axis not from 0)", "distances"
"""Titles of the panels of `certificate_panels`."""
LIMITS = ["lower", "mean", "upper"]
CHANGE = ["first", "last", "change, lower", "change, upper"]


def by_depth(hook_names: Sequence[str]) -> list[str]:
    """Hook points from the first block to the last, and before a block's output what is ahead of
    it.
    """
    return sorted(hook_names, key=_depth)


def labels_of(hook_names: Sequence[str]) -> list[str]:
    """Hook points as they are called on an axis: "2" for ``blocks.2.hook_resid_post``.

    >>> labels_of(["blocks.2.hook_resid_post", "blocks.0.hook_resid_pre"])
    ['2', '0 pre']
    """
    return [
        name.removeprefix("blocks.").replace(".hook_resid_", " ").removesuffix(" post")
        for name in hook_names
    ]


def common_pool(study: Any, hook_names: Sequence[str], share: float) -> int:
    """Size of a pool that is `share` of the smallest dictionary of a study, at least one latent."""
    surveys = study.measure("survey", hook_names=hook_names)
    smallest = min(len(arrays["token_count"]) for arrays in surveys.values())
    return max(1, round(share * smallest))


def certified_terms(certificates: Mapping[str, Certificate]) -> pd.DataFrame:
    """One row a term and hook point: columns quantity, layer, lower (the mean), mean, upper."""
    labels = labels_of(list(certificates))
    rows = []
    for statement, quantity in TERMS.items():
        for label, certificate in zip(labels, certificates.values(), strict=True):
            row = certificate.statements[statement]
            limits = {"lower": row["mean"], "mean": row["mean"], "upper": row["upper"]}
            rows.append({"quantity": quantity, "layer": label, **limits})
    return pd.DataFrame(rows)


def certificate_panels(certificates: Mapping[str, Certificate]) -> pd.DataFrame:
    """The frame of `certified_terms` in two panels: losses, and distances, which are far smaller.

    As `saecert.reporting.figures.plot_layers` draws it, with `LOSSES` for `near`.
    """
    frame = certified_terms(certificates)
    panel = np.where(frame["quantity"].isin(["joint loss", "proxy risk"]), LOSSES, DISTANCES)
    return frame.assign(panel=panel, unit="bits per token").sort_values(
        "panel", ascending=False, kind="stable"
    )


def by_layer(terms: pd.DataFrame) -> pd.DataFrame:
    """The frame of `certified_terms` as a table: a row a layer, mean and upper limit a term."""
    parts = {
        quantity: part.set_index("layer")[["mean", "upper"]]
        for quantity, part in terms.groupby("quantity", sort=False)
    }
    return pd.concat(parts, axis=1)


def by_quantity(limits: Mapping[str, pd.DataFrame], hook_names: Sequence[str]) -> pd.DataFrame:
    """Limits as a table: three rows a quantity (lower, mean, upper), a column a layer."""
    labels = labels_of(hook_names)
    parts = {name: frame.set_axis(labels)[LIMITS].T for name, frame in limits.items()}
    return pd.concat(parts, names=["quantity", ""]).rename_axis(columns="layer")


def by_layer_limits(limits: pd.DataFrame, hook_names: Sequence[str]) -> pd.DataFrame:
    """Limits of one quantity as a table: a row a layer."""
    return limits[LIMITS].set_axis(labels_of(hook_names)).rename_axis("layer")


def stacked(
    losses: Mapping[str, SequenceLosses],
    fidelity: Mapping[str, Mapping[str, np.ndarray]],
    *,
    alpha: float,
    noise: str,
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, np.ndarray]:
    """Local fidelity by quantity, and losses of the model, its SAE and `noise`, (hook, sequence).

    They are what `saecert.dictionaries.amplification.fidelity_and_amplification` takes; rows are
    in the order of `losses`, and `noise` names a proxy.
    """
    names = list(losses)
    local = {
        quantity: np.stack([fidelity[name][quantity] for name in names])
        for quantity in fidelity[names[0]]
    }
    clean, full, noisy = (
        np.stack([losses[name].at(proxy, alpha) for name in names])
        for proxy in ("clean", "full", noise)
    )
    return local, clean, full, noisy


def layer_panel(
    title: str, unit: str, limits: Mapping[str, pd.DataFrame], hook_names: Sequence[str]
) -> pd.DataFrame:
    """What `saecert.reporting.figures.plot_layers` draws as one panel."""
    labels = labels_of(hook_names)
    frames = [
        frame[LIMITS].assign(quantity=name, layer=labels, panel=title, unit=unit)
        for name, frame in limits.items()
    ]
    return pd.concat(frames, ignore_index=True)


def lacking(limits: pd.DataFrame) -> pd.DataFrame:
    """Limits on one minus a quantity."""
    return (1 - limits).set_axis(["upper", "mean", "lower"], axis=1)[LIMITS]


def told_by_layer(
    terms: pd.DataFrame, limits: Mapping[str, pd.DataFrame]
) -> dict[str, tuple[str, pd.DataFrame]]:
    """Unit and limits of everything about a layer, as `saecert.reporting.sliders` takes them.

    The terms have no lower limit. `limits` are those of
    `saecert.dictionaries.amplification.fidelity_and_amplification`.
    """
    units = dict.fromkeys(("loss change", "loss change of random error"), "bits")
    units |= dict.fromkeys((OURS, RANDOM), "bits per unit of relative error")
    told = {
        name: ("bits", part.assign(lower=np.nan))
        for name, part in terms.groupby("quantity", sort=False)
    }
    positive = {name: frame for name, frame in limits.items() if name != PAIRED}
    return told | {name: (units.get(name, ""), frame) for name, frame in positive.items()}


def first_against_last(
    compared: Mapping[str, Comparison],
    errors: tuple[np.ndarray, np.ndarray],
    error_limits: tuple[float, float],
    limits: Mapping[str, pd.DataFrame],
) -> pd.DataFrame:
    """Means at the first and the last hook point, limits of the change, and a verdict, by quantity.

    Parameters
    ----------
    compared
        Comparisons of the last ("a") with the first ("b"), by quantity as `compare` names it.
    errors
        Relative errors by sequence, at the last and at the first hook point.
    error_limits
        Limits on the difference of their expectations.
    limits
        What `saecert.dictionaries.amplification.fidelity_and_amplification` returns.
    """
    table = {
        TERMS.get(quantity, quantity): (*reversed(pair.means), pair.lower, pair.upper)
        for quantity, pair in compared.items()
    }
    last, first = errors
    table[ERROR] = (first.mean(), last.mean(), *error_limits)
    for name in (OURS, RANDOM):
        ends = (limits[name].iloc[-1], limits[name].iloc[0])
        table[name] = (ends[1]["mean"], ends[0]["mean"], *difference(*ends))
    frame = pd.DataFrame(table, CHANGE).T
    tests = [frame["change, lower"] > 0, frame["change, upper"] < 0]
    return frame.assign(verdict=np.select(tests, ["larger", "smaller"], "not told"))


def _depth(hook_name: str) -> tuple[list[int], bool, str]:
    numbers = [int(digits) for digits in re.findall(r"\d+", hook_name)]
    return numbers, "post" in hook_name, hook_name

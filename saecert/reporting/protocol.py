"""The page about protocols: what it measured as tables and panels (no torch)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from saecert.dictionaries.protocols import (
    BOS_LOST,
    FACTORS,
    KL,
    OURS,
    TOGETHER,
    Protocol,
    Values,
    array_name,
)
from saecert.records import SequenceLosses
from saecert.reporting.claims import NOT_SHOWN, all_above, decided
from saecert.reporting.layers import labels_of
from saecert.reporting.protocol_limits import joint_of, n_vocab_of, terms

NAMES = {
    "v_A": "joint loss, bits per token",
    "smoothed KL": "smoothed KL, bits",
    "KL": "KL, bits",
    "share": "share whose KL rises",
}
"""Columns of a table of changes, and what stands above their limits."""


def by_protocol(
    measured: Mapping[str, Values], protocols: Mapping[str, Protocol], what: str, alpha: float
) -> pd.DataFrame:
    """Sample means of "v_A" or "KL": a row a protocol, a column a layer."""
    rows = {
        label: [
            (
                joint_of(values, protocol, alpha)
                if what == "v_A"
                else values[array_name(what, protocol)]
            ).mean()
            for values in measured.values()
        ]
        for label, protocol in protocols.items()
    }
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=labels_of(list(measured)))
    return frame.rename_axis("protocol").rename_axis(columns="layer")


def terms_by_layer(
    measured: Mapping[str, Values], protocols: Mapping[str, Protocol]
) -> pd.DataFrame:
    """The four terms and KL: a row a layer and protocol."""
    return _by_label(terms(measured, protocols))


def bounds_by_layer(measured: Mapping[str, Values], limits: pd.DataFrame) -> pd.DataFrame:
    """Upper limits on E v_A beside ``log2 V``: a row a layer and protocol.

    `limits` is that of `saecert.reporting.protocol_limits.bounds`.
    """
    uniform = math.log2(n_vocab_of(next(iter(measured.values()))))
    verdict = ["better than uniform" if x < uniform else "vacuous" for x in limits["upper"]]
    frame = limits.assign(uniform=uniform, verdict=verdict)
    titles = {"mean": "mean joint loss", "uniform": "log2 V"}
    return _by_label(frame.rename(columns=titles))


def changes_table(frame: pd.DataFrame) -> pd.DataFrame:
    """Changes with their limits, under two levels of columns: a row a layer and protocol.

    `frame` is that of `saecert.reporting.protocol_limits.changes` or `approximate`.
    """
    names = [name for name in NAMES if name in frame]
    parts = {}
    for name in names:
        part = frame[[name, f"{name}, lower", f"{name}, upper"]]
        first = "share" if name == "share" else "change"
        parts[NAMES[name]] = part.set_axis([first, "lower", "upper"], axis=1)
    return _by_label(pd.concat(parts, axis=1))


def panels(
    measured: Mapping[str, Values], protocols: Mapping[str, Protocol], alpha: float
) -> pd.DataFrame:
    """Mean v_A and mean KL by layer, a line a protocol, as
    `saecert.reporting.figures.plot_layers` draws them.
    """
    rows = []
    for what, title in {"v_A": "what the bound is a limit on", KL: "divergence"}.items():
        table = by_protocol(measured, protocols, what, alpha)
        for label, means in table.iterrows():
            for layer, mean in means.items():
                limits = {"lower": mean, "mean": mean, "upper": mean}
                rows.append({"panel": title, "unit": f"mean {NAMES[what]}", **limits})
                rows[-1] |= {"quantity": label, "layer": layer}
    return pd.DataFrame(rows)


def largest_difference(
    values: Values, ours: Protocol, record: SequenceLosses, pool: int, alpha: float
) -> float:
    """Largest difference in bits between a record and what was measured of the same sequences."""
    kept = {"model": "clean", "SAE": "full", "pool": f"pool_{pool}"}
    return max(
        float(abs(values[array_name(what, ours)] - record.at(name, alpha)).max())
        for what, name in kept.items()
    )


def claimed(
    bounds: pd.DataFrame, changes: pd.DataFrame, approximate: pd.DataFrame, uniform: float
) -> dict[str, Any]:
    """What the page claims, as `saecert.reporting.claims.claims` takes it.

    Parameters
    ----------
    bounds, changes, approximate
        What the functions of these names in `saecert.reporting.protocol_limits` return.
    uniform
        Loss of the uniform predictor, in bits.
    """
    fewer, replaced = FACTORS["n_active"], FACTORS["bos"]
    told = {
        f"most texts: KL rises at every layer with {way}": _rises(changes, way, "share", 0.5)
        for way in (fewer, TOGETHER, BOS_LOST)
    }
    rises = f"expected joint loss rises at every layer with {TOGETHER}"
    told[rises] = _rises(changes, TOGETHER, "v_A", 0.0)
    means = approximate.loc[approximate.index[0][0], "v_A"]
    together = means[f"{fewer}, {replaced}"] > means[fewer] + means[replaced]
    ours = bounds["upper"].xs(OURS, level="protocol")
    return told | {
        "first layer: two together cost more than apart (means)": bool(together),
        "our protocol beats uniform at every layer": decided(
            (ours < uniform).all(), False, NOT_SHOWN
        ),
    }


def _rises(changes: pd.DataFrame, way: str, what: str, least: float) -> Any:
    limits = changes.xs(way, level="protocol")
    return all_above(limits[f"{what}, lower"], limits[f"{what}, upper"], least)


def _by_label(frame: pd.DataFrame) -> pd.DataFrame:
    """`frame` with layers as they are called on an axis."""
    hook_names, labels = zip(*frame.index, strict=True)
    pairs = list(zip(labels_of(list(hook_names)), labels, strict=True))
    return frame.set_axis(pd.MultiIndex.from_tuples(pairs, names=["layer", "protocol"]))

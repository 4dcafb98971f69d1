"""The page about the protocol of a measurement: the same SAE, used in several ways (no torch)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from saecert.measurement.named import parse
from saecert.reporting.layers import labels_of
from saecert.statistics.paired import difference_limits

Losses = dict[str, np.ndarray]

GAP = "gap"
DIVERGENCE = "KL"
COUNTED = (GAP, DIVERGENCE)
"""What is compared between protocols: counted up to a cap, in bits per token."""


@dataclass(frozen=True)
class Protocol:
    """How an SAE is used when it is measured."""

    few: bool = False
    """Whether only a part of the latents that are active at a token may be."""
    bos: bool = False
    """Whether BOS is replaced like every other token."""
    short: bool = False
    """Whether sequences are cut down."""

    def __str__(self) -> str:
        """What differs from the usual protocol.

        >>> str(Protocol()), str(Protocol(few=True, bos=True))
        ('as trained', 'few + BOS')
        """
        parts = {"few": self.few, "BOS": self.bos, "short": self.short}
        return " + ".join(name for name, differs in parts.items() if differs) or "as trained"


USUAL = Protocol()
COMPARED = (
    Protocol(few=True),
    Protocol(bos=True),
    Protocol(short=True),
    Protocol(few=True, bos=True),
    Protocol(few=True, bos=True, short=True),
)
"""Each factor alone, two together, and all three."""


def studies_of(study: Any, cut: int) -> dict[tuple[bool, bool], Any]:
    """Studies of the same documents: with BOS replaced or not, and cut down to `cut` tokens or not.

    By the fields `bos` and `short` of the protocols that each serves.
    """
    ways = {(protocol.bos, protocol.short) for protocol in (USUAL, *COMPARED)}
    return {
        (bos, short): study.beside(exempt_bos=not bos, cut=cut if short else 0)
        for bos, short in sorted(ways)
    }


def losses_of(
    studies: Mapping[tuple[bool, bool], Any],
    hook_names: Sequence[str],
    few: int,
    k: int,
    alpha: float,
) -> dict[str, dict[Protocol, Losses]]:
    """Smoothed losses by hook point and protocol: "model", "SAE" and "pool" by sequence.

    With `few` active latents their proxy stands for the SAE. All hook points and protocols of one
    study come from one run.
    """
    losses: dict[str, dict[Protocol, Losses]] = {hook: {} for hook in hook_names}
    for way, study in studies.items():
        names = {protocol: _proxies(protocol, few, k) for protocol in _served(way)}
        proxies = [name for pair in names.values() for name in pair]
        settings = {"proxies": proxies, "alphas": [alpha]}
        measured = study.measure("spliced", hook_names=list(hook_names), **settings)
        for hook, arrays in measured.items():
            for protocol, pair in names.items():
                sae, pool = (arrays[parse(name).name][:, 0] for name in pair)
                losses[hook][protocol] = {"model": arrays["clean"][:, 0], "SAE": sae, "pool": pool}
    return {hook: _in_order(by_protocol) for hook, by_protocol in losses.items()}


def divergences_of(
    studies: Mapping[tuple[bool, bool], Any], hook_names: Sequence[str], few: int, alpha: float
) -> dict[str, dict[Protocol, np.ndarray]]:
    """KL(f || g) of smoothed predictions of each sequence, by hook point and protocol."""
    values: dict[str, dict[Protocol, np.ndarray]] = {hook: {} for hook in hook_names}
    for way, study in studies.items():
        names = {protocol: f"top({few})" if protocol.few else "full" for protocol in _served(way)}
        settings = {"proxies": list(names.values()), "alphas": [alpha]}
        measured = study.measure("divergence", hook_names=list(hook_names), **settings)
        for hook, arrays in measured.items():
            for protocol, name in names.items():
                values[hook][protocol] = arrays[name][:, 0]
    return {hook: _in_order(by_protocol) for hook, by_protocol in values.items()}


def _proxies(protocol: Protocol, few: int, k: int) -> tuple[str, str]:
    """Names of the SAE proxy and the pooled proxy."""
    top = f"top({few})"
    return (top, f"pooled({top}, {k})") if protocol.few else ("full", f"pool({k})")


def _served(way: tuple[bool, bool]) -> list[Protocol]:
    return [each for each in (USUAL, *COMPARED) if (each.bos, each.short) == way]


def _in_order(by_protocol: dict[Protocol, Any]) -> dict[Protocol, Any]:
    return {protocol: by_protocol[protocol] for protocol in (USUAL, *COMPARED)}


def quantities(losses: Losses, divergence: np.ndarray) -> dict[str, np.ndarray]:
    """Terms of the certificate and the divergence, by sequence."""
    return {
        "model risk": losses["model"],
        "proxy risk": losses["pool"],
        GAP: np.abs(losses["model"] - losses["SAE"]),
        "mismatch": np.abs(losses["SAE"] - losses["pool"]),
        DIVERGENCE: divergence,
    }


def means(
    records: Mapping[str, Mapping[Protocol, Losses]],
    divergences: Mapping[str, Mapping[Protocol, np.ndarray]],
) -> pd.DataFrame:
    """Sample means: a row a layer and protocol, a column a quantity."""
    rows = []
    for hook, label in zip(records, labels_of(list(records)), strict=True):
        for protocol, record in records[hook].items():
            values = quantities(record, divergences[hook][protocol])
            row = {name: float(sample.mean()) for name, sample in values.items()}
            rows.append({"layer": label, "protocol": str(protocol), **row})
    return pd.DataFrame(rows).set_index(["layer", "protocol"])


def changes(
    records: Mapping[str, Mapping[Protocol, Losses]],
    divergences: Mapping[str, Mapping[Protocol, np.ndarray]],
    *,
    cap: float,
    delta: float,
    inequality: str,
) -> pd.DataFrame:
    """How much larger each of `COUNTED` is than as trained, with limits, paired by document.

    **Guarantee.** With probability at least ``1 - delta`` all limits hold, for documents drawn
    i.i.d. and settings fixed beforehand. Values of a sequence count up to `cap`, so that the limits
    need not allow for catastrophes. Columns layer, protocol, quantity, mean, lower, upper.
    """
    n_limits = 2 * len(COUNTED) * sum(len(by) - 1 for by in records.values())
    nats = math.log(n_limits / delta)
    rows = []
    for hook, label in zip(records, labels_of(list(records)), strict=True):
        usual = quantities(records[hook][USUAL], divergences[hook][USUAL])
        for protocol, record in records[hook].items():
            if protocol == USUAL:
                continue
            changed = quantities(record, divergences[hook][protocol])
            for name in COUNTED:
                a = np.minimum(changed[name], cap)
                b = np.minimum(usual[name], cap)
                limits = difference_limits(a, b, (0.0, cap, 0.0, cap), nats, inequality)
                row = {"layer": label, "protocol": str(protocol), "quantity": name}
                row |= {"mean": float((a - b).mean())}
                rows.append({**row, "lower": float(limits[0]), "upper": float(limits[1])})
    return pd.DataFrame(rows)


def shown_changes(frame: pd.DataFrame, quantity: str) -> pd.DataFrame:
    """The rows of one quantity: a row a layer, three columns a protocol."""
    part = frame[frame["quantity"] == quantity]
    wide = part.pivot(index="layer", columns="protocol", values=["lower", "mean", "upper"])
    wide = wide.swaplevel(axis=1)
    order = [str(protocol) for protocol in COMPARED if str(protocol) in set(part["protocol"])]
    layers = list(dict.fromkeys(part["layer"]))
    columns = [(name, limit) for name in order for limit in ("lower", "mean", "upper")]
    return wide.reindex(layers)[columns]


def panels(frame: pd.DataFrame) -> pd.DataFrame:
    """What `saecert.reporting.figures.plot_layers` draws: a panel each for gap and divergence."""
    rows = frame[frame["quantity"].isin([GAP, DIVERGENCE])]
    titles = {GAP: "change of the gap", DIVERGENCE: "change of KL"}
    drawn = rows.assign(panel=rows["quantity"].map(titles), unit="bits per token")
    return drawn.assign(quantity=drawn["protocol"])

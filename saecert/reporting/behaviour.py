"""Limits on how differently proxies behave, for several SAEs at once (no torch)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from saecert.records import SequenceLosses
from saecert.statistics.inequalities import INEQUALITIES, uppers

QUANTITIES = {"total_variation": "total variation", "top1_disagreement": "top-1 disagreement"}
"""What a record says about behaviour, and its name in tables."""
WHOLE = "whole SAE"
ABLATIONS = {"mean": "mean ablation", "zero": "zero ablation"}


def behaviour_table(
    records: Mapping[str, SequenceLosses], *, delta: float = 0.05, inequality: str = "dirichlet"
) -> pd.DataFrame:
    """One row per SAE, quantity and proxy: mean and upper limit, all jointly true at `delta`.

    Columns: hook (the key of `records`), quantity, proxy ("whole SAE", "0.5 of latents", ...,
    "mean ablation", "zero ablation"), mean, upper. Every limit spends an equal share of delta.
    """
    rows = []
    values = []
    for hook, record in records.items():
        labels = _labels(record)
        for name, quantity in QUANTITIES.items():
            for proxy, label in labels.items():
                x = getattr(record, name)[proxy]
                values.append(x)
                row = {"hook": hook, "quantity": quantity, "proxy": label}
                rows.append(row | {"mean": float(x.mean())})
    nats = np.log(len(values) / delta)
    limits = uppers([(x, 0.0, 1.0, nats) for x in values], INEQUALITIES[inequality])
    return pd.DataFrame(rows).assign(upper=limits)


def against_ablations(
    records: Mapping[str, SequenceLosses], *, delta: float = 0.05, inequality: str = "dirichlet"
) -> pd.DataFrame:
    """The whole SAE minus each ablation, paired by sequence: limits jointly true at `delta`.

    Columns: hook, quantity, ablation, mean, lower, upper; below 0 the SAE is closer to the model.
    The upper limits hold jointly at `delta`, and the lower ones by themselves do. Empty where
    ablations were not measured.
    """
    rows = []
    values = []
    for hook, record in records.items():
        for name, quantity in QUANTITIES.items():
            table = getattr(record, name)
            for proxy in (proxy for proxy in ABLATIONS if proxy in table):
                x = table["full"] - table[proxy]
                values.append(x)
                row = {"hook": hook, "quantity": quantity, "ablation": ABLATIONS[proxy]}
                rows.append(row | {"mean": float(x.mean())})
    nats = np.log(max(len(values), 1) / delta)
    upper = INEQUALITIES[inequality]
    limits = [
        (-float(upper(-x, -1.0, 1.0, nats)), float(upper(x, -1.0, 1.0, nats))) for x in values
    ]
    columns = ["hook", "quantity", "ablation", "mean"]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.join(pd.DataFrame(limits, columns=["lower", "upper"], index=frame.index))


def _labels(record: SequenceLosses) -> dict[str, str]:
    """Names in tables of the proxies that were measured, from the whole SAE to zero ablation."""
    pools = [k for k in record.pool_sizes[::-1] if f"pool_{k}" in record.total_variation]
    shares = {f"pool_{k}": f"{k / record.d_sae:.3g} of latents" for k in pools}
    known = {"full": WHOLE, **shares, **ABLATIONS}
    return {name: label for name, label in known.items() if name in record.total_variation}

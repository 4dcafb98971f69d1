"""Under what circumstances something was measured: library versions, kind of machine, date."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from typing import Any

import torch

LIBRARIES = ("torch", "transformer_lens", "sae_lens", "transformers", "numpy")
"""Libraries whose versions are kept with a measurement."""

Circumstances = dict[str, Any]
"""``{"versions": {library: version}, "machine": {...}, "date": "2026-01-31"}``: plain JSON."""


def now(device: torch.device) -> Circumstances:
    """Circumstances of a measurement made now on `device`; the machine is described, not named."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    machine = {
        "processor": platform.machine(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "device": name,
    }
    today = datetime.now(UTC).date().isoformat()
    return {"versions": dict(_versions()), "machine": machine, "date": today}


def merged(several: Sequence[Circumstances]) -> Circumstances:
    """Circumstances of all of `several` together: each value as it was, or those there were.

    >>> first = {"versions": {"torch": "2.1"}, "machine": {}, "date": "2026-01-01"}
    >>> merged([first, first | {"versions": {"torch": "2.2"}}])["versions"]
    {'torch': '2.1, 2.2'}
    """
    dates = sorted({times["date"] for times in several})
    return {
        "versions": _joined([times["versions"] for times in several]),
        "machine": _joined([times["machine"] for times in several]),
        "date": ", ".join(dates),
    }


def _joined(tables: Sequence[Mapping[str, str]]) -> dict[str, str]:
    names = dict.fromkeys(name for table in tables for name in table)
    values = {name: {table[name] for table in tables if name in table} for name in names}
    return {name: ", ".join(sorted(some)) for name, some in values.items()}


@cache
def _versions() -> tuple[tuple[str, str], ...]:
    return tuple((name, metadata.version(name).split("+")[0]) for name in LIBRARIES)

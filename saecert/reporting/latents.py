"""What latents did on a sample, kept once for all kept records of these sequences and this SAE.

It is most of a record, hardly compresses, and does not depend on which proxies were measured. In
the records zeros stand in its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from saecert.records import SequenceLosses
from saecert.reporting.requests import Request, file_name
from saecert.storage import atomic_path, pack_arrays

ROWS = ("active", "l0")
"""Arrays of a record that say what latents did, a row a sequence."""
_PROXIES = ("quantity", "pools", "controls", "extra", "rank", "alphas", "n_seq", "n_discovery")


def put_aside(
    record: SequenceLosses, request: Request, folder: Path
) -> tuple[SequenceLosses, dict[str, str]]:
    """`record` with zeros for what its latents did, and the files of `folder` that hold it.

    By "sample" and "discovery". A file grows with the longest sample; where another processor
    decided otherwise on some latent, nothing is shared and the record keeps what it has.
    """
    files = {}
    name = _shared(record, request, folder)
    if name:
        files["sample"] = name
        record = _zeroed(record)
    seen = record.discovery
    if seen is not None and seen.losses is not None:
        name = _shared(seen.losses, {**request, "split": "discovery", "skip": 0}, folder)
        if name:
            files["discovery"] = name
            record = replace(record, discovery=replace(seen, losses=_zeroed(seen.losses)))
    return record, files


def put_back(record: SequenceLosses, files: Mapping[str, str], folder: Path) -> SequenceLosses:
    """The record as it was before `put_aside`. FileNotFoundError if a file is gone."""
    if "sample" in files:
        record = replace(record, **_read(folder / files["sample"], len(record)))
    seen = record.discovery
    if "discovery" in files and seen is not None and seen.losses is not None:
        rows = _read(folder / files["discovery"], len(seen.losses))
        record = replace(record, discovery=replace(seen, losses=replace(seen.losses, **rows)))
    return record


def _shared(record: SequenceLosses, request: Request, folder: Path) -> str | None:
    """Name of the file that now holds what latents did in all sequences of `record`."""
    sample = {key: value for key, value in request.items() if key not in _PROXIES}
    words = ["latents", sample["subject"], sample["hook_name"], sample["corpus"], sample["split"]]
    path = folder / f"{file_name(sample, words)}.npz"
    mine = {name: getattr(record, name) for name in ROWS}
    if path.exists():
        there = _read(path)
        common = min(len(record), len(there["l0"]))
        if any(_differ(mine[name][:common], there[name][:common]) for name in ROWS):
            return None
        if common == len(record):
            return path.name
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as partial:
        pack_arrays(partial, mine)
    return path.name


def _read(path: Path, n_seq: int | None = None) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name][:n_seq] for name in ROWS}


def _zeroed(record: SequenceLosses) -> SequenceLosses:
    return replace(record, **{name: np.zeros_like(getattr(record, name)) for name in ROWS})


def _differ(mine: np.ndarray, there: np.ndarray) -> bool:
    return mine.dtype != there.dtype or not np.array_equal(mine, there)

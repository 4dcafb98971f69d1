"""Simulated frames: made once, kept, and any cell can be made again (no torch)."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import multiprocessing
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import pandas as pd

from saecert.records import SequenceLosses
from saecert.reporting import measurements
from saecert.reporting.requests import Request, canonical, digest
from saecert.storage import atomic_path, cache_dir

SIMULATION_VERSION = 1
"""Raised whenever simulations may give other numbers: those kept before are not read."""

LONG = 10.0
"""Seconds after which the cells left are made side by side: new processes take some to start."""

CELL = "cell"
"""Column that says which cell of the simulation a row is from."""


def simulated(
    name: str,
    settings: Mapping[str, Any],
    build: Callable[..., Any],
    *,
    cells: Sequence[Mapping[str, Any]] = ({},),
    losses: SequenceLosses | None = None,
) -> pd.DataFrame:
    """The frame that `build` makes, cell by cell, kept or made now.

    ``build(**settings, **cell)`` returns rows (mappings, or a frame). The entries of the cell
    become columns, unless the rows have them; the column "cell" counts them. It must not depend on
    anything else: a function of the library is remembered by its name, so that a test can make
    random cells again.

    Parameters
    ----------
    name
        What the simulation is called in the name of its file.
    settings, cells
        JSON values: what all cells have in common, and what each has of its own.
    build
        A function of the library; one that is defined on a page is measured, but cannot be measured
        again by a test.
    losses
        Measured losses that `build` takes as its first argument.

    Raises
    ------
    TypeError
        Settings that are not JSON values.
    """
    request = simulation_request(name, settings, build, cells, losses)
    frame = measurements.find_frame(request)
    if frame is not None:
        return frame.drop(columns=CELL)
    frame = _made(request, build, settings, cells, losses)
    if measurements.measuring_anew():
        facts = {"losses": {} if losses is None else dict(losses.provenance)}
        measurements.save_frame(request, frame, facts)
    return frame.drop(columns=CELL)


def _made(
    request: Request,
    build: Callable[..., Any],
    settings: Mapping[str, Any],
    cells: Sequence[Mapping[str, Any]],
    losses: SequenceLosses | None,
) -> pd.DataFrame:
    """The rows of all cells; each cell is in the cache folder as soon as it is made.

    So whoever is interrupted goes on where it was, and another list of cells costs only new ones.
    """
    paths = [
        cache_dir() / f"simulated-{digest({**request, 'cells': [dict(cell)]}, 24)}.csv"
        for cell in cells
    ]
    missing = [(cell, path) for cell, path in zip(cells, paths, strict=True) if not path.exists()]
    _make_missing(build, settings, missing, losses)
    frames = [
        measurements.read_frame(path).assign(**{CELL: index}) for index, path in enumerate(paths)
    ]
    return pd.concat(frames, ignore_index=True)


def _make_missing(
    build: Callable[..., Any],
    settings: Mapping[str, Any],
    missing: Sequence[tuple[Mapping[str, Any], Path]],
    losses: SequenceLosses | None,
) -> None:
    """Make cells into their files, on all cores once they turn out to take long."""
    begun = time.monotonic()
    for position, (cell, path) in enumerate(missing):
        left = missing[position:]
        long = time.monotonic() - begun > LONG and function_named(name_of(build)) is not None
        if long and len(left) > 1 and (os.cpu_count() or 1) > 1:
            _make_side_by_side(build, settings, left, losses)
            return
        _make_file(build, settings, cell, path, losses)


def _make_side_by_side(
    build: Callable[..., Any],
    settings: Mapping[str, Any],
    missing: Sequence[tuple[Mapping[str, Any], Path]],
    losses: SequenceLosses | None,
) -> None:
    """Make cells in new processes; what is done stays when one fails or somebody interrupts."""
    context = multiprocessing.get_context("spawn")  # a page has threads, which no fork survives
    with ProcessPoolExecutor(min(len(missing), os.cpu_count() or 1), context) as pool:
        futures = [
            pool.submit(_make_file, build, settings, cell, path, losses) for cell, path in missing
        ]
        try:
            for future in as_completed(futures):
                future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _make_file(
    build: Callable[..., Any],
    settings: Mapping[str, Any],
    cell: Mapping[str, Any],
    path: Path,
    losses: SequenceLosses | None,
) -> None:
    made = make_cells(build, settings, [cell], [0], losses)
    with atomic_path(path) as partial:
        made.to_csv(partial, index=False, na_rep="nan")


def simulation_request(
    name: str,
    settings: Mapping[str, Any],
    build: Callable[..., Any],
    cells: Sequence[Mapping[str, Any]],
    losses: SequenceLosses | None,
) -> Request:
    """What determines a simulation's frame."""
    request: Request = {
        "name": name,
        "settings": dict(settings),
        "cells": [dict(cell) for cell in cells],
        "build": name_of(build),
        "losses": "" if losses is None else numbers_of(losses),
        "simulation_version": SIMULATION_VERSION,
    }
    canonical(request)
    return request


def make_cells(
    build: Callable[..., Any],
    settings: Mapping[str, Any],
    cells: Sequence[Mapping[str, Any]],
    chosen: Sequence[int],
    losses: SequenceLosses | None = None,
) -> pd.DataFrame:
    """The rows of some of the cells of a simulation, made now."""
    given = () if losses is None else (losses,)
    frames = []
    for index in chosen:
        rows = build(*given, **settings, **cells[index])
        frame = rows if isinstance(rows, pd.DataFrame) else pd.DataFrame(rows)
        entries = {key: value for key, value in cells[index].items() if key not in frame.columns}
        frames.append(frame.assign(**entries, **{CELL: index}))
    return pd.concat(frames, ignore_index=True)


def name_of(build: Callable[..., Any]) -> str:
    """``module:function`` for a function of the library, else its source."""
    module = getattr(build, "__module__", "") or ""
    if module.startswith("saecert.") and "<" not in build.__qualname__:
        return f"{module}:{build.__qualname__}"
    return inspect.getsource(build)


def function_named(name: str) -> Callable[..., Any] | None:
    """The function of the library that `name_of` named; None for one of a page."""
    module, sign, function = name.partition(":")
    if not sign or not module.startswith("saecert.") or "\n" in name:
        return None
    return getattr(importlib.import_module(module), function)


def numbers_of(losses: SequenceLosses) -> str:
    """Hash of the measured losses alone: another machine's provenance makes no other simulation."""
    hashed = hashlib.sha256()
    for name, values in sorted(losses.loss.items()):
        hashed.update(name.encode() + values.tobytes())
    return hashed.hexdigest()[:24]

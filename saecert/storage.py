"""Where files go, and how they get there whole: a cache folder and atomic writes."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from platformdirs import user_cache_dir
from tqdm import tqdm

BARS = "SAECERT_BARS"
"""Environment variable: file to which progress bars are drawn instead of the terminal."""


def cache_dir() -> Path:
    """Folder for what can be recomputed: ``$SAECERT_CACHE``, else the user's cache folder. Created
    if missing.
    """
    path = Path(os.environ.get("SAECERT_CACHE") or user_cache_dir("saecert"))
    path.mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Path of a temporary file in `path`'s folder that replaces `path` when the block succeeds.

    A reader never sees a half-written file, and a failed or interrupted write leaves the old one.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    os.close(handle)
    try:
        yield Path(name)
        os.chmod(name, 0o644)  # temporary files are private, results are not
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


def cached_arrays(
    name: str, key: str, build: Callable[[], Mapping[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """Arrays that `build` returns, kept in the cache folder under `name` and a hash of `key`:
    everything that determines them.
    """
    path = cache_dir() / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz"
    if not path.exists():
        with atomic_path(path) as partial:
            np.savez_compressed(partial, **build())
    with np.load(path) as saved:
        return dict(saved)


def progress_bar(*args: Any, **options: Any) -> tqdm:
    """A bar of tqdm, for every loop that may take long.

    Where ``$SAECERT_BARS`` names a file it is drawn there, even if it was switched off: a page
    shows no bar, and the run to which it belongs tells what the file says.
    """
    place = os.environ.get(BARS)
    if place:
        options = {**options, "disable": False, "file": _bars(place), "mininterval": 0.5}
    return tqdm(*args, **options)


@cache
def _bars(place: str) -> TextIO:
    """The file of bars, open until the process ends."""
    return open(place, "w", encoding="utf-8")

"""Where files go, and how they get there whole: a cache folder and atomic writes."""

from __future__ import annotations

import hashlib
import json
import math
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
    """Folder for what can be recomputed: ``$SAECERT_CACHE``, else the user's cache folder.

    Created if missing.
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
    """Arrays that `build` returns, kept in the cache folder under `name` and a hash of `key`.

    The key is everything that determines them.
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


_INTEGERS = range(-(2**63), 2**64)


def read_json(path: str | Path, *, max_bytes: int = 1 << 20, max_depth: int = 32) -> Any:
    """What a JSON file holds, read strictly: it may come from anybody.

    Refused are files larger than `max_bytes`, lists and objects nested deeper than `max_depth`,
    a key that stands twice in one object, NaN and infinity, integers of more than 64 bits, numbers
    that overflow a double, and text that is not UTF-8 or cannot be written as such.

    Raises
    ------
    ValueError
        For all of these, in one line that begins with the path.
    OSError
        If the file cannot be read.
    """
    with Path(path).open("rb") as stream:
        content = stream.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise ValueError(f"{path} is larger than the {max_bytes:,} bytes that such a file may have")
    try:
        value = json.loads(
            content.decode("utf-8"),
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_number,
            parse_constant=_number,
        )
        _check_values(value, max_depth)
    except RecursionError:
        raise ValueError(f"{path} is nested more than {max_depth} deep") from None
    except ValueError as error:
        raise ValueError(f"{path} is not a whole JSON file ({error})") from error
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{repeated[:40]!r} stands twice in one object")
    return members


def _integer(digits: str) -> int:
    if len(digits) > 20 or int(digits) not in _INTEGERS:
        raise ValueError(f"the number {digits[:12]}... has more than 64 bits")
    return int(digits)


def _number(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits[:12]} is not a finite number")
    return number


def _check_values(value: Any, max_depth: int) -> None:
    """Raise ValueError for what is nested too deep, and for text with half a surrogate pair."""
    level = [value]
    for _ in range(max_depth + 1):
        names = [name for item in level if isinstance(item, dict) for name in item]
        for text in [*names, *(item for item in level if isinstance(item, str))]:
            if not text.isascii():
                text.encode("utf-8")
        inner = [
            item.values() if isinstance(item, dict) else item
            for item in level
            if isinstance(item, (dict, list))
        ]
        if not inner:
            return
        level = [item for items in inner for item in items]
    raise ValueError(f"nested more than {max_depth} deep")

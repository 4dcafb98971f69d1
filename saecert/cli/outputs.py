"""Files that a command writes: told before anything is measured if they cannot be, or must not."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path

_MOST = 2**24
"""Bytes up to which a file is looked into; certificates are smaller."""
_REPORT = ("<!doctype html>", "<title>Certificate of ")
_OURS = {".json": "certificate", ".npz": "losses file", ".html": "report"}
"""What is written, and may be written again, by suffix."""


def check_outputs(json: str | None, html: str | None, inputs: Sequence[str | Path] = ()) -> None:
    """Nothing, if both files, and the losses beside the first, can be what they are asked to be.

    `inputs` are files that are read. A file that is there is replaced only if it is one of its
    kind, or empty.

    Raises
    ------
    ValueError
        Another suffix, a folder, a place that cannot be written to, one of `inputs`, or another
        file that something else has written.
    """
    for option, place, suffix in (("--json", json, ".json"), ("--html", html, ".html")):
        if place is None:
            continue
        path = Path(place)
        if path.suffix.lower() != suffix:
            raise ValueError(f"{option} names a file that ends in {suffix}, got '{place}'")
        if path.is_dir():
            raise ValueError(f"{option} names a file, and '{place}' is a folder")
        there = next(above for above in path.absolute().parents if above.exists())
        if not there.is_dir():
            raise ValueError(f"{option} '{place}': '{there}' is a file, not a folder")
        if not os.access(there, os.W_OK | os.X_OK):
            raise ValueError(f"{option} '{place}': the folder '{there}' cannot be written to")
        _check_free(f"{option} '{place}'", path, suffix, inputs)
        if suffix == ".json":
            beside = losses_beside(place)
            told = f"{option} '{place}' puts its losses into '{beside}', which"
            _check_free(told, beside, ".npz", inputs)


def losses_beside(certificate: str | Path) -> Path:
    """Where the losses behind a certificate are, unless told otherwise."""
    return Path(certificate).with_suffix(".npz")


def _check_free(told: str, path: Path, suffix: str, inputs: Sequence[str | Path]) -> None:
    """Raise ValueError where a file that is there must not be replaced; `told` begins it."""
    if not path.exists():
        return
    if path.is_dir():
        raise ValueError(f"{told} is a folder: name another file")
    if any(Path(given).is_file() and path.samefile(given) for given in inputs):
        raise ValueError(f"{told} is a file that is read: name another one, it would be lost")
    if path.stat().st_size and not _is_ours(path, suffix):
        raise ValueError(
            f"{told} is there and is no {_OURS[suffix]} of saecert: move it or name another file, "
            "it would be lost"
        )


def _is_ours(path: Path, suffix: str) -> bool:
    """Whether a file is of the kind that is written under its suffix."""
    try:
        if suffix == ".npz":
            with zipfile.ZipFile(path) as archive:
                return {"header.npy", "ids.npy"} <= set(archive.namelist())
        with path.open(encoding="utf-8") as stream:
            text = stream.read(_MOST)
        if suffix == ".html":
            return text.startswith(_REPORT[0]) and _REPORT[1] in text[:1000]
        content = json.loads(text)
    except (OSError, ValueError, RecursionError, zipfile.BadZipFile):
        return False
    return isinstance(content, dict) and {"schema", "delta", "n_seq"} <= content.keys()

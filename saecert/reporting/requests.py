"""What a kept measurement answers: everything that determines its numbers, found out without torch.

A request is a flat mapping of JSON values. Two measurements with equal requests have equal numbers,
up to the instruction set of the processor.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from saecert.corpora.docstrings import RECIPE, package_versions
from saecert.measurement.version import MEASUREMENT_VERSION
from saecert.reporting.settings import ENDLESS, INSTALLED, shipped_folder

Request = dict[str, Any]
"""Names and JSON values."""

REPEATABLE = (*INSTALLED, ENDLESS[0])
"""Sources of text that everyone who has the clone has."""
ALPHAS = (0.5, 0.01)
"""Smoothing weights at which losses are always recorded."""


def can_be_kept(subject: str, sae: str, corpus: str, device: str, extra: Iterable[Any]) -> bool:
    """Whether everyone who has the clone could ask for the same, and measure it again."""
    shipped = shipped_folder(subject) is not None and not sae
    named = all(isinstance(proxy, str) for proxy in extra)
    return shipped and corpus in REPEATABLE and device == "cpu" and named


def sample_request(
    subject: str, corpus: str, split: str, n_ctx: int, bos: bool | None, skip: int
) -> Request:
    """Which sequences, but for their number: the language model, the text and how it is cut up."""
    versions = package_versions() if corpus in INSTALLED else {}
    return {
        "subject": subject,
        "model_files": _hash_of_files(_model_files(subject)),
        "corpus": corpus,
        "recipe": RECIPE if corpus in INSTALLED else 0,
        "packages": versions,
        "split": split,
        "n_ctx": n_ctx,
        "bos": bos,
        "skip": skip,
        "measurement_version": MEASUREMENT_VERSION,
    }


def sae_request(subject: str, hook_name: str) -> Request:
    """Which SAE: its hook point and the hash of its files."""
    folder = shipped_folder(subject)
    assert folder is not None
    return {"hook_name": hook_name, "sae_files": _hash_of_files((folder / "saes" / hook_name,))}


def canonical(request: Mapping[str, Any]) -> str:
    """The request as text, the same for equal requests."""
    return json.dumps(request, sort_keys=True, separators=(",", ":"))


def digest(request: Mapping[str, Any], length: int = 8) -> str:
    """The beginning of the request's SHA-256."""
    return hashlib.sha256(canonical(request).encode()).hexdigest()[:length]


def file_name(request: Mapping[str, Any], words: Iterable[object]) -> str:
    """A name that people can read, and that no other request has: `words` and a hash."""
    readable = "-".join(str(word) for word in words if str(word))
    plain = re.sub(r"[^\w.-]+", "-", readable).strip("-")
    return f"{plain}-{digest(request)}"


def _model_files(subject: str) -> tuple[Path, ...]:
    folder = shipped_folder(subject)
    assert folder is not None
    suffixes = (".json", ".safetensors")
    files = (path for path in folder.iterdir() if path.suffix in suffixes)
    return tuple(sorted(path for path in files if path.name != "card.json"))


@cache
def _hash_of_files(paths: tuple[Path, ...]) -> str:
    """SHA-256 of the names and contents of files, and of those in folders."""
    files = [
        file for path in paths for file in (sorted(path.iterdir()) if path.is_dir() else [path])
    ]
    hashed = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            content = hashlib.file_digest(stream, "sha256").hexdigest()
        hashed.update(f"{file.name} {content}\n".encode())
    return hashed.hexdigest()

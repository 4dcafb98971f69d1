"""The files that a book offers for download: each once, and not more than it can carry."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from shutil import copyfile
from typing import Any

from saecert.certificates.certificate import certify
from saecert.records import SequenceLosses
from saecert.reporting import measurements
from saecert.reporting.kept import certificate_name, losses_name
from saecert.reporting.layers import labels_of
from saecert.reporting.notes import DIGITS
from saecert.reporting.requests import Request

FOLDER = "downloads"
"""Where the files lie, beside the pages' folder."""
LIMIT = 25_000_000
"""Bytes of all files of a book."""
QUANTITIES = {"built": "measured on SAEs trained here"}
"""What measured quantities are called, where their own name says little."""


@dataclass(frozen=True)
class Losses:
    """Losses that a page read, as the book offers them."""

    file: str
    """Name of the file."""
    record: SequenceLosses
    """What is in it."""
    facts: Mapping[str, str]
    """What tells it from others, in words."""


class Shelf:
    """The files of one book.

    Parameters
    ----------
    source
        Folder of the book's sources; files go to `FOLDER` in it.
    limit
        Bytes that they may have together. What would be too much is not offered, and it is said.
    """

    def __init__(self, source: Path, limit: int = LIMIT) -> None:
        self.folder = source / FOLDER
        self.folder.mkdir(exist_ok=True)
        self.left = limit
        self._refused: set[str] = set()
        self._read: dict[str, Losses | None] = {}
        self._made: dict[str, str] = {}

    def put(self, name: str, write: Callable[[Path], Any]) -> bool:
        """Whether the file is there, after `write` wrote it if it was not."""
        path = self.folder / name
        if not path.exists() and name not in self._refused:
            write(path)
            if path.stat().st_size > self.left:
                path.unlink()
                self._refused.add(name)
                print(f"{name}: not offered, the files to download are large enough without it")
            else:
                self.left -= path.stat().st_size
        return path.exists()

    def losses(self, note: Mapping[str, Any]) -> Losses | None:
        """The losses that a page noted, written if they were not; None if they are not kept."""
        key = f"{note['file']} {note['fingerprint']}"
        if key not in self._read:
            self._read[key] = self._losses(note)
        return self._read[key]

    def _losses(self, note: Mapping[str, Any]) -> Losses | None:
        plain = json.loads(json.dumps(note))
        about = ("kind", "file", "line", "fingerprint")
        parts = {key: value for key, value in plain.items() if key not in about}
        found = measurements.read_part(plain["file"], parts)
        if found is None:
            return None
        record, request = found
        fingerprint = record.fingerprint()
        if fingerprint[:DIGITS] != plain["fingerprint"]:  # measured anew since
            return None
        name = f"{losses_name(record.provenance, fingerprint)}.npz"
        facts = {**facts_of(request), "rank": f"ranked by {request['rank']}"}
        facts["n"] = f"{len(record)} sequences"
        return Losses(name, record, facts) if self.put(name, record.save) else None

    def certificate(self, losses: Losses, settings: Mapping[str, Any]) -> str:
        """Name of the file of a certificate of these losses; "" where none can be had."""
        key = f"{losses.file} {json.dumps(settings, sort_keys=True)}"
        if key not in self._made:
            self._made[key] = ""
            try:
                certificate = certify(losses.record, **settings)
            except ValueError as error:
                print(f"{losses.file}: no certificate to download: {error}")
                return ""
            name = f"{certificate_name(certificate)}.json"
            self._made[key] = name if self.put(name, certificate.save) else ""
        return self._made[key]

    def copied(self, name: str) -> dict[str, str]:
        """Facts about the kept file of this name, copied here; none if it is not kept any more."""
        path = measurements.folder() / name
        side = path.with_suffix(".json")
        if not (path.exists() and side.exists() and self.put(name, partial(copyfile, path))):
            return {}
        request = json.loads(side.read_text(encoding="utf-8"))["request"]
        if path.suffix == ".csv":
            return {"name": f"simulated {request['name'].replace('_', ' ')} (CSV)"}
        quantity = request["quantity"]
        return {"name": QUANTITIES.get(quantity, quantity.replace("_", " ")), **facts_of(request)}


def facts_of(request: Request) -> dict[str, str]:
    """What tells measurements from one another, in words."""
    (layer,) = labels_of([request["hook_name"]])
    facts = {"subject": request["subject"], "layer": f"layer {layer}"}
    facts |= {key: request[key] for key in ("corpus", "split")}
    return {**facts, "bos": "without BOS" if request["bos"] is False else "with BOS"}


def link(text: str, name: str) -> str:
    """A link that downloads a file, for a page in the folder of pages."""
    return f"{{download}}`{text} <../{FOLDER}/{name}>`"

"""What a page reads of what is kept, and which certificates it makes, noted while it is executed.

The runner puts the notes into the cells of the executed notebook, and the book offers what stands
behind a figure below it (`saecert.reporting.downloads`).
"""

from __future__ import annotations

import inspect
import json
import os
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from saecert.records import SequenceLosses

if TYPE_CHECKING:
    from nbformat import NotebookNode

    from saecert.certificates.certificate import Certificate

NOTES = "SAECERT_NOTES"
"""Environment variable: file to which a page that is being executed notes what it reads."""
KEY = "saecert"
"""Under which a cell's metadata has the notes: lists "read" and "certified"."""
DIGITS = 16
"""Of a fingerprint, as it is noted."""

_read: list[dict[str, Any]] = []  # by the cell that is being run
_known: set[str] = set()  # fingerprints of the losses that the page has read
_noted: set[str] = set()  # certificates that were noted


def note_losses(path: Path, parts: Mapping[str, Any], record: SequenceLosses) -> None:
    """Note that the page reads a kept record, or a part of it; where no page runs, do nothing.

    Parameters
    ----------
    path
        The kept file.
    parts
        What of its request was asked for otherwise, such as ``{"n_seq": 500}``.
    record
        What was read. Certificates of it that the page makes are noted from now on.
    """
    if not _wanted():
        return
    fingerprint = record.fingerprint()
    _known.add(fingerprint)
    note_file("losses", path, fingerprint=fingerprint[:DIGITS], **parts)


def note_file(kind: str, path: Path, **facts: Any) -> None:
    """Note that the page reads a kept file: "losses", "arrays" or "frame", with facts about it."""
    if _wanted():
        shell = _shell()
        _read.append({"line": _line(shell), "kind": kind, "file": path.name, **facts})
        if _cell_ended not in shell.events.callbacks["post_run_cell"]:
            shell.events.register("post_run_cell", _cell_ended)


def with_notes(notebook: NotebookNode, text: str) -> None:
    """Put the notes of one execution, a JSON object a line, into the cells that they are about."""
    notes: dict[int, dict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))
    for line in text.splitlines():
        note = json.loads(line)
        what = notes[note.pop("cell")]["read" if "file" in note else "certified"]
        if note not in what:
            what.append(note)
    for cell in notebook.cells:
        if cell.cell_type == "code" and cell.execution_count in notes:
            cell.metadata[KEY] = notes[cell.execution_count]


def settings_that_differ(certificate: Certificate) -> dict[str, Any]:
    """The settings of a certificate that are not the defaults of `saecert.certify`."""
    settings = certificate.settings.items()
    return {name: value for name, value in settings if value != default_of(name)}


def default_of(name: str) -> Any:
    """The default of a setting of `saecert.certify`, as JSON has it."""
    from saecert.certificates.certificate import certify

    default = inspect.signature(certify).parameters[name].default
    return list(default) if isinstance(default, tuple) else default


def _wanted() -> bool:
    return NOTES in os.environ and _shell() is not None


def _shell() -> Any:
    """The shell of the kernel in which this runs; None outside."""
    from IPython import get_ipython

    return get_ipython()


def _line(shell: Any) -> int:
    """Line of the cell that is being run."""
    line = 0
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_globals is shell.user_global_ns:
            line = frame.f_lineno  # the last one found is that of the cell itself
        frame = frame.f_back
    return line


def _cell_ended(result: Any) -> None:
    """Write what the cell read, and the certificates of losses read so far that the page now has.

    How many cells were run is known only now: shells differ in when they count.
    """
    with Path(os.environ[NOTES]).open("a", encoding="utf-8") as stream:
        for note in (*_read, *_certified(_shell().user_ns)):
            stream.write(json.dumps({"cell": result.execution_count, **note}) + "\n")
    _read.clear()


def _certified(names: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What is to be noted of certificates among the variables of a page: each once."""
    for variable, value in list(names.items()):
        for one in [] if variable.startswith("_") else _certificates(value):
            settings = settings_that_differ(one)
            key = f"{variable} {one.fingerprint} {json.dumps(settings)}"
            if one.fingerprint in _known and key not in _noted:
                _noted.add(key)
                fingerprint = one.fingerprint[:DIGITS]
                yield {"variable": variable, "fingerprint": fingerprint, "settings": settings}


def _certificates(value: Any, depth: int = 2) -> Iterator[Certificate]:
    """Certificates in a value of a page: itself, or in lists, tuples and dictionaries."""
    from saecert.certificates.certificate import Certificate

    if isinstance(value, Certificate):
        yield value
    elif depth and isinstance(value, dict | list | tuple):
        for part in list(value.values()) if isinstance(value, dict) else value:
            yield from _certificates(part, depth - 1)

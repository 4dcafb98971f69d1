"""Files from anybody, read strictly: JSON and archives whose content is known before it is read."""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np


def printable(text: str) -> str:
    r"""A text as a terminal can show it: what is not printable, a line break too, is escaped.

    Examples
    --------
    >>> print(printable("a\x1b[2J"))
    a\x1b[2J
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def one_line(error: Exception) -> str:
    """An error as a line that a terminal can show: files from anybody are quoted in it."""
    words = " ".join((str(error) or type(error).__name__).split())
    shown = printable(words)
    return shown if len(shown) <= 1000 else f"{shown[:1000]}..."


def parse_json(text: str, *, max_depth: int = 32) -> Any:
    """What a JSON text says, read strictly: it may come from anybody.

    Raises
    ------
    ValueError
        It is no JSON; a name comes twice in one object (people read the first value, programs the
        last); a number is not finite or an integer of more than 64 bits; it is nested deeper than
        `max_depth`; or it has a character that is half of one.
    """
    try:
        value = json.loads(
            text,
            object_pairs_hook=_each_once,
            parse_int=_small_integer,
            parse_float=_finite_number,
            parse_constant=_finite_number,
        )
    except RecursionError:
        raise ValueError(f"nested deeper than {max_depth}") from None
    level = [value]
    for _ in range(max_depth):
        for word in level:
            if isinstance(word, str):
                word.encode("utf-8")
        level = [child for node in level for child in _children(node)]
        if not level:
            return value
    raise ValueError(f"nested deeper than {max_depth}")


def read_json(path: str | Path, *, max_bytes: int = 1 << 20, max_depth: int = 32) -> Any:
    """What a JSON file of at most `max_bytes` says, read by `parse_json`.

    Raises
    ------
    ValueError
        The file is larger, is not UTF-8, or is refused by `parse_json`: one line that begins with
        the path.
    OSError
        It cannot be read.
    """
    with Path(path).open("rb") as stream:
        content = stream.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise ValueError(f"{path} is larger than the {max_bytes:,} bytes that such a file may have")
    try:
        return parse_json(content.decode("utf-8"), max_depth=max_depth)
    except ValueError as error:
        raise ValueError(f"{path} is not a whole JSON file ({error})") from error


def _children(node: Any) -> list[Any]:
    if isinstance(node, dict):
        return [*node, *node.values()]
    return node if isinstance(node, list) else []


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for name, value in pairs:
        if name in table:
            raise ValueError(f"{name[:40]!r} comes twice in one object")
        table[name] = value
    return table


def _small_integer(digits: str) -> int:
    if len(digits) > 20 or not -(2**63) <= int(digits) < 2**64:
        raise ValueError(f"the integer {digits[:12]}... has more than 64 bits")
    return int(digits)


def _finite_number(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits[:12]} is not a finite number")
    return number


class Archive:
    """An ``.npz`` file from anybody: what it holds is known, and may be refused, before it is read.

    Parameters
    ----------
    path
        The file. Arrays of objects, packed arrays whose size is not the one declared, and anything
        that is no array are refused on opening, by name; nothing of them is unpacked but a header.
    known
        Whether an array of this name belongs in the file.
    required
        Name of the array without which the file is another one.
    max_bytes
        Most bytes that all arrays together may have when unpacked.

    Raises
    ------
    ValueError
        The file is no whole archive, or one of the above; without the path, which the caller knows.
    """

    def __init__(
        self,
        path: str | Path,
        known: Callable[[str], bool],
        *,
        required: str,
        max_bytes: int = 2**32,
    ) -> None:
        self.path = Path(path)
        self.declared: dict[str, tuple[tuple[int, ...], np.dtype]] = {}
        with self._opened() as archive:
            if f"{required}.npy" not in archive.namelist():
                raise ValueError(f"its {required} is missing")
            total = 0
            for member in archive.infolist():
                name = _array_name(member, known)
                if name in self.declared:
                    raise ValueError(f"{name!r} is in it twice")
                total += member.file_size
                if total > max_bytes:
                    raise ValueError(f"its arrays have more than {max_bytes:,} bytes")
                self.declared[name] = _declared(archive, member)

    def read(self) -> dict[str, np.ndarray]:
        """Every array by name."""
        with self._opened() as archive:
            return {name: self._read(archive, name) for name in self.declared}

    def read_one(self, name: str) -> np.ndarray:
        """One array."""
        with self._opened() as archive:
            return self._read(archive, name)

    @contextmanager
    def _opened(self) -> Iterator[zipfile.ZipFile]:
        try:
            with self.path.open("rb") as stream, zipfile.ZipFile(stream) as archive:
                yield archive
        except (FileNotFoundError, ValueError):
            raise
        except Exception as error:  # zipfile, zlib and struct raise their own types
            raise ValueError(str(error) or type(error).__name__) from error

    def _read(self, archive: zipfile.ZipFile, name: str) -> np.ndarray:
        with archive.open(f"{name}.npy") as stream:
            array = np.lib.format.read_array(stream, allow_pickle=False)
            stream.read(1)  # at the end of the member its checksum is compared
        if (array.shape, array.dtype) != self.declared[name]:
            raise ValueError(f"{name!r} changed while it was read")
        return array


def _array_name(member: zipfile.ZipInfo, known: Callable[[str], bool]) -> str:
    name = member.filename.removesuffix(".npy")
    if name == member.filename or not known(name):
        raise ValueError(f"{member.filename[:60]!r} does not belong in it")
    if member.flag_bits & 1 or member.compress_type not in (
        zipfile.ZIP_STORED,
        zipfile.ZIP_DEFLATED,
    ):
        raise ValueError(f"{name!r} is packed in an unknown way")
    return name


def _declared(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo
) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type that the header of an array declares, if they fit its size in the archive."""
    with archive.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        readers = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }
        if version not in readers:
            raise ValueError(f"{member.filename!r} is of an unknown format")
        shape, _, dtype = readers[version](stream)
        header = stream.tell()
    if dtype.hasobject:
        raise ValueError(f"{member.filename!r} holds objects, not numbers")
    if any(size < 0 for size in shape) or (
        math.prod(shape) * dtype.itemsize != member.file_size - header
    ):
        raise ValueError(f"{member.filename!r} has another size than it declares")
    return shape, dtype

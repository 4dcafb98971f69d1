"""Documents in files: text, JSON lines, JSON arrays and tables, also compressed."""

from __future__ import annotations

import bz2
import glob
import gzip
import io
import json
import lzma
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import datasets
import pyarrow

from saecert.storage import cache_dir, partial_folder

KINDS = {
    "": "text",
    ".txt": "text",
    ".text": "text",
    ".md": "text",
    ".rst": "text",
    ".tex": "text",
    ".log": "text",
    ".py": "text",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
    ".csv": "csv",
    ".arrow": "arrow",
}
"""How a file is read, by its suffix in lower case without that of its compression."""


def _open_zstd(path: Path) -> Any:
    if not pyarrow.Codec.is_available("zstd"):
        raise ValueError(f"{path} needs a pyarrow with zstd: decompress it first")
    return pyarrow.input_stream(str(path), compression="zstd")


_OPENERS: dict[str, Callable[[Path], Any]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
    ".zst": _open_zstd,
}
_DAMAGE = (EOFError, OSError, zlib.error, lzma.LZMAError)
_CHUNK = 1 << 20


def kind_of(path: Path) -> str | None:
    """How a file is read, by its suffix before that of its compression; None if it is not.

    Examples
    --------
    >>> kind_of(Path("texts.JSONL.gz"))
    'jsonl'
    """
    suffix = path.suffix.lower()
    if suffix in _OPENERS:
        suffix = Path(path.stem).suffix.lower()
    return KINDS.get(suffix)


def read_rows(path: Path) -> list[tuple[int, Any]]:
    """Number and content of every row of a file: a string, or the row of a table.

    The kind goes by the suffix in upper or lower case: a document a line in ``.txt``, ``.text``,
    ``.md``, ``.rst``, ``.tex``, ``.log``, ``.py`` and files without suffix, which are UTF-8; a JSON
    value a line in ``.jsonl`` and ``.ndjson``; an array of documents in ``.json``; a document a row
    in ``.csv``, ``.parquet`` and ``.arrow``. ``.gz``, ``.bz2``, ``.xz`` and ``.zst`` may follow.

    Raises
    ------
    FileNotFoundError
        No such file.
    ValueError
        Another kind of file, or one that is damaged; the message says where.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"no text at '{path}': give a file, a list of strings, \"hf:org/name\" or the name of "
            "a source"
        )
    kind = kind_of(path)
    compression = path.suffix.lower() if path.suffix.lower() in _OPENERS else ""
    if kind is None:
        raise ValueError(
            f"{path} is of a kind that is not read: give {', '.join(filter(None, KINDS))}, or any "
            f"of these with {', '.join(_OPENERS)}"
        )
    if kind in ("text", "jsonl", "json"):
        text = _decoded(path, kind, _content(path, compression))
        readers = {"text": _lines, "jsonl": _json_lines, "json": _json_array}
        return readers[kind](path, text)
    with _decompressed(path, compression) as plain:
        return _table(path, plain, kind)


def stream(path: str, **options: Any) -> Iterable[Any]:
    """Rows of a dataset, as the library datasets streams them."""
    # it would report every local file that is read
    datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False
    folder = str(cache_dir() / "datasets")
    return datasets.load_dataset(path, streaming=True, cache_dir=folder, **options)


def _content(path: Path, compression: str) -> bytes:
    """All bytes of a file, decompressed."""
    read = bytearray()
    try:
        with _OPENERS[compression](path) if compression else path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                read += chunk
    except _DAMAGE as error:
        line = read.count(b"\n") + 1
        raise ValueError(
            f"{path}, line {line}: damaged or truncated {compression} ({error}): get it again"
        ) from error
    return bytes(read)


@contextmanager
def _decompressed(path: Path, compression: str) -> Iterator[Path]:
    """A file to read tables from: itself, or a temporary one."""
    if not compression:
        yield path
        return
    with partial_folder(cache_dir()) as folder:
        plain = folder / path.stem
        try:
            with _OPENERS[compression](path) as packed, plain.open("wb") as file:
                shutil.copyfileobj(packed, file, _CHUNK)
        except _DAMAGE as error:
            raise ValueError(
                f"{path}: damaged or truncated {compression} ({error}): get it again"
            ) from error
        yield plain


def _decoded(path: Path, kind: str, content: bytes) -> str:
    """Text without its byte order mark; ValueError names the first line that is none."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{path} cannot be read as {kind} (line {line}: {error}): repair or convert it, "
            "text to UTF-8"
        ) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise ValueError(f"{path}, line {line}: a zero byte: this is no text")
    return text


def _lines(path: Path, text: str) -> list[tuple[int, Any]]:
    """Lines of text; ValueError for a PDF, which may be all ASCII."""
    if text.startswith("%PDF-"):
        raise ValueError(f"{path} is a PDF: extract its text first")
    # universal newlines, and only these: splitlines would also cut at form feeds
    lines = io.StringIO(text, newline=None)
    return [(number, line.rstrip("\n")) for number, line in enumerate(lines, 1)]


def _json_lines(path: Path, text: str) -> list[tuple[int, Any]]:
    """A JSON value a line."""
    rows = []
    for number, line in _lines(path, text):
        if not line.strip():
            continue
        try:
            rows.append((number, json.loads(line)))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}, line {number}: not JSON ({error})") from error
    return rows


def _json_array(path: Path, text: str) -> list[tuple[int, Any]]:
    """Elements of the one array in the file; a file of JSON lines is taken as that.

    Raises
    ------
    ValueError
        Not JSON, or something else than an array.
    """
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise ValueError(f"{path}: not JSON (nested too deeply)") from error
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            return _json_lines(path, text)
        raise ValueError(f"{path}, line {error.lineno}: not JSON ({error})") from error
    if isinstance(value, dict) and "\n" not in text.strip():
        return [(1, value)]  # JSON lines of which there is one
    if not isinstance(value, list):
        raise ValueError(
            f"{path} holds a {type(value).__name__}: expected an array of documents, or .jsonl"
        )
    return list(enumerate(value, 1))


def _table(path: Path, plain: Path, kind: str) -> list[tuple[int, Any]]:
    """Rows of a table."""
    try:
        rows = list(stream(kind, data_files=glob.escape(str(plain)), split="train"))
    except (ValueError, OSError, pyarrow.ArrowException) as error:
        raise ValueError(
            f"{path} cannot be read as {kind} ({error}): repair or convert it, text to UTF-8"
        ) from error
    return list(enumerate(rows, 1))

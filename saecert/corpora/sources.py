"""Documents from wherever they are: files, the Hugging Face hub, lists of strings."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from huggingface_hub import HfApi, constants
from huggingface_hub.errors import HTTPError

from saecert.corpora.files import kind_of, read_rows, stream
from saecert.subjects.hub import HUB, patience

HUB_OPTIONS = {"config": None, "split": "train", "revision": None, "documents": "20000"}
"""What may follow the name of a dataset on the hub, and its default:
``"hf:org/name?config=en&documents=5000"``."""


def read_texts(
    source: str | Path | Sequence[str], column: str, group_column: str = ""
) -> tuple[str, list[str], list[str]]:
    """Name of a source, its documents in order, without empty ones, and the group of each.

    There are no groups without `group_column`.

    Raises
    ------
    ValueError
        No text, or something that is none, or a document without a group where one is asked for;
        the message says where.
    FileNotFoundError
        No such file.
    """
    if not isinstance(source, (str, Path)):
        name = "texts given"
        rows = [(f"{name}, document {n}", text) for n, text in enumerate(source, 1)]
        texts = [_checked(text, where) for where, text in rows]
    elif str(source).startswith(HUB):
        name, found = hub_rows(str(source))
        rows = [(f"{name}, line {n}", row) for n, row in enumerate(found, 1)]
        texts = [_text(row, where, column) for where, row in rows]
    else:
        path = Path(source)
        name = path.name
        unit = "element" if kind_of(path) == "json" else "line"
        rows = [(f"{path}, {unit} {n}", row) for n, row in read_rows(path)]
        texts = [_text(row, where, column) for where, row in rows]
    filled = [n for n, text in enumerate(texts) if text.strip()]
    if not filled:
        raise ValueError(f"'{name}' holds no text")
    groups = [_group(*rows[n], group_column) for n in filled] if group_column else []
    return name, [texts[n] for n in filled], groups


@cache
def hub_rows(source: str) -> tuple[str, list[Any]]:
    """Name, and the first documents of a dataset on the hub.

    They are taken at the commit that its revision means now; both splits read the same.

    Raises
    ------
    ValueError
        An unknown option, or a dataset that cannot be read.
    """
    name, _, query = source.removeprefix(HUB).partition("?")
    options = HUB_OPTIONS | dict(parse_qsl(query))
    if unknown := set(options) - set(HUB_OPTIONS):
        raise ValueError(
            f"unknown option '{min(unknown)}' in '{source}'; there are {', '.join(HUB_OPTIONS)}"
        )
    if not str(options["documents"]).isdecimal():
        raise ValueError(f"'{source}' asks for documents={options['documents']}: give a number")
    try:
        with patience():
            # datasets would try for half a minute
            info = HfApi().dataset_info(
                name, revision=options["revision"], timeout=constants.HF_HUB_ETAG_TIMEOUT
            )
            found = stream(name, name=options["config"], split=options["split"], revision=info.sha)
            rows = list(islice(found, int(options["documents"])))
    except (OSError, HTTPError) as error:
        raise ValueError(
            f"cannot read '{source}' from the hub ({error}): check name and network, unset "
            "HF_HUB_OFFLINE (make sets it), set HF_TOKEN if it is gated, or fetch it and give the "
            "file"
        ) from error
    return f"{source}, its first {len(rows)} at commit {info.sha}", rows


def _text(row: Any, where: str, column: str) -> str:
    """The text of one line, or of one row of a table or an array; nothing where there is a gap.

    Raises
    ------
    ValueError
        There is no text; the message says what there is.
    """
    if isinstance(row, str):
        return _checked(row, where)
    if row is None:
        return ""
    if not isinstance(row, dict) or column not in row:
        what = ", ".join(map(str, row)) if isinstance(row, dict) else type(row).__name__
        raise ValueError(f"{where}: no text under '{column}' (it has {what})")
    return "" if row[column] is None else _checked(row[column], f"{where}, '{column}'")


def _group(where: str, row: Any, column: str) -> str:
    """The label under `column`, as text; ValueError where there is none."""
    label = row.get(column) if isinstance(row, dict) else None
    if not isinstance(label, str | int) or isinstance(label, bool) or label == "":
        if isinstance(row, dict) and column in row:
            raise ValueError(
                f"{where}: no group under '{column}', which is {label!r:.40}: give every document "
                "a text not empty, or a whole number"
            )
        what = ", ".join(map(str, row)) if isinstance(row, dict) else type(row).__name__
        raise ValueError(
            f"{where}: no group under '{column}' (it has {what}): give every document a label"
        )
    return _checked(str(label), where)


def _checked(text: Any, where: str) -> str:
    """`text` if it is one that can be tokenized."""
    if not isinstance(text, str):
        raise ValueError(f"{where}: {text!r:.40} is of type {type(text).__name__}, not text")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{where}: half a character (a lone surrogate) at position {error.start}: repair it"
        ) from error
    return text

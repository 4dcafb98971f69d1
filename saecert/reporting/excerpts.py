"""Text at places of a corpus, read again from where it is installed: nothing of it is kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from nbformat import NotebookNode

from saecert.reporting.browser import BEFORE, Texts, payload_of, with_texts
from saecert.reporting.study import open_study

if TYPE_CHECKING:
    from saecert.reporting.study import Study


def texts_of(payload: Mapping[str, Any], study: Study | None = None) -> Texts:
    """Tokens at the places of a `saecert.reporting.browser.LatentTable`, from its discovery text.

    `study` is one of the same source whose model is loaded already; without one it is opened.
    ValueError where a sequence is not the one that was measured.
    """
    study = open_study(**payload["source"]) if study is None else study
    corpus = study.discovery
    if corpus is None:
        raise ValueError("the text is that of the discovery split: n_discovery must not be None")
    asked = sorted({place[0] for row in payload["places"] for place in row})
    _check(payload, corpus, asked)
    decode = study.subject.tokenizer.decode

    def shown(place: list[Any]) -> list[str]:
        sequence, position = place[:2]
        start = max(payload["first"], position - BEFORE)
        stop = position + len(place[4]) - BEFORE
        return [decode([int(token)]) for token in corpus.tokens[sequence, start:stop]]

    return [[shown(place) for place in row] for row in payload["places"]]


def fill(notebook: NotebookNode) -> int:
    """Put the text into every table of latents that a notebook shows, and return how many there
    were.

    ValueError as for `texts_of`, also for text that cannot be found.
    """
    count = 0
    for output in (output for cell in notebook.cells for output in cell.get("outputs", [])):
        page = output.get("data", {}).get("text/html", "")
        payload = payload_of(page)
        if payload is not None:
            output["data"]["text/html"] = with_texts(page, texts_of(payload))
            count += 1
    return count


def _check(payload: Mapping[str, Any], corpus: Any, asked: list[int]) -> None:
    """Raise ValueError unless the sequences are those that were measured."""
    if asked and asked[-1] >= len(corpus):
        raise ValueError(f"sequence {asked[-1]} was measured, and there are only {len(corpus)} now")
    ids = dict(zip(asked, _ids(corpus, asked), strict=True))
    for row in payload["places"]:
        for sequence, _, ident, *_ in row:
            if ids[sequence] != ident:
                raise ValueError(
                    f"sequence {sequence} of the text is not the one that was measured: other "
                    "versions of the packages that it is read from? constraints.txt has them"
                )


def _ids(corpus: Any, asked: list[int]) -> list[int]:
    hashes = corpus.ids
    return [int(hashes[sequence] >> np.uint64(11)) for sequence in asked]

"""What is said when there are fewer sequences than a page asks for, or needs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from saecert.corpora.splits import TEXT_SPLITS, least_documents
from saecert.reporting.settings import ENDLESS, INSTALLED

if TYPE_CHECKING:
    from saecert.corpora.corpus import Corpus


def fewer(settings: Mapping[str, Any], parameter: str, asked: int, there: int) -> str:
    """What a page says that goes on with fewer sequences."""
    split = "discovery" if parameter == "n_discovery" else settings["split"]
    gives = f"{_quoted(settings)} gives {there} {split} sequences"
    return f"{parameter}: {gives}, fewer than {asked}: all are used"


def passed_over(settings: Mapping[str, Any], passed: int, there: int) -> str:
    """What a page says that passes over fewer sequences than it was to."""
    gives = f"{_quoted(settings)} gives {there} {settings['split']} sequences"
    wanted = f"too few for n_seq={settings['n_seq']} behind {settings['skip']}"
    return f"skip: {gives}, {wanted}: {passed} are passed over"


def _quoted(settings: Mapping[str, Any]) -> str:
    """The text, in quotes if it is somebody's own."""
    source = settings["corpus"]
    return source if source in (*INSTALLED, *ENDLESS) else f"'{source}'"


def too_few(corpus: Corpus | None, source: str, parameter: str, least: int, have: int) -> str:
    """What a page says that cannot do with so few sequences."""
    text = f"{parameter}: at least {least} sequences are needed, and '{source}' gives {have}"
    if corpus is None or not have:
        return f"{text}: more or longer documents are needed"
    seen = have + corpus.n_too_short + corpus.n_similar + corpus.n_shared
    share = 1.0 if source in INSTALLED else TEXT_SPLITS.get(corpus.split, 100) / 100
    documents = math.ceil(least * seen / have / share)
    if source not in INSTALLED:
        documents = max(documents, least_documents())
    like = f"about {documents} documents like these would do, if all differ"
    return f"{text} of {corpus.n_ctx} tokens: {like}"

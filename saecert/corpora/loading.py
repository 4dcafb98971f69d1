"""Loading a corpus from any source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from operator import index
from pathlib import Path
from typing import TYPE_CHECKING

from saecert.corpora.corpus import SAMPLED, Corpus
from saecert.corpora.docstrings import SPLITS
from saecert.corpora.installed import INSTALLED, installed_corpus, installed_discovery
from saecert.corpora.sampled import sampled_corpus
from saecert.corpora.sources import read_texts
from saecert.corpora.special import with_special_noted
from saecert.corpora.splits import TEXT_SPLITS, by_hash, check_split, hash_documents
from saecert.corpora.tokenize import beginnings, tokenize

if TYPE_CHECKING:
    from saecert.subjects.subject import Subject


def load_corpus(
    source: str | Path | Sequence[str],
    subject: Subject,
    *,
    split: str = "certification",
    n_seq: int | None = None,
    n_ctx: int | None = None,
    column: str = "text",
    group_column: str = "",
    bos: bool | None = None,
    near_duplicates: str = "drop",
    shared: str = "drop",
    seed: int = 0,
    allow_corpus_drift: bool = False,
    at_most: bool = False,
) -> Corpus:
    """One sequence per document: BOS, if the subject uses it, and the document's first tokens.

    What the order guarantees is simple random sampling without replacement from the finite list of
    documents: see `Corpus`.

    Parameters
    ----------
    source
        ``"docstrings"`` (the shipped corpus), ``"docstrings-fresh"`` and ``"docstrings-old"`` (what
        of it hardly or mostly occurs in releases from before November 2024), or
        ``"python-source"`` (the longest function of each module of the same packages, without
        docstrings); a file, of the kinds that
        `saecert.corpora.files.read_rows` lists: ``.txt`` (a document a line), ``.jsonl`` (an object
        a line), ``.json`` (an array), each also compressed, and ``.parquet``, ``.csv``, ``.arrow``
        (a document a row); ``"hf:org/name"``, the first 20,000 documents of a dataset of the
        Hugging Face hub, or
        ``"hf:org/name?config=en&split=validation&revision=v1&documents=5000"``; a list of strings;
        ``"random-tokens"``, uniform over the vocabulary; or ``"model-samples"``, drawn from the
        model itself. Exact duplicates are dropped.
    subject
        Gives tokenizer, BOS rule and the longest context; for ``"model-samples"`` the model.
    split
        ``"docstrings"`` has train, validation, discovery, certification; other sources discovery
        (25 %) and certification (75 %), by a hash of each document. Splits of random sequences are
        drawn independently.
    n_seq
        Keep the first `n_seq` sequences; taking more keeps those. Default: all; needed for sources
        without end.
    n_ctx
        Tokens per sequence including BOS. Default: the model's context, at most 128.
    column
        Where JSON objects, tables and hub datasets hold the text.
    group_column
        Where they hold the group of each document (its author, site, file, ...), a text or a whole
        number: `Corpus.groups`. Then no group has documents in both splits: a hash of the group
        decides. Of equal documents the first one's group counts. The shipped
        docstrings are grouped by package.
    bos
        Whether sequences start with BOS. Default: as the subject does.
    near_duplicates
        ``"drop"``: of certification sequences that resemble each other keep the first, and count
        the rest. ``"keep"``: all, and all of the other splits in any case. Random sequences are
        independent as they are, and are all kept.
    shared
        ``"drop"``: leave certification sequences out that the discovery split has as well, token
        for token, of documents that begin alike, and count them, whether or not discovery is ever
        loaded. It is done before near-duplicates are looked for. ``"keep"``: leave them in; of
        such a sample `certify` refuses a pool that was chosen on that split. Random sequences are
        all kept.
    seed
        Of random sequences.
    allow_corpus_drift
        Accept docstrings that differ from those the shipped subject was trained on (other package
        versions); recorded.
    at_most
        Take as many of `n_seq` sequences as there are, at least 2: the length of the corpus says
        how many there were.

    Raises
    ------
    ValueError
        Unknown split or option, a number out of range, empty text, text that cannot be read (with
        file and line), a document without a group where `group_column` asks for one, every document
        too short, too few sequences or documents (with the number it takes), no `n_seq` for a
        source without end, model samples without BOS, a hub that cannot be reached or does not
        answer, or corpus drift.
    FileNotFoundError
        The file does not exist.
    """
    n_ctx = min(subject.n_ctx, 128) if n_ctx is None else n_ctx
    bos = subject.bos if bos is None else bos
    _check_settings(subject, n_seq, n_ctx, bos, near_duplicates, shared)
    named = source if isinstance(source, str) else ""
    if group_column and (named in SAMPLED or named in INSTALLED):
        raise ValueError(f"'{named}' has no columns: group_column is for files and hub data sets")
    check_split(split, SPLITS if named == "docstrings" else TEXT_SPLITS)
    if named in SAMPLED:
        return sampled_corpus(named, subject, split, n_seq, n_ctx, bos, seed)
    apart = split == "certification" and shared == "drop"
    if named in INSTALLED:
        options = (n_ctx, bos, allow_corpus_drift)
        corpus = installed_corpus(named, subject, split, *options)
        if apart:
            corpus = corpus.apart_from(installed_discovery(named, subject, *options))
    else:
        columns = (column, group_column)
        corpus = _corpus_of_texts(source, columns, subject, split, n_ctx, bos, apart)
    if split == "certification" and near_duplicates == "drop":
        corpus = corpus.without_similar()
    corpus = replace(corpus, n_list=len(corpus))
    if named not in INSTALLED:
        corpus = with_special_noted(corpus, subject.tokenizer)
    return corpus if n_seq is None else corpus.take(n_seq, at_most=at_most)


def _check_settings(
    subject: Subject, n_seq: int | None, n_ctx: int, bos: bool, near_duplicates: str, shared: str
) -> None:
    """Raise ValueError for settings that cannot be right, before any text is read."""
    if n_seq is not None and not (_is_whole(n_seq) and n_seq >= 2):
        raise ValueError(f"n_seq must be a whole number of at least 2, got {n_seq!r}")
    if not (_is_whole(n_ctx) and 2 <= n_ctx <= subject.n_ctx):
        raise ValueError(
            f"n_ctx must lie between 2 and the model's context of {subject.n_ctx} tokens, "
            f"got {n_ctx!r}"
        )
    for name, value in (("near_duplicates", near_duplicates), ("shared", shared)):
        if value not in ("drop", "keep"):
            raise ValueError(f"{name} takes 'drop' or 'keep', got '{value}'")
    if bos and subject.tokenizer.bos_token_id is None:
        raise ValueError(
            f"the tokenizer of '{subject.name}' has no BOS token: load the corpus with bos=False"
        )


def _is_whole(number: object) -> bool:
    try:
        index(number)
    except TypeError:
        return False
    return not isinstance(number, bool)


def _corpus_of_texts(
    source: str | Path | Sequence[str],
    columns: tuple[str, str],
    subject: Subject,
    split: str,
    n_ctx: int,
    bos: bool,
    apart: bool,
) -> Corpus:
    """The corpus of a user's own documents; `columns` of their text and of their group.

    `apart` leaves out what the documents of the other split begin with, too.
    """
    name, texts, labels = read_texts(source, *columns)
    # the first of equal documents counts
    group_of = dict(zip(reversed(texts), reversed(labels), strict=True)) if labels else None
    documents, chosen = by_hash(texts, split, name, group_of)
    corpus = tokenize(
        chosen,
        subject.tokenizer,
        n_ctx=n_ctx,
        bos=bos,
        name=name,
        split=split,
        text_hash=hash_documents(documents),
        n_documents=len(documents),
    )
    if group_of is not None:
        corpus = replace(corpus, groups=tuple(group_of[documents[key]] for key in corpus.keys))
    if not apart:
        return corpus
    others = [text for key, text in documents.items() if key not in chosen]
    return corpus.apart_from(beginnings(others, subject.tokenizer, n_ctx=n_ctx, bos=bos)[0])

"""Documents to sequences: one sequence per document, split by a hash of the document; and sequences drawn at random."""

from __future__ import annotations

import glob
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import datasets
import numpy as np
import torch
from huggingface_hub import HfApi
from huggingface_hub.errors import HTTPError
from jaxtyping import Int, UInt64
from torch import Tensor
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from saecert.corpora import duplicates
from saecert.corpora.docstrings import (
    RECIPE,
    SPLITS,
    docstring_documents,
    package_versions,
    python_functions,
    split_of,
)
from saecert.storage import cache_dir, cached_arrays

if TYPE_CHECKING:
    from saecert.subjects.subject import Subject

TEXT_SPLITS = {"discovery": 25, "certification": 75}
"""Percent of a user's own documents in each split."""

SAMPLED = {
    "random-tokens": "tokens, each drawn uniformly from the vocabulary without its special tokens",
    "model-samples": "tokens drawn from the model itself after BOS, at temperature 1",
}
"""Sources without end that are i.i.d. by construction."""

HUB_OPTIONS = {"config": None, "split": "train", "revision": None, "documents": "20000"}
"""What may follow the name of a dataset on the hub, ``"hf:org/name?config=en&documents=5000"``, and its default."""

_COLUMNAR = {".parquet": "parquet", ".csv": "csv", ".arrow": "arrow"}
_BLOCK = 32  # model samples are always drawn so many at a time: another batch size would change the last digits


@dataclass(frozen=True)
class Corpus:
    """Sequences of equal length, each the beginning of one document, in an order fixed by a hash.

    What the hashes guarantee is simple random sampling without replacement from the finite list of documents: any prefix is a
    random subset of the list. Nothing is assumed of how the list came about, and nothing is said of text outside it.
    """

    name: str
    """Where the text is from."""
    split: str
    """"train", "discovery", "certification", ..."""
    tokens: Int[np.ndarray, "n_seq n_ctx"]
    """Token ids; the first column is BOS when `bos`."""
    keys: tuple[str, ...]
    """Name of the document behind each sequence."""
    bos: bool
    """Whether sequences start with BOS."""
    n_too_short: int
    """Documents dropped for having too few tokens: the population is "documents of at least n_ctx tokens"."""
    text_hash: str
    """SHA-256 of all documents of all splits, before any was dropped for its length."""
    notes: tuple[str, ...] = ()
    """What a reader of a certificate must know, e.g. corpus drift that was allowed."""
    n_similar: int = 0
    """Sequences dropped because an earlier one resembles them."""

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def n_ctx(self) -> int:
        """Tokens per sequence, BOS included."""
        return self.tokens.shape[1]

    @property
    def ids(self) -> UInt64[np.ndarray, "n_seq"]:
        """64-bit hash of the tokens of each sequence: equal sequences have equal ids."""
        rows = np.ascontiguousarray(self.tokens, dtype=np.int64)
        return np.array(
            [int.from_bytes(hashlib.sha256(row.tobytes()).digest()[:8], "big") for row in rows],
            dtype=np.uint64,
        )

    @property
    def population(self) -> str:
        """The population that a certificate on this corpus speaks about, in words."""
        if self.name in SAMPLED:
            return f"sequences of {self.n_ctx - self.bos} {SAMPLED[self.name]}"
        kept = ", the first of each group of near-duplicates" if self.n_similar else ""
        return f"documents of '{self.name}' of at least {self.n_ctx - self.bos} tokens, cut to that length{kept}"

    def take(self, n_seq: int) -> Corpus:
        """The first `n_seq` sequences; ValueError when there are fewer."""
        if not 2 <= n_seq <= len(self):
            raise ValueError(
                f"n_seq={n_seq} asked of the {self.split} split of '{self.name}', which has {len(self)} sequences (at least 2 are needed)"
            )
        return self.part(0, n_seq)

    def part(self, start: int, stop: int) -> Corpus:
        """Sequences `start` to `stop - 1`; ValueError when they are not all there."""
        if not 0 <= start < stop <= len(self):
            raise ValueError(
                f"sequences {start} to {stop - 1} asked of the {self.split} split of '{self.name}', which has {len(self)}"
            )
        return replace(self, tokens=self.tokens[start:stop], keys=self.keys[start:stop])

    def batches(
        self, size: int, device: torch.device, title: str, progress: bool
    ) -> Iterator[tuple[slice, Int[Tensor, "batch pos"]]]:
        """Rows and tokens of `size` sequences at a time, under a bar called `title` if `progress`."""
        for start in tqdm(range(0, len(self), size), desc=title, disable=not progress, leave=False):
            rows = slice(start, start + size)
            yield rows, torch.from_numpy(self.tokens[rows].astype(np.int64)).to(device)

    def without_similar(self) -> Corpus:
        """The first sequence of each group of near-duplicates, in an order of its own; the others are counted.

        The first in the order of the first hash stands for its group, and a large group has an early first: kept in that order,
        prefixes would hold too many large groups. Survivors are therefore ordered by a second hash of their keys, so that every
        prefix and every stream is a simple random sample without replacement from the finite list of survivors.
        """
        clusters = duplicates.near_duplicates(self.tokens, self.ids)
        first_rows = np.unique(clusters, return_index=True)[1]
        rows = sorted(first_rows.tolist(), key=lambda row: second_hash(self.keys[row]))
        return replace(
            self,
            tokens=self.tokens[rows],
            keys=tuple(self.keys[row] for row in rows),
            n_similar=self.n_similar + len(self) - len(rows),
        )


def second_hash(key: str) -> bytes:
    """A hash of a document's key that is independent of the one which orders and splits the documents."""
    return hashlib.blake2b(key.encode(), key=b"order of survivors").digest()


def load_corpus(
    source: str | Path | Sequence[str],
    subject: Subject,
    *,
    split: str = "certification",
    n_seq: int | None = None,
    n_ctx: int | None = None,
    column: str = "text",
    bos: bool | None = None,
    near_duplicates: str = "drop",
    seed: int = 0,
    allow_corpus_drift: bool = False,
) -> Corpus:
    """One sequence per document: BOS (if the subject uses it) and the document's first tokens, `n_ctx` in all.

    Parameters
    ----------
    source
        ``"docstrings"`` (the shipped corpus) or ``"python-source"`` (the longest function of each module of the same packages,
        without docstrings); a file: ``.jsonl`` (one object a line), ``.parquet``, ``.csv``, ``.arrow`` (one document a row), any other
        as UTF-8 text (one document a line); ``"hf:org/name"``, the first 20,000 documents of a dataset of the Hugging Face hub, or
        ``"hf:org/name?config=en&split=validation&revision=v1&documents=5000"``; a list of strings; ``"random-tokens"``, uniform over the
        vocabulary; or ``"model-samples"``, drawn from the model itself. Exact duplicates are dropped.
    subject
        Gives tokenizer, BOS rule and the longest context; for ``"model-samples"`` the model.
    split
        ``"docstrings"`` has train, validation, discovery, certification; other sources discovery (25 %) and
        certification (75 %), by a hash of each document. Splits of random sequences are drawn independently.
    n_seq
        Keep the first `n_seq` sequences. The order is that of a hash, so they are a simple random sample without replacement from
        the finite list of documents; taking more keeps those. Default: all; needed for sources without end.
    n_ctx
        Tokens per sequence including BOS. Default: the model's context, at most 128.
    column
        Where ``.jsonl`` files, tables and hub datasets hold the text.
    bos
        Whether sequences start with BOS. Default: as the subject does.
    near_duplicates
        ``"drop"``: of certification sequences that resemble each other keep the first, and count the rest. ``"keep"``: all, and all of
        the other splits in any case. Random sequences are independent as they are, and are all kept.
    seed
        Of random sequences.
    allow_corpus_drift
        Accept docstrings that differ from those the shipped subject was trained on (other package versions); recorded.

    Raises
    ------
    ValueError
        Unknown split or option, empty text, not UTF-8, no such column, every document too short, too few sequences, no `n_seq` for
        a source without end, model samples without BOS, a hub that cannot be reached, or corpus drift.
    FileNotFoundError
        The file does not exist.
    """
    n_ctx = min(subject.n_ctx, 128) if n_ctx is None else n_ctx
    bos = subject.bos if bos is None else bos
    if not 2 <= n_ctx <= subject.n_ctx:
        raise ValueError(
            f"n_ctx must lie between 2 and the model's context of {subject.n_ctx} tokens, got {n_ctx}"
        )
    if near_duplicates not in ("drop", "keep"):
        raise ValueError(f"near_duplicates takes 'drop' or 'keep', got '{near_duplicates}'")
    if bos and subject.tokenizer.bos_token_id is None:
        raise ValueError(
            f"the tokenizer of '{subject.name}' has no BOS token: load the corpus with bos=False"
        )
    if isinstance(source, str) and source in SAMPLED:
        return _sampled(source, subject, split, n_seq, n_ctx, bos, seed)
    if isinstance(source, str) and source in ("docstrings", "python-source"):
        corpus = _installed(source, subject, split, n_ctx, bos, allow_corpus_drift)
    else:
        name, texts = _read_texts(source, column)
        documents, chosen = _by_hash(texts, split)
        corpus = tokenize(
            chosen,
            subject.tokenizer,
            n_ctx=n_ctx,
            bos=bos,
            name=name,
            split=split,
            text_hash=hash_documents(documents),
        )
    if split == "certification" and near_duplicates == "drop":
        corpus = corpus.without_similar()
    return corpus if n_seq is None else corpus.take(n_seq)


def tokenize(
    documents: Mapping[str, str],
    tokenizer: PreTrainedTokenizerBase,
    *,
    n_ctx: int,
    bos: bool,
    name: str,
    split: str,
    text_hash: str,
) -> Corpus:
    """The beginning of each document that is long enough, in the order of the mapping. ValueError when none is."""
    body = n_ctx - bos
    encoded = (
        tokenizer(list(documents.values()), add_special_tokens=False, verbose=False)["input_ids"]
        if documents
        else []
    )
    kept = [
        (key, ids[:body]) for key, ids in zip(documents, encoded, strict=True) if len(ids) >= body
    ]
    if not kept:
        longest = max((len(ids) for ids in encoded), default=0)
        raise ValueError(
            f"no document in the {split} split of '{name}' has {body} tokens ({len(encoded)} documents, the longest has {longest}): "
            "lower n_ctx or give longer text"
        )
    tokens = np.array([ids for _, ids in kept], dtype=np.int32)
    if bos:
        tokens = np.concatenate(
            [np.full((len(tokens), 1), tokenizer.bos_token_id, dtype=np.int32), tokens], axis=1
        )
    return Corpus(
        name, split, tokens, tuple(key for key, _ in kept), bos, len(encoded) - len(kept), text_hash
    )


def windows(
    texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, *, n_ctx: int
) -> tuple[Int[np.ndarray, "n_windows n_ctx"], Int[np.ndarray, "n_windows"]]:
    """Every window of every text, BOS first and padded on the right, and the number of tokens in each (BOS included)."""
    body = n_ctx - 1
    encoded = tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
    pieces = [ids[i : i + body] for ids in encoded for i in range(0, len(ids), body)]
    tokens = np.full(
        (len(pieces), n_ctx),
        tokenizer.bos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id,
        dtype=np.int32,
    )
    tokens[:, 0] = tokenizer.bos_token_id
    for row, piece in zip(tokens, pieces, strict=True):
        row[1 : 1 + len(piece)] = piece
    return tokens, np.array([1 + len(piece) for piece in pieces])


def train_windows(
    subject: Subject,
) -> tuple[Int[np.ndarray, "n_windows n_ctx"], Int[np.ndarray, "n_windows"]]:
    """`windows` of every docstring in the train split, cached."""

    def build() -> dict[str, np.ndarray]:
        documents = docstring_documents()
        texts = [documents[key] for key in sorted(documents) if split_of(key) == "train"]
        return dict(
            zip(("tokens", "lengths"), windows(texts, subject.tokenizer, n_ctx=128), strict=True)
        )

    saved = cached_arrays("windows", _cache_key(subject, "train", 128, subject.bos), build)
    return saved["tokens"], saved["lengths"]


def text_split(key: str, wanted: str) -> str:
    """Split of a user's document by its SHA-256 `key`; ValueError when `wanted` is not a split."""
    if wanted not in TEXT_SPLITS:
        raise ValueError(f"unknown split '{wanted}'; there are {', '.join(TEXT_SPLITS)}")
    return "discovery" if int(key[:8], 16) % 100 < TEXT_SPLITS["discovery"] else "certification"


def hash_documents(documents: Mapping[str, str]) -> str:
    """SHA-256 of all names and texts, in the order of the names."""
    digest = hashlib.sha256()
    for key in sorted(documents):
        digest.update(f"{len(key)} {key} {len(documents[key])} {documents[key]}".encode())
    return digest.hexdigest()


def _by_hash(texts: Iterable[str], split: str) -> tuple[dict[str, str], dict[str, str]]:
    """All documents by their SHA-256, and those of one split in that order."""
    documents = {hashlib.sha256(text.encode()).hexdigest(): text for text in texts}
    return documents, {
        key: documents[key] for key in sorted(documents) if text_split(key, split) == split
    }


def _docstrings(split: str) -> tuple[dict[str, str], dict[str, str]]:
    if split not in SPLITS:
        raise ValueError(f"unknown split '{split}'; there are {', '.join(SPLITS)}")
    documents = docstring_documents()
    keys = sorted(
        (key for key in documents if split_of(key) == split),
        key=lambda key: hashlib.sha256(key.encode()).digest()[8:],
    )
    return documents, {key: documents[key] for key in keys}


def _installed(
    source: str, subject: Subject, split: str, n_ctx: int, bos: bool, allow_drift: bool
) -> Corpus:
    """Text of the installed packages, cached as tokens."""
    shipped = source == "docstrings"

    def build() -> dict[str, np.ndarray]:
        documents, chosen = (
            _docstrings(split) if shipped else _by_hash(python_functions().values(), split)
        )
        text = hash_documents(documents)
        made = tokenize(
            chosen,
            subject.tokenizer,
            n_ctx=n_ctx,
            bos=bos,
            name=source,
            split=split,
            text_hash=text,
        )
        return {
            "tokens": made.tokens,
            "keys": np.array(made.keys),
            "n_too_short": np.array(made.n_too_short),
            "hash": np.array(text),
        }

    saved = cached_arrays(
        "tokens" if shipped else "functions", _cache_key(subject, split, n_ctx, bos), build
    )
    corpus = Corpus(
        source,
        split,
        saved["tokens"],
        tuple(saved["keys"].tolist()),
        bos,
        int(saved["n_too_short"]),
        str(saved["hash"]),
    )
    return _check_drift(corpus, subject, allow_drift) if shipped else corpus


def _check_drift(corpus: Corpus, subject: Subject, allow: bool) -> Corpus:
    expected = subject.card.get("corpus", {}).get("text_hash")
    if expected in (None, corpus.text_hash):
        return corpus
    message = f"the docstrings on this machine are not those '{subject.name}' was trained on (other package versions: {package_versions()})"
    if not allow:
        raise ValueError(
            f"{message}: install the versions pinned in pyproject.toml or pass allow_corpus_drift=True, which is recorded"
        )
    return replace(corpus, notes=(*corpus.notes, message))


def _cache_key(subject: Subject, split: str, n_ctx: int, bos: bool) -> str:
    return json.dumps(
        [
            RECIPE,
            package_versions(),
            split,
            n_ctx,
            bos,
            subject.tokenizer.backend_tokenizer.to_str(),
        ]
    )


def _sampled(
    source: str, subject: Subject, split: str, n_seq: int | None, n_ctx: int, bos: bool, seed: int
) -> Corpus:
    text_split("0" * 8, split)  # refuses splits that do not exist
    if n_seq is None:
        raise ValueError(f"'{source}' has no end: say with n_seq= how many sequences to draw")
    if source == "random-tokens":
        allowed = np.setdiff1d(np.arange(len(subject.tokenizer)), subject.tokenizer.all_special_ids)
        body = allowed[
            np.random.default_rng([seed, *split.encode()]).integers(
                len(allowed), size=(n_seq, n_ctx - bos)
            )
        ]
    elif bos:
        blocks = [
            _model_samples(subject, n_ctx, [seed, block, *split.encode()])
            for block in range(-(-n_seq // _BLOCK))
        ]
        body = np.concatenate(blocks)[:n_seq]
    else:
        raise ValueError(
            "a model has a distribution over sequences only after BOS: model samples need bos=True"
        )
    tokens = np.concatenate(
        [np.full((n_seq, int(bos)), subject.tokenizer.bos_token_id or 0), body], axis=1
    ).astype(np.int32)
    keys = tuple(f"{source}:{split}:{seed}:{row}" for row in range(n_seq))
    return Corpus(
        source, split, tokens, keys, bos, 0, hashlib.sha256(tokens.tobytes()).hexdigest()
    ).take(n_seq)


def _model_samples(subject: Subject, n_ctx: int, seed: list[int]) -> Int[np.ndarray, "block body"]:
    """`_BLOCK` sequences without their BOS, by inverting the distribution function of each next token; cached."""

    @torch.no_grad()
    def build() -> dict[str, np.ndarray]:
        uniform = torch.from_numpy(np.random.default_rng(seed).random((n_ctx - 1, _BLOCK, 1)))
        tokens, past = [torch.full((_BLOCK, 1), subject.tokenizer.bos_token_id)], None
        for u in uniform:
            out = subject.model.original_model(
                input_ids=tokens[-1].to(subject.device), past_key_values=past, use_cache=True
            )
            past, below = (
                out.past_key_values,
                out.logits[:, -1].cpu().double().softmax(dim=1).cumsum(dim=1),
            )
            tokens.append(torch.searchsorted(below, u * below[:, -1:], right=True))
        return {"tokens": torch.cat(tokens[1:], dim=1).numpy()}

    machine = (
        torch.backends.cpu.get_cpu_capability()
    )  # the last digits of a probability depend on it
    return cached_arrays(
        "samples",
        json.dumps([subject.fingerprint, str(subject.device), machine, n_ctx, seed]),
        build,
    )["tokens"]


def _read_texts(source: str | Path | Sequence[str], column: str) -> tuple[str, list[str]]:
    if isinstance(source, (str, Path)):
        name, rows = (
            _hub_rows(str(source)) if str(source).startswith("hf:") else _file_rows(Path(source))
        )
        texts = [
            _text(row, f"{name}, line {number}", column)
            for number, row in enumerate(rows, 1)
            if row
        ]
    else:
        name, texts = "texts given", list(source)
    texts = [text for text in texts if text.strip()]
    if not texts:
        raise ValueError(f"'{name}' holds no text")
    return name, texts


def _text(row: Any, where: str, column: str) -> str:
    """The text of one row of a table, or of one line of JSON; nothing where there is a gap."""
    try:
        row = json.loads(row) if isinstance(row, str) else row
    except json.JSONDecodeError as error:
        raise ValueError(f"{where}: not JSON ({error})") from error
    text = row.get(column, 0) if isinstance(row, dict) else 0
    if text is not None and not isinstance(text, str):
        raise ValueError(
            f"{where}: no text under '{column}' (it has {', '.join(row) if isinstance(row, dict) else type(row).__name__})"
        )
    return text or ""


def _file_rows(path: Path) -> tuple[str, list[Any]]:
    if not path.is_file():
        raise FileNotFoundError(
            f"no text at '{path}': give a file, a list of strings, \"hf:org/name\" or the name of a source"
        )
    kind = _COLUMNAR.get(path.suffix, "text")
    try:
        rows = list(_stream(kind, data_files=glob.escape(str(path)), split="train"))
    except ValueError as error:
        raise ValueError(
            f"{path} cannot be read as {kind} ({error}): repair or convert it, text to UTF-8"
        ) from error
    return path.name, [row["text"].strip() for row in rows] if path.suffix == ".jsonl" else rows


@cache
def _hub_rows(source: str) -> tuple[str, list[Any]]:
    """Name, and the first documents of a dataset on the hub, at the commit that its revision means now; both splits read the same."""
    name, _, query = source.removeprefix("hf:").partition("?")
    options = HUB_OPTIONS | dict(parse_qsl(query))
    if unknown := set(options) - set(HUB_OPTIONS):
        raise ValueError(
            f"unknown option '{min(unknown)}' in '{source}'; there are {', '.join(HUB_OPTIONS)}"
        )
    try:
        commit = (
            HfApi().dataset_info(name, revision=options["revision"], timeout=10).sha
        )  # datasets would try for half a minute
        rows = list(
            islice(
                _stream(name, name=options["config"], split=options["split"], revision=commit),
                int(options["documents"]),
            )
        )
    except (OSError, HTTPError) as error:
        help_ = "check name and network, unset HF_HUB_OFFLINE (make sets it), set HF_TOKEN if it is gated, or fetch it and give the file"
        raise ValueError(f"cannot read '{source}' from the hub ({error}): {help_}") from error
    return f"{source}, its first {len(rows)} at commit {commit}", rows


def _stream(path: str, **options: Any) -> Iterable[Any]:
    datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = (
        False  # it would report every local file that is read
    )
    return datasets.load_dataset(
        path, streaming=True, cache_dir=str(cache_dir() / "datasets"), **options
    )

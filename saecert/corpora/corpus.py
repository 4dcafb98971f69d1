"""A corpus: sequences of equal length, in an order fixed by a hash."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil

import numpy as np
import torch
from jaxtyping import Int, UInt64
from torch import Tensor

from saecert.corpora.duplicates import filter_note, near_duplicates
from saecert.corpora.hashes import label_hash, second_hash
from saecert.corpora.splits import least_documents
from saecert.storage import progress_bar

SAMPLED = {
    "random-tokens": "tokens, each drawn uniformly from the vocabulary without its special tokens",
    "model-samples": "tokens drawn from the model itself after BOS, at temperature 1",
}
"""Sources without end that are i.i.d. by construction."""


@dataclass(frozen=True)
class Corpus:
    """Sequences of equal length, each the beginning of one document, in an order fixed by a hash.

    What the hashes guarantee is simple random sampling without replacement from the finite list of
    documents: any prefix is a random subset of the list. Nothing is assumed of how the list came
    about, and nothing is said of text outside it.
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
    """Documents dropped for having too few tokens: the population is "documents of at least n_ctx
    tokens"."""
    text_hash: str
    """SHA-256 of all documents of all splits, before any was dropped for its length."""
    notes: tuple[str, ...] = ()
    """What a reader of a certificate must know, e.g. corpus drift that was allowed."""
    n_similar: int = 0
    """Sequences dropped because an earlier one resembles them."""
    n_documents: int = 0
    """Different documents in all splits together; 0 where that is not known or has no end."""
    n_list: int = 0
    """Sequences in the whole split, of which this is a part; 0 where that is not known."""
    exempt_bos: bool = True
    """Whether BOS keeps its native activation when others are replaced."""
    n_required: int = 0
    """Tokens that a document had to have, BOS included, if more than are left of it; else 0."""
    groups: tuple[str, ...] = ()
    """Label of the group behind each sequence, such as the package of a docstring; empty where no
    groups are known.
    """
    n_shared: int = 0
    """Sequences dropped because the discovery split has the same one."""

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def n_ctx(self) -> int:
        """Tokens per sequence, BOS included."""
        return self.tokens.shape[1]

    @property
    def first(self) -> int:
        """First position that may be replaced, and that counts in what is said of latents."""
        return int(self.bos and self.exempt_bos)

    @property
    def ids(self) -> UInt64[np.ndarray, "n_seq"]:
        """64-bit hash of the tokens of each sequence: equal sequences have equal ids."""
        rows = np.ascontiguousarray(self.tokens, dtype=np.int64)
        hashes = [hashlib.sha256(row.tobytes()).digest() for row in rows]
        return np.array([int.from_bytes(digest[:8], "big") for digest in hashes], dtype=np.uint64)

    @property
    def group_ids(self) -> UInt64[np.ndarray, "n_seq"] | None:
        """64-bit hash of the group of each sequence; None where no groups are known.

        Raises ValueError where there are labels, but not one for each sequence.
        """
        if not self.groups:
            return None
        if len(self.groups) != len(self):
            raise ValueError(
                f"{len(self.groups)} group labels for {len(self)} sequences: "
                "give one for each, in their order"
            )
        known = {label: label_hash(label) for label in set(self.groups)}
        return np.array([known[label] for label in self.groups], dtype=np.uint64)

    @property
    def population(self) -> str:
        """The population that a certificate on this corpus speaks about, in words."""
        if self.name in SAMPLED:
            return f"sequences of {self.n_ctx - self.bos} {SAMPLED[self.name]}"
        rule = ", without those then equal to one of the discovery split" if self.n_shared else ""
        rule += ", the first of each group of near-duplicates" if self.n_similar else ""
        length = self.n_ctx - self.bos
        required = max(self.n_required, self.n_ctx) - self.bos
        cut = "cut to that length" if required == length else f"cut to {length}"
        return f"documents of '{self.name}' of at least {required} tokens, {cut}{rule}"

    def take(self, n_seq: int, *, at_most: bool = False) -> Corpus:
        """The first `n_seq` sequences; with `at_most`, as many of these as there are.

        Raises
        ------
        ValueError
            There are fewer than `n_seq`, or fewer than 2. The message says how many documents
            that many sequences take.
        """
        n_taken = min(n_seq, len(self)) if at_most else n_seq
        if 2 <= n_taken <= len(self):
            return self.part(0, n_taken)
        raise ValueError(
            f"n_seq={n_seq} asked of the {self.split} split of '{self.name}', which has "
            f"{len(self)} sequences (at least 2 are needed){self._documents_for(max(2, n_seq))}"
        )

    def cut(self, n_ctx: int) -> Corpus:
        """The same sequences, each up to its `n_ctx`-th token; ValueError when that is no token.

        Documents that agree so far become equal sequences.
        """
        first = 1 + int(self.bos)
        if not first < n_ctx <= self.n_ctx:
            raise ValueError(
                f"sequences of {self.n_ctx} tokens can be cut to {first + 1} or more of them, "
                f"not to {n_ctx}"
            )
        required = max(self.n_required, self.n_ctx)
        return replace(self, tokens=self.tokens[:, :n_ctx], n_required=required)

    def part(self, start: int, stop: int) -> Corpus:
        """Sequences `start` to `stop - 1`; ValueError when they are not all there."""
        if not 0 <= start < stop <= len(self):
            raise ValueError(
                f"sequences {start} to {stop - 1} asked of the {self.split} split of "
                f"'{self.name}', which has {len(self)}"
            )
        return replace(
            self,
            tokens=self.tokens[start:stop],
            keys=self.keys[start:stop],
            groups=self.groups[start:stop],
        )

    def batches(
        self, size: int, device: torch.device, title: str, progress: bool
    ) -> Iterator[tuple[slice, Int[Tensor, "batch pos"]]]:
        """Rows and tokens of `size` sequences at a time, under a bar called `title` if wanted."""
        starts = range(0, len(self), size)
        for start in progress_bar(starts, desc=title, disable=not progress, leave=False):
            rows = slice(start, start + size)
            yield rows, torch.from_numpy(self.tokens[rows].astype(np.int64)).to(device)

    def apart_from(self, tokens: Int[np.ndarray, "n_other n_ctx"]) -> Corpus:
        """The sequences that are not among `tokens`, in the same order; the others are counted.

        Given `tokens`, whether a sequence stays is a matter of itself alone. So prefixes remain
        simple random samples without replacement, of the finite list of those that stay, and i.i.d.
        sequences remain i.i.d., from the population of those that would.

        Raises
        ------
        ValueError
            None stays.
        """
        others = {row.tobytes() for row in tokens.astype(self.tokens.dtype)}
        rows = [row for row, own in enumerate(self.tokens) if own.tobytes() not in others]
        n_shared = len(self) - len(rows)
        if not n_shared:
            return self
        if not rows:
            raise ValueError(
                f"each of the {len(self)} {self.split} sequences of {self.n_ctx} tokens of "
                f"'{self.name}' is in the discovery split, too: give documents that begin "
                "differently, or raise n_ctx"
            )
        note = f"{n_shared} sequences were left out that the discovery split has as well"
        return replace(
            self,
            tokens=self.tokens[rows],
            keys=tuple(self.keys[row] for row in rows),
            groups=tuple(self.groups[row] for row in rows) if self.groups else (),
            notes=(*self.notes, note),
            n_shared=self.n_shared + n_shared,
        )

    def without_similar(self) -> Corpus:
        """The first sequence of each group of near-duplicates, in an order of its own.

        The others are counted. The first in the order of the first hash stands for its group, and a
        large group has an early first: kept in that order, prefixes would hold too many large
        groups. Survivors are therefore ordered by a second hash of their keys, so that every prefix
        and every stream is a simple random sample without replacement from the finite list of
        survivors. A window too short for the filter to work is noted.
        """
        clusters = near_duplicates(self.tokens, self.ids)
        first_rows = np.unique(clusters, return_index=True)[1]
        rows = sorted(first_rows.tolist(), key=lambda row: second_hash(self.keys[row]))
        note = filter_note(self.n_ctx)
        return replace(
            self,
            tokens=self.tokens[rows],
            keys=tuple(self.keys[row] for row in rows),
            groups=tuple(self.groups[row] for row in rows) if self.groups else (),
            notes=self.notes if note is None else (*self.notes, note),
            n_similar=self.n_similar + len(self) - len(rows),
        )

    def _documents_for(self, n_seq: int) -> str:
        """How many documents so many sequences take, if this corpus is any guide."""
        if not self.n_documents or not len(self) or n_seq <= len(self):
            return ""
        n_needed = max(ceil(n_seq * self.n_documents / len(self)), least_documents())
        return (
            f": it takes about {n_needed:,} documents like its {self.n_documents:,}, of which some "
            "go to the other split, are too short or repeat others; or ask for fewer sequences"
        )

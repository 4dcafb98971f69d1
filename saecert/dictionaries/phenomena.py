"""What the theory of sparse dictionaries expects to see, looked for in an SAE: pairs of latents.

Pairs are chosen on discovery and counted on other sequences: **opposite** (atoms nearly antipodal,
both frequent), **alike** (atoms nearly parallel), and **absorbed** (a parent that is silent
although the activation has as much of its direction as where it fires, because a child fires that
holds some of it).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from scipy import sparse

from saecert.corpora.corpus import Corpus
from saecert.dictionaries.quantities import ABSORBED, BESIDES, PAIRS
from saecert.dictionaries.samples import AsAtoms, as_atoms, chosen_positions, sampled_activations
from saecert.subjects.subject import Subject

FREQUENT = 0.01
"""Share of positions at which both latents of a pair have to fire on discovery."""
OCCASIONS = 30
"""Positions of discovery at which child and present parent have to meet at least."""
HOLDS = 0.2
"""Least cosine between the atoms of child and parent."""
CONTEXT = 8
STRONGEST = 20
WORDS = 3
SHOWN = 2

Fires = Bool[np.ndarray, "n d_sae"]
Pairs = Int[np.ndarray, "count 2"]


def phenomena(
    subject: Subject,
    corpus: Corpus,
    hook_names: Sequence[str] | None = None,
    *,
    discovery: Corpus,
    n_pairs: int = 5,
    per_sequence: int = 32,
    seed: int = 0,
    batch_size: int | None = None,
    progress: bool = True,
) -> dict[str, dict[str, Shaped[np.ndarray, "..."]]]:
    """Pairs of latents and how often they fire together, by hook point.

    For each kind of `PAIRS`, "opposite" and "alike": "<kind> pairs" (latents), "<kind> cosine",
    "<kind> words" (tokens at which each fires most strongly, on discovery), and by sequence of
    `corpus` the share of `per_sequence` random positions at which the "<kind> first" fires, the
    "<kind> second", "<kind> both".

    For "absorbed", pairs of parent and child: pairs, cosine and words as above; "absorbed child"
    and "absorbed alone" by sequence say what the parent does at the first of these positions at
    which it is present, that is ``d'x`` at least its median where the parent fires on discovery,
    with the child firing or silent: 1 it is silent, 0 it fires, -1 there is no such position;
    "absorbed examples", sequence and position on discovery of places at which the parent is silent,
    and of ones at which it fires, -1 for none; `context` reads the text there, and keeps nothing.

    There are fewer than `n_pairs` of a kind, then, if no more fulfil what is asked of them.
    Activations are kept in the cache folder. ValueError as for `saecert.dictionaries.samples`.
    """
    names = tuple(hook_names or subject.hook_names)
    options: dict[str, Any] = {"seed": seed, "batch_size": batch_size, "progress": progress}
    texts = (discovery, corpus)
    acts = [sampled_activations(subject, text, names, per_sequence, **options) for text in texts]
    places = chosen_positions(
        discovery.ids, discovery.first, discovery.n_ctx, per_sequence, seed
    ).ravel()
    rows = np.repeat(np.arange(len(discovery)), per_sequence)
    reading = Reading(subject, discovery, rows, places)
    found = {}
    for name in names:
        views = [as_atoms(subject, name, a[name].reshape(-1, a[name].shape[-1])) for a in acts]
        n_seq = len(acts[1][name])
        found[name] = _pairs_of_atoms(*views, n_seq, n_pairs, reading)
        found[name] |= _absorbed(*views, n_seq, n_pairs, reading)
    return found


def frequent_pairs(atoms: Float[np.ndarray, "d_sae d_in"], fires: Fires, sign: int) -> Pairs:
    """Pairs of frequent latents, the most opposite (`sign` -1) or most alike (1) first; no latent
    is in two of them."""
    frequent = np.flatnonzero(fires.mean(axis=0) >= FREQUENT)
    cosine = atoms[frequent] @ atoms[frequent].T
    first, second = np.triu_indices(len(frequent), 1)
    order = np.argsort(-sign * cosine[first, second], kind="stable")[: 50 * len(frequent)]
    candidates = np.stack([frequent[first[order]], frequent[second[order]]], axis=1)
    return _apart(candidates)


def absorbed_pairs(view: AsAtoms, thresholds: Float[np.ndarray, "d_sae"]) -> Pairs:
    """Parents and children, the clearest absorption first; no parent is in two of them.

    Ranked by the share of present parents that are silent with the child, less that without it, in
    standard errors.
    """
    fires = sparse.csr_array(view.codes > 0)
    present = (view.x @ view.atoms.T).astype(np.float32) >= thresholds
    silent = sparse.csr_array(present & ~(view.codes > 0)).astype(np.int32)
    here = sparse.csr_array(present).astype(np.int32)
    with_child = np.asarray((here.T @ fires.astype(np.int32)).todense(), dtype=float)
    missed = np.asarray((silent.T @ fires.astype(np.int32)).todense(), dtype=float)
    total = np.asarray(here.sum(axis=0), dtype=float)[:, None]
    all_missed = np.asarray(silent.sum(axis=0), dtype=float)[:, None]
    without = np.maximum(total - with_child, 1)
    rate = (all_missed - missed) / without
    excess = missed - with_child * rate
    error = np.sqrt(np.maximum(with_child * rate * (1 - rate), 1))
    allowed = (with_child >= OCCASIONS) & (total - with_child >= OCCASIONS)
    allowed &= (view.atoms @ view.atoms.T >= HOLDS) & ~np.eye(len(view.atoms), dtype=bool)
    score = np.where(allowed, excess / error, -np.inf)
    order = np.argsort(-score, axis=None, kind="stable")[: 50 * len(score)]
    order = order[np.isfinite(score.ravel()[order])]
    return _apart(np.stack(np.unravel_index(order, score.shape), axis=1))


def thresholds_of(view: AsAtoms) -> Float[np.ndarray, "d_sae"]:
    """``d'x`` at which a latent counts as present: the median where it fires, infinite for one
    that fires less than `OCCASIONS` times."""
    along = view.x @ view.atoms.T
    fires = view.codes > 0
    medians = np.full(len(view.atoms), np.inf)
    for latent in np.flatnonzero(fires.sum(axis=0) >= OCCASIONS):
        medians[latent] = np.median(along[fires[:, latent], latent])
    return medians


def _apart(candidates: Pairs) -> Int[np.ndarray, "fewer 2"]:
    """The first pairs of a list in which no latent occurs twice."""
    seen: set[int] = set()
    chosen = []
    for pair in candidates.tolist():
        if not seen & set(pair):
            chosen.append(pair)
            seen |= set(pair)
    return np.array(chosen, dtype=np.int64).reshape(-1, 2)


class Reading:
    """Discovery as people read it: which token is at a row, and what stands before it."""

    def __init__(self, subject: Subject, corpus: Corpus, rows: np.ndarray, at: np.ndarray) -> None:
        self.tokenizer = subject.tokenizer
        self.corpus = corpus
        self.rows = rows
        self.at = at

    def words(self, strength: Float[np.ndarray, "n"]) -> str:
        """The tokens that are most frequent among the positions of largest strength."""
        strongest = np.argsort(-strength, kind="stable")[:STRONGEST]
        strongest = strongest[strength[strongest] > 0]
        ids = self.corpus.tokens[self.rows[strongest], self.at[strongest]]
        tokens, counts = np.unique(ids, return_counts=True)
        most = tokens[np.argsort(-counts, kind="stable")[:WORDS]]
        return " ".join(repr(self.tokenizer.decode([int(token)])) for token in most)

    def places(self, rows: Int[np.ndarray, "n"]) -> Int[np.ndarray, "shown 2"]:
        """Sequence and position of the first few `rows`, -1 where there are no more."""
        found = np.full((SHOWN, 2), -1)
        first = rows[:SHOWN]
        found[: len(first)] = np.stack([self.rows[first], self.at[first]], axis=1)
        return found


def context(subject: Subject, corpus: Corpus, sequence: int, position: int) -> str:
    """A few tokens before a position of a sequence, and its own in angle quotes."""
    tokens = corpus.tokens[sequence]
    start = max(corpus.first, position - CONTEXT)
    before = subject.tokenizer.decode([int(token) for token in tokens[start:position]])
    own = subject.tokenizer.decode([int(tokens[position])])
    return " ".join(f"{before}«{own}»".split())


def _pairs_of_atoms(
    chosen: AsAtoms, sample: AsAtoms, n_seq: int, n_pairs: int, reading: Reading
) -> dict[str, Shaped[np.ndarray, "..."]]:
    arrays: dict[str, np.ndarray] = {}
    for kind, sign in PAIRS.items():
        pairs = frequent_pairs(chosen.atoms, chosen.codes > 0, sign)[:n_pairs]
        arrays |= _described(kind, pairs, chosen, reading)
        fires = sample.codes[:, pairs] > 0
        events = (fires[..., 0], fires[..., 1], fires.all(axis=-1))
        for word, event in zip(BESIDES, events, strict=True):
            arrays[f"{kind} {word}"] = event.reshape(n_seq, -1, len(pairs)).mean(axis=1)
    return arrays


def _absorbed(
    chosen: AsAtoms, sample: AsAtoms, n_seq: int, n_pairs: int, reading: Reading
) -> dict[str, Shaped[np.ndarray, "..."]]:
    thresholds = thresholds_of(chosen)
    pairs = absorbed_pairs(chosen, thresholds)[:n_pairs]
    arrays = _described(ABSORBED, pairs, chosen, reading)
    examples = []
    for parent, child in pairs:
        present = chosen.x @ chosen.atoms[parent] >= thresholds[parent]
        fires = chosen.codes[:, parent] > 0
        lost = np.flatnonzero(present & ~fires & (chosen.codes[:, child] > 0))
        seen = np.flatnonzero(present & fires)
        examples.append([reading.places(rows) for rows in (lost, seen)])
    arrays[f"{ABSORBED} examples"] = np.array(examples, dtype=np.int64).reshape(-1, 2, SHOWN, 2)
    for word, fires in (("child", True), ("alone", False)):
        columns = [_first(sample, n_seq, pair, thresholds, fires) for pair in pairs]
        rows = np.array(columns, dtype=np.int64).reshape(len(pairs), n_seq)
        arrays[f"{ABSORBED} {word}"] = rows.T
    return arrays


def _first(
    view: AsAtoms, n_seq: int, pair: Int[np.ndarray, "2"], thresholds: np.ndarray, fires: bool
) -> Int[np.ndarray, "n_seq"]:
    """What the parent does where it is present and the child fires or not, first in a sequence."""
    parent, child = pair
    present = view.x @ view.atoms[parent] >= thresholds[parent]
    there = (present & ((view.codes[:, child] > 0) == fires)).reshape(n_seq, -1)
    silent = (view.codes[:, parent] == 0).reshape(n_seq, -1)
    first = there.argmax(axis=1)[:, None]
    what = np.take_along_axis(silent, first, axis=1)[:, 0].astype(np.int64)
    return np.where(there.any(axis=1), what, -1)


def _described(
    kind: str, pairs: Pairs, chosen: AsAtoms, reading: Reading
) -> dict[str, Shaped[np.ndarray, "..."]]:
    first, second = pairs.T
    cosine = (chosen.atoms[first] * chosen.atoms[second]).sum(axis=1)
    words = [[reading.words(chosen.codes[:, latent]) for latent in pair] for pair in pairs]
    named = np.array(words, dtype=np.str_).reshape(-1, 2)
    return {f"{kind} pairs": pairs, f"{kind} cosine": cosine, f"{kind} words": named}

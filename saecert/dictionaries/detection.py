"""Detection: where a latent fires on other text, told from where it fires most strongly.

What automatic interpretability asks of a language model that reads and writes explanations is asked
of a `Judge`: shown windows of tokens at whose end a latent fires, and others at which it is silent,
in which of some new windows does it fire? The new ones are of other text and half of each kind, so
that guessing scores 1/2. The judge that comes with the package reads tokens alone (`TokenJudge`);
anything else with the same call may take its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import sparse
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import OneHotEncoder

WIDTH = 12
"""Tokens of a window."""
N_ASKED = 50
"""New windows of each kind, if the latent fires in as many sequences."""
N_STRONGEST = 50
"""Windows shown at whose end the latent fires most strongly, one of a sequence."""
N_SILENT = 200
"""Windows shown at whose end it is silent."""
LEAST = 20
"""Sequences of discovery in which a latent has to fire to be judged."""


class Windows(NamedTuple):
    """Pieces of text, each the tokens up to a position."""

    tokens: Int[np.ndarray, "n width"]
    """Token ids; whether a latent fires is asked of the last."""
    pieces: Sequence[str]
    """Text of every token of the vocabulary."""

    @property
    def texts(self) -> list[str]:
        """The windows as text."""
        return ["".join(self.pieces[token] for token in row) for row in self.tokens]


@runtime_checkable
class Judge(Protocol):
    """Tells from examples in which new windows a latent fires.

    ``judge(firing, silent, asked)`` is given windows at whose last token a latent fires, strongest
    first, windows at which it is silent, and others; it returns True for each of these in which it
    thinks that the latent fires. It has to be deterministic, and to judge each asked window by
    itself: how many of them fire is not told. A model that reads text finds it in
    `Windows.texts`; one that writes explanations may do so from the first two and keep them.
    """

    def __call__(
        self, firing: Windows, silent: Windows, asked: Windows
    ) -> Bool[np.ndarray, "n_asked"]:
        """Whether the latent is thought to fire at the end of each asked window."""
        ...


@dataclass(frozen=True)
class TokenJudge:
    """A logistic regression on which tokens stand where: its own, its neighbours, the others.

    Features are the last `near` tokens, each by its place, and which tokens are in the window at
    all. Tokens that no example has say nothing. Classes are weighted equally; solved by liblinear
    in the dual with a fixed seed.
    """

    near: int = 4
    """Tokens whose place counts."""

    def __call__(
        self, firing: Windows, silent: Windows, asked: Windows
    ) -> Bool[np.ndarray, "n_asked"]:
        """As `Judge` says."""
        shown = np.concatenate([firing.tokens, silent.tokens])
        fires = np.arange(len(shown)) < len(firing.tokens)
        places = OneHotEncoder(handle_unknown="ignore").fit(shown[:, -self.near :])
        bag = CountVectorizer(analyzer=np.ndarray.tolist, binary=True).fit(shown)

        def features(tokens: Int[np.ndarray, "n width"]) -> sparse.csr_array:
            parts = [places.transform(tokens[:, -self.near :]), bag.transform(tokens)]
            return sparse.csr_array(sparse.hstack(parts))

        model = LogisticRegression(
            solver="liblinear", dual=True, class_weight="balanced", random_state=0, max_iter=2000
        )
        return model.fit(features(shown), fires).predict(features(asked.tokens)).astype(bool)


@dataclass(frozen=True)
class Firings:
    """Where latents fire in a text."""

    tokens: Int[np.ndarray, "n_seq n_ctx"]
    """Token ids."""
    codes: sparse.csc_array
    """Activations: rows are positions, those of a sequence one after the other."""
    pieces: Sequence[str]
    """Text of every token of the vocabulary."""
    width: int = WIDTH
    """Tokens of a window; earlier positions than it has tokens do not count."""

    def at(self, latent: int) -> tuple[Int[np.ndarray, "n"], Int[np.ndarray, "n"], np.ndarray]:
        """Sequence, position and strength of every firing of a latent that counts."""
        part = slice(self.codes.indptr[latent], self.codes.indptr[latent + 1])
        sequences, positions = np.divmod(self.codes.indices[part], self.tokens.shape[1])
        values = self.codes.data[part]
        counts = (positions >= self.width - 1) & (values != 0)
        return sequences[counts], positions[counts], values[counts]

    def windows(self, sequences: np.ndarray, positions: np.ndarray) -> Windows:
        """The windows that end there."""
        places = positions[:, None] + np.arange(1 - self.width, 1)
        return Windows(self.tokens[sequences[:, None], places], self.pieces)

    def strongest(self, latent: int) -> Windows:
        """At most `N_STRONGEST` windows of strongest firing, one of a sequence."""
        sequences, positions, values = self.at(latent)
        order = np.argsort(-np.abs(values), kind="stable")
        first = np.unique(sequences[order], return_index=True)[1]
        chosen = order[np.sort(first)][:N_STRONGEST]
        return self.windows(sequences[chosen], positions[chosen])

    def random(self, latent: int, n: int, rng: np.random.Generator) -> Windows:
        """Windows at a random firing of `n` random sequences in which the latent fires."""
        sequences, positions, _ = self.at(latent)
        order = rng.permutation(len(sequences))
        first = np.unique(sequences[order], return_index=True)[1]
        chosen = order[rng.permutation(first)[:n]]
        return self.windows(sequences[chosen], positions[chosen])

    def silent(self, latent: int, n: int, rng: np.random.Generator) -> Windows:
        """At most `n` windows at random positions at which the latent is silent.

        At most one of a sequence, as long as there are enough of them.
        """
        n_seq, n_ctx = self.tokens.shape
        fires = np.zeros((n_seq, n_ctx), dtype=bool)
        sequences, positions, _ = self.at(latent)
        fires[sequences, positions] = True
        fires[:, : self.width - 1] = True
        free_sequences, free_positions = np.nonzero(~fires)
        order = rng.permutation(len(free_sequences))
        places = np.full(n_seq, -1)  # of the first position of each sequence: the last one written
        places[free_sequences[order[::-1]]] = np.arange(len(order))[::-1]
        first = places[places >= 0]
        is_rest = np.ones(len(order), dtype=bool)
        is_rest[first] = False
        chosen = order[np.concatenate([rng.permutation(first), np.flatnonzero(is_rest)])[:n]]
        return self.windows(free_sequences[chosen], free_positions[chosen])

    def n_sequences(self) -> Int[np.ndarray, "d_sae"]:
        """In how many sequences each latent fires."""
        latents = range(self.codes.shape[1])
        return np.array([len(np.unique(self.at(latent)[0])) for latent in latents])


def drawn_latents(firings: Firings, n: int, seed: int) -> Int[np.ndarray, "n_drawn 2"]:
    """`n` latents that fire in `LEAST` sequences or more, each with another of them.

    Drawn with replacement, and the other ones at random for each: the rows are independent draws.
    None where fewer than two latents fire so often.
    """
    frequent = np.flatnonzero(firings.n_sequences() >= LEAST)
    if len(frequent) < 2:
        return np.zeros((0, 2), dtype=np.int64)
    rng = np.random.default_rng([seed, n])
    own = rng.integers(len(frequent), size=n)
    other = (own + rng.integers(1, len(frequent), size=n)) % len(frequent)
    return np.stack([frequent[own], frequent[other]], axis=1)


def detected(
    discovery: Firings, sample: Firings, latent: int, other: int, judge: Judge, seed: int
) -> tuple[float, float]:
    """Share of right answers about a latent, and about `other` from the examples of the latent.

    The second is a floor: what is told of one latent says nothing of another, unless they fire
    alike. New windows are as many that fire as silent ones: `N_ASKED`, or as many sequences of
    `sample` as the latent fires in. 1/2 for a latent that is silent there.
    """
    asked = [_asked(sample, which, seed) for which in (latent, other)]
    rng = np.random.default_rng([seed, latent, 0])
    firing = discovery.strongest(latent)
    silent = discovery.silent(latent, N_SILENT, rng)
    together = Windows(np.concatenate([windows.tokens for windows, _ in asked]), sample.pieces)
    if not len(together.tokens):
        return 0.5, 0.5
    said = np.asarray(judge(firing, silent, together))
    cut = len(asked[0][0].tokens)
    found = []
    for answers, (_, truth) in zip((said[:cut], said[cut:]), asked, strict=True):
        found.append(float((answers == truth).mean()) if len(truth) else 0.5)
    return found[0], found[1]


def detection_scores(
    discovery: Firings,
    sample: Firings,
    drawn: Int[np.ndarray, "n_drawn 2"],
    judge: Judge,
    seed: int,
) -> Float[np.ndarray, "n_drawn 2"]:
    """`detected` of every latent that was drawn and the other one of its row."""
    found = [detected(discovery, sample, *row, judge, seed) for row in drawn.tolist()]
    return np.array(found, dtype=np.float64).reshape(-1, 2)


def _asked(sample: Firings, latent: int, seed: int) -> tuple[Windows, Bool[np.ndarray, "n_asked"]]:
    """New windows about a latent, and whether it fires at the end of each."""
    rng = np.random.default_rng([seed, latent, 1])
    firing = sample.random(latent, N_ASKED, rng)
    silent = sample.silent(latent, len(firing.tokens), rng)
    n = min(len(firing.tokens), len(silent.tokens))
    tokens = np.concatenate([firing.tokens[:n], silent.tokens[:n]])
    return Windows(tokens, sample.pieces), np.arange(2 * n) < n

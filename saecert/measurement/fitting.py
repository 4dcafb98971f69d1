"""How an SAE fits where it is: with and without outlier tokens, and at which depth it fits best."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from saecert.corpora.corpus import Corpus
from saecert.measurement.quality import explained_text
from saecert.measurement.saecheck import fit
from saecert.subjects.forward import native_acts_at
from saecert.subjects.subject import Subject


@dataclass(frozen=True)
class Fitting:
    """Explained variance of an SAE, pooled over the tokens that it is said of, BOS left out."""

    all_tokens: float
    """Over all tokens: a few of huge norm can hold most of the variance."""
    without_outliers: float
    """Over those whose norm is at most `saecert.measurement.quality.OUTLIER_FACTOR` times the
    median norm."""
    outlier_share: float
    """Share of the other tokens, in [0, 1]."""

    def __str__(self) -> str:
        shares = (self.all_tokens, self.without_outliers, self.outlier_share)
        return f"explained variance {explained_text(*shares)}"


@torch.no_grad()
def fitting(subject: Subject, corpus: Corpus, hook_name: str, *, n_seq: int = 4) -> Fitting:
    """How the SAE at `hook_name` fits on the first `n_seq` sequences of `corpus`.

    What `saecert.measurement.saecheck.check_sae` reports, without its judgement.

    >>> str(Fitting(0.954, 0.846, 0.0006))[:62]
    'explained variance 0.954 over all tokens, 0.846 without the 0.'
    """
    acts = _activations(subject, corpus.take(min(n_seq, len(corpus))), [hook_name])
    return _fitting(subject, hook_name, acts[hook_name])


@torch.no_grad()
def by_layer(
    subject: Subject, corpus: Corpus, hook_name: str, *, n_seq: int = 4
) -> dict[str, Fitting]:
    """The same of the SAE at `hook_name` on the activations of every layer, by their hook point.

    An SAE of another depth fits best where it is from, however far that is;
    `saecert.measurement.saecheck.check_sae` looks at two layers on either side. Neighbouring layers
    are alike: the best one is a hint and no proof.
    """
    names = [re.sub(r"\d+", str(layer), hook_name, count=1) for layer in range(subject.n_layers)]
    acts = _activations(subject, corpus.take(min(n_seq, len(corpus))), names)
    return {name: _fitting(subject, hook_name, acts[name]) for name in names}


def best_layer(subject: Subject, corpus: Corpus, hook_name: str, *, n_seq: int = 4) -> str:
    """Hook point at which the SAE at `hook_name` explains most of the variance without outliers."""
    found = by_layer(subject, corpus, hook_name, n_seq=n_seq)
    return max(found, key=lambda name: found[name].without_outliers)


def _fitting(subject: Subject, hook_name: str, acts: Float[Tensor, "n d_in"]) -> Fitting:
    found = fit(subject.sae_at(hook_name), acts[None])
    return Fitting(found.explained, found.without_outliers, found.outlier_share)


def _activations(
    subject: Subject, corpus: Corpus, hook_names: list[str]
) -> dict[str, Float[Tensor, "n d_in"]]:
    """Activations of all tokens but BOS, one sequence after the other."""
    tokens = torch.from_numpy(corpus.tokens.astype(np.int64)).to(subject.device)
    acts = native_acts_at(subject.model, tokens, hook_names)
    return {name: acts[name][:, int(corpus.bos) :].flatten(0, 1) for name in hook_names}

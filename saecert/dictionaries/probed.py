"""One SAE probed for labels of sequences and tokens, with latents picked on another text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from sae_lens import SAE
from scipy import sparse

from saecert.corpora.corpus import Corpus
from saecert.dictionaries import labels, probing
from saecert.dictionaries.quantities import RANDOM_LATENTS, SPARSE, package_label, probe_name
from saecert.measurement.loop import checked_batch_size
from saecert.subjects.forward import native_acts
from saecert.subjects.subject import Subject

CHUNK = 4_096
"""Activations encoded at once."""

Scores = dict[str, Float[np.ndarray, "_"]]


@dataclass(frozen=True)
class Labelled:
    """A text at one hook point with its labels: nothing in it depends on an SAE."""

    corpus: Corpus
    """The sequences."""
    acts: Float[np.ndarray, "n_seq n_ctx d_in"]
    """Native activations."""
    of_sequences: dict[str, Bool[np.ndarray, "n_seq"]]
    """Labels of sequences by name."""
    of_tokens: dict[str, labels.TokenLabels]
    """Labels of tokens by name."""


def labelled(
    subject: Subject, hook_name: str, corpora: Sequence[Corpus], batch_size: int | None = None
) -> list[Labelled]:
    """Several texts with their labels; the label "package" is about the first one's commonest.

    ValueError for a hook point that the model does not have.
    """
    subject.check_hook(hook_name)
    pieces = labels.pieces_of(subject.tokenizer, subject.d_vocab)
    package = labels.commonest_package(corpora[0])
    size = checked_batch_size(subject, batch_size)
    found = []
    for corpus in corpora:
        acts = acts_of(subject, hook_name, corpus, size)
        of_sequences = labels.sequence_labels(corpus, pieces, package)
        of_tokens = labels.token_labels(corpus, pieces)
        found.append(Labelled(corpus, acts, of_sequences, of_tokens))
    return found


def acts_of(
    subject: Subject, hook_name: str, corpus: Corpus, batch_size: int
) -> Float[np.ndarray, "n_seq n_ctx d_in"]:
    """Native activations of a text; nothing after the hook point is run."""
    parts = [
        native_acts(subject.model, tokens, hook_name).float().cpu().numpy()
        for _, tokens in corpus.batches(batch_size, subject.device, "activations", False)
    ]
    return np.concatenate(parts)


@torch.no_grad()
def codes_of(sae: SAE, acts: Float[np.ndarray, "n_seq n_ctx d_in"]) -> sparse.csr_array:
    """Codes of activations, a row a position, those of a sequence one after the other."""
    flat = torch.from_numpy(acts.reshape(-1, acts.shape[-1]))
    parts = []
    for start in range(0, len(flat), CHUNK):
        codes = sae.encode(flat[start : start + CHUNK, None].to(sae.W_dec))[:, 0]
        parts.append(sparse.csr_array(codes.float().cpu().numpy()))
    return sparse.vstack(parts, format="csr")


def probed(texts: Sequence[Labelled], codes: Sequence[sparse.csr_array], seed: int = 0) -> Scores:
    """Scores of sparse probes by `probe_name`, and of probes on random latents, their floor.

    Balanced accuracies in [0, 1], one for each independent unit: sets of sequences for labels of
    sequences, sequences for labels of tokens (`saecert.dictionaries.probing`).

    Parameters
    ----------
    texts
        The text on which latents are picked and probes fitted, and the one on which they are
        scored, as `labelled` makes them. A label that has one value in either is left out.
    codes
        Codes of both, as `codes_of` makes them.
    seed
        Of random latents.

    Raises
    ------
    ValueError
        No label that both texts have with two values, or fewer latents than a probe reads.
    """
    of_sequences, of_tokens = _labels_of(texts)
    if not of_sequences + of_tokens:
        raise ValueError(
            "labels of one class cannot be probed, and the texts have no others: take more or "
            "other text"
        )
    found: Scores = {}
    means = [
        probing.sequence_means(part, len(text.acts), text.corpus.first)
        for part, text in zip(codes, texts, strict=True)
    ]
    for label in of_sequences:
        truths = [text.of_sequences[label] for text in texts]
        for name, right in _answers(label, means, truths, seed).items():
            found[name] = probing.balanced_scores(right, truths[1])
    for label in of_tokens:
        known = [text.of_tokens[label] for text in texts]
        rows = [np.flatnonzero(values.ravel() >= 0) for values in known]
        parts = [part[row] for part, row in zip(codes, rows, strict=True)]
        truths = [values.ravel()[row] == 1 for values, row in zip(known, rows, strict=True)]
        for name, right in _answers(label, parts, truths, seed).items():
            spread = np.zeros(known[1].size, dtype=bool)
            spread[rows[1]] = right
            found[name] = probing.within_scores(spread.reshape(known[1].shape), known[1])
    return found


def package_scores(texts: Sequence[Labelled], sae: SAE, seed: int = 0) -> Scores:
    """Scores of sparse probes on the package of a text, each package against all others (float32).

    ``probe_name(k, package_label(name))`` and its floor, as `probed` has those of other labels, for
    every package that `labels.packages_of_both` names. Empty for text without groups.
    """
    packages = labels.packages_of_both(*(text.corpus for text in texts))
    means = [
        probing.sequence_means(codes_of(sae, text.acts), len(text.acts), text.corpus.first)
        for text in texts
    ]
    found: Scores = {}
    for package in packages:
        truths = [np.array([g == package for g in text.corpus.groups]) for text in texts]
        for name, right in _answers(package_label(package), means, truths, seed).items():
            found[name] = probing.balanced_scores(right, truths[1]).astype(np.float32)
    return found


def can_be_probed(texts: Sequence[Labelled]) -> bool:
    """Whether there is a label that all texts have with two values."""
    return any(_labels_of(texts))


def _labels_of(texts: Sequence[Labelled]) -> tuple[list[str], list[str]]:
    """Labels of sequences and of tokens that all texts have with two values."""
    of_sequences = [
        label
        for label in texts[0].of_sequences
        if all(_is_mixed(text.of_sequences.get(label)) for text in texts)
    ]
    of_tokens = [
        label
        for label in texts[0].of_tokens
        if all(_has_both(text.of_tokens[label]) for text in texts)
    ]
    return of_sequences, of_tokens


def _is_mixed(values: Bool[np.ndarray, "n_seq"] | None) -> bool:
    return values is not None and bool(values.any()) and not values.all()


def _answers(
    label: str,
    codes: Sequence[sparse.csr_array | np.ndarray],
    truths: Sequence[np.ndarray],
    seed: int,
) -> dict[str, probing.Labels]:
    """By name, whether each probe of a label is right about each item of the text it is scored on.

    Codes and truths are those of the text where probes are fitted, and of that one.
    """
    found = {}
    for k in SPARSE:
        chosen = {
            "": probing.best_latents(codes[0], truths[0], k),
            RANDOM_LATENTS: probing.random_latents(codes[0], k, seed),
        }
        for floor, latents in chosen.items():
            said = probing.fitted(codes[0], truths[0], latents).answers(codes[1])
            found[probe_name(k, label, floor)] = said == truths[1]
    return found


def _has_both(values: labels.TokenLabels) -> bool:
    """Whether some sequence has both values of a label."""
    return bool(((values == 1).any(axis=1) & (values == 0).any(axis=1)).any())

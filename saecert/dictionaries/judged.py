"""One SAE judged by what its latents are used for: probed, edited, told from examples.

What does not depend on the SAE is made once for each hook point (`share`): native activations,
labels, contexts with their predictions. Then

    shared = share(subject, hook_name, discovery, sample)
    trained = judged(shared, subject.sae_at(hook_name))
    floor = judged(shared, dead(subject.sae_at(hook_name)))

Scores of two SAEs with the same `shared` are of the same units in the same order, so that they may
be compared in pairs; only those of detection are of each SAE's own latents.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from sae_lens import SAE
from scipy import sparse

from saecert.corpora.corpus import Corpus
from saecert.dictionaries import detection, editing, labels, probing
from saecert.dictionaries.probed import Labelled, Scores, acts_of, codes_of, probed
from saecert.dictionaries.quantities import (
    CLASSES_OF_TOKENS,
    DETECTION,
    JUDGED_PARTS,
    OTHER_LATENT,
    RANDOM_LATENTS,
    edit_name,
)
from saecert.measurement.loop import checked_batch_size
from saecert.subjects.forward import clean_run, logits_of
from saecert.subjects.subject import Subject

N_LATENTS = 64
"""Latents drawn for detection."""


@dataclass(frozen=True)
class Split(Labelled):
    """A labelled text with what edits need besides."""

    contexts: editing.Contexts | None
    """Pairs of contexts for edits; None where latents are not judged by them."""


@dataclass(frozen=True)
class Shared:
    """What judging needs besides the SAE, made once for a hook point by `share`."""

    readout: editing.Readout | None
    """Reads predictions when the activation is replaced; None without edits."""
    discovery: Split
    """Where latents are picked and probes fitted."""
    sample: Split
    """Where everything is scored."""
    guide: editing.Guide | None
    """What latents to swap are picked by; None without edits."""
    pieces: list[str]
    """Text of every token of the vocabulary."""
    package: str
    """What the label "package" is about."""
    seed: int
    """Of contexts, latents and windows."""


def share(
    subject: Subject,
    hook_name: str,
    discovery: Corpus,
    sample: Corpus,
    *,
    seed: int = 0,
    batch_size: int | None = None,
    edits: bool = True,
) -> Shared:
    """What judging SAEs at one hook point needs besides them; takes two runs of the model.

    Parameters
    ----------
    subject, hook_name
        The model, and the hook point of the SAEs; the subject's own SAE there is not used.
    discovery
        Sequences on which latents are picked and probes are fitted.
    sample
        Other sequences, on which everything is scored: certification.
    seed
        Of contexts, latents and windows.
    batch_size
        Sequences in a batch.
    edits
        Without them the model is run up to the hook point only, and nothing is judged by edits.

    Raises
    ------
    ValueError
        A hook point that the model does not have, sequences too short for contexts and windows;
        for edits a vocabulary with one class of tokens, or text without a single pair of contexts.
    """
    subject.check_hook(hook_name)
    shortest = max(editing.EARLIEST, detection.WIDTH) + 2
    for corpus in (discovery, sample):
        if corpus.n_ctx < shortest:
            raise ValueError(
                f"sequences of {corpus.n_ctx} tokens are too short to judge SAEs on: n_ctx of "
                f"{shortest} or more"
            )
    pieces = labels.pieces_of(subject.tokenizer, subject.d_vocab)
    package = labels.commonest_package(discovery)
    size = checked_batch_size(subject, batch_size)
    readout = editing.Readout(subject, hook_name, labels.classes_of(pieces)) if edits else None
    splits, odds = [], []
    for corpus in (discovery, sample):
        contexts = None
        if readout is None:
            acts = acts_of(subject, hook_name, corpus, size)
        else:
            acts, early = _run(readout, corpus, size)
            contexts = _contexts(readout, corpus, acts, early, seed)
            odds.append(early)
        named = labels.sequence_labels(corpus, pieces, package)
        splits.append(Split(corpus, acts, named, labels.token_labels(corpus, pieces), contexts))
    guide = None if readout is None else _guide(readout, splits[0], odds[0])
    return Shared(readout, *splits, guide, pieces, package, seed)


def judged(
    shared: Shared, sae: SAE, *, judge: detection.Judge | None = None, n_latents: int = N_LATENTS
) -> Scores:
    """Scores of one SAE by name, each in [0, 1], one for each independent unit (float32).

    * ``probe_name(k, label)``, k in `SPARSE`: balanced accuracy of the probe on the best k latents,
      by set of sequences for labels of sequences, by sequence for labels of tokens
      (`saecert.dictionaries.probing`); its floor, with `RANDOM_LATENTS`, reads random ones.
    * ``edit_name(part, attribute)``, parts "cause" and "isolate" of `CLASSES_OF_TOKENS`: by pair of
      sequences (`saecert.dictionaries.editing`); its floor swaps as many random ones. Only where
      `share` prepared for edits.
    * `DETECTION`, and its floor `OTHER_LATENT`: by latent, drawn with replacement from those that
      fire often enough (`saecert.dictionaries.detection`). An SAE in which hardly any does scores
      1/2: nothing can be told.

    A mean score of 1/2 is chance in probing and detection, and what an SAE without active latents
    has in editing, where it has cause 0 and isolate 1. A label that all or none of the sequences
    have, in either split, is left out; that depends on the text alone.

    Parameters
    ----------
    shared
        Made by `share`.
    sae
        Any SAE for that hook point.
    judge
        Tells firing from examples; `saecert.dictionaries.detection.TokenJudge` if not said.
    n_latents
        Latents drawn for detection.

    Raises
    ------
    ValueError
        An SAE of another width than the activations, or with fewer latents than a probe reads; no
        label at all that both splits have with two values.
    """
    d_in = shared.sample.acts.shape[-1]
    if sae.cfg.d_in != d_in:
        raise ValueError(f"the SAE has d_in={sae.cfg.d_in}, activations have width {d_in}")
    codes = [codes_of(sae, split.acts) for split in (shared.discovery, shared.sample)]
    found = probed((shared.discovery, shared.sample), codes, shared.seed)
    found |= _edited(shared, sae, codes[0])
    found |= _detected(shared, *codes, judge or detection.TokenJudge(), n_latents)
    return {name: values.astype(np.float32) for name, values in found.items()}


def dead(sae: SAE) -> SAE:
    """A copy of an SAE in which no latent is ever active: what any score has to beat.

    ValueError for an architecture that leaves latents active all the same.
    """
    silent = copy.deepcopy(sae)
    with torch.no_grad():
        silent.W_enc.zero_()
        for name in ("b_enc", "b_gate", "b_mag"):
            if hasattr(silent, name):
                getattr(silent, name).fill_(-1.0)
        probe = silent.encode(torch.ones(2, sae.cfg.d_in).to(silent.W_enc))
    if probe.any():
        raise ValueError(f"no dead copy of {type(sae).__name__}: its latents stay active")
    return silent


def _edited(shared: Shared, sae: SAE, codes: sparse.csr_array) -> Scores:
    """Cause and isolate of both attributes, and of as many random latents."""
    readout, guide = shared.readout, shared.guide
    fitting, scoring = shared.discovery.contexts, shared.sample.contexts
    if readout is None or guide is None or fitting is None or scoring is None:
        return {}
    found = {}
    for attribute, name in enumerate(CLASSES_OF_TOKENS):
        order = editing.ranking(sae, codes, guide, attribute)
        best = editing.picked(readout, sae, fitting, order, attribute)
        random = probing.random_latents(codes, len(best), shared.seed)
        for floor, latents in {"": best, RANDOM_LATENTS: random}.items():
            scores = editing.edited(readout, sae, scoring, attribute, latents)
            for part, values in zip(JUDGED_PARTS, scores.T, strict=True):
                found[edit_name(part, name, floor)] = values
    return found


def _detected(
    shared: Shared,
    fitting: sparse.csr_array,
    scoring: sparse.csr_array,
    judge: detection.Judge,
    n_latents: int,
) -> Scores:
    """Detection scores by latent, and those from the examples of other latents."""
    texts = [
        detection.Firings(split.corpus.tokens, codes.tocsc(), shared.pieces)
        for split, codes in zip((shared.discovery, shared.sample), (fitting, scoring), strict=True)
    ]
    drawn = detection.drawn_latents(texts[0], n_latents, shared.seed)
    if not len(drawn):
        return {name: np.full(n_latents, 0.5) for name in (DETECTION, OTHER_LATENT)}
    scores = detection.detection_scores(*texts, drawn, judge, shared.seed)
    return {DETECTION: scores[:, 0], OTHER_LATENT: scores[:, 1]}


@torch.no_grad()
def _run(
    readout: editing.Readout, corpus: Corpus, batch_size: int
) -> tuple[Float[np.ndarray, "n_seq n_ctx d_in"], Float[np.ndarray, "n_seq width 2"]]:
    """Native activations of a text, and predictions at the positions that contexts may end at."""
    subject = readout.subject
    classes = torch.from_numpy(readout.classes).to(subject.device)
    width = min(editing.WIDTH, corpus.n_ctx)
    acts, odds = [], []
    for _, tokens in corpus.batches(batch_size, subject.device, "activations", False):
        seen, last = clean_run(subject.model, tokens, [readout.hook_name])
        acts.append(seen[readout.hook_name].float().cpu().numpy())
        early = last[:, :width].flatten(0, 1)
        found = editing.log_odds(logits_of(subject.model, early).float(), classes)
        odds.append(found.view(len(tokens), width, -1).double().cpu().numpy())
    return np.concatenate(acts), np.concatenate(odds)


def _contexts(
    readout: editing.Readout,
    corpus: Corpus,
    acts: Float[np.ndarray, "n_seq n_ctx d_in"],
    odds: Float[np.ndarray, "n_seq width 2"],
    seed: int,
) -> editing.Contexts:
    """Pairs of contexts of a text; ValueError where it has none."""
    places = editing.paired_positions(odds, corpus.ids, seed).reshape(-1, 2)
    if not len(places):
        raise ValueError(
            f"no two of {len(corpus)} sequences have contexts with opposite predictions: take "
            "more or longer text"
        )
    rows, positions = places.T
    width = odds.shape[1]
    part = (corpus.tokens[rows, :width], positions, acts[rows, :width])
    return editing.contexts_at(readout, *part)


def _guide(
    readout: editing.Readout, split: Split, odds: Float[np.ndarray, "n_seq width 2"]
) -> editing.Guide:
    """What latents are picked by: every position that a context might end at."""
    n_seq, width, _ = odds.shape
    counted = np.arange(editing.EARLIEST, width)
    rows = (np.arange(n_seq)[:, None] * split.corpus.n_ctx + counted).ravel()
    slopes = readout.slopes(split.contexts).mean(axis=0).astype(np.float64)
    return editing.Guide(rows, odds[:, counted].reshape(-1, 2), slopes)

"""The card of a trained subject: everything there is to know about it, measured on its files."""

from __future__ import annotations

from importlib import resources
from typing import Any

import numpy as np

from saecert.corpora.corpus import Corpus
from saecert.corpora.docstrings import SPLITS, docstring_documents, package_versions
from saecert.corpora.installed import train_windows
from saecert.corpora.loading import load_corpus
from saecert.measurement.collect import collect, collect_layers
from saecert.measurement.proxies import pca
from saecert.measurement.references import fit_references
from saecert.measurement.survey import survey, survey_layers
from saecert.subjects.subject import Subject
from saecert.training.recipes import SubjectRecipe

N_COMPONENTS = 24
"""Principal components that stand beside each SAE."""
N_CHECK = 200
"""Discovery sequences of the figures that a test recomputes."""
N_LOSSES = 500
"""Discovery sequences on which losses are measured."""
N_SILENT = 100_000
"""Tokens on which a latent that never fires counts as silent."""


def write_card(subject: Subject, trained: dict[str, Any], recipe: SubjectRecipe) -> dict[str, Any]:
    """Everything there is to know about the subject, measured on the files as loaded."""
    discovery = load_corpus("docstrings", subject, split="discovery")
    return {
        "name": recipe.name,
        "corpus": corpus_figures(subject, discovery),
        "training": {
            "tokens_seen": trained["seen"],
            "steps": trained["step"],
            "validation_bits": trained["validation_bits"],
            "sae_tokens": [sae.n_samples for sae in recipe.saes.values()],
        },
        "parameters": sum(p.numel() for p in subject.model.original_model.parameters()),
        "discovery": model_figures(subject, discovery),
        "saes": {hook: sae_figures(subject, discovery, hook) for hook in subject.hook_names},
        f"first_{N_CHECK}": check_figures(subject, discovery.take(N_CHECK)),
    }


def corpus_figures(subject: Subject, discovery: Corpus) -> dict[str, Any]:
    """Where the text is from, how it was split, and how much of it there is."""
    _, lengths = train_windows(subject)
    sequences = {
        split: len(load_corpus("docstrings", subject, split=split, near_duplicates="keep"))
        for split in ("discovery", "certification")
    }
    return {
        "source": "docstrings of installed packages, read from source, near-duplicates removed",
        "packages": package_versions(),
        "documents": len(docstring_documents()),
        "split_percent": SPLITS,
        "text_hash": discovery.text_hash,
        "train_tokens": int((lengths - 1).sum()),
        "sequences": sequences,
    }


def model_figures(subject: Subject, corpus: Corpus) -> dict[str, float]:
    """Raw bits per token of the model, and of references fitted on train, over `corpus`."""
    tokens, lengths = train_windows(subject)
    reference = fit_references(tokens, subject.d_vocab, lengths).probabilities(corpus.tokens)
    losses = collect(subject, corpus, subject.hook_names[-1], controls=False)
    bits = {name: float(-np.log2(probability).mean()) for name, probability in reference.items()}
    return {"sequences": len(corpus), "model": float(losses.raw["clean"].mean()), **bits}


def sae_figures(subject: Subject, discovery: Corpus, hook_name: str) -> dict[str, float]:
    """Quality of one SAE on discovery text without BOS, PCA of `N_COMPONENTS` beside it.

    The fraction of variance unexplained and L0 are of all discovery sequences, silent latents of
    the first `N_SILENT` tokens, PCA and the increases of cross-entropy (raw bits per token) of the
    first `N_LOSSES` sequences, on which the components are fitted too.
    """
    n_counted = -(-N_SILENT // (discovery.n_ctx - 1))
    sample = discovery.take(N_LOSSES)
    of_all = survey(subject, discovery, hook_name)
    of_sample = survey(subject, sample, hook_name)
    components = pca(of_sample.mean, of_sample.components(N_COMPONENTS))
    losses = collect(subject, sample, hook_name, controls=False, extra=[components])
    increase = {name: float((losses.raw[name] - losses.raw["clean"]).mean()) for name in losses.raw}
    return {
        "fvu": of_all.fvu,
        "pca_fvu": float(of_sample.variances[N_COMPONENTS:].sum() / of_sample.variances.sum()),
        "l0": of_all.l0,
        "silent": survey(subject, discovery.take(n_counted), hook_name).silent,
        "ce_increase": increase["full"],
        "pca_ce_increase": increase[components.name],
    }


def check_figures(subject: Subject, corpus: Corpus) -> dict[str, Any]:
    """The figures that a test recomputes, on a few sequences."""
    losses = collect_layers(subject, corpus, controls=False)
    surveys = survey_layers(subject, corpus, subject.hook_names)
    increase = {
        hook: float((record.raw["full"] - record.raw["clean"]).mean())
        for hook, record in losses.items()
    }
    return {
        "model": float(losses[subject.hook_names[0]].raw["clean"].mean()),
        "ce_increase": increase,
        "fvu": {hook: statistics.fvu for hook, statistics in surveys.items()},
        "l0": {hook: statistics.l0 for hook, statistics in surveys.items()},
    }


def card_text(card: dict[str, Any]) -> str:
    """The card for people: ``card.md`` filled in."""
    rows = [
        f"| {hook} | {sae['fvu']:.3f} | {sae['pca_fvu']:.3f} | {sae['l0']:.1f} "
        f"| {100 * sae['silent']:.1f} % | {sae['ce_increase']:.3f} "
        f"| {sae['pca_ce_increase']:.3f} |"
        for hook, sae in card["saes"].items()
    ]
    versions = card["corpus"]["packages"].items()
    packages = ", ".join(f"{name} {version}" for name, version in versions)
    sae_tokens = ", ".join(f"{n / 1e6:g}M" for n in card["training"]["sae_tokens"])
    template = resources.files("saecert.training").joinpath("card.md").read_text(encoding="utf-8")
    return template.format(
        card=card, packages=packages, sae_tokens=sae_tokens, rows="\n".join(rows)
    )

"""The card of a trained subject: everything there is to know about it, measured on its files."""

from __future__ import annotations

from importlib import resources
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from saecert.corpora.corpus import Corpus, load_corpus, train_windows
from saecert.corpora.docstrings import SPLITS, docstring_documents, package_versions
from saecert.measurement.collect import collect
from saecert.measurement.proxies import pca
from saecert.measurement.references import fit_references
from saecert.measurement.survey import survey
from saecert.subjects.forward import native_acts
from saecert.subjects.loading import Subject
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

    Explained and silent are counted by the SAE's own latents; losses are raw bits per token.
    """
    all_of_it = survey(subject, discovery, hook_name)
    n_counted = -(-N_SILENT // (discovery.n_ctx - 1))
    counted = survey(subject, discovery.take(n_counted), hook_name)
    sample = discovery.take(N_LOSSES)
    mean, components, pca_fvu = principal_components(subject, sample, hook_name)
    losses = collect(subject, sample, hook_name, controls=False, extra=[pca(mean, components)])
    increase = {
        name: float((losses.raw[name] - losses.raw["clean"]).mean())
        for name in ("full", f"pca_{len(components)}")
    }
    return {
        "fvu": all_of_it.fvu,
        "pca_fvu": pca_fvu,
        "l0": all_of_it.l0,
        "silent": counted.silent,
        "ce_increase": increase["full"],
        "pca_ce_increase": increase[f"pca_{len(components)}"],
    }


@torch.no_grad()
def principal_components(
    subject: Subject, corpus: Corpus, hook_name: str
) -> tuple[Float[Tensor, "d_in"], Float[Tensor, "k d_in"], float]:
    """Mean, leading principal directions, and the share of variance that they leave unexplained.

    Of the activations on `corpus` without the first position.
    """
    batches = torch.from_numpy(corpus.tokens.astype(np.int64)).split(32)
    parts = [native_acts(subject.model, tokens, hook_name)[:, 1:] for tokens in batches]
    acts = torch.cat([part.flatten(0, 1) for part in parts])
    mean = acts.mean(dim=0)
    centred = (acts - mean).double()
    variances, directions = torch.linalg.eigh(centred.T @ centred)
    leading = directions.float().T.flip(0)[:N_COMPONENTS].contiguous()
    left = variances[:-N_COMPONENTS].sum() / variances.sum()
    return mean, leading, float(left)


def check_figures(subject: Subject, corpus: Corpus) -> dict[str, Any]:
    """The figures that a test recomputes, on a few sequences."""
    losses = {hook: collect(subject, corpus, hook, controls=False) for hook in subject.hook_names}
    surveys = {hook: survey(subject, corpus, hook) for hook in subject.hook_names}
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

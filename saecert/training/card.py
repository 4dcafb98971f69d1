"""Rebuild `docstring-6l` from nothing: tokenizer, language model, SAEs, model card. Resumable at every stage."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from saecert.corpora.corpus import Corpus
from saecert.corpora.docstrings import SPLITS, docstring_documents, package_versions
from saecert.corpora.installed import train_windows
from saecert.corpora.loading import load_corpus
from saecert.measurement.collect import collect
from saecert.measurement.proxies import pca
from saecert.measurement.references import fit_references
from saecert.measurement.survey import survey
from saecert.subjects.forward import native_acts
from saecert.subjects.loading import load_subject
from saecert.subjects.subject import Subject
from saecert.training import language_model
from saecert.training import sae as autoencoders

N_COMPONENTS = 24
N_CHECK, N_LOSSES, N_SILENT = 200, 500, 100_000


def main(work: str | Path) -> Path:
    """Train everything in `work` and return the finished subject's folder, ``work/docstring-6l``."""
    work = Path(work)
    out = work / "docstring-6l"
    language_model.train(work)
    shutil.copytree(
        work / "model", out, dirs_exist_ok=True, ignore=shutil.ignore_patterns("trained.json")
    )
    autoencoders.train_all(work, out)
    (out / "card.json").unlink(missing_ok=True)  # an old card would refuse the new corpus
    card = write_card(load_subject(out), json.loads((work / "model/trained.json").read_text()))
    (out / "card.json").write_text(json.dumps(card, indent=1) + "\n")
    (out / "README.md").write_text(card_text(card))
    return out


def write_card(subject: Subject, trained: dict[str, Any]) -> dict[str, Any]:
    """Everything there is to know about the subject, measured on the files as loaded."""
    discovery = load_corpus("docstrings", subject, split="discovery")
    _, lengths = train_windows(subject)
    return {
        "name": "docstring-6l",
        "corpus": {
            "source": "docstrings of installed packages, read from source, near-duplicates removed",
            "packages": package_versions(),
            "documents": len(docstring_documents()),
            "split_percent": SPLITS,
            "text_hash": discovery.text_hash,
            "train_tokens": int((lengths - 1).sum()),
            "sequences": {
                split: len(load_corpus("docstrings", subject, split=split, near_duplicates="keep"))
                for split in ("discovery", "certification")
            },
        },
        "training": {
            "tokens_seen": trained["seen"],
            "steps": trained["step"],
            "validation_bits": trained["validation_bits"],
            "sae_tokens": [samples for samples, _, _ in autoencoders.SCHEDULE],
        },
        "parameters": sum(p.numel() for p in subject.model.original_model.parameters()),
        "discovery": model_figures(subject, discovery),
        "saes": {hook: sae_figures(subject, discovery, hook) for hook in subject.hook_names},
        f"first_{N_CHECK}": check_figures(subject, discovery.take(N_CHECK)),
    }


def model_figures(subject: Subject, corpus: Corpus) -> dict[str, float]:
    """Raw bits per token of the model and of the references fitted on train, over `corpus`."""
    tokens, lengths = train_windows(subject)
    reference = fit_references(tokens, subject.d_vocab, lengths).probabilities(corpus.tokens)
    losses = collect(subject, corpus, subject.hook_names[-1], controls=False)
    bits = {name: float(-np.log2(probability).mean()) for name, probability in reference.items()}
    return {"sequences": len(corpus), "model": float(losses.raw["clean"].mean()), **bits}


def sae_figures(subject: Subject, discovery: Corpus, hook_name: str) -> dict[str, float]:
    """Quality of one SAE on discovery text without BOS, with PCA of as many components as it has active latents beside it."""
    found = survey(subject, discovery, hook_name)
    counted = survey(subject, discovery.take(-(-N_SILENT // (discovery.n_ctx - 1))), hook_name)
    mean, components, pca_fvu = principal_components(subject, discovery.take(N_LOSSES), hook_name)
    losses = collect(
        subject, discovery.take(N_LOSSES), hook_name, controls=False, extra=[pca(mean, components)]
    )
    increase = {
        name: float((losses.raw[name] - losses.raw["clean"]).mean())
        for name in ("full", f"pca_{len(components)}")
    }
    return {
        "fvu": found.fvu,
        "pca_fvu": pca_fvu,
        "l0": found.l0,
        "silent": counted.silent,
        "ce_increase": increase["full"],
        "pca_ce_increase": increase[f"pca_{len(components)}"],
    }


@torch.no_grad()
def principal_components(
    subject: Subject, corpus: Corpus, hook_name: str
) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Mean, leading principal directions and the variance share they leave, of the activations on `corpus` without BOS."""
    batches = torch.from_numpy(corpus.tokens.astype(np.int64)).split(32)
    acts = torch.cat(
        [native_acts(subject.model, tokens, hook_name)[:, 1:].flatten(0, 1) for tokens in batches]
    )
    mean = acts.mean(dim=0)
    variances, directions = torch.linalg.eigh((acts - mean).double().T @ (acts - mean).double())
    return (
        mean,
        directions.float().T.flip(0)[:N_COMPONENTS].contiguous(),
        float(variances[:-N_COMPONENTS].sum() / variances.sum()),
    )


def check_figures(subject: Subject, corpus: Corpus) -> dict[str, Any]:
    """The figures that a test recomputes, on a few sequences."""
    losses = {hook: collect(subject, corpus, hook, controls=False) for hook in subject.hook_names}
    found = {hook: survey(subject, corpus, hook) for hook in subject.hook_names}
    first = losses[subject.hook_names[0]]
    return {
        "model": float(first.raw["clean"].mean()),
        "ce_increase": {
            hook: float((record.raw["full"] - record.raw["clean"]).mean())
            for hook, record in losses.items()
        },
        "fvu": {hook: one.fvu for hook, one in found.items()},
        "l0": {hook: one.l0 for hook, one in found.items()},
    }


def card_text(card: dict[str, Any]) -> str:
    """The model card for people: ``card.md`` filled in."""
    rows = [
        f"| {hook} | {s['fvu']:.3f} | {s['pca_fvu']:.3f} | {s['l0']:.1f} | {100 * s['silent']:.1f} % "
        f"| {s['ce_increase']:.3f} | {s['pca_ce_increase']:.3f} |"
        for hook, s in card["saes"].items()
    ]
    packages = ", ".join(
        f"{name} {version}" for name, version in card["corpus"]["packages"].items()
    )
    sae_tokens = ", ".join(f"{n / 1e6:g}M" for n in card["training"]["sae_tokens"])
    template = Path(__file__).with_name("card.md").read_text(encoding="utf-8")
    return template.format(
        card=card, packages=packages, sae_tokens=sae_tokens, rows="\n".join(rows)
    )

"""The card of SAEs trained for a model of others: their quality on discovery text, and PCA's."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from saecert.corpora.corpus import Corpus
from saecert.measurement.proxies import Proxy, full, pca
from saecert.measurement.quality import OUTLIER_FACTOR
from saecert.measurement.sweep import sweep
from saecert.storage import atomic_path
from saecert.subjects.forward import native_acts_at
from saecert.subjects.subject import Subject
from saecert.training.figures import held_out_figures
from saecert.training.recipes import BATCH_TOP_K, JUMP_RELU, STANDARD, TOP_AFA, TOP_K

N_CARD = 64
"""Sequences on which the figures of a card are measured."""
N_AGAIN = 12
"""Of these, the first ones, on which a test measures the figures again."""
N_COMPONENTS = 32
"""Principal components that stand beside each SAE."""
BATCH = 16
"""Sequences run at once."""


def write_sae_card(
    subject: Subject, corpus: Corpus, out: str | Path, *, progress: bool = True
) -> dict[str, Any]:
    """Measure all SAEs of `subject` and write ``card.json`` and ``README.md`` into `out`.

    Parameters
    ----------
    subject
        A model with SAEs at one hook point or more.
    corpus
        Discovery text, on which nothing was trained; its first `N_CARD` sequences are used.
    out
        Folder above ``saes/``. A ``training.json`` there, as ``python -m saecert train sae`` writes
        it, says what the SAEs were trained on.
    progress
        Show a bar.

    Returns
    -------
    dict
        The card: "model_sha256", "corpus", "training", "saes" with `sae_figures` by hook name, and
        the same on few sequences, "first_12".
    """
    out = Path(out)
    training = out / "training.json"
    sample = corpus.take(min(N_CARD, len(corpus)))
    card = {
        "name": subject.name,
        "model_sha256": subject.fingerprint,
        "quantisation": subject.quantisation,
        "corpus": {"name": corpus.name, "split": corpus.split, "text_hash": corpus.text_hash},
        "training": json.loads(training.read_text("utf-8")) if training.exists() else {},
        "n_seq": len(sample),
        "saes": sae_figures(subject, sample, progress=progress),
        f"first_{N_AGAIN}": sae_figures(subject, first(corpus), progress=progress),
    }
    with atomic_path(out / "card.json") as partial:
        partial.write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    with atomic_path(out / "README.md") as partial:
        partial.write_text(card_text(card), encoding="utf-8")
    return card


def first(corpus: Corpus) -> Corpus:
    """The sequences on which a test measures the figures of a card again."""
    return corpus.take(min(N_AGAIN, len(corpus)))


def sae_figures(
    subject: Subject, corpus: Corpus, *, progress: bool = True
) -> dict[str, dict[str, Any]]:
    """Quality of every SAE on `corpus` by hook name, `N_COMPONENTS` principal components beside it.

    What `held_out_figures` says of the activations of all tokens but BOS: explained variance with
    and without outlier tokens, L0, silent latents. And in raw bits per token "ce", the
    cross-entropy of the model, "ce_increase" and "pca_ce_increase", by how much it rises when the
    SAE's reconstruction or the projection takes the activation's place at every token but BOS.
    PCA is fitted on the tokens that it is judged on, outliers among them.
    """
    hook_names = subject.hook_names
    acts = _activations(subject, corpus, hook_names)
    k = min(N_COMPONENTS, *(values.shape[1] for values in acts.values()))
    figures = {name: held_out_figures(subject.sae_at(name), acts[name], k) for name in hook_names}
    chosen = {name: [full(), _projection(acts[name], k)] for name in hook_names}
    del acts
    records = sweep(subject, corpus, chosen, alphas=(0.5,), progress=progress)
    for name in hook_names:
        bits = {key: float(values.mean()) for key, values in records[name].raw.items()}
        figures[name] |= {
            "ce": bits["clean"],
            "ce_increase": bits["full"] - bits["clean"],
            "pca_ce_increase": bits[f"pca_{k}"] - bits["clean"],
        }
    return figures


@torch.no_grad()
def _activations(
    subject: Subject, corpus: Corpus, hook_names: Sequence[str]
) -> dict[str, Float[np.ndarray, "n d_in"]]:
    """Activations of all tokens but BOS, in float32, by hook name."""
    parts: dict[str, list[np.ndarray]] = {name: [] for name in hook_names}
    for start in range(0, len(corpus), BATCH):
        tokens = torch.from_numpy(corpus.tokens[start : start + BATCH].astype(np.int64))
        acts = native_acts_at(subject.model, tokens.to(subject.device), hook_names)
        for name in hook_names:
            kept = acts[name][:, int(corpus.bos) :].flatten(0, 1)
            parts[name].append(kept.float().cpu().numpy())
    return {name: np.concatenate(blocks) for name, blocks in parts.items()}


def _projection(acts: Float[np.ndarray, "n d_in"], k: int) -> Proxy:
    """Projection of activations onto their mean and `k` principal directions."""
    values = acts.astype(np.float64)
    mean = values.mean(axis=0)
    centred = values - mean
    _, vectors = np.linalg.eigh(centred.T @ centred / len(values))
    directions = np.ascontiguousarray(vectors.T[::-1][:k])
    return pca(torch.from_numpy(mean).float(), torch.from_numpy(directions).float())


def card_text(card: dict[str, Any]) -> str:
    """The card for people."""
    rows = [_row(name, figures) for name, figures in card["saes"].items()]
    n_tokens = next(iter(card["saes"].values()))["n_tokens"]
    ce = next(iter(card["saes"].values()))["ce"]
    about = card["corpus"]
    lines = [
        f"# SAEs of {card['name']}",
        "",
        *_about_training(card),
        f"**Quality**, on {card['n_seq']} {about['split']} sequences of {about['name']} "
        f"({n_tokens:,} tokens without BOS), on which nothing was trained. The model loses "
        f"{ce:.2f} bits a token there. Beside each figure, after the stroke, that of PCA with "
        f"{N_COMPONENTS} components, fitted on these very tokens. Explained variance is pooled "
        "over tokens: of all, and without outlier tokens, whose activation's norm exceeds "
        f"{OUTLIER_FACTOR} times the median norm.",
        "",
        "| hook point | explained, all tokens | without outliers | outliers | L0 | silent "
        "| CE increase (bits) |",
        "|---|---|---|---|---|---|---|",
        *rows,
    ]
    return "\n".join(lines) + "\n"


def _row(hook_name: str, figures: dict[str, Any]) -> str:
    explained = figures["explained_variance"]
    dense = figures["pca_explained_variance"]
    cells = [
        hook_name,
        f"{explained['all']:.3f} / {dense['all']:.3f}",
        f"{explained['without_outliers']:.3f} / {dense['without_outliers']:.3f}",
        f"{100 * figures['outlier_share']:.2g} %",
        f"{figures['l0']:.1f}",
        f"{100 * figures['silent']:.1f} %",
        f"{figures['ce_increase']:.3f} / {figures['pca_ce_increase']:.3f}",
    ]
    return f"| {' | '.join(cells)} |"


def _about_training(card: dict[str, Any]) -> list[str]:
    lines = []
    if card["quantisation"]:
        lines += [
            f"**Model.** Its weights are stored quantised ({card['quantisation']} tensors); the "
            "SAEs belong to that model, not to the one that it was made of.",
            "",
        ]
    training = card["training"]
    if training:
        recipe = training["recipe"]
        lines += [
            f"**Training.** {training['tokens_cached']:,} tokens of {training['source']} (of "
            f"{training['tokens_in_source']:,} that it has for training), BOS left out; "
            f"{recipe['n_samples']:,} activations seen by each SAE, in batches of "
            f"{recipe['batch_size']:,} at a learning rate of {recipe['learning_rate']:g}. "
            f"{_kind(recipe)} of {recipe['expansion']} times the width, saved {_saved(recipe)}in "
            "float16.",
            "",
        ]
    return lines


def _kind(recipe: Mapping[str, Any]) -> str:
    """What was trained; recipes of before there were several kinds name none."""
    kind = recipe.get("architecture", BATCH_TOP_K)
    if kind == TOP_AFA:
        return f"top-AFA with lambda {recipe['afa_coefficient']:g}"
    if kind == STANDARD:
        return f"Standard (ReLU, L1) with a coefficient of {recipe['l1_coefficient']:g}"
    names = {BATCH_TOP_K: "BatchTopK", TOP_K: "TopK", JUMP_RELU: "JumpReLU"}
    return f"{names[kind]} with {recipe['l0']} active latents"


def _saved(recipe: Mapping[str, Any]) -> str:
    is_default = recipe.get("architecture", BATCH_TOP_K) == BATCH_TOP_K
    return "as JumpReLU " if is_default else ""

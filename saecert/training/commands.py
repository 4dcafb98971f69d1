"""What ``python -m saecert train`` does: a subject from nothing, or SAEs for any subject."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sae_lens import SAE
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from saecert.corpora.tokenize import windows
from saecert.storage import atomic_path
from saecert.subjects.loading import load_subject
from saecert.subjects.subject import Subject
from saecert.training import language_model
from saecert.training.activations import cache_activations
from saecert.training.card import card_text, write_card
from saecert.training.figures import figures_line, held_out_figures
from saecert.training.recipes import DOCSTRING_6L, FREE, SAERecipe, SubjectRecipe
from saecert.training.sae import train_sae
from saecert.training.text import Windows, training_text

SHARD_TOKENS = 65_536
"""Activations mixed with each other, and held in memory at each hook point while they are."""
_USED = {
    True: "every window of its train split",
    False: "of each document not meant for certification the first window, a twentieth held out",
}
N_HELD_OUT = 50_000
"""Held-out activations, on which thresholds are set and figures are made."""


def train_subject(work: str | Path, recipe: SubjectRecipe = DOCSTRING_6L) -> Path:
    """Train a subject from nothing in `work` and return its folder: tokenizer, model, SAEs, card.

    Resumable at every stage. The text is that of the installed packages' docstrings.
    """
    work = Path(work)
    out = work / recipe.name
    language_model.train(work, recipe.language_model)
    leave_out = shutil.ignore_patterns("trained.json")
    shutil.copytree(work / "model", out, dirs_exist_ok=True, ignore=leave_out)
    _train_subject_saes(work, out, recipe)
    (out / "card.json").unlink(missing_ok=True)  # an old card would refuse the new corpus
    trained = json.loads((work / "model/trained.json").read_text())
    card = write_card(load_subject(out), trained, recipe)
    (out / "card.json").write_text(json.dumps(card, indent=1) + "\n")
    (out / "README.md").write_text(card_text(card))
    return out


def _train_subject_saes(work: Path, out: Path, recipe: SubjectRecipe) -> None:
    """SAEs of the model in ``work/model``, written to ``out/saes``; those already there stay."""
    model = LlamaForCausalLM.from_pretrained(work / "model", dtype=torch.float32).eval()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(work / "model")
    acts = {}
    for split, n_tokens in (("train", recipe.n_cached), ("validation", recipe.n_held_out)):
        texts = language_model.split_texts(split)
        tokens, lengths = windows(texts, tokenizer, n_ctx=recipe.language_model.n_ctx)
        acts[split] = cache_activations(
            model,
            tokens,
            lengths,
            list(recipe.saes),
            n_tokens,
            work / "activations",
            name=split,
            seed=recipe.seed,
        )
    for hook_name, sae_recipe in recipe.saes.items():
        train_sae(
            acts["train"][hook_name],
            acts["validation"][hook_name],
            sae_recipe,
            out / "saes" / hook_name,
            hook_name=hook_name,
            subject_name=recipe.name,
            checkpoints=work / "checkpoints" / hook_name,
        )


def train_saes(
    subject: Subject,
    hook_names: Sequence[str],
    source: str,
    n_tokens: int,
    recipe: SAERecipe,
    out: str | Path,
    *,
    n_ctx: int | None = None,
    dtype: torch.dtype = torch.bfloat16,
    once: bool = False,
    progress: bool = True,
) -> Path:
    """Train SAEs at several hook points of any subject and return the folder they are in.

    The activations of all hook points come from one pass over `n_tokens` tokens of `source` (fewer
    if it has not so many), BOS left out. SAEs go to ``out/saes/<hook point>``, what they were
    trained on to ``out/training.json``, their quality on held-out activations to
    ``out/figures.json``, activations and checkpoints to ``out/work``, which may be deleted
    afterwards. An interrupted call goes on where it was. Nothing is trained on a
    certification split, see `saecert.training.text.training_text`.

    Parameters
    ----------
    subject
        The model; SAEs that it has are not used.
    hook_names
        Hook points, at each of which an SAE is trained by the same recipe.
    source
        Any source of `load_corpus`.
    n_tokens
        Activations to cache; the recipe says how many are seen in training.
    recipe
        Of every SAE.
    out
        Folder to write.
    n_ctx
        Tokens per window, BOS included. Default: the model's context, at most 128.
    dtype
        `torch.bfloat16` runs the model under autocast; `torch.float32` exactly.
    once
        Train on as many activations as there are, whatever number the recipe says.
    progress
        Show bars.

    Raises
    ------
    ValueError
        Unknown hook point or source, too little text, another training in `out`, more active
        latents than there are, or what `cache_activations` and `train_sae` refuse.
    OSError
        `out` cannot be written, or the disk is too small.
    """
    out = Path(out)
    for hook_name in hook_names:
        subject.check_hook(hook_name)
        check_l0(subject, hook_name, recipe)
    out.mkdir(parents=True, exist_ok=True)
    train, held_out = training_text(source, subject, n_ctx=n_ctx, n_tokens=n_tokens)
    if once:
        recipe = replace(recipe, n_samples=min(n_tokens, train.n_tokens))
    facts = training_facts(subject, hook_names, source, n_tokens, train, recipe, dtype)
    claim_folder(out / "training.json", facts, n_tokens)
    texts = {"train": (train, n_tokens), "held-out": (held_out, N_HELD_OUT)}
    settings = {"dtype": dtype, "seed": recipe.order_seed, "progress": progress}
    acts, others = cached(subject, texts, hook_names, out / "work/activations", **settings)
    for hook_name in hook_names:
        names = {"hook_name": hook_name, "subject_name": subject.name}
        checkpoints = out / "work/checkpoints" / hook_name
        target = out / "saes" / hook_name
        data = (acts[hook_name], others[hook_name])
        train_sae(*data, recipe, target, **names, checkpoints=checkpoints)
    _write_figures(out, others, recipe.l0)
    return out / "saes"


def check_l0(subject: Subject, hook_name: str, recipe: SAERecipe) -> None:
    """ValueError for more active latents than an SAE of the residual stream has.

    How wide other activations are is known once they are there; `train_sae` looks again.
    """
    n_latents = recipe.expansion * subject.model.cfg.d_model
    asked = recipe.architecture not in FREE
    if asked and ".hook_resid_" in hook_name and recipe.l0 > n_latents:
        raise ValueError(f"l0={recipe.l0} asked of an SAE of {n_latents} latents")


def cached(
    subject: Subject,
    texts: Mapping[str, tuple[Windows, int]],
    hook_names: Sequence[str],
    folder: Path,
    **settings: Any,
) -> list[dict[str, np.ndarray]]:
    """For each of `texts`, windows and how many of their activations are kept under a name: the
    activations by hook point. `settings` are those of `cache_activations`.
    """
    return [
        cache_activations(
            subject,
            text.tokens,
            text.lengths,
            hook_names,
            n_tokens,
            folder,
            bos=text.bos,
            name=name,
            shard_tokens=SHARD_TOKENS,
            **settings,
        )
        for name, (text, n_tokens) in texts.items()
    ]


def _write_figures(out: Path, held_out: Mapping[str, np.ndarray], k: int) -> None:
    """Judge every SAE on held-out activations: ``out/figures.json``, and a line each printed."""
    figures = {}
    for hook_name, acts in held_out.items():
        sae = SAE.load_from_disk(out / "saes" / hook_name, dtype="float32")
        figures[hook_name] = held_out_figures(sae, acts, k)
        print(figures_line(hook_name, figures[hook_name], k))
    with atomic_path(out / "figures.json") as partial:
        partial.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def training_facts(
    subject: Subject,
    hook_names: Sequence[str],
    source: str,
    n_tokens: int,
    train: Windows,
    recipe: SAERecipe,
    dtype: torch.dtype,
) -> dict[str, Any]:
    """What determines the SAEs, and what their user must know."""
    return {
        "subject": subject.name,
        "model_sha256": subject.fingerprint,
        "hook_names": list(hook_names),
        "source": source,
        "tokens_in_source": train.n_tokens,
        "tokens_cached": min(n_tokens, train.n_tokens),
        "n_ctx": int(train.tokens.shape[1]),
        "bos_left_out": train.bos,
        "dtype": str(dtype).removeprefix("torch."),
        "recipe": asdict(recipe),
    }


def claim_folder(path: Path, facts: dict[str, Any], n_tokens: int) -> None:
    """Write what is trained in this folder; ValueError when it is something else already."""
    if facts["tokens_cached"] < n_tokens:
        print(
            f"'{facts['source']}' has {facts['tokens_cached']:,} tokens to train on, {n_tokens:,} "
            f"were asked for: {_USED[facts['source'] == 'docstrings' and facts['bos_left_out']]}"
        )
    if not path.exists():
        with atomic_path(path) as partial:
            partial.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
        return
    old = json.loads(path.read_text(encoding="utf-8"))
    different = [name for name in facts if old.get(name) != facts[name]]
    if different:
        raise ValueError(
            f"{path.parent} holds another training (another {', '.join(different)}): "
            "give another folder, or delete it"
        )

"""What ``python -m saecert train baselines`` does: random baselines beside their trained twins."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path

import numpy as np
import torch
from sae_lens import SAE

from saecert.storage import atomic_path
from saecert.subjects.subject import Subject
from saecert.training.baseline_plan import baseline_name
from saecert.training.commands import N_HELD_OUT, cached, check_l0, claim_folder, training_facts
from saecert.training.figures import figures_line, held_out_figures
from saecert.training.recipes import FROZEN, SAERecipe
from saecert.training.side_by_side import SideBySide, train_side_by_side
from saecert.training.text import training_text


def baseline_recipes(
    recipe: SAERecipe,
    architectures: Sequence[str],
    l0s: Sequence[int],
    starts: Sequence[str],
    frozen: Sequence[str] = FROZEN,
) -> dict[str, SAERecipe]:
    """Recipes by name: each kind, number of latents and start, trained and with a part held.

    ValueError for what `SAERecipe` refuses.
    """
    return {
        baseline_name(kind, l0, start, held): replace(
            recipe, architecture=kind, l0=l0, start=start, frozen=held
        )
        for kind, l0, start, held in product(architectures, l0s, starts, frozen)
    }


def train_baselines(
    subject: Subject,
    hook_names: Sequence[str],
    source: str,
    n_tokens: int,
    recipes: Mapping[str, SAERecipe],
    out: str | Path,
    *,
    n_ctx: int | None = None,
    dtype: torch.dtype = torch.bfloat16,
    once: bool = False,
    progress: bool = True,
) -> list[Path]:
    """Train SAEs by several recipes at several hook points; the folder of each recipe's SAEs.

    As `saecert.training.commands.train_saes`, with all recipes of a hook point in one pass over its
    activations. SAEs go to ``out/<recipe>/<hook point>``, so that ``sae="out/<recipe>/*"`` loads
    those of one recipe; what they were trained on goes to ``out/training.json``, their quality to
    ``out/figures.json``, and ``out/work`` may be deleted. An interrupted call goes on where it was.

    Parameters
    ----------
    subject, hook_names, source, n_tokens, out, n_ctx, dtype, once, progress
        As for `saecert.training.commands.train_saes`.
    recipes
        By name, such as `baseline_recipes` makes them.

    Raises
    ------
    ValueError
        As `saecert.training.commands.train_saes`; recipes that do not see the same batches.
    OSError
        `out` cannot be written, or the disk is too small.
    """
    out = Path(out)
    for hook_name in hook_names:
        subject.check_hook(hook_name)
        for recipe in recipes.values():
            check_l0(subject, hook_name, recipe)
    SideBySide(out, recipes, {})
    out.mkdir(parents=True, exist_ok=True)
    train, held_out = training_text(source, subject, n_ctx=n_ctx, n_tokens=n_tokens)
    if once:
        n_samples = min(n_tokens, train.n_tokens)
        recipes = {name: replace(x, n_samples=n_samples) for name, x in recipes.items()}
    first = next(iter(recipes.values()))
    facts = training_facts(subject, hook_names, source, n_tokens, train, first, dtype)
    facts["recipes"] = {name: asdict(recipe) for name, recipe in recipes.items()}
    claim_folder(out / "training.json", facts, n_tokens)
    texts = {"train": (train, n_tokens), "held-out": (held_out, N_HELD_OUT)}
    settings = {"dtype": dtype, "seed": first.order_seed, "progress": progress}
    acts, others = cached(subject, texts, hook_names, out / "work/activations", **settings)
    _train_all(subject.name, acts, others, recipes, out, progress)
    _write_figures(out, others, recipes)
    return [out / name for name in recipes]


def _train_all(
    subject_name: str,
    acts: Mapping[str, np.ndarray],
    held_out: Mapping[str, np.ndarray],
    recipes: Mapping[str, SAERecipe],
    out: Path,
    progress: bool,
) -> None:
    for hook_name in acts:
        side = SideBySide(out, recipes, {}, inside=hook_name)
        train_side_by_side(
            acts[hook_name],
            held_out[hook_name],
            side,
            hook_name=hook_name,
            subject_name=subject_name,
            checkpoints=out / "work/checkpoints" / hook_name,
            progress=progress,
        )


def _write_figures(
    out: Path, held_out: Mapping[str, np.ndarray], recipes: Mapping[str, SAERecipe]
) -> None:
    """Judge every SAE on held-out activations: ``out/figures.json``, and a line each printed."""
    figures: dict[str, dict[str, object]] = {name: {} for name in recipes}
    for name, recipe in recipes.items():
        for hook_name, acts in held_out.items():
            sae = SAE.load_from_disk(out / name / hook_name, dtype="float32")
            k = min(recipe.l0, acts.shape[1])
            figures[name][hook_name] = found = held_out_figures(sae, acts, k)
            print(f"{name}, {figures_line(hook_name, found, k)}")
    with atomic_path(out / "figures.json") as partial:
        partial.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")

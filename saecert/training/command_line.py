"""``train sae`` and ``train baselines``: their options, and what they do."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from saecert.training.recipes import ARCHITECTURES, BATCH_TOP_K, FREE, FROZEN, STARTS, SAERecipe

_TEXTS = {
    "subject": "name of a subject, or folder of a model",
    "corpus": "text to train on (%(default)s), never its certification split: of a file the "
    "first window of each document of the discovery share, a quarter of the documents",
    "out": "where SAEs go, and where it resumes if interrupted",
}
_NUMBERS: dict[str, tuple[type, Any, str]] = {
    "tokens": (int, None, "tokens whose activations are cached"),
    "samples": (int, None, "activations seen in training (those cached, once)"),
    "expansion": (int, 8, "latents per dimension of the activation (%(default)s)"),
    "batch-size": (int, 1024, "activations a step (%(default)s)"),
    "learning-rate": (float, 1.5e-3, "its peak (%(default)s)"),
    "n-ctx": (int, None, "tokens per window, BOS included (the model's context, at most 128)"),
    "seed": (int, 0, "of weights and order (%(default)s)"),
}


def add_train_sae(sae: argparse.ArgumentParser) -> None:
    """Add the options of ``train sae`` to its parser."""
    _add_shared(sae)
    text = f"active latents per token, except of {' and '.join(FREE)} (%(default)s)"
    sae.add_argument("--l0", type=int, default=32, metavar="N", help=text)
    text = "lambda of top_afa (%(default)s)"
    sae.add_argument("--afa-coefficient", type=float, default=1 / 16, metavar="N", help=text)
    text = "weight of the L1 norm of standard (%(default)s)"
    sae.add_argument("--l1-coefficient", type=float, default=5.0, metavar="N", help=text)
    sae.add_argument(
        "--architecture",
        choices=ARCHITECTURES,
        default=BATCH_TOP_K,
        help="kind of SAE (%(default)s)",
    )
    sae.set_defaults(command=train_sae)


def add_train_baselines(baselines: argparse.ArgumentParser) -> None:
    """Add the options of ``train baselines`` to its parser."""
    _add_shared(baselines)
    add = baselines.add_argument
    add("--l0", type=int, nargs="+", default=[32], metavar="N", help="active latents per token")
    kinds = tuple(kind for kind in ARCHITECTURES if kind not in FREE)
    text = f"kinds of SAEs ({BATCH_TOP_K})"
    add("--architecture", nargs="+", choices=kinds, default=[BATCH_TOP_K], help=text)
    text = "where decoders start: at isotropic rows, or with the activations' covariance"
    add("--start", nargs="+", choices=STARTS[1:], default=list(STARTS[1:]), help=text)
    text = "which baselines stand beside the trained twin: what is held of each (all)"
    add("--frozen", nargs="+", choices=FROZEN[1:], default=list(FROZEN[1:]), help=text)
    text = "least cosine of a soft decoder's rows with their start (%(default)s)"
    add("--soft-cosine", type=float, default=0.8, metavar="X", help=text)
    baselines.set_defaults(command=train_baselines)


def train_sae(options: argparse.Namespace) -> int:
    """Exit code 0, when SAEs by one recipe are trained."""
    try:
        own = {"l0": options.l0, "architecture": options.architecture}
        own |= {"l1_coefficient": options.l1_coefficient}
        recipe = _recipe(options, **own, afa_coefficient=options.afa_coefficient)
        folder = _trained(options, recipe)
    except (OSError, ValueError, MemoryError) as error:
        return _failed(options, error)
    print(
        f"written to {folder}: load them with load_subject({options.subject!r}, sae='{folder}/*')"
    )
    return 0


def train_baselines(options: argparse.Namespace) -> int:
    """Exit code 0, when baselines and their twins are trained."""
    try:
        recipe = _recipe(options, l0=options.l0[0], soft_cosine=options.soft_cosine)
        folders = _trained_baselines(options, recipe)
    except (OSError, ValueError, MemoryError) as error:
        return _failed(options, error)
    print(f"written to {options.out}: load them with load_subject({options.subject!r}, sae=...)")
    for folder in folders:
        print(f"  sae='{folder}/*'")
    return 0


def _add_shared(command: argparse.ArgumentParser) -> None:
    """Options that both commands have."""
    for name, text in _TEXTS.items():
        command.add_argument(f"--{name}", required=name != "corpus", metavar="TEXT", help=text)
    command.set_defaults(corpus="docstrings")
    command.add_argument("--hooks", required=True, nargs="+", metavar="HOOK", help="hook points")
    for name, (kind, default, text) in _NUMBERS.items():
        required = name == "tokens"
        command.add_argument(
            f"--{name}", type=kind, default=default, required=required, metavar="N", help=text
        )
    command.add_argument(
        "--dtype",
        choices=("bfloat16", "float32"),
        default="bfloat16",
        help="in which products are computed; bfloat16 by autocast (%(default)s)",
    )


def _recipe(options: argparse.Namespace, **own: Any) -> SAERecipe:
    if options.tokens < 1:
        raise ValueError(f"--tokens must be at least 1, got {options.tokens}")
    recipe = SAERecipe(
        n_samples=options.tokens if options.samples is None else options.samples,
        learning_rate=options.learning_rate,
        expansion=options.expansion,
        batch_size=options.batch_size,
        seed=options.seed,
        order_seed=options.seed,
        autocast=options.dtype == "bfloat16",
        **own,
    )
    if Path(options.out).is_file():
        raise ValueError(f"--out takes a folder, and {options.out} is a file")
    return recipe


def _common(options: argparse.Namespace) -> tuple[list[Any], dict[str, Any]]:
    """Subject and text, and settings, as the library takes them."""
    import torch

    from saecert.subjects.loading import load_subject

    subject = load_subject(options.subject, sae={})
    what = [subject, options.hooks, options.corpus, options.tokens]
    settings = {
        "n_ctx": options.n_ctx,
        "dtype": getattr(torch, options.dtype),
        "once": options.samples is None,
    }
    return what, settings


def _trained(options: argparse.Namespace, recipe: SAERecipe) -> Path:
    from saecert.training.commands import train_saes

    what, settings = _common(options)
    return train_saes(*what, recipe, options.out, **settings)


def _trained_baselines(options: argparse.Namespace, recipe: SAERecipe) -> list[Path]:
    from saecert.training.baseline_commands import baseline_recipes, train_baselines

    held = ["", *options.frozen]
    recipes = baseline_recipes(recipe, options.architecture, options.l0, options.start, held)
    what, settings = _common(options)
    return train_baselines(*what, recipes, options.out, **settings)


def _failed(options: argparse.Namespace, error: Exception) -> int:
    """Exit code 1, with one line; with ``--debug`` the error itself, which tells its place."""
    if getattr(options, "debug", False):
        raise error
    print(f"error: {error}", file=sys.stderr)
    return 1

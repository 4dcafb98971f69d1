"""Train an SAE with sae_lens, make it ready for use, and keep it in half precision."""

from __future__ import annotations

import itertools
import math
import os
import shutil
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from sae_lens import SAE, LoggingConfig
from sae_lens.config import SAETrainerConfig
from torch import Tensor

from saecert.storage import partial_folder
from saecert.training.activations import shuffled_batches
from saecert.training.architectures import finished, new_sae
from saecert.training.baselines import BaselineTrainer, set_start
from saecert.training.checkpoints import ALONE, Checkpoints
from saecert.training.recipes import FREE, STANDARD, SAERecipe


def train_sae(
    acts: Float[np.ndarray, "n_acts d_in"],
    held_out: Float[np.ndarray, "n_held_out d_in"],
    recipe: SAERecipe,
    out: Path,
    *,
    hook_name: str = "",
    subject_name: str = "",
    checkpoints: Path | None = None,
) -> Path:
    """Train an SAE on `acts`, set its threshold on `held_out`, and return its folder, `out`.

    It is saved in float16, in the format of sae_lens, whole or not at all; one that is there
    already is kept. BatchTopK becomes JumpReLU; TopK, top-AFA and standard have no threshold. Of a
    random baseline a part stays where it starts (`saecert.training.baselines`).

    Parameters
    ----------
    acts, held_out
        Activations, in random order; those held out are of other text.
    recipe
        Width, sparsity, schedule and seeds.
    out
        Folder to write.
    hook_name, subject_name
        Where the activations are from, for the SAE's configuration.
    checkpoints
        Folder for the state of the training: the same call goes on from there after an
        interruption, to the same weights. Default: nothing is kept.

    Raises
    ------
    ValueError
        Fewer activations than a batch, more active latents asked for than there are latents, a
        covariance of fewer activations than dimensions, or a training that diverged.
    """
    if is_trained(out):
        if checkpoints is not None:  # killed before they were removed
            shutil.rmtree(checkpoints, ignore_errors=True)
        return out
    trainer = new_trainer(acts, recipe, hook_name, subject_name)
    store = None if checkpoints is None else Checkpoints(checkpoints, acts, {ALONE: recipe})
    start = 0
    if store is not None:
        trainer.save_checkpoint_fn = lambda **_: store.save({ALONE: trainer})
        done = store.restore({ALONE: trainer})
        start = recipe.norm_batches + done if done else 0
    trainer.data_provider = shuffled_batches(acts, recipe.batch_size, recipe.order_seed, start)
    save_sae(finished(trainer.fit(), calibration(held_out, recipe), recipe), out)
    if store is not None:
        store.clear()
    return out


def is_trained(out: Path) -> bool:
    """Whether the SAE that belongs into the folder `out` is there."""
    return (out / "sae_weights.safetensors").exists()


def calibration(
    held_out: Float[np.ndarray, "n_held_out d_in"], recipe: SAERecipe
) -> Float[Tensor, "n d_in"]:
    """The activations on which thresholds are set."""
    return torch.from_numpy(held_out[: recipe.n_calibration].astype(np.float32))


def price_of(acts: Float[np.ndarray, "n_acts d_in"], recipe: SAERecipe) -> float:
    """The price of activity of a standard SAE in units of the activations, lambda in
    ``||x - x_hat||^2 / 2 + lambda sum z_j`` with codes z of atoms of unit length.

    Activations are trained on times a factor s that makes their mean norm ``sqrt(d_in)``, as
    estimated on the first batches; c is `SAERecipe.l1_coefficient`. What is minimised is ``s^2 ||x
    - x_hat||^2 + c s sum z_j``, so that lambda is ``c / (2 s)``. ValueError for another kind.
    """
    if recipe.architecture != STANDARD:
        raise ValueError(f"an SAE of the kind '{recipe.architecture}' has no price of activity")
    batches = shuffled_batches(acts, recipe.batch_size, recipe.order_seed)
    first = itertools.islice(batches, recipe.norm_batches)
    mean_norm = float(torch.cat(list(first)).norm(dim=1).mean())
    return recipe.l1_coefficient / 2 * mean_norm / math.sqrt(acts.shape[1])


def new_trainer(
    acts: Float[np.ndarray, "n_acts d_in"],
    recipe: SAERecipe,
    hook_name: str = "",
    subject_name: str = "",
) -> BaselineTrainer:
    """A trainer by the recipe without its data, of an SAE where the recipe starts.

    ValueError for more active latents than there are, and what `set_start` refuses.
    """
    n_latents = recipe.expansion * acts.shape[1]
    if recipe.architecture not in FREE and recipe.l0 > n_latents:
        raise ValueError(f"l0={recipe.l0} asked of an SAE of {n_latents} latents")
    torch.manual_seed(recipe.seed)
    sae = new_sae(acts.shape[1], recipe, hook_name, subject_name)
    set_start(sae, acts, recipe)
    settings = SAETrainerConfig(
        total_training_samples=recipe.n_samples,
        train_batch_size_samples=recipe.batch_size,
        lr=recipe.learning_rate,
        lr_end=recipe.learning_rate / 10,
        lr_warm_up_steps=recipe.warm_up_steps,
        lr_decay_steps=recipe.n_samples // recipe.batch_size // 3,
        dead_feature_window=recipe.dead_steps,
        n_batches_for_norm_estimate=recipe.norm_batches,
        n_checkpoints=recipe.checkpoints,
        autocast=recipe.autocast,
        logger=LoggingConfig(log_to_wandb=False),
    )
    return BaselineTrainer(settings, sae, recipe)


def save_sae(sae: SAE, out: Path) -> None:
    """Write an SAE into the folder `out` in half precision, whole or not at all."""
    sae.cfg.dtype = "float16"
    sae.half()
    with partial_folder(out.parent) as folder:
        written = folder / out.name
        sae.save_model(written)
        if out.exists():
            shutil.rmtree(out)
        os.replace(written, out)

"""Kinds of SAEs: untrained, and what a trained one becomes for use."""

from __future__ import annotations

import tempfile

import torch
from jaxtyping import Float
from sae_lens import (
    SAE,
    BatchTopKTrainingSAEConfig,
    JumpReLUTrainingSAE,
    JumpReLUTrainingSAEConfig,
    StandardTrainingSAE,
    StandardTrainingSAEConfig,
    TopKTrainingSAE,
    TopKTrainingSAEConfig,
    TrainingSAE,
)
from torch import Tensor

from saecert.subjects.top_afa import TopAFATrainingSAE, TopAFATrainingSAEConfig
from saecert.training.recipes import BATCH_TOP_K, JUMP_RELU, STANDARD, TOP_K, SAERecipe
from saecert.training.selection import SoonerThreshold, hasten, largest_of

CALIBRATION_BATCH = 5_000
"""Activations encoded at once when the threshold is set."""
LEAST_THRESHOLD = 1e-3
"""Of JumpReLU, before scaling, as a share of the mean one: zero times a factor would stay zero."""


def new_sae(d_in: int, recipe: SAERecipe, hook_name: str, subject_name: str) -> TrainingSAE:
    """The untrained SAE, its decoder bias zero. ValueError for settings that its kind refuses."""
    common = {
        "d_in": d_in,
        "d_sae": recipe.expansion * d_in,
        "apply_b_dec_to_input": True,
        "normalize_activations": "expected_average_only_in",
    }
    kind: type[TrainingSAE]
    if recipe.architecture == BATCH_TOP_K:
        kind = SoonerThreshold
        own = {"k": recipe.l0, "topk_threshold_lr": recipe.threshold_rate}
        settings = BatchTopKTrainingSAEConfig(**common, **own)
    elif recipe.architecture == TOP_K:
        kind = TopKTrainingSAE
        settings = TopKTrainingSAEConfig(**common, k=recipe.l0)
    elif recipe.architecture == JUMP_RELU:
        kind = JumpReLUTrainingSAE
        aim = {"jumprelu_sparsity_loss_mode": "quadratic", "target_l0": recipe.l0}
        settings = JumpReLUTrainingSAEConfig(**common, **aim)
    elif recipe.architecture == STANDARD:
        kind = StandardTrainingSAE
        pay = {"l1_coefficient": recipe.l1_coefficient, "l1_warm_up_steps": recipe.warm_up_steps}
        settings = StandardTrainingSAEConfig(**common, **pay)
    else:
        kind = TopAFATrainingSAE
        settings = TopAFATrainingSAEConfig(**common, **_of_top_afa(recipe))
    settings.metadata.hook_name = hook_name
    settings.metadata.model_name = subject_name
    sae = kind(settings)
    hasten(sae)
    with torch.no_grad():
        sae.b_dec.zero_()
    return sae


def finished(trained: TrainingSAE, held_out: Float[Tensor, "n d_in"], recipe: SAERecipe) -> SAE:
    """The trained SAE for use: BatchTopK as JumpReLU, its threshold set on `held_out`; JumpReLU
    with its thresholds scaled there.

    ValueError for a training that diverged.
    """
    inference = _as_inference(trained)
    if recipe.architecture == BATCH_TOP_K:
        set_threshold(inference, held_out, recipe.l0)
    elif recipe.architecture == JUMP_RELU:
        scale_thresholds(inference, held_out, recipe.l0)
    elif not all(weights.isfinite().all() for weights in inference.parameters()):
        raise ValueError(_DIVERGED)
    return inference


_DIVERGED = "the training diverged: lower the learning rate"


def _of_top_afa(recipe: SAERecipe) -> dict[str, str | float | bool]:
    return {
        "afa_coefficient": recipe.afa_coefficient,
        "compared": recipe.afa_compared,
        "loss_norm": recipe.afa_loss_norm,
        "reconstruction": recipe.afa_reconstruction,
        "encoder_bias": recipe.afa_encoder_bias,
    }


def _as_inference(trained: TrainingSAE) -> SAE:
    """The trained SAE as sae_lens makes it on the way to disk: BatchTopK as JumpReLU."""
    with tempfile.TemporaryDirectory() as folder:
        trained.save_inference_model(folder)
        return SAE.load_from_disk(folder)


@torch.no_grad()
def set_threshold(sae: SAE, acts: Float[Tensor, "n d_in"], l0: int) -> None:
    """Set one threshold for all latents, at which `l0` of them are active on average over `acts`.

    The running threshold that training leaves follows too slowly. ValueError for an SAE whose
    latents are not finite.
    """
    _set_thresholds(sae, acts, l0, torch.ones_like(sae.threshold))


@torch.no_grad()
def scale_thresholds(sae: SAE, acts: Float[Tensor, "n d_in"], l0: int) -> None:
    """Multiply the thresholds of a JumpReLU SAE by one factor, at which `l0` latents are active on
    average over `acts`.

    Training comes near to that number and stays beside it; SAEs are compared at the same.
    ValueError for an SAE whose latents are not finite.
    """
    least = LEAST_THRESHOLD * float(sae.threshold.mean())
    _set_thresholds(sae, acts, l0, sae.threshold.clamp_min(least))


def _set_thresholds(
    sae: SAE, acts: Float[Tensor, "n d_in"], l0: int, shape: Float[Tensor, "d_sae"]
) -> None:
    """Set the thresholds to a multiple of `shape`."""
    shape = shape.clone()
    sae.threshold.fill_(0.0)
    parts = ((sae.encode(part) / shape).flatten() for part in acts.split(CALIBRATION_BATCH))
    largest = largest_of(parts, l0 * len(acts))
    if not largest.isfinite().all():
        raise ValueError(_DIVERGED)
    sae.threshold.copy_(shape * largest.min())

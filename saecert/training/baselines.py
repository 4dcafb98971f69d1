"""Random baselines of an SAE: a dictionary that starts at random and is held there.

After arXiv 2602.14111: what of an SAE's scores does learning its dictionary bring? A baseline has
the start, the data, their order and the steps of its trained twin, and a part of it does not learn.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float
from sae_lens import SAETrainer, TrainingSAE
from sae_lens.config import SAETrainerConfig
from sae_lens.saes.sae import TrainStepOutput
from torch import Tensor

from saecert.training.recipes import COVARIANCE, JUMP_RELU, SOFT_DECODER, SAERecipe

N_COVARIANCE = 50_000
"""Activations from which a covariance is estimated, if there are so many."""
N_THRESHOLD = 2_048
"""Activations on which the first threshold of JumpReLU is set."""


@torch.no_grad()
def set_start(sae: TrainingSAE, acts: Float[np.ndarray, "n d_in"], recipe: SAERecipe) -> None:
    """Put an untrained SAE where the recipe starts.

    With a `start`, rows of the decoder have unit length, and the encoder is its transpose. All
    thresholds of JumpReLU start where as many latents are active as are asked for: from the usual
    .01 a short training does not get there.

    Parameters
    ----------
    sae
        As `saecert.training.architectures.new_sae` makes it.
    acts
        Activations that it is trained on, in random order.
    recipe
        Its start and seed.

    Raises
    ------
    ValueError
        A covariance asked of fewer activations than dimensions.
    """
    if recipe.start:
        generator = torch.Generator().manual_seed(recipe.seed)
        rows = torch.randn(sae.W_dec.shape, generator=generator, dtype=torch.float64)
        if recipe.start == COVARIANCE:
            rows = rows @ covariance_root(acts[:N_COVARIANCE])
        rows = torch.nn.functional.normalize(rows, dim=1).to(sae.W_dec)
        sae.W_dec.copy_(rows)
        sae.W_enc.copy_(rows.T)
    if recipe.architecture == JUMP_RELU:
        sae.threshold.fill_(_first_threshold(sae, acts[:N_THRESHOLD], recipe.l0))


def covariance_root(acts: Float[np.ndarray, "n d_in"]) -> Float[Tensor, "d_in d_in"]:
    """The symmetric square root of the activations' covariance, in double precision.

    A standard normal row times it is Gaussian with that covariance. ValueError for fewer
    activations than dimensions, which leave directions without any variance.
    """
    n, d_in = acts.shape
    if n < d_in:
        raise ValueError(
            f"start='covariance' needs as many activations as dimensions at least, got {n} of "
            f"{d_in} dimensions: cache more tokens, or start isotropic"
        )
    centred = torch.from_numpy(acts.astype(np.float64))
    centred -= centred.mean(dim=0)
    values, vectors = torch.linalg.eigh(centred.T @ centred / n)
    return (vectors * values.clamp_min(0).sqrt()) @ vectors.T


def _first_threshold(sae: TrainingSAE, acts: Float[np.ndarray, "n d_in"], l0: int) -> float:
    """Where `l0` latents are active on activations scaled as in training."""
    x = torch.from_numpy(acts.astype(np.float32))
    x *= math.sqrt(x.shape[1]) / x.norm(dim=1).mean()
    pre = (x @ sae.W_enc + sae.b_enc).flatten()
    return float(pre.topk(min(l0 * len(x), len(pre))).values[-1].clamp_min(0))


def within_cosine(
    rows: Float[Tensor, "d_sae d_in"], start: Float[Tensor, "d_sae d_in"], least: float
) -> Float[Tensor, "d_sae d_in"]:
    """`rows`, of which those at a smaller cosine than `least` with `start` are turned back to it.

    Lengths stay. A row is turned in the plane of the two, so that the direction found is the
    nearest one allowed; one that points exactly the other way becomes its start.

    >>> start = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    >>> within_cosine(torch.tensor([[0.0, 2.0], [1.0, 0.1]]), start, 0.6)
    tensor([[1.2000, 1.6000],
            [1.0000, 0.1000]])
    """
    unit = torch.nn.functional.normalize(start, dim=1)
    length = rows.norm(dim=1, keepdim=True)
    along = (rows * unit).sum(dim=1, keepdim=True)
    across = torch.nn.functional.normalize(rows - along * unit, dim=1)
    sine = torch.where(across.any(dim=1, keepdim=True), math.sqrt(1 - least**2), 0.0)
    turned = torch.nn.functional.normalize(least * unit + sine * across, dim=1) * length
    return torch.where(along < least * length, turned, rows)


def cosines(
    rows: Float[Tensor, "d_sae d_in"], start: Float[Tensor, "d_sae d_in"]
) -> Float[Tensor, "d_sae"]:
    """Cosine of each row with its start, in [-1, 1]."""
    return torch.nn.functional.cosine_similarity(rows, start, dim=1).clamp(-1, 1)


class BaselineTrainer(SAETrainer):
    """sae_lens' trainer, with a part of the SAE held where the recipe says.

    `start` is the decoder before the first step, also in a training that is resumed.
    """

    def __init__(self, settings: SAETrainerConfig, sae: TrainingSAE, recipe: SAERecipe) -> None:
        sae.W_dec.requires_grad_(recipe.frozen != "decoder")
        sae.W_enc.requires_grad_(recipe.frozen != "encoder")
        self.recipe = recipe
        self.start = sae.W_dec.detach().clone()
        super().__init__(cfg=settings, sae=sae, data_provider=iter(()))

    def step(self, batch: Float[Tensor, "batch d_in"]) -> TrainStepOutput:
        """One step, after which a soft decoder is turned back."""
        output = super().step(batch)
        if self.recipe.frozen == SOFT_DECODER:
            with torch.no_grad():
                weights = self.sae.W_dec
                weights.copy_(within_cosine(weights, self.start, self.recipe.soft_cosine))
        return output

"""SAEs trained on worlds whose features are known, and what is measured of them.

All SAEs of a world see the same samples in the same order: the stream depends on the world and the
seed alone.
"""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from sae_lens import (
    SAE,
    BatchTopKTrainingSAEConfig,
    JumpReLUTrainingSAE,
    JumpReLUTrainingSAEConfig,
    LoggingConfig,
    MatryoshkaBatchTopKTrainingSAEConfig,
    SAETrainer,
    TopKTrainingSAEConfig,
    TrainingSAE,
)
from sae_lens.config import SAETrainerConfig
from torch import Tensor

from saecert.training.architectures import finished
from saecert.training.recipes import BATCH_TOP_K, TOP_K, SAERecipe
from saecert.training.recovered import (
    ARCHITECTURES,
    JUMP_RELU,
    MATRYOSHKA,
    TRUE_DECODER,
    TRUE_START,
)
from saecert.training.selection import hasten
from saecert.training.sparse_steps import SparseBatchTopK, SparseMatryoshka, SparseTopK
from saecert.training.synthetic import World

DATA = 1
"""Offset of the seed of training samples from that of the world; later ones follow."""
CALIBRATION = 2


@dataclass(frozen=True)
class SyntheticRecipe:
    """How an SAE is trained on a world."""

    architecture: str
    """One of `ARCHITECTURES`."""
    n_samples: int
    """Samples seen in training, each once."""
    d_sae: int
    """Latents."""
    l0: int
    """Latents active at once: k of TopK, on average that of the others."""
    learning_rate: float
    """Its peak: linear warm-up over a tenth, constant, then linear to a tenth over the last
    third."""
    batch_size: int
    """Samples a step."""
    seed: int = 0
    """Of the world, the initial weights and the samples."""
    n_calibration: int = 20_000
    """Samples on which thresholds are set, and the samples' norm estimated before training."""
    dead_steps: int = 250
    """Steps without firing after which a latent gets the auxiliary loss."""
    l0_coefficient: float = 1.0
    """Of JumpReLU: weight of the squared distance of L0 from `l0`, over l0/2."""
    nested: tuple[float, ...] = (1 / 16, 1 / 4)
    """Of Matryoshka: sizes of the inner dictionaries, as shares of `d_sae`."""

    def __post_init__(self) -> None:
        if self.architecture not in ARCHITECTURES:
            raise ValueError(
                f"architecture is one of {', '.join(ARCHITECTURES)}, got {self.architecture!r}"
            )
        if not 1 <= self.l0 <= self.d_sae:
            raise ValueError(
                f"l0={self.l0} asked of an SAE of {self.d_sae} latents: it lies in [1, d_sae]"
            )
        if not 0 < self.learning_rate < 1:
            raise ValueError(f"learning_rate must lie in (0, 1), got {self.learning_rate}")
        if not 1 <= self.batch_size <= self.n_samples:
            raise ValueError(
                f"batch_size={self.batch_size} of {self.n_samples} samples: "
                "train on more or lower the batch size"
            )

    @property
    def steps(self) -> int:
        """Steps of the optimizer, the last batch a smaller one if need be."""
        return -(-self.n_samples // self.batch_size)

    @property
    def as_saved(self) -> SAERecipe:
        """What `finished` has to know: whether there is one threshold for all latents."""
        one_threshold = self.architecture in (BATCH_TOP_K, MATRYOSHKA)
        return SAERecipe(
            n_samples=self.n_samples,
            learning_rate=self.learning_rate,
            l0=self.l0,
            batch_size=self.batch_size,
            architecture=BATCH_TOP_K if one_threshold else TOP_K,
        )


@dataclass(frozen=True)
class TrainedOnWorld:
    """A trained SAE, for use."""

    sae: SAE
    """In single precision; BatchTopK and Matryoshka have become JumpReLU."""
    cpu_seconds: float
    """Processor time of the training, sampling included."""


def train_on(world: World, recipe: SyntheticRecipe) -> TrainedOnWorld:
    """An SAE trained on fresh samples of a world, on one thread.

    Raises
    ------
    ValueError
        A training that diverged, or an SAE with the true decoder whose width is not the number of
        features.
    """
    begun = time.process_time()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]), contextlib.redirect_stderr(io.StringIO()):
            torch.manual_seed(recipe.seed)
            sae = _new_sae(world, recipe)
            trainer = _trainer(sae, recipe)
            trainer.data_provider = _training_batches(world, recipe)
            trained = trainer.fit()
            inference = finished(trained, _calibration(world, recipe), recipe.as_saved)
    finally:
        torch.set_num_threads(threads)
    return TrainedOnWorld(inference.eval(), time.process_time() - begun)


def _new_sae(world: World, recipe: SyntheticRecipe) -> TrainingSAE:
    common = {
        "d_in": world.features.shape[1],
        "d_sae": recipe.d_sae,
        "apply_b_dec_to_input": True,
        "normalize_activations": "expected_average_only_in",
    }
    sae: TrainingSAE
    if recipe.architecture == JUMP_RELU:
        own = {"jumprelu_sparsity_loss_mode": "quadratic", "target_l0": recipe.l0}
        own |= {"l0_coefficient": recipe.l0_coefficient, "jumprelu_init_threshold": 0.5}
        own |= {"l0_warm_up_steps": max(1, recipe.steps // 10)}
        sae = JumpReLUTrainingSAE(JumpReLUTrainingSAEConfig(**common, **own))
    elif recipe.architecture == BATCH_TOP_K:
        sae = SparseBatchTopK(BatchTopKTrainingSAEConfig(**common, k=recipe.l0))
    elif recipe.architecture == MATRYOSHKA:
        inner = [max(1, round(share * recipe.d_sae)) for share in recipe.nested]
        widths = sorted({*inner, recipe.d_sae})
        settings = MatryoshkaBatchTopKTrainingSAEConfig(
            **common, k=recipe.l0, matryoshka_widths=widths
        )
        sae = SparseMatryoshka(settings)
    else:
        sae = SparseTopK(TopKTrainingSAEConfig(**common, k=recipe.l0))
    hasten(sae)
    with torch.no_grad():
        sae.b_dec.zero_()
    if recipe.architecture in (TRUE_DECODER, TRUE_START):
        _set_decoder(sae, world)
        sae.W_dec.requires_grad_(recipe.architecture == TRUE_START)
    return sae


@torch.no_grad()
def _set_decoder(sae: TrainingSAE, world: World) -> None:
    """Put the true features into the decoder; the encoder starts as their transpose."""
    if sae.cfg.d_sae != len(world.features):
        raise ValueError(
            f"the true decoder has {len(world.features)} rows, the SAE {sae.cfg.d_sae} latents"
        )
    features = torch.from_numpy(world.features)
    sae.W_dec.copy_(features)
    sae.W_enc.copy_(features.T)


def _trainer(sae: TrainingSAE, recipe: SyntheticRecipe) -> SAETrainer:
    settings = SAETrainerConfig(
        total_training_samples=recipe.n_samples,
        train_batch_size_samples=recipe.batch_size,
        lr=recipe.learning_rate,
        lr_end=recipe.learning_rate / 10,
        lr_warm_up_steps=max(1, recipe.steps // 10),
        lr_decay_steps=recipe.steps // 3,
        dead_feature_window=recipe.dead_steps,
        n_batches_for_norm_estimate=max(1, recipe.n_calibration // recipe.batch_size),
        logger=LoggingConfig(log_to_wandb=False),
    )
    return SAETrainer(cfg=settings, sae=sae, data_provider=iter(()))


def _training_batches(world: World, recipe: SyntheticRecipe) -> Iterator[Tensor]:
    """Batches for the estimate of the norm, then those of training."""
    n_batches = max(1, recipe.n_calibration // recipe.batch_size) + recipe.steps
    n_samples = n_batches * recipe.batch_size
    for acts in world.acts(n_samples, recipe.batch_size, recipe.seed + DATA):
        yield torch.from_numpy(acts)


def _calibration(world: World, recipe: SyntheticRecipe) -> Float[Tensor, "n d_in"]:
    seed = recipe.seed + CALIBRATION
    (acts,) = world.acts(recipe.n_calibration, recipe.n_calibration, seed)
    return torch.from_numpy(acts)

"""Recipes: everything that determines a trained language model and its SAEs, besides the text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class LanguageModelRecipe:
    """A Llama and its tokenizer: shape, schedule and seed."""

    n_tokens: int
    """Tokens seen in training, those of repeated epochs counted again."""
    learning_rate: float
    """Peak of the learning rate: linear warm-up, then a cosine to 2 % of it."""
    n_ctx: int = 128
    """Tokens per window, BOS included."""
    d_vocab: int = 4096
    """Tokens of the byte-level BPE tokenizer."""
    d_model: int = 192
    """Width of the residual stream."""
    d_mlp: int = 512
    """Width of the hidden layer of each MLP."""
    n_layers: int = 6
    """Blocks."""
    n_heads: int = 6
    """Attention heads a block."""
    batch_size: int = 32
    """Windows a step."""
    warm_up_steps: int = 200
    """Steps until the learning rate is at its peak."""
    seed: int = 0
    """Of the initial weights and of the order of windows."""
    checkpoint_steps: int = 100
    """Steps that a killed process may lose."""
    validation_steps: int = 1000
    """Steps between two looks at validation text."""
    n_validation: int = 600
    """Validation documents looked at."""


BATCH_TOP_K = "batchtopk"
TOP_K = "topk"
TOP_AFA = "top_afa"
JUMP_RELU = "jumprelu"
STANDARD = "standard"
ARCHITECTURES = (BATCH_TOP_K, TOP_K, TOP_AFA, JUMP_RELU, STANDARD)
"""Kinds of SAEs that there is a recipe for."""
FREE = (TOP_AFA, STANDARD)
"""Kinds that are not told how many latents are active."""
SOFT_DECODER = "soft-decoder"
FROZEN = ("", "decoder", SOFT_DECODER, "encoder")
"""What training may hold at its start: nothing, the decoder, its directions roughly, the
encoder."""
COVARIANCE = "covariance"
STARTS = ("", "isotropic", COVARIANCE)
"""Where training may start: as sae_lens does, or at unit rows of these distributions."""


@dataclass(frozen=True)
class SAERecipe:
    """An SAE: BatchTopK (saved as JumpReLU with one threshold for all latents), TopK, top-AFA,
    JumpReLU or standard (ReLU with a price of activity); trained, or a random baseline of which a
    part is held at its start."""

    n_samples: int
    """Activations seen in training; those cached are seen again if there are fewer."""
    learning_rate: float
    """Peak of the learning rate: linear warm-up, constant, then linear to a tenth over the last
    third."""
    l0: int
    """Active latents per token, on average: k of BatchTopK, and what the threshold is set to; k of
    TopK; what the loss of JumpReLU aims at, and its thresholds are scaled to. Those in `FREE`
    choose by themselves."""
    expansion: int = 8
    """Latents per dimension of the activation, ``d_sae / d_in``."""
    batch_size: int = 512
    """Activations a step."""
    warm_up_steps: int = 200
    """Steps until the learning rate is at its peak."""
    dead_steps: int = 80
    """Steps without firing after which a latent gets the auxiliary loss."""
    threshold_rate: float = 0.02
    """Rate of sae_lens' running threshold, which the saved SAE does not use."""
    norm_batches: int = 20
    """Batches on which the mean norm of the activation is estimated, before the first step."""
    n_calibration: int = 50_000
    """Held-out activations on which the saved threshold is set."""
    seed: int = 0
    """Of the initial weights."""
    order_seed: int = 0
    """Of the order of batches."""
    checkpoints: int = 20
    """How often the state is kept, over the whole training, so that it can be resumed."""
    autocast: bool = False
    """Multiply in bfloat16, weights and their updates in float32: twice as fast on many CPUs."""
    architecture: str = BATCH_TOP_K
    """One of `ARCHITECTURES`."""
    afa_coefficient: float = 1 / 16
    """Of top-AFA: lambda, the weight of norms that disagree. Its other settings are those of
    `saecert.subjects.top_afa.TopAFATrainingSAEConfig`, likewise."""
    afa_compared: str = "roots"
    afa_loss_norm: str = "input"
    afa_reconstruction: str = "mean"
    afa_encoder_bias: bool = False
    l1_coefficient: float = 5.0
    """Of standard: price of a unit of activity, codes being in units of what they write, where
    activations are scaled to a mean squared norm of about d_in and squared errors are summed over
    dimensions. `saecert.training.sae.price_of` says what it is in the activations' own units."""
    frozen: str = ""
    """One of `FROZEN`, after arXiv 2602.14111: "decoder" leaves its weights where they start,
    "soft-decoder" turns each row back to a cosine of `soft_cosine` with its start after every step,
    "encoder" trains decoder, biases and thresholds. Biases are trained in any case."""
    start: str = ""
    """One of `STARTS`: rows of the decoder isotropic, or Gaussian with the activations' covariance,
    of unit length; the encoder starts as its transpose. "" is what sae_lens does: isotropic
    directions, of length .1."""
    soft_cosine: float = 0.8
    """Of "soft-decoder": the least cosine, in (0, 1)."""

    def __post_init__(self) -> None:
        for name, known in (("architecture", ARCHITECTURES), ("frozen", FROZEN), ("start", STARTS)):
            _check_one_of(name, getattr(self, name), known)
        if not 0 < self.soft_cosine < 1:
            raise ValueError(
                f"soft_cosine, the least cosine with the start, must lie in (0, 1), "
                f"got {self.soft_cosine}"
            )
        if not 0 <= self.afa_coefficient < float("inf"):
            raise ValueError(f"afa_coefficient must be 0 or more, got {self.afa_coefficient}")
        if not 0 < self.l1_coefficient < float("inf"):
            raise ValueError(f"l1_coefficient must be above 0, got {self.l1_coefficient}")
        for name in ("n_samples", "l0", "expansion", "batch_size", "n_calibration"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 < self.learning_rate < 1:
            raise ValueError(f"learning_rate must lie in (0, 1), got {self.learning_rate}")
        if self.n_samples < self.batch_size:
            raise ValueError(
                f"{self.n_samples} samples are less than one batch of {self.batch_size}: "
                "train on more or lower the batch size"
            )


def _check_one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        names = ", ".join(word or "''" for word in known)
        raise ValueError(f"{name} is one of {names}, got {value!r}")


@dataclass(frozen=True)
class SubjectRecipe:
    """A subject trained from nothing on the docstrings: a language model, then its SAEs."""

    name: str
    """Name of the subject."""
    language_model: LanguageModelRecipe
    """Of the model and its tokenizer."""
    saes: Mapping[str, SAERecipe]
    """By hook name."""
    n_cached: int = 2_000_000
    """Train activations kept of each hook point."""
    n_held_out: int = 200_000
    """Validation activations kept of each hook point."""
    seed: int = 0
    """Of the choice and the order of the cached activations."""


def _docstring_sae(layer: int, n_samples: int, learning_rate: float, l0: int) -> SAERecipe:
    return SAERecipe(n_samples=n_samples, learning_rate=learning_rate, l0=l0, seed=layer)


DOCSTRING_6L = SubjectRecipe(
    name="docstring-6l",
    language_model=LanguageModelRecipe(n_tokens=16_000_000, learning_rate=3e-3),
    saes={
        "blocks.0.hook_resid_post": _docstring_sae(0, 2_000_000, 2e-3, 24),
        "blocks.1.hook_resid_post": _docstring_sae(1, 2_000_000, 2e-3, 24),
        "blocks.2.hook_resid_post": _docstring_sae(2, 2_000_000, 2e-3, 24),
        "blocks.3.hook_resid_post": _docstring_sae(3, 2_000_000, 2e-3, 24),
        "blocks.4.hook_resid_post": _docstring_sae(4, 8_000_000, 4e-3, 26),
        "blocks.5.hook_resid_post": _docstring_sae(5, 8_000_000, 4e-3, 26),
    },
)
"""The shipped subject. Its last two layers are harder to reconstruct, hence trained for longer."""


@dataclass(frozen=True)
class SAEsRecipe:
    """SAEs at several hook points of a model of others, all by one recipe, from one pass."""

    subject: str
    """Name of the subject."""
    hook_names: tuple[str, ...]
    """Hook points; the pass stops after the last."""
    source: str
    """Text, of whose train documents the activations are."""
    n_cached: int
    """Tokens whose activations are cached."""
    sae: SAERecipe
    """Of every SAE."""

    def command(self, out: str) -> list[str]:
        """Arguments of ``python -m saecert`` that train them into `out`."""
        settings = {
            "subject": self.subject,
            "corpus": self.source,
            "tokens": self.n_cached,
            "samples": self.sae.n_samples,
            "l0": self.sae.l0,
            "expansion": self.sae.expansion,
            "batch-size": self.sae.batch_size,
            "learning-rate": self.sae.learning_rate,
            "dtype": "bfloat16" if self.sae.autocast else "float32",
            "out": out,
        }
        words = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
        return ["train", "sae", *words, "--hooks", *self.hook_names]


SMOLLM2 = SAEsRecipe(
    subject="smollm2-135m",
    hook_names=tuple(f"blocks.{layer}.hook_resid_post" for layer in (3, 9, 15, 22)),
    source="docstrings",
    n_cached=1_200_000,
    sae=SAERecipe(n_samples=2_400_000, learning_rate=1.5e-3, l0=32, batch_size=1024, autocast=True),
)
"""SAEs of SmolLM2-135M: early, two in the middle, late. Two passes over 1.2 million tokens, which
is what two cores give in the background in some two hours.

``python -m saecert train sae --subject smollm2-135m --hooks blocks.3.hook_resid_post
blocks.9.hook_resid_post blocks.15.hook_resid_post blocks.22.hook_resid_post --tokens 1200000
--samples 2400000 --out runs/smollm2-135m``
"""


def plan_fields(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Of the settings with which a page has something measured, those that are about what is
    trained: without "progress" and "build".
    """
    return {key: value for key, value in settings.items() if key not in ("progress", "build")}

"""top-AFA: SAEs that choose how many latents a token gets by the norm of its activation.

After arXiv 2503.24277, as classes of sae_lens for inference and training. A token keeps its largest
latents, as many as bring the norm of the code closest to that of the activation. Where published
implementations differ, the choice is a setting; defaults are those of the authors' code
(SewoongLee/top-afa-sae, read 2026-11-29).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from sae_lens import (
    SAE,
    SAEConfig,
    TopKTrainingSAE,
    TopKTrainingSAEConfig,
    register_sae_class,
    register_sae_training_class,
)
from sae_lens.registry import SAE_CLASS_REGISTRY
from sae_lens.saes.sae import SAEMetadata, TrainStepInput
from torch import Tensor, nn

ARCHITECTURE = "top_afa"
"""Its name in ``cfg.json``."""
COMPARED = ("roots", "squares")
"""What of the two norms may be compared: themselves, or their squares."""
LOSS_NORMS = ("input", "centred")
"""Norms that the loss may pull the code's to: that of x, or of x less the decoder's bias."""
RECONSTRUCTIONS = ("mean", "sum")
"""Over dimensions, in the reconstruction loss that lambda weighs against."""
FOLDED = 0.01
"""Relative change of the decoder's mean norm from which its norms count as folded."""


def chosen_latents(
    scaled: Float[Tensor, "*tokens d_sae"], norm: Float[Tensor, "*tokens"], compared: str = "roots"
) -> Float[Tensor, "*tokens d_sae"]:
    """1 for each latent that top-AFA keeps, 0 for the others.

    Squares are sorted from the largest and added up, the last sum being infinite, so that never all
    latents are kept; those up to the sum nearest to the norm are kept, at least one. The nearest in
    size is not always the nearest in square.

    Parameters
    ----------
    scaled
        Activations times the lengths of what their latents write, at least 0.
    norm
        Norm of what the encoder reads.
    compared
        "roots": ``argmin | sqrt(sum) - norm |``; "squares": ``argmin | sum - norm^2 |``.

    Examples
    --------
    >>> chosen_latents(torch.tensor([3.0, 4.0, 1.0, 0.5]), torch.tensor(4.9)).tolist()
    [1.0, 1.0, 0.0, 0.0]
    """
    values = scaled.to(torch.promote_types(scaled.dtype, torch.float32))
    largest = _descending(values)
    sums = largest.square().cumsum(dim=-1)
    sums[..., -1] = torch.inf
    target = norm.to(values)[..., None]
    squares = compared == "squares"
    distance = sums - target.square() if squares else sums.sqrt() - target
    last = distance.abs().argmin(dim=-1, keepdim=True)
    smallest = largest.gather(-1, last)
    if _is_single(smallest, largest, last):
        return (values >= smallest).to(scaled.dtype)
    larger = values > smallest
    ties = values == smallest  # of which the first ones are kept
    n_left = last + 1 - larger.sum(dim=-1, keepdim=True)
    return (larger | (ties & (ties.cumsum(dim=-1) <= n_left))).to(scaled.dtype)


def _is_single(
    smallest: Float[Tensor, "*tokens 1"],
    largest: Float[Tensor, "*tokens d_sae"],
    last: Int[Tensor, "*tokens 1"],
) -> bool:
    """Whether no value that is left out is as large as the smallest one that is kept.

    A CPU then need not count ties, which takes longer than all the rest but sorting; a GPU would
    have to be waited for.
    """
    if largest.device.type != "cpu":
        return False
    following = largest.gather(-1, (last + 1).clamp_max(largest.shape[-1] - 1))
    return not (following == smallest).any()


def _descending(values: Float[Tensor, "*tokens d_sae"]) -> Float[Tensor, "*tokens d_sae"]:
    """Values of each token from the largest; numpy sorts many times as fast as torch on a CPU."""
    if values.device.type != "cpu":
        return values.sort(dim=-1, descending=True).values
    return torch.from_numpy(np.sort(-values.detach().numpy(), axis=-1)).neg_()


@dataclass
class TopAFASAEConfig(SAEConfig):
    """Settings of a top-AFA SAE."""

    compared: str = "roots"
    """One of `COMPARED`."""
    decoder_norm: float | None = None
    """Mean norm of the decoder's rows when it was saved; None for one that was not."""
    metadata: Any = field(default_factory=SAEMetadata)
    """What sae_lens notes: a mapping, for which it makes one of its own."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_one_of("compared", self.compared, COMPARED)

    @classmethod
    def architecture(cls) -> str:
        """``top_afa``."""
        return ARCHITECTURE


class _DecoderNorms:
    """What inference and training share: decoder norms belong to the rule, so they stay."""

    cfg: Any
    W_dec: Tensor

    def selected(
        self, pre: Float[Tensor, "*tokens d_sae"], read: Float[Tensor, "*tokens d_in"]
    ) -> Float[Tensor, "*tokens d_sae"]:
        """Codes: the activations that the rule keeps."""
        acts = pre.relu()
        with torch.no_grad():
            scaled = acts * self.W_dec.norm(dim=-1)
            kept = chosen_latents(scaled, read.norm(dim=-1), self.cfg.compared)
        return acts * kept

    def fold_W_dec_norm(self) -> None:
        """Refused, as `fold_and_get_W_dec_norm` is."""
        self.fold_and_get_W_dec_norm()

    def fold_and_get_W_dec_norm(self) -> Tensor:
        """Refused: NotImplementedError.

        Products of activations and norms would stay, but for rounding, which decides between
        numbers of latents that fit about equally well: another SAE would be measured silently.
        """
        raise NotImplementedError(
            "decoder norms of a top-AFA SAE are part of the rule that chooses its latents and "
            "cannot be folded into the encoder: use it as it is"
        )

    def process_state_dict_for_saving(self, state_dict: dict[str, Any]) -> None:
        """Note the decoder's norm, by which a file that was folded later is recognised."""
        self.cfg.decoder_norm = _mean_norm(state_dict["W_dec"])

    def process_state_dict_for_loading(self, state_dict: dict[str, Any]) -> None:
        """ValueError for weights whose decoder norms are not those that were saved."""
        noted = self.cfg.decoder_norm
        found = _mean_norm(state_dict["W_dec"])
        if noted is not None and abs(found - noted) > FOLDED * noted:
            raise ValueError(
                f"the decoder's rows have norm {found:.3g} on average and had {noted:.3g} when "
                "this top-AFA SAE was saved: they were folded or rescaled, take the original file"
            )


class TopAFASAE(_DecoderNorms, SAE[TopAFASAEConfig]):
    """A top-AFA SAE for inference.

    With c the decoder's bias and w_i its rows::

        a = relu((x - c) W_enc + b_enc)
        k = argmin over j of | sqrt(sum of the j largest (a_i ||w_i||)^2) - ||x - c|| |
        f = a at the k largest a_i ||w_i||, 0 elsewhere
        x_hat = f W_dec + c
    """

    b_enc: nn.Parameter

    def initialize_weights(self) -> None:
        """Weights as sae_lens makes them, and an encoder bias of zero."""
        super().initialize_weights()
        self.b_enc = nn.Parameter(torch.zeros(self.cfg.d_sae, dtype=self.dtype, device=self.device))

    def encode(self, x: Float[Tensor, "*tokens d_in"]) -> Float[Tensor, "*tokens d_sae"]:
        """Codes of activations."""
        read = self.process_sae_in(x)
        pre = self.hook_sae_acts_pre(read @ self.W_enc + self.b_enc)
        return self.hook_sae_acts_post(self.selected(pre, read))

    def decode(self, feature_acts: Float[Tensor, "*tokens d_sae"]) -> Float[Tensor, "*tokens d_in"]:
        """Reconstructions of codes."""
        recons = self.hook_sae_recons(feature_acts @ self.W_dec + self.b_dec)
        return self.reshape_fn_out(self.run_time_activation_norm_fn_out(recons), self.d_head)


@dataclass
class TopAFATrainingSAEConfig(TopKTrainingSAEConfig):
    """Settings of a top-AFA SAE in training: those of TopK, of which k is not used, and its own.

    The loss is ``||x - x_hat||^2``, plus sae_lens' auxiliary loss of dead latents, plus
    ``afa_coefficient (||f~|| - ||x||)^2`` with ``f~_i = f_i ||w_i||``, times d_in where a mean over
    dimensions is meant, which is the authors' reconstruction loss.
    """

    compared: str = "roots"
    """One of `COMPARED`."""
    decoder_norm: float | None = None
    """As `TopAFASAEConfig.decoder_norm`."""
    afa_coefficient: float = 1 / 16
    """Lambda, at least 0."""
    loss_norm: str = "input"
    """One of `LOSS_NORMS`."""
    reconstruction: str = "mean"
    """One of `RECONSTRUCTIONS`: of the authors' code, or of sae_lens."""
    encoder_bias: bool = False
    """Whether the encoder has a bias; it stays 0 otherwise."""
    rescale_acts_by_decoder_norm: bool = False
    """False: the rule scales by itself."""
    metadata: Any = field(default_factory=SAEMetadata)
    """As `TopAFASAEConfig.metadata`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_one_of("compared", self.compared, COMPARED)
        _check_one_of("loss_norm", self.loss_norm, LOSS_NORMS)
        _check_one_of("reconstruction", self.reconstruction, RECONSTRUCTIONS)
        if not 0 <= self.afa_coefficient < float("inf"):
            raise ValueError(f"afa_coefficient must be 0 or more, got {self.afa_coefficient}")
        if self.rescale_acts_by_decoder_norm:
            raise ValueError("top-AFA scales by decoder norms itself: rescale_acts_by_... is False")

    @classmethod
    def architecture(cls) -> str:
        """``top_afa``."""
        return ARCHITECTURE


class TopAFATrainingSAE(_DecoderNorms, TopKTrainingSAE):
    """A top-AFA SAE in training, saved as `TopAFASAE`."""

    cfg: TopAFATrainingSAEConfig

    def initialize_weights(self) -> None:
        """Weights as sae_lens makes them; an encoder bias that is trained only if there is one."""
        super().initialize_weights()
        self.b_enc.requires_grad_(self.cfg.encoder_bias)

    def get_activation_fn(self) -> Callable[[Tensor], Tensor]:
        """ReLU: the rule comes after it."""
        return nn.ReLU()

    def encode_with_hidden_pre(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Codes, and the numbers before ReLU."""
        read = self.process_sae_in(x)
        pre = self.hook_sae_acts_pre(read @ self.W_enc + self.b_enc)
        return self.hook_sae_acts_post(self.selected(pre, read)), pre

    def calculate_aux_loss(
        self, step_input: TrainStepInput, feature_acts: Tensor, hidden_pre: Tensor, sae_out: Tensor
    ) -> dict[str, Tensor]:
        """The loss of dead latents, and that of norms that disagree ("afa_loss")."""
        losses = super().calculate_aux_loss(step_input, feature_acts, hidden_pre, sae_out)
        disagreement = self.norm_loss(step_input.sae_in, feature_acts)
        return losses | {"afa_loss": disagreement}

    def norm_loss(
        self, x: Float[Tensor, "*tokens d_in"], latents: Float[Tensor, "*tokens d_sae"]
    ) -> Float[Tensor, ""]:
        """Mean over tokens of lambda times the squared difference of the two norms."""
        centred = self.cfg.loss_norm == "centred"
        target = (x - self.b_dec if centred else x).norm(dim=-1)
        norm_f = (latents * self.W_dec.norm(dim=-1)).norm(dim=-1)
        weight = self.cfg.afa_coefficient
        if self.cfg.reconstruction == "mean":
            weight *= self.cfg.d_in
        return weight * (norm_f - target).square().mean()


def register() -> None:
    """Make the architecture known to sae_lens, which then loads it from files; once is enough."""
    if ARCHITECTURE not in SAE_CLASS_REGISTRY:
        register_sae_class(ARCHITECTURE, TopAFASAE, TopAFASAEConfig)
        register_sae_training_class(ARCHITECTURE, TopAFATrainingSAE, TopAFATrainingSAEConfig)


def _mean_norm(W_dec: Float[Tensor, "d_sae d_in"]) -> float:
    return W_dec.detach().float().norm(dim=1).mean().item()


def _check_one_of(name: str, value: Any, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} is one of {', '.join(allowed)}, got {value!r}")


register()

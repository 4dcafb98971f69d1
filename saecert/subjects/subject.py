"""A subject: a frozen language model and the SAEs at its hook points."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from sae_lens import SAE
from transformer_lens.model_bridge import TransformerBridge
from transformers import PreTrainedTokenizerBase

UNPROCESSED = "none: weights as published, activations as the Hugging Face model computes them"
CENTERED = (
    "writing weights centred: the residual stream has mean zero, as the SAEs were trained, "
    "and predictions are unchanged"
)
_PLACES = {"_name_or_path", "device"}  # where a model is, which is not what it is


@dataclass(frozen=True)
class Subject:
    """A frozen LM with SAEs. Nothing in it is trained or changed by this package."""

    name: str
    """Short name used on pages and in file names."""
    model: TransformerBridge
    """The LM, hookable by TransformerLens names."""
    tokenizer: PreTrainedTokenizerBase
    """The LM's own tokenizer."""
    saes: Mapping[str, SAE]
    """SAE by hook name, e.g. ``"blocks.3.hook_resid_post"``."""
    bos: bool = True
    """Whether every sequence starts with the BOS token (never spliced, never scored)."""
    processing: str = UNPROCESSED
    """What was done to the weights before use."""
    pretraining: str = "not known"
    """What is known of the text that the LM was trained on; a certificate speaks about text that it
    has not seen."""
    sae_training: str = "not known"
    """The same of the SAEs."""
    source: str = "local folder"
    """Where the LM's weights are from: hub repository and commit."""
    quantisation: str = ""
    """How the weights are stored where that is not as plain numbers, such as "210 Q4_1, 61 F32":
    the model is then the quantised one. Empty for others."""
    context: int | None = None
    """Tokens per sequence that the SAEs were trained on, where known."""
    listed: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """By hook name, what the release of an SAE lists: ``l0``, and ``norm_scaling_factor`` where one
    was folded into its weights."""
    sae_names: Mapping[str, str] = field(default_factory=dict)
    """By hook name, a short name or path that tells two SAEs at one hook point apart."""
    hook_mismatches: Mapping[str, str] = field(default_factory=dict)
    """By hook name, the hook point that the SAE's own metadata names, where that is another one."""
    card: Mapping[str, Any] = field(default_factory=dict)
    """Model card of a shipped subject; empty for others."""

    def __post_init__(self) -> None:
        n_tokens = len(self.tokenizer)
        d_vocab = self.d_vocab
        if n_tokens > d_vocab:
            raise ValueError(
                f"the tokenizer of '{self.name}' has {n_tokens} tokens but the model's vocabulary "
                f"only {d_vocab}: is it this model's?"
            )
        for hook_name, sae in self.saes.items():
            self.check_hook(hook_name)
            if ".hook_resid_" in hook_name and sae.cfg.d_in != self.model.cfg.d_model:
                raise ValueError(
                    f"the SAE at '{hook_name}' has d_in={sae.cfg.d_in} but the model's residual "
                    f"stream has {self.model.cfg.d_model}: another model's SAE?"
                )
        if self.bos and self.tokenizer.bos_token_id is None:
            raise ValueError(
                f"the tokenizer of '{self.name}' has no BOS token: load the subject with bos=False"
            )

    @property
    def d_vocab(self) -> int:
        """Width of the logits, V."""
        return self.model.cfg.d_vocab

    @property
    def n_layers(self) -> int:
        """Number of transformer blocks."""
        return self.model.cfg.n_layers

    @property
    def n_ctx(self) -> int:
        """Longest sequence the model accepts, in tokens."""
        return self.model.cfg.n_ctx

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.original_model.parameters()).device

    @property
    def hook_names(self) -> tuple[str, ...]:
        """Hook points that have an SAE, in the order given."""
        return tuple(self.saes)

    @property
    def middle_hook(self) -> str:
        """The hook point half way up the list of those that have an SAE."""
        return self.hook_names[(len(self.saes) - 1) // 2]

    def check_hook(self, hook_name: str) -> None:
        """Raise ValueError unless the model has this hook point.

        TransformerLens ignores unknown names silently.
        """
        names = self.model.hook_dict
        if hook_name in names:
            return
        layer = hook_name.split(".")[1] if hook_name.startswith("blocks.") else "0"
        if not layer.isdecimal() or int(layer) >= self.n_layers:
            layer = str(self.n_layers - 1)
        near = [name for name in names if name.startswith(f"blocks.{layer}.hook_")]
        raise ValueError(
            f"'{self.name}' has no hook point '{hook_name}' (it has {self.n_layers} layers; "
            f"near it: {', '.join(near or list(names)[:12])})"
        )

    def sae_at(self, hook_name: str) -> SAE:
        """The SAE at a hook point; ValueError lists those there are."""
        if hook_name not in self.saes:
            present = ", ".join(self.saes) or "no hook point: pass sae="
            raise ValueError(
                f"no SAE at '{hook_name}' for '{self.name}'; there are SAEs at {present}"
            )
        return self.saes[hook_name]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the LM's weights and configuration."""
        model = self.model.original_model
        return weights_hash(model.state_dict(), model.config.to_dict())

    def sae_fingerprint(self, hook_name: str) -> str:
        """SHA-256 of the weights and configuration of one SAE.

        With equal weights, another k is another SAE.
        """
        sae = self.sae_at(hook_name)
        return weights_hash(sae.state_dict(), sae.cfg.to_dict())


def weights_hash(state: Mapping[str, torch.Tensor], config: Mapping[str, Any]) -> str:
    """SHA-256 of tensors by name and of a configuration, without where they are."""
    settings = {key: value for key, value in config.items() if key not in _PLACES}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy())
    return digest.hexdigest()

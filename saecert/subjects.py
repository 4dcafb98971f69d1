"""Subjects: a frozen language model and the SAEs at its hook points, loaded from a folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from sae_lens import SAE, TrainingSAE
from transformer_lens.model_bridge import TransformerBridge
from transformers import AutoTokenizer, PreTrainedTokenizerBase
from transformers.utils import logging

EMBEDDED = Path(__file__).parent / "embedded"
SHIPPED = {"docstring-6l": EMBEDDED / "docstring-6l"}
"""Subjects that come with the package, by name."""


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
    processing: str = "none: weights as published, activations as the Hugging Face model computes them"
    """What was done to the weights before use."""
    card: Mapping[str, Any] = field(default_factory=dict)
    """Model card of a shipped subject; empty for others."""

    def __post_init__(self) -> None:
        n_tokens, d_vocab = len(self.tokenizer), self.d_vocab
        if n_tokens > d_vocab:
            raise ValueError(
                f"the tokenizer of '{self.name}' has {n_tokens} tokens but the model's vocabulary only {d_vocab}: is it this model's?"
            )
        for hook_name, sae in self.saes.items():
            self.check_hook(hook_name)
            if ".hook_resid_" in hook_name and sae.cfg.d_in != self.model.cfg.d_model:
                raise ValueError(
                    f"the SAE at '{hook_name}' has d_in={sae.cfg.d_in} but the model's residual stream has {self.model.cfg.d_model}: "
                    "another model's SAE?"
                )
        if self.bos and self.tokenizer.bos_token_id is None:
            raise ValueError(f"the tokenizer of '{self.name}' has no BOS token: load the subject with bos=False")

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
        """Raise ValueError unless the model has this hook point (TransformerLens ignores unknown names silently)."""
        if hook_name not in self.model.hook_dict:
            layer = hook_name.split(".")[1] if hook_name.startswith("blocks.") else "0"
            near = [name for name in self.model.hook_dict if name.startswith(f"blocks.{layer}.hook_")] or list(self.model.hook_dict)[:12]
            raise ValueError(f"'{self.name}' has no hook point '{hook_name}' (it has {self.n_layers} layers; near it: {', '.join(near)})")

    def sae_at(self, hook_name: str) -> SAE:
        """The SAE at a hook point; ValueError lists those there are."""
        if hook_name not in self.saes:
            raise ValueError(
                f"no SAE at '{hook_name}' for '{self.name}'; there are SAEs at {', '.join(self.saes) or 'no hook point: pass sae='}"
            )
        return self.saes[hook_name]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the LM's weights and configuration."""
        return _hash(self.model.original_model.state_dict(), self.model.original_model.config.to_dict())

    def sae_fingerprint(self, hook_name: str) -> str:
        """SHA-256 of the weights and configuration of one SAE: with equal weights, another k is another SAE."""
        return _hash(self.sae_at(hook_name).state_dict(), self.sae_at(hook_name).cfg.to_dict())


def load_subject(
    model: str | Path = "docstring-6l",
    *,
    sae: str | Path | SAE | Mapping[str, SAE] | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    bos: bool | None = None,
    name: str | None = None,
) -> Subject:
    """A frozen LM and its SAEs, ready for `collect`.

    Parameters
    ----------
    model
        Name of a shipped subject (``"docstring-6l"``) or a local folder in Hugging Face format
        (``config.json``, weights, tokenizer files).
    sae
        A folder in sae_lens format, a path with ``{layer}`` in it for every layer that exists, a ready
        `sae_lens.SAE`, or ``{hook_name: SAE}``. Default: the folders under ``saes/`` in the model folder.
    device, dtype
        Where and in which precision to run. Weights stored in half precision are converted.
    bos
        Whether sequences start with BOS. Default: when the tokenizer has a BOS token.
    name
        Name for pages and files. Default: the folder's.

    Raises
    ------
    ValueError
        Unknown subject, hook point missing in the model, SAE of another width, tokenizer larger than the model's vocabulary.
    FileNotFoundError
        A folder lacks a file that loading needs; the message names it.

    Examples
    --------
    >>> subject = load_subject("docstring-6l")
    >>> subject.n_layers
    6
    """
    folder = _model_folder(model)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    logging.disable_progress_bar()  # transformers draws one over the weights of every load, into notebook outputs too
    # the bridge adds a BOS token to the tokenizer it is given: give it one of its own
    bridge = TransformerBridge.boot_transformers(str(folder), device=device, dtype=dtype, tokenizer=AutoTokenizer.from_pretrained(folder))
    bridge.original_model.eval().requires_grad_(False)
    saes = _load_saes(folder / "saes/*" if sae is None else sae, bridge.cfg.n_layers, str(device), dtype)
    card = folder / "card.json"
    return Subject(
        name=name or folder.name,
        model=bridge,
        tokenizer=tokenizer,
        saes=saes,
        bos=tokenizer.bos_token_id is not None if bos is None else bos,
        card=json.loads(card.read_text()) if card.exists() else {},
    )


def _model_folder(model: str | Path) -> Path:
    folder = SHIPPED.get(str(model), Path(model))
    if not folder.is_dir():
        raise ValueError(
            f"unknown subject '{model}': give one of {', '.join(SHIPPED)} or the path of a local folder in Hugging Face format"
        )
    for needed, what in (
        ("config.json", "the model's configuration"),
        ("tokenizer_config.json", "the tokenizer, saved next to the model by save_pretrained"),
    ):
        if not (folder / needed).exists():
            raise FileNotFoundError(f"{folder} has no {needed} ({what})")
    if not any(folder.glob("*.safetensors")) and not any(folder.glob("*.bin")):
        raise FileNotFoundError(f"{folder} has no weights (*.safetensors)")
    return folder


def _load_saes(source: str | Path | SAE | Mapping[str, SAE], n_layers: int, device: str, dtype: torch.dtype) -> dict[str, SAE]:
    if isinstance(source, SAE):
        source = {_hook_name(source, "the SAE given"): source}
    if isinstance(source, Mapping):
        return {name: _frozen(sae.to(device=device, dtype=dtype)) for name, sae in source.items()}
    text = str(source)
    if "{layer}" in text:
        folders = [path for layer in range(n_layers) if (path := Path(text.format(layer=layer))).is_dir()]
        if not folders:
            raise FileNotFoundError(f"no folder matches {text} for any layer from 0 to {n_layers - 1}")
    elif text.endswith("*"):
        folders = sorted(Path(text).parent.glob("*/")) if Path(text).parent.is_dir() else []
    else:
        folders = [Path(text)]
    loaded = [_load_sae(folder, device, dtype) for folder in folders]
    return {_hook_name(sae, str(folder)): sae for sae, folder in zip(loaded, folders, strict=True)}


def _load_sae(folder: Path, device: str, dtype: torch.dtype) -> SAE:
    for needed in ("cfg.json", "sae_weights.safetensors"):
        if not (folder / needed).exists():
            raise FileNotFoundError(f"{folder} has no {needed}: expected a folder written by sae_lens' save_model")
    return _frozen(SAE.load_from_disk(folder, device=device, dtype=str(dtype).removeprefix("torch.")))


def _hook_name(sae: SAE, where: str) -> str:
    name = sae.cfg.metadata.hook_name
    if not name:
        raise ValueError(f"{where} does not say its hook point: set sae.cfg.metadata.hook_name or pass sae={{hook_name: SAE}}")
    return name


def _frozen(sae: SAE) -> SAE:
    if isinstance(sae, TrainingSAE):  # BatchTopK among them: its codes depend on the rest of the batch
        raise ValueError(f"a {type(sae).__name__} is made for training: save it with save_inference_model and load that")
    return sae.eval().requires_grad_(False)


def _hash(state: Mapping[str, torch.Tensor], config: Mapping[str, Any]) -> str:
    where = {"_name_or_path", "device"}  # not what the model is
    digest = hashlib.sha256(json.dumps({k: v for k, v in config.items() if k not in where}, sort_keys=True, default=str).encode())
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy())
    return digest.hexdigest()

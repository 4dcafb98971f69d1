"""Subjects: a frozen language model and the SAEs at its hook points, loaded from folders or from the Hugging Face hub."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil
import torch
from sae_lens import SAE
from transformer_lens.model_bridge import TransformerBridge
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from saecert.subjects.forward import clean_run, logits_of
from saecert.subjects.registry import HUB, PAPER, fetch
from saecert.subjects.saes import Source, check_finite, load_saes, n_weights, places

EMBEDDED = Path(__file__).parents[1] / "embedded"
SHIPPED = {"docstring-6l": EMBEDDED / "docstring-6l"}
"""Subjects that come with the package, by name."""
UNPROCESSED = "none: weights as published, activations as the Hugging Face model computes them"
CENTERED = "writing weights centred: the residual stream has mean zero, as the SAEs were trained, and predictions are unchanged"


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
    """What is known of the text that the LM was trained on; a certificate speaks about text that it has not seen."""
    sae_training: str = "not known"
    """The same of the SAEs."""
    source: str = "local folder"
    """Where the LM's weights are from: hub repository and commit."""
    context: int | None = None
    """Tokens per sequence that the SAEs were trained on, where known."""
    listed: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """By hook name, what the release of an SAE lists: ``l0``, and ``norm_scaling_factor`` where one was folded into its weights."""
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
        """Raise ValueError unless the model has this hook point (TransformerLens ignores unknown names silently)."""
        if hook_name not in self.model.hook_dict:
            layer = hook_name.split(".")[1] if hook_name.startswith("blocks.") else "0"
            near = [
                name for name in self.model.hook_dict if name.startswith(f"blocks.{layer}.hook_")
            ] or list(self.model.hook_dict)[:12]
            raise ValueError(
                f"'{self.name}' has no hook point '{hook_name}' (it has {self.n_layers} layers; near it: {', '.join(near)})"
            )

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
        return _hash(
            self.model.original_model.state_dict(), self.model.original_model.config.to_dict()
        )

    def sae_fingerprint(self, hook_name: str) -> str:
        """SHA-256 of the weights and configuration of one SAE: with equal weights, another k is another SAE."""
        return _hash(self.sae_at(hook_name).state_dict(), self.sae_at(hook_name).cfg.to_dict())


def load_subject(
    model: str | Path = "docstring-6l",
    *,
    sae: Source | Mapping[str, Source] | None = None,
    hooks: Sequence[str] | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    bos: bool | None = None,
    center_writing_weights: bool | None = None,
    revision: str | None = None,
    name: str | None = None,
) -> Subject:
    """A frozen LM and its SAEs, ready for `collect`.

    Parameters
    ----------
    model
        Name of the shipped subject (``"docstring-6l"``) or of one of the paper's models (``"gpt2-small"``, ``"gemma-2b"``,
        ``"llama-3.1-8b"``, ``"llama-3.1-8b-32x"``, ``"llama-3-8b"``), a local folder in Hugging Face format
        (``config.json``, weights, tokenizer files), or ``hf:owner/repository``.
    sae
        Where the SAEs are: a folder in the format of sae_lens or of sparsify, "release" or "release/id" of sae_lens,
        ``hf:owner/repository/folder``, any of these with ``{layer}`` in it for every layer that exists, a ready
        `sae_lens.SAE`, or ``{hook_name: any of these}``. Default: the SAEs published for one of the paper's models, else the
        folders under ``saes/`` in the model folder.
    hooks
        Load the SAEs at these hook points only. Default: all of them, which for Llama takes tens of gigabytes.
    device, dtype
        Where and in which precision to run; weights stored otherwise are converted. Default: CPU; float32, for Llama bfloat16.
    bos
        Whether sequences start with BOS. Default: when the tokenizer has a BOS token.
    center_writing_weights
        Remove the mean of all that is written to the residual stream, which a model with LayerNorm does not notice but an
        SAE does. Default: as the SAEs say that they were trained.
    revision
        Branch, tag or commit of a model on the hub. Default: the newest.
    name
        Name for pages and files. Default: that of the model or its folder.

    Raises
    ------
    ValueError
        Unknown subject, release, repository or revision, hook point missing in the model or without SAE, SAE of another
        width or of a kind that has no latents of one activation, tokenizer larger than the model's vocabulary, weights
        that are not finite (the message names the tensor), logits made in an unknown way.
    FileNotFoundError
        A folder lacks a file that loading needs, or nothing is where `sae` points; the message names it.
    MemoryError
        Model and SAEs would not fit; the message says how much they need. Nothing has been loaded then.
    PermissionError, ConnectionError
        The hub wants a licence accepted, or cannot be reached; the message says what to set.

    Examples
    --------
    >>> subject = load_subject("docstring-6l")
    >>> subject.n_layers
    6
    """
    paper = PAPER.get(str(model))
    repo = (
        paper.repo
        if paper
        else str(model).removeprefix(HUB)
        if str(model).startswith(HUB)
        else None
    )
    name = name or (str(model) if paper else Path(repo or SHIPPED.get(str(model), model)).name)
    dtype = dtype or (paper.dtype if paper else torch.float32)
    folder = (
        fetch(repo, "*.json", "*.txt", "tokenizer*", revision=revision)
        if repo
        else _local_folder(model, revision)
    )
    config, tokenizer = AutoConfig.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    published = paper if sae is None else None
    found = places(
        (published.saes if published else folder / "saes/*") if sae is None else sae,
        config.num_hidden_layers,
        hooks,
    )
    unseen = (
        2 * config.hidden_size * published.d_sae if published else 0
    )  # of an SAE that is still on the hub
    sizes = [n_weights(place, unseen) for _, place in found][
        : None if hooks is None else len(hooks)
    ]
    _check_memory(name, config, sizes, device, dtype)
    if repo:
        fetch(repo, "*.safetensors", revision=revision)
    logging.disable_progress_bar()  # transformers draws one over the weights of every load, into notebook outputs too
    # the bridge adds a BOS token to the tokenizer it is given: give it one of its own
    bridge = TransformerBridge.boot_transformers(
        str(folder), device=device, dtype=dtype, tokenizer=AutoTokenizer.from_pretrained(folder)
    )
    check_finite(name, bridge.original_model.named_parameters())
    saes, listed = load_saes(found, hooks, str(device), dtype)
    processing = _center(bridge, saes.values(), center_writing_weights)
    bridge.original_model.eval().requires_grad_(False)
    _check_logits(name, bridge)
    card = folder / "card.json"
    return Subject(
        name=name,
        model=bridge,
        tokenizer=tokenizer,
        saes=saes,
        bos=tokenizer.bos_token_id is not None if bos is None else bos,
        processing=processing,
        pretraining=paper.pretraining if paper else "not known",
        sae_training=published.sae_training if published else "not known",
        source=f"{repo}@{folder.name}"
        if repo
        else "local folder",  # the cache names a snapshot after its commit
        context=published.context if published else None,
        listed=listed,
        card=json.loads(card.read_text()) if card.exists() else {},
    )


def _local_folder(model: str | Path, revision: str | None) -> Path:
    folder = SHIPPED.get(str(model), Path(model))
    if not folder.is_dir():
        raise ValueError(
            f"unknown subject '{model}': give one of {', '.join([*SHIPPED, *PAPER])}, the path of a local folder in Hugging Face format, "
            f"or {HUB}owner/repository"
        )
    if revision is not None:
        raise ValueError(
            f"revision='{revision}' is for models on the hub, and '{model}' is a folder"
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


def _check_memory(
    name: str,
    config: PretrainedConfig,
    sizes: list[int],
    device: str | torch.device,
    dtype: torch.dtype,
) -> None:
    with torch.device("meta"):
        n_model = sum(p.numel() for p in AutoModelForCausalLM.from_config(config).parameters())
    gigabytes = [numbers * dtype.itemsize / 1e9 for numbers in (n_model, sum(sizes))]
    cuda = torch.device(device).type == "cuda"
    free = (torch.cuda.mem_get_info(device)[0] if cuda else psutil.virtual_memory().available) / 1e9
    if sum(gigabytes) > free:
        raise MemoryError(
            f"'{name}' in {str(dtype).removeprefix('torch.')} needs {sum(gigabytes):.1f} GB, {gigabytes[0]:.1f} for the model and "
            f"{gigabytes[1]:.1f} for {len(sizes)} SAEs, and {device} has {free:.1f} GB free: load fewer SAEs (hooks=[...]), "
            "halve it (dtype=torch.bfloat16), or use another device"
        )


def _center(bridge: TransformerBridge, saes: Iterable[SAE], asked: bool | None) -> str:
    """Centre the writing weights if asked to, or by default if the SAEs want it; returns what was done."""
    wanted = {
        bool((sae.cfg.metadata.model_from_pretrained_kwargs or {}).get("center_writing_weights"))
        for sae in saes
    }
    if asked is None and len(wanted) > 1:
        raise ValueError(
            "some of the SAEs were trained with centred writing weights, others without: load them apart with hooks=[...]"
        )
    layer_norm = bridge.cfg.normalization_type in ("LN", "LNPre")
    if asked and not layer_norm:
        raise ValueError(
            "center_writing_weights=True would change what this model computes: it has no LayerNorm to take the mean out"
        )
    if not layer_norm or not (wanted == {True} if asked is None else asked):
        return UNPROCESSED
    bridge.process_weights(
        fold_ln=False, center_writing_weights=True, center_unembed=False, fold_value_biases=False
    )
    return CENTERED


@torch.no_grad()
def _check_logits(name: str, model: TransformerBridge) -> None:
    """Raise ValueError if the model makes its logits from the final residual in a way that `logits_of` does not know."""
    tokens = torch.arange(
        min(8, model.cfg.d_vocab, model.cfg.n_ctx), device=next(model.parameters()).device
    )[None]
    made, expected = (
        logits_of(model, clean_run(model, tokens, [])[1][0]).float(),
        model.original_model(tokens).logits[0].float(),
    )
    if (difference := (made - expected).abs().max()) > 0.02 * expected.abs().max():
        raise ValueError(
            f"the logits of '{name}' are not its unembedding of the final residual (they differ by up to {difference:.2g}): it scales or "
            "shifts them in a way that saecert does not know, and cannot be measured yet"
        )


def _hash(state: Mapping[str, torch.Tensor], config: Mapping[str, Any]) -> str:
    where = {"_name_or_path", "device"}  # not what the model is
    digest = hashlib.sha256(
        json.dumps(
            {k: v for k, v in config.items() if k not in where}, sort_keys=True, default=str
        ).encode()
    )
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy())
    return digest.hexdigest()

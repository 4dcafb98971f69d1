"""Loading a subject from a folder or from the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from sae_lens import SAE
from transformer_lens.model_bridge import TransformerBridge
from transformers import PreTrainedTokenizerBase
from transformers.utils import logging

from saecert.arguments import Check, checked, kind, names, optional, refusal, text, truth
from saecert.subjects.checks import (
    check_device,
    check_finite,
    check_logits,
    check_memory,
    check_splices,
)
from saecert.subjects.folders import (
    check_weights,
    local_folder,
    read_card,
    read_config,
    read_tokenizer,
)
from saecert.subjects.gguf import GGUF, describe, gguf_file, load_model
from saecert.subjects.hub import HUB, fetch
from saecert.subjects.listing import SHIPPED, package_of
from saecert.subjects.precision import Precision, chosen
from saecert.subjects.registry import PAPER, Published
from saecert.subjects.saes import LoadedSAEs, Source, check_hooks, load_saes, n_weights, places
from saecert.subjects.subject import CENTERED, UNPROCESSED, Subject


def _place(name: str, value: Any) -> Any:
    """What names a place: no empty text, which would be the working folder."""
    if str(value).strip() == "":
        raise refusal(name, "a name or a path", value)
    return kind("a name or a path", str, Path)(name, value)


def _sources(name: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return {hook: _sources(f"{name}[{hook!r}]", value[hook]) for hook in value}
    return value if isinstance(value, SAE) else _place(name, value)


_ARGUMENTS: dict[str, Check] = {
    "model": _place,
    "sae": optional(_sources),
    "hooks": optional(names),
    "bos": optional(truth),
    "center_writing_weights": optional(truth),
    "revision": optional(text),
    "name": optional(text),
    "allow_hook_mismatch": truth,
}


@checked(_ARGUMENTS)
def load_subject(
    model: str | Path = "docstring-6l",
    *,
    sae: Source | Mapping[str, Source] | None = None,
    hooks: Sequence[str] | None = None,
    device: str | torch.device = "cpu",
    dtype: str | torch.dtype | None = None,
    bos: bool | None = None,
    center_writing_weights: bool | None = None,
    revision: str | None = None,
    name: str | None = None,
    allow_hook_mismatch: bool = False,
) -> Subject:
    """A frozen LM and its SAEs, ready for `collect`.

    Parameters
    ----------
    model
        Name of a shipped subject (``"docstring-6l"``; ``"smollm2-135m"`` after ``make smollm2``) or
        of one of the paper's models (``"gpt2-small"``, ``"gemma-2b"``, ``"llama-3.1-8b"``,
        ``"llama-3.1-8b-32x"``, ``"llama-3-8b"``), a local folder in Hugging Face format
        (``config.json``, weights, tokenizer files), a GGUF file (``.gguf``) or a folder with one,
        or ``hf:owner/repository``. Code in a model folder never runs. Of a GGUF file the weights
        are multiplied out: the subject is the quantised model.
    sae
        Where the SAEs are: a folder in the format of sae_lens or of sparsify, "release" or
        "release/id" of sae_lens, ``hf:owner/repository/folder``, any of these with ``{layer}`` in
        it for every layer that exists, a ready `sae_lens.SAE`, or ``{hook_name: any of these}``.
        Default: the SAEs published for one of the paper's models, else the folders under ``saes/``
        in the model folder.
    hooks
        Load the SAEs at these hook points only. Default: all of them, which for Llama takes tens of
        gigabytes.
    device, dtype
        Where and in which precision to run, such as "float32" or "bfloat16"; weights stored
        otherwise are converted. Default: CPU; float32, for Llama bfloat16. Softmax and losses are
        in float32 in any case. With "bfloat16" on a CPU the SAEs stay in float32, and a CPU that
        does not multiply bfloat16 computes with the rounded weights in float32: never slower, but
        another model. `Subject.processing` says which one was measured.
    bos
        Whether sequences start with BOS. Default: when the tokenizer has a BOS token.
    center_writing_weights
        Remove the mean of all that is written to the residual stream, which a model with LayerNorm
        does not notice but an SAE does. Default: as the SAEs say that they were trained.
    revision
        Branch, tag or commit of a model on the hub. Default: the newest.
    name
        Name for pages and files. Default: that of the model or its folder.
    allow_hook_mismatch
        Load an SAE at another hook point than its own metadata names; `Subject.hook_mismatches`
        records it.

    Raises
    ------
    ValueError
        Unknown subject, release, repository or revision, hook point missing in the model or without
        SAE, SAE of another width, of another hook point or of a kind that has no latents of one
        activation, tokenizer larger than the model's vocabulary, weights that are damaged, not
        finite, missing, superfluous or of another shape (the message names the tensor), a model
        that needs code of its own, a CUDA device that is not here, an unknown `dtype`, logits made
        in an unknown way, a hook point at which activations cannot be replaced, or settings that
        cannot be meant (the message names file and field).
    FileNotFoundError
        A folder lacks a file that loading needs, or nothing is where `sae` points; the message
        names it.
    MemoryError
        Model and SAEs would not fit; the message says how much they need. Nothing has been loaded
        then.
    PermissionError, ConnectionError
        The hub wants a licence accepted, or cannot be reached; the message says what to set.

    Examples
    --------
    >>> subject = load_subject("docstring-6l")
    >>> subject.n_layers
    6
    """
    check_device(device)
    origin = _origin(model, revision)
    name = origin.name if name is None else name
    precision = chosen(dtype, device, origin.paper.dtype if origin.paper else torch.float32)
    folder = origin.folder
    config = read_config(folder)
    tokenizer = read_tokenizer(folder)
    published = origin.paper if sae is None else None
    if sae is None:
        sae = published.saes if published else origin.home / "saes/*"
    located = places(sae, config.num_hidden_layers, hooks)
    check_hooks(located, hooks, config.num_hidden_layers)
    # of an SAE that is still on the hub
    unseen = 2 * config.hidden_size * published.d_sae if published else 0
    n_wanted = None if hooks is None else len(hooks)
    sae_sizes = [n_weights(place, unseen) for _, place in located[:n_wanted]]
    check_memory(name, config, sae_sizes, device, precision.model, precision.saes)
    if origin.repo:
        fetch(origin.repo, "*.safetensors", revision=revision)
    if origin.gguf is None:
        check_weights(folder, config)
    bridge = _boot(origin, device, precision.model)
    check_finite(name, bridge.original_model.named_parameters())
    belonging = (origin.home, allow_hook_mismatch)
    loaded = load_saes(located, hooks, str(device), precision.saes, *belonging)
    processing = _processed(bridge, loaded.saes.values(), center_writing_weights, precision)
    check_logits(name, bridge)
    return _assembled(name, bridge, tokenizer, bos, processing, loaded, origin, published)


@dataclass(frozen=True)
class _Origin:
    """Where a model is from."""

    name: str
    """What it is called unless told otherwise."""
    folder: Path
    """Where its configuration and tokenizer are on this machine, and its weights unless GGUF."""
    home: Path
    """Where its SAEs and its card are, if it has any of its own."""
    repo: str | None = None
    """Its repository on the hub."""
    paper: Published | None = None
    """What is known of it, if it is one of the paper's."""
    gguf: GGUF | None = None
    """The GGUF file that holds its weights."""
    pretraining: str = "not known"
    """What is known of the text that it was trained on."""

    @property
    def source(self) -> str:
        """Where the weights are from, for the record."""
        if self.gguf is not None:
            return f"GGUF file {self.gguf.file.name}"
        # the cache names a snapshot after its commit
        return f"{self.repo}@{self.folder.name}" if self.repo else "local folder"


def _origin(model: str | Path, revision: str | None) -> _Origin:
    """Where a model is from, its configuration and tokenizer fetched or unpacked if need be."""
    text = str(model)
    paper = PAPER.get(text)
    if paper is None and not text.startswith(HUB):
        file = gguf_file(model)
        if file is not None:
            return _from_gguf(model, file, revision)
        folder = local_folder(model, revision)
        return _Origin(folder.name, folder, folder)
    repo = paper.repo if paper else text.removeprefix(HUB)
    folder = fetch(repo, "*.json", "*.txt", "tokenizer*", revision=revision)
    if paper is None:
        return _Origin(Path(repo).name, folder, folder, repo)
    return _Origin(text, folder, folder, repo, paper, pretraining=paper.pretraining)


def _from_gguf(model: str | Path, file: Path, revision: str | None) -> _Origin:
    """The same of a GGUF file: its own, the one in a folder, or that of a shipped subject."""
    if revision is not None:
        raise ValueError(f"revision='{revision}' is for models on the hub, and '{model}' is a file")
    described = describe(file)
    if str(model) in SHIPPED:
        said = package_of(str(model))["pretraining"]
        home = SHIPPED[str(model)]
        return _Origin(str(model), described.folder, home, gguf=described, pretraining=said)
    name = file.stem if Path(model).is_file() else file.parent.name
    return _Origin(name, described.folder, file.parent, gguf=described)


def _assembled(
    name: str,
    bridge: TransformerBridge,
    tokenizer: PreTrainedTokenizerBase,
    bos: bool | None,
    processing: str,
    loaded: LoadedSAEs,
    origin: _Origin,
    published: Published | None,
) -> Subject:
    """The subject, with what is known of the model and of its published SAEs, if activations at
    its hook points can be replaced."""
    subject = Subject(
        name=name,
        model=bridge,
        tokenizer=tokenizer,
        saes=loaded.saes,
        bos=tokenizer.bos_token_id is not None if bos is None else bos,
        processing=processing,
        pretraining=origin.pretraining,
        sae_training=published.sae_training if published else "not known",
        source=origin.source,
        quantisation=origin.gguf.quantisation if origin.gguf else "",
        context=published.context if published else None,
        listed=loaded.listed,
        sae_names=loaded.names,
        hook_mismatches=loaded.mismatches,
        card=read_card(origin.home),
    )
    check_splices(name, bridge, subject.hook_names)
    return subject


def _boot(origin: _Origin, device: str | torch.device, dtype: torch.dtype) -> TransformerBridge:
    folder = origin.folder
    # transformers draws a bar over the weights of every load, into notebook outputs too
    logging.disable_progress_bar()
    # the bridge adds a BOS token to the tokenizer it is given: give it one of its own
    own = read_tokenizer(folder)
    model = None
    if origin.gguf is not None:
        model = load_model(origin.gguf, read_config(folder), device, dtype)
    bridge = TransformerBridge.boot_transformers(
        str(folder.resolve()),  # a bare name such as "pythia" is one of TransformerLens to it
        device=device,
        dtype=dtype,
        tokenizer=own,
        hf_model=model,
        trust_remote_code=False,
    )
    # to add BOS the bridge reads the folder anew, of which transformers may make another class
    if type(bridge.tokenizer) is not type(own):
        own.init_kwargs["add_bos_token"] = True  # said to be there: taken as it is
        bridge.tokenizer = own
    return bridge


def _processed(
    bridge: TransformerBridge, saes: Iterable[SAE], center: bool | None, precision: Precision
) -> str:
    """What was done to the weights, which are frozen now."""
    done = precision.processing(_center(bridge, saes, center))
    precision.apply(bridge.original_model)
    bridge.original_model.eval().requires_grad_(False)
    return done


def _center(bridge: TransformerBridge, saes: Iterable[SAE], asked: bool | None) -> str:
    """What was done: writing weights are centred if asked to, or by default if the SAEs want it."""
    wanted = {
        bool((sae.cfg.metadata.model_from_pretrained_kwargs or {}).get("center_writing_weights"))
        for sae in saes
    }
    if asked is None and len(wanted) > 1:
        raise ValueError(
            "some of the SAEs were trained with centred writing weights, others without: "
            "load them apart with hooks=[...]"
        )
    layer_norm = bridge.cfg.normalization_type in ("LN", "LNPre")
    if asked and not layer_norm:
        raise ValueError(
            "center_writing_weights=True would change what this model computes: it has no "
            "LayerNorm to take the mean out"
        )
    if not layer_norm or not (wanted == {True} if asked is None else asked):
        return UNPROCESSED
    bridge.process_weights(
        fold_ln=False, center_writing_weights=True, center_unembed=False, fold_value_biases=False
    )
    return CENTERED

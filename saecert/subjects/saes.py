"""SAEs from wherever they are: folders, releases of sae_lens, the hub, objects."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite, prod
from pathlib import Path
from typing import Any

import torch
from sae_lens import SAE, BatchTopKTrainingSAE, TrainingSAE
from safetensors import safe_open

from saecert.subjects.forward import hook_layer
from saecert.subjects.registry import HUB, load_release, locate, release_of
from saecert.subjects.sparsify import WEIGHTS, load_sparsify

Source = str | Path | SAE
"""A ready SAE, its folder, or the name of a release or of a folder on the hub."""


def places(
    sae: Source | Mapping[str, Source], n_layers: int, hooks: Sequence[str] | None
) -> list[tuple[str | None, Source]]:
    """Where each SAE is, with its hook name if that is said; names in a mapping are looked up only when they are loaded."""
    if isinstance(sae, Mapping):
        return [(hook, place) for hook, place in sae.items() if hooks is None or hook in hooks]
    if isinstance(sae, SAE):
        return [(None, sae)]
    text = str(sae)
    if text.endswith("*"):
        by_layer = {
            folder: [int(n) for n in re.findall(r"\d+", folder.name)]
            for folder in Path(text).parent.glob("*/")
        }
        return [
            (None, folder)
            for folder in sorted(by_layer, key=lambda folder: (by_layer[folder], folder.name))
        ]
    layers = range(n_layers) if hooks is None else sorted({hook_layer(hook) for hook in hooks})
    names = [text.format(layer=layer) for layer in layers] if "{layer}" in text else [text]
    found = [place for name in names for place in locate(name)]
    if hooks is not None:  # the ids of many releases are hook names: do not download the others
        found = [
            place
            for place in found
            if isinstance(place, Path)
            or ".hook_" not in place
            or any(hook in place for hook in hooks)
        ]
    return [(None, place) for place in found] or [(None, text)]


def n_weights(place: Source, unseen: int) -> int:
    """Numbers still to be loaded from one place; `unseen` if that is not on this machine yet."""
    if not isinstance(place, Path):
        return 0 if isinstance(place, SAE) else unseen
    opened = [safe_open(file, "pt") for file in place.glob("*.safetensors")]
    return sum(prod(file.get_slice(key).get_shape()) for file in opened for key in file.keys())  # noqa: SIM118


def load_saes(
    found: Iterable[tuple[str | None, Source]],
    hooks: Sequence[str] | None,
    device: str,
    dtype: torch.dtype,
) -> tuple[dict[str, SAE], dict[str, dict[str, Any]]]:
    """SAEs by hook name, and what their releases list of them; those at other hook points than `hooks` are let go again."""
    saes, listed = {}, {}
    for hook, place in found:
        sae, facts = _load(place, device, dtype)
        where = "the SAE given" if isinstance(place, SAE) else str(place)
        hook = hook or sae.cfg.metadata.hook_name
        if not hook:
            raise ValueError(
                f"{where} does not say its hook point: set sae.cfg.metadata.hook_name or pass sae={{hook_name: ...}}"
            )
        if hook in saes:
            raise ValueError(f"{where} is a second SAE at '{hook}': name the one to load")
        if hooks is None or hook in hooks:
            check_finite(f"SAE at {hook}", sae.named_parameters())
            sae.W_dec.data = (
                sae.W_dec.data.contiguous()
            )  # some loaders leave a transposed view, of which atoms are read slowly
            saes[hook], listed[hook] = sae.eval().requires_grad_(False), facts
    if missing := [hook for hook in hooks or () if hook not in saes]:
        raise ValueError(
            f"no SAE for hooks={missing}; found SAEs at {', '.join(saes) or 'none of those asked for'}"
        )
    return saes, listed


def check_finite(name: str, tensors: Iterable[tuple[str, torch.Tensor]]) -> None:
    """ValueError naming the first tensor that holds NaN or infinity."""
    for key, tensor in tensors:
        if tensor.numel() and not all(map(isfinite, torch.aminmax(tensor.detach()))):
            raise ValueError(
                f"the weights of '{name}' are not finite: {key.replace('._original_component', '')}"
            )


def _load(place: Source, device: str, dtype: torch.dtype) -> tuple[SAE, dict[str, Any]]:
    if isinstance(place, SAE):
        return _usable(place).to(device=device, dtype=dtype), {}
    if len(where := locate(str(place))) != 1:
        known = release_of(str(place))
        ids = f" (this release has {', '.join(list(known.saes_map)[:40])})" if known else ""
        raise FileNotFoundError(
            f"no SAE matches '{place}'{ids}: give a folder, 'release' or 'release/id' of sae_lens, or {HUB}owner/repository/folder"
        )
    with (
        warnings.catch_warnings()
    ):  # that the model should be loaded with centred writing weights: load_subject sees to it
        warnings.filterwarnings(
            "ignore", "\\nThis SAE has non-empty model_from_pretrained_kwargs", UserWarning
        )
        if isinstance(where[0], str):
            sae, listed = load_release(where[0], device, dtype)
            return _usable(sae), listed
        if (where[0] / WEIGHTS).exists():
            return load_sparsify(where[0], device, dtype), {}
        for needed in ("cfg.json", "sae_weights.safetensors"):
            if not (where[0] / needed).exists():
                raise FileNotFoundError(
                    f"{where[0]} has no {needed}: expected a folder written by sae_lens' save_model or by sparsify"
                )
        return _usable(
            SAE.load_from_disk(where[0], device=device, dtype=str(dtype).removeprefix("torch."))
        ), {}


def _usable(sae: SAE) -> SAE:
    """`sae` as something whose codes depend on one activation and can be decoded any number of times."""
    kind, norm = sae.cfg.architecture(), sae.cfg.normalize_activations
    if "transcoder" in kind or kind == "temporal":
        raise ValueError(
            f"a {kind} is no SAE of one activation: it "
            + ("looks back" if kind == "temporal" else "writes elsewhere")
        )
    if isinstance(sae, TrainingSAE) and not isinstance(sae, BatchTopKTrainingSAE):
        # what save_inference_model would write; BatchTopK is left as it is, since there the two are different functions
        state = sae.state_dict()
        sae.process_state_dict_for_saving_inference(state)
        sae = SAE.from_dict(sae.cfg.get_inference_sae_cfg_dict())
        sae.process_state_dict_for_loading(state)
        sae.load_state_dict(state)
    # sae_lens forgets a token's statistics at the first decode; here one encoding is decoded once for every proxy
    if norm == "layer_norm":
        sae.run_time_activation_norm_fn_out = lambda recons: recons * sae.ln_std + sae.ln_mu
    if norm == "constant_norm_rescale":
        sae.run_time_activation_norm_fn_out = lambda recons: recons / sae.x_norm_coeff
    return sae

"""What the settings of an SAE say, and whether they can be meant."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sae_lens import SAE

TOPK = ("topk", "abstopk")
"""Architectures with a fixed number of active latents, k."""
_OF_HEADS = ("hook_q", "hook_k", "hook_v", "hook_z")


def read_settings(folder: Path) -> dict[str, Any]:
    """Content of an SAE's ``cfg.json``; ValueError unless it is a JSON object."""
    path = folder / "cfg.json"
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # damaged JSON, or not UTF-8
        raise ValueError(f"{path} is not JSON ({error})") from error
    if not isinstance(settings, dict):
        raise ValueError(f"{path} holds no settings of an SAE but a {type(settings).__name__}")
    return settings


def check_settings(folder: Path, is_sparsify: bool) -> None:
    """Raise ValueError, naming file and setting, for what the loader would guess or not explain: a
    TopK SAE without k, or one that wants heads where there are none."""
    path = folder / "cfg.json"
    settings = read_settings(folder)
    if is_sparsify or _is_topk(settings):
        k = settings.get("k", (settings.get("activation_fn_kwargs") or {}).get("k"))
        if k is None:
            raise ValueError(
                f"{path} does not say k, the number of active latents of a TopK SAE: add the one "
                "that it was trained with"
            )
        check_k(path, k)
    metadata = settings.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    hook = metadata.get("hook_name") or settings.get("hook_name")
    if settings.get("reshape_activations") == "hook_z" and hook and not str(hook).endswith("_z"):
        raise ValueError(
            f"{path}: reshape_activations is 'hook_z', for an SAE of all heads at attn.hook_z, and "
            f"hook_name is '{hook}': correct the one that is wrong ('none' reshapes nothing)"
        )


def check_k(where: str | Path, k: object, d_sae: int | None = None) -> None:
    """Raise ValueError unless k can be a number of active latents, of `d_sae` if that is known."""
    if not isinstance(k, int) or isinstance(k, bool) or k < 1:
        raise ValueError(
            f"{where}: k, the number of active latents, must be a whole number of at least 1, not "
            f"{k!r:.60}: put in the one that the SAE was trained with"
        )
    if d_sae is not None and k > d_sae:
        raise ValueError(
            f"an SAE cannot have {k} active latents of {d_sae}: k > d_sae in {where}; put in the "
            "ones that it was trained with"
        )


def check_one_head(where: str | Path, sae: SAE) -> None:
    """Raise ValueError for an SAE of one head alone; one of all heads reads them as one vector."""
    metadata = sae.cfg.metadata
    head = getattr(metadata, "hook_head_index", None)
    if head is not None and str(metadata.hook_name).endswith(_OF_HEADS):
        raise ValueError(
            f"{where} is an SAE of head {head} alone (hook_head_index): only one of all heads at "
            f"'{metadata.hook_name}' can be measured"
        )


def _is_topk(settings: dict[str, Any]) -> bool:
    """Also as older versions of sae_lens said it."""
    function = settings.get("activation_fn", settings.get("activation_fn_str"))
    architecture = settings.get("architecture", "standard")
    return architecture in TOPK or (architecture == "standard" and function == "topk")

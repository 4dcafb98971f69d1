"""The paper's models with the SAEs published for them, and getting SAEs by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from sae_lens import SAE
from sae_lens.loading.pretrained_saes_directory import (
    PretrainedSAELookup,
    get_pretrained_saes_directory,
)

from saecert.subjects.hub import HUB, fetch, patience


@dataclass(frozen=True)
class Published:
    """One of the paper's models: where its weights and its SAEs are, and what is known of them."""

    repo: str
    """Hub repository of the LM."""
    saes: Mapping[str, str]
    """Source of the SAE by hook name, as `load_subject` takes it."""
    d_sae: int
    """Width of each SAE: what it will take in memory is known before anything is downloaded."""
    context: int
    """Tokens per sequence, BOS included, that the SAEs were trained on."""
    dtype: torch.dtype
    """Precision to run in unless told otherwise."""
    pretraining: str
    """What is known of the text that the LM was trained on."""
    sae_training: str
    """What is known of the text that the SAEs were trained on."""


def _at(source: str, layers: Iterable[int], hook: str = "hook_resid_post") -> dict[str, str]:
    return {f"blocks.{layer}.{hook}": source.format(layer=layer) for layer in layers}


# Releases, ids and hook points: pretrained_saes.yaml of sae_lens 6.54.12; from it come, at loading,
# the listed L0, the scaling of activations that sae_lens folds into the weights (Llama Scope: every
# layer; gemma-2b-res-jb: layer 12, where its cfg.json asks for it), and that gpt2-small-res-jb
# wants centred writing weights.
# gpt2-small: OpenAI's model card of GPT-2; card of jbloom/GPT2-Small-SAEs; cfg.json in
# jbloom/GPT2-Small-SAEs-Reformatted.
# gemma-2b: arXiv 2403.08295, section 3; cfg.json in jbloom/Gemma-2b-Residual-Stream-SAEs
# (layer 10).
# llama-3.1-8b: Meta's model card; llama_scope loader of sae_lens 6.54.12; arXiv 2410.20526. Both
# releases are stored in bfloat16.
# llama-3-8b: Meta's model card; repository EleutherAI/sae-llama-3-8b-32x (cfg.json, data set on its
# card, 2.15 GB a layer). It was trained on hidden_states[:-1], the embedding and the outputs of
# blocks 0 to 30 (EleutherAI/sae before pull request 12), and its commits of 9 July 2024 renamed the
# folders after modules: layers.30 is the last. 2,048 tokens: default of that library.
_PRE = "gpt2-small-res-jb/blocks.{layer}.hook_resid_pre"
_POST = "gpt2-small-res-jb/blocks.{layer}.hook_resid_post"
_GPT2 = _at(_PRE, range(12), "hook_resid_pre") | _at(_POST, [11])
_GEMMA = _at("gemma-2b-res-jb/blocks.{layer}.hook_resid_post", (0, 6, 10, 12, 17))
_SCOPE_8X = _at("llama_scope_lxr_8x/l{layer}r_8x", range(32))
_SCOPE_32X = _at("llama_scope_lxr_32x/l{layer}r_32x", range(32))
_LLAMA_3 = _at("hf:EleutherAI/sae-llama-3-8b-32x/layers.{layer}", range(31))
_WEBTEXT = (
    "WebText: pages linked from Reddit up to the end of 2017, without Wikipedia; not released"
)
_GEMMA_TEXT = "3T tokens, mostly English, of web documents, mathematics and code; not released"
_LLAMA_TEXT = "over 15T tokens of publicly available text up to {}; not released"
_F32 = torch.float32
_BF16 = torch.bfloat16
_LLAMA_31 = (_BF16, _LLAMA_TEXT.format("December 2023"), "SlimPajama")
PAPER: Mapping[str, Published] = {
    "gpt2-small": Published(
        "openai-community/gpt2", _GPT2, 24_576, 128, _F32, _WEBTEXT, "300M tokens of OpenWebText"
    ),
    "gemma-2b": Published(
        "google/gemma-2b", _GEMMA, 16_384, 1024, _F32, _GEMMA_TEXT, "OpenWebText"
    ),
    "llama-3.1-8b": Published("meta-llama/Llama-3.1-8B", _SCOPE_8X, 32_768, 1024, *_LLAMA_31),
    "llama-3.1-8b-32x": Published("meta-llama/Llama-3.1-8B", _SCOPE_32X, 131_072, 1024, *_LLAMA_31),
    "llama-3-8b": Published(
        "meta-llama/Meta-Llama-3-8B",
        _LLAMA_3,
        131_072,
        2048,
        _BF16,
        _LLAMA_TEXT.format("March 2023"),
        "RedPajama-Data-1T-Sample",
    ),
}
"""The paper's models, by the name that `load_subject` takes."""


def locate(name: str) -> list[Path | str]:
    """The SAEs that `name` stands for: local folders, or "release/id" of sae_lens.

    None if it stands for nothing. `name` is a local folder, ``hf:owner/repository/folder``, a
    release of sae_lens (all of its SAEs) or "release/id".
    """
    if name.startswith(HUB):
        owner, repo, *inside = name.removeprefix(HUB).split("/")
        folder = "/".join(inside)
        path = fetch(f"{owner}/{repo}", f"{folder}/*" if folder else "*") / folder
        return [path] if path.is_dir() else []
    if Path(name).is_dir():
        return [Path(name)]
    known = release_of(name)
    if known is None:
        return []
    sae_id = name.partition("/")[2]
    ids = [sae_id] if sae_id else list(known.saes_map)
    return [f"{known.release}/{listed}" for listed in ids if listed in known.saes_map]


def release_of(name: str) -> PretrainedSAELookup | None:
    """What sae_lens knows of the release in "release" or "release/id".

    None if that is none of its releases.
    """
    # empty for absolute paths: reading the list of releases takes seconds
    release = name.partition("/")[0]
    return get_pretrained_saes_directory().get(release) if release else None


def load_release(name: str, device: str, dtype: torch.dtype) -> tuple[SAE, dict[str, Any]]:
    """The SAE "release/id" of sae_lens, its scaling folded in, and what the release lists of it."""
    known = release_of(name)
    sae_id = name.partition("/")[2]
    path = known.saes_map[sae_id]
    # sae_lens retries for long when the hub cannot be reached, and fetches file by file
    fetch(known.repo_id, path, f"{path}/*")
    with patience():
        sae = SAE.from_pretrained(
            known.release, sae_id, device=device, dtype=str(dtype).removeprefix("torch.")
        )
    listed = {
        "l0": known.expected_l0.get(sae_id),
        "norm_scaling_factor": known.norm_scaling_factor.get(sae_id),
    }
    return sae, {key: value for key, value in listed.items() if value}

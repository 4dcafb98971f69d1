"""SAEs from wherever they are: folders, releases of sae_lens, the hub, objects."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from sae_lens import SAE, BatchTopKTrainingSAE, TrainingSAE

from saecert.subjects.checks import check_finite
from saecert.subjects.folders import tensor_sizes
from saecert.subjects.forward import hook_layer
from saecert.subjects.hub import HUB
from saecert.subjects.registry import load_release, locate, release_of
from saecert.subjects.sae_settings import (
    TOPK,
    check_k,
    check_one_head,
    check_settings,
    read_settings,
)
from saecert.subjects.sparsify import WEIGHTS, hook_name, load_sparsify
from saecert.subjects.subject import weights_hash
from saecert.subjects.top_afa import register

Source = str | Path | SAE
"""A ready SAE, its folder, or the name of a release or of a folder on the hub."""

register()  # so that a folder with a top-AFA SAE is loaded like any other

_NEEDED = ("cfg.json", "sae_weights.safetensors")
_CENTRING = "\\nThis SAE has non-empty model_from_pretrained_kwargs"  # load_subject sees to it


@dataclass
class LoadedSAEs:
    """SAEs with what is known of each, all by hook name."""

    saes: dict[str, SAE] = field(default_factory=dict)
    """In evaluation mode, without gradients."""
    listed: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What the release of an SAE lists of it."""
    names: dict[str, str] = field(default_factory=dict)
    """A short name or path of each."""
    mismatches: dict[str, str] = field(default_factory=dict)
    """The hook point in an SAE's own metadata, where it is another one."""


def places(
    sae: Source | Mapping[str, Source], n_layers: int, hooks: Sequence[str] | None
) -> list[tuple[str | None, Source]]:
    """Where each SAE is, with its hook name if that is said.

    Names in a mapping are looked up only when they are loaded.
    """
    if isinstance(sae, Mapping):
        return [(hook, place) for hook, place in sae.items() if hooks is None or hook in hooks]
    if isinstance(sae, SAE):
        return [(None, sae)]
    text = str(sae)
    if text.endswith("*"):
        return [(None, folder) for folder in _layer_folders(Path(text).parent)]
    located = [place for name in _filled_in(text, n_layers, hooks) for place in locate(name)]
    if hooks is not None:
        located = [place for place in located if _may_be_at(place, hooks)]
    return [(None, place) for place in located] or [(None, text)]


def n_weights(place: Source, unseen: int) -> int:
    """Numbers still to be loaded from one place; `unseen` if that is not on this machine yet."""
    if isinstance(place, SAE):
        return 0
    if not Path(place).is_dir():
        return unseen
    sizes = [tensor_sizes(file) for file in sorted(Path(place).glob("*.safetensors"))]
    return sum(sum(by_name.values()) for by_name in sizes)


def check_hooks(
    located: Iterable[tuple[str | None, Source]], hooks: Sequence[str] | None, n_layers: int
) -> None:
    """Raise ValueError, before anything is loaded, for hook points that cannot be had.

    Hook points outside the model, and those without an SAE where every SAE on this machine says
    where it belongs.
    """
    located = list(located)
    known = [hook or _stated_hook(place) for hook, place in located]
    there = ", ".join(filter(None, known))
    advice = _advice(located, n_layers)
    for hook in filter(None, hooks or known):
        wrong = _wrong(hook, n_layers)
        if wrong and hook in advice:
            raise ValueError(f"{wrong}; {advice[hook]}")
        if wrong:
            raise ValueError(f"{wrong}; there are SAEs at {there}" if there else wrong)
    if None not in known:
        present = [hook for hook in known if hook is not None]
        _check_all_there(hooks, present, next(iter(advice.values()), ""))


def _wrong(hook: str, n_layers: int) -> str:
    """Why the model cannot have a hook point; nothing if it may have it."""
    try:
        layer = hook_layer(hook)
    except ValueError as error:
        return str(error)
    have = f"the model has {n_layers} layers, from 0 on"
    return f"no hook point '{hook}': {have}" if layer >= n_layers else ""


def _advice(located: Sequence[tuple[str | None, Source]], n_layers: int) -> dict[str, str]:
    """What to do about each SAE that names a hook point which the model cannot have, by that."""
    stated = [(_stated_hook(place), place) for hook, place in located if hook is None]
    right = [hook for hook, _ in stated if hook and not _wrong(hook, n_layers)]
    other = f"; or load another SAE, with hooks=['{right[0]}']" if right else ""
    return {
        hook: f"'{hook}' stands {_where_stated(place)}: name the right one there, or in Python "
        "give load_subject a dictionary, {hook point: SAE}, and allow_hook_mismatch=True" + other
        for hook, place in stated
        if hook and _wrong(hook, n_layers)
    }


def _where_stated(place: Source) -> str:
    """Where an SAE says at which hook point it belongs."""
    if isinstance(place, SAE):
        return "in cfg.metadata.hook_name of the SAE given"
    if (Path(place) / WEIGHTS).exists():
        return f"for the name of the folder '{place}'"
    return f"as hook_name in '{Path(place) / 'cfg.json'}'"


def load_saes(
    located: Iterable[tuple[str | None, Source]],
    hooks: Sequence[str] | None,
    device: str,
    dtype: torch.dtype,
    root: Path,
    allow_hook_mismatch: bool = False,
) -> LoadedSAEs:
    """SAEs by hook name; those at other hook points than `hooks` are let go again.

    `root` is the model's folder: SAEs in it are named by their path from there.
    """
    loaded = LoadedSAEs()
    for hook, place in located:
        sae, facts = _load(place, device, dtype)
        where = "the SAE given" if isinstance(place, SAE) else str(place)
        # sae_lens drops the metadata of a file that does not name its version
        stated = sae.cfg.metadata.hook_name or _stated_hook(place)
        hook = hook or stated
        if not hook:
            raise ValueError(
                f"{where} does not say its hook point: set sae.cfg.metadata.hook_name or pass "
                "sae={hook_name: ...}"
            )
        if hook in loaded.saes:
            raise ValueError(f"{where} is a second SAE at '{hook}': name the one to load")
        if hooks is not None and hook not in hooks:
            continue
        if stated and _canonical(stated) != _canonical(hook):
            if not allow_hook_mismatch:
                raise ValueError(
                    f"{where} says that it belongs at '{stated}', not at '{hook}': load it there, "
                    "or pass allow_hook_mismatch=True, which is recorded"
                )
            loaded.mismatches[hook] = stated
        check_finite(f"SAE at {hook}", sae.named_parameters())
        # some loaders leave a transposed view, of which atoms are read slowly
        sae.W_dec.data = sae.W_dec.data.contiguous()
        loaded.saes[hook] = sae.eval().requires_grad_(False)
        loaded.listed[hook] = facts
        loaded.names[hook] = _short_name(place, sae, root)
    _check_all_there(hooks, list(loaded.saes))
    return loaded


def _layer_folders(parent: Path) -> list[Path]:
    """Folders in the order of the numbers in their names; FileNotFoundError when there are none."""
    numbers = {
        folder: [int(digits) for digits in re.findall(r"\d+", folder.name)]
        for folder in parent.glob("*/")
    }
    if not numbers:
        raise FileNotFoundError(f"no SAEs under {parent}: pass sae=...")
    return sorted(numbers, key=lambda folder: (numbers[folder], folder.name))


def _filled_in(text: str, n_layers: int, hooks: Sequence[str] | None) -> list[str]:
    """The template with each layer put in; itself if it is none."""
    if "{layer}" not in text:
        return [text]
    layers = range(n_layers) if hooks is None else sorted({hook_layer(hook) for hook in hooks})
    try:
        return [text.format(layer=layer) for layer in layers]
    except (KeyError, IndexError, ValueError, AttributeError) as error:
        raise ValueError(
            f"sae='{text}' cannot be filled in ({error}): only {{layer}} is known"
        ) from error


def _may_be_at(place: Path | str, hooks: Sequence[str]) -> bool:
    """Whether to look at it: the ids of many releases are hook names, and the others can stay."""
    if isinstance(place, Path) or ".hook_" not in place:
        return True
    return any(hook in place for hook in hooks)


def _check_all_there(hooks: Sequence[str] | None, present: list[str], advice: str = "") -> None:
    """Raise ValueError for hook points without an SAE; `advice` is on one at a wrong place."""
    missing = [hook for hook in hooks or () if hook not in present]
    if missing:
        found = ", ".join(present) or "none of those asked for"
        told = f"no SAE for hooks={missing}; found SAEs at {found}"
        raise ValueError(f"{told}; {advice}" if advice else told)


def _canonical(hook: str) -> str:
    """One name for the two that the residual stream between two blocks has."""
    match = re.fullmatch(r"blocks\.(\d+)\.hook_resid_pre", hook)
    if match is None or match[1] == "0":
        return hook
    return f"blocks.{int(match[1]) - 1}.hook_resid_post"


def _stated_hook(place: Source) -> str | None:
    """The hook point that an SAE on this machine names, None if it does not or is elsewhere."""
    if isinstance(place, SAE):
        return place.cfg.metadata.hook_name
    folder = Path(place)
    if (folder / WEIGHTS).exists():
        return hook_name(folder.name)
    if not (folder / "cfg.json").exists():
        return None
    settings = read_settings(folder)
    metadata = settings.get("metadata")
    nested = metadata.get("hook_name") if isinstance(metadata, dict) else None
    stated = nested or settings.get("hook_name")
    return stated if isinstance(stated, str) else None


def _short_name(place: Source, sae: SAE, root: Path) -> str:
    if isinstance(place, SAE):
        digest = weights_hash(sae.state_dict(), sae.cfg.to_dict())
        return f"{sae.cfg.architecture()} given, {digest[:8]}"
    path = Path(place)
    if not path.is_dir():
        return str(place)
    if "snapshots" in path.parts:  # the cache of the hub: .../models--owner--name/snapshots/commit
        at = path.parts.index("snapshots")
        repo = path.parts[at - 1].removeprefix("models--").replace("--", "/")
        return "/".join([HUB + repo, *path.parts[at + 2 :]])
    if path.is_relative_to(root):
        return path.relative_to(root).as_posix()
    whole = path.resolve()
    few = len(whole.parts) <= 4  # the root is one of them
    return whole.as_posix() if few else "/".join(["...", *whole.parts[-3:]])


def _load(place: Source, device: str, dtype: torch.dtype) -> tuple[SAE, dict[str, Any]]:
    """The SAE at one place, and what its release lists of it."""
    if isinstance(place, SAE):
        return _usable(place, "the SAE given").to(device=device, dtype=dtype), {}
    located = locate(str(place))
    if len(located) != 1:
        known = release_of(str(place))
        hint = f" (this release has {', '.join(list(known.saes_map)[:40])})" if known else ""
        if re.search(r"\{(?!layer\})\w*\}", str(place)):
            hint += " (only {layer} is filled in)"
        raise FileNotFoundError(
            f"no SAE matches '{place}'{hint}: give a folder, 'release' or 'release/id' of "
            f"sae_lens, or {HUB}owner/repository/folder"
        )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", _CENTRING, UserWarning)
        if isinstance(located[0], str):
            sae, listed = load_release(located[0], device, dtype)
            return _usable(sae, located[0]), listed
        return _from_folder(located[0], device, dtype), {}


def _from_folder(folder: Path, device: str, dtype: torch.dtype) -> SAE:
    """An SAE saved by sae_lens or by sparsify.

    Raises
    ------
    FileNotFoundError
        One of its two files is missing.
    ValueError
        One of its files is damaged, or they do not describe an SAE.
    """
    is_sparsify = (folder / WEIGHTS).exists()
    for needed in _NEEDED[:1] if is_sparsify else _NEEDED:
        if not (folder / needed).exists():
            raise FileNotFoundError(
                f"{folder} has no {needed}: expected a folder written by sae_lens' save_model or "
                "by sparsify"
            )
    check_settings(folder, is_sparsify)
    for file in sorted(folder.glob("*.safetensors")):
        tensor_sizes(file)
    try:
        sae = _read_folder(folder, is_sparsify, device, dtype)
    except (FileNotFoundError, MemoryError):
        raise
    except Exception as error:  # whatever odd settings lead to
        if isinstance(error, ValueError):
            if str(folder) in str(error):
                raise
            raise ValueError(f"{folder / 'cfg.json'}: {error}") from error
        wrong = re.search(r"size mismatch for (\S+): .*?\[([^]]*)\].*?\[([^]]*)\]", str(error))
        if wrong:
            raise ValueError(
                f"the weights beside {folder / 'cfg.json'} do not fit it: {wrong[1]} has the shape "
                f"({wrong[2]}), not ({wrong[3]})"
            ) from error
        message = str(error).strip() or "no message"
        raise ValueError(
            f"{folder / 'cfg.json'} and the weights beside it do not make an SAE "
            f"({type(error).__name__}: {message.splitlines()[-1].strip():.500})"
        ) from error
    return sae


def _read_folder(folder: Path, is_sparsify: bool, device: str, dtype: torch.dtype) -> SAE:
    """An SAE that can be used; ValueError for one of other numbers or names than there are."""
    if is_sparsify:
        sae = load_sparsify(folder, device, dtype)
    else:
        sae = SAE.load_from_disk(folder, device=device, dtype=str(dtype).removeprefix("torch."))
    hook = sae.cfg.metadata.hook_name
    if hook is not None and not isinstance(hook, str):
        raise ValueError(f"{folder / 'cfg.json'}: hook_name is no text but {hook!r:.60}")
    return _usable(sae, str(folder / "cfg.json"))


def _usable(sae: SAE, where: str) -> SAE:
    """`sae`, of `where`, as something whose codes depend on one activation, decodable any number of
    times."""
    kind = sae.cfg.architecture()
    norm = sae.cfg.normalize_activations
    if "transcoder" in kind or kind == "temporal":
        does = "looks back" if kind == "temporal" else "writes elsewhere"
        raise ValueError(f"a {kind} is no SAE of one activation: it {does}")
    check_one_head(where, sae)
    if kind in TOPK:
        check_k(where, sae.cfg.k, sae.cfg.d_sae)
    if isinstance(sae, TrainingSAE) and not isinstance(sae, BatchTopKTrainingSAE):
        # what save_inference_model would write; BatchTopK is left as it is, since there the two
        # are different functions
        state = sae.state_dict()
        sae.process_state_dict_for_saving_inference(state)
        sae = SAE.from_dict(sae.cfg.get_inference_sae_cfg_dict())
        sae.process_state_dict_for_loading(state)
        sae.load_state_dict(state)
    # here the vectors of all heads are one vector before the SAE sees them
    sae.turn_off_forward_pass_hook_z_reshaping()
    # sae_lens forgets a token's statistics at the first decode; here one encoding is decoded once
    # for every proxy
    if norm == "layer_norm":
        sae.run_time_activation_norm_fn_out = lambda recons: recons * sae.ln_std + sae.ln_mu
    if norm == "constant_norm_rescale":
        sae.run_time_activation_norm_fn_out = lambda recons: recons / sae.x_norm_coeff
    return sae

"""Subjects that come with the package, listed from their files alone: nothing heavy is imported."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from importlib.util import find_spec
from pathlib import Path

EMBEDDED = Path(__file__).parents[1] / "embedded"
SHIPPED = {name: EMBEDDED / name for name in ("docstring-6l", "smollm2-135m")}
"""Folders of the subjects that come with the package, by name.

Of "smollm2-135m" these are the SAEs; the model is in another package, which ``model.json`` names.
"""
_MODEL_FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
_ELSEWHERE = "model.json"  # beside SAEs: package, file and SHA-256 of their model


@cache
def shipped_hooks(name: str = "docstring-6l") -> tuple[str, ...]:
    """Hook points of a shipped subject that have an SAE, from the first layer to the last.

    Raises
    ------
    ValueError
        No subject of this name comes with the package.

    Examples
    --------
    >>> shipped_hooks("docstring-6l")[0]
    'blocks.0.hook_resid_post'
    """
    return tuple(_sae_folders(name))


@cache
def shipped_files(name: str, hook_name: str) -> dict[str, str]:
    """SHA-256 of every file that determines what is measured at a hook point, by path.

    Paths are relative to the subject's folder: the model's and the tokenizer's files, and those of
    the SAE at `hook_name`.

    Raises
    ------
    ValueError
        No such subject, or no SAE at this hook point; the message lists what there is.

    Examples
    --------
    >>> sorted(shipped_files("docstring-6l", "blocks.0.hook_resid_post"))[0]
    'config.json'
    """
    folders = _sae_folders(name)
    if hook_name not in folders:
        raise ValueError(
            f"no SAE at '{hook_name}' for '{name}'; there are SAEs at {', '.join(folders)}"
        )
    root = SHIPPED[name]
    place = package_of(name)
    files = [] if place else [root / file for file in _MODEL_FILES]
    files += sorted(folders[hook_name].iterdir())
    stated = {place["file"]: place["sha256"]} if place else {}
    return stated | {
        file.relative_to(root).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
    }


@cache
def package_of(name: str) -> dict[str, str]:
    """Where the model of a shipped subject is, if not in its folder: what ``model.json`` says.

    "package", the module that it comes with; "file" in it; "sha256" of that file; "command", which
    installs it; "pretraining", what is known of its text. Empty for a subject that is all there.
    """
    path = SHIPPED[name] / _ELSEWHERE
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def is_installed(name: str) -> bool:
    """Whether the model of a shipped subject is on this machine, so that it can be loaded."""
    place = package_of(name)
    return not place or _module_folder(place["package"]) is not None


def packaged_file(name: str) -> Path | None:
    """The model's file of a shipped subject whose model comes with another package, checked.

    None for a subject that is all there. The package is not imported.

    Raises
    ------
    FileNotFoundError
        The package is not installed; the message says the command.
    ValueError
        It holds another file than the one that everything kept was measured on.
    """
    place = package_of(name)
    if not place:
        return None
    folder = _module_folder(place["package"])
    if folder is None or not (folder / place["file"]).is_file():
        raise FileNotFoundError(
            f"the model of '{name}' comes with the package {place['package']}, which is not "
            f"installed: {place['command']}"
        )
    found = file_hash(folder / place["file"])
    if found != place["sha256"]:
        raise ValueError(
            f"{folder / place['file']} is damaged or of another version of {place['package']} "
            f"(SHA-256 {found[:8]}, not {place['sha256'][:8]}): {place['command']}"
        )
    return folder / place["file"]


def _module_folder(module: str) -> Path | None:
    """Folder of a package, found without running any of its code."""
    spec = find_spec(module)
    return Path(spec.origin).parent if spec is not None and spec.origin else None


def file_hash(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@cache
def _sae_folders(name: str) -> dict[str, Path]:
    """Folder of each SAE of a shipped subject, by the hook point in its ``cfg.json``."""
    if name not in SHIPPED:
        raise ValueError(f"unknown subject '{name}'; with the package come {', '.join(SHIPPED)}")
    folders = {}
    for cfg in sorted((SHIPPED[name] / "saes").glob("*/cfg.json")):
        folders[json.loads(cfg.read_text())["metadata"]["hook_name"]] = cfg.parent
    return dict(sorted(folders.items(), key=lambda item: int(item[0].split(".")[1])))

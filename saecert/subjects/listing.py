"""Subjects that come with the package, listed from their files alone: nothing heavy is imported."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path

EMBEDDED = Path(__file__).parents[1] / "embedded"
SHIPPED = {"docstring-6l": EMBEDDED / "docstring-6l"}
"""Folders of the subjects that come with the package, by name."""
_MODEL_FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")


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
    files = [root / file for file in _MODEL_FILES]
    files += sorted(folders[hook_name].iterdir())
    return {
        file.relative_to(root).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
    }


@cache
def _sae_folders(name: str) -> dict[str, Path]:
    """Folder of each SAE of a shipped subject, by the hook point in its ``cfg.json``."""
    if name not in SHIPPED:
        raise ValueError(f"unknown subject '{name}'; with the package come {', '.join(SHIPPED)}")
    folders = {}
    for cfg in sorted((SHIPPED[name] / "saes").glob("*/cfg.json")):
        folders[json.loads(cfg.read_text())["metadata"]["hook_name"]] = cfg.parent
    return dict(sorted(folders.items(), key=lambda item: int(item[0].split(".")[1])))

"""A file of texts, and what `saecert certify` writes of it, for tests of the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import N_CTX, make_texts

from saecert.__main__ import main

HOOK = "blocks.1.hook_resid_post"
FEW = ["--n-ctx", str(N_CTX), "--n", "20", "--n-discovery", "10"]


def write_texts(folder: Path) -> Path:
    """A file of documents, an object a line."""
    path = folder / "texts.jsonl"
    lines = [json.dumps({"text": text}) for text in make_texts(120)]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def certified(model: Path, text: Path, folder: Path) -> list[str]:
    """Arguments of a call that wrote ``a.json``, ``a.npz`` and ``a.html`` into `folder`."""
    files = ["--json", str(folder / "a.json"), "--html", str(folder / "a.html")]
    arguments = [str(model), "--text", str(text), "--hook", HOOK, *FEW]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAECERT_CACHE", str(folder / "cache"))
        assert main(["certify", *arguments, *files]) == 0
    return arguments

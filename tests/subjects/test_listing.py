"""What ships is listed from its files, without torch."""

import hashlib
import subprocess
import sys

import pytest

from saecert.subjects.listing import SHIPPED, shipped_files, shipped_hooks

HOOK = "blocks.3.hook_resid_post"


def test_hook_points_of_the_shipped_subject(shipped):
    assert shipped_hooks("docstring-6l") == shipped.hook_names


def test_files_behind_a_hook_point():
    hashes = shipped_files("docstring-6l", HOOK)
    weights = f"saes/{HOOK}/sae_weights.safetensors"
    assert {"config.json", "model.safetensors", "tokenizer.json", weights} <= set(hashes)
    assert not any("blocks.2" in path for path in hashes)
    content = (SHIPPED["docstring-6l"] / weights).read_bytes()
    assert hashes[weights] == hashlib.sha256(content).hexdigest()


def test_unknown_names_list_what_there_is():
    with pytest.raises(
        ValueError, match="unknown subject 'gpt-9'; with the package come docstring"
    ):
        shipped_hooks("gpt-9")
    with pytest.raises(
        ValueError, match=r"no SAE at 'blocks.9.x' for .* at blocks.0.hook_resid_post"
    ):
        shipped_files("docstring-6l", "blocks.9.x")


def test_the_list_needs_no_torch():
    code = (
        "import sys; from saecert.subjects.listing import shipped_hooks; shipped_hooks(); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

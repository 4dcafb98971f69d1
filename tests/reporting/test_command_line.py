"""``python -m saecert run`` says in one line what is wrong, before anything is started."""

import subprocess
import sys
import time

import pytest
from checks import ROOT

from saecert.__main__ import main
from saecert.reporting import runner


def test_command_line_tells_what_is_wrong(capsys):
    assert main(["run"]) == 1
    assert main(["run", "01_bound", "-p", "alpha"]) == 1
    assert main(["run", "no_such_page"]) == 1
    assert "unknown notebook 'no_such_page'" in capsys.readouterr().err


def test_help_needs_no_torch():
    code = "import sys; from saecert.__main__ import _parser; _parser()"
    code += "; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--subject", "docstring-6m"], "unknown subject 'docstring-6m'"),
        (["--subject", "/"], "subject '/' is no model folder"),
        (["-p", "delta=2"], "delta must lie strictly between 0 and 1"),
        (["-p", "n_seq=-5"], "n_seq takes a whole number"),
        (["-p", f"n_seq={'[' * 5000}"], "too many brackets"),
        (["-p", f"n_seq={'-' * 5000}1"], "too many brackets"),
        (["-p", f"n_seq={'1' * 50_000}"], "too long"),
        (["-p", "hook_name=blocks.77.hook_resid_post"], "no SAE at 'blocks.77.hook_resid_post'"),
        (["-p", "corpus=no-such-file.jsonl"], "no such file"),
        (["--out", __file__], "is a file: --out names a folder"),
        (["--out", f"{__file__}/deeper"], "is a file: --out names a folder"),
    ],
)
def test_what_cannot_be_is_one_line_and_starts_nothing(arguments, message, capsys, monkeypatch):
    monkeypatch.setattr(runner, "execute", None)
    runs = ROOT / "runs"
    before = sorted(runs.iterdir()) if runs.exists() else []
    begun = time.monotonic()
    assert main(["run", "02_four_terms", *arguments]) == 1
    assert time.monotonic() - begun < 5
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1
    assert (sorted(runs.iterdir()) if runs.exists() else []) == before

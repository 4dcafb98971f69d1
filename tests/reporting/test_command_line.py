"""``python -m saecert run`` says in one line what is wrong, before anything is started."""

import shutil
import signal
import subprocess
import sys
import time

import psutil
import pytest
from checks import ROOT
from conftest import make_texts

from saecert.__main__ import main
from saecert.reporting import runner
from saecert.reporting.settings import check_settings


def test_command_line_tells_what_is_wrong(capsys):
    assert main(["run"]) == 1
    assert main(["run", "01_bound", "-p", "alpha"]) == 1
    assert main(["run", "no_such_page"]) == 1
    assert "unknown notebook 'no_such_page'" in capsys.readouterr().err


SLOW = """# %% tags=["parameters"]
x = 2

# %%
from pathlib import Path
import time

Path(f"began-{x}").touch()
time.sleep(600)
"""


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_an_interrupted_run_says_how_to_go_on(tmp_path, jobs):
    for name in ("01_slow", "02_slow"):
        (tmp_path / f"{name}.py").write_text(SLOW, encoding="utf-8")
    code = (
        # of a background job of a shell, Python would ignore it
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "import functools, sys; from pathlib import Path; from saecert.__main__ import main; "
        "from saecert.reporting import runner; folder = Path(sys.argv[1]); "
        "runner.run_notebooks = functools.partial(runner.run_notebooks, folder=folder); "
        "sys.exit(main(['run', *sys.argv[2:]]))"
    )
    command = [sys.executable, "-c", code, str(tmp_path), "01_slow", "02_slow"]
    command += ["--jobs", jobs, "--out", str(tmp_path / "out")]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for _ in range(6000):
        if run.poll() is not None or (tmp_path / "began-2").exists():
            break
        time.sleep(0.1)
    kernels = psutil.Process(run.pid).children(recursive=True)
    run.send_signal(signal.SIGINT)
    assert run.communicate(timeout=600)[1] == "interrupted: the same command goes on where it was\n"
    assert run.returncode == 130
    assert psutil.wait_procs(kernels, timeout=60)[1] == []
    assert list((tmp_path / "out").glob("*")) == []


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
        (["-p", "n_live=0"], "n_live takes a whole number of at least 2"),
        (["-p", "=5"], "-p takes name=value; got '=5'"),
        (["--subject", ""], "subject is empty: give a model folder, or one of docstring-6l"),
        (["-p", "subject="], "subject is empty"),
        (["--subject", "docstring-6l", "-p", "subject=gpt2-small"], "name two subjects"),
        (["--all"], "both notebooks and --all were given"),
        (["--out", __file__], "is a file: --out names a folder"),
        (["--out", f"{__file__}/deeper"], "is a file: --out names a folder"),
    ],
)
def test_what_cannot_be_is_one_line_and_starts_nothing(arguments, message, capsys, monkeypatch):
    monkeypatch.setattr(runner, "execute", None)
    runs = ROOT / "runs"
    before = sorted(runs.iterdir()) if runs.exists() else []
    begun = time.process_time()  # its own: other processes may hold it up
    assert main(["run", "02_four_terms", *arguments]) == 1
    assert time.process_time() - begun < 5
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1
    assert (sorted(runs.iterdir()) if runs.exists() else []) == before


def test_a_model_folder_without_saes_is_told_before_anything_is_started(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(runner, "execute", None)
    (tmp_path / "model/saes").mkdir(parents=True)
    (tmp_path / "model/config.json").write_text("{}", encoding="utf-8")
    subject = str(tmp_path / "model")
    asked = ["run", "02_four_terms", "--subject", subject, "--out", str(tmp_path / "out")]
    assert main(asked) == 1
    told = f"error: '{subject}' has no SAEs under saes/: say with sae= where they are\n"
    assert capsys.readouterr().err == told
    assert not (tmp_path / "out").exists()
    check_settings({"subject": subject, "sae": "elsewhere"})
    (tmp_path / "model/saes/blocks.0.hook_resid_post").mkdir()
    check_settings({"subject": subject})


def test_a_mistake_that_a_page_meets_reaches_the_shell_without_a_traceback(
    folders, tmp_path, capfd
):
    shutil.copytree(folders["llama"], tmp_path / "model")
    weights = tmp_path / "model/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-7])
    (tmp_path / "texts.txt").write_text("\n".join(make_texts(40)), encoding="utf-8")
    asked = ["run", "02", "--subject", str(tmp_path / "model"), "--out", str(tmp_path / "out")]
    assert main([*asked, "-p", f"corpus={tmp_path / 'texts.txt'}"]) == 1
    said = capfd.readouterr()
    assert said.err == "error: 1 of 1 notebook failed: 02_four_terms\n"
    (failed,) = [line for line in said.out.splitlines() if "FAILED" in line]
    assert "ValueError: " in failed
    assert "model.safetensors is damaged" in failed
    assert "Traceback" not in said.out
    assert [path.name for path in (tmp_path / "out").glob("*.ipynb")] == [
        "02_four_terms.failed.ipynb"
    ]

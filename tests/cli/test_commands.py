"""Commands of the shell that measure nothing: compare, doctor, completion, help."""

import subprocess
import sys
from importlib import metadata

import pytest
from synthetic_losses import random_losses

from saecert import certify
from saecert.__main__ import _parser, main
from saecert.cli import doctor
from saecert.cli.completion import SHELLS, script
from saecert.reporting.parameters import RunError

COMMANDS = (
    "certify",
    "compare",
    "verify",
    "run",
    "train",
    "measure",
    "merge",
    "doctor",
    "completion",
)


@pytest.fixture
def pair(tmp_path):
    """Two certificates with their losses beside them, on the same sequences."""
    for name, seed, k in (("a", 0, 8), ("b", 3, 4)):
        losses = random_losses(seed=seed)
        certify(losses, pool=k).save(tmp_path / f"{name}.json")
        losses.save(tmp_path / f"{name}.npz")
    return str(tmp_path / "a.json"), str(tmp_path / "b.json")


def test_compare_prints_limits_and_says_what_they_mean(pair, capsys):
    assert main(["compare", *pair, "--quantity", "mismatch", "--delta", "0.1"]) == 0
    said = capsys.readouterr().out
    assert "E|l(g) - l(g_A)|" in said and "except with probability 0.1" in said
    a_is_smaller = "a is smaller" in said
    assert a_is_smaller == (f"{pair[0]} is smaller on average" in said)


def test_compare_of_a_certificate_with_itself_is_refused(pair, capsys):
    assert main(["compare", pair[0], pair[0]]) == 1
    assert "one record and one pool of 8 latents: there is nothing" in capsys.readouterr().err


def test_losses_may_lie_elsewhere(pair, tmp_path, capsys):
    names = ("a.npz", "b.npz")
    moved = [str((tmp_path / name).rename(tmp_path / f"moved-{name}")) for name in names]
    assert main(["compare", *pair]) == 1
    assert "error: there is no file" in capsys.readouterr().err
    assert main(["compare", *pair, "--losses", *moved]) == 0
    assert main(["verify", pair[0]]) == 1
    assert main(["verify", pair[0], moved[0]]) == 0


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--quantity", "beauty"], "'beauty' is unknown"),
        (["--delta", "0"], "--delta must"),
        (["--losses", "b.npz", "a.npz"], "does not follow from"),
    ],
)
def test_what_cannot_be_compared_is_told_in_a_line(pair, tmp_path, more, message, capsys):
    more = [str(tmp_path / word) if word.endswith(".npz") else word for word in more]
    assert main(["compare", *pair, *more]) == 1
    said = capsys.readouterr()
    assert message in said.err and said.err.count("\n") == 1 and said.out == ""


def test_verify_takes_the_losses_beside_the_certificate(pair, capsys):
    assert main(["verify", pair[0]]) == 0
    assert pair[0].replace(".json", ".npz") in capsys.readouterr().out


def test_doctor_says_versions_subjects_and_cache(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("SAECERT_CACHE", str(tmp_path))
    (tmp_path / "kept").write_bytes(b"0" * 2_500_000)
    code = main(["doctor"])
    said = capsys.readouterr().out
    assert code == 0 and said.endswith("all is well\n")
    lines = {line[:19].strip(): line[19:] for line in said.splitlines()}
    assert lines["numpy"] == metadata.version("numpy")
    assert lines["docstring-6l"] == "ready, 6 SAEs"
    assert lines["cache"] == f"{tmp_path}: 2.5 MB in 1 files (SAECERT_CACHE)"
    assert "first use" in lines["docstrings"]


def test_doctor_tells_what_is_missing_and_how_to_get_it(capsys, monkeypatch):
    def version(name):
        if name == "scipy":
            raise metadata.PackageNotFoundError(name)
        return "0.0.1" if name == "numpy" else real(name)

    real = metadata.version
    monkeypatch.setattr(metadata, "version", version)
    for part in ("machine", "subjects", "files"):
        monkeypatch.setattr(doctor, part, lambda: iter(()))
    assert main(["doctor"]) == 1
    said = capsys.readouterr().out
    assert "!! missing: python -m pip install scipy==" in said
    assert "0.0.1; measured and tested with" in said
    assert said.endswith("see the lines with !!\n")


def test_doctor_survives_a_torch_that_cannot_be_imported(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert dict(doctor.machine())["torch"].startswith("!! cannot be imported: ")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert "--debug" in said
    if command in ("certify", "compare", "doctor", "completion"):
        assert f"\n  saecert {command}" in said.partition("examples:")[2].replace('eval "$(', "")


def test_debug_is_an_option_of_commands_of_commands():
    words = ["train", "sae", "--debug", "--subject", "a", "--out", "b", "--hooks", "c"]
    assert _parser().parse_args([*words, "--tokens", "5"]).debug


def test_examples_of_the_help_are_understood():
    parser = _parser()
    for command in ("certify", "compare"):
        text = parser._subparsers._group_actions[0].choices[command].epilog
        examples = [line.split()[1:] for line in text.splitlines() if "saecert" in line]
        assert len(examples) > 2
        for words in examples:
            assert callable(parser.parse_args(words).command)


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_names_every_command_and_option(shell, capsys):
    assert main(["completion", shell]) == 0
    said = capsys.readouterr().out
    assert said == script(_parser(), shell)
    assert all(word in said for word in (*COMMANDS, "--population-size", "docstring-6l"))


def completed(*words: str) -> set[str]:
    """What bash offers for the last of some words."""
    code = script(_parser(), "bash")
    code += f"\nCOMP_WORDS=({' '.join(f'{word!r}' for word in words)}); "
    code += f"COMP_CWORD={len(words) - 1}; _saecert; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("saecert", "co"), {"compare", "completion"}),
        (("saecert", "certify", "doc"), {"docstring-6l"}),
        (("saecert", "certify", "docstring-6l", "--all"), {"--allow", "--allow-bad-sae"}),
        (("saecert", "certify", "docstring-6l", "--method", "n"), {"nested"}),
        (("saecert", "certify", "docstring-6l", "--hook", ""), {"first", "middle", "last"}),
        (("saecert", "certify", "docstring-6l", "--inequality", "chern"), {"chernoff_kl"}),
        (("saecert", "certify", "docstring-6l", "--inequality", "te"), set()),
        (("saecert", "certify", "docstring-6l", "--text", "docstrings-f"), {"docstrings-fresh"}),
        (("saecert", "--debug", "cer"), {"certify"}),
        (("saecert", "train", "sae", "--to"), {"--tokens"}),
        (("saecert", "train", "sae", "--work"), set()),
        (("saecert", "train", "s"), {"sae"}),
        (("saecert", "train", "sae", "--architecture", "top_"), {"top_afa"}),
        (("saecert", "run", "02"), {"02_four_terms"}),
        (("saecert", "run", "te"), set()),
        (("saecert", "measure", "--engine", "r"), {"ray"}),
        (("saecert", "measure", "--hooks", "a"), {"all"}),
        (("saecert", "measure", "--out", "te"), {"texts.jsonl"}),
    ],
)
def test_bash_completes(words, offered, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "texts.jsonl").touch()
    assert completed(*words) == offered


def test_bash_completes_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "texts.jsonl").touch()
    assert "texts.jsonl" in completed("saecert", "certify", "docstring-6l", "--text", "te")


@pytest.mark.parametrize(
    "words",
    [
        ["verify", "nowhere.json"],
        ["verify", __file__],
        ["run", "99_nothing"],
        ["merge", "nowhere"],
        ["measure", "--subject", "nowhere", "--out", "out", "--hooks", "all"],
        ["train"],
        ["train", "sae", *"--subject a --out b --hooks c --tokens 0".split()],
    ],
)
def test_debug_raises_where_it_arose(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def full(*_):
        raise OSError("no space left")

    monkeypatch.setattr("saecert.training.commands.train_subject", full)
    assert main(words) == 1
    told = capsys.readouterr().err
    assert told and "Traceback" not in told
    with pytest.raises((OSError, ValueError, RunError)):
        main([*words, "--debug"])

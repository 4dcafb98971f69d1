"""``python -m saecert train sae`` on a tiny model: trained, killed, resumed, loaded, as asked."""

import json
import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from checks import ROOT
from conftest import make_texts

from saecert import load_corpus, load_subject
from saecert.__main__ import main
from saecert.subjects.forward import native_acts

HOOKS = ["blocks.0.hook_resid_post", "blocks.1.hook_resid_post"]


@pytest.fixture
def text(tmp_path):
    """A file of documents, one a line."""
    path = tmp_path / "text.txt"
    path.write_text("\n".join(make_texts(1200)))
    return path


def arguments(folder, text, out, **changes):
    """Of a training of a few hundred steps at two hook points."""
    settings = {
        "subject": folder,
        "hooks": HOOKS,
        "corpus": text,
        "tokens": 5_000,
        "samples": 60_000,
        "out": out,
        "l0": 6,
        "batch-size": 128,
        "expansion": 4,
        "n-ctx": 24,
        "dtype": "float32",
    } | changes
    words = ["train", "sae"]
    for name, value in settings.items():
        values = value if isinstance(value, list) else [value]
        words += [f"--{name}", *map(str, values)]
    return words


KILLED = """import os, signal, sys
from saecert.__main__ import main
from saecert.training.checkpoints import Checkpoints
save = Checkpoints.save
Checkpoints.save = lambda *_: (save(*_), os.kill(os.getpid(), signal.SIGKILL))
main(sys.argv[1:])
"""
"""A training that is killed behind its first checkpoint, however fast this machine trains."""


def test_a_killed_training_is_resumed_and_its_saes_are_as_asked(folders, text, tmp_path, capsys):
    out = tmp_path / "out"
    command = arguments(folders["llama"], text, out)
    environment = os.environ | {"SAECERT_CACHE": str(tmp_path / "cache")}
    process = subprocess.run(
        [sys.executable, "-c", KILLED, *command],
        cwd=ROOT,
        env=environment,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    assert process.returncode == -signal.SIGKILL, "it was still training"
    assert list(out.glob("work/checkpoints/*/*-*/activation_scaler.json"))
    assert main(command) == 0
    said = capsys.readouterr().out
    assert f"sae='{out / 'saes'}/*'" in said and said.count("PCA with 6") == 2
    subject = load_subject(folders["llama"], sae=f"{out}/saes/*")
    assert subject.hook_names == tuple(HOOKS)
    corpus = load_corpus(text, subject, split="certification", n_seq=100, n_ctx=24)
    tokens = torch.from_numpy(corpus.tokens.astype(np.int64))
    for hook in HOOKS:
        sae = subject.sae_at(hook)
        assert sae.cfg.d_sae == 4 * sae.cfg.d_in
        acts = native_acts(subject.model, tokens, hook)[:, 1:]
        l0 = (sae.encode(acts) != 0).float().sum(-1).mean().item()
        assert l0 == pytest.approx(6, rel=0.1)
    figures = json.loads((out / "figures.json").read_text())
    for hook in HOOKS:
        assert figures[hook]["l0"] == pytest.approx(6, rel=0.1)
        assert 0.3 < figures[hook]["explained_variance"]["all"] <= 1
    facts = json.loads((out / "training.json").read_text())
    assert facts["tokens_cached"] == 5_000 and facts["recipe"]["n_samples"] == 60_000
    assert facts["bos_left_out"] is True


def baseline_arguments(folder, text, out, **changes):
    """Of three baselines and their twin at two hook points."""
    settings = {"architecture": ["topk"], "start": ["isotropic"], "samples": 12_800}
    return ["train", "baselines", *arguments(folder, text, out, **(settings | changes))[2:]]


def test_baselines_stand_beside_their_twin_and_load_by_name(folders, text, tmp_path, capsys):
    out = tmp_path / "out"
    command = baseline_arguments(folders["llama"], text, out, **{"soft-cosine": 0.9})
    assert main(command) == 0
    said = capsys.readouterr().out
    names = ["trained", "frozen-decoder", "soft-decoder", "frozen-encoder"]
    folders_of = [out / f"topk-6-isotropic-{name}" for name in names]
    assert all(f"sae='{folder}/*'" in said for folder in folders_of)
    rows = {}
    for name, folder in zip(names, folders_of, strict=True):
        subject = load_subject(folders["llama"], sae=f"{folder}/*")
        assert subject.hook_names == tuple(HOOKS)
        sae = subject.sae_at(HOOKS[0])
        assert sae.cfg.architecture() == "topk" and sae.cfg.k == 6
        rows[name] = torch.nn.functional.normalize(sae.W_dec.float(), dim=1)
    figures = json.loads((out / "figures.json").read_text())
    assert set(figures) == {folder.name for folder in folders_of}
    assert all(set(found) == set(HOOKS) for found in figures.values())
    assert json.loads((out / "training.json").read_text())["recipes"].keys() == figures.keys()
    near = (rows["soft-decoder"] * rows["frozen-decoder"]).sum(dim=1)
    assert 0.899 < near.min() < 0.999, "no row is further from its start than was asked"
    made = {path: path.stat().st_mtime_ns for path in out.glob("topk*/*/*")}
    assert main(command) == 0
    assert made == {path: path.stat().st_mtime_ns for path in made}, "nothing is trained again"
    other = baseline_arguments(folders["llama"], text, out, l0=5)
    assert main(other) == 1
    assert "holds another training" in capsys.readouterr().err


def test_mistakes_about_baselines_are_one_line(folders, text, tmp_path, capsys):
    llama = folders["llama"]
    for said, changes in {
        "soft_cosine, the least cosine with the start, must lie in": {"soft-cosine": 1},
        "asked of an SAE of 64 latents": {"l0": [3, 65]},
        "needs as many activations as dimensions at least, got 11 of 16": {
            "start": ["covariance"],
            "tokens": 10,
            "n-ctx": 12,
            "samples": 8,
            "batch-size": 8,
        },
    }.items():
        assert main(baseline_arguments(llama, text, tmp_path / "a", **changes)) == 1
        error = capsys.readouterr().err.splitlines()[-1]
        assert error.startswith("error: ") and re.search(said, error), error
    with pytest.raises(SystemExit):
        main(baseline_arguments(llama, text, tmp_path / "b", frozen=["bias"]))
    assert "invalid choice: 'bias'" in capsys.readouterr().err


def test_predictable_mistakes_are_one_line(folders, text, tmp_path, capsys):
    llama = folders["llama"]
    taken = tmp_path / "taken"
    taken.write_text("")
    used = tmp_path / "used"
    used.mkdir()
    (used / "training.json").write_text(json.dumps({"subject": "other"}))
    cases = {
        "--tokens must be at least 1": arguments(llama, text, tmp_path / "a", tokens=0),
        "l0 must be at least 1": arguments(llama, text, tmp_path / "a", l0=0),
        "less than one batch": arguments(llama, text, tmp_path / "a", samples=3),
        "and .*taken is a file": arguments(llama, text, taken),
        "unknown subject": arguments("nobody", text, tmp_path / "a"),
        "no hook point 'blocks.7": arguments(
            llama, text, tmp_path / "a", hooks=["blocks.7.hook_resid_post"]
        ),
        "no text at": arguments(llama, tmp_path / "none.txt", tmp_path / "b"),
        "between 2 and the model's context of 32 tokens, got 1": arguments(
            llama, "docstrings", tmp_path / "b", **{"n-ctx": 1}
        ),
        "n_ctx must lie between": arguments(llama, text, tmp_path / "b", **{"n-ctx": 1000}),
        "holds another training": arguments(llama, text, used),
        "asked of an SAE of 64 latents": arguments(llama, text, tmp_path / "a", l0=100),
    }
    for said, command in cases.items():
        assert main(command) == 1
        error = capsys.readouterr().err.splitlines()[-1]
        assert error.startswith("error: ")
        assert re.search(said, error), error
    assert not (tmp_path / "a").exists(), "nothing was made before the settings were checked"


def test_without_samples_every_cached_activation_is_seen_once(folders, text, tmp_path, capsys):
    command = arguments(folders["llama"], text, tmp_path / "out", tokens=100_000_000)
    at = command.index("--samples")
    assert main(command[:at] + command[at + 2 :]) == 0
    facts = json.loads((tmp_path / "out/training.json").read_text())
    n_tokens = facts["tokens_in_source"]
    assert facts["recipe"]["n_samples"] == facts["tokens_cached"] == n_tokens < 100_000
    said = capsys.readouterr().out
    assert said.count(f"has {n_tokens:,} tokens to train on, 100,000,000 were asked for") == 1
    assert "of each document not meant for certification the first window" in said
    few = arguments(folders["llama"], text, tmp_path / "few", tokens=5)
    assert main([word for word in few if word not in ("--samples", "60000")]) == 1

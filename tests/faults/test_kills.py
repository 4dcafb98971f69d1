"""Killed at random moments (SIGKILL), then run again: the same bits, and nothing left lying
about."""

from __future__ import annotations

import functools
import json
import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from conftest import make_texts
from faulty import finished, killed, litter, moments, times

from saecert import collect
from saecert.measurement import loop
from saecert.measurement.sharded import measure_shard
from saecert.records import SequenceLosses
from saecert.reporting import runner
from saecert.shards import Shard, merge, tidy
from saecert.storage import remove_litter
from saecert.subjects.saes import SAE
from saecert.training import language_model
from saecert.training.recipes import DOCSTRING_6L, SAERecipe
from saecert.training.sae import train_sae

pytestmark = pytest.mark.faults
HOOK = "blocks.1.hook_resid_post"


@pytest.fixture(autouse=True)
def often(monkeypatch):
    """A checkpoint after every batch, so that many moments are in the middle of one."""
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0)
    monkeypatch.setattr(loop, "CHECKPOINT_SHARE", 0)


@pytest.fixture
def small(corpora):
    """Few sequences of each split."""
    return {
        "certification": corpora["certification"].take(16),
        "discovery": corpora["discovery"].take(8),
    }


SETTINGS = {"progress": False, "pools": [8], "controls": False, "batch_size": 4}


def measuring(subject, small, folder, cache):
    """An action: both of two shards, and then the whole sample without shards."""

    def action():
        os.environ["SAECERT_CACHE"] = str(cache)
        sample, settings = small["certification"], SETTINGS | {"discovery": small["discovery"]}
        for number in (1, 2):
            measure_shard(subject, sample, [HOOK], Shard(number, 2), folder, **settings)
        whole = collect(subject, sample, HOOK, **settings)
        whole.save(cache / "whole.npz")

    return action


def test_measure(subject, small, tmp_path, capsys):
    straight = measuring(subject, small, tmp_path / "straight", tmp_path / "cache")
    longest = finished(straight, tmp_path / "report")
    fingerprint = merge(tmp_path / "straight").fingerprint()
    assert SequenceLosses.load(tmp_path / "cache/whole.npz").fingerprint() == fingerprint
    n = times(4, 20)
    hits = 0
    for number, after in enumerate(moments(0, n, longest * 0.7)):
        # four kills in a row, each after what the last one left
        folder, cache = (tmp_path / f"{name}{number // 4}" for name in ("out", "cache"))
        hits += killed(measuring(subject, small, folder, cache), after)
    for folder in sorted(tmp_path.glob("out*")):
        cache = tmp_path / folder.name.replace("out", "cache")
        finished(measuring(subject, small, folder, cache), tmp_path / "report")
        assert merge(folder).fingerprint() == fingerprint
        assert SequenceLosses.load(cache / "whole.npz").fingerprint() == fingerprint
        assert not (folder / "unfinished").exists()
        assert litter(folder, cache) == []
    with capsys.disabled():
        print(f"\nmeasure: killed at {n} moments, {hits} of them in the middle")
    assert hits > n // 4


def test_merge(subject, small, tmp_path, capsys):
    folder = tmp_path / "out"
    finished(measuring(subject, small, folder, tmp_path / "cache"), tmp_path / "report")
    target = folder / f"record-{HOOK}.npz"
    expected = merge(folder).fingerprint()

    def action():
        for _ in range(2):
            merge(folder).save(target)

    longest = finished(action, tmp_path / "report")
    n = times(6, 20)
    hits = 0
    for after in moments(1, n, longest):
        hits += killed(action, after)
        assert SequenceLosses.load(target).fingerprint() == expected, "old or new, and whole"
    merge(folder).save(target)
    tidy(folder)
    assert litter(folder) == []
    with capsys.disabled():
        print(f"\nmerge: killed at {n} moments, {hits} of them in the middle")
    assert hits > n // 4


PAGE = """# %% tags=["parameters"]
x = 2

# %%
import json
from pathlib import Path

print(json.dumps([x * i for i in range(5)]))
"""


def test_run(tmp_path, capsys):
    pages = tmp_path / "pages"
    pages.mkdir()
    (pages / "01_page.py").write_text(PAGE, encoding="utf-8")
    run = functools.partial(runner.run_notebooks, folder=pages, pages_only=True)
    straight = tmp_path / "straight"
    longest = finished(lambda: run(out=str(straight)), tmp_path / "report")
    expected = (straight / "01_page.ipynb").read_bytes()
    out = tmp_path / "out"
    n = times(2, 20)
    before = set(psutil.pids())
    hits = sum(killed(lambda: run(out=str(out)), after) for after in moments(2, n, longest))
    finished(lambda: run(out=str(out)), tmp_path / "report")
    assert (out / "01_page.ipynb").read_bytes() == expected
    remove_litter(out)
    assert [path.name for path in out.iterdir()] == ["01_page.ipynb"]
    assert gone(before, str(tmp_path)), "a kernel outlived the run that started it"
    with capsys.disabled():
        print(f"\nrun: killed at {n} moments, {hits} of them in the middle")


def gone(before: set[int], mark: str) -> bool:
    """Whether no kernel of a killed run is left after a while: they look for their parent."""
    for _ in range(100):
        left = [number for number in set(psutil.pids()) - before if _is_kernel(number, mark)]
        if not left:
            return True
        time.sleep(0.2)
    return False


def _is_kernel(number: int, mark: str) -> bool:
    try:
        process = psutil.Process(number)
        orphan = process.ppid() == 1 and process.status() != psutil.STATUS_ZOMBIE
        return orphan and any(mark in word for word in process.cmdline())
    except psutil.Error:
        return False


RECIPE = replace(
    DOCSTRING_6L.language_model,
    n_tokens=1_500,
    batch_size=8,
    checkpoint_steps=1,
    d_model=16,
    d_mlp=32,
    n_layers=1,
    n_heads=2,
)


def test_train(tmp_path, capsys, monkeypatch):
    texts = {"train": make_texts(40), "validation": make_texts(10, seed=1)}
    monkeypatch.setattr(language_model, "split_texts", texts.get)
    rng = np.random.default_rng(0)
    acts, held_out = (rng.normal(size=(n, 8)).astype(np.float16) for n in (1_024, 256))
    recipe = SAERecipe(
        n_samples=1_024, learning_rate=1e-3, l0=4, expansion=4, batch_size=128, n_calibration=256
    )

    def action(work: Path):
        language_model.train(work, RECIPE)
        train_sae(acts, held_out, recipe, work / "sae", checkpoints=work / "checkpoints")

    longest = finished(lambda: action(tmp_path / "straight"), tmp_path / "report")
    work = tmp_path / "work"
    n = times(4, 20)
    hits = 0
    for round_, after in enumerate(moments(3, n, longest * 0.7)):
        work = tmp_path / f"work{round_ // 4}"
        hits += killed(functools.partial(action, work), after)
    for work in sorted(tmp_path.glob("work*")):
        finished(functools.partial(action, work), tmp_path / "report")
        for name in (
            "model/model.safetensors",
            "model/trained.json",
            "sae/sae_weights.safetensors",
        ):
            assert (work / name).read_bytes() == (tmp_path / "straight" / name).read_bytes(), name
        assert litter(work) == []
    trained = json.loads((work / "model/trained.json").read_text())
    assert trained["seen"] >= RECIPE.n_tokens
    assert SAE.load_from_disk(work / "sae").cfg.d_sae == 32
    with capsys.disabled():
        print(f"\ntrain: killed at {n} moments, {hits} of them in the middle")
    assert hits > n // 4

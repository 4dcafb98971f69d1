"""Folders that cannot be written, disks that fill up, many processes on one cache, clocks that
jump: one clear line, old files whole, and the same numbers."""

from __future__ import annotations

import functools
import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_texts
from faulty import as_a_user, begin, content, finish, litter, readable_to_all, small_disk, times
from synthetic_losses import random_losses

from saecert import certify, collect
from saecert.measurement import loop
from saecert.measurement.sharded import measure_shard
from saecert.records import SequenceLosses
from saecert.shards import Shard, merge
from saecert.storage import atomic_path, remove_litter
from saecert.training import language_model
from saecert.training.recipes import DOCSTRING_6L

pytestmark = pytest.mark.faults
HOOK = "blocks.1.hook_resid_post"
SETTINGS = {"progress": False, "pools": [8], "controls": False}


@pytest.fixture
def small(corpora):
    """Few sequences of each split."""
    return corpora["certification"].take(16), corpora["discovery"].take(8)


def one_line(report: Path) -> str:
    """The first line of what went wrong in a fork."""
    return report.read_text(encoding="utf-8").splitlines()[0]


# Read-only


def test_a_folder_that_cannot_be_written(subject, small):
    sample, discovery = small
    losses = random_losses()
    certificate = certify(losses, inequality="hoeffding")
    with readable_to_all() as home:
        report = home / "report"
        report.touch()
        report.chmod(0o666)
        out = home / "out"
        out.mkdir()
        losses.save(out / "losses.npz")
        certificate.save(out / "certificate.json")
        before = content(out)
        out.chmod(0o555)
        actions = {
            "measure": lambda: measure_shard(subject, sample, [HOOK], Shard(1, 2), out, **SETTINGS),
            "losses": lambda: losses.save(out / "losses.npz"),
            "certificate": lambda: certificate.save(out / "certificate.json"),
            "cache": functools.partial(_collected, out / "cache", subject, sample, discovery),
        }
        for name, action in actions.items():
            assert finish(begin(as_a_user(action), report)) == 1, name
            assert "Permission denied" in one_line(report) or "cannot be made" in one_line(report)
            assert str(out) in one_line(report), name
        assert content(out) == before


def _collected(cache, subject, sample, discovery) -> SequenceLosses:
    os.environ["SAECERT_CACHE"] = str(cache)
    return collect(subject, sample, HOOK, discovery=discovery, **SETTINGS)


# Full


def test_a_full_disk_keeps_what_was_there(subject, small, tmp_path):
    sample, discovery = small
    losses = random_losses()
    report = tmp_path / "report"
    with small_disk(0.25) as disk:
        losses.save(disk / "losses.npz")
        before = (disk / "losses.npz").read_bytes()
        free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
        (disk / "ballast").write_bytes(bytes(free - 4096))
        actions = {
            "losses": lambda: losses.save(disk / "losses.npz"),
            "measure": lambda: measure_shard(
                subject, sample, [HOOK], Shard(1, 2), disk, **SETTINGS
            ),
            "cache": functools.partial(_collected, disk / "cache", subject, sample, discovery),
            "train": functools.partial(_trained, disk / "train"),
            "torch": functools.partial(_torch_file, disk / "state.pt"),
        }
        for name, action in actions.items():
            assert finish(begin(action, report)) == 1, name
            assert one_line(report).startswith("OSError: "), (name, report.read_text())
            assert "the disk is full: free some space" in one_line(report), name
            assert litter(disk) == []
        assert (disk / "losses.npz").read_bytes() == before
        (disk / "ballast").unlink()
        losses.save(disk / "losses.npz")
        assert SequenceLosses.load(disk / "losses.npz").fingerprint() == losses.fingerprint()


def _torch_file(path: Path) -> None:
    with atomic_path(path) as partial:
        torch.save(torch.zeros(100_000), partial)


def _trained(work: Path) -> None:
    texts = {"train": make_texts(40), "validation": make_texts(10, seed=1)}
    language_model.split_texts = texts.get
    language_model.train(work, DOCSTRING_6L.language_model)


# Many at once


@pytest.mark.parametrize("n_processes", [2, 4])
def test_processes_on_one_cache(n_processes, subject, small, tmp_path, capsys, monkeypatch):
    """They measure the same, at the same time, with a checkpoint after each batch."""
    sample, discovery = small
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0)
    rounds = times(1, 5)
    for round_ in range(rounds):
        home = tmp_path / f"round{round_}"
        home.mkdir()

        def action(number: int, home: Path = home) -> None:
            losses = _collected(home / "cache", subject, sample, discovery)
            losses.save(home / f"{number}.npz")
            for shard in (1, 2):
                settings = SETTINGS | {"discovery": discovery}
                measure_shard(subject, sample, [HOOK], Shard(shard, 2), home / "out", **settings)

        reports = [home / f"report{number}" for number in range(n_processes)]
        processes = [
            begin(functools.partial(action, number), report)
            for number, report in enumerate(reports)
        ]
        statuses = [finish(process) for process in processes]
        told = [report.read_text() for report in reports if report.exists()]
        assert statuses == [0] * n_processes, told
        read = {SequenceLosses.load(path).fingerprint() for path in home.glob("*.npz")}
        assert read == {merge(home / "out").fingerprint()}
        assert litter(home) == []
        assert not (home / "out/unfinished").exists()
    with capsys.disabled():
        print(f"\n{n_processes} processes on one cache and one folder: {rounds} times")


# Clocks


@pytest.mark.parametrize("jump", [-4e8, 4e8])
def test_a_clock_that_jumps_changes_no_number(jump, subject, small, tmp_path, monkeypatch):
    sample, discovery = small
    straight = _collected(tmp_path / "straight", subject, sample, discovery)
    seconds = iter(range(10**9))
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + (next(seconds) % 2) * jump)
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0)
    jumped = _collected(tmp_path / "jumped", subject, sample, discovery)
    for table, values in straight.tables().items():
        for name, array in values.items():
            np.testing.assert_array_equal(jumped.tables()[table][name], array)
    assert litter(tmp_path) == []


def test_what_another_machine_is_writing_is_not_removed_by_a_wrong_clock(tmp_path, monkeypatch):
    theirs = tmp_path / ".saecert-partial-otherhost-1-x.npz"
    theirs.touch()
    for jump in (4e8, -4e8):
        monkeypatch.setattr(time, "time", lambda jump=jump: jump)
        remove_litter(tmp_path)
        assert theirs.exists()
    old = os.stat(theirs).st_mtime - 90_000
    os.utime(theirs, (old, old))
    remove_litter(tmp_path)
    assert not theirs.exists()

"""Faults on purpose: processes that are killed, disks that are full, folders that stay as they are.

An action runs in a fork of the test's process, which has the libraries loaded already: a kill costs
no start. `LONG` (``make faults``) makes more of everything.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
import tqdm.asyncio
import tqdm.auto

LONG = os.environ.get("SAECERT_FAULTS") == "long"
_NOBODY = 65_534


def times(short: int, long: int) -> int:
    """How often something is done: in `make test`, and in `make faults`."""
    return long if LONG else short


def begin(action: Callable[[], object], report: Path | None = None) -> int:
    """Process id of a fork that does `action` and ends; what goes wrong is written to `report`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of threads: none of them is needed there
        process = os.fork()
    if process:
        return process
    status = 1
    try:
        os.setpgid(0, 0)
        torch.set_num_threads(1)
        _own_lock_of_bars()
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1)
        os.dup2(silent, 2)
        action()
        status = 0
    except BaseException as error:
        if report is not None:
            kind = type(error).__name__
            report.write_text(f"{kind}: {error}\n{traceback.format_exc()}", encoding="utf-8")
    finally:
        os._exit(status)


def _own_lock_of_bars() -> None:
    """tqdm's lock is one for a process and its forks: who is killed with it holds up all others."""
    lock = threading.RLock()
    for bar in {tqdm.std.tqdm, tqdm.asyncio.tqdm_asyncio, tqdm.auto.tqdm}:
        bar.set_lock(lock)


def finish(process: int) -> int:
    """Exit status of a fork; minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def finished(action: Callable[[], object], report: Path) -> float:
    """Seconds that an action takes when nothing disturbs it."""
    start = time.monotonic()
    status = finish(begin(action, report))
    assert status == 0, report.read_text(encoding="utf-8") if report.exists() else status
    return time.monotonic() - start


def killed(action: Callable[[], object], after: float) -> bool:
    """Whether a fork was still at work when it was killed (SIGKILL) `after` so many seconds."""
    process = begin(action)
    time.sleep(after)
    os.kill(process, signal.SIGKILL)
    return finish(process) == -signal.SIGKILL


def moments(seed: int, n: int, longest: float) -> list[float]:
    """Random moments up to `longest` seconds."""
    return np.random.default_rng(seed).uniform(0, longest, n).tolist()


def litter(*folders: Path) -> list[Path]:
    """Temporary files anywhere in some folders."""
    found = [path for folder in folders for path in folder.rglob("*")]
    return [path for path in found if "partial" in path.name or path.suffix == ".tmp"]


def content(folder: Path) -> dict[str, bytes]:
    """Every file in a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@contextmanager
def small_disk(megabytes: float) -> Iterator[Path]:
    """A disk of so many megabytes; skips the test where none may be mounted."""
    folder = Path(tempfile.mkdtemp(prefix="saecert-disk-"))
    options = ["-t", "tmpfs", "-o", f"size={int(megabytes * 1024)}k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or sys.platform != "linux" or shutil.which("mount") is None:
        shutil.rmtree(folder)
        pytest.skip("a small disk is mounted by root on Linux only")
    if subprocess.run(["mount", *options], capture_output=True, check=False).returncode:
        shutil.rmtree(folder)
        pytest.skip("mount -t tmpfs is not permitted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def readable_to_all() -> Iterator[Path]:
    """A folder that other users may look into."""
    folder = Path(tempfile.mkdtemp(prefix="saecert-read-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def as_a_user(action: Callable[[], object]) -> Callable[[], object]:
    """The action by a user whom permissions stop; root is stopped by none."""

    def unprivileged() -> None:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(_NOBODY)
            os.setuid(_NOBODY)
        action()

    return unprivileged

"""Two pages that keep losses at once: each record whole, and one file for both."""

import os
import signal
import time

import pytest
from faulty import begin, finish
from synthetic_losses import random_losses

from saecert.reporting import latents, measurements
from saecert.reporting.measurements import all_kept, load_record, save_losses

REQUEST = {
    "quantity": "losses",
    "subject": "toy",
    "corpus": "made up",
    "split": "certification",
    "hook_name": "blocks.0.hook_resid_post",
    "skip": 0,
    "n_discovery": 40,
    "extra": [],
    "pools": [4, 8],
    "controls": True,
    "rank": "frequency",
    "alphas": [0.5],
}
LONG = 60
SHORT = 20


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Folders of its own for what is kept and for locks."""
    monkeypatch.setenv(measurements.PLACE, str(tmp_path / "measurements"))
    monkeypatch.setenv("SAECERT_CACHE", str(tmp_path / "cache"))
    return tmp_path


def keep(n_seq):
    record = random_losses(LONG).take(slice(0, n_seq))
    save_losses({**REQUEST, "n_seq": n_seq}, record, 40)


def keeping(n_seq, writing, seconds):
    """An action that keeps `n_seq` sequences, and takes long over it once it has begun."""
    pack = latents.pack_arrays

    def slowly(path, arrays):
        writing.touch()
        time.sleep(seconds)
        pack(path, arrays)

    def action():
        latents.pack_arrays = slowly  # in a fork: nobody else sees it
        keep(n_seq)

    return action


def wait_for(path):
    end = time.monotonic() + 600
    while not path.exists():
        assert time.monotonic() < end, f"{path.name} never came"
        time.sleep(0.01)


@pytest.mark.parametrize(("first", "second"), [(LONG, LONG), (SHORT, LONG), (LONG, SHORT)])
def test_two_processes_that_keep_the_same_losses_leave_one_whole_file(place, first, second):
    report, writing = place / "report", place / "writing"
    one = begin(keeping(first, writing, 0.5), report)
    wait_for(writing)
    other = begin(lambda: keep(second), report)
    ended = [finish(one), finish(other)]
    assert ended == [0, 0], report.read_text(encoding="utf-8") if report.exists() else ended
    (kept,) = all_kept("losses")
    longest = max(first, second)
    whole = random_losses(LONG)
    assert load_record(kept).fingerprint() == whole.take(slice(0, longest)).fingerprint()
    answer = measurements.find_losses({**REQUEST, "n_seq": SHORT})
    assert answer.fingerprint() == whole.take(slice(0, SHORT)).fingerprint()
    left = {path.suffix for path in (place / "measurements").iterdir()}
    assert left == {".npz", ".json"}


def test_a_process_killed_while_it_keeps_losses_stops_no_other(place):
    writing = place / "writing"
    one = begin(keeping(LONG, writing, 60))
    wait_for(writing)
    os.kill(one, signal.SIGKILL)
    assert finish(one) == -signal.SIGKILL
    begun = time.monotonic()
    assert finish(begin(lambda: keep(LONG), place / "report")) == 0
    assert time.monotonic() - begun < 30
    (kept,) = all_kept("losses")
    assert load_record(kept).fingerprint() == random_losses(LONG).fingerprint()

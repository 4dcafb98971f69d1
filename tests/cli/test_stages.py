"""Signs of life of a command where nobody watches."""

import os
import time

import pytest

from saecert.cli import stages
from saecert.storage import BARS, progress_bar


@pytest.fixture(autouse=True)
def often(monkeypatch):
    monkeypatch.setattr(stages, "EVERY", 0.1)
    monkeypatch.delenv(BARS, raising=False)


def work() -> None:
    """A loop of the library whose bar is switched off, and something that prints."""
    for _ in progress_bar(range(20), desc="measuring", disable=True):
        time.sleep(0.1)
    print("a note")


def test_a_log_is_told_what_the_newest_bar_says(capsys):
    with stages.Stages().working():
        work()
    said = capsys.readouterr()
    assert said.out == "" and "a note\n" in said.err
    assert " s] measuring:" in said.err and "/20 " in said.err
    assert BARS not in os.environ


def test_quiet_is_quiet(capsys):
    told = stages.Stages(quiet=True)
    with told.working():
        told.say("measuring")
        work()
    assert capsys.readouterr().err == "a note\n"


def test_the_environment_is_put_back_after_an_error():
    with pytest.raises(ValueError, match="a fault"), stages.Stages().working():
        raise ValueError("a fault")
    assert BARS not in os.environ

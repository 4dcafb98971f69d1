"""What zsh offers after the tab key, typed into a real one."""

import os
import pty
import re
import select
import shutil
import time

import pytest

from saecert.__main__ import _parser
from saecert.cli.completion import script

ZSH = shutil.which("zsh")
SETTINGS = "PS1=; COLUMNS=400; source ./script"
STAND_IN = 'saecert() { print -r -- "told:$*:"; }'
"""What is called in the place of the command: it says with which words."""

pytestmark = pytest.mark.skipif(ZSH is None, reason="no zsh on the path")


class Terminal:
    """A zsh that has read the script, in an empty folder."""

    def __init__(self, folder):
        (folder / "script").write_text(script(_parser(), "zsh"), encoding="utf-8")
        self.pid, self.file = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            home = {"HOME": str(folder), "ZDOTDIR": str(folder), "TERM": "dumb"}
            os.execve(ZSH, [ZSH, "-f", "-i"], os.environ | home)
        self.typed(f"{SETTINGS}; {STAND_IN}; echo rea''dy\n", "ready\r\n")

    def typed(self, keys, until, seconds=60):
        """What is shown after some keys, up to a pattern."""
        os.write(self.file, keys.encode())
        shown, end = "", time.monotonic() + seconds
        while not re.search(until, shown):
            assert time.monotonic() < end, shown
            if select.select([self.file], [], [], 0.2)[0]:
                shown += os.read(self.file, 65536).decode(errors="replace")
        return shown

    def close(self):
        os.close(self.file)
        os.waitpid(self.pid, 0)


@pytest.fixture(scope="module")
def terminal(tmp_path_factory):
    folder = tmp_path_factory.mktemp("zsh")
    (folder / "texts.jsonl").touch()
    opened = Terminal(folder)
    yield opened
    opened.close()


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("completi", "completion"),
        ("certify docstring-6l --method nes", "certify docstring-6l --method nested"),
        ("certify docstring-6l --population", "certify docstring-6l --population-size"),
        ("train s", "train sae"),
        ("measure --out tex", "measure --out texts.jsonl"),
        ("certify docstring-6l --inequality te", "certify docstring-6l --inequality te"),
    ],
)
def test_zsh_completes(terminal, typed, words):
    told = r"told:([^:]*):\r\n"
    shown = terminal.typed(f"saecert {typed}\t\r", told)
    assert re.search(told, shown)[1] == words

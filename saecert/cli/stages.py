"""Signs of life of a command, on the standard error: what it does now, and since when."""

from __future__ import annotations

import io
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory

from saecert.cli.errors import in_shell_words

EVERY = 30.0
"""Seconds between two signs of life of a loop where nobody watches, as in a log."""


class _InShellWords(io.TextIOBase):
    """The standard error, told in the words of the shell."""

    def write(self, text: str) -> int:
        return sys.stderr.write(in_shell_words(text))

    def flush(self) -> None:
        sys.stderr.flush()

    def isatty(self) -> bool:
        return sys.stderr.isatty()


class Stages:
    """Says what is done now, with the seconds since the beginning; silent if so asked."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self.begun = time.monotonic()

    def say(self, what: str) -> None:
        """A line that stays."""
        if not self.quiet:
            seconds = time.monotonic() - self.begun
            print(f"[{seconds:5.1f} s] {what}", file=sys.stderr, flush=True)

    @contextmanager
    def working(self) -> Iterator[None]:
        """While something is measured, what is printed goes to the standard error as well.

        On a terminal loops draw their bars; elsewhere the newest bar is told now and then.
        """
        from saecert.storage import BARS

        told = not self.quiet and not sys.stderr.isatty() and not os.environ.get(BARS)
        with redirect_stdout(_InShellWords()):
            if not told:
                yield
                return
            with TemporaryDirectory() as folder:
                bars = Path(folder, "bars")
                os.environ[BARS] = str(bars)
                try:
                    with self._telling(bars):
                        yield
                finally:
                    del os.environ[BARS]

    @contextmanager
    def _telling(self, bars: Path) -> Iterator[None]:
        """Meanwhile tell what the newest bar in a file says."""
        stop = threading.Event()
        thread = threading.Thread(target=self._tell, args=(bars, stop), daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def _tell(self, bars: Path, stop: threading.Event) -> None:
        from saecert.reporting.progress import last

        said = ""
        while not stop.wait(EVERY):
            drawn = bars.read_text(encoding="utf-8", errors="replace") if bars.exists() else ""
            newest = last(drawn)
            if newest and newest != said:
                self.say(newest)
            said = newest

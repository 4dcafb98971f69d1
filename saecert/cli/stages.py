"""Signs of life of a command, on the standard error: what it does now, and since when."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout


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
    def working(self) -> Iterator[Stages]:
        """While something is measured, what is printed goes to the standard error as well."""
        with redirect_stdout(sys.stderr):
            yield self

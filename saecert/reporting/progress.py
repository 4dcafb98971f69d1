"""What a run says while its pages are executed: one line on a terminal, one every half minute in a
log.
"""

from __future__ import annotations

import io
import re
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

CLEAR = "\r\x1b[K"
EVERY = {True: 1.0, False: 30.0}
"""Seconds between two signs of life, on a terminal and in a log."""


@dataclass
class Page:
    """One page that is being executed."""

    head: str
    """How its lines begin."""
    bars: Path
    """File to which the loops of the library draw their bars."""
    cells: io.StringIO = field(default_factory=io.StringIO)
    """Where papermill draws how many cells are done."""
    begun: float = field(default_factory=time.monotonic)
    """When it began."""

    def state(self) -> str:
        """How long it has run, in which cell it is, and what the newest bar says."""
        exists = self.bars.exists()
        drawn = self.bars.read_text(encoding="utf-8", errors="replace") if exists else ""
        seconds = time.monotonic() - self.begun
        return f"{self.head}{seconds:6.0f} s  cell {last(self.cells.getvalue())}  {last(drawn)}"


class Progress:
    """Signs of life of all pages that are being executed; lines are never mixed up."""

    def __init__(self) -> None:
        self.terminal = on_terminal()
        self.interrupted = threading.Event()
        self._pages: list[Page] = []
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._tell, daemon=True)

    def __enter__(self) -> Progress:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def say(self, line: str) -> None:
        """Print a line that stays."""
        with self._lock:
            print(f"{CLEAR if self.terminal else ''}{line}", flush=True)

    @contextmanager
    def page(self, head: str, bars: Path) -> Iterator[dict[str, object]]:
        """Options for papermill's own bar, while a page is executed."""
        page = Page(head, bars)
        with self._lock:
            self._pages.append(page)
        try:
            yield {"file": page.cells, "bar_format": "{n_fmt}/{total_fmt}", "mininterval": 0}
        finally:
            with self._lock:
                self._pages.remove(page)

    def _tell(self) -> None:
        while not self._stop.wait(EVERY[self.terminal]):
            with self._lock:
                states = [page.state() for page in self._pages]
                if states:
                    self._print(states)
        if self.terminal:
            print(CLEAR, end="", flush=True)

    def _print(self, states: list[str]) -> None:
        if not self.terminal:
            print("\n".join(states), flush=True)
            return
        columns = shutil.get_terminal_size().columns - 1
        share = max(20, columns // len(states) - 3)
        line = " | ".join(state[:share] for state in states)
        print(CLEAR + line[:columns], end="", flush=True)


def last(text: str) -> str:
    """The newest state of the bar that was drawn as `text`."""
    states = (state.strip() for state in reversed(re.split(r"[\r\n]", text)))
    return next((state for state in states if state), "")


def on_terminal() -> bool:
    """Whether somebody is watching."""
    return sys.stdout.isatty() and sys.stderr.isatty()

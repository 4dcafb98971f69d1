"""Where files go, and how they get there whole: a cache folder and atomic writes."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from platformdirs import user_cache_dir
from tqdm import tqdm


def cache_dir() -> Path:
    """Folder for what can be recomputed: ``$SAECERT_CACHE``, else the user's cache folder. Created if missing."""
    path = Path(os.environ.get("SAECERT_CACHE") or user_cache_dir("saecert"))
    path.mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Path of a temporary file in `path`'s folder that replaces `path` when the block succeeds.

    A reader never sees a half-written file, and a failed or interrupted write leaves the old one.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    os.close(handle)
    try:
        yield Path(name)
        os.chmod(name, 0o644)  # temporary files are private, results are not
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


def cached_arrays(name: str, key: str, build: Callable[[], Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Arrays that `build` returns, kept in the cache folder under `name` and a hash of `key`: everything that determines them."""
    path = cache_dir() / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz"
    if not path.exists():
        with atomic_path(path) as partial:
            np.savez_compressed(partial, **build())
    with np.load(path) as saved:
        return dict(saved)


def keep(certificate: Any, losses: Any) -> None:
    """Save a certificate and the losses behind it in the folder of the run; outside of ``python -m saecert run`` do nothing.

    They go to ``certificates/<name>-<settings>.json`` and ``losses/<name>.npz`` under ``$SAECERT_RUN``; `name` says subject, hook
    point and fingerprint of the losses.
    """
    if folder := os.environ.get("SAECERT_RUN"):
        source = [str(certificate.provenance.get(key, "")) for key in ("subject", "hook_name")]
        name = re.sub(r"[^\w.-]+", "-", "-".join([*source, certificate.fingerprint[:8]]))
        settings = hashlib.sha256(repr(certificate).encode()).hexdigest()[:4]
        certificate.save(Path(folder, "certificates", f"{name}-{settings}.json"))
        losses.save(Path(folder, "losses", f"{name}.npz"))


def within_run(bars: str, kept: str) -> None:
    """What ``python -m saecert run`` has each kernel do first: `keep` under the folder `kept`, and draw progress bars to the file `bars`.

    A bar is drawn there even if it was switched off, and nowhere else: on the page it would be an output.
    """
    os.environ["SAECERT_RUN"] = kept
    stream, draw = open(bars, "w"), tqdm.__init__  # noqa: SIM115 (needed until the kernel ends)
    there = {"disable": False, "file": stream, "mininterval": 0.5}
    # bars made of widgets are left alone
    tqdm.__init__ = lambda self, *args, **options: draw(self, *args, **(options if options.get("gui") else options | there))

"""What a page leaves behind in a run of ``python -m saecert run``: its certificates and the losses behind them."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Any

from tqdm import tqdm


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
    tqdm.__init__ = lambda self, *args, **options: draw(
        self, *args, **(options if options.get("gui") else options | there)
    )

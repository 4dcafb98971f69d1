"""What a page leaves behind in a run of ``python -m saecert run``: certificates and losses."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Any

RUN = "SAECERT_RUN"
"""Environment variable: folder of the run to which a page belongs."""


def keep(certificate: Any, losses: Any) -> None:
    """Save a certificate and the losses behind it in the folder of the run; elsewhere do nothing.

    They go to ``certificates/<name>-<settings>.json`` and ``losses/<name>.npz`` under
    ``$SAECERT_RUN``; `name` says subject, hook point and fingerprint of the losses.
    """
    folder = os.environ.get(RUN)
    if not folder:
        return
    source = [str(certificate.provenance.get(key, "")) for key in ("subject", "hook_name")]
    name = re.sub(r"[^\w.-]+", "-", "-".join([*source, certificate.fingerprint[:8]]))
    settings = hashlib.sha256(repr(certificate).encode()).hexdigest()[:4]
    certificate.save(Path(folder, "certificates", f"{name}-{settings}.json"))
    losses.save(Path(folder, "losses", f"{name}.npz"))

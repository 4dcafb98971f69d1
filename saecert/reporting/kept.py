"""What a page leaves behind in a run of ``python -m saecert run``: certificates and losses."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
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
    certificate.save(Path(folder, "certificates", f"{certificate_name(certificate)}.json"))
    name = losses_name(certificate.provenance, certificate.fingerprint)
    losses.save(Path(folder, "losses", f"{name}.npz"))


def losses_name(provenance: Mapping[str, Any], fingerprint: str) -> str:
    """Name for a file of losses: their subject and hook point, and a part of their fingerprint."""
    source = [str(provenance.get(key, "")) for key in ("subject", "hook_name")]
    return re.sub(r"[^\w.-]+", "-", "-".join([*source, fingerprint[:8]]))


def certificate_name(certificate: Any) -> str:
    """Name for a file of a certificate: that of its losses, and a hash of what it says."""
    settings = hashlib.sha256(repr(certificate).encode()).hexdigest()[:8]
    return f"{losses_name(certificate.provenance, certificate.fingerprint)}-{settings}"

"""What a kept measurement answers: everything that determines its numbers, found out without torch.

A request is a flat mapping of JSON values. Two measurements with equal requests have equal numbers,
up to the instruction set of the processor.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from saecert.corpora import fresh
from saecert.corpora.docstrings import RECIPE, package_versions
from saecert.measurement.named import parse
from saecert.measurement.version import MEASUREMENT_VERSION
from saecert.reporting.settings import ENDLESS, INSTALLED
from saecert.subjects.listing import SHIPPED, shipped_files

Request = dict[str, Any]
"""Names and JSON values."""

REPEATABLE = (*INSTALLED, ENDLESS[0])
"""Sources of text that everyone who has the clone has."""
ALPHAS = (0.5, 0.01)
"""Smoothing weights at which losses are always recorded."""


def can_be_kept(subject: str, sae: str, corpus: str, device: str, extra: Iterable[Any]) -> bool:
    """Whether everyone who has the clone could ask for the same, and measure it again."""
    shipped = subject in SHIPPED and not sae
    named = all(isinstance(proxy, str) for proxy in extra)
    return shipped and corpus in REPEATABLE and device == "cpu" and named


def losses_options(
    pools: Sequence[int] | None = None,
    controls: bool = True,
    extra: Sequence[Any] = (),
    rank: str = "frequency",
    alphas: Sequence[float] = (),
) -> dict[str, Any]:
    """What is asked of `collect`, as a request has it: proxies by name, and every weight."""
    weights = list(dict.fromkeys((*ALPHAS, *map(float, alphas))))
    named = [str(parse(proxy)) if isinstance(proxy, str) else proxy for proxy in extra]
    asked = {"pools": None if pools is None else list(pools), "controls": controls}
    return {**asked, "extra": named, "rank": rank, "alphas": weights}


def sample_request(
    subject: str, corpus: str, split: str, n_ctx: int, bos: bool | None, skip: int
) -> Request:
    """Which sequences, but for their number: the language model, the text and how it is cut up."""
    versions = package_versions() if corpus in INSTALLED else {}
    aged = corpus in (fresh.FRESH, fresh.OLD)
    ages = {"ages": fresh.rules()} if aged else {}
    return {
        "subject": subject,
        "corpus": corpus,
        "recipe": RECIPE if corpus in INSTALLED else 0,
        "packages": versions,
        **ages,
        "split": split,
        "n_ctx": n_ctx,
        "bos": bos,
        "skip": skip,
        "measurement_version": MEASUREMENT_VERSION,
    }


def sae_request(subject: str, hook_name: str) -> Request:
    """Which SAE of which model: its hook point, and a hash of the files of both."""
    files = shipped_files(subject, hook_name)
    return {"hook_name": hook_name, "files": digest(files, 64)}


def canonical(request: Mapping[str, Any]) -> str:
    """The request as text, the same for equal requests."""
    return json.dumps(request, sort_keys=True, separators=(",", ":"))


def digest(request: Mapping[str, Any], length: int = 8) -> str:
    """The beginning of the request's SHA-256."""
    return hashlib.sha256(canonical(request).encode()).hexdigest()[:length]


def file_name(request: Mapping[str, Any], words: Iterable[object]) -> str:
    """A name that people can read, and that no other request has: `words` and a hash."""
    readable = "-".join(str(word) for word in words if str(word))
    plain = re.sub(r"[^\w.-]+", "-", readable).strip("-")
    return f"{plain}-{digest(request)}"

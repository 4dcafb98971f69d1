"""Two certificates compared value by value: what was saved, and what the losses give when certified again."""

from __future__ import annotations

import math
from typing import Any

FIRST = (
    "n_vocab",
    "d_sae",
    "alpha",
    "lo",
    "hi",
    "n_seq",
    "seed",
    "sample_sha256",
    "delta",
    "budget",
    "groups",
    "pool",
    "pool_rule",
)
"""What is compared before any number that is computed from losses, in this order: support, sample, delta budget, pool rule."""


def compare(stored: Any, again: Any, path: str = "") -> int:
    """Number of values in which two trees of JSON agree: floats to a relative 1e-9 (or 1e-12, but for deltas), the rest exactly.

    Raises
    ------
    ValueError
        They differ; it names the first place and both values.
    """
    if isinstance(stored, dict) and isinstance(again, dict):
        for name in sorted(stored.keys() ^ again.keys(), key=str):
            raise ValueError(
                f"{path}.{name}: {'missing from' if name in again else 'no field of'} the certificate".removeprefix(
                    "."
                )
            )
        return sum(
            compare(stored[name], value, f"{path}.{name}".removeprefix("."))
            for name, value in again.items()
        )
    if isinstance(stored, list | tuple) and isinstance(again, list | tuple):
        if len(stored) != len(again):
            raise ValueError(
                f"{path}: the certificate lists {len(stored)} entries, the losses give {len(again)}"
            )
        return sum(
            compare(one, other, f"{path}[{i}]")
            for i, (one, other) in enumerate(zip(stored, again, strict=True))
        )
    numbers = isinstance(stored, float) and isinstance(again, float)
    dust = (
        0.0 if path.endswith("delta") else 1e-12
    )  # of losses that differ by rounding; a delta may be as small as that
    if not (
        math.isclose(stored, again, rel_tol=1e-9, abs_tol=dust)
        if numbers
        else type(stored) is type(again) and stored == again
    ):
        raise ValueError(f"{path}: the certificate says {stored!r}, the losses give {again!r}")
    return 1

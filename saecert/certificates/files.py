"""Files of certificates, which may come from anybody, and the comparison behind `verify`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from saecert.storage import atomic_path
from saecert.untrusted import parse_json

SCHEMA = 3
"""Version of the JSON file (certificates/schema.json describes it); unknown ones are refused."""

FIRST = (
    "n_vocab",
    "d_sae",
    "alpha",
    "lo",
    "hi",
    "n_seq",
    "seed",
    "unit",
    "population_size",
    "sample_sha256",
    "delta",
    "budget",
    "groups",
    "pool",
    "pool_rule",
)
"""What is compared before any number that is computed from losses, in this order: support, sample,
delta budget, pool rule."""

_MAX_BYTES = 2**24


def write_fields(path: str | Path, content: Mapping[str, Any]) -> None:
    """Write the fields of a certificate as JSON, whole or not at all."""
    with atomic_path(path) as partial:
        text = json.dumps({"schema": SCHEMA} | dict(content), indent=1, allow_nan=False)
        partial.write_text(f"{text}\n", encoding="utf-8")


def read_fields(path: str | Path, kind: type) -> dict[str, Any]:
    """The fields of a `kind` of certificate in a JSON file, each of its declared type.

    Raises
    ------
    ValueError
        It is no such file, or truncated, edited or of another schema; the message begins with the
        path.
    """
    content = _read(path)
    if not isinstance(content, dict) or "schema" not in content:
        raise ValueError(f"{path} is JSON but not a certificate of saecert: it has no 'schema'")
    schema = content.pop("schema")
    if type(schema) is not int or schema != SCHEMA:
        older = type(schema) is int and schema < SCHEMA
        advice = "certify the same losses again" if older else "update saecert or certify again"
        raise ValueError(
            f"{path} has schema {schema!r:.40}, this version of saecert reads {SCHEMA}: {advice}"
        )
    if different := {field.name for field in fields(kind)} ^ set(content):
        names = ", ".join(sorted(different))
        raise ValueError(f"{path} has missing or unknown fields: {names:.200}")
    for name, hint in get_type_hints(kind).items():
        if not _fits(content[name], hint):
            raise ValueError(
                f"{path}: {name} is {content[name]!r:.80}, not {kind.__annotations__[name]}: "
                "edited or damaged, certify again"
            )
    return content


def _read(path: str | Path) -> Any:
    with Path(path).open("rb") as stream:
        content = stream.read(_MAX_BYTES + 1)
    try:
        if len(content) > _MAX_BYTES:
            raise ValueError(f"more than {_MAX_BYTES:,} bytes")
        return parse_json(content.decode("utf-8"))
    except ValueError as error:
        raise ValueError(
            f"{path} is not a whole JSON file ({error}): certify and save again"
        ) from error


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value of JSON is of a field's type; no field is a truth value, and False == 0."""
    options = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    kinds = tuple(get_origin(option) or option for option in options)
    if not isinstance(value, kinds) or isinstance(value, bool):
        return False
    items = next((get_args(option)[0] for option in options if get_origin(option) is list), None)
    if get_origin(items) is not dict or not isinstance(value, list):
        return True
    return all(isinstance(item, dict) for item in value)


def compare(stored: Any, again: Any, path: str = "") -> int:
    """Number of values in which two trees of JSON agree.

    Floats to a relative 1e-9 (or 1e-12 absolutely, but for deltas), the rest exactly.

    Raises
    ------
    ValueError
        They differ; it names the first place and both values.
    """
    if isinstance(stored, dict) and isinstance(again, dict):
        return _compare_objects(stored, again, path)
    if isinstance(stored, list | tuple) and isinstance(again, list | tuple):
        return _compare_lists(stored, again, path)
    if isinstance(stored, float) and isinstance(again, float):
        # losses may differ by rounding; a delta may be as small as that
        dust = 0.0 if path.endswith("delta") else 1e-12
        agree = math.isclose(stored, again, rel_tol=1e-9, abs_tol=dust)
    else:
        agree = type(stored) is type(again) and stored == again
    if not agree:
        raise ValueError(f"{path}: the certificate says {stored!r}, the losses give {again!r}")
    return 1


def _compare_objects(stored: dict[str, Any], again: dict[str, Any], path: str) -> int:
    for name in sorted(stored.keys() ^ again.keys(), key=str):
        place = f"{path}.{name}".removeprefix(".")
        fault = "missing from" if name in again else "no field of"
        raise ValueError(f"{place}: {fault} the certificate")
    return sum(
        compare(stored[name], value, f"{path}.{name}".removeprefix("."))
        for name, value in again.items()
    )


def _compare_lists(stored: Sequence[Any], again: Sequence[Any], path: str) -> int:
    if len(stored) != len(again):
        raise ValueError(
            f"{path}: the certificate lists {len(stored)} entries, the losses give {len(again)}"
        )
    pairs = enumerate(zip(stored, again, strict=True))
    return sum(compare(mine, theirs, f"{path}[{i}]") for i, (mine, theirs) in pairs)

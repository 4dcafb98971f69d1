"""Files of records, which may come from anybody: checked before anything is unpacked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from saecert.untrusted import Archive, parse_json

FORMAT = 2
"""Version of a file without groups: as it was before there were any, so that the fingerprints of
old records stay what they are."""

WITH_GROUPS = 3
"""Version of a file with groups."""

Declared = dict[str, tuple[tuple[int, ...], np.dtype]]

TABLES = (
    "loss",
    "raw",
    "total_variation",
    "top1_disagreement",
    "outside_firings",
    "outside_energy",
)
ROWS = ("active", "l0", "ids", "documents", "similar", "groups", "overlap")
_DISCOVERY = ("discovery/order", "discovery/n_active")
INNER = "discovery/losses/"
_HEADER_BYTES = 2**24
_HEADER = {
    "alphas": list,
    "n_vocab": int,
    "d_sae": int,
    "reference_support": dict,
    "provenance": dict,
    "discovery": dict | None,
    "discovery_losses": dict | None,
}
_KINDS = {"active": "u", "l0": "iu", "overlap": "b"} | dict.fromkeys(
    ("ids", "documents", "similar", "groups"), "u"
)


def read_record(path: str | Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Header and arrays of a losses file.

    Arrays that no record has, objects, and shapes that do not fit together are refused before
    anything is unpacked.

    Raises
    ------
    ValueError
        The file is not one of these, is truncated, edited or of a later format; the message begins
        with the path.
    """
    try:
        archive = Archive(path, _known, required="header")
    except ValueError as error:
        raise ValueError(f"{path} is not a whole losses file ({error}): measure again") from error
    try:
        header = _read_header(archive)
        if header.pop("format", None) != _format_of(archive.declared):
            raise ValueError(
                "written by another version of saecert, "
                f"this one reads {FORMAT}, and {WITH_GROUPS} where there are groups"
            )
        _check_header(header)
        _check_declared(header, archive.declared)
        return header, archive.read()
    except Exception as error:  # whatever a forged file leads to
        raise damaged(path, error) from error


def damaged(path: str | Path, error: Exception) -> ValueError:
    """The error for a file that is one of ours but does not hold together."""
    reason = str(error) if isinstance(error, ValueError) else repr(error)
    return ValueError(f"{path} was edited or is damaged ({reason:.300}): measure again")


def _known(name: str) -> bool:
    """Whether a record may have an array of this name."""
    inner = name.removeprefix(INNER)
    table, _, key = inner.partition("/")
    if table in TABLES:
        return bool(key)
    return inner in ROWS or name in _DISCOVERY or name == "header"


def _read_header(archive: Archive) -> dict[str, Any]:
    shape, dtype = archive.declared["header"]
    if shape != () or dtype.kind != "U" or dtype.itemsize > _HEADER_BYTES:
        raise ValueError("its header is not a short text")
    header = parse_json(str(archive.read_one("header")))
    if not isinstance(header, dict):
        raise ValueError("its header is not a JSON object")
    return header


def _check_header(header: dict[str, Any]) -> None:
    """ValueError for a field that is missing, unknown or of another type."""
    if different := header.keys() ^ _HEADER.keys():
        raise ValueError(f"missing or unknown header fields: {', '.join(sorted(different))}")
    for name, kind in _HEADER.items():
        if not isinstance(header[name], kind) or isinstance(header[name], bool):
            raise ValueError(f"header field '{name}' is of another type")
    pairs = [pair for support in header["reference_support"].values() for pair in _listed(support)]
    numbers = [number for pair in pairs for number in _listed(pair)]
    if not all(type(number) in (int, float) for number in numbers):
        raise ValueError("the ends of a support are numbers")
    if not all(type(alpha) is float for alpha in header["alphas"]):
        raise ValueError("header field 'alphas' is a list of numbers between 0 and 1")
    supports = header["reference_support"].values()
    if any(len(support) != len(header["alphas"]) for support in supports) or any(
        len(pair) != 2 for pair in pairs
    ):
        raise ValueError("a support is one pair of numbers for every alpha")
    if header["d_sae"] < 1:
        raise ValueError("a dictionary has at least one latent")
    seen = header["discovery"]
    if seen is not None and (
        set(seen) != {"rule", "n_seq"}
        or not isinstance(seen["rule"], str)
        or type(seen["n_seq"]) is not int
    ):
        raise ValueError("header field 'discovery' is a rule and a number of sequences")
    if header["discovery_losses"] is not None:
        inner = header["discovery_losses"]
        version = inner.pop("format", None)
        if seen is None or version not in (FORMAT, WITH_GROUPS) or inner.get("discovery"):
            raise ValueError("header field 'discovery_losses' belongs to no discovery")
        _check_header(inner)


def _format_of(declared: Declared) -> int:
    return WITH_GROUPS if "groups" in declared else FORMAT


def _listed(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError("a support is a list of pairs of numbers")
    return value


def _check_declared(
    header: dict[str, Any], declared: dict[str, tuple[tuple[int, ...], np.dtype]]
) -> None:
    """ValueError for an array that is missing, or whose declared shape or type does not fit."""
    for name in ("ids", "active", "l0"):
        if name not in declared:
            raise ValueError(f"'{name}' is missing")
    n_seq = declared["ids"][0][0] if declared["ids"][0] else -1
    latents = (header["d_sae"],)
    per_row = {"active": (n_seq, -(-header["d_sae"] // 8)), "l0": (n_seq, *declared["l0"][0][1:2])}
    inner = {
        name.removeprefix(INNER): value
        for name, value in declared.items()
        if name.startswith(INNER)
    }
    for name, (shape, dtype) in declared.items():
        table = name.partition("/")[0]
        if name == "header" or name.startswith(INNER):
            continue
        if table in TABLES:
            fits = shape == ((len(header["alphas"]), n_seq) if table == "loss" else (n_seq,))
            kinds = "f"
        elif table == "discovery":
            fits = header["discovery"] is not None and shape == latents
            kinds = "iu"
        else:
            fits = shape == per_row.get(name, (n_seq,))
            kinds = _KINDS[name]
        if not fits or dtype.kind not in kinds:
            raise ValueError(f"'{name}' has shape {shape} and type {dtype}, which does not fit")
    if header["discovery"] is not None and not set(_DISCOVERY) <= set(declared):
        raise ValueError("the ranking of the discovery split is missing")
    if (header["discovery_losses"] is None) != (not inner):
        raise ValueError("losses of the discovery split without their header, or without values")
    if inner:
        _check_declared(header["discovery_losses"], inner)

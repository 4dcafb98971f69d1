"""Kept measurements: files under ``measurements/``, with the request that each answers.

Beside every ``.npz`` or ``.csv`` lies a ``.json`` of the same name: the request, how many sequences
there are, and of which population. A request for fewer sequences, fewer proxies or fewer smoothing
weights is answered by a part of the file.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import FileLock

from saecert.measurement.named import parse
from saecert.records import Discovery, SequenceLosses, smoothed_support
from saecert.reporting import latents, notes
from saecert.reporting.requests import Request, canonical, file_name
from saecert.storage import atomic_path, cache_dir, pack_arrays
from saecert.subjects.listing import SHIPPED, is_installed, package_of

CLONE = Path(__file__).resolve().parents[2]
ANEW = "SAECERT_MEASURE"
"""Environment variable: if set, nothing kept is read, and what is measured is written."""
PLACE = "SAECERT_MEASUREMENTS"
"""Environment variable: where kept measurements are, if not in the clone."""

_PROXIES = ("loss", "raw", "total_variation", "top1_disagreement")
_POOLS = ("outside_firings", "outside_energy")
_PARTIAL = ("n_seq", "alphas", "pools", "controls", "extra", "n_discovery")


@dataclass(frozen=True)
class Kept:
    """One file of measurements, and what it says of itself."""

    path: Path
    """The file with the numbers."""
    facts: Mapping[str, Any]
    """Its side file: "kind", "request", and what is in it."""

    @property
    def request(self) -> Request:
        """The request that it answers."""
        return self.facts["request"]


def folder() -> Path:
    """Where kept measurements are; it need not exist (an installed package has none)."""
    if os.environ.get(PLACE):
        return Path(os.environ[PLACE])
    return CLONE / ("_build/measurements" if measuring_anew() else "measurements")


def measuring_anew() -> bool:
    """Whether everything is to be measured and written, as by ``make measure``."""
    return bool(os.environ.get(ANEW))


def all_kept(kind: str = "") -> Iterator[Kept]:
    """Every kept measurement of a kind ("losses", "arrays", "frame"), ordered by name."""
    for side in sorted(folder().glob("*.json")):
        try:
            facts = json.loads(side.read_text(encoding="utf-8"))
        except FileNotFoundError:  # another page has just saved one that answers for it
            continue
        path = side.with_suffix(".csv" if facts["kind"] == "frame" else ".npz")
        if path.exists() and kind in ("", facts["kind"]):
            yield Kept(path, facts)


def find_losses(request: Request) -> SequenceLosses | None:
    """The kept record, or the part of one, that answers `request`; None if there is none."""
    for kept in all_kept("losses"):
        if _answers(kept, request):
            with suppress(FileNotFoundError):  # another page has just saved one that holds more
                record = _part(load_record(kept), request)
                parts = {key: request[key] for key in _PARTIAL if request[key] != kept.request[key]}
                notes.note_losses(kept.path, parts, record)
                return record
    return None


def read_part(name: str, parts: Mapping[str, Any]) -> tuple[SequenceLosses, Request] | None:
    """The part of a kept record that was asked for, and its request; None if it is not kept.

    `name` is that of its file, `parts` what of the file's request was asked for otherwise.
    """
    for kept in all_kept("losses"):
        if kept.path.name == name:
            request = {**kept.request, **parts}
            return (_part(load_record(kept), request), request) if _answers(kept, request) else None
    return None


def load_record(kept: Kept) -> SequenceLosses:
    """The whole record in a kept file, with what its latents did."""
    record = SequenceLosses.load(kept.path)
    return latents.put_back(record, kept.facts.get("latents", {}), kept.path.parent)


def find_arrays(request: Request) -> dict[str, np.ndarray] | None:
    """The kept arrays that answer `request`, floats in double precision; None if there are none."""
    for kept in all_kept("arrays"):
        if _same_but(kept.request, request, ("n_seq",)) and _of_the_sample(kept, request):
            with np.load(kept.path, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
            rows = request["n_seq"] or None
            cut = {name: array[:rows] for name, array in arrays.items() if array.ndim}
            arrays = arrays | cut if kept.facts["by_sequence"] else arrays
            notes.note_file("arrays", kept.path)
            return {name: _widened(array) for name, array in arrays.items()}
    return None


def find_frame(request: Request) -> pd.DataFrame | None:
    """The kept frame that answers `request`; None if there is none."""
    for kept in all_kept("frame"):
        if canonical(kept.request) == canonical(request):
            notes.note_file("frame", kept.path)
            return read_frame(kept.path)
    return None


def save_losses(request: Request, record: SequenceLosses, n_discovery: int) -> Path:
    """The file in which `record`, the answer to `request`, now is, with its side file.

    Kept records that are a part of it are removed: it answers for them. If it is itself a part of
    one, which another page may just have kept, the file is that one's.
    """
    facts = {
        "n_seq": len(record),
        "complete": not request["n_seq"] or len(record) < request["n_seq"],
        "n_discovery": n_discovery,
        "d_sae": record.d_sae,
        "n_ctx": record.provenance.get("n_ctx", 0),
        "population": record.provenance.get("population", ""),
        "measured": record.provenance.get("measured", {}),
    }
    words = [request[key] for key in ("subject", "hook_name", "corpus", "split")]
    words += ["" if request["rank"] == "frequency" else request["rank"]]
    with FileLock(cache_dir() / "measurements.lock"):  # pages side by side share files of latents
        for other in all_kept("losses"):
            if canonical(other.request) != canonical(request) and _answers(other, request):
                return other.path
        bare, facts["latents"] = latents.put_aside(record, request, folder())
        path = _save("losses", request, words, facts, ".npz", bare.save)
        kept = Kept(path, {"request": request, **facts})
        for old in list(all_kept("losses")):
            if old.path != path and _answers(kept, old.request):
                old.path.with_suffix(".json").unlink()
                old.path.unlink()
    return path


def save_arrays(request: Request, arrays: Mapping[str, np.ndarray], by_sequence: bool) -> Path:
    """The file in which `arrays` now are, floats in single precision, with its side file."""
    narrow = {name: _narrowed(array) for name, array in arrays.items()}
    n_seq = min((len(array) for array in narrow.values() if array.ndim), default=0)
    complete = not request["n_seq"] or n_seq < request["n_seq"]
    facts = {"n_seq": n_seq, "complete": complete, "by_sequence": by_sequence}
    words = [request[key] for key in ("quantity", "subject", "hook_name", "corpus", "split")]

    def write(path: Path) -> None:
        with atomic_path(path) as partial:
            pack_arrays(partial, narrow)

    return _save("arrays", request, words, facts, ".npz", write)


def save_frame(request: Request, frame: pd.DataFrame, facts: Mapping[str, Any]) -> Path:
    """The file in which `frame` now is, with its side file."""

    def write(path: Path) -> None:
        with atomic_path(path) as partial:
            frame.to_csv(partial, index=False, na_rep="nan")

    return _save("frame", request, ["simulated", request["name"]], facts, ".csv", write)


def read_frame(source: Path | StringIO) -> pd.DataFrame:
    """A frame written by `save_frame`: numbers to the last digit, and empty text stays text."""
    return pd.read_csv(source, keep_default_na=False, na_values=["nan"])


def as_kept_frame(frame: pd.DataFrame) -> pd.DataFrame:
    """The same frame as `find_frame` would return it."""
    return read_frame(StringIO(frame.to_csv(index=False, na_rep="nan")))


def as_kept(record: SequenceLosses) -> SequenceLosses:
    """`record` as a file would hold it: single precision, and still within its support.

    A page that measures sees the same numbers as one that reads what was kept.
    """
    loss = {name: _within_support(record, name) for name in record.loss}
    raw = {name: _single(values) for name, values in record.raw.items()}
    shares = {
        table: {name: _single(x).clip(0, 1) for name, x in getattr(record, table).items()}
        for table in (*_PROXIES[2:], *_POOLS)
    }
    discovery = record.discovery
    if discovery is not None and discovery.losses is not None:
        discovery = replace(discovery, losses=as_kept(discovery.losses))
    return replace(record, loss=loss, raw=raw, discovery=discovery, **shares)


def rounded_arrays(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same arrays as `find_arrays` would return them."""
    return {name: _widened(_narrowed(np.asarray(array))) for name, array in arrays.items()}


def _save(
    kind: str,
    request: Request,
    words: list[str],
    facts: Mapping[str, Any],
    suffix: str,
    write: Callable[[Path], None],
) -> Path:
    path = folder() / f"{file_name(request, words)}{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path)
    text = json.dumps({"kind": kind, "request": request, **facts}, indent=1)
    with atomic_path(path.with_suffix(".json")) as partial:
        partial.write_text(text + "\n", encoding="utf-8")
    return path


def _answers(kept: Kept, request: Request) -> bool:
    """Whether a kept record holds everything that `request` asks for."""
    mine = kept.request
    return (
        _same_but(mine, request, _PARTIAL)
        and _long_enough(kept, request)
        and _same_discovery(kept, request)
        and set(request["alphas"]) <= set(mine["alphas"])
        and _pools(request, kept.facts["d_sae"]) <= _pools(mine, kept.facts["d_sae"])
        and request["controls"] <= mine["controls"]
        and set(request["extra"]) <= set(mine["extra"])
    )


def _same_but(mine: Request, request: Request, parts: tuple[str, ...]) -> bool:
    bare = ({k: v for k, v in each.items() if k not in parts} for each in (mine, request))
    return canonical(next(bare)) == canonical(next(bare))


def _long_enough(kept: Kept, request: Request) -> bool:
    if kept.facts["complete"]:
        return True
    return 0 < request["n_seq"] <= kept.facts["n_seq"]


def _of_the_sample(kept: Kept, request: Request) -> bool:
    """Whether kept arrays are of the sequences asked for: sums over others answer nothing."""
    same = kept.request["n_seq"] == request["n_seq"]
    return same or (kept.facts["by_sequence"] and _long_enough(kept, request))


def _same_discovery(kept: Kept, request: Request) -> bool:
    asked = request["n_discovery"]
    mine = kept.request["n_discovery"]
    if asked is None or mine is None or asked == mine:
        return asked == mine
    there = kept.facts["n_discovery"]
    everything = mine == 0 or there < mine
    return asked == there or (everything and (asked == 0 or asked >= there))


def _pools(request: Request, d_sae: int) -> set[int]:
    """Sizes of the pools in a request; their default depends on the size of the dictionary."""
    if request["n_discovery"] is None:
        return set()
    shares = (1 / 8, 1 / 4, 1 / 2, 3 / 4)
    sizes = request["pools"]
    sizes = [round(share * d_sae) for share in shares] if sizes is None else sizes
    return {size for size in sizes if size != d_sae}


def _part(record: SequenceLosses, request: Request) -> SequenceLosses:
    """What `request` asks for out of a record that holds it all."""
    asked = {f"pool_{size}" for size in _pools(request, record.d_sae)}
    asked |= {"mean", "zero"} if request["controls"] else set()
    asked |= {parse(proxy).name for proxy in request["extra"]}
    left_out = set(record.total_variation) - asked - {"full"}
    record = _chosen(record, left_out, tuple(request["alphas"]))
    wanted = request["n_seq"]
    return record.take(slice(0, wanted)) if 0 < wanted < len(record) else record


def _chosen(
    record: SequenceLosses, left_out: set[str], alphas: tuple[float, ...]
) -> SequenceLosses:
    """`record` without some of its proxies, at some of its smoothing weights."""
    rows = [record.alphas.index(alpha) for alpha in alphas]
    tables = {
        table: {name: x for name, x in getattr(record, table).items() if name not in left_out}
        for table in (*_PROXIES, *_POOLS)
    }
    tables["loss"] = {name: x[rows] for name, x in tables["loss"].items()}
    support = record.reference_support.items()
    limits = {name: tuple(pairs[row] for row in rows) for name, pairs in support}
    discovery = record.discovery
    if isinstance(discovery, Discovery) and discovery.losses is not None:
        discovery = replace(discovery, losses=_chosen(discovery.losses, left_out, alphas))
    changes = {"alphas": alphas, "reference_support": limits, "discovery": discovery}
    return replace(record, **tables, **changes)


def _within_support(record: SequenceLosses, name: str) -> np.ndarray:
    known = record.reference_support.get(name)
    values = _single(record.loss[name])
    for row, alpha in enumerate(record.alphas):
        lo, hi = known[row] if known else smoothed_support(alpha, record.n_vocab)
        values[row] = values[row].clip(lo, hi)
    return values


def _single(values: np.ndarray) -> np.ndarray:
    """Doubles with the values that single precision can hold: they compress to half."""
    return values.astype(np.float32).astype(np.float64)


def _narrowed(array: np.ndarray) -> np.ndarray:
    if array.dtype == np.float64:
        return array.astype(np.float32)
    if array.dtype.kind in "iu" and array.size:
        return array.astype(np.result_type(*map(np.min_scalar_type, (array.min(), array.max()))))
    return array


def _widened(array: np.ndarray) -> np.ndarray:
    if array.dtype == np.float32:
        return array.astype(np.float64)
    return array.astype(np.int64) if array.dtype.kind in "iu" else array


def carry_over() -> list[str]:
    """Shipped subjects whose model is not on this machine, after what is kept of them was copied to
    where everything else is measured anew: it cannot be measured here, and is not to be lost.
    """
    target = CLONE / "_build/measurements"
    target.mkdir(parents=True, exist_ok=True)
    absent = [name for name in SHIPPED if not is_installed(name)]
    for side in sorted((CLONE / "measurements").glob("*.json")):
        facts = json.loads(side.read_text(encoding="utf-8"))
        if facts["request"].get("subject") in absent:
            names = [side.name, f"{side.stem}.npz", *facts.get("latents", {}).values()]
            for name in names:
                shutil.copyfile(side.with_name(name), target / name)
    return absent


def publish() -> Path:
    """The clone's ``measurements/``, after what was measured anew has taken its place."""
    source = CLONE / "_build/measurements"
    target = CLONE / "measurements"
    if not any(source.glob("*.json")):
        raise SystemExit(f"nothing was measured into {source}")
    for old in target.glob("*.*"):
        if old.suffix in (".npz", ".csv", ".json"):
            old.unlink()
    target.mkdir(exist_ok=True)
    for new in sorted(source.iterdir()):
        shutil.move(new, target / new.name)
    return target


def main(command: str) -> None:
    """What ``make measure`` does before its pages ("begin") and after them ("publish")."""
    if command == "begin":
        for name in carry_over():
            command = package_of(name)["command"]
            sys.stdout.write(
                f"{name} is not installed, its measurements stay ({command} installs it)\n"
            )
        return
    published = publish()
    size = sum(path.stat().st_size for path in published.iterdir()) / 1e6
    sys.stdout.write(f"{published}: {size:.1f} MB\n")


if __name__ == "__main__":
    main(sys.argv[1])

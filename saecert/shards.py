"""Shards of a sample on a shared folder: one file for each, and the record they make together.

A folder of shards holds ``plan.npz`` (what is measured, and the ids of all sequences in order),
``survey-<hook>.npz`` and ``tried-<hook>.npz`` (what was fixed on the discovery split),
``shard-<hook>-<i>-of-<n>.npz`` (a record of some of the sequences), and what is unfinished in
``unfinished/``. Every file appears whole, so any number of processes may write there at once. This
module needs numpy only: merging takes neither the model nor torch.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt64

from saecert.records import SequenceLosses
from saecert.storage import atomic_path_once, remove_litter
from saecert.untrusted import Archive, parse_json

PLAN = "plan.npz"
UNFINISHED = "unfinished"
"""Subfolder of what a shard has measured so far."""
VARYING = ("shard", "measured", "batch_dependence")
"""What shards of one record may say differently in their provenance."""

_FORMAT = 1
_SHARD = re.compile(r"shard-(?P<hook>[\w.]+)-(?P<number>\d{1,9})-of-(?P<of>\d{1,9})\.npz")
_PLANNED = ("model_sha256", "processing", "dtype", "corpus_sha256", "versions")


@dataclass(frozen=True)
class Shard:
    """Which part of a sample: number `number` of `of`, counted from 1.

    Raises
    ------
    ValueError
        The number is not one of 1 to `of`.

    Examples
    --------
    >>> Shard.parse("2/4").rows(10)
    (2, 5)
    """

    number: int
    of: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.of:
            raise ValueError(
                f"shard {self}: the first number goes from 1 to the second, as in 1/4, 2/4, 3/4, "
                "4/4"
            )

    @classmethod
    def parse(cls, text: str) -> Shard:
        """The shard that "i/n" names; ValueError for anything else."""
        first, slash, second = text.strip().partition("/")
        digits = all(part.isascii() and part.isdecimal() for part in (first, second))
        if not (slash and digits) or len(text) > 21:
            raise ValueError(f"shard takes i/n, such as 2/4, got {text!r:.40}")
        return cls(int(first), int(second))

    def rows(self, n_seq: int) -> tuple[int, int]:
        """First row of the sample in this shard, and the first after it.

        ValueError when a shard would have fewer than two sequences.
        """
        if n_seq // self.of < 2:
            raise ValueError(
                f"shard {self} of {n_seq} sequences: each shard takes at least 2, so at most "
                f"{max(n_seq // 2, 1)} shards"
            )
        return n_seq * (self.number - 1) // self.of, n_seq * self.number // self.of

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


@dataclass(frozen=True)
class Plan:
    """What a folder of shards is about."""

    facts: dict[str, Any]
    """Model, dtype, versions, corpus, settings: plain JSON, the same for every shard."""
    ids: UInt64[np.ndarray, "n_seq"]
    """Hash of each sequence of the whole sample, in its order."""

    @property
    def digest(self) -> str:
        """Hash of everything in the plan."""
        text = json.dumps(self.facts, sort_keys=True).encode()
        return hashlib.sha256(text + self.ids.tobytes()).hexdigest()[:24]


def begin(folder: str | Path, plan: Plan) -> Plan:
    """The plan of a folder: `plan` if the folder has none yet.

    Raises
    ------
    ValueError
        The folder was begun with another plan; the first difference is named.
    """
    path = Path(folder) / PLAN
    if not path.exists():
        header = np.array(json.dumps({"format": _FORMAT} | plan.facts))
        with atomic_path_once(path) as partial, partial.open("wb") as stream:
            np.savez_compressed(stream, header=header, ids=plan.ids)
    begun = read_plan(folder)
    if begun.digest == plan.digest:
        return begun
    name = _first_difference(begun.facts, plan.facts) or "the sequences"
    before, now = (_shown(facts, name) for facts in (begun.facts, plan.facts))
    raise ValueError(
        f"{folder} was begun with another {name} ({before}, now {now}): "
        "give the same settings, or another folder"
    )


def read_plan(folder: str | Path) -> Plan:
    """The plan of a folder of shards.

    Raises
    ------
    ValueError
        There is none, or its file is damaged; the message begins with the path.
    """
    path = Path(folder) / PLAN
    if not path.exists():
        raise ValueError(f"{folder} is no folder of shards: it has no {PLAN}; measure first")
    try:
        archive = Archive(path, {"header", "ids"}.__contains__, required="header")
        if archive.declared["header"][0] != () or archive.declared["header"][1].kind != "U":
            raise ValueError("its header is not a text")
        arrays = archive.read()
        facts = parse_json(str(arrays["header"]))
        if not isinstance(facts, dict) or facts.pop("format", None) != _FORMAT:
            raise ValueError("written by another version of saecert")
        ids = arrays["ids"]
        if ids.ndim != 1 or ids.dtype != np.uint64 or len(ids) < 2:
            raise ValueError("ids are not those of two sequences or more")
    except (ValueError, KeyError, OSError) as error:
        raise ValueError(f"{path} is damaged ({error}): measure into another folder") from error
    return Plan(facts, ids)


def shard_path(folder: str | Path, hook_name: str, shard: Shard) -> Path:
    """The file of a shard at a hook point."""
    return Path(folder) / f"shard-{hook_name}-{shard.number}-of-{shard.of}.npz"


def record_path(folder: str | Path, hook_name: str) -> Path:
    """Where `merge` puts the record of a hook point unless told otherwise."""
    return Path(folder) / f"record-{hook_name}.npz"


def hook_names(folder: str | Path) -> list[str]:
    """Hook points of which a folder has shards; ValueError when it has none."""
    names = {match["hook"] for match in _shards_in(folder)}
    if not names:
        raise ValueError(
            f"{folder} has no shard: python -m saecert measure --shard i/n --out "
            f"{shlex.quote(str(folder))}"
        )
    return sorted(names)


def read_shard(path: str | Path, plan: Plan) -> SequenceLosses:
    """The record in the file of a shard, with its sequences in the order of the sample.

    Raises
    ------
    ValueError
        The file is damaged, no shard, of another plan, or lacks or repeats a sequence; the message
        says which.
    """
    record = SequenceLosses.load(path)
    about = record.provenance.get("shard")
    if not isinstance(about, dict):
        raise ValueError(f"{path} is a record, but not a shard: take it out of the folder")
    try:
        shard = Shard(*(_whole_number(about[name]) for name in ("number", "of")))
        start, stop = shard.rows(len(plan.ids))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} was edited ({error!r:.200}): measure it again") from error
    title = f"shard {shard} ({path})"
    named = _SHARD.fullmatch(Path(path).name)
    if named and (int(named["number"]), int(named["of"])) != (shard.number, shard.of):
        raise ValueError(f"{title} is named as another one: was it copied? Take it out")
    for name in _PLANNED:
        if record.provenance.get(name) != plan.facts.get(name):
            mine, theirs = (_shown(facts, name) for facts in (record.provenance, plan.facts))
            raise ValueError(
                f"{title} was measured with another {name} ({mine}) than planned ({theirs}): "
                "delete it and measure it again"
            )
    if about.get("plan") != plan.digest:
        raise ValueError(f"{title} belongs to another plan: delete it and measure it again")
    return record.take(_rows_in_order(record.ids, plan.ids[start:stop], start, title))


def _whole_number(value: Any) -> int:
    if type(value) is not int:
        raise ValueError(f"{value!r:.40} is no whole number")
    return value


def _rows_in_order(ids: np.ndarray, planned: np.ndarray, start: int, title: str) -> np.ndarray:
    """Rows of a shard in the order of the plan; ValueError for one that is missing or too much."""
    if np.array_equal(ids, planned):
        return np.arange(len(ids))
    for position, sequence in enumerate(planned):
        there = np.count_nonzero(ids == sequence)
        wanted = np.count_nonzero(planned == sequence)
        if there != wanted:
            how = "is missing from" if there < wanted else f"is {there} times in"
            raise ValueError(
                f"sequence {start + position} (id {int(sequence)}) {how} {title}: delete the file "
                "and measure it again"
            )
    if len(ids) != len(planned):
        stranger = ids[~np.isin(ids, planned)][0]
        raise ValueError(f"{title} has a sequence (id {int(stranger)}) that belongs to no shard")
    by_id = np.argsort(ids, kind="stable")
    places = np.argsort(planned, kind="stable")
    rows = np.empty(len(ids), dtype=np.int64)
    rows[places] = by_id
    return rows


def merge(folder: str | Path, hook_name: str | None = None) -> SequenceLosses:
    """The record of the whole sample at a hook point, from its shards in `folder`.

    It is the record that one process makes of the whole sample: bit for bit where all shards were
    measured on one type of CPU, losses within 5e-4 bits otherwise. Date and machine are those of
    all shards.

    Parameters
    ----------
    folder
        Folder of shards; of any split, as long as every sequence is there once.
    hook_name
        Needed where the folder has several.

    Raises
    ------
    ValueError
        No or an unknown hook point; shards that differ in model, SAE, dtype, versions, settings,
        proxies or discovery; a sequence that is missing or there twice. The message names the
        shard at fault.
    """
    plan = read_plan(folder)
    hook_name = _only_hook(folder, hook_name)
    paths = [match.string for match in _shards_in(folder) if match["hook"] == hook_name]
    whole: _Whole | None = None
    for path in _in_order(folder, paths, plan):
        record = read_shard(path, plan)
        whole = _Whole.empty(record, plan) if whole is None else whole
        whole.add(record, path)
    assert whole is not None, "_in_order gives at least one shard"
    return whole.record()


def _only_hook(folder: str | Path, hook_name: str | None) -> str:
    names = hook_names(folder)
    if hook_name is None and len(names) == 1:
        return names[0]
    if hook_name not in names:
        said = "there are several hook points" if hook_name is None else f"no shard at {hook_name}"
        raise ValueError(f"{said} in {folder}: name one of {', '.join(names)}")
    return hook_name


def _in_order(folder: str | Path, names: list[str], plan: Plan) -> list[Path]:
    """Files that cover every sequence once, by first sequence; ValueError names what does not."""
    n_seq = len(plan.ids)
    pieces = []
    for name in names:
        match = _SHARD.fullmatch(name)
        assert match is not None, "names come from `_shards_in`"
        shard = Shard(int(match["number"]), int(match["of"]))
        pieces.append((*shard.rows(n_seq), shard, Path(folder) / name))
    reached = 0
    before: Shard | None = None
    for start, stop, shard, _ in sorted(pieces, key=lambda piece: piece[:2]):
        if start > reached:
            raise ValueError(_missing(reached, start, shard.of, n_seq, folder))
        if start < reached:
            raise ValueError(
                f"sequence {start} is twice in {folder}: in shard {before} and in shard {shard}; "
                "delete the files of one of the two splits"
            )
        reached, before = stop, shard
    if reached < n_seq:
        of = pieces[-1][2].of if before is None else before.of
        raise ValueError(_missing(reached, n_seq, of, n_seq, folder))
    return [path for *_, path in sorted(pieces, key=lambda piece: piece[:2])]


def _missing(start: int, stop: int, of: int, n_seq: int, folder: str | Path) -> str:
    wanted = [Shard(number, of) for number in range(1, of + 1)]
    rows = [shard.rows(n_seq) for shard in wanted]
    lacking = [str(s) for s, (low, high) in zip(wanted, rows, strict=True) if start <= low < stop]
    ends = {low for low, _ in rows}, {high for _, high in rows}
    missing = f"sequences {start} to {stop - 1} are missing in {folder}: "
    if start in ends[0] and stop in ends[1]:
        return f"{missing}measure shard {', '.join(lacking[:20])}"
    return (
        f"{missing}shards of several splits are there, and none of {of} are just these; "
        "delete those of all splits but one and measure what it lacks"
    )


@dataclass
class _Whole:
    """A record that is filled shard after shard."""

    first: SequenceLosses
    tables: dict[str, dict[str, np.ndarray]]
    rows: dict[str, np.ndarray]
    facts: list[dict[str, Any]]
    n_seq: int
    done: int = 0

    @classmethod
    def empty(cls, record: SequenceLosses, plan: Plan) -> _Whole:
        """Room for all sequences of the plan."""
        n_seq = len(plan.ids)
        tables = {
            table: {
                name: np.empty((*values.shape[:-1], n_seq), values.dtype)
                for name, values in content.items()
            }
            for table, content in record.tables().items()
        }
        rows = {
            name: np.empty((n_seq, *values.shape[1:]), values.dtype)
            for name, values in record.rows().items()
        }
        return cls(record, tables, rows, [], n_seq)

    def add(self, record: SequenceLosses, path: Path) -> None:
        """Take in the next shard; ValueError when it does not fit to the first."""
        if different := _different(self.first, record):
            mine, first = (read.provenance["shard"] for read in (record, self.first))
            raise ValueError(
                f"shard {mine['number']}/{mine['of']} ({path}) has another {different} than shard "
                f"{first['number']}/{first['of']}: delete the wrong one and measure it again"
            )
        stop = self.done + len(record)
        for table, content in record.tables().items():
            for name, values in content.items():
                self.tables[table][name][..., self.done : stop] = values
        for name, values in record.rows().items():
            self.rows[name][self.done : stop] = values
        self.facts.append(record.provenance)
        self.done = stop

    def record(self) -> SequenceLosses:
        """The record of all shards."""
        kept = {key: value for key, value in self.first.provenance.items() if key not in VARYING}
        together = {
            "measured": united([facts["measured"] for facts in self.facts]),
            "batch_dependence": max(facts["batch_dependence"] for facts in self.facts),
        }
        arrays: dict[str, Any] = {**self.tables, **self.rows}
        return replace(self.first, **arrays, provenance=kept | together)


def _different(first: SequenceLosses, record: SequenceLosses) -> str | None:
    """What two shards must have in common and have not; None when there is no such thing."""
    mine, other = (
        {key: value for key, value in read.provenance.items() if key not in VARYING}
        | {"proxies": read.provenance["shard"].get("proxies")}
        | {"alphas": read.alphas, "support of the references": read.reference_support}
        | {"arrays": _layout(read), "ranking of the discovery split": _ranking(read)}
        for read in (record, first)
    )
    return _first_difference(mine, other)


def _layout(record: SequenceLosses) -> dict[str, Any]:
    tables = {
        f"{table}/{name}": values.dtype.str
        for table, content in record.tables().items()
        for name, values in content.items()
    }
    return tables | {
        name: (values.shape[1:], values.dtype.str) for name, values in record.rows().items()
    }


def _ranking(record: SequenceLosses) -> Any:
    fixed = record.discovery
    if fixed is None:
        return None
    losses = "" if fixed.losses is None else fixed.losses.fingerprint()
    digest = hashlib.sha256(fixed.order.tobytes() + fixed.n_active.tobytes()).hexdigest()
    return fixed.rule, fixed.n_seq, digest, losses


def united(several: list[dict[str, Any]]) -> dict[str, Any]:
    """Versions, machine and date of several measurements: each value as it was, or all there were.

    >>> first = {"versions": {"torch": "2.1"}, "machine": {}, "date": "2026-01-01"}
    >>> united([first, first | {"date": "2026-01-02"}])["date"]
    '2026-01-01, 2026-01-02'
    """
    tables = {}
    for table in ("versions", "machine"):
        names = dict.fromkeys(name for times in several for name in times[table])
        tables[table] = {
            name: _joined(times[table].get(name) for times in several) for name in names
        }
    return tables | {"date": _joined(times["date"] for times in several)}


def _joined(texts: Any) -> str:
    return ", ".join(sorted({word for text in texts if text for word in text.split(", ")}))


def arriving(
    folder: str | Path,
    of: int,
    hook_name: str,
    *,
    order: str = "sample",
    pause: float = 2.0,
    timeout: float | None = None,
) -> Iterator[SequenceLosses]:
    """Records of the `of` shards at a hook point, each as soon as its file is there.

    For `saecert.certify_stream`, which asks for no more of them once it knows::

        stopped = certify_stream(arriving("shards", 64, hook_name), target="bigram")

    Parameters
    ----------
    folder, of, hook_name
        Folder, number of shards it will have, and hook point.
    order
        "sample": in the order of the sample, waiting for each; nothing more is assumed than for the
        sample itself. "arrival": whichever is there; then it is assumed, too, that when a shard is
        finished does not depend on its losses (a machine that fails on long text would break that;
        sequences of equal length take equal time).
    pause
        Seconds between two looks at the folder.
    timeout
        Seconds without a new shard after which it gives up; None: never.

    Raises
    ------
    ValueError
        Unknown order, or a shard that `read_shard` refuses.
    TimeoutError
        No new shard for so long; the message names those awaited.
    """
    if order not in ("sample", "arrival"):
        raise ValueError(f"order takes 'sample' or 'arrival', got {order!r:.40}")
    awaited = {
        number: shard_path(folder, hook_name, Shard(number, of)) for number in range(1, of + 1)
    }
    last = time.monotonic()
    while awaited:
        candidates = list(awaited)[: 1 if order == "sample" else None]
        there = [number for number in candidates if awaited[number].exists()]
        if there:
            path = awaited.pop(there[0])
            yield _without_shard(read_shard(path, read_plan(folder)))
            last = time.monotonic()
        elif timeout is not None and time.monotonic() - last > timeout:
            names = ", ".join(f"{number}/{of}" for number in list(awaited)[:10])
            raise TimeoutError(f"no new shard in {folder} for {timeout:g} s; awaited: {names}")
        else:
            time.sleep(pause)


def _without_shard(record: SequenceLosses) -> SequenceLosses:
    facts = {key: value for key, value in record.provenance.items() if key != "shard"}
    return replace(record, provenance=facts)


def tidy(folder: str | Path) -> None:
    """Remove what killed processes left in a folder of shards, and its empty folders."""
    folder = Path(folder)
    unfinished = folder / UNFINISHED
    inside: list[Path] = []
    with suppress(FileNotFoundError):  # nothing is unfinished, or another process removed it
        inside = sorted(unfinished.iterdir())
    for place in (folder, *inside, unfinished):
        remove_litter(place)
        if place != folder:
            with suppress(OSError):  # not empty, others are at work; or gone already
                place.rmdir()


def _shards_in(folder: str | Path) -> list[re.Match[str]]:
    """Names of all shards in a folder, matched."""
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file: name the folder that the shards are in")
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}")
    matches = (_SHARD.fullmatch(path.name) for path in sorted(folder.iterdir()))
    return [match for match in matches if match]


def _first_difference(mine: Mapping[str, Any], other: Mapping[str, Any]) -> str | None:
    names = [*mine, *(name for name in other if name not in mine)]
    return next((name for name in names if mine.get(name) != other.get(name)), None)


def _shown(facts: Mapping[str, Any], name: str) -> str:
    return f"{facts.get(name)!r:.60}"

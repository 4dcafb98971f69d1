"""The one loop over a corpus: batches, several hook points a run, resume, halving, progress, cache.

A diagnostic is a function of one batch. `run` drives it over a corpus and keeps what it returns, a
file for each hook point, in the cache folder:

    def measure(subject, batch, hook_names):
        acts = native_acts_at(subject.model, batch.tokens, hook_names)
        norms = {name: acts[name].norm(dim=-1)[:, batch.first :] for name in hook_names}
        return {name: {"norm": norm.mean(dim=1)} for name, norm in norms.items()}

    quantity = Quantity("norm", "", measure, ("blocks.0.hook_resid_post",))
    norms = run(subject, corpus, quantity)["blocks.0.hook_resid_post"]["norm"]  # one row a sequence

Arrays have a row for each sequence of the batch and are put one after the other; a `Total` is added
up over the batches instead. Gradients are off unless the function turns them on.
"""

from __future__ import annotations

import json
import re
import time
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int, UInt64
from torch import Tensor
from tqdm import tqdm

from saecert.corpora.corpus import Corpus
from saecert.measurement import circumstances
from saecert.measurement.circumstances import Circumstances
from saecert.measurement.identity import digest, identity
from saecert.storage import atomic_path, cache_dir
from saecert.subjects.loading import Subject

CHECKPOINT_SECONDS = 30
"""How much of a measurement a killed process may lose."""
CHECKPOINT_SHARE = 10
"""Checkpoints that take long are made more rarely: a pause lasts this many times as long as one."""
CPU_BATCH = 16
"""Sequences in a batch on a CPU, if not said."""
GPU_BATCH = 64
"""Sequences in a batch on a GPU, if not said."""
_FORMAT = 1


@dataclass(frozen=True)
class Batch:
    """Some sequences of a corpus, one after the other."""

    tokens: Int[Tensor, "batch pos"]
    """Token ids, on the subject's device."""
    ids: UInt64[np.ndarray, "batch"]
    """Hash of each sequence."""
    first: int
    """First position that counts: 1 behind a BOS token, else 0."""
    start: int
    """Row in the corpus of the first sequence."""


@dataclass(frozen=True)
class Total:
    """An array of one batch that is added up over the batches instead of being put row after
    row."""

    values: Tensor | np.ndarray
    """Of the same shape in every batch; float64 or integers, for sums over many batches."""


Values = Mapping[str, Tensor | np.ndarray | Total]
"""What a function of one batch returns for one hook point: arrays with a row a sequence, and
totals."""
Measure = Callable[[Subject, Batch, Sequence[str]], Mapping[str, Values]]
"""A function of one batch at some hook points: ``{hook_name: values}``."""


@dataclass(frozen=True)
class Quantity:
    """Something to measure of every sequence of a corpus, at one hook point or at several."""

    name: str
    """What it is called in the cache folder and on the progress bar."""
    key: str
    """A text that changes whenever `measure` gives other numbers: its parameters, a version."""
    measure: Measure
    """Called with a batch and those of `hook_names` that still need it."""
    hook_names: Sequence[str]
    """Hook points, each kept in a file of its own; "" for what no SAE changes."""


@dataclass(frozen=True)
class Part:
    """What is kept in one file: a quantity at one hook point, or of the model alone."""

    hook_name: str
    """Hook point whose SAE matters; "" for what no SAE changes."""
    name: str
    """Name of the quantity."""
    key: str
    """A text that changes whenever the numbers do."""


MeasureParts = Callable[[Subject, Batch, Sequence[Part]], Mapping[Part, Values]]
"""A function of one batch that yields several parts at once: ``{part: values}``."""


@dataclass
class Measurement:
    """What is known of one part: the rows measured so far, the totals over them, and when."""

    path: Path
    """The file it is kept in."""
    n_seq: int
    """Sequences to measure."""
    rows: dict[str, np.ndarray] = field(default_factory=dict)
    """Arrays with a row for each sequence."""
    counted: tuple[int, dict[str, np.ndarray]] = (0, {})
    """Sequences measured, and arrays added up over them: one value, so that no interrupt parts
    them."""
    circumstances: list[Circumstances] = field(default_factory=list)
    """Versions, machine and date: as they were when measured, more than one after an
    interruption."""
    saved: int = 0
    """Sequences in the file."""

    @property
    def done(self) -> int:
        """Sequences measured."""
        return self.counted[0]

    @property
    def totals(self) -> dict[str, np.ndarray]:
        """Arrays added up over the sequences."""
        return self.counted[1]

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """Rows and totals by name."""
        return self.rows | self.totals

    @property
    def measured(self) -> Circumstances:
        """Versions, machine and date as they were when this was measured."""
        return circumstances.merged(self.circumstances)

    def add(self, values: Values, n_new: int) -> None:
        """Take in what was measured of the next `n_new` sequences."""
        stop = self.done + n_new
        totals = {}
        for name, value in values.items():
            if isinstance(value, Total):
                array = _array(value.values)
                before = self.totals[name] if self.done else np.zeros_like(array)
                totals[name] = np.asarray(before + array)
                continue
            array = _array(value)
            if len(array) != n_new:
                raise ValueError(f"'{name}' has {len(array)} rows for {n_new} sequences")
            if not self.done:
                self.rows[name] = np.empty((self.n_seq, *array.shape[1:]), array.dtype)
            self.rows[name][self.done : stop] = array
        self.counted = (stop, totals)

    def save(self) -> None:
        """Write what there is, whole or not at all; nothing if the file has it already."""
        if self.saved == self.done:
            return
        facts = {"format": _FORMAT, "done": self.done, "circumstances": self.circumstances}
        arrays = {f"rows/{name}": array[: self.done] for name, array in self.rows.items()}
        arrays |= {f"totals/{name}": array for name, array in self.totals.items()}
        with atomic_path(self.path) as partial:
            np.savez(partial, facts=np.array(json.dumps(facts)), **arrays)
        self.saved = self.done

    def load(self) -> None:
        """Read the file, if there is one; one that is damaged is named, and thrown away."""
        if not self.path.exists():
            return
        try:
            self._read()
        except Exception as error:  # zipfile, zlib and json raise types of their own
            self.rows = {}
            self.circumstances = []
            self.path.unlink(missing_ok=True)
            warnings.warn(
                f"{self.path} is damaged ({error!r}): thrown away and measured again", stacklevel=2
            )
        self.saved = self.done

    def _read(self) -> None:
        with self.path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            arrays = dict(archive)
        facts = json.loads(str(arrays.pop("facts")))
        done = facts["done"]
        if facts["format"] != _FORMAT or not 0 < done <= self.n_seq or not arrays:
            raise ValueError("not a measurement of these sequences")
        circumstances.merged(facts["circumstances"])
        totals = {}
        for name, array in arrays.items():
            kind, _, key = name.partition("/")
            if kind == "totals":
                totals[key] = array
                continue
            if len(array) != done:
                raise ValueError(f"{len(array)} rows of {key} for {done} sequences")
            self.rows[key] = array
            if done < self.n_seq:
                self.rows[key] = np.empty((self.n_seq, *array.shape[1:]), array.dtype)
                self.rows[key][:done] = array
        self.counted = (done, totals)
        self.circumstances = facts["circumstances"]


def run(
    subject: Subject,
    corpus: Corpus,
    quantity: Quantity,
    *,
    batch_size: int | None = None,
    progress: bool = True,
) -> dict[str, dict[str, np.ndarray]]:
    """Arrays of a quantity on every sequence of `corpus`: ``{hook_name: {name: array}}``.

    Kept in the cache folder, a file for each hook point: what was measured is found again, an
    interrupted run goes on from its last checkpoint, and hook points are measured together or one
    by one with the same result.

    Parameters
    ----------
    subject, corpus
        The model with its SAEs, and the sequences.
    quantity
        What to measure, see `Quantity`.
    batch_size
        Sequences in a batch; 16 on a CPU and 64 on a GPU if not said. Halved when memory is too
        small.
    progress
        Show a bar on standard error.

    Raises
    ------
    ValueError
        `batch_size` below 1, a hook point without an SAE, or arrays of another number of rows than
        the batch has sequences.
    MemoryError
        Not one sequence fits into the GPU's memory.
    """
    parts = {Part(name, quantity.name, quantity.key): name for name in quantity.hook_names}

    def measure(subject: Subject, batch: Batch, todo: Sequence[Part]) -> dict[Part, Values]:
        values = quantity.measure(subject, batch, [parts[part] for part in todo])
        return {part: values[parts[part]] for part in todo}

    kept = measure_parts(
        subject,
        corpus,
        list(parts),
        measure,
        title=quantity.name,
        batch_size=batch_size,
        progress=progress,
    )
    return {name: kept[part].arrays for part, name in parts.items()}


def measure_parts(
    subject: Subject,
    corpus: Corpus,
    parts: Sequence[Part],
    measure: MeasureParts,
    *,
    title: str,
    batch_size: int | None = None,
    progress: bool = True,
) -> dict[Part, Measurement]:
    """Measurements of several parts, each kept in a file of its own; `run` for parts of any kind.

    `measure` is called with the parts that still need a batch: those measured before cost nothing.
    """
    batch_size = checked_batch_size(subject, batch_size)
    kept = _open(subject, corpus, parts)
    ids = corpus.ids if any(one.done < len(corpus) for one in kept.values()) else None
    done = min((one.done for one in kept.values()), default=len(corpus))
    bar = tqdm(
        total=len(corpus),
        initial=done,
        desc=f"{subject.name} {title}",
        unit="seq",
        disable=not progress or ids is None,
    )
    clock = _Clock()
    try:
        while done < len(corpus):
            stop = _stop(done, batch_size, len(corpus), kept.values())
            todo = [part for part in parts if kept[part].done == done]
            batch = _batch(subject, corpus, ids, done, stop)
            values = _attempt(measure, subject, batch, todo)
            if values is None:
                batch_size = _halved(batch_size)
                continue
            for part in todo:
                kept[part].add(values[part], stop - done)
            bar.update(stop - done)
            done = min(one.done for one in kept.values())
            clock.checkpoint(kept.values())
    finally:
        bar.close()
        for one in kept.values():
            one.save()
    return kept


def checked_batch_size(subject: Subject, batch_size: int | None) -> int:
    """Sequences in a batch, `batch_size` or what suits the device; ValueError for less than one."""
    if batch_size is None:
        return GPU_BATCH if subject.device.type == "cuda" else CPU_BATCH
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    return batch_size


class _Clock:
    """When to write what was measured: every 30 s, more rarely if writing takes long."""

    def __init__(self) -> None:
        self.last = time.monotonic()
        self.pause = float(CHECKPOINT_SECONDS)

    def checkpoint(self, kept: Collection[Measurement]) -> None:
        start = time.monotonic()
        if start - self.last < self.pause:
            return
        for one in kept:
            one.save()
        self.last = time.monotonic()
        self.pause = max(CHECKPOINT_SECONDS, CHECKPOINT_SHARE * (self.last - start))


def _open(subject: Subject, corpus: Corpus, parts: Sequence[Part]) -> dict[Part, Measurement]:
    """What is known of each part; those that are not whole go on under today's circumstances."""
    bases = {part.hook_name: "" for part in parts}
    for hook_name in bases:
        bases[hook_name] = identity(subject, corpus, hook_name)
    present = circumstances.now(subject.device)
    kept = {}
    for part in parts:
        key = digest(bases[part.hook_name], part.name, part.key)
        name = re.sub(r"\W+", "_", part.name)[:40]
        kept[part] = Measurement(cache_dir() / f"{name}-{key}.npz", len(corpus))
        kept[part].load()
        if kept[part].done < len(corpus) and present not in kept[part].circumstances:
            kept[part].circumstances.append(present)
    return kept


def _stop(done: int, batch_size: int, n_seq: int, kept: Collection[Measurement]) -> int:
    """Where the batch that begins at `done` ends: at the latest where another part goes on."""
    ahead = [one.done for one in kept if one.done > done]
    return min([done + batch_size, n_seq, *ahead])


def _batch(subject: Subject, corpus: Corpus, ids: np.ndarray, start: int, stop: int) -> Batch:
    tokens = torch.from_numpy(corpus.tokens[start:stop].astype(np.int64))
    return Batch(tokens.to(subject.device), ids[start:stop], int(corpus.bos), start)


@torch.no_grad()
def _attempt(
    measure: MeasureParts, subject: Subject, batch: Batch, todo: Sequence[Part]
) -> Mapping[Part, Values] | None:
    """What was measured; None when memory was too small, with nothing left that holds on to it."""
    try:
        return measure(subject, batch, todo)
    except torch.OutOfMemoryError:
        return None


def _halved(batch_size: int) -> int:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if batch_size == 1:
        raise MemoryError(
            "not one sequence fits into memory: fewer proxies or hook points at once, "
            "shorter sequences or dtype=torch.bfloat16"
        )
    return batch_size // 2


def _array(values: Tensor | np.ndarray) -> np.ndarray:
    if not isinstance(values, Tensor):
        return np.asarray(values)
    values = values.detach().cpu()
    return (values.float() if values.dtype == torch.bfloat16 else values).numpy()

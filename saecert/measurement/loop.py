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

import inspect
import re
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int, UInt64
from torch import Tensor
from tqdm import tqdm

from saecert.corpora.corpus import Corpus
from saecert.measurement import circumstances
from saecert.measurement.identity import digest, identity
from saecert.measurement.kept import Measurement, Total, Values
from saecert.storage import cache_dir, progress_bar
from saecert.subjects.subject import Subject

CHECKPOINT_SECONDS = 30
"""How much of a measurement a killed process may lose."""
CHECKPOINT_SHARE = 10
"""Checkpoints that take long are made more rarely: a pause lasts this many times as long as one."""
CPU_BATCH = 16
"""Sequences in a batch on a CPU, if not said."""
GPU_BATCH = 64
"""Sequences in a batch on a GPU, if not said."""

__all__ = [
    "Batch",
    "Measurement",
    "Part",
    "Quantity",
    "Total",
    "Values",
    "checked_batch_size",
    "measure_parts",
    "run",
]


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


Measure = Callable[[Subject, Batch, Sequence[str]], Mapping[str, Values]]
"""A function of one batch at some hook points: ``{hook_name: values}``."""


@dataclass(frozen=True)
class Quantity:
    """Something to measure of every sequence of a corpus, at one hook point or at several."""

    name: str
    """What it is called in the cache folder and on the progress bar."""
    key: str
    """A text that changes whenever `measure` gives other numbers: its parameters, a version. It may
    be empty for a function that depends on nothing but its arguments."""
    measure: Measure
    """Called with a batch and those of `hook_names` that still need it."""
    hook_names: Sequence[str]
    """Hook points, each kept in a file of its own; "" for what no SAE changes."""

    def __post_init__(self) -> None:
        function = inspect.unwrap(self.measure)  # torch.no_grad() wraps
        values = ("__closure__", "__defaults__", "__kwdefaults__")
        plain = inspect.isfunction(function) and not any(getattr(function, x) for x in values)
        if not self.key and not plain:
            raise ValueError(
                f"what measures '{self.name}' has values of its own, on which its numbers may "
                "depend: give it a key that names them"
            )


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

    measurements = measure_parts(
        subject,
        corpus,
        list(parts),
        measure,
        title=quantity.name,
        batch_size=batch_size,
        progress=progress,
    )
    return {name: measurements[part].arrays for part, name in parts.items()}


def measure_parts(
    subject: Subject,
    corpus: Corpus,
    parts: Sequence[Part],
    measure: MeasureParts,
    *,
    title: str,
    batch_size: int | None = None,
    progress: bool = True,
    folder: Path | None = None,
) -> dict[Part, Measurement]:
    """Measurements of several parts, each kept in a file of its own; `run` for parts of any kind.

    `measure` is called with the parts that still need a batch: those measured before cost nothing.
    Files are in `folder`, the cache folder by default.
    """
    batch_size = checked_batch_size(subject, batch_size)
    measurements = _open(subject, corpus, parts, cache_dir() if folder is None else folder)
    unfinished = any(part.done < len(corpus) for part in measurements.values())
    if not unfinished:
        return measurements
    done = min(part.done for part in measurements.values())
    bar = _bar(f"{subject.name} {title}", done, len(corpus), progress)
    clock = _Clock()
    ids = corpus.ids
    try:
        while done < len(corpus):
            stop = _stop(done, batch_size, len(corpus), measurements.values())
            todo = [part for part in parts if measurements[part].done == done]
            batch = _batch(subject, corpus, ids, done, stop)
            values = _attempt(measure, subject, batch, todo)
            if values is None:
                batch_size = _halved(batch_size)
                continue
            for part in todo:
                measurements[part].add(values[part], stop - done)
            bar.update(stop - done)
            done = min(part.done for part in measurements.values())
            clock.checkpoint(measurements.values())
    finally:
        bar.close()
        _save(measurements.values())
    return measurements


def checked_batch_size(subject: Subject, batch_size: int | None) -> int:
    """Sequences in a batch, `batch_size` or what suits the device; ValueError for less than one."""
    if batch_size is None:
        return GPU_BATCH if subject.device.type == "cuda" else CPU_BATCH
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    return batch_size


def _bar(title: str, done: int, n_seq: int, progress: bool) -> tqdm:
    """A progress bar on standard error, which shows nothing unless `progress`."""
    return progress_bar(total=n_seq, initial=done, desc=title, unit="seq", disable=not progress)


class _Clock:
    """When to write what was measured: every 30 s, more rarely if writing takes long."""

    def __init__(self) -> None:
        self.last = time.monotonic()
        self.pause = float(CHECKPOINT_SECONDS)

    def checkpoint(self, measurements: Collection[Measurement]) -> None:
        start = time.monotonic()
        if start - self.last < self.pause:
            return
        _save(measurements)
        self.last = time.monotonic()
        self.pause = max(CHECKPOINT_SECONDS, CHECKPOINT_SHARE * (self.last - start))


def _open(
    subject: Subject, corpus: Corpus, parts: Sequence[Part], folder: Path
) -> dict[Part, Measurement]:
    """What is known of each part; those that are not whole go on under today's circumstances."""
    hook_names = dict.fromkeys(part.hook_name for part in parts)
    bases = {hook_name: identity(subject, corpus, hook_name) for hook_name in hook_names}
    present = circumstances.now(subject.device)
    measurements = {}
    for part in parts:
        key = digest(bases[part.hook_name], part.name, part.key)
        name = re.sub(r"\W+", "_", part.name)[:40]
        measurement = Measurement(folder / f"{name}-{key}.npz", len(corpus))
        measurement.load()
        if measurement.done < len(corpus) and present not in measurement.circumstances:
            measurement.circumstances.append(present)
        measurements[part] = measurement
    return measurements


def _save(measurements: Collection[Measurement]) -> None:
    for measurement in measurements:
        measurement.save()


def _stop(done: int, batch_size: int, n_seq: int, measurements: Collection[Measurement]) -> int:
    """Where the batch that begins at `done` ends: at the latest where another part goes on."""
    ahead = [part.done for part in measurements if part.done > done]
    return min([done + batch_size, n_seq, *ahead])


def _batch(subject: Subject, corpus: Corpus, ids: np.ndarray, start: int, stop: int) -> Batch:
    tokens = torch.from_numpy(corpus.tokens[start:stop].astype(np.int64))
    return Batch(tokens.to(subject.device), ids[start:stop], corpus.first, start)


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

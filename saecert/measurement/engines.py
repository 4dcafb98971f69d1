"""Who measures the shards of a sample: this process one after the other, or workers of Ray."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from saecert.corpora.corpus import Corpus
from saecert.corpora.loading import load_corpus
from saecert.measurement.sharded import measure_shard
from saecert.shards import Shard
from saecert.subjects.loading import load_subject
from saecert.subjects.subject import Subject

ENGINES = ("local", "ray")


@dataclass(frozen=True)
class Task:
    """Everything that a process needs to measure any shard: plain values, so it can travel."""

    folder: str
    """Folder of shards."""
    subject: str
    """First argument of `load_subject`."""
    hook_names: tuple[str, ...] = ()
    """Hook points; all that have an SAE when none is named."""
    corpus: Any = "docstrings"
    """First argument of `load_corpus`."""
    loading: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments of `load_subject`: sae, device, dtype."""
    sampling: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments of `load_corpus` for the sample: n_seq, n_ctx, column, ..."""
    discovery: bool = True
    """Whether the discovery split is used."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments of `measure_shard`."""


class Worker:
    """A process with a subject in memory that measures shards.

    Parameters
    ----------
    task
        What is measured.

    Raises
    ------
    ValueError
        What `load_subject` and `load_corpus` refuse.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        hooks = list(task.hook_names) or None
        self.subject: Subject = load_subject(task.subject, hooks=hooks, **task.loading)
        self.sample: Corpus = load_corpus(task.corpus, self.subject, **task.sampling)
        fixed = {key: value for key, value in task.sampling.items() if key not in _OF_SAMPLE}
        self.discovery: Corpus | None = None
        if task.discovery:
            self.discovery = load_corpus(
                task.corpus, self.subject, split="discovery", **fixed, **_of_discovery(task)
            )

    def measure(self, shard: Shard | None) -> list[Path]:
        """Files of a shard; of what is fixed on discovery for None."""
        return measure_shard(
            self.subject,
            self.sample,
            self.task.hook_names or self.subject.hook_names,
            shard,
            self.task.folder,
            discovery=self.discovery,
            **self.task.settings,
        )


_OF_SAMPLE = ("n_seq", "split", "at_most")


def _of_discovery(task: Task) -> dict[str, Any]:
    """A source without end has as many discovery sequences as certification sequences."""
    from saecert.corpora.corpus import SAMPLED

    endless = isinstance(task.corpus, str) and task.corpus in SAMPLED
    return {"n_seq": task.sampling["n_seq"]} if endless and "n_seq" in task.sampling else {}


def measure_all(task: Task, of: int, *, engine: str = "local", **options: Any) -> list[Path]:
    """Files of all `of` shards, measured by an engine.

    Parameters
    ----------
    task
        What is measured.
    of
        Number of shards.
    engine
        "local": this process, one after the other. "ray": workers of Ray, see
        `saecert.measurement.cluster.measure_on_ray`, which takes the `options`.

    Raises
    ------
    ValueError
        Unknown engine, or what `measure_shard` refuses.
    ImportError
        Ray is not installed.
    """
    if engine not in ENGINES:
        raise ValueError(f"engine takes {' or '.join(map(repr, ENGINES))}, got {engine!r:.40}")
    if engine == "ray":
        from saecert.measurement.cluster import measure_on_ray

        return measure_on_ray(task, of, **options)
    if options:
        raise ValueError(f"{', '.join(options)}: only for engine='ray'")
    worker = Worker(task)
    return [path for number in range(1, of + 1) for path in worker.measure(Shard(number, of))]

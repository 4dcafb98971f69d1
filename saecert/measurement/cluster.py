"""Shards measured by workers of Ray (extra ``saecert[cluster]``): Ray Data decides who does what.

A dataset of shard numbers is mapped by a pool of actors, each of which holds the model. Results go
to the folder of shards, and are merged by the same code as any others: nothing depends on the order
in which rows come back, and a shard that an actor lost is measured again by another one.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from saecert.measurement.engines import Task, Worker
from saecert.shards import Shard

COMMAND = "python -m pip install 'saecert[cluster]'"
"""What installs Ray."""
REACHED_WITHIN = 5.0
"""Seconds within which a cluster has to answer."""
_PORT = 6379


def measure_on_ray(
    task: Task, of: int, *, workers: int = 1, num_gpus: float = 0.0, address: str | None = None
) -> list[Path]:
    """Files of all `of` shards of a task, measured by a pool of actors.

    Parameters
    ----------
    task
        What is measured; its folder, subject and corpus have to be there on every node.
    of
        Number of shards: some times as many as workers, so that none waits long for the last.
    workers
        Actors, each of which holds the model.
    num_gpus
        GPUs of each; then the task's device is "cuda", which is the one that the actor sees.
    address
        A running cluster, "host:port" or "auto". Default: one started on this machine, and ended
        afterwards.

    Raises
    ------
    ImportError
        Ray is not installed; the message says the command.
    ConnectionError
        The cluster does not answer within a few seconds.
    ValueError
        What `measure_shard` refuses, and less than one worker.
    """
    ray = _import_ray()
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    if num_gpus < 0:
        raise ValueError(f"num_gpus must not be negative, got {num_gpus}")
    if address is not None and not ray.is_initialized():
        check_reachable(address)
    task = located(task)
    Worker(task).measure(None)  # what is fixed on discovery, once, and what is wrong at once
    with _connected(ray, address, workers):
        numbers = ray.data.from_items([{"number": number} for number in range(1, of + 1)])
        measured = numbers.repartition(of).map_batches(
            ShardActor,
            fn_constructor_kwargs={"task": task, "of": of},
            compute=ray.data.ActorPoolStrategy(size=workers),
            num_cpus=1,
            num_gpus=num_gpus,
            batch_size=1,
        )
        rows = measured.take_all()
    ordered = sorted(rows, key=lambda row: (int(row["number"]), str(row["path"])))
    return [Path(str(row["path"])) for row in ordered]


def located(task: Task) -> Task:
    """The task with paths that mean the same wherever a process is started."""
    loading = {name: _absolute(value) for name, value in task.loading.items()}
    return replace(
        task,
        folder=str(Path(task.folder).absolute()),
        subject=_absolute(task.subject),
        corpus=_absolute(task.corpus),
        loading=loading,
    )


def _absolute(value: Any) -> Any:
    """A text that names something on this machine, as an absolute path; anything else as it is."""
    if not isinstance(value, str | Path) or not str(value):
        return value
    path = Path(value)
    there = path.exists() or (len(path.parts) > 1 and path.parent.exists())
    return str(path.absolute()) if there else value


class ShardActor:
    """An actor that holds the model and measures shards, a row each."""

    def __init__(self, task: Task, of: int) -> None:
        self.worker = Worker(task)
        self.of = of

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        numbers: list[int] = []
        paths: list[str] = []
        for number in batch["number"].tolist():
            for path in self.worker.measure(Shard(number, self.of)):
                numbers.append(number)
                paths.append(str(path))
        return {"number": np.array(numbers), "path": np.array(paths)}


def _import_ray() -> Any:
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ImportError(f"engine='ray' takes the package ray: {COMMAND}") from error
    return ray


@contextmanager
def _connected(ray: Any, address: str | None, workers: int) -> Iterator[None]:
    """Ray, connected for the block; a cluster that is used already stays."""
    if ray.is_initialized():
        yield
        return
    if address is None:
        ray.init(num_cpus=workers + 1, include_dashboard=False, log_to_driver=False)
    else:
        try:
            ray.init(address=address, log_to_driver=False)
        except Exception as error:  # Ray raises its own, RuntimeError and ConnectionError
            raise ConnectionError(
                f"no Ray cluster at '{address}' ({str(error).strip().splitlines()[0]:.200}): start "
                "one with ray start --head, or leave the address out"
            ) from error
    try:
        yield
    finally:
        ray.shutdown()


def check_reachable(address: str) -> None:
    """ConnectionError, in seconds, when nobody listens; Ray itself would try for minutes."""
    if address in ("auto", "local"):
        return
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon:
        host, port = port, str(_PORT)
    if not (host and port.isdecimal()):
        raise ValueError(f"a Ray address is host:port or auto, got '{address}'")
    try:
        socket.create_connection((host, int(port)), timeout=REACHED_WITHIN).close()
    except (OSError, OverflowError) as error:
        raise ConnectionError(
            f"no Ray cluster answers at '{address}' within {REACHED_WITHIN:g} s ({error}): start "
            "one with ray start --head, or leave the address out"
        ) from error

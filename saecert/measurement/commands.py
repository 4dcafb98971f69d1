"""``python -m saecert measure`` and ``merge``: a sample in shards, and the record they make."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from saecert.measurement.engines import Task

_TEXTS = {
    "subject": "name of a subject, or folder of a model",
    "out": "folder of shards; shared by all that measure the same sample",
    "sae": "where its SAEs are (those that come with it)",
    "corpus": "source of text (%(default)s)",
    "column": "where JSON objects and tables hold the text",
    "group-column": "where they hold the group of each document",
    "rank": "what latents are ranked by (frequency)",
    "device": "where to compute, such as cuda:1 (cpu)",
    "dtype": "number type of the weights, such as bfloat16 (that of the subject)",
    "ray-address": "a running Ray cluster, host:port or auto (one started on this machine)",
}
_NUMBERS = {
    "n-seq": "certification sequences (all)",
    "n-ctx": "tokens a sequence, BOS included (the model's context, at most 128)",
    "batch-size": "sequences a batch (16 on a CPU, 64 on a GPU)",
    "seed": "of random sequences",
    "shards": "without --shard: measure all of so many shards (1, or 4 a worker)",
    "workers": "for --engine ray: processes that hold the model",
}
_SWITCHES = {
    "no-controls": "leave out mean and zero ablation",
    "no-discovery": "without discovery split: no pools, no references",
    "allow-bad-sae": "measure SAEs that fail the check of SAEs, too",
    "prepare": "only what is fixed on the discovery split, once for all shards",
}


def add_measure(commands: argparse._SubParsersAction) -> None:
    """The command ``measure``."""
    measure = commands.add_parser("measure", help="measure a sample, or one shard of it")
    add = measure.add_argument
    for name, text in _TEXTS.items():
        add(f"--{name}", required=name in ("subject", "out"), metavar="TEXT", help=text)
    measure.set_defaults(corpus="docstrings")
    for name, text in _NUMBERS.items():
        add(f"--{name}", type=int, metavar="N", help=text)
    for name, text in _SWITCHES.items():
        add(f"--{name}", action="store_true", help=text)
    add("--hooks", nargs="+", required=True, metavar="HOOK", help="hook points, or all")
    add("--pools", nargs="+", type=int, metavar="K", help="sizes of the pools")
    add("--alphas", nargs="+", type=float, metavar="A", help="smoothing weights (0.5 0.01)")
    add("--extra", nargs="+", metavar="PROXY", help='more proxies by name, such as "pca(48)"')
    add("--shard", metavar="i/n", help="only this shard, such as 2/4")
    add("--engine", default="local", metavar="NAME", help="local or ray (%(default)s)")
    add("--gpus-per-worker", type=float, metavar="G", help="for --engine ray: GPUs of each (0)")
    measure.set_defaults(command=_measure, resumes=": the same command goes on where it was")


def add_merge(commands: argparse._SubParsersAction) -> None:
    """The command ``merge``."""
    merge = commands.add_parser("merge", help="join the shards in a folder into a record")
    merge.add_argument("folder", help="folder of shards")
    merge.add_argument(
        "--hooks", nargs="+", metavar="HOOK", help="hook points (all that there are)"
    )
    merge.add_argument(
        "--record",
        metavar="FILE",
        help="NPZ file to write, for one hook point (FOLDER/record-<hook>.npz)",
    )
    merge.set_defaults(command=_merge, resumes=": the same command starts anew")


def _measure(options: argparse.Namespace) -> int:
    return _guarded(_measured, options)


def _merge(options: argparse.Namespace) -> int:
    return _guarded(_merged, options)


def _guarded(
    command: Callable[[argparse.Namespace], list[Path]], options: argparse.Namespace
) -> int:
    """Exit code of a command: what is wrong is one line on standard error, unless debugging."""
    from saecert.untrusted import one_line

    try:
        paths = command(options)
    except (OSError, ValueError, MemoryError, ImportError) as error:
        if getattr(options, "debug", False):
            raise
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 1
    for path in paths:
        print(f"written to {path}")
    return 0


def _measured(options: argparse.Namespace) -> list[Path]:
    from saecert.shards import Shard

    shard = None if options.shard is None else Shard.parse(options.shard)
    if Path(options.out).is_file():
        raise ValueError(f"--out takes a folder, and {options.out} is a file")
    if options.prepare and (shard or options.shards):
        raise ValueError("--prepare measures no shard: leave out --shard and --shards")
    if shard and options.shards:
        raise ValueError("--shard i/n says the number of shards: leave out --shards")
    on_ray = _given(workers=options.workers, num_gpus=options.gpus_per_worker)
    on_ray |= _given(address=options.ray_address)
    if options.engine == "local" and on_ray:
        raise ValueError("--workers, --gpus-per-worker and --ray-address are for --engine ray")
    if shard or options.prepare:
        if options.engine != "local":
            raise ValueError("--engine ray measures all shards: leave out --shard and --prepare")
        from saecert.measurement.engines import Worker

        return Worker(_task(options)).measure(shard)
    from saecert.measurement.engines import measure_all

    each = 4 * (options.workers or 1) if options.engine == "ray" else 1
    n_shards = each if options.shards is None else options.shards
    Shard(1, n_shards)
    return measure_all(_task(options), n_shards, engine=options.engine, **on_ray)


def _task(options: argparse.Namespace) -> Task:
    from saecert.measurement.engines import Task

    settings = _given(
        pools=options.pools,
        alphas=options.alphas,
        extra=options.extra,
        rank=options.rank,
        batch_size=options.batch_size,
    )
    settings |= {"controls": not options.no_controls, "allow_bad_sae": options.allow_bad_sae}
    return Task(
        folder=options.out,
        subject=options.subject,
        hook_names=() if options.hooks == ["all"] else tuple(options.hooks),
        corpus=options.corpus,
        loading=_given(sae=options.sae, device=options.device, dtype=options.dtype),
        sampling=_given(
            n_seq=options.n_seq,
            n_ctx=options.n_ctx,
            column=options.column,
            group_column=options.group_column,
            seed=options.seed,
        ),
        discovery=not options.no_discovery,
        settings=settings,
    )


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _merged(options: argparse.Namespace) -> list[Path]:
    from saecert.shards import hook_names, merge, record_path

    names = options.hooks or hook_names(options.folder)
    if options.record and len(names) > 1:
        raise ValueError(f"--record is for one hook point: name one of {', '.join(names)}")
    written = []
    for name in names:
        path = Path(options.record) if options.record else record_path(options.folder, name)
        merge(options.folder, name).save(path)
        written.append(path)
    return written

"""Tokens per second and memory of `collect` against what people use, and its own products.

    python -m benchmarks.throughput [--quick] [--busy] [--threads 2] [--rounds 3] [--batch-size 8]
    python -m benchmarks.throughput --subject FOLDER [--sae FOLDER/* | --sae random] [--busy]

The second form races one subject in float32 against itself in bfloat16, at its middle hook point
and at all that have an SAE, with the difference of losses (`benchmarks.precision`). The first:

Six proxies (full, three pools, mean and zero ablation) at the middle layer, then at all layers
together, of `docstring-6l` and of a model with random weights of the size of GPT-2 small (12
layers, d_model 768, vocabulary 50,257, an SAE of 24,576 latents in front of each block), sequences
of 128 tokens. Compared with

* the published scripts' way: batch size 1, for each proxy the model clean and spliced from the
  first block to the last, the SAE anew, and a softmax over the whole vocabulary each time;
* the cross-entropy section of `sae_lens.run_evals` on the same tokens in the same batches: its
  three forwards yield the losses of two proxies;
* the floor: the matrix products of `collect` and nothing else, in float32 with their results
  written to memory that is there: all blocks once and those behind a hook point once per proxy
  (projections, attention scores, mixing of values), one encoding and one decoding per hook point
  (pools need none), one unembedding per predictor and position. Each shape is timed a few times a
  round and counted as often as it occurs, so that its factors come from the CPU's cache more often
  than in the model.

All are timed in turn, round after round on new sequences, so that whatever else runs on the machine
slows all of them (beside several other programs take `--busy`: one thread, and its processor time
instead of the time that passes); the published way on few sequences, and scaled. All layers take it
exactly as much more as there are hook points. What a call of `collect` costs once is left out:
hashing the model, checking the SAE, and the four sequences measured once more on their own.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import GPT2Config

from benchmarks.memory import memory, on_gpu, peak_megabytes, unshared
from benchmarks.precision import report_precision
from benchmarks.ways import (
    N_CTX,
    N_PROXIES,
    Clock,
    evaluated,
    product_seconds,
    products,
    published,
    save_random,
    six_proxies,
    swept,
)
from saecert import load_corpus, load_subject
from saecert.corpora.corpus import Corpus
from saecert.measurement.proxies import Proxy
from saecert.subjects.subject import Subject

__all__ = [
    "N_PROXIES",
    "Speeds",
    "compare",
    "evaluated",
    "peak_megabytes",
    "product_seconds",
    "products",
    "published",
    "save_random",
    "six_proxies",
    "swept",
    "table",
    "unshared",
]

GPT2_SMALL = GPT2Config(initializer_range=0.08)
"""Sharp enough that its predictions differ from uniform."""


@dataclass(frozen=True)
class Speeds:
    """Seconds per sequence of every way, means over the rounds."""

    collect: float
    """`collect` at the middle layer."""
    published: float
    """Two full forwards per proxy, at any one layer."""
    run_evals: float
    """Three full forwards of `sae_lens.run_evals`."""
    floor: float
    """The matrix products of `collect`."""
    layers: float
    """`collect_layers` at all hook points, in the last round only."""
    layers_floor: float
    """Its matrix products."""
    difference: float
    """Largest difference between the losses of `collect` and of the published way, in bits."""


class Stopwatch:
    """Seconds per sequence of each way, a list for each."""

    def __init__(self, subject: Subject, clock: Clock) -> None:
        self.subject = subject
        self.clock = clock
        self.seconds: dict[str, list[float]] = {}

    def timed(self, way: str, run: Callable[..., Any], sample: Corpus, *arguments: Any) -> Any:
        """What `run` returns, its time being noted."""
        start = self.clock()
        result = run(self.subject, sample, *arguments)
        self.note(way, (self.clock() - start) / len(sample))
        return result

    def note(self, way: str, seconds: float) -> None:
        """Add a time."""
        self.seconds.setdefault(way, []).append(seconds)


def compare(
    subject: Subject,
    corpus: Corpus,
    *,
    rounds: int,
    batch_size: int,
    n_published: int,
    clock: Clock = time.perf_counter,
) -> Speeds:
    """Speeds of every way, timed in turn `rounds` times, each time on new sequences of `corpus`.

    The corpus is cut into one part for each round, one to warm up and one for all layers.
    """
    n_seq = len(corpus) // (rounds + 2)
    proxies = six_proxies(subject, corpus, subject.middle_hook)
    watch = Stopwatch(subject, clock)
    one_round(watch, corpus.part(0, n_seq).take(2), 2, proxies, batch_size)
    watch.seconds.clear()
    differences = []
    for number in range(1, rounds + 1):
        sample = corpus.part(number * n_seq, (number + 1) * n_seq)
        differences.append(one_round(watch, sample, n_published, proxies, batch_size))
        time_floor(watch, len(proxies), batch_size, corpus.n_ctx)
    fresh = corpus.part((rounds + 1) * n_seq, (rounds + 2) * n_seq)
    watch.timed("layers", swept, fresh, subject.hook_names, proxies, batch_size)
    means = {way: float(np.mean(values)) for way, values in watch.seconds.items()}
    return Speeds(**means, difference=max(differences))


def one_round(
    watch: Stopwatch, sample: Corpus, n_published: int, proxies: Sequence[Proxy], batch_size: int
) -> float:
    """Largest difference of losses of `collect` and of the published way; every way is timed."""
    hook_name = watch.subject.middle_hook
    few = sample.take(n_published)
    [record] = watch.timed("collect", swept, sample, [hook_name], proxies, batch_size)
    slow = watch.timed("published", published, few, hook_name, proxies)
    watch.timed("run_evals", evaluated, sample, hook_name, batch_size)
    return max(
        float(np.abs(record.loss[name][0, : len(few)] - values).max())
        for name, values in slow.items()
    )


def time_floor(watch: Stopwatch, n_proxies: int, batch_size: int, n_ctx: int) -> None:
    """Time the products of `collect` at the middle hook point, and at all of them."""
    subject = watch.subject
    here = products(subject, [subject.middle_hook], n_proxies, batch_size, n_ctx)
    everywhere = products(subject, subject.hook_names, n_proxies, batch_size, n_ctx)
    spent = {shape: product_seconds(shape, watch.clock) for shape in here | everywhere}
    for way, counts in (("floor", here), ("layers_floor", everywhere)):
        watch.note(way, sum(n * spent[shape] for shape, n in counts.items()) / batch_size)


def table(speeds: Speeds, n_ctx: int, n_hooks: int) -> list[str]:
    """One line a way: tokens per second, the same times proxies, and how much faster per proxy
    `collect` is."""
    single = N_PROXIES
    every = N_PROXIES * n_hooks
    ways = [
        ("collect, one layer", speeds.collect, single, speeds.collect / single),
        ("  published way", speeds.published, single, speeds.collect / single),
        ("  run_evals of sae_lens", speeds.run_evals, 2, speeds.collect / single),
        ("  its products alone", speeds.floor, single, speeds.collect / single),
        (f"collect, {n_hooks} layers", speeds.layers, every, speeds.layers / every),
        ("  published way", speeds.published * n_hooks, every, speeds.layers / every),
        ("  its products alone", speeds.layers_floor, every, speeds.layers / every),
    ]
    lines = [f"{'':26s} proxies   tokens/s   proxy tokens/s   collect is"]
    for way, seconds, n_proxies, ours in ways:
        times = seconds / n_proxies / ours
        verdict = f"{times:8.0%} of it" if "alone" in way else f"{times:8.2f} times as fast"
        tokens = n_ctx / seconds
        lines.append(
            f"{way:26s} {n_proxies:7d} {tokens:10,.1f} {n_proxies * tokens:16,.1f}   "
            f"{'' if times == 1 else verdict}"
        )
    return lines


def report(
    subject: Subject, corpus: Corpus, n_published: int, rounds: int, batch_size: int, clock: Clock
) -> None:
    """Measure one subject by `compare` and print it."""
    n_seq = len(corpus) // (rounds + 2)
    load = os.getloadavg()[0]
    settings = {"rounds": rounds, "batch_size": batch_size, "n_published": n_published}
    speeds = compare(subject, corpus, **settings, clock=clock)
    measured = "processor time" if clock is time.process_time else "time"
    print(
        f"\n{subject.name}: {subject.n_layers} layers, d_model {subject.model.cfg.d_model}, "
        f"vocabulary {subject.d_vocab:,}; one layer is {subject.middle_hook}",
        f"{rounds} rounds of {n_seq} x {N_CTX} tokens in batches of {batch_size}, "
        f"{n_published} the published way; {measured} of {torch.get_num_threads()} threads, "
        f"load average {load:.1f} to {os.getloadavg()[0]:.1f}",
        *table(speeds, N_CTX, len(subject.hook_names)),
        "largest difference between the losses of collect and of the published way: "
        f"{speeds.difference:.0e} bits",
        sep="\n",
        flush=True,
    )


def options() -> argparse.Namespace:
    """What was asked for on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    quick = "one round of fewer sequences, two layers of the large model"
    busy = "one thread and its processor time, for a machine with other work"
    parser.add_argument("--quick", action="store_true", help=quick)
    parser.add_argument("--busy", action="store_true", help=busy)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    batch = "sequences in a batch of the large model"
    parser.add_argument("--batch-size", type=int, default=8, help=batch)
    parser.add_argument("--subject", help="only this one, in float32 and in bfloat16")
    parser.add_argument("--sae", help="its SAEs, or 'random'; its own if not said")
    return parser.parse_args()


def report_large(
    folder: Path, layers: Sequence[int], rounds: int, batch_size: int, clock: Clock
) -> Path:
    """Report on a model of the size of GPT-2 small: its folder, in `folder`."""
    hook_names = [f"blocks.{layer}.hook_resid_pre" for layer in layers]
    model = save_random(folder / "gpt2-size", GPT2_SMALL, hook_names, 24_576)
    # from the first layer to the last
    subject = load_subject(model, sae=f"{model}/saes/blocks.{{layer}}.hook_resid_pre")
    n_seq = batch_size * (rounds + 2)
    corpus = load_corpus("random-tokens", subject, n_seq=n_seq, n_ctx=N_CTX)
    report(subject, corpus, 2, rounds, batch_size, clock)
    return model


def main() -> None:
    """Measure everything and print it."""
    asked = options()
    clock = time.process_time if asked.busy else time.perf_counter
    threads = 1 if asked.busy else asked.threads
    torch.set_num_threads(threads)
    rounds = 1 if asked.quick else asked.rounds
    batch_size = 4 if asked.quick else asked.batch_size
    if asked.subject:
        with tempfile.TemporaryDirectory() as name, unshared(Path(name, "cache")):
            folder = Path(name)
            report_precision(asked.subject, asked.sae, folder, rounds, batch_size, 2, clock)
        return
    layers = (5, 6) if asked.quick else range(12)
    small = load_subject("docstring-6l")
    docstrings = load_corpus("docstrings", small, n_seq=48 * (3 * rounds + 2))
    with tempfile.TemporaryDirectory() as name, unshared(Path(name, "cache")):
        report(small, docstrings, 8, 3 * rounds, 16, clock)  # small rounds are noisy, and cheap
        model = report_large(Path(name), layers, rounds, batch_size, clock)
        sizes = (32, 128) if asked.quick else (64, 512)
        print("", *memory(Path(name), sizes, threads), sep="\n", flush=True)
        if torch.cuda.is_available():
            print("", *(on_gpu(subject, 4096) for subject in ("docstring-6l", model)), sep="\n")
        else:
            print("\nGPU: not measured: no GPU")


if __name__ == "__main__":
    main()

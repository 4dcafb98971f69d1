"""Speed of `collect` on any subject in float32 and in bfloat16: against its own products and the
published way, at one hook point and at all of its SAEs together."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import torch

from benchmarks.memory import peak_megabytes
from benchmarks.ways import (
    ALPHA,
    N_CTX,
    N_PROXIES,
    Clock,
    product_seconds,
    products,
    published,
    save_random_sae,
    six_proxies,
    swept,
)
from saecert import SequenceLosses, load_corpus, load_subject
from saecert.certificates.precision import precision_table, precision_text
from saecert.corpora.corpus import Corpus
from saecert.subjects.folders import local_folder, read_config
from saecert.subjects.forward import native_acts_at
from saecert.subjects.subject import Subject

DTYPES = ("float32", "bfloat16")
DEPTHS = (0.1, 0.3, 0.5, 0.75)
"""Where SAEs of random weights are put, as shares of the layers."""
WIDTH = 8
"""Latents of such an SAE as a multiple of the width of the residual stream."""


@dataclass
class Race:
    """Seconds a sequence of each way, a list with one entry a round, by (number type, way)."""

    clock: Clock
    seconds: dict[tuple[str, str], list[float]] = field(default_factory=dict)

    def note(self, dtype: str, way: str, seconds: float) -> None:
        """Add a time."""
        self.seconds.setdefault((dtype, way), []).append(seconds)

    def median(self, dtype: str, way: str) -> float:
        """Median over the rounds."""
        return median(self.seconds[dtype, way])


def random_saes(model: str, folder: Path) -> str:
    """Folders of SAEs with random weights at four depths of a model, as `load_subject` takes
    them."""
    n_layers = read_config(local_folder(model, None)).num_hidden_layers
    layers = sorted({min(int(share * n_layers), n_layers - 1) for share in DEPTHS})
    names = [f"blocks.{layer}.hook_resid_post" for layer in layers]
    bare = load_subject(model, sae={})
    tokens = torch.randint(bare.d_vocab, (1, 64), generator=torch.Generator().manual_seed(0))
    for name, acts in native_acts_at(bare.model, tokens, names).items():
        spread = float(acts.std(dim=-1).median())
        save_random_sae(folder / name, name, acts.shape[-1], WIDTH * acts.shape[-1], 2.46 * spread)
    return f"{folder}/*"


def race(
    subjects: dict[str, Subject],
    corpus: Corpus,
    rounds: int,
    batch_size: int,
    n_published: int,
    clock: Clock,
) -> tuple[Race, dict[str, SequenceLosses]]:
    """Times of every way, number types in turn, each round on new sequences; and the records of the
    last round at the middle hook point."""
    timed = Race(clock)
    records = {}
    n_seq = len(corpus) // (rounds + 1)
    proxies = {
        dtype: six_proxies(subject, corpus, subject.middle_hook)
        for dtype, subject in subjects.items()
    }
    for dtype, subject in subjects.items():  # warm up
        swept(subject, corpus.part(0, 2), [subject.middle_hook], proxies[dtype], 2)
    for number in range(1, rounds + 1):
        sample = corpus.part(number * n_seq, (number + 1) * n_seq)
        for way in ("one", "all"):
            for dtype, subject in subjects.items():
                hooks = [subject.middle_hook] if way == "one" else subject.hook_names
                start = clock()
                found = swept(subject, sample, hooks, proxies[dtype], batch_size)
                timed.note(dtype, way, (clock() - start) / n_seq)
                records[dtype] = records.get(dtype, found[0]) if way == "all" else found[0]
        for dtype, subject in subjects.items():
            _time_floor(timed, dtype, subject, batch_size, corpus.n_ctx)
        few = sample.take(n_published)
        first = subjects["float32"]
        start = clock()
        published(first, few, first.middle_hook, proxies["float32"])
        timed.note("float32", "published", (clock() - start) / len(few))
    return timed, records


def _time_floor(timed: Race, dtype: str, subject: Subject, batch_size: int, n_ctx: int) -> None:
    counts = {
        "one floor": products(subject, [subject.middle_hook], N_PROXIES, batch_size, n_ctx),
        "all floor": products(subject, subject.hook_names, N_PROXIES, batch_size, n_ctx),
    }
    shapes = dict.fromkeys(shape for table in counts.values() for shape in table)
    number_type = next(subject.model.original_model.parameters()).dtype
    spent = {shape: product_seconds(shape, timed.clock, number_type) for shape in shapes}
    for way, table in counts.items():
        timed.note(dtype, way, sum(n * spent[shape] for shape, n in table.items()) / batch_size)


def lines(timed: Race, n_ctx: int, n_hooks: int) -> list[str]:
    """A line for each number type and way of the race."""
    title = f"{'':26s} tokens/s   of the floor   published way   times float32"
    rows = [title]
    for way, hooks in (("one", 1), ("all", n_hooks)):
        slow = timed.median("float32", "published") * hooks
        exact = timed.median("float32", way)
        for dtype in dict.fromkeys(dtype for dtype, _ in timed.seconds):
            ours = timed.median(dtype, way)
            share = timed.median(dtype, f"{way} floor") / ours
            name = f"{hooks} hook point{'s' * (hooks > 1)}, {dtype}"
            rows.append(
                f"{name:26s} {n_ctx / ours:8,.1f} {share:12.0%} {slow / ours:14.2f}x "
                f"{exact / ours:13.2f}x"
            )
    return rows


def report_precision(
    model: str,
    sae: str | None,
    folder: Path,
    rounds: int,
    batch_size: int,
    n_published: int,
    clock: Clock,
) -> None:
    """Race a subject in float32 against itself in bfloat16, and print it."""
    if sae == "random":
        sae = random_saes(model, folder / "saes")
    subjects = {dtype: load_subject(model, sae=sae, dtype=dtype) for dtype in DTYPES}
    exact = subjects["float32"]
    corpus = load_corpus(
        "random-tokens", exact, n_seq=max(batch_size, 2) * (rounds + 1), n_ctx=N_CTX
    )
    before = os.getloadavg()[0]
    timed, records = race(subjects, corpus, rounds, batch_size, n_published, clock)
    print(
        f"\n{exact.name}: {exact.n_layers} layers, d_model {exact.model.cfg.d_model}, vocabulary "
        f"{exact.d_vocab:,}; {', '.join(exact.hook_names)}; {N_PROXIES} proxies each",
        f"{rounds} rounds in batches of {batch_size} x {N_CTX} tokens, {n_published} the published "
        f"way in float32; {torch.get_num_threads()} threads, load average {before:.1f} to "
        f"{os.getloadavg()[0]:.1f}",
        f"bfloat16: {subjects['bfloat16'].processing}",
        *lines(timed, N_CTX, len(exact.hook_names)),
        f"bfloat16 less float32 at {exact.middle_hook}, alpha {ALPHA}:",
        precision_text(precision_table(records["float32"], records["bfloat16"], alpha=ALPHA)),
        sep="\n",
        flush=True,
    )
    print(*_memory(model, sae), sep="\n", flush=True)


def _memory(model: str, sae: str | None) -> Sequence[str]:
    threads = torch.get_num_threads()
    return [
        f"peak memory beyond the loaded subject, {dtype}, batches of 8: "
        f"{peak_megabytes(model, 8, threads, sae, dtype):,.0f} MB"
        for dtype in DTYPES
    ]

"""Memory that `collect` takes, and its speed on a GPU."""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import psutil
import torch
from transformers import GemmaConfig

from benchmarks.ways import N_CTX, N_PROXIES, save_random, six_proxies, swept
from saecert import load_corpus, load_subject
from saecert.measurement import sweep

WIDE = GemmaConfig(
    vocab_size=256_000,
    hidden_size=128,
    intermediate_size=512,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=1,
    head_dim=64,
)


@contextmanager
def unshared(folder: Path) -> Iterator[None]:
    """A cache of its own, and no sequences measured alone: timed is what more sequences cost."""
    own_cache = mock.patch.dict(os.environ, SAECERT_CACHE=str(folder))
    with own_cache, mock.patch.object(sweep, "N_ALONE", 0):
        yield


def peak_megabytes(
    model: str, n_seq: int, threads: int, sae: str | None = None, dtype: str | None = None
) -> float:
    """Memory that `collect` takes beyond a loaded subject, for random sequences in batches of 8.

    Measured in a new process. Needs Linux.
    """
    with multiprocessing.get_context("spawn").Pool(1) as process:
        return process.apply(_peak_megabytes, (model, n_seq, threads, sae, dtype))


def _peak_megabytes(
    model: str, n_seq: int, threads: int, sae: str | None, dtype: str | None
) -> float:
    torch.set_num_threads(threads)
    subject = load_subject(model, sae=sae, dtype=dtype)
    corpus = load_corpus("random-tokens", subject, n_seq=n_seq, n_ctx=N_CTX)
    proxies = six_proxies(subject, corpus, subject.middle_hook)
    with tempfile.TemporaryDirectory() as folder, unshared(Path(folder)):
        gc.collect()
        # what loading left to the allocator would be filled first, unseen
        ctypes.CDLL(None).malloc_trim(0)
        before = psutil.Process().memory_info().rss
        # the peak starts anew: loading reaches higher than what stays
        Path("/proc/self/clear_refs").write_text("5")
        swept(subject, corpus, [subject.middle_hook], proxies, 8)
    peak = next(
        line
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("VmHWM")
    )
    return int(peak.split()[1]) / 1024 - before / 2**20


def memory(folder: Path, sizes: Sequence[int], threads: int) -> list[str]:
    """Lines on memory: at two numbers of sequences, and with a vocabulary of 256,000."""
    wide = save_random(folder / "wide", WIDE, ["blocks.1.hook_resid_pre"], 1024)
    lines = ["Peak memory beyond the loaded subject, batches of 8 x 128 tokens"]
    for model, n_seq in (("docstring-6l", sizes[0]), ("docstring-6l", sizes[1]), (str(wide), 16)):
        title = model if model == "docstring-6l" else f"vocabulary of {WIDE.vocab_size:,}"
        lines.append(
            f"  {title:22s} {n_seq:6,d} sequences {peak_megabytes(model, n_seq, threads):7,.0f} MB"
        )
    return lines


def on_gpu(model: str | Path, n_seq: int, batch_size: int = 1024) -> str:
    """Speed with bfloat16 weights and float32 losses, in the largest batches that fit: halved until
    they do."""
    subject = load_subject(model, device="cuda", dtype=torch.bfloat16)
    first = load_corpus("random-tokens", subject, n_seq=n_seq, n_ctx=N_CTX, seed=0)
    second = load_corpus("random-tokens", subject, n_seq=n_seq, n_ctx=N_CTX, seed=1)
    proxies = six_proxies(subject, first, subject.middle_hook)
    while True:
        try:
            swept(
                subject,
                first.take(min(batch_size, n_seq)),
                [subject.middle_hook],
                proxies,
                batch_size,
            )
            break
        except torch.cuda.OutOfMemoryError:
            batch_size //= 2
            torch.cuda.empty_cache()
    start = time.perf_counter()
    swept(subject, second, [subject.middle_hook], proxies, batch_size)
    speed = n_seq * N_CTX / (time.perf_counter() - start)
    return (
        f"GPU, {subject.name}: {speed:,.0f} tokens/s, {N_PROXIES * speed:,.0f} proxy tokens/s "
        f"in batches of {batch_size}"
    )

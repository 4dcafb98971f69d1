"""Time and memory of certifying 17 pool sizes at once, as the number of sequences grows.

    python benchmarks/certify.py [--sizes 1000 10000 100000 1000000]

On a made-up record (17 nested pools, two references, support of a vocabulary of 50,257), each size
in a process of its own: one certificate over all pools (method "nested": the four terms, the
ladders and every other statement) and, jointly at delta, an upper limit on each of the three terms
of each pool. Seconds are those of the clock and, in brackets, of the processor, which other work on
the machine does not lengthen. Memory is that of the process, the made-up losses included; which
latents were active, and how many, are zeros that the system does not hold (a real record of 16,384
latents has 2.6 kB a sequence of them). The last column is how far the limits of the smallest pool
lie from those of the unabridged integral, up to 100,000 sequences.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time

import numpy as np

from saecert import certify
from saecert.records import SequenceLosses, smoothed_support
from saecert.statistics import dirichlet
from saecert.statistics.inequalities import dirichlet_upper

N_VOCAB = 50_257
D_SAE = 16_384
ALPHA = 0.5
DELTA = 0.05
N_POOLS = 17
UNABRIDGED = 100_000
"""Sequences up to which the integral is also computed without the series."""
LO, HI = smoothed_support(ALPHA, N_VOCAB)


def record(n_seq: int) -> SequenceLosses:
    """Losses of a model, its SAE proxy and 17 pools, about as spread as those of a real model."""
    rng = np.random.default_rng(n_seq)
    clean = np.clip(rng.normal(4.5, 0.9, n_seq), LO, HI)
    loss = {"clean": clean, "full": np.clip(clean + rng.normal(0.05, 0.1, n_seq), LO, HI)}
    for k in np.geomspace(16, D_SAE / 2, N_POOLS - 1).astype(int).tolist():
        loss[f"pool_{k}"] = np.clip(loss["full"] + rng.gamma(2, 8 / k**0.5, n_seq), LO, HI)
    references = {
        "unigram": np.clip(rng.normal(10, 0.6, n_seq), 2, HI),
        "bigram": np.clip(rng.normal(7, 0.8, n_seq), 2, HI),
    }
    return SequenceLosses(
        alphas=(ALPHA,),
        n_vocab=N_VOCAB,
        loss={name: values[None] for name, values in (loss | references).items()},
        raw={},
        total_variation={},
        top1_disagreement={},
        outside_firings={},
        outside_energy={},
        active=np.zeros((n_seq, D_SAE // 8), np.uint8),
        d_sae=D_SAE,
        l0=np.zeros((n_seq, 128), np.int32),
        ids=np.arange(n_seq, dtype=np.uint64),
        reference_support=dict.fromkeys(references, ((2.0, HI),)),
    )


def terms(losses: SequenceLosses, k: int) -> np.ndarray:
    """Proxy loss, reconstruction gap and pool mismatch, moved to start at 0: (3, n_seq)."""
    clean, full, pooled = (losses.at(name, ALPHA) for name in ("clean", "full", f"pool_{k}"))
    return np.stack([pooled - LO, np.abs(clean - full), np.abs(full - pooled)])


class Clock:
    """Seconds of the clock and of the processor since it was made."""

    def __init__(self) -> None:
        self.start = time.perf_counter()
        self.start_cpu = time.process_time()

    def __str__(self) -> str:
        elapsed = time.perf_counter() - self.start
        busy = time.process_time() - self.start_cpu
        return f"{elapsed:7.2f} s ({busy:6.2f} s)"


def measure(n_seq: int) -> str:
    """A line on one size: seconds of the certificate, of the limits, peak memory, error in bits."""
    losses = record(n_seq)
    clock = Clock()
    certify(losses, method="nested", alpha=ALPHA, delta=DELTA)
    certificate = str(clock)
    clock = Clock()
    nats = np.log(3 * N_POOLS / DELTA)
    # pool after pool, to save memory
    limits = [dirichlet_upper(terms(losses, k), 0, HI - LO, nats) for k in losses.pool_sizes]
    joint = str(clock)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    line = f"{n_seq:9,d}  {certificate}  {joint}  {peak:10,.0f} MB"
    if n_seq > UNABRIDGED:
        return line
    dirichlet.LONG = n_seq + 2  # no series
    unabridged = dirichlet_upper(terms(losses, losses.pool_sizes[0]), 0, HI - LO, nats)
    error = np.abs(unabridged - limits[0]).max()
    return f"{line}  {error:8.0e} bits"


def main() -> None:
    """Measure every size and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000, 1_000_000])
    options = parser.parse_args()
    print(f"{N_POOLS} pool sizes x 3 terms, and the certificate over all of them")
    print("sequences   certificate               limits            peak memory    difference")
    for n_seq in options.sizes:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            print(pool.apply(measure, (n_seq,)), flush=True)


if __name__ == "__main__":
    main()

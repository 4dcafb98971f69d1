"""Streams that read one sample in many orders: how many sequences they take until they are certain.

Orders of one sample are no fresh samples: what varies between them is the order alone.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from saecert.certificates.ladder import rungs
from saecert.certificates.pool_rules import fixed_pool
from saecert.certificates.sample import Sample
from saecert.certificates.stopping import Stopped, certify_stream
from saecert.certificates.terms import sharp_loss
from saecert.records import SequenceLosses
from saecert.statistics.inequalities import misses

PART = 50
"""Sequences that arrive at once."""


def stream_in_order(
    losses: SequenceLosses,
    *,
    order: int,
    seed: int,
    target: str,
    delta: float,
    alpha: float,
    tolerance: float,
) -> pd.DataFrame:
    """Wealth after every sequence of one stream: columns n_seq and log10_wealth.

    The last row is where it stopped; it is certain if its wealth is at least 1/delta.

    Parameters
    ----------
    losses
        Record of the whole sample, with discovery.
    order
        0 for the recorded order, else the number of a random one.
    seed
        Of the random orders.
    target, delta, alpha, tolerance
        As for `saecert.certify_stream`.
    """
    rows = order_of(len(losses), order, seed)
    settings: dict[str, Any] = {
        "target": target,
        "delta": delta,
        "alpha": alpha,
        "tolerance": tolerance,
    }
    stopped: Stopped = certify_stream(_parts(losses, rows), **settings)
    wealth = stopped.log_wealth / math.log(10)
    return pd.DataFrame({"n_seq": np.arange(1, len(wealth) + 1), "log10_wealth": wealth})


def size_known_beforehand(
    losses: SequenceLosses,
    *,
    orders: int,
    seed: int,
    target: str,
    delta: float,
    alpha: float,
    tolerance: float,
) -> int | None:
    """Smallest sample size at which a bet for that size alone succeeds in half of the orders.

    None if not even the whole sample is enough. Arguments as for `stream_in_order`; `orders` is the
    number of random ones.
    """
    sample = Sample.of(losses, alpha)
    pooled = fixed_pool(sample, None, tolerance).losses[0]
    rung = {rung.name: rung for rung in rungs(losses, alpha)}[target]
    paired = sharp_loss(sample.clean, sample.full, pooled) - rung.losses
    support = (sample.lo - rung.highest, sample.hi - rung.lowest)
    rows = [order_of(len(losses), order, seed) for order in range(1, orders + 1)]
    shuffled = paired[np.stack(rows)]

    def share(n: int) -> float:
        """Share of the orders whose first n sequences are enough."""
        return float(misses("betting", shuffled[:, :n], *support, -np.log(delta), 0.0).mean())

    sizes = range(2, len(losses) + 1)
    place = bisect_left(sizes, 0.5, key=share)
    return sizes[place] if place < len(sizes) else None


def order_of(n: int, order: int, seed: int) -> Int[np.ndarray, " n"]:
    """The rows of a sample in one of its orders; order 0 is the recorded one."""
    if order == 0:
        return np.arange(n)
    return np.random.default_rng([seed, order]).permutation(n)


def stops(wealth: pd.DataFrame, delta: float) -> Float[np.ndarray, " orders"]:
    """Sequences read by each of the random orders; infinity where a stream ended uncertain.

    `wealth` has the columns of `stream_in_order` and "order".
    """
    last = wealth[wealth["order"] > 0].groupby("order").last()
    certain = last["log10_wealth"] >= -math.log10(delta) - 1e-12
    return last["n_seq"].where(certain, np.inf).to_numpy(dtype=float)


def _parts(losses: SequenceLosses, rows: np.ndarray) -> Iterator[SequenceLosses]:
    """The sample in parts of `PART` sequences; a part of one is none, it has no spread."""
    for start in range(0, len(rows) - 1, PART):
        yield losses.take(rows[start : start + PART])

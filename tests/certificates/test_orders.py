"""Streams over one sample in many orders."""

import math

import numpy as np
import pandas as pd
import pytest
from synthetic_losses import random_losses

from saecert.certificates.orders import order_of, size_known_beforehand, stops, stream_in_order
from saecert.certificates.stopping import certify_stream

GOAL = {"target": "uniform", "delta": 0.05, "alpha": 0.5, "tolerance": 10.0}


def test_the_recorded_order_is_the_stream_itself():
    losses = random_losses(n_seq=120)
    frame = stream_in_order(losses, order=0, seed=0, **GOAL)
    stopped = certify_stream([losses.take(np.arange(50)), losses.take(np.arange(50, 100))], **GOAL)
    assert frame["n_seq"].tolist() == list(range(1, len(frame) + 1))
    assert frame["log10_wealth"].to_numpy() == pytest.approx(stopped.log_wealth / math.log(10))


def test_orders_are_permutations_that_a_seed_fixes():
    assert order_of(5, 0, 7).tolist() == [0, 1, 2, 3, 4]
    assert sorted(order_of(50, 3, 7)) == list(range(50))
    assert order_of(50, 3, 7).tolist() == order_of(50, 3, 7).tolist()
    assert order_of(50, 3, 7).tolist() != order_of(50, 4, 7).tolist()


def test_streams_that_end_uncertain_never_stop():
    wealth = pd.DataFrame(
        {"order": [0, 1, 1, 2, 2], "n_seq": [1, 1, 2, 1, 2], "log10_wealth": [2, 1, 2, 0, 1]}
    )
    assert stops(wealth, 0.05).tolist() == [2, math.inf]


def test_a_size_known_beforehand_is_about_that_of_the_streams():
    losses = random_losses(n_seq=120)
    size = size_known_beforehand(losses, orders=20, seed=0, **GOAL)
    frames = [stream_in_order(losses, order=i, seed=0, **GOAL).assign(order=i) for i in range(21)]
    mean = stops(pd.concat(frames), 0.05).mean()
    assert size is not None
    assert size / 2 <= mean <= 2 * size


def test_no_size_may_be_enough():
    losses = random_losses(n_seq=120)
    assert size_known_beforehand(losses, orders=5, seed=0, **GOAL | {"delta": 1e-300}) is None

"""One owner of how well a reconstruction fits, worked by hand."""

import numpy as np
import pytest
import torch

from saecert.measurement.quality import (
    cosine_by_sequence,
    explained_by_sequence,
    explained_variance,
    fraction_unexplained,
    relative_error,
    squared_spread,
)

NATIVE = torch.tensor([[[3.0, 4.0], [1.0, 0.0]], [[0.0, 2.0], [0.0, 0.0]]])


def test_shares_of_variance():
    assert fraction_unexplained(2.0, 8.0) == 0.25 and explained_variance(2.0, 8.0) == 0.75
    assert explained_variance(np.array([8.0, 16.0]), 8.0).tolist() == [0.0, -1.0]


def test_spread_is_about_the_mean_of_the_same_positions():
    assert squared_spread(NATIVE).tolist() == [1 + 1 + 4 + 4, 1 + 1]


def test_a_perfect_and_a_useless_reconstruction():
    assert explained_by_sequence(NATIVE, NATIVE).tolist() == [1, 1]
    assert explained_by_sequence(NATIVE, -NATIVE).tolist() == [0, 0], "negative counts as none"
    assert cosine_by_sequence(NATIVE, -NATIVE)[0] == -1
    mean = NATIVE.mean(dim=1, keepdim=True).expand_as(NATIVE)
    assert explained_by_sequence(NATIVE, mean).tolist() == pytest.approx([0, 0])


def test_relative_error_by_position():
    zero = torch.zeros_like(NATIVE)
    assert relative_error(NATIVE, zero).tolist() == [[1, 1], [1, 0]]
    assert relative_error(NATIVE, 3 * NATIVE)[0].tolist() == [2, 2]

"""Intraclass correlation and design effect, against hand calculation and simulation."""

from __future__ import annotations

from inspect import unwrap

import numpy as np
import pytest

from saecert.statistics.groups import design_effect, intraclass_correlation


def test_by_hand():
    """Means 1 and 4, between 2 * 2 * 1.5^2 = 9, within (0.5 + 2) / 2 = ..., k = 2."""
    x = np.array([0.5, 1.5, 3.0, 5.0])
    groups = np.array(["a", "a", "b", "b"])
    between = 9.0
    within = (0.5 + 2.0) / 2
    expected = (between - within) / (between + within)
    assert intraclass_correlation(x, groups) == pytest.approx(expected)
    clustered = 2 * (3.0**2 + 3.0**2) / 16
    assert design_effect(x, groups) == pytest.approx(clustered / (x.var(ddof=1) / 4))


def test_recovers_what_was_put_in_and_the_variance_of_means():
    """Equal groups of 10 with correlation .3: the design effect is 1 + 9 * .3."""
    rng = np.random.default_rng(0)
    groups = np.arange(4000) // 10
    x = np.sqrt(0.3) * rng.normal(size=400)[groups] + np.sqrt(0.7) * rng.normal(size=4000)
    assert intraclass_correlation(x, groups) == pytest.approx(0.3, abs=0.05)
    assert design_effect(x, groups) == pytest.approx(3.7, abs=0.5)
    assert design_effect(rng.permutation(x), groups) == pytest.approx(1, abs=0.2)
    assert intraclass_correlation(rng.permutation(x), groups) == pytest.approx(0, abs=0.03)


def test_where_nothing_can_be_said():
    x = np.array([1.0, 2.0, 3.0])
    alone = np.arange(3)
    assert np.isnan(intraclass_correlation(x, alone))
    assert np.isnan(intraclass_correlation(x, np.zeros(3)))
    assert np.isnan(design_effect(x, np.zeros(3))) and np.isnan(design_effect(x * 0, alone))
    assert design_effect(x, alone) == pytest.approx(1)
    for function in (intraclass_correlation, design_effect):
        with pytest.raises(ValueError, match="2 group labels for 3 values"):
            unwrap(function)(x, np.zeros(2))  # tests check shapes before it could

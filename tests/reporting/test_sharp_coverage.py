"""The sharp bound keeps its promise under every pool rule, and each wrong version is caught."""

from __future__ import annotations

import numpy as np
import pytest

from saecert.certificates.terms import sharp_loss
from saecert.reporting.sharp_coverage import POOLS, WRONG, misses_of_sharp, misses_of_wrong
from saecert.statistics.populations import triples

SETTINGS = {"draws": 1000, "values": 10**7, "delta": 0.05, "seed": 0}


@pytest.mark.parametrize("pools", POOLS)
def test_every_inequality_keeps_its_promise(pools):
    rows = misses_of_sharp(pools=pools, n=100, **SETTINGS)
    assert {row["verdict"] for row in rows} == {"valid"}
    assert {row["label"] for row in rows} == {pools}
    # some population nearly spends what there is to spend
    assert max(row["miss_rate"] for row in rows) > (0.01 if pools.startswith("T3") else 0.03)


@pytest.mark.parametrize("wrong", WRONG)
def test_every_wrong_version_is_rejected(wrong):
    rows = misses_of_wrong(wrong=wrong, n=100, **SETTINGS)
    assert "rejected" in {row["verdict"] for row in rows}


def test_the_largest_of_a_triple_is_the_value_it_was_made_from():
    for pools, teeth in POOLS.items():
        for population in teeth(100, 0.05):
            rng, again = np.random.default_rng(1), np.random.default_rng(1)
            kept = []
            made = triples(population, lambda *losses, kept=kept: kept.append(losses) or losses[0])
            made.draw(rng, 3, 100)
            (losses,) = kept
            drawn = population.draw(again, 3, 100)
            np.testing.assert_array_equal(sharp_loss(*losses), drawn.x)
            assert np.min(losses) >= population.lo
            assert (np.array_equal(losses[1], losses[2])) == (population.rule == "T3"), pools

"""Coverage of statements on tails and ratios, and every mutant is caught by the same test."""

import numpy as np
import pytest

from saecert.statistics.coverage import coverage_table
from saecert.statistics.coverage_tails import CAP, capped, statements

STATEMENTS = statements()
DRAWS = {"capped mean": 2000, "loss recovered": 2000}


@pytest.mark.parametrize("name", STATEMENTS)
def test_every_statement_keeps_its_promise_and_its_mutant_does_not(name):
    tried = STATEMENTS[name]
    rows = coverage_table(
        {name: tried.limit, tried.wrong: tried.mutant},
        (100,),
        populations=tried.populations,
        draws=DRAWS.get(name, 20_000),
        progress=False,
    )
    rejected = {row["inequality"] for row in rows if row["verdict"] == "rejected"}
    assert rejected == {tried.wrong}
    missed = max(row["miss_rate"] for row in rows if row["inequality"] == name)
    assert missed > 0.02, "populations without teeth"


def test_capped_means_are_exact():
    for population in capped(50, 0.05):
        x, ((mean,),), _ = population.draw(np.random.default_rng(0), 2000, 50)
        assert x.max() <= CAP == population.hi
        assert abs(x.mean() - mean) < 4 * x.std() / np.sqrt(x.size) + 1e-12

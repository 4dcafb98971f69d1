"""The papers' pool made valid: never better than the cheapest superset, by hand on a small case."""

import math

import numpy as np
import pytest
from synthetic_losses import HI, LO, make_losses, random_losses

from saecert import certify
from saecert.certificates.exact_set import exact_set_bound


def record(n=200):
    active = np.zeros((n, 16), dtype=bool)
    active[:, :4] = True
    active[n // 2 :, 4] = True
    clean = np.random.default_rng(0).uniform(4, 6, n)
    support = (math.log2(4096), math.log2(4096) + 0.1)
    references = {"unigram": (np.full(n, support[1]), support)}
    return make_losses(clean, clean + 0.1, active=active, references=references)


def test_it_pays_for_exactly_the_latents_that_were_active():
    found = exact_set_bound(record(), 100)
    nats = math.log(17) + math.log(math.comb(16, 4))
    assert (found.k, found.nats) == (4, pytest.approx(nats))
    v = record().at("full", 0.5)[:100] + 0.1
    width = (HI - LO) * math.sqrt((nats + math.log(1 / 0.05)) / 200)
    assert found.bound == pytest.approx(v.mean() + width)
    assert found.sharp == pytest.approx(record().at("full", 0.5)[:100].mean() + width)
    assert exact_set_bound(record()).k == 5


def test_the_cheapest_superset_is_never_worse():
    losses = record()
    settings = {"method": "in_sample", "prior": "uniform", "inequality": "hoeffding", "eps": ()}
    for n in (20, 100, 200):
        superset = certify(losses, n_seq=n, **settings)
        exact = exact_set_bound(losses, n)
        assert superset.bound <= exact.bound + 1e-12
        assert superset.sharp <= exact.sharp + 1e-12
        assert sum(row["claimed"] for row in superset.ladder) >= exact.beaten


@pytest.mark.parametrize("n_seq", [1, 201])
def test_it_needs_at_least_two_sequences_and_those_that_there_are(n_seq):
    with pytest.raises(ValueError, match="n_seq"):
        exact_set_bound(record(), n_seq)


@pytest.mark.parametrize("delta", [0.0, 2.0, -0.1, math.nan])
def test_a_delta_is_a_probability(delta):
    """At a delta of 2 it gave a bound."""
    with pytest.raises(ValueError, match="delta must lie strictly between 0 and 1"):
        exact_set_bound(random_losses(), delta=delta)
    with pytest.raises(ValueError, match="unknown inequality 'normal'"):
        exact_set_bound(random_losses(), inequality="normal")

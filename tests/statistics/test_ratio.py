"""Limits on a ratio: against a scan of the pointwise test, and where there is no ratio."""

import numpy as np
import pytest

from saecert.statistics.inequalities import INEQUALITIES, misses
from saecert.statistics.ratio import STEP, ratio_limits

NATS = -np.log(0.05)
SUPPORT = (1.0, 13.0)


def triple(n=300, seed=0):
    """Ablation, proxy and model; a tenth of the sequences lose less when ablated."""
    rng = np.random.default_rng(seed)
    clean = rng.uniform(3, 6, n)
    ablated = np.where(rng.random(n) < 0.1, clean - 0.5, clean + rng.uniform(3, 6, n))
    return ablated, clean + rng.uniform(0, 0.6, n), clean


@pytest.mark.parametrize("inequality", INEQUALITIES)
def test_the_lower_limit_is_the_end_of_what_the_pointwise_test_refutes(inequality):
    ablated, proxy, clean = triple()
    low, high, _ = ratio_limits(ablated, proxy, clean, SUPPORT, NATS, inequality)
    ratio = (ablated - proxy).mean() / (ablated - clean).mean()
    assert low is None or low < ratio
    assert high is None or ratio < high
    if low is None:
        assert inequality in ("hoeffding", "chernoff_kl")
        return

    # betting pays for having looked at one interval of each of 15 sizes
    nats = NATS + (np.log(15) if inequality == "betting" else 0.0)

    def refuted(c):
        w = proxy - ablated + c * (ablated - clean)
        return bool(misses(inequality, w, -12.0, 12.0, nats, 0.0))

    assert all(refuted(c) for c in np.linspace(0, low, 12))
    assert not refuted(low + 8 * STEP)


def test_a_known_ratio_is_inside_and_narrows():
    widths = []
    for n in (100, 1000):
        clean = np.full(n, 3.0)
        limits = ratio_limits(clean + 6, clean + 1.5, clean, SUPPORT, NATS, "dirichlet")
        assert limits[0] < 0.75 < limits[1]
        widths.append(limits[1] - limits[0])
    assert widths[1] < widths[0] / 8


def test_a_proxy_better_than_the_model_has_a_ratio_above_1():
    clean = np.full(2000, 4.0)
    low, high, _ = ratio_limits(clean + 4, clean - 1, clean, SUPPORT, NATS, "dirichlet")
    assert 1 < low < 1.25 < high


def test_no_limit_where_the_ablation_does_not_hurt():
    clean = np.random.default_rng(0).uniform(3, 5, 200)
    assert ratio_limits(clean - 0.1, clean, clean, SUPPORT, NATS, "dirichlet") == (
        None,
        None,
        False,
    )
    assert ratio_limits(clean + 0.01, clean, clean, SUPPORT, NATS, "dirichlet") == (
        None,
        None,
        False,
    )


def test_a_proxy_worse_than_the_ablation_has_no_lower_limit():
    clean = np.full(500, 4.0)
    low, high, _ = ratio_limits(clean + 2, clean + 4, clean, SUPPORT, NATS, "dirichlet")
    assert low is None and high < 0.1

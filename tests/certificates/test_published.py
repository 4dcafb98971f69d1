"""The formula of the predecessor paper as printed."""

import numpy as np
import pytest
from scipy.stats import binom
from synthetic_losses import N_VOCAB

from saecert.certificates.published import published_bound

DELTA = 0.05


def misses_too_often(missed: np.ndarray) -> bool:
    """Whether so many misses would be a one-in-ten-thousand event at miscoverage DELTA."""
    return missed.sum() > binom.ppf(1 - 1e-4, len(missed), DELTA)


# The published formula, for comparison


@pytest.mark.parametrize(
    ("n_vocab", "d_sae", "k", "covering", "confidence"),
    [
        (
            50257,
            24576,
            59.77,
            [43.05, 13.61, 9.63, 7.86, 6.09, 4.31, 1.93],
            [1.27, 0.40, 0.28, 0.23, 0.18, 0.13, 0.06],
        ),
        (
            256000,
            16384,
            58.19,
            [47.16, 14.91, 10.54, 8.61, 6.67, 4.72, 2.11],
            [1.45, 0.46, 0.32, 0.26, 0.20, 0.14, 0.06],
        ),
    ],
)
def test_published_penalties(n_vocab, d_sae, k, covering, confidence):
    tokens = (1_000, 10_000, 20_000, 30_000, 50_000, 100_000, 500_000)
    printed = [
        published_bound(6.0, 0.75, k=k, d_sae=d_sae, n_tokens=n, n_vocab=n_vocab) for n in tokens
    ]
    assert [round(p.covering, 2) for p in printed] == covering
    assert [round(p.confidence, 2) for p in printed] == confidence
    assert all(p.bound == pytest.approx(6.75 + p.covering + p.confidence) for p in printed)


def test_published_bound_refuses_nonsense():
    for settings, message in (
        ({"alpha": 0.0}, "alpha and delta"),
        ({"k": 0.0}, "needs 0 < k"),
        ({"n_tokens": 0}, "n_tokens > 0"),
    ):
        with pytest.raises(ValueError, match=message):
            published_bound(
                1.0, 0.0, **({"k": 5.0, "d_sae": 16, "n_tokens": 10, "n_vocab": N_VOCAB} | settings)
            )

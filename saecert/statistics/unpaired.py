"""Limits on the difference of two means, from two samples of different populations."""

from __future__ import annotations

from math import log

import numpy as np
from jaxtyping import Float

from saecert.statistics.inequalities import Scalar, lower, resolved


def two_sample_limits(
    a: Float[np.ndarray, "n_a"],
    b: Float[np.ndarray, "n_b"],
    support: tuple[Scalar, Scalar],
    nats: Scalar,
    inequality: str,
) -> tuple[float, float]:
    """Lower and upper limit on ``E a - E b`` for two samples of their own.

    **Guarantee.** Each is wrong with probability at most ``exp(-nats)``: it is the difference of
    two limits that are each wrong with at most half of that. The samples need not be independent of
    each other, nor of the same size; within each the assumptions of the inequality hold.

    `support` is lo and hi of both.

    >>> a, b = np.full(400, 0.75), np.full(100, 0.25)
    >>> low, high = two_sample_limits(a, b, (0, 1), 2.0, "hoeffding")
    >>> round(low, 3), round(high, 3)
    (0.326, 0.674)
    """
    half = nats + log(2)
    upper = resolved(inequality)
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    low = lower(inequality, a, *support, half) - upper(b, *support, half)
    high = upper(a, *support, half) - lower(inequality, b, *support, half)
    return float(low), float(high)

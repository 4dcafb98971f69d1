"""Limits on the difference of two means, from values that come in pairs."""

from __future__ import annotations

import numpy as np

from saecert.statistics.inequalities import Bound, Inequality, Nats, Sample, Scalar, lower, resolved


def difference_limits(
    a: Sample,
    b: Sample,
    supports: tuple[Scalar, Scalar, Scalar, Scalar],
    nats: Nats,
    inequality: str | Inequality,
) -> tuple[Bound, Bound]:
    """Lower and upper limit on ``E a - E b`` for paired values.

    **Guarantee.** Each is wrong with probability at most ``exp(-nats)``, under the assumptions of
    the inequality for the differences.

    `supports` is lo and hi of `a`, then of `b`: so a difference lies between ``lo_a - hi_b`` and
    ``hi_a - lo_b``. Subtracted in float64, whatever the type of `a` and `b`. ValueError for shapes
    that differ, and as the inequality.

    >>> a, b = np.array([0.0, 1.0] * 50), np.array([0.1, 1.0] * 50)
    >>> low, high = difference_limits(a, b, (0, 1, 0, 1), 2.0, "hoeffding")
    >>> round(float(low), 3), round(float(high), 3)
    (-0.25, 0.15)
    """
    lo_a, hi_a, lo_b, hi_b = supports
    support = (lo_a - hi_b, hi_a - lo_b)
    upper = resolved(inequality)
    a = np.asarray(a, np.float64)
    b = np.asarray(b, np.float64)
    if a.shape != b.shape:
        raise ValueError(
            f"paired values need one shape, got {a.shape} and {b.shape}: give both of the same "
            "sequences, in the same order"
        )
    return lower(upper, a - b, *support, nats), upper(a - b, *support, nats)

"""Limits on the difference of two means, from values that come in pairs."""

from __future__ import annotations

from saecert.statistics.inequalities import (
    INEQUALITIES,
    Bound,
    Inequality,
    Nats,
    Sample,
    Scalar,
    lower,
)


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
    ``hi_a - lo_b``.

    >>> import numpy as np
    >>> a, b = np.array([0.0, 1.0] * 50), np.array([0.1, 1.0] * 50)
    >>> low, high = difference_limits(a, b, (0, 1, 0, 1), 2.0, "hoeffding")
    >>> round(float(low), 3), round(float(high), 3)
    (-0.25, 0.15)
    """
    lo_a, hi_a, lo_b, hi_b = supports
    support = (lo_a - hi_b, hi_a - lo_b)
    upper = INEQUALITIES[inequality] if isinstance(inequality, str) else inequality
    return lower(upper, a - b, *support, nats), upper(a - b, *support, nats)

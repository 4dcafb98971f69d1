"""Whether two quantities rise together: limits on Kendall's tau."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from saecert.statistics.inequalities import Bound, Nats
from saecert.statistics.paired import difference_limits


def kendall_limits(
    a: Float[np.ndarray, "*lead n"],
    b: Float[np.ndarray, "*lead n"],
    nats: Nats,
    inequality: str = "dirichlet",
) -> tuple[Bound, Bound, Bound]:
    """Kendall's tau in the sample, a lower and an upper limit on it in the population.

    **Guarantee.** For pairs (a, b) drawn i.i.d., each limit is wrong with probability at most
    ``exp(-nats)``, under the assumptions of the inequality. Tau is the expectation of ``sign(a -
    a') sign(b - b')`` for two independent pairs (Kendall 1938; ties count as 0). The signs of the
    first with the second, the third with the fourth, ... are independent values in [-1, 1] with
    this mean; the limits are made of these n/2, the estimate of all pairs.

    ValueError for fewer than four pairs.

    >>> x = np.arange(100.0)
    >>> tau, low, high = kendall_limits(x, x**3, 3.0)
    >>> float(tau), bool(low > 0.8), float(high)
    (1.0, True, 1.0)
    """
    n = a.shape[-1] // 2 * 2
    if n < 4:
        raise ValueError(f"Kendall's tau needs four pairs or more, got {a.shape[-1]}")
    signs = np.sign(a[..., 0:n:2] - a[..., 1:n:2]) * np.sign(b[..., 0:n:2] - b[..., 1:n:2])
    nothing = np.zeros_like(signs)
    low, high = difference_limits(signs, nothing, (-1.0, 1.0, 0.0, 0.0), nats, inequality)
    rises = np.sign(a[..., :, None] - a[..., None, :]) * np.sign(b[..., :, None] - b[..., None, :])
    count = a.shape[-1] * (a.shape[-1] - 1)
    return rises.sum(axis=(-1, -2)) / count, low, high

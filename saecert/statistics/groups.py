"""Values that come in groups: how much alike they are, and what that does to their mean."""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from jaxtyping import Float, Shaped

Values = Float[np.ndarray, " n"]
Labels = Shaped[np.ndarray, " n"]


def intraclass_correlation(x: Values, groups: Labels) -> float:
    """Share of the variance that lies between groups, by analysis of variance; nan if undefined.

    ``(B - W) / (B + (k - 1) W)`` with the mean squares B between and W within groups and ``k = (n -
    sum n_g^2 / n) / (G - 1)`` (Donner 1986). An estimate without limits: 1 where only the group
    counts, about 0 where it says nothing, and possibly below.

    Examples
    --------
    >>> intraclass_correlation(np.array([1.0, 1.0, 2.0, 2.0]), np.array([0, 0, 1, 1]))
    1.0
    """
    _check(x, groups)
    labels, inverse = np.unique(groups, return_inverse=True)
    sizes = np.bincount(inverse)
    n = len(x)
    n_groups = len(labels)
    if not 1 < n_groups < n:
        return float("nan")
    means = np.bincount(inverse, x) / sizes
    between = (sizes * (means - x.mean()) ** 2).sum() / (n_groups - 1)
    within = ((x - means[inverse]) ** 2).sum() / (n - n_groups)
    size = (n - (sizes**2).sum() / n) / (n_groups - 1)
    total = between + (size - 1) * within
    return float((between - within) / total) if total > 0 else float("nan")


def design_effect(x: Values, groups: Labels) -> float:
    """How many times the variance of the mean is larger if groups are drawn than if values are.

    The linearised variance of a mean of whole groups, ``G / (G - 1) sum_g (sum_{i in g} (x_i -
    mean))^2 / n^2``, over ``s^2 / n`` (Kish 1965). n values say as much about *new groups* as n
    over this number of independent ones. An estimate without limits, and a rough one for few
    groups; nan if undefined.

    Examples
    --------
    >>> x = np.array([1.0, 1.0, 2.0, 2.0] * 50)
    >>> round(design_effect(x, np.arange(200) // 2), 2)  # pairs of equals
    2.0
    """
    _check(x, groups)
    labels, inverse = np.unique(groups, return_inverse=True)
    n = len(x)
    n_groups = len(labels)
    variance = x.var(ddof=1) / n if n > 1 else 0.0
    if n_groups < 2 or not variance > 0:
        return float("nan")
    totals = np.bincount(inverse, x - x.mean())
    clustered = n_groups / (n_groups - 1) * (totals**2).sum() / n**2
    return float(clustered / variance)


@no_type_check  # shapes are what it judges, in words for people
def _check(x: Values, groups: Labels) -> None:
    if len(groups) != len(x):
        raise ValueError(
            f"{len(groups)} group labels for {len(x)} values: give one for each, in their order"
        )
    if not np.isfinite(x).all():
        raise ValueError("values that are not finite have no variance: leave their sequences out")

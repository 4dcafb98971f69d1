"""One-sided confidence bounds on a mean: five inequalities behind one interface.

``<name>_upper(x, lo, hi, nats)`` bounds ``E x`` from above for independent, identically distributed
``x`` in ``[lo, hi]``, except with probability ``delta = exp(-nats)``. It takes ``nats = ln(1 /
delta)`` because a union bound over many pools needs them in the thousands, where delta underflows.
Bounds run along the last axis of `x`; leading axes are a batch.

The support is part of the assumption: fix `lo` and `hi` before looking at the data.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from scipy.special import betainccinv, ndtri_exp, rel_entr

from saecert.statistics import betting, binomial_tail, dirichlet

Scalar = float | int | np.floating | np.integer
Nats = Scalar | Float[np.ndarray, "..."]
Sample = Float[np.ndarray, "*lead n"]
Bound = np.float64 | Float[np.ndarray, "*lead"]
Inequality = Callable[..., Any]

_DUST = 1e-9  # rounding by which x may leave [lo, hi], in units of hi - lo
_SINGLE = 1e-5  # the same of what was measured in single precision


def hoeffding_upper(x: Sample, lo: Scalar, hi: Scalar, nats: Nats) -> Bound:
    """Mean of `x` plus ``(hi - lo) sqrt(nats / 2n)``, at most `hi`.

    **Guarantee.** P(E x > bound) <= exp(-nats) for independent values in [lo, hi], even drawn
    without replacement (Hoeffding 1963, Theorems 1 and 4). It knows nothing of the variance and is
    the widest where that is small.

    Parameters
    ----------
    x : (..., n), n >= 2, in [lo, hi]
    lo, hi : support, fixed before measuring
    nats : ln(1 / delta), positive; a scalar or broadcastable to the leading axes of `x`

    Returns
    -------
    (...) float64 in [lo, hi], in the unit of `x`

    Raises
    ------
    ValueError
        If the support is empty, `nats` is not positive, or `x` is too short, not finite or outside
        its support.

    Examples
    --------
    >>> hoeffding_upper(np.array([0.0, 1.0] * 50), 0, 1, nats=2).round(6)
    np.float64(0.6)
    """
    x, nats = checked(x, lo, hi, nats)
    return np.minimum(x.mean(axis=-1) + (hi - lo) * np.sqrt(nats / (2 * x.shape[-1])), hi)


def empirical_bernstein_upper(x: Sample, lo: Scalar, hi: Scalar, nats: Nats) -> Bound:
    """Mean plus ``sqrt(2 V (nats + ln 2) / n) + 7 (hi - lo) (nats + ln 2) / 3(n - 1)``.

    At most `hi`; V is the sample variance.

    **Guarantee.** P(E x > bound) <= exp(-nats) for independent, identically distributed values in
    [lo, hi] (Maurer & Pontil 2009, Theorem 4). Lowering a value can raise the bound, because it can
    raise V.

    Parameters, returns and errors as for `hoeffding_upper`.

    Examples
    --------
    >>> x = np.full(71, 0.2)  # no variance: 0.2 + 7 * 3 / (3 * 70)
    >>> empirical_bernstein_upper(x, 0, 1, nats=3 - np.log(2)).round(6)
    np.float64(0.3)
    """
    x, nats = checked(x, lo, hi, nats)
    n = x.shape[-1]
    nats = nats + np.log(2)
    width = np.sqrt(2 * x.var(axis=-1, ddof=1) * nats / n) + 7 * (hi - lo) * nats / (3 * (n - 1))
    return np.minimum(x.mean(axis=-1) + width, hi)


def chernoff_kl_upper(x: Sample, lo: Scalar, hi: Scalar, nats: Nats) -> Bound:
    """Largest mean q with ``n kl(mean of x, q) <= nats``.

    kl is the divergence of two coins with the values lo and hi.

    **Guarantee.** P(E x > bound) <= exp(-nats) for independent values in [lo, hi], even drawn
    without replacement (Hoeffding 1963, Theorem 1 before its last step). Never wider than
    `hoeffding_upper`; sharp to a logarithm for coins only.

    Parameters, returns and errors as for `hoeffding_upper`.

    Examples
    --------
    >>> chernoff_kl_upper(np.zeros(100), 0, 1, nats=100 * np.log(2)).round(6)  # 1 - exp(-nats / n)
    np.float64(0.5)
    """
    x, nats = checked(x, lo, hi, nats)
    return chernoff_kl(x.mean(axis=-1), x.shape[-1], lo, hi, nats)


def chernoff_kl(mean: Any, n: Scalar, lo: Scalar, hi: Scalar, nats: Nats) -> Any:
    """`chernoff_kl_upper` from a sample's mean and size: it needs no more of the sample.

    Largest mean q with ``n kl(mean, q) <= nats``, kl being the divergence of two coins with the
    values lo and hi.

    **Guarantee.** P(E x > bound) <= exp(-nats) for the mean of `n` independent values in [lo, hi],
    even drawn without replacement (Hoeffding 1963, Theorem 1 before its last step). It rises with
    `mean`: where that is known only to some digits, give the largest value it may have.

    Parameters
    ----------
    mean : sample mean(s), in [lo, hi]
    n : number of values in each mean, at least 1
    lo, hi : support, fixed before measuring
    nats : ln(1 / delta), positive; a scalar or of a shape that goes with that of `mean`

    Returns
    -------
    float64 of the shape of `mean`, in [mean, hi]

    Raises
    ------
    ValueError
        If the support is empty, `nats` or `n` is not positive, or a mean lies outside its support.

    Examples
    --------
    >>> chernoff_kl(0.0, 100, 0, 1, nats=100 * np.log(2)).round(6)
    np.float64(0.5)
    """
    mean, nats = _checked_mean(mean, n, lo, hi, nats)
    inside = mean
    outside = np.ones_like(mean)
    for _ in range(60):  # halvings: to the last bit
        middle = 0.5 * (inside + outside)
        fits = n * (rel_entr(mean, middle) + rel_entr(1 - mean, 1 - middle)) <= nats
        inside = np.where(fits, middle, inside)
        outside = np.where(fits, outside, middle)
    return np.minimum(lo + (hi - lo) * outside, hi)


def dirichlet_upper(x: Sample, lo: Scalar, hi: Scalar, nats: Nats) -> Bound:
    """Quantile of level ``1 - exp(-nats)`` of ``hi D_0 + sum x_i D_i``.

    (D_0, ..., D_n) is uniform on the simplex.

    **Guarantee.** P(E x > bound) <= exp(-nats) for independent, identically distributed values at
    most `hi` (Gaffke's bound of 2005; validity proved by Vlassis & Thomas 2026, arXiv 2607.08415,
    Theorem 1). It uses `lo` only to check the data, rises with every value, does not depend on
    their order, and on data that are all `lo` or `hi` it is Clopper and Pearson's bound.

    For a sample drawn *without replacement* from a finite population it is false in general, at
    every delta. With one value at `lo` among N and the rest at `hi`, it is below the mean whenever
    that one is drawn, in a share n / N of samples, if ``1 - (1 - 1/N)^n < delta``; so every delta
    between the two is exceeded. The worst found among lists of `lo` and `hi` misses 5.13 % of
    samples at delta = 0.05 and 71 % at 0.5. `saecert.statistics.finite` has what is valid there.

    Parameters, returns and errors as for `hoeffding_upper`. Computed in closed form, with nothing
    rounded or binned at any n, see `saecert.statistics.dirichlet`.

    Examples
    --------
    >>> dirichlet_upper(np.zeros(100), 0, 1, nats=100 * np.log(2)).round(6)  # 1 - exp(-nats / n)
    np.float64(0.5)
    """
    x, nats = checked(x, lo, hi, nats)
    z = (hi - x).reshape(-1, x.shape[-1])
    return (hi - dirichlet.quantile(z, nats.ravel())).reshape(nats.shape)[()]


def betting_upper(x: Sample, lo: Scalar, hi: Scalar, nats: Nats) -> Bound:
    """Largest mean not refuted by betting against it, value by value in the given order.

    **Guarantee.** P(E x > bound) <= exp(-nats) for values in [lo, hi] whose mean given all earlier
    ones is E x (Ville's inequality; Waudby-Smith & Ramdas 2024, section 4). It depends on the order
    of `x`: shuffle with a seed fixed before seeing the values. The length n steers the bets and
    must be fixed beforehand too; `saecert.certify_stream` needs no such n.

    Parameters, returns and errors as for `hoeffding_upper`. Rounded up to a multiple of ``2**-21
    (hi - lo)``, see `saecert.statistics.betting`.

    Examples
    --------
    >>> betting_upper(np.array([0.0, 1.0] * 50), 0, 1, nats=2).round(3)
    np.float64(0.562)
    """
    x, nats = checked(x, lo, hi, nats)
    z = ((hi - x) / (hi - lo)).reshape(-1, x.shape[-1])
    return (hi - (hi - lo) * betting.smallest_kept(z, nats.ravel())).reshape(nats.shape)[()]


INEQUALITIES: dict[str, Inequality] = {
    "hoeffding": hoeffding_upper,
    "empirical_bernstein": empirical_bernstein_upper,
    "chernoff_kl": chernoff_kl_upper,
    "dirichlet": dirichlet_upper,
    "betting": betting_upper,
}
"""Every inequality by name."""
MONOTONE = ("hoeffding", "chernoff_kl", "dirichlet")
"""Those whose limit never falls when a value rises."""


def lower(inequality: str | Inequality, x: Sample, lo: Scalar, hi: Scalar, nats: Nats) -> Bound:
    """Lower bound on ``E x`` by the same inequality, which bounds ``-x`` from above.

    **Guarantee.** P(E x < bound) <= exp(-nats), under the assumptions of the inequality.

    Examples
    --------
    >>> lower("hoeffding", np.array([0.0, 1.0] * 50), 0, 1, nats=2).round(6)
    np.float64(0.4)
    """
    # not of unsigned numbers, whose negatives are others
    return -resolved(inequality)(-np.asarray(x, np.float64), -hi, -lo, nats)


def misses(
    inequality: str | Inequality, x: Sample, lo: Scalar, hi: Scalar, nats: Nats, mean: Scalar
) -> np.bool_ | Bool[np.ndarray, "*lead"]:
    """Whether the upper bound of each row lies below `mean`.

    It is the verdict of ``bound < mean``, sooner for two inequalities.

    `dirichlet_upper` is below the mean if P(sum (hi - x_i) D_i <= hi - mean) < delta: mostly known
    from limits on that probability. `betting_upper` is if it refutes the first grid point beyond
    the mean, because the refuted means are an interval (see `saecert.statistics.betting`).

    Examples
    --------
    >>> misses("dirichlet", np.array([[0.0] * 9, [1.0] * 9]), 0, 1, nats=2, mean=0.5)
    array([ True, False])
    """
    bound = resolved(inequality)
    x, nats = checked(x, lo, hi, nats)
    if not lo <= mean <= hi:
        raise ValueError(
            f"mean = {mean} lies outside [lo, hi] = [{lo}, {hi}]; "
            "pass the mean of the quantity that is bounded"
        )
    rows = (hi - x).reshape(-1, x.shape[-1])
    rows_nats = nats.ravel()
    if bound is dirichlet_upper:
        missed = dirichlet.is_rarer(rows, np.full(len(rows), float(hi - mean)), rows_nats)
    elif bound is betting_upper:
        beyond = (np.floor((hi - mean) / (hi - lo) * betting.GRID) + 1) / betting.GRID
        missed = betting.rejects(rows / (hi - lo), np.full((len(rows), 1), beyond), rows_nats)
    else:
        return bound(x, lo, hi, nats) < mean
    return missed.reshape(nats.shape)[()]


def clopper_pearson_upper(k: Any, n: Any, nats: Nats) -> Bound:
    """Largest success probability with ``P(at most k of n successes) >= exp(-nats)``.

    **Guarantee.** P(probability > bound) <= exp(-nats) for `k` successes in `n` independent trials
    (Clopper & Pearson 1934). One less the bound for ``n - k`` is the lower bound. It is exact where
    exp(-nats) underflows, too (`saecert.statistics.binomial_tail`).

    Parameters
    ----------
    k, n : whole numbers of successes and of trials, 0 <= k <= n
    nats : ln(1 / delta), positive; `k`, `n` and `nats` broadcast

    Returns
    -------
    float64 of their common shape, in [k / n, 1]; 1 where every trial succeeded, or there is none

    Raises
    ------
    ValueError
        Numbers of successes or trials that are not whole or not in order, or `nats` that are not
        positive and finite.

    Examples
    --------
    >>> clopper_pearson_upper(0, 100, nats=100 * np.log(2)).round(6)
    np.float64(0.5)
    """
    k, n, nats = (np.asarray(values, float) for values in (k, n, nats))
    whole = (k >= 0) & (k <= n) & (k == np.floor(k)) & (n == np.floor(n)) & (n < np.inf)
    if not whole.all():
        raise ValueError(
            f"k successes of n trials needs whole numbers with 0 <= k <= n, got k = {k}, n = {n}"
        )
    _check_nats(nats)
    limit = np.where(k < n, betainccinv(k + 1, np.maximum(n - k, 1), np.exp(-nats)), 1.0)
    if nats.max(initial=0.0) > binomial_tail.FAR:
        far = np.broadcast_to((nats > binomial_tail.FAR) & (k < n), limit.shape)
        k, n, nats = (np.broadcast_to(values, limit.shape)[far] for values in (k, n, nats))
        start = chernoff_kl(k / n, 1, 0.0, 1.0, nats / n)
        limit[far] = binomial_tail.far_limit(k, n, nats, start)
    return limit[()]


def yardstick(x: Sample, hi: Scalar, nats: Nats) -> Bound:
    """A scale for the width of a bound, ``sqrt(g^2 + r^2)``, in the unit of `x`.

    ``g = z sigma / sqrt(n)`` is the width of the normal approximation at the same delta; ``r = (1 -
    delta^(1/n)) (hi - mean)`` is how far a point mass at `hi`, so small that a sample misses it
    with probability delta, moves the mean. It is a scale for comparison and no lower limit: a
    bound may well be narrower. What is proved of every valid bound spends twice the delta: its
    median width is at least ``(1 - (2 delta)^(1/n)) (hi - mean)``.

    Examples
    --------
    >>> yardstick(np.array([0.0, 1.0] * 50), hi=1, nats=-np.log(0.05)).round(6)
    np.float64(0.083964)
    """
    lowest = min(
        x[np.isfinite(x)].min(initial=hi), np.nextafter(hi, -np.inf)
    )  # any support reaching down to the data will do
    x, nats = checked(x, lowest, hi, nats)
    normal = -ndtri_exp(-nats) * x.std(axis=-1, ddof=1) / np.sqrt(x.shape[-1])
    rare = -np.expm1(-nats / x.shape[-1]) * (hi - x.mean(axis=-1))
    return np.hypot(normal, rare)


def tightness(bound: Scalar | Bound, x: Sample, hi: Scalar, nats: Nats) -> Bound:
    """Width of `bound` above the mean of `x` over its `yardstick`; near 1 is tight.

    Where every value is `hi` both widths are 0 and the ratio is 1. Average it over at least 20
    resamples.

    Examples
    --------
    >>> tightness(np.float64(0.6), np.array([0.0, 1.0] * 50), hi=1, nats=-np.log(0.05)).round(3)
    np.float64(1.191)
    """
    scale = np.asarray(yardstick(x, hi, nats))
    width = np.asarray(bound - x.mean(axis=-1))
    return np.divide(
        width, scale, out=np.ones(np.broadcast_shapes(width.shape, scale.shape)), where=scale > 0
    )[()]


def uppers(
    rows: list[tuple[Float[np.ndarray, "n"], float, float, float]], upper: Callable[..., Any]
) -> list[float]:
    """Upper limits on several means, each ``(x, lo, hi, nats)``, in one call.

    They are computed on [0, 1]: every inequality here commutes with moving and scaling its data.

    Where lo = hi the mean is known, and the limit is that value. ValueError for values that are not
    finite or leave their support by more than single precision rounds.
    """
    los, his, nats = np.array([row[1:] for row in rows]).T
    unit = (np.stack([x for x, *_ in rows]) - los[:, None]) / np.where(his > los, his - los, 1.0)[
        :, None
    ]
    outside = ~((unit >= -_SINGLE) & (unit <= (his > los)[:, None] + _SINGLE))
    if outside.any():
        row, index = (int(i) for i in np.argwhere(outside)[0])
        x, lo, hi, _ = rows[row]
        raise ValueError(
            f"row {row}: x[{index}] = {x[index]} is no number in [lo, hi] = [{lo}, {hi}]; "
            "pass the support fixed before measuring, do not widen it to the data"
        )
    return np.minimum(
        los + (his - los) * upper(np.clip(unit, 0.0, 1.0), 0.0, 1.0, nats), his
    ).tolist()


def resolved(inequality: str | Inequality) -> Inequality:
    """An inequality by its name; ValueError for an unknown one."""
    if callable(inequality):
        return inequality
    if inequality not in INEQUALITIES:
        raise ValueError(
            f"unknown inequality {inequality!r}; choose one of {', '.join(INEQUALITIES)}"
        )
    return INEQUALITIES[inequality]


def checked(
    x: Sample, lo: Scalar, hi: Scalar, nats: Nats
) -> tuple[Sample, Float[np.ndarray, "*lead"]]:
    """`x` in float64, clipped of rounding dust, and `nats` for each row.

    Raises ValueError that says what is wrong with the support, the values or the nats."""
    _check_support(lo, hi)
    x = np.asarray(x, np.float64)
    if x.ndim == 0 or x.shape[-1] < 2:
        raise ValueError(
            f"at least 2 values along the last axis are needed, got shape {x.shape}; add sequences"
        )
    _check_values(x, lo, hi)
    nats = np.asarray(nats, np.float64)
    _check_nats(nats)
    if nats.ndim > x.ndim - 1 or any(
        a not in (1, b) for a, b in zip(nats.shape[::-1], x.shape[-2::-1], strict=False)
    ):
        raise ValueError(
            f"nats of shape {nats.shape} does not fit the leading axes {x.shape[:-1]} of x; "
            "pass one per row or a scalar"
        )
    return np.clip(x, lo, hi), np.broadcast_to(nats, x.shape[:-1])


def _check_nats(nats: Any) -> None:
    if not np.all((nats > 0) & (nats < np.inf)):
        raise ValueError(
            f"nats = ln(1 / delta) must be positive and finite, got {nats}; "
            "for delta = 0.05 pass nats = 3.0"
        )


def _checked_mean(mean: Any, n: Scalar, lo: Scalar, hi: Scalar, nats: Nats) -> tuple[Any, Any]:
    """Means on [0, 1] and nats of one shape; or what is wrong."""
    _check_support(lo, hi)
    if not (np.all(np.asarray(nats) > 0) and n >= 1):
        raise ValueError(f"needs nats = ln(1 / delta) > 0 and n >= 1, got {nats} and {n}")
    mean, nats = np.broadcast_arrays(np.asarray(mean, np.float64), np.asarray(nats, np.float64))
    unit = (mean - lo) / (hi - lo)
    if not np.all((unit >= -_DUST) & (unit <= 1 + _DUST)):
        raise ValueError(f"mean = {mean} lies outside [lo, hi] = [{lo}, {hi}]")
    return np.clip(unit, 0.0, 1.0), nats


def _check_support(lo: Scalar, hi: Scalar) -> None:
    if not (np.isfinite(lo) and np.isfinite(hi) and lo < hi):
        raise ValueError(f"the support needs finite lo < hi, got lo = {lo}, hi = {hi}")
    if not np.isfinite(float(hi) - float(lo)):
        raise ValueError(
            f"the width of the support [lo, hi] = [{lo}, {hi}] overflows; measure in a larger unit"
        )


def _check_values(x: Sample, lo: Scalar, hi: Scalar) -> None:
    finite = np.isfinite(x)
    if not finite.all():
        index = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise ValueError(
            f"x{list(index)} = {x[index]} is not finite; "
            "find the sequence whose loss failed before bounding the rest"
        )
    outside = (x < lo - _DUST * (hi - lo)) | (x > hi + _DUST * (hi - lo))
    if outside.any():
        index = tuple(int(i) for i in np.argwhere(outside)[0])
        raise ValueError(
            f"x{list(index)} = {x[index]} lies outside [lo, hi] = [{lo}, {hi}]; "
            "pass the support fixed before measuring, do not widen it to the data"
        )

r"""The law of a Dirichlet-weighted sum: distribution function and quantiles in closed form.

With ``(D_0, ..., D_n) ~ Dirichlet(1, ..., 1)`` and ``z_i >= 0``, `log_cdf` gives ``ln P(z_1 D_1 +
... + z_n D_n <= m)`` and `quantile` inverts it. The weights are normalised exponentials ``E_j``, so
the event is ``m E_0 + sum (m - z_i) E_i >= 0``, and inverting the Laplace transform along ``Re s >
0`` gives

.. math:: P = \frac{1}{2 \pi i}
   \int \frac{1}{s \, (1 - s m)} \prod_i \frac{1}{1 - s (m - z_i)} \, ds .

*One parameter solves the saddle point.* Put ``s = lam / (1 + lam m)`` and ``t_i = lam z_i / (1 +
lam z_i)``, and count the factor of ``E_0`` as ``t = 0`` and the pole at ``s = 0`` as ``t = 1``. The
saddle point is where ``s m`` equals the mean ``c`` of these n + 2 values, that is ``m = c / ((1 -
c) lam)``: every ``lam`` is the saddle of an explicit ``m``, which falls as ``lam`` grows. With
``gamma`` the centred ``t`` scaled to length 1, and ``w = (1 - c) / |t - c|``,

.. math:: P = (1 - c)^{-(n + 1)} \prod_i (1 - t_i) \;
   \frac{w}{\pi} \int_0^\infty \mathrm{Re} \prod_j \frac{1}{1 + i v \gamma_j} \, dv .

*The last integral is taken along its path of steepest descent*, ``v(tau)`` with ``sum ln(1 + i v
gamma_j) = tau^2 / 2``. On a straight line it oscillates, slowly decaying, as soon as many ``z_i``
are equal; on the path it is positive and falls like ``exp(-tau^2 / 2)``, and the trapezoidal rule
converges geometrically whatever the ties.

*Long samples.* Past `LONG` values the logarithms of the many small ``gamma_j`` are summed as one
power series, ``sum ln(1 + i v gamma_j) = -sum_k (-i v)^k S_k / k`` with ``S_k = sum gamma_j^k``,
computed once for the whole path. Where the term left out would show in the integral, fewer
``gamma_j`` go into the series. Nothing is rounded or binned.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import NamedTuple, no_type_check

import numpy as np
from jaxtyping import Bool, Complex, Float

STEP = 0.2
"""Spacing of the trapezoidal rule in tau: ln P is off by less than 1e-12, for 0.25 by less than
1e-10.
"""

BLOCK = 2**15
"""Values handled at once, so that a block of rows stays in the processor's cache."""

LONG = 2**12
"""Values past which the small ones are summed as a power series."""

TERMS = 16
"""Length of that power series."""

LEAST = 1e-90
"""Smallest quantile told from 0, in units of the largest z."""

_LOG_LAM = (-40.0, 240.0)  # from P = 1 down to m < LEAST

_LEAST_CORRECTION = -1.33
_MOST_CORRECTION = 0.92
"""Between these is ln P less Laplace's ln P. The integral over pi is the density at 0 of ``sum
gamma_j (E_j - 1)``, a log-concave law of mean 0 and variance 1, and so lies between 1 / (e sqrt 12)
(Fradelizi 1997) and 1."""

Rows = Float[np.ndarray, " rows"]
Values = Float[np.ndarray, "rows n"]
Padded = Float[np.ndarray, "terms rows"]
Column = Complex[np.ndarray, " rows"]
Series = Complex[np.ndarray, "powers rows"]


class _Saddle(NamedTuple):
    """Everything about one ``lam`` per row that costs no integral."""

    gamma: Padded
    log_m: Rows
    slope_m: Rows
    log_p: Rows
    slope_p: Rows

    def of(self, rows: Bool[np.ndarray, " rows"]) -> _Saddle:
        """The same of some rows."""
        return _Saddle(*(values[..., rows] for values in self))


def log_cdf(z: Values, m: Rows) -> Rows:
    """Natural logarithm of P(z_1 D_1 + ... + z_n D_n <= m), row by row.

    Parameters
    ----------
    z : (rows, n), at least 0
    m : (rows,), any sign; below `LEAST` times the largest z it is taken as that

    Examples
    --------
    >>> np.exp(log_cdf(np.ones((1, 3)), np.array([0.5]))).round(12)  # D_1 + D_2 + D_3 ~ Beta(3, 1)
    array([0.125])
    """
    top = z.max(axis=1)
    inner = (m > 0) & (m < top)
    log_p = np.where(m >= top, 0.0, -np.inf)
    log_p[inner] = _blockwise(
        _log_cdf_block, z[inner] / top[inner, None], (m / np.where(top > 0, top, 1.0))[inner]
    )
    return log_p


def is_rarer(z: Values, m: Rows, nats: Rows) -> Bool[np.ndarray, " rows"]:
    """Whether P(z_1 D_1 + ... + z_n D_n <= m) < exp(-nats), row by row.

    The verdict of ``log_cdf(z, m) < -nats``, sooner: the sum has a log-concave density, so that it
    lies below its mean with a probability of at least 1/e (Gruenbaum 1960); and the integral is
    taken only where its limits leave the verdict open.

    Parameters
    ----------
    z, m : as for `log_cdf`
    nats : (rows,), positive

    Examples
    --------
    >>> is_rarer(np.ones((2, 3)), np.array([0.5, 0.5]), np.array([2.0, 2.1]))  # 1/8 = exp(-2.08)
    array([ True, False])
    """
    top = z.max(axis=1)
    rarer = (m <= 0) & (m < top)
    mean = z.sum(axis=1) / (z.shape[1] + 1)
    is_open = (m > 0) & (m < top) & ~((m >= mean) & (nats > 1.01))
    z, m, top = z[is_open], m[is_open], top[is_open]
    rarer[is_open] = _blockwise(_is_rarer_block, z / top[:, None], m / top, nats[is_open]) > 0
    return rarer


def quantile(z: Values, nats: Rows) -> Rows:
    """Value m with P(z_1 D_1 + ... + z_n D_n <= m) = exp(-nats), row by row; 0 where every z is 0.

    Relative error below 1e-12 (1e-11 past n = 10,000) for nats from 1e-7 on. Below that the
    probability rounds to one and its logarithm loses digits; no delta that means anything is there.

    Parameters
    ----------
    z : (rows, n), at least 0
    nats : (rows,), positive; in the thousands the probability underflows and the quantile does not

    Examples
    --------
    >>> quantile(np.ones((1, 3)), np.array([np.log(8)])).round(12)
    array([0.5])
    """
    top = z.max(axis=1)
    some = top > 0
    m = np.zeros(len(z))
    m[some] = top[some] * _blockwise(_quantile_block, z[some] / top[some, None], nats[some])
    return m


def _blockwise(function: Callable[..., Rows], z: Values, *columns: Rows) -> Rows:
    """`function` on blocks of rows, laid out as (n + 2, rows) with the values 0 (E_0) and infinity
    (the pole) added.
    """
    size = max(1, BLOCK // z.shape[1]) if z.shape[1] <= LONG else 1
    out = np.empty(len(z))
    for start in range(0, len(z), size):
        rows = slice(start, start + size)
        count = len(z[rows])
        out[rows] = function(
            np.concatenate([z[rows].T, np.zeros((1, count)), np.full((1, count), np.inf)]),
            *(column[rows] for column in columns),
        )
    return out


def _log_cdf_block(z: Padded, m: Rows) -> Rows:
    return np.minimum(_log_probability(_saddle(z, _log_lam_of(z, m))), 0.0)


def _is_rarer_block(z: Padded, m: Rows, nats: Rows) -> Rows:
    """1 where the probability is below ``exp(-nats)``, else 0."""
    saddle = _saddle(z, _log_lam_of(z, m))
    above = saddle.log_p + nats
    rarer = above + _MOST_CORRECTION < 0
    is_open = ~rarer & (above + _LEAST_CORRECTION < 0)
    if is_open.any():
        log_p = _log_probability(saddle.of(is_open))
        rarer[is_open] = np.minimum(log_p, 0.0) < -nats[is_open]
    return rarer.astype(float)


def _log_lam_of(z: Padded, m: Rows) -> Rows:
    """Where the saddle point is that of m."""
    target = np.log(np.maximum(m, LEAST))
    return _falling_root(lambda at: _saddle_m(z, at), target, -target, tol=1e-9)


def _quantile_block(z: Padded, nats: Rows) -> Rows:
    def approximate(log_lam: Rows) -> tuple[Rows, Rows]:
        return _saddle(z, log_lam)[3:5]

    def exact(
        log_lam: Rows,
    ) -> tuple[Rows, Rows]:  # -ln(-ln P) has no plateau: secants find the way from P near 1, too
        saddle = _saddle(z, log_lam)
        log_p = np.minimum(_log_probability(saddle), -1e-17)
        return -np.log(-log_p), -saddle.slope_p / log_p

    positive = (z[:-2] > 0).sum(axis=0)
    rate = np.minimum(nats / positive, 300.0)
    guess = np.log(np.sqrt(rate) + (positive + 1) * np.expm1(rate)) - np.log(z[:-2].mean(axis=0))
    target = np.maximum(
        -nats, approximate(np.full_like(nats, _LOG_LAM[1]))[0] + 1
    )  # beyond, the quantile is below LEAST
    # Laplace's approximation may not reach P = 1 whatever lam is: near it start from P = 1/2
    log_lam = _falling_root(approximate, np.minimum(target, -np.log(2)), guess, tol=1e-2)
    log_lam = _falling_root(exact, -np.log(-target), log_lam, tol=1e-9, secant=True)
    m = np.exp(_saddle_m(z, log_lam)[0])
    return np.where(m > LEAST, np.minimum(m, 1.0), 0.0)


def _saddle(z: Padded, log_lam: Rows) -> _Saddle:
    """Saddle point of ``exp(log_lam)``: its ln m, Laplace's ln P, and their slopes in ln lam.

    The slope of ln m is exact; that of ln P leaves out the change of the integral, a few percent.
    """
    u, mean, gamma, square = _moments(z, log_lam)
    gamma /= np.sqrt(square)
    log_m = np.log((1 - mean) / mean) - log_lam
    log_peak = np.log(u[:-1]).sum(axis=0) - (len(z) - 1) * np.log(mean)
    log_width = np.log(mean) - 0.5 * np.log(2 * np.pi * square)
    return _Saddle(
        gamma, log_m, -square / (len(z) * mean * (1 - mean)), log_peak + log_width, -square / mean
    )


def _saddle_m(z: Padded, log_lam: Rows) -> tuple[Rows, Rows]:
    """ln m of the saddle point and its slope, as `_saddle` has them; no logarithm of a value."""
    _, mean, _, square = _moments(z, log_lam)
    return np.log((1 - mean) / mean) - log_lam, -square / (len(z) * mean * (1 - mean))


def _moments(z: Padded, log_lam: Rows) -> tuple[Padded, Rows, Padded, Rows]:
    """``1 - t``, its mean, how far each is below the mean, and the sum of their squares."""
    u = 1 / (1 + np.exp(log_lam) * z)  # accurate where t is close to 1
    mean = u.mean(axis=0)
    gamma = mean - u
    return u, mean, gamma, np.einsum("ij,ij->j", gamma, gamma)


def _log_probability(saddle: _Saddle) -> Rows:
    return saddle.log_p + np.log(_integral(saddle.gamma) * np.sqrt(2 / np.pi))


def _integral(gamma: Padded) -> Rows:
    """Integral over v > 0 of the real part of ``prod 1 / (1 + i v gamma_j)``: some sqrt(pi / 2)."""
    skewness = np.einsum("ij,ij,ij->j", gamma, gamma, gamma)
    if len(gamma) <= LONG:
        return _along_path(gamma, np.zeros((0, gamma.shape[1]), complex), skewness)
    for smallest in (1 / 32, 1 / 1024, 0.0):
        single = (np.abs(gamma[:, 0]) > smallest) | (
            np.arange(len(gamma)) >= len(gamma) - 2
        )  # at least the two added values
        total = _along_path(gamma[single], _power_series(gamma[~single]), skewness)
        if np.isfinite(total).all():
            break
    return total


def _power_series(gamma: Padded) -> Series:
    """Coefficients of v, v^2, ... in ``sum ln(1 + i v gamma_j)``."""
    series = np.empty((TERMS, gamma.shape[1]), complex)
    power = np.ones_like(gamma)
    for k in range(1, TERMS + 1):
        power *= gamma
        series[k - 1] = -((-1j) ** k) * power.sum(axis=0) / k
    return series


def _along_path(gamma: Padded, series: Series, skewness: Rows) -> Rows:
    """The integral along the path of steepest descent; NaN as soon as `series` is too short.

    Integrated by parts it is the integral of ``tau exp(-tau^2 / 2) Re v(tau)``, which needs no
    derivative of the path. Each point of the path is extrapolated from three earlier ones (those at
    negative tau are mirror images) by the quintic through values and slopes of ``ln(v / tau)``, so
    that one or two Newton steps finish it.
    """
    start = 1j * STEP * skewness / 3
    past = [(np.zeros_like(start), start)]
    log_ratio = start
    total = np.zeros(len(skewness))
    for k in itertools.count(1):
        tau = k * STEP
        log_ratio, slope = _on_path(log_ratio, tau, gamma, series)
        v = tau * np.exp(log_ratio)
        size = tau * np.exp(-0.5 * tau**2) * np.abs(v)
        total += size * np.cos(log_ratio.imag)
        if len(series) and np.any(size * np.abs(series[-1] * v**TERMS) > 1e-14 * total):
            total *= np.nan
            break
        if np.all(size < 1e-17 * total):
            break
        past = past[-2:] if k > 1 else [(log_ratio.conj(), -slope.conj()), *past]
        past.append((log_ratio, slope))
        (y2, d2), (y1, d1), (y0, d0) = past
        log_ratio = 10 * y2 + 9 * y1 - 18 * y0 + 3 * d2 + 18 * d1 + 9 * d0
    return STEP * total


@no_type_check  # called a million times: its shapes are checked where it is called from
def _on_path(log_ratio: Column, tau: float, gamma: Padded, series: Series) -> tuple[Column, Column]:
    """``ln(v / tau)`` with ``sum ln(1 + i v gamma_j) = tau^2 / 2``, and its slope times `STEP`.

    By Newton's method.

    In ln v, because v grows like a power where few gamma_j count.
    """
    powers = np.arange(1, len(series) + 1)[:, None]
    for _ in range(50):
        v = tau * np.exp(log_ratio)
        real = 1 - v.imag * gamma
        imag = v.real * gamma
        terms = series * v**powers
        weighted = gamma / (real * real + imag * imag)
        log_slope = (
            1j * v * weighted.sum(axis=0)
            + np.abs(v) ** 2 * np.einsum("ij,ij->j", weighted, gamma)
            + (powers * terms).sum(axis=0)
        )
        change = (
            0.5 * tau**2 - np.log(_product(real, imag) * np.exp(terms.sum(axis=0)))
        ) / log_slope
        log_ratio = log_ratio + change
        if np.all(np.abs(change) < 1e-7):  # quadratic convergence: the step just taken left 1e-14
            return log_ratio, STEP * (tau / log_slope - 1 / tau)
    raise ArithmeticError(
        "the path of steepest descent was lost; please report these values as a bug"
    )


@no_type_check  # likewise
def _product(real: Padded, imag: Padded) -> Column:
    """Product of ``real + i imag`` along the first axis.

    Folding halves together: fast, and few roundings in a row.
    """
    folded = np.empty(real.shape, complex)
    folded.real = real
    folded.imag = imag
    count = len(folded)
    while count > 1:
        half = count // 2
        np.multiply(folded[:half], folded[count - half : count], out=folded[:half])
        count -= half
    return folded[0]


def _falling_root(
    f: Callable[[Rows], tuple[Rows, Rows]], target: Rows, x: Rows, tol: float, secant: bool = False
) -> Rows:
    """Where the falling function `f` (value, slope) equals `target`.

    By Newton or secant steps, and bisection where they leave the bracket.

    The last step of a row, shorter than `tol`, is taken without another look.
    """
    low, high = (np.full_like(x, end) for end in _LOG_LAM)
    x = np.clip(x, low, high)
    step = np.full_like(x, np.inf)
    done = np.zeros(len(x), bool)
    value, slope = f(x)
    for _ in range(200):
        low = np.where(value > target, x, low)
        high = np.where(value > target, high, x)
        new = x - (value - target) / slope
        local = (np.abs(step) < 1e-3) | (not secant)  # a secant over a long step is no slope
        settled = (np.abs(new - x) < tol) & local
        new = np.where(settled | (new > low) & (new < high), new, 0.5 * (low + high))
        step = np.where(done, 0.0, new - x)
        x = x + step
        done |= settled | (high - low < tol)
        if done.all():
            break
        before = value
        value, slope = f(x)
        if secant:
            falls = (value - before) * step < 0
            slope = np.where(
                falls, (value - before) / np.where(falls, step, 1.0), -1e-30
            )  # flat: bisect
    return x

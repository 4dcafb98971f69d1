"""Limits for print: rounded outwards, so that what is printed is still a limit.

An upper limit of 5.413 printed as 5.41 claims more than was proved. Here it becomes 5.42
(`rounded_up`, `upper_text`), a lower one 5.41 (`rounded_down`, `lower_text`); what is no limit,
such as a mean, goes to the nearest (`nearest_text`).

A double stands for the shortest decimal that reads back as that double (its `repr`), and rounding
is exact decimal arithmetic on it. So a limit of 5.41 stays 5.41, one that is larger by a single
unit in the last place becomes 5.42, and the printed number, read back, is never on the wrong side.
There is no tolerance: 1e-11 above 5.41 is above.
"""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Context, Decimal

import numpy as np
from jaxtyping import Float

Number = float | int | np.floating | np.integer

_EXACT = Context(prec=2000)  # more digits than a double has: nothing is rounded but by request
_HALF_LARGEST = float(np.finfo(np.float16).max)
_PLAIN = range(-5, 16)  # powers of ten of a first significant digit written without an exponent


def rounded_up(x: Number, decimals: int | None = None, *, significant: int | None = None) -> float:
    """The smallest number of so many decimals (default 2) or significant digits, at least `x`.

    **Guarantee.** The result, and the result printed with as many digits, is at least `x`.
    Infinities and nan stay.

    Parameters
    ----------
    x
        An upper limit, in any unit.
    decimals, significant
        Digits after the point, or digits from the first that is not zero: one of the two.

    Raises
    ------
    ValueError
        Both numbers of digits are given, or one that makes no sense.

    Examples
    --------
    >>> rounded_up(5.413), rounded_up(0.242242, significant=3), rounded_up(-0.001)
    (5.42, 0.243, 0.0)
    """
    return float(_rounded(x, ROUND_CEILING, decimals, significant)) + 0.0


def rounded_down(
    x: Number, decimals: int | None = None, *, significant: int | None = None
) -> float:
    """The largest number of so many decimals (default 2) or significant digits, at most `x`.

    Guarantee, parameters and errors as for `rounded_up`, with a lower limit.

    Examples
    --------
    >>> rounded_down(5.418), rounded_down(0.242842, significant=3)
    (5.41, 0.242)
    """
    return float(_rounded(x, ROUND_FLOOR, decimals, significant)) + 0.0


def upper_text(
    x: Number, decimals: int | None = None, *, significant: int | None = None, sign: bool = False
) -> str:
    """An upper limit as text, with all the digits asked for: never below `x` when it is read back.

    Parameters and errors as for `rounded_up`; `sign` puts a plus before what is not negative.

    Examples
    --------
    >>> upper_text(5.413), upper_text(5.4), upper_text(9.996, significant=3)
    ('5.42', '5.40', '10.0')
    """
    return _text(_rounded(x, ROUND_CEILING, decimals, significant), significant, sign)


def lower_text(
    x: Number, decimals: int | None = None, *, significant: int | None = None, sign: bool = False
) -> str:
    """A lower limit as text, with all the digits asked for: never above `x` when it is read back.

    Parameters and errors as for `upper_text`.

    Examples
    --------
    >>> lower_text(0.978999, 3), lower_text(-0.001)
    ('0.978', '-0.01')
    """
    return _text(_rounded(x, ROUND_FLOOR, decimals, significant), significant, sign)


def nearest_text(
    x: Number, decimals: int | None = None, *, significant: int | None = None, sign: bool = False
) -> str:
    """What is no limit, such as a sample mean, as text: the nearest of so many digits, no "-0.00".

    Parameters and errors as for `upper_text`.

    Examples
    --------
    >>> nearest_text(5.413), nearest_text(-0.001), nearest_text(0.242242, significant=3)
    ('5.41', '0.00', '0.242')
    """
    return _text(_rounded(x, ROUND_HALF_EVEN, decimals, significant), significant, sign)


def half_step(largest: Number) -> float:
    """Most by which a value of at most this size differs from the nearest in half precision.

    Values that were kept in float16 are off by no more, and so is their expectation: a limit on the
    mean of what was kept, moved outwards by it, is one on the mean of what was measured, whatever
    the inequality. Of two values x < y the kept ones are never in the other order.

    ValueError for what is not positive, or above 65,504, the largest number in half precision.

    Examples
    --------
    >>> half_step(1.0) == 2.0**-12, half_step(12.0) == 2.0**-8
    (True, True)
    """
    if not 0 < largest <= _HALF_LARGEST:
        raise ValueError(
            f"half precision holds sizes above 0 up to {_HALF_LARGEST:,.0f}, got {largest}: keep "
            "larger values in float32"
        )
    size = np.float16(largest)
    above = size if float(size) >= largest else np.nextafter(size, np.float16(np.inf))
    return float(above - np.nextafter(above, np.float16(0))) / 2


def half_steps(x: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Most by which each number that was kept in half precision differs from what was measured.

    As `half_step`, but of each kept number instead of all up to a largest one.

    Examples
    --------
    >>> half_steps(np.array([0.75])) >= 2.0**-12
    array([ True])
    """
    smallest = float(np.finfo(np.float16).smallest_subnormal)
    return np.abs(x).astype(float) * 2.0**-11 + smallest / 2


def widened(limits: tuple[float, float, float], step: float) -> tuple[float, float, float]:
    """Limits on a mean of values that were kept rounded, as limits on that of the values.

    `step` is the most by which rounding moves one (`half_step`, twice for a difference of two). It
    is not applied to shares of texts beyond a number of bits: these are of events, which kept
    values decide but for texts within a half-step of it. ValueError for a negative one.

    Examples
    --------
    >>> widened((0.25, 0.5, 0.75), 0.125)
    (0.125, 0.5, 0.875)
    """
    if not step >= 0:
        raise ValueError(f"a step of rounding is at least 0, got {step}: limits only move outwards")
    low, mean, high = limits
    return low - step, mean, high + step


def probability_text(x: Number) -> str:
    """An error probability as text: rounded up to 3 digits, without zeros at the end.

    What the sum of several doubles adds past 12 digits is dust and not rounded up.

    Examples
    --------
    >>> probability_text(0.05), probability_text(0.05 / 6), probability_text(0.1 + 0.2)
    ('0.05', '0.00834', '0.3')
    """
    text = upper_text(float(f"{x:.12g}"), significant=3)
    digits, e, exponent = text.partition("e")
    short = digits.rstrip("0").rstrip(".") if "." in digits else digits
    return short + e + exponent


def _rounded(x: Number, rounding: str, decimals: int | None, significant: int | None) -> Decimal:
    """`x` as an exact decimal with the digits asked for; what is not finite as it is."""
    if decimals is not None and significant is not None:
        raise ValueError("give decimals or significant digits, not both")
    if (decimals is not None and decimals < 0) or (significant is not None and significant < 1):
        raise ValueError(
            f"decimals from 0 or significant digits from 1, got {decimals} and {significant}"
        )
    x = float(x)
    if not math.isfinite(x):
        return Decimal(x)
    exact = Decimal(x) if rounding == ROUND_HALF_EVEN else Decimal(repr(x))
    if significant is None:
        return _quantized(exact, -2 if decimals is None else -decimals, rounding)
    if not exact:
        return _quantized(exact, 1 - significant, rounding)
    once = _quantized(exact, exact.adjusted() + 1 - significant, rounding)
    # 9.996 became 10.00, a digit too many: 10.0 is the same number
    return _quantized(once, once.adjusted() + 1 - significant, rounding) if once else once


def _quantized(x: Decimal, exponent: int, rounding: str) -> Decimal:
    return x.quantize(Decimal((0, (1,), exponent)), rounding=rounding, context=_EXACT)


def _text(x: Decimal, significant: int | None, sign: bool) -> str:
    plain = significant is None or not x.is_finite() or not x or x.adjusted() in _PLAIN
    text = format(x if x else abs(x), "f" if plain else "e")
    text = text.lower().replace("infinity", "inf")
    return f"+{text}" if sign and not text.startswith(("-", "nan")) else text

"""Outward rounding: a printed limit is still a limit, to the last bit."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest

from saecert.statistics import rounding
from saecert.statistics.rounding import (
    half_step,
    half_steps,
    lower_text,
    nearest_text,
    rounded_down,
    rounded_up,
    upper_text,
    widened,
)

DIGITS = [{"decimals": d} for d in range(7)] + [{"significant": s} for s in range(1, 7)]


def doubles() -> Iterator[float]:
    """Random doubles of every size, and the neighbourhood of short decimals and of halves."""
    rng = np.random.default_rng(0)
    for exponent in range(-12, 9):
        yield from (float(x) for x in rng.normal(size=30) * 10.0**exponent)
    decimals = [0.242242, 5.413, 0.1, 0.2, 0.3, 2.675, 0.125, 0.5, 2.5, 9.995, 99.95, 1.005, 0.07]
    decimals += [float(x) for x in rng.integers(0, 10**6, 200) / 1000]
    for decimal in decimals:
        for x in (decimal, -decimal):
            yield x
            yield math.nextafter(x, math.inf)
            yield math.nextafter(x, -math.inf)
            yield x + 1e-11
            yield x - 1e-11
    yield from (0.0, -0.0, 5e-324, -5e-324, 1.7e308, -1.7e308, 2.0**53, 1e15, 1e16, 1e22)


def step(x: float, digits: dict[str, int]) -> float:
    """The distance of neighbouring numbers of so many digits at `x`."""
    if "decimals" in digits:
        return 10.0 ** -digits["decimals"]
    return 10.0 ** (math.floor(math.log10(abs(x))) + 1 - digits["significant"]) if x else 1.0


@pytest.mark.parametrize("digits", DIGITS, ids=str)
def test_a_printed_limit_is_on_its_side_and_less_than_a_step_away(digits: dict[str, int]) -> None:
    for x in doubles():
        up = rounded_up(x, **digits)
        down = rounded_down(x, **digits)
        upper = upper_text(x, **digits)
        lower = lower_text(x, **digits)
        assert down <= x <= up
        assert float(lower) <= x <= float(upper)
        assert (float(lower), float(upper)) == (down, up)
        if 1e-300 < abs(x) < 1e300:
            assert up - x <= step(x, digits) * (1 + 1e-9) + 4 * math.ulp(x)
            assert x - down <= step(x, digits) * (1 + 1e-9) + 4 * math.ulp(x)
        assert -rounded_up(-x, **digits) == down
        assert not {upper, lower, nearest_text(x, **digits)} & {"-0", "-0.0", "-0.00", "-0.000"}
        assert float(lower) <= float(nearest_text(x, **digits)) <= float(upper)


@pytest.mark.parametrize("decimals", range(7))
def test_printing_the_rounded_number_with_its_digits_says_the_same(decimals: int) -> None:
    for x in doubles():
        if abs(x) < 1e8:
            assert f"{rounded_up(x, decimals):.{decimals}f}" == upper_text(x, decimals)
            assert f"{rounded_down(x, decimals):.{decimals}f}" == lower_text(x, decimals)


@pytest.mark.parametrize("decimals", range(7))
def test_the_nearest_is_the_one_python_prints_without_a_signed_zero(decimals: int) -> None:
    for x in doubles():
        if abs(x) < 1e15:
            text = f"{x:.{decimals}f}"
            assert nearest_text(x, decimals) == (
                text.removeprefix("-") if float(text) == 0 else text
            )


def test_the_limits_that_were_printed_below_themselves() -> None:
    assert upper_text(0.242242, 3) == "0.243"  # was .242
    assert upper_text(5.413) == "5.42"  # was 5.41
    assert rounded_up(5.41 + 1e-11) == 5.42  # was 5.41
    assert rounded_up(0.242242, significant=3) == 0.243
    assert rounded_up(0.242 + 1e-11, significant=3) == 0.243


def test_a_limit_that_needs_no_rounding_keeps_its_value() -> None:
    assert [rounded_up(x) for x in (5.41, 0.07, 0.29, 1.1, 57.0)] == [5.41, 0.07, 0.29, 1.1, 57.0]
    assert [upper_text(x) for x in (5.41, 5.4, 5)] == ["5.41", "5.40", "5.00"]
    assert upper_text(math.nextafter(5.41, math.inf)) == "5.42"
    assert lower_text(math.nextafter(5.41, -math.inf)) == "5.40"


def test_significant_digits_count_from_the_first_that_is_not_zero() -> None:
    assert upper_text(0.0012341, significant=3) == "0.00124"
    assert upper_text(123456, significant=3) == "124000"
    assert upper_text(9.996, significant=3) == "10.0"
    assert lower_text(-9.996, significant=3) == "-10.0"
    assert upper_text(1.2341e-9, significant=3) == "1.24e-9"
    assert upper_text(0.0, significant=3) == "0.00"


def test_signs() -> None:
    assert upper_text(0.5, 1, sign=True) == "+0.5"
    assert lower_text(-0.5, 1, sign=True) == "-0.5"
    assert nearest_text(-0.0001, 3, sign=True) == "+0.000"


def test_what_is_not_finite_passes_through() -> None:
    assert math.isinf(rounded_up(math.inf)) and rounded_down(-math.inf) == -math.inf
    assert math.isnan(rounded_up(math.nan))
    assert [upper_text(x) for x in (math.inf, -math.inf, math.nan)] == ["inf", "-inf", "nan"]
    assert lower_text(math.inf, significant=3) == "inf"


def test_a_single_is_compared_as_a_double() -> None:
    assert rounded_up(np.float32(0.1)) == 0.11  # the single nearest to .1 is larger than .1


def test_digits_that_make_no_sense() -> None:
    for digits in ({"decimals": 2, "significant": 3}, {"decimals": -1}, {"significant": 0}):
        with pytest.raises(ValueError, match="significant"):
            rounded_up(1.0, **digits)


def test_error_probabilities_are_not_printed_below_themselves():
    values = (0.05, 0.05 / 6, 0.0123401, 1e-10, 1.0, 7 * 0.05)
    shown = [rounding.probability_text(x) for x in values]
    assert shown == ["0.05", "0.00834", "0.0124", "1e-10", "1", "0.35"]


def test_what_is_kept_in_half_precision_is_off_by_at_most_a_half_step():
    rng = np.random.default_rng(0)
    for largest in (0.3, 1.0, 12.0):
        x = rng.uniform(-largest, largest, 20_000)
        off = np.abs(x.astype(np.float16).astype(float) - x).max()
        assert 0.9 * half_step(largest) < off <= half_step(largest)
    with pytest.raises(ValueError, match="half precision holds sizes above 0 up to 65,504"):
        half_step(1e6)


def test_half_precision_never_turns_the_order_of_two_values():
    x = np.sort(np.random.default_rng(1).uniform(-12, 12, 20_000))
    assert (np.diff(x.astype(np.float16)) >= 0).all()


def test_half_steps_of_each_number_that_was_kept():
    rng = np.random.default_rng(4)
    powers = 2.0 ** np.arange(-14, 15)
    measured = np.concatenate([rng.lognormal(0, 4, 4000).clip(0, 6e4), powers * 0.9999, powers])
    kept = measured.astype(np.float16)
    steps = half_steps(kept.astype(float))
    assert (np.abs(measured - kept.astype(float)) <= steps).all()
    largest = measured.max()
    (step,) = half_steps(np.array([largest]))
    assert half_step(largest) <= step <= 2.01 * half_step(largest)


def test_widened_limits_keep_the_mean():
    assert widened((-1.0, 0.0, 2.0), 0.5) == (-1.5, 0.0, 2.5)

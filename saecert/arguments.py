"""Arguments of a public function as plain Python, or a line that names the one that is wrong."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from numbers import Integral, Real
from operator import index
from typing import Any, ParamSpec, TypeVar

import numpy as np

Check = Callable[[str, Any], Any]
"""What makes an argument of a name and a value, or raises ValueError."""

P = ParamSpec("P")
R = TypeVar("R")


def checked(checks: Mapping[str, Check]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator: the arguments that are given pass the checks of their names first.

    Examples
    --------
    >>> @checked({"delta": number})
    ... def half(delta):
    ...     return delta / 2
    >>> half("0.05")
    Traceback (most recent call last):
    ValueError: delta takes a number, got '0.05'
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)

        @wraps(function)
        def careful(*args: P.args, **kwargs: P.kwargs) -> R:
            given = signature.bind(*args, **kwargs)
            for name, value in given.arguments.items():
                if name in checks:
                    given.arguments[name] = checks[name](name, value)
            return function(*given.args, **given.kwargs)

        return careful

    return decorate


def refusal(name: str, takes: str, value: Any) -> ValueError:
    """The error for an argument that is not what it takes."""
    said = " ".join(f"{value!r:.60}".split())
    return ValueError(f"{name} takes {takes}, got {said}")


def number(name: str, value: Any) -> float:
    """A float; one of less precision becomes the float that is written like it.

    >>> number("alpha", np.float32(0.01))
    0.01
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise refusal(name, "a number", value)
    try:
        return float(str(value) if isinstance(value, np.floating) else value)
    except OverflowError:
        raise refusal(name, "a number", value) from None


def whole(name: str, value: Any) -> int:
    """An int; a float that is one is taken."""
    if isinstance(value, Integral) and not isinstance(value, bool):
        return index(value)
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return int(value)
    raise refusal(name, "a whole number", value)


def text(name: str, value: Any) -> str:
    """A text."""
    if not isinstance(value, str):
        raise refusal(name, "one text", value)
    return value


def truth(name: str, value: Any) -> bool:
    """True or False, and nothing that only counts as one."""
    if not isinstance(value, bool | np.bool_):
        raise refusal(name, "True or False", value)
    return bool(value)


def several(check: Check) -> Check:
    """A check of every item of a list, tuple or array; one alone is no list."""

    def items(name: str, value: Any) -> list[Any]:
        if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
            raise refusal(name, "a list", value)
        return [check(f"an item of {name}", item) for item in value]

    return items


def names(name: str, value: Any) -> list[str]:
    """A list of texts; a text alone is a list of one."""
    return several(text)(name, [value] if isinstance(value, str) else value)


def optional(check: Check) -> Check:
    """The same check, with None for what is not said."""
    return lambda name, value: None if value is None else check(name, value)


def kind(takes: str, *kinds: type) -> Check:
    """A check that a value is of one of these types; `takes` says in words what they are."""

    def instance(name: str, value: Any) -> Any:
        if not isinstance(value, kinds):
            raise refusal(name, takes, value)
        return value

    return instance

"""What a page claims, and whether it held on what was measured."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np

WIDTH = 72
_VERDICTS = {True: "holds", False: "does not hold"}
UNDECIDED = "undecided"
NOT_TESTED = "not tested"
NOT_SHOWN = "not shown, and nothing here could show the contrary"
"""Why a claim stays open that rests on limits of one side only."""
_REASONED = (UNDECIDED, NOT_TESTED)
_INDENT = 15


class Undecided(str):
    """Why a claim that was tested stays open, such as "the limits do not tell".

    It is neither true nor false: taken for one of them, as `all` would, it raises TypeError.
    """

    def __bool__(self) -> bool:
        raise TypeError(f"a claim left open is neither true nor false: {self}")


class ClaimFailed(AssertionError):
    """A claim of a page that does not hold where it must; the message names every one."""


def decided(
    shown: bool | np.bool_, refuted: bool | np.bool_, otherwise: str = "the limits leave it open"
) -> bool | Undecided:
    """What limits say about a claim: that it holds, that its contrary does, or neither.

    Parameters
    ----------
    shown
        Whether the limits show the claim.
    refuted
        Whether they show its contrary.
    otherwise
        Why the claim stays open where they show neither.

    Raises
    ------
    ValueError
        If both are said to be shown.

    Examples
    --------
    >>> low, high = -0.1, 0.2
    >>> decided(low > 0, high <= 0)
    'the limits leave it open'
    """
    if shown and refuted:
        raise ValueError("a claim and its contrary cannot both be shown: compare the two limits")
    return bool(shown) if shown or refuted else Undecided(otherwise)


def all_above(lower: Any, upper: Any, least: float = 0.0) -> bool | Undecided:
    """What limits say of a claim that each of several expectations is above `least`.

    It holds if every lower limit is above, and does not hold if any upper limit is not.

    Parameters
    ----------
    lower, upper
        Limits that hold jointly, in the same order: numbers or arrays.
    least
        What all expectations are claimed to exceed, in their unit.

    Examples
    --------
    >>> all_above([0.1, 0.2], [0.3, 0.4]), all_above([0.1, -0.4], [0.3, -0.2])
    (True, False)
    >>> all_above([0.1, -0.2], [0.3, 0.4])
    'the limits leave it open'
    """
    return decided((np.asarray(lower) > least).all(), (np.asarray(upper) <= least).any())


def all_below(lower: Any, upper: Any, most: float = 0.0) -> bool | Undecided:
    """The same of a claim that each of several expectations is below `most`.

    >>> all_below([0.1, 0.2], [0.3, 0.4], 0.5), all_below([0.1, 0.5], [0.3, 0.7], 0.5)
    (True, False)
    """
    return decided((np.asarray(upper) < most).all(), (np.asarray(lower) >= most).any())


def claims(strict: bool, claimed: Mapping[str, Any]) -> None:
    """Nothing, after printing one line a claim: "holds", "does not hold", "undecided" or "not
    tested".

    Parameters
    ----------
    strict
        Whether a claim that does not hold is an error. Those left open or not tested are none.
    claimed
        By claim, in words: whether it holds; or an `Undecided` text that says what the limits leave
        open; or None, or another text that says why it could not be tested, such as "needs two hook
        points".

    Raises
    ------
    ClaimFailed
        Names the claims that do not hold.

    Examples
    --------
    >>> claims(True, {"beats the bigram": True, "smaller at the last": "needs two SAEs"})
    holds          beats the bigram
    not tested     smaller at the last: needs two SAEs
    >>> claims(True, {"more than noise": Undecided("the limits do not tell")})
    undecided      more than noise: the limits do not tell
    """
    for name, value in claimed.items():
        print(_line(name, value))
    failed = [name for name, value in claimed.items() if _is_decided(value) and not value]
    if strict and failed:
        raise ClaimFailed(f"does not hold: {'; '.join(failed)}")


def read_claims(text: str) -> dict[str, str]:
    """What `claims` printed, by claim: "holds", "does not hold", "undecided" or "not tested".

    Other lines in `text` are passed over. Of a claim that is open or was not tested the reason is
    left out, unless the claim has a colon of its own.

    >>> read_claims("holds          beats the bigram\\nnot tested     smaller: needs two SAEs")
    {'beats the bigram': 'holds', 'smaller': 'not tested'}
    """
    found: list[tuple[str, str]] = []
    open_claim = False
    for line in text.splitlines():
        verdict = line[:_INDENT].rstrip()
        rest = line[_INDENT:].strip()
        if verdict in (*_VERDICTS.values(), *_REASONED) and rest:
            found.append((rest, verdict))
            open_claim = True
        elif open_claim and not verdict and rest:
            name, kind = found[-1]
            found[-1] = (f"{name} {rest}", kind)
        else:
            open_claim = False
    return {_without_reason(name, kind): kind for name, kind in found}


def _without_reason(name: str, verdict: str) -> str:
    return name.rpartition(": ")[0] or name if verdict in _REASONED else name


def _is_decided(value: Any) -> bool:
    """Whether the value decides its claim, one way or the other."""
    if value is None or isinstance(value, str):
        return False
    if isinstance(value, bool | np.bool_):
        return True
    raise TypeError(f"a claim is True, False, None or a text, got {value!r:.40}")


def _line(name: str, value: Any) -> str:
    verdict = UNDECIDED if isinstance(value, Undecided) else NOT_TESTED
    if _is_decided(value):
        verdict = _VERDICTS[bool(value)]
    text = f"{name}: {value}" if isinstance(value, str) else name
    indent = " " * _INDENT
    first = f"{verdict:<{_INDENT}}"
    return textwrap.fill(text, WIDTH, initial_indent=first, subsequent_indent=indent)

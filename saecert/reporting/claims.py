"""What a page claims, and whether it held on what was measured."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

WIDTH = 72
_VERDICTS = {True: "holds", False: "does not hold"}


class ClaimFailed(AssertionError):
    """A claim of a page that does not hold where it must; the message names every one."""


def claims(strict: bool, claimed: Mapping[str, Any]) -> None:
    """Nothing, after printing one line a claim: "holds", "does not hold" or "not tested".

    Parameters
    ----------
    strict
        Whether a claim that does not hold is an error. Claims that were not tested are none.
    claimed
        By claim, in words: whether it holds; or None, or a text that says why it was not tested,
        such as "needs two hook points".

    Raises
    ------
    ClaimFailed
        Names the claims that do not hold.

    Examples
    --------
    >>> claims(True, {"beats the bigram": True, "smaller at the last": "needs two SAEs"})
    holds          beats the bigram
    not tested     smaller at the last: needs two SAEs
    """
    for name, value in claimed.items():
        print(_line(name, value))
    failed = [name for name, value in claimed.items() if _tested(value) and not value]
    if strict and failed:
        raise ClaimFailed(f"does not hold: {'; '.join(failed)}")


def _tested(value: Any) -> bool:
    return value is not None and not isinstance(value, str)


def _line(name: str, value: Any) -> str:
    verdict = _VERDICTS[bool(value)] if _tested(value) else "not tested"
    text = f"{name}: {value}" if isinstance(value, str) else name
    indent = " " * 15
    first = f"{verdict:<15}"
    return textwrap.fill(text, WIDTH, initial_indent=first, subsequent_indent=indent)

"""The settings of certificates, checked by name before anything else is done with them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from saecert.arguments import Check, names, number, optional, refusal, several, text, truth, whole
from saecert.records import SequenceLosses

SMALLEST_DELTA = 1e-310
"""Parts of a smaller one would be rounded to 0."""


def _delta(name: str, value: Any) -> float:
    delta = number(name, value)
    if 0 < delta < SMALLEST_DELTA:
        raise refusal(name, f"a probability of at least {SMALLEST_DELTA:g}", value)
    return delta


def _tolerance(name: str, value: Any) -> float:
    bits = number(name, value)
    if not 0 < bits < math.inf:
        raise ValueError(f"{name} must be a positive number of bits, got {value}")
    return bits


def _seed(name: str, value: Any) -> int:
    seed = whole(name, value)
    if seed < 0:
        raise refusal(name, "a whole number from 0", value)
    return seed


def _pool(name: str, value: Any) -> int | list[int]:
    if isinstance(value, Iterable) and not isinstance(value, str):
        return several(whole)(name, value)
    return whole(name, value)


def _budget(name: str, value: Any) -> dict[str, float]:
    if not isinstance(value, Mapping):
        raise refusal(name, 'shares of delta by statement, such as {"bound": 0.04}', value)
    return {text(f"a key of {name}", key): _delta(f"{name}[{key!r}]", value[key]) for key in value}


def _record(name: str, value: Any) -> SequenceLosses:
    if isinstance(value, SequenceLosses):
        return value
    raise refusal(name, "a record: SequenceLosses.load(path), or what collect returns", value)


def _two_records(name: str, value: Any) -> tuple[SequenceLosses, ...]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise refusal(name, "the records of both, (losses_a, losses_b)", value)
    return tuple(_record(name, item) for item in value)


SETTINGS: dict[str, Check] = {
    "losses": _record,
    "method": text,
    "pool": optional(_pool),
    "delta": _delta,
    "alpha": number,
    "inequality": text,
    "prior": optional(text),
    "tolerance": _tolerance,
    "budget": optional(_budget),
    "n_seq": optional(whole),
    "seed": _seed,
    "allow": names,
    "eps": several(number),
    "unit": text,
    "ablations": optional(names),
    "ablation": text,
    "levels": optional(several(number)),
    "level": number,
    "cap": number,
    "jointly": truth,
    "quantity": text,
}
"""How each setting is checked, by its name in every function that has it."""

ONE_POOL = SETTINGS | {"pool": optional(whole)}
"""The same where the pool is one size."""

PAIRED = SETTINGS | {"losses": _two_records}
"""The same for `compare`."""

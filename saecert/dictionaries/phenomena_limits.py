"""What pairs of latents do together, with limits (no torch)."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd

from saecert.dictionaries.quantities import ABSORBED, BESIDES
from saecert.statistics.inequalities import INEQUALITIES, clopper_pearson_upper, lower
from saecert.statistics.rounding import half_step

Measured = Mapping[str, Mapping[str, np.ndarray]]
"""What `saecert.dictionaries.phenomena.phenomena` measures, by hook point."""


TOGETHER = ("hook_name", "pair", "cosine", *BESIDES, "by chance", "excess", "excess, upper")
"""Columns of `together`."""
SILENT = ("silent with child", "with child, lower", "silent alone", "alone, upper")
"""Columns of `absorbed` besides hook_name, pair, cosine and `PRESENT`."""
PRESENT = "sequences with child"
_DUST = 2.0**-10  # by which half precision may move a share


def together(measured: Measured, kind: str, delta: float, inequality: str) -> pd.DataFrame:
    """How often the latents of each pair fire together, against chance: a row a pair.

    **Guarantee.** With probability at least ``1 - delta`` over sequences drawn i.i.d. the upper
    limits of all J pairs hold, each at ``ln(J / delta)`` nats. They are on the expected covariance
    of the two over the m positions looked at in one sequence, which lies in [-1/4, 1/4]: below 0,
    the two fire together less than independent ones of the same shares in that sequence. Of
    positions drawn without replacement it is on average ``(m - 1) / m * T / (T - 1)`` of that over
    all T: of the same sign, up to 1 / m smaller. Pairs must have been chosen on other sequences.

    Columns hook_name, pair, cosine; "first", "second", "both", mean shares of positions; "by
    chance", the mean product of the first two within a sequence; "excess", both less by chance,
    with its upper limit.
    """
    n_pairs = sum(len(values[f"{kind} pairs"]) for values in measured.values())
    nats = math.log(max(n_pairs, 1) / delta)
    upper = INEQUALITIES[inequality]
    rows = []
    for hook_name, values in measured.items():
        for place, pair in enumerate(values[f"{kind} pairs"]):
            first, second, both = (values[f"{kind} {word}"][:, place] for word in BESIDES)
            _check_shares(np.stack([first, second, both]))
            excess = (both - first * second).clip(-0.25, 0.25)
            row = {
                "hook_name": hook_name,
                "pair": "{} {}".format(*(int(latent) for latent in pair)),
                "cosine": float(values[f"{kind} cosine"][place]),
                "first": float(first.mean()),
                "second": float(second.mean()),
                "both": float(both.mean()),
                "by chance": float((first * second).mean()),
                "excess": float(excess.mean()),
                "excess, upper": float(upper(excess, -0.25, 0.25, nats)),
            }
            rows.append(row)
    return pd.DataFrame(rows, columns=list(TOGETHER))


def absorbed(measured: Measured, delta: float) -> pd.DataFrame:
    """How often a present parent is silent, with its child and without: a row a pair.

    **Guarantee.** With probability at least ``1 - delta`` over sequences drawn i.i.d. both limits
    of all J pairs hold, each at ``ln(2 J / delta)`` nats (Clopper & Pearson 1934): on the
    probability that the parent is silent at the first of the positions looked at in a sequence at
    which it is present and the child fires, given that there is one; and the same with the child
    silent. (`saecert.dictionaries.phenomena.phenomena` looks at ``per_sequence`` random ones.)

    Columns hook_name, pair, cosine; "sequences with child", those with such a position; "silent
    with child", its lower limit; "silent alone", its upper limit.
    """
    n_pairs = sum(len(values[f"{ABSORBED} pairs"]) for values in measured.values())
    nats = math.log(2 * max(n_pairs, 1) / delta)
    rows = []
    for hook_name, values in measured.items():
        for place, pair in enumerate(values[f"{ABSORBED} pairs"]):
            child = _counts(values[f"{ABSORBED} child"][:, place])
            alone = _counts(values[f"{ABSORBED} alone"][:, place])
            fired = (child[1] - child[0], child[1])
            row = {
                "hook_name": hook_name,
                "pair": "{} {}".format(*(int(latent) for latent in pair)),
                "cosine": float(values[f"{ABSORBED} cosine"][place]),
                PRESENT: child[1],
                "silent with child": child[0] / max(child[1], 1),
                "with child, lower": 1 - _upper(*fired, nats),
                "silent alone": alone[0] / max(alone[1], 1),
                "alone, upper": _upper(*alone, nats),
            }
            rows.append(row)
    return pd.DataFrame(rows, columns=["hook_name", "pair", "cosine", PRESENT, *SILENT])


def inside(values: Mapping[str, np.ndarray], delta: float, inequality: str) -> pd.DataFrame:
    """How often latents that were found to be parts of another fire inside it: a row a step.

    **Guarantee.** With probability at least ``1 - delta`` over sequences drawn i.i.d. all lower
    limits hold, each at ``ln(2 J / delta)`` nats for J steps: on the expected share of the
    children's firings in a sequence at which their parent fires, and on how much larger it is than
    the share at which another latent does, given that a child fires in the sequence. Pairs must
    have been chosen on other text. Shares were kept in half precision: limits are moved down by its
    half-step, the second by two (`saecert.statistics.rounding.half_step`).

    `values` are those of one hook point, as `saecert.training.splitting.splitting` measures them.
    Columns "sequences" (in which a child fires), "inside", "inside, lower", "by chance", "more",
    "more, lower"; nan for a step without pairs.
    """
    nats = math.log(2 * len(values["inside"]) / delta)
    upper = INEQUALITIES[inequality]
    rows = []
    for shares in np.stack([values["inside"], values["inside by chance"]], axis=-1).astype(float):
        fired = shares[~np.isnan(shares).any(axis=1)]
        _check_shares(fired)
        share, chance = fired.clip(0, 1).T
        row = dict.fromkeys(("inside", "inside, lower", "by chance", "more", "more, lower"), np.nan)
        if len(share) >= 2:
            more = share - chance
            row = {
                "inside": float(share.mean()),
                "inside, lower": float(lower(upper, share, 0.0, 1.0, nats)) - half_step(1),
                "by chance": float(chance.mean()),
                "more": float(more.mean()),
                "more, lower": float(lower(upper, more, -1.0, 1.0, nats)) - 2 * half_step(1),
            }
        rows.append({"sequences": len(share)} | row)
    return pd.DataFrame(rows)


def _check_shares(shares: np.ndarray) -> None:
    """ValueError for what is further from [0, 1] than rounding takes a share."""
    if not ((shares >= -_DUST) & (shares <= 1 + _DUST)).all():
        raise ValueError(
            f"shares of positions lie in [0, 1], got {shares.min():.6g} to {shares.max():.6g}: are "
            "they counts?"
        )


def _counts(what: np.ndarray) -> tuple[int, int]:
    """Sequences in which the parent is silent, and those in which there is a position at all."""
    if not np.isin(what, (-1, 0, 1)).all():
        raise ValueError("a parent is silent (1), is not (0), or has no position (-1): look at it")
    return int((what == 1).sum()), int((what >= 0).sum())


def _upper(count: int, of: int, nats: float) -> float:
    return float(clopper_pearson_upper(count, of, nats)) if of else 1.0

"""What removing single latents costs, with limits (no torch)."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd

from saecert.dictionaries.quantities import KINDS, RANDOM, TRAINED
from saecert.statistics.inequalities import INEQUALITIES, Scalar, lower

Measured = Mapping[str, np.ndarray]
"""What `saecert.dictionaries.latents.removed` measures at one hook point."""

CAP = 0.25
"""Bits per token that one sequence counts for at most, up or down."""


def removal_limits(
    measured: Measured, delta: float, inequality: str = "dirichlet", cap: Scalar = CAP
) -> pd.DataFrame:
    """Capped cost of removing each latent: a row a latent, the trained ones first.

    **Guarantee.** With probability at least ``1 - delta`` over sequences drawn i.i.d. both limits
    of all J latents hold, each at ``ln(2 J / delta)`` nats. They are on the expected cost of a
    sequence, cut off at `cap` bits per token up and down, so that it lies in [-cap, cap]. Latents
    must have been chosen on other sequences.

    Columns kind, rank (from 1, within its kind), "lower", "mean", "upper" in bits per token;
    "capped", the share of sequences that were cut off; and "whole", the sample mean of the costs
    that were not, which has no limits: the sign of one expectation is not that of the other.

    ValueError for a `cap` that is not positive.
    """
    if not cap > 0:
        raise ValueError(f"a sequence has to count for something: cap={cap} must be above 0")
    costs = {kind: measured[f"{kind} cost"] for kind in KINDS}
    count = sum(cost.shape[1] for cost in costs.values())
    nats = math.log(2 * count / delta)
    upper = INEQUALITIES[inequality]
    frames = []
    for kind, cost in costs.items():
        cut = cost.T.clip(-cap, cap)
        frame = pd.DataFrame(
            {
                "kind": kind,
                "rank": np.arange(1, len(cut) + 1),
                "lower": lower(upper, cut, -cap, cap, nats),
                "mean": cut.mean(axis=1),
                "upper": upper(cut, -cap, cap, nats),
                "capped": (np.abs(cost.T) > cap).mean(axis=1),
                "whole": cost.mean(axis=0),
            }
        )
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def kinds_apart(
    measured: Measured, delta: float, inequality: str = "dirichlet", cap: Scalar = CAP
) -> tuple[float, float, float]:
    """Lower limit, mean and upper limit on how much more a trained latent shown costs than a random
    one, in bits per token.

    **Guarantee.** Both limits hold with probability at least ``1 - delta`` over sequences drawn
    i.i.d., each at ``ln(2 / delta)`` nats: on the expectation, over sequences, of the mean capped
    cost of the trained latents less that of the random ones, which lies in [-2 cap, 2 cap].
    """
    means = [measured[f"{kind} cost"].clip(-cap, cap).mean(axis=1) for kind in (TRAINED, RANDOM)]
    more = means[0] - means[1]
    nats = math.log(2 / delta)
    upper = INEQUALITIES[inequality]
    low = lower(upper, more, -2 * cap, 2 * cap, nats)
    return float(low), float(more.mean()), float(upper(more, -2 * cap, 2 * cap, nats))

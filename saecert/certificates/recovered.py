"""Loss recovered, the field's usual score of an SAE, with limits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from saecert.arguments import checked
from saecert.certificates.checks import checked_sample
from saecert.certificates.delta import split_delta
from saecert.certificates.sample import Sample
from saecert.certificates.settings import ONE_POOL
from saecert.records import SequenceLosses
from saecert.statistics.inequalities import INEQUALITIES
from saecert.statistics.ratio import ratio_limits
from saecert.statistics.rounding import lower_text, nearest_text, probability_text, upper_text

ABLATIONS = ("mean", "zero")
"""What the score may be relative to: the activation at the hook point replaced by a constant."""


@dataclass(frozen=True)
class Recovered:
    """How much of what an ablation costs a proxy gives back, with limits.

    ``(E l_abl - E l(g_A)) / (E l_abl - E l(f))`` of smoothed losses: 1 for a proxy as good as the
    model, 0 for one as bad as the ablation. The point estimate is what is usually reported.

    **Guarantee.** Where the ablation hurts (``E l_abl > E l(f)``): the ratio of expectations is at
    least `lower` except with probability `delta`, and at most `upper` except with probability
    `delta`, over samples drawn i.i.d., for settings fixed before they were looked at; both hold
    except with probability 2 delta (`saecert.statistics.ratio.ratio_limits`). That it hurts is part
    of the statement: where it does not, limits are given with probability at most `delta`.
    """

    ablation: str
    """"mean" or "zero": what the activation is replaced by."""
    k: int
    """Latents in the pool, d_sae for the whole dictionary."""
    alpha: float
    """Weight of the uniform distribution in every predictor."""
    n_seq: int
    """Sequences."""
    recovered: float | None
    """The ratio of the sample means; None where the ablation does not hurt in the sample."""
    lower: float | None
    """Lower limit; None if there is none."""
    upper: float | None
    """Upper limit; None if there is none up to `saecert.statistics.ratio.HIGHEST`."""
    defined: bool
    """Whether it is shown that the ablation hurts; if not, there are no limits."""
    delta: float
    """How often each limit may be wrong over samples."""

    def __str__(self) -> str:
        return f"{self.text}, {self.ablation} ablation, delta {probability_text(self.delta)}"

    @property
    def text(self) -> str:
        """The score as people know it, with its lower limit, such as "loss recovered .985"."""
        if not self.defined or self.recovered is None:
            return f"loss recovered: undefined, {self.ablation} ablation is not shown to hurt"
        limits = [] if self.lower is None else [f"at least {lower_text(self.lower, 3)}"]
        limits += [] if self.upper is None else [f"at most {upper_text(self.upper, 3)}"]
        point = nearest_text(self.recovered, 3)
        return f"loss recovered {point} ({', '.join(limits) or 'no limits'})"


@checked(ONE_POOL)
def loss_recovered(
    losses: SequenceLosses,
    *,
    pool: int | None = None,
    ablation: str = "zero",
    delta: float = 0.05,
    alpha: float = 0.5,
    inequality: str = "dirichlet",
    n_seq: int | None = None,
    seed: int = 0,
    allow: Sequence[str] = (),
) -> Recovered:
    """`Recovered` for one proxy and one ablation, each limit at `delta`.

    Parameters
    ----------
    losses
        Record of the certification sample, with the ablation measured.
    pool
        Size of a measured pool, fixed beforehand; the whole dictionary if not said.
    ablation
        One of `ABLATIONS`.
    delta, alpha, inequality, n_seq, seed, allow
        As for `certify`.

    Raises
    ------
    ValueError
        A setting out of range, a pool, an ablation or an alpha that was not measured, or an
        assumption check that fires.
    """
    split_delta(delta)
    if inequality not in INEQUALITIES:
        raise ValueError(f"unknown inequality '{inequality}'; there are {', '.join(INEQUALITIES)}")
    if ablation not in ABLATIONS:
        raise ValueError(f"unknown ablation '{ablation}'; there are {', '.join(ABLATIONS)}")
    if ablation not in losses.loss:
        raise ValueError(
            f"{ablation} ablation was not measured: collect with controls=True"
            + (" and discovery=" if ablation == "mean" else "")
        )
    record, _, _ = checked_sample(losses, n_seq, seed, allow)
    k = losses.d_sae if pool is None else pool
    return recovered_on(Sample.of(record, alpha), k, ablation, delta, inequality)


def recovered_on(sample: Sample, k: int, ablation: str, delta: float, inequality: str) -> Recovered:
    """`Recovered` on a sample that was checked, for the measured pool of `k`."""
    pooled = sample.pooled((k,))[0]
    ablated = sample.record.at(ablation, sample.alpha)
    support = (sample.lo, sample.hi)
    nats = -math.log(delta)
    limits = ratio_limits(ablated, pooled, sample.clean, support, nats, inequality)
    return Recovered(
        ablation=ablation,
        k=int(k),
        alpha=sample.alpha,
        n_seq=len(sample),
        recovered=_point(ablated, pooled, sample.clean),
        delta=delta,
        **limits._asdict(),
    )


def _point(
    ablated: Float[np.ndarray, "n_seq"],
    proxy: Float[np.ndarray, "n_seq"],
    clean: Float[np.ndarray, "n_seq"],
) -> float | None:
    cost = float((ablated - clean).mean())
    return float((ablated - proxy).mean()) / cost if cost > 0 else None

"""How many sequences it takes to have seen the latents that a further sequence will use.

Pool growth and missing mass. The unit is the sequence: a latent is seen once it was active anywhere
in one of n calibration sequences; what a further sequence activates and none of them did is
*missing*. Everything is averaged exactly over all choices of n out of the calibration sequences, so
no order of them matters.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from functools import partial
from typing import no_type_check

import numpy as np
from jaxtyping import Bool, Float, UInt
from scipy.stats import hypergeom

from saecert.statistics.inequalities import Scalar, clopper_pearson_upper, dirichlet_upper, lower

Active = Bool[np.ndarray, "n_seq d_sae"]
"""Which latents were active anywhere in each calibration sequence."""


def absent(active: Active, n: int, *, left_out: bool = False) -> Float[np.ndarray, "d_sae"]:
    """Probability that each latent is active in none of `n` sequences drawn from `active`.

    They are drawn without replacement; with `left_out`, from the sequences other than one in which
    the latent is active (a latent that is active nowhere is absent with probability 1 either way).

    Raises
    ------
    ValueError
        When there are fewer than `n` sequences to draw from, `n` is negative, or `active` holds
        counts instead of booleans.

    Examples
    --------
    >>> absent(np.array([[True, False], [False, False], [True, False]]), 1).round(3)
    array([0.333, 1.   ])
    """
    _check_active(active)
    n_others = len(active) - left_out
    if not 0 <= n <= n_others:
        raise ValueError(
            f"a pool from n = {n} sequences asked of {n_others} calibration sequences: "
            "measure more or lower n"
        )
    n_active = np.maximum(active.sum(axis=0) - left_out, 0)
    return hypergeom.pmf(0, n_others, n_active, n)


def pool_growth(active: Active, n: int) -> float:
    """Mean size of the pool from `n` of the sequences, over all choices of them.

    Rarefaction (Colwell, Mao & Chang 2004): unbiased for the expected size of the pool from `n`
    i.i.d. sequences, n <= n_seq. Raises ValueError for a larger `n`.
    """
    return float((1 - absent(active, n)).sum())


def missing(
    active: Active, n: int, rows: Bool[np.ndarray, "n_rows d_sae"], *, left_out: bool = False
) -> Float[np.ndarray, "n_rows"]:
    """Number of latents active in each of `rows` that a pool from `n` sequences lacks.

    It is the average over all choices of n calibration sequences. Rows are further sequences: the
    mean over them, divided by the mean number of active latents, is the missing mass. Or, with
    `left_out`, they are the calibration sequences themselves, each in turn a further one to the
    others: then the mean is the slope of `pool_growth` at n, unbiased, n < n_seq; at n = n_seq - 1
    it is Good and Turing's estimate, the number of latents active in exactly one sequence, over
    n_seq. Raises ValueError when the pool asks for more sequences than there are, or for counts.
    """
    _check_active(rows)
    return rows @ absent(active, n, left_out=left_out)


def sequences_needed(
    active: Active, fresh: Bool[np.ndarray, "n_fresh d_sae"], mass: float, nats: Scalar
) -> dict[str, int]:
    """How many calibration sequences give a pool that lacks ``1 - mass`` of the active mass.

    Or less of it, on average over their choice; a latent's mass is the probability that a sequence
    activates it. Keys: "estimate", from the calibration sequences alone; "fresh", on further
    sequences; "low" and "high", its limits. One more than the sequences a pool can be drawn from
    (without the one left out, for the estimate) stands for "more than these".

    **Guarantee.** "high" is below, and "low" above, the number for the expected missing mass, given
    the calibration sequences, each with probability at most exp(-nats), if the fresh sequences are
    i.i.d. and independent of the calibration. The search costs nothing: what is missing falls with
    n in every sequence, and so do the Dirichlet bounds.

    Parameters
    ----------
    active : (n_seq, d_sae), calibration sequences
    fresh : (n_fresh, d_sae), further sequences, n_fresh >= 2
    mass : in (0, 1)
    nats : ln(1 / delta) of each limit

    Raises
    ------
    ValueError
        If `mass` is not strictly between 0 and 1, or an array holds counts instead of booleans.

    Examples
    --------
    >>> everywhere = np.ones((10, 3), bool)
    >>> sequences_needed(everywhere, np.ones((100, 3), bool), mass=0.9, nats=3.0)["high"]
    1
    """
    if not 0 < mass < 1:
        raise ValueError(
            f"mass must lie strictly between 0 and 1, got {mass}: "
            "no finite sample is sure to show all of it"
        )
    _check_active(fresh)
    lacking = 1 - mass
    return {
        "estimate": _first(_mean, active, active, lacking, left_out=True),
        "low": _first(partial(lower, "dirichlet", nats=nats), active, fresh, lacking),
        "fresh": _first(_mean, active, fresh, lacking),
        "high": _first(partial(dirichlet_upper, nats=nats), active, fresh, lacking),
    }


def growth_curve(
    active: Active, fresh: Bool[np.ndarray, "n_fresh d_sae"], sizes: Sequence[int], nats: Scalar
) -> list[dict[str, int | float]]:
    """One row per number of calibration sequences: size of the pool, and what it lacks.

    Keys: "n"; "pool", its mean size; "estimate", the mean number of latents that a further sequence
    adds, from the calibration sequences alone; "fresh", on further sequences, with limits "low" and
    "high", each of them wrong with probability at most exp(-nats).
    """
    rows = []
    for n in sizes:
        lacking = missing(active, n, fresh)
        most = max(1.0, absent(active, n).sum())
        rows.append(
            {
                "n": int(n),
                "pool": pool_growth(active, n),
                "estimate": float(missing(active, n, active, left_out=True).mean()),
                "fresh": float(lacking.mean()),
                "low": float(lower("dirichlet", lacking, 0, most, nats)),
                "high": float(dirichlet_upper(lacking, 0, most, nats)),
            }
        )
    return rows


def judged_pool(
    calibration: UInt[np.ndarray, "n_pool d_sae"],
    fresh: UInt[np.ndarray, "n_fresh d_sae"],
    nats: Scalar,
) -> dict[str, float]:
    """What the pool of some calibration sequences lacks, by themselves and on fresh sequences.

    Arguments hold active positions of each latent in each sequence. Keys: "active", latents active
    in a calibration sequence; "pool (%)", its share of the dictionary; "Q1 / n", Good and Turing's
    estimate; limits on the expected number of latents that a fresh sequence adds ("added"), on the
    probability that it adds any ("any (%)"), and on the share of its firings (a latent active at a
    position) outside the pool ("firings (%)", with its mean).

    **Guarantee.** Each of the five limits is wrong with probability at most exp(-nats), given the
    calibration sequences, if the fresh ones are drawn independently. ValueError without calibration
    sequences, or for two numbers of latents.
    """
    if not len(calibration) or calibration.shape[1:] != fresh.shape[1:]:
        raise ValueError(
            f"a pool is judged on sequences of one dictionary, from one on: got {calibration.shape}"
            f" and {fresh.shape}"
        )
    own = calibration > 0
    outside = ~own.any(axis=0)
    added = (fresh[:, outside] > 0).sum(axis=1).astype(float)
    support = (0, max(1, int(outside.sum())))
    n_fresh = len(fresh)
    n_any = int((added > 0).sum())
    all_firings = np.maximum(fresh.sum(axis=1, dtype=np.int64), 1)
    firings = fresh[:, outside].sum(axis=1, dtype=np.int64) / all_firings
    return {
        "active": own.sum(axis=1).mean(),
        "pool (%)": 100 * (1 - outside.mean()),
        "Q1 / n": (own.sum(axis=0) == 1).sum() / len(own),
        "added, at least": lower("dirichlet", added, *support, nats),
        "added, at most": dirichlet_upper(added, *support, nats),
        "any (%), at least": 100 - 100 * clopper_pearson_upper(n_fresh - n_any, n_fresh, nats),
        "any (%), at most": 100 * clopper_pearson_upper(n_any, n_fresh, nats),
        "firings (%)": 100 * firings.mean(),
        "firings (%), at most": 100 * dirichlet_upper(firings, 0, 1, nats),
    }


@no_type_check  # types are what it judges, in words for people
def _check_active(active: Active) -> None:
    if active.dtype != bool or active.ndim != 2:
        raise ValueError(
            "which latents were active in each sequence are booleans, a row a sequence, got "
            f"{active.dtype} of shape {active.shape}: for counts pass counts > 0"
        )


def _first(
    bound: Callable[..., float | np.ndarray],
    active: Active,
    rows: Bool[np.ndarray, "n_rows d_sae"],
    lacking: float,
    *,
    left_out: bool = False,
) -> int:
    """The least n at which ``bound(excess, lo, hi)`` is at most 0, one more than the last if none.

    The excess of a row is the number of its latents that a pool from n sequences lacks, less the
    share `lacking` of those it activates; `lo` and `hi` are its least and largest possible values.
    """

    def enough(n: int) -> bool:
        excess = absent(active, n, left_out=left_out) - lacking
        lo = np.minimum(excess, 0).sum()
        hi = np.maximum(excess, 0).sum()
        return bool(bound(rows @ excess, lo, hi) <= 0)

    n_choices = len(active) + 1 - left_out
    return bisect_left(range(n_choices), True, key=enough)


def _mean(excess: Float[np.ndarray, "n_rows"], lo: float, hi: float) -> float:
    return float(excess.mean())

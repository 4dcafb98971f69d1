"""How many sequences it takes to have seen the latents that a further sequence will use: pool growth and missing mass.

The unit is the sequence. A latent is seen once it was active anywhere in one of n calibration sequences; what a further
sequence activates and none of them did is *missing*. Everything is averaged exactly over all choices of n out of the
calibration sequences, so no order of them matters.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt
from scipy.stats import hypergeom

from saecert.corpora.corpus import Corpus
from saecert.measurement.identity import code_of, identity
from saecert.statistics.inequalities import Scalar, dirichlet_upper, lower
from saecert.storage import cached_arrays
from saecert.subjects import forward
from saecert.subjects.subject import Subject

Active = Bool[np.ndarray, "n_seq d_sae"]
"""Which latents were active anywhere in each calibration sequence."""


def activity(
    subject: Subject,
    corpus: Corpus,
    hook_names: Sequence[str] | None = None,
    *,
    batch_size: int = 16,
    progress: bool = True,
) -> dict[str, UInt[np.ndarray, "n_seq _"]]:
    """Positions at which each latent is active in each sequence, BOS left out, by hook point.

    One run of the LM per batch serves all hook points (default: every one that has an SAE). Kept in the cache folder.
    """
    saes = {name: subject.sae_at(name) for name in hook_names or subject.hook_names}

    @torch.no_grad()
    def build() -> dict[str, np.ndarray]:
        counts = {
            name: np.zeros((len(corpus), sae.cfg.d_sae), np.min_scalar_type(corpus.n_ctx))
            for name, sae in saes.items()
        }
        for rows, tokens in corpus.batches(
            batch_size, subject.device, f"activity {corpus.split}", progress
        ):
            for name, acts in forward.native_acts_at(subject.model, tokens, list(saes)).items():
                counts[name][rows] = (
                    (saes[name].encode(acts)[:, int(corpus.bos) :] != 0).sum(dim=1).cpu().numpy()
                )
        return counts

    return cached_arrays(
        "activity", identity(subject, corpus, list(saes), code_of(forward, activity)), build
    )


def absent(active: Active, n: int, *, left_out: bool = False) -> Float[np.ndarray, "d_sae"]:
    """Probability that each latent is active in none of `n` sequences drawn from `active` without replacement.

    With `left_out` they are drawn from the others than one in which the latent is active. ValueError when there are fewer than `n`.

    >>> absent(np.array([[True, False], [False, False], [True, False]]), 1).round(3)
    array([0.333, 1.   ])
    """
    n_others = len(active) - left_out
    if not 0 <= n <= n_others:
        raise ValueError(
            f"a pool from n = {n} sequences asked of {n_others} calibration sequences: measure more or lower n"
        )
    return hypergeom.pmf(0, n_others, np.maximum(active.sum(axis=0) - left_out, 0), n)


def pool_growth(active: Active, n: int) -> float:
    """Mean size of the pool from `n` of the sequences, over all choices: rarefaction (Colwell, Mao & Chang 2004).

    Unbiased for the expected size at `n` i.i.d. sequences, n <= n_seq.
    """
    return float((1 - absent(active, n)).sum())


def missing(
    active: Active, n: int, rows: Bool[np.ndarray, "n_rows d_sae"], *, left_out: bool = False
) -> Float[np.ndarray, "n_rows"]:
    """Number of latents active in each of `rows` that a pool from `n` calibration sequences lacks, on average over all choices.

    Rows are further sequences: the mean over them, divided by the mean number of active latents, is the missing mass. Or, with
    `left_out`, they are the calibration sequences themselves, each in turn a further one to the others: then the mean is the
    slope of `pool_growth` at n, unbiased, n < n_seq; at n = n_seq - 1 it is Good and Turing's estimate, the number of latents
    active in exactly one sequence, over n_seq.
    """
    return rows @ absent(active, n, left_out=left_out)


def sequences_needed(
    active: Active, fresh: Bool[np.ndarray, "n_fresh d_sae"], mass: float, nats: Scalar
) -> dict[str, int]:
    """How many calibration sequences give a pool that lacks at most ``1 - mass`` of the active mass, on average over their choice.

    A latent's mass is the probability that a sequence activates it. Keys: "estimate", from the calibration sequences alone;
    "fresh", on further sequences; "low" and "high", its limits. One more than the sequences a pool can be drawn from (without
    the one left out, for the estimate) stands for "more than these".

    **Guarantee.** "high" is below, and "low" above, the number for the expected missing mass, given the calibration sequences,
    each with probability at most exp(-nats), if the fresh sequences are i.i.d. and independent of the calibration. The search
    costs nothing: what is missing falls with n in every sequence, and so do the Dirichlet bounds.

    Parameters
    ----------
    active : (n_seq, d_sae), calibration sequences
    fresh : (n_fresh, d_sae), further sequences, n_fresh >= 2
    mass : in (0, 1)
    nats : ln(1 / delta) of each limit

    Raises
    ------
    ValueError
        If `mass` is not strictly between 0 and 1.
    """
    if not 0 < mass < 1:
        raise ValueError(
            f"mass must lie strictly between 0 and 1, got {mass}: no finite sample is sure to show all of it"
        )

    def first(bound: Callable, rows: np.ndarray, *, left_out: bool = False) -> int:
        def enough(
            n: int,
        ) -> bool:  # the mean of what is lacking, less the share allowed, is not above 0
            excess = absent(active, n, left_out=left_out) - (1 - mass)
            return bool(
                bound(rows @ excess, np.minimum(excess, 0).sum(), np.maximum(excess, 0).sum(), nats)
                <= 0
            )

        return bisect_left(range(len(active) + 1 - left_out), True, key=enough)

    return {
        "estimate": first(lambda x, *_: x.mean(), active, left_out=True),
        "low": first(partial(lower, "dirichlet"), fresh),
        "fresh": first(lambda x, *_: x.mean(), fresh),
        "high": first(dirichlet_upper, fresh),
    }

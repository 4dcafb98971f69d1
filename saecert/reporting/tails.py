"""Tables of page 08: tails of the gap, loss recovered and divergence by pool (no torch)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from saecert.certificates.divergence import divergence_limit
from saecert.certificates.recovered import ABLATIONS, loss_recovered
from saecert.certificates.tails import tails
from saecert.records import SequenceLosses, smoothed_support
from saecert.statistics.coverage import coverage_table
from saecert.statistics.coverage_tails import statements
from saecert.statistics.inequalities import INEQUALITIES

ALONE = {"jointly": False}


def quantile_table(
    losses: SequenceLosses, pools: Sequence[int], *, delta: float, alpha: float, eps: float
) -> pd.DataFrame:
    """Upper limits on quantiles of the gap in bits, and on P(gap > eps): one row a pool.

    Each limit is a statement of its own at `delta`. Index k; columns "<level>", as many as the
    number of sequences allows, and "P(gap > eps), at most" with eps as a number.
    """
    rows = {}
    for k in pools:
        found = tails(losses, pool=k, delta=delta, alpha=alpha, eps=(eps,), **ALONE)
        limits = {f"{row.level:g}": row.upper for row in found.quantiles}
        rows[k] = limits | {f"P(gap > {eps:g}), at most": found.shares[0].exceeded}
    return pd.DataFrame(rows).T.rename_axis("k")


def named_quantiles(limits: pd.DataFrame, eps: float) -> pd.DataFrame:
    """The frame of `quantile_table` under two levels of columns, as it is printed."""
    levels = [("quantile, at most", level) for level in limits.columns[:-1]]
    names = [*levels, ("probability, at most", f"gap > {eps:g}")]
    return limits.set_axis(pd.MultiIndex.from_tuples(names), axis=1).rename_axis(
        "latents in the pool"
    )


def proxy_in_words(name: str) -> str:
    """What a table calls a proxy.

    >>> [proxy_in_words(name) for name in ("full", "pool_1152", "zero")]
    ['whole SAE', 'pool of 1,152', 'zero ablation']
    """
    if name == "full":
        return "whole SAE"
    if name.startswith("pool_"):
        return f"pool of {int(name.removeprefix('pool_')):,}"
    return f"{name} ablation" if name in ABLATIONS else name


def mean_table(
    losses: SequenceLosses,
    pools: Sequence[int],
    *,
    delta: float,
    alpha: float,
    cap: float,
    inequality: str,
) -> pd.DataFrame:
    """What a limit on the mean gap is made of, one row a pool, in bits.

    Index k; columns "mean" (of the sample) with its limit "mean, at most", "capped mean" (sample
    mean of min(gap, cap)) with its limit "capped, at most", each a statement of its own at `delta`;
    "spent" is what the first limit is above its mean, and "share" how large a share of sequences at
    the worst possible gap would explain as much.
    """
    lo, hi = smoothed_support(alpha, losses.n_vocab)
    rows = {}
    for k in pools:
        options = {"delta": delta, "alpha": alpha, "cap": cap, "inequality": inequality}
        found = tails(losses, pool=k, eps=(), levels=(), **options, **ALONE)
        gap = np.abs(losses.at(f"pool_{k}", alpha) - losses.at("clean", alpha))
        limit = float(INEQUALITIES[inequality](gap, 0.0, hi - lo, -math.log(delta)))
        mean = float(gap.mean())
        spent = limit - mean
        capped = {"capped mean": found.capped.mean, "capped, at most": found.capped.upper}
        rows[k] = {"mean": mean, "mean, at most": limit, **capped}
        rows[k] |= {"spent": spent, "share": spent / (hi - lo - mean)}
    return pd.DataFrame(rows).T.rename_axis("k")


def recovered_table(
    losses: SequenceLosses, pools: Sequence[int], *, delta: float, alpha: float, inequality: str
) -> pd.DataFrame:
    """Loss recovered by pool and measured ablation: each limit a statement of its own at `delta`.

    Columns: ablation, k, mean (the ratio of the sample means), lower, upper; nan for no limit.
    """
    rows = []
    for ablation in (name for name in ABLATIONS if name in losses.loss):
        for k in pools:
            options = {"delta": delta, "alpha": alpha, "inequality": inequality}
            found = loss_recovered(losses, pool=k, ablation=ablation, **options)
            row = {"ablation": f"{ablation} ablation", "k": k, "mean": found.recovered}
            rows.append(row | {"lower": found.lower, "upper": found.upper})
    frame = pd.DataFrame(rows, columns=["ablation", "k", "mean", "lower", "upper"])
    return frame.astype({"mean": float, "lower": float, "upper": float})


def divergence_table(
    measured: Mapping[str, np.ndarray],
    alphas: Sequence[float],
    n_vocab: int,
    *,
    delta: float,
    inequality: str,
) -> pd.DataFrame:
    """KL(f || proxy) of smoothed predictions in bits: one row a proxy and alpha, limits at `delta`.

    `measured` is what `study.measure("divergence", ...)` gives. Columns: proxy, alpha, mean, upper.
    """
    rows = []
    for proxy, values in measured.items():
        for alpha, column in zip(alphas, values.T, strict=True):
            options = {"delta": delta, "inequality": inequality, "n_vocab": n_vocab}
            found = divergence_limit(column, proxy=proxy, alpha=alpha, **options)
            row = {"proxy": proxy, "alpha": alpha, "mean": found.mean}
            rows.append(row | {"upper": found.upper})
    return pd.DataFrame(rows)


def exceedance(losses: SequenceLosses, pools: Sequence[int], alpha: float) -> pd.DataFrame:
    """Share of sequences whose gap is at least so large: columns k, gap, share (of the sample)."""
    frames = []
    for k in pools:
        gap = np.sort(np.abs(losses.at(f"pool_{k}", alpha) - losses.at("clean", alpha)))
        share = 1 - np.arange(len(gap)) / len(gap)
        frames.append(pd.DataFrame({"k": k, "gap": gap, "share": share}))
    return pd.concat(frames, ignore_index=True)


def misses_of_statement(
    *, statement: str, n: int, wrong: bool = False, **settings: Any
) -> list[dict[str, Any]]:
    """Miss rates of a statement on populations of known truth: rows of `coverage_table`, labelled.

    Parameters
    ----------
    statement
        A key of `saecert.statistics.coverage_tails.statements`.
    n
        Sequences in a sample.
    wrong
        Whether its mutant is tried instead.
    settings
        draws, values, delta and seed of `coverage_table`.
    """
    tried = statements()[statement]
    limits = {tried.wrong: tried.mutant} if wrong else {statement: tried.limit}
    made = tried.populations
    rows = coverage_table(limits, [n], populations=made, progress=False, **settings)
    label = f"{statement}, {tried.wrong}" if wrong else statement
    return [{"label": label, **row} for row in rows]

"""certify_stream(): read sequences until a target is certain, and not one more."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from saecert.arguments import checked
from saecert.certificates.checks import LARGE, Findings, checked_sample
from saecert.certificates.comparison import QUANTITIES, values_of
from saecert.certificates.delta import split_delta
from saecert.certificates.ladder import rungs
from saecert.certificates.pool_rules import PoolChoice, fixed_pool
from saecert.certificates.sample import Sample
from saecert.certificates.settings import ONE_POOL
from saecert.records import ROWS, TABLES, SequenceLosses
from saecert.statistics.betting import mixture
from saecert.statistics.rounding import lower_text, rounded_up

Target = str | Mapping[str, float | int]

_SAME = ("model_sha256", "processing", "hook_name", "sae_sha256", "population", "n_ctx", "dtype")


@dataclass(frozen=True)
class Stopped:
    """What a stream of sequences proved, and when."""

    target: Target
    """Rung that was to be beaten, or ``{quantity: most}``."""
    n: int | None
    """Sequences read when the target was certain; None if the stream ended before."""
    log_wealth: Float[np.ndarray, "n_read"]
    """Natural logarithm of the wealth after each sequence read; the target is certain once it is
    ln(1/delta).
    """
    delta: float
    """Probability with which a target that is false is ever claimed, however long the stream."""
    alpha: float
    """Weight of the uniform distribution in every predictor."""
    k: int
    """Latents in the pool; all of them for a target that involves no pool."""
    pool_rule: str
    """How the pool was chosen, in words."""
    checks: dict[str, int | float | None]
    """What `saecert.certificates.checks.CHECKS` found on the parts received."""
    allow: list[str]
    """Those of them that found something and were let through."""
    provenance: dict[str, Any]
    """Provenance of the last part."""

    @property
    def holds(self) -> bool:
        """Whether the target is certified."""
        return self.n is not None

    def __str__(self) -> str:
        if isinstance(self.target, str):
            claim = f"better than {self.target}"
        else:
            claim = "".join(
                f"{QUANTITIES[name]}, below {most}" for name, most in self.target.items()
            )
        outcome = "certain" if self.holds else "not certain"
        largest = math.exp(min(self.log_wealth.max(), 700.0))
        wealth = lower_text(largest, significant=3)
        needed = rounded_up(1 / self.delta, significant=3)
        return (
            f"{claim}: {outcome} after {len(self.log_wealth)} sequences "
            f"(largest wealth {wealth}, {needed:g} needed)"
        )


class _Bet(NamedTuple):
    """Values whose mean is claimed to be below a threshold, and the ends of their support."""

    values: Float[np.ndarray, "n_seq"]
    lo: float
    hi: float
    most: float


@checked(ONE_POOL)
def certify_stream(
    parts: Iterable[SequenceLosses],
    *,
    target: Target,
    pool: int | None = None,
    tolerance: float = 0.1,
    delta: float = 0.05,
    alpha: float = 0.5,
    inequality: str = "betting",
    allow: Sequence[str] = (),
) -> Stopped:
    """`Stopped` at the first sequence at which `target` is certain; no further part is asked for.

    **Guarantee.** If the target is false it is claimed with probability at most delta, *however
    often one looks*: against the claim "the target is false" each sequence is bet on with stakes
    that depend on earlier ones only (`saecert.statistics.betting.mixture`), so the wealth is a
    nonnegative supermartingale if that claim is true, and ever reaches 1/delta with probability at
    most delta (Ville's inequality). It takes sequences that are i.i.d. in their order of arrival,
    and everything else fixed before the first is looked at: target, delta, alpha, and the pool,
    which is given or chosen on discovery. A rung "r" claims ``R(f), R(g), R(g_A) <= E s_A < R(r)``,
    paired; ``{quantity: most}`` claims that the expectation is below `most`. One target is tested:
    several share delta.

    Parameters
    ----------
    parts
        Records of successive pieces of one sample, with the same discovery. A generator measures
        only what is needed::

            starts = range(0, len(corpus) - 63, 64)
            texts = (corpus.part(i, i + 64) for i in starts)
            pieces = (collect(subject, text, discovery=discovery) for text in texts)
            stopped = certify_stream(pieces, target="bigram")

        Near-duplicates are looked for within a piece, exact repeats and shared documents across
        all: take a corpus without the former.
    target
        "uniform", "unigram", "bigram" or another reference of the records, or ``{quantity: most}``
        for a key of `saecert.certificates.comparison.QUANTITIES`, such as ``{"gap": 0.25}`` or
        ``{"sharp": 8.0}`` (bits per token; shares for behaviour).
    pool, tolerance
        As for the method "fixed" of `certify`; the rule looks at the discovery of the first part.
    delta, alpha
        Error probability and smoothing weight, in (0, 1).
    inequality
        "betting". All others are refused: they hold at one sample size fixed beforehand.
    allow
        Names of assumption checks that may find something, as for `certify`.

    Raises
    ------
    ValueError
        A setting out of range or unknown, another inequality, a target that no data or all data
        meet, an empty stream, parts that differ in model, SAE, discovery or population, an
        assumption check that found something and is not in `allow`.
    """
    _check_inequality(inequality)
    split_delta(delta)
    needed = -math.log(delta)
    reader = _Reader(target, pool, tolerance, alpha, allow)
    for part in parts:
        reader.read(part)
        if reader.log_wealth.max() >= needed:
            break
    if reader.seen is None:
        raise ValueError(
            "the stream has no part: give an iterable of SequenceLosses, "
            "such as a generator of collect(...)"
        )
    certain = np.flatnonzero(reader.log_wealth >= needed)
    n = int(certain[0]) + 1 if len(certain) else None
    return Stopped(
        target=target,
        n=n,
        log_wealth=reader.log_wealth[:n],
        delta=delta,
        alpha=alpha,
        k=reader.choice.sizes[0],
        pool_rule=reader.choice.rule,
        checks=reader.checks,
        allow=reader.let_through,
        provenance=reader.seen.provenance,
    )


def _check_inequality(inequality: str) -> None:
    if inequality != "betting":
        raise ValueError(
            f"'{inequality}' holds at one sample size fixed beforehand; looking until it succeeds "
            "would be wrong more often than delta: leave inequality='betting', "
            "or certify a sample of fixed size"
        )


class _Reader:
    """What has been read of a stream, and the wealth after each sequence."""

    choice: PoolChoice
    checks: Findings
    let_through: list[str]

    def __init__(
        self, target: Target, pool: int | None, tolerance: float, alpha: float, allow: Sequence[str]
    ) -> None:
        self.target = target
        self.pool = pool
        self.tolerance = tolerance
        self.alpha = alpha
        self.allow = allow
        self.seen: SequenceLosses | None = None
        self.stakes: Float[np.ndarray, "fractions rows"] | None = None
        self.log_wealth = np.empty(0)

    def read(self, part: SequenceLosses) -> None:
        """Bet on the sequences of a further part."""
        if self.seen is None:
            self.choice = _pool(part, self.target, self.pool, self.tolerance, self.alpha)
            self.seen = part
        else:
            self.seen = _joined(self.seen, part)
        _, self.checks, self.let_through = checked_sample(self.seen, None, 0, self.allow)
        bet = _bet_on(part, self.target, self.choice.sizes[0], self.alpha)
        width = bet.hi - bet.lo
        shares = (bet.hi - bet.values)[None] / width
        path, self.stakes = mixture(shares, (bet.hi - bet.most) / width, self.stakes)
        self.log_wealth = np.append(self.log_wealth, path)


def _pool(
    part: SequenceLosses, target: Target, pool: int | None, tolerance: float, alpha: float
) -> PoolChoice:
    """The pool that the target is about: the whole dictionary if it involves none."""
    sample = Sample.of(part, alpha)
    if isinstance(target, str) or set(target) != {"gap"}:
        return fixed_pool(sample, pool, tolerance)
    return replace(fixed_pool(sample, part.d_sae, tolerance), rule="none needed")


def _bet_on(part: SequenceLosses, target: Target, k: int, alpha: float) -> _Bet:
    if isinstance(target, str):
        return _bet_on_reference(part, target, k, alpha)
    if len(target) != 1:
        raise ValueError(
            f"a stream has one target, got {dict(target)}: run one stream for each, "
            "and divide delta among them"
        )
    ((quantity, most),) = target.items()
    values, lo, hi = values_of(part, quantity, k, alpha)
    if not lo < most < hi:
        raise ValueError(
            f"'{quantity}' lies between {lo:.4g} and {hi:.4g}: "
            f"whether it is below {most:g} needs no data"
        )
    return _Bet(values, lo, hi, float(most))


def _bet_on_reference(part: SequenceLosses, target: str, k: int, alpha: float) -> _Bet:
    """s_A minus the reference's loss, claimed to be below 0."""
    ladder = {rung.name: rung for rung in rungs(part, alpha)}
    sharp, lo, hi = values_of(part, "sharp", k, alpha)
    if target not in ladder:
        raise ValueError(
            f"no reference '{target}': a target is one of {', '.join(ladder)}, "
            "or a tolerance such as {'gap': 0.25}"
        )
    rung = ladder[target]
    return _Bet(sharp - rung.losses, lo - rung.highest, hi - rung.lowest, 0.0)


def _joined(seen: SequenceLosses, part: SequenceLosses) -> SequenceLosses:
    """What assumption checks look at, for all parts so far: the largest arrays are left out.

    Raises
    ------
    ValueError
        The new part does not belong to the earlier ones.
    """
    before = _facts(seen)
    after = _facts(part)
    if different := [name for name in before if before[name] != after[name]]:
        raise ValueError(
            f"the parts of a stream differ in {', '.join(different)}: "
            "measure all on one model, SAE, corpus and discovery"
        )
    n_seq = len(seen) + len(part)
    fixed = part.discovery
    # only a stream as long as the discovery split can be the discovery split
    compared = ("active",) if fixed is not None and n_seq <= fixed.n_seq else ()
    rows: dict[str, Any] = {}
    for name in ROWS:
        both = (getattr(seen, name), getattr(part, name))
        if name in LARGE and name not in compared:
            rows[name] = np.broadcast_to(np.zeros((), both[1].dtype), (n_seq, *both[1].shape[1:]))
            continue
        unknown = any(values is None for values in both)
        rows[name] = None if unknown else np.concatenate(both)
    no_losses: dict[str, Any] = {name: {} for name in TABLES}
    return replace(part, **no_losses, **rows)


def _facts(record: SequenceLosses) -> dict[str, Any]:
    """What all parts of a stream have in common."""
    ranking = None if record.discovery is None else record.discovery.order.tolist()
    return {name: record.provenance.get(name) for name in _SAME} | {
        "vocabulary": record.n_vocab,
        "references": record.reference_support,
        "discovery ranking": ranking,
    }

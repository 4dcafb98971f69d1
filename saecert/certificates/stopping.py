"""certify_stream(): read sequences until a target is certain, and not one more."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from saecert.certificates.checks import checked_sample
from saecert.certificates.comparison import QUANTITIES, values_of
from saecert.certificates.ladder import rungs
from saecert.certificates.pool_rules import fixed_pool, split_delta
from saecert.records import SequenceLosses
from saecert.statistics.betting import mixture

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
    """Natural logarithm of the wealth after each sequence read; the target is certain once it is ln(1/delta)."""
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
        target = {} if isinstance(self.target, str) else self.target
        claim = (
            "".join(f"{QUANTITIES[name]}, below {most:g}" for name, most in target.items())
            or f"better than {self.target}"
        )
        wealth = (
            f"largest wealth {math.exp(self.log_wealth.max()):.3g}, {1 / self.delta:.3g} needed"
        )
        return f"{claim}: {'' if self.holds else 'not '}certain after {len(self.log_wealth)} sequences ({wealth})"


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

    **Guarantee.** If the target is false it is claimed with probability at most delta, *however often one looks*: against the
    claim "the target is false" each sequence is bet on with stakes that depend on earlier ones only (`saecert.statistics.betting.mixture`), so
    the wealth is a nonnegative supermartingale if that claim is true, and ever reaches 1/delta with probability at most delta (Ville's
    inequality). It takes sequences that are i.i.d. in their order of arrival, and everything else fixed before the first is looked at:
    target, delta, alpha, and the pool, which is given or chosen on discovery. A rung "r" claims ``R(f), R(g), R(g_A) <= E v_A < R(r)``,
    paired; ``{quantity: most}`` claims that the expectation is below `most`. One target is tested: several share delta.

    Parameters
    ----------
    parts
        Records of successive pieces of one sample, with the same discovery. A generator measures only what is needed::

            pieces = (collect(subject, corpus.part(i, i + 64), discovery=discovery) for i in range(0, len(corpus) - 63, 64))
            stopped = certify_stream(pieces, target="bigram")

        Near-duplicates are looked for within a piece, exact repeats and shared documents across all: take a corpus without the former.
    target
        "uniform", "unigram", "bigram" or another reference of the records, or ``{quantity: most}`` for a key of
        `saecert.certificates.comparison.QUANTITIES`, such as ``{"gap": 0.25}`` or ``{"bound": 8.0}`` (bits per token; shares for behaviour).
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
        A setting out of range or unknown, another inequality, a target that no data or all data meet, an empty stream, parts that
        differ in model, SAE, discovery or population, an assumption check that found something and is not in `allow`.
    """
    if inequality != "betting":
        raise ValueError(
            f"'{inequality}' holds at one sample size fixed beforehand; looking until it succeeds would be wrong more often than delta: "
            "leave inequality='betting', or certify a sample of fixed size"
        )
    split_delta(delta)
    seen, stakes, log_wealth, n, no_pool = (
        None,
        None,
        np.empty(0),
        None,
        not isinstance(target, str) and set(target) == {"gap"},
    )
    for part in parts:
        if seen is None:
            choice = fixed_pool(part, part.d_sae if no_pool else pool, tolerance, alpha)
        seen = part if seen is None else _joined(seen, part)
        _, found, let_through = checked_sample(seen, None, 0, allow)
        x, lo, hi, most = _bet_on(part, target, choice.sizes[0], alpha)
        path, stakes = mixture((hi - x)[None] / (hi - lo), (hi - most) / (hi - lo), stakes)
        log_wealth = np.append(log_wealth, path)
        if (log_wealth >= -math.log(delta)).any():
            n = int(np.argmax(log_wealth >= -math.log(delta))) + 1
            break
    if seen is None:
        raise ValueError(
            "the stream has no part: give an iterable of SequenceLosses, such as a generator of collect(...)"
        )
    rule = "none needed" if no_pool else choice.rule
    return Stopped(
        target,
        n,
        log_wealth[:n],
        delta,
        alpha,
        choice.sizes[0],
        rule,
        found,
        let_through,
        seen.provenance,
    )


def _bet_on(
    part: SequenceLosses, target: Target, k: int, alpha: float
) -> tuple[Float[np.ndarray, "n_seq"], float, float, float]:
    """Values whose mean is claimed to be below a threshold, the ends of their support, and the threshold."""
    if isinstance(target, str):
        ladder, (joint, lo, hi) = (
            {rung.name: rung for rung in rungs(part, alpha)},
            values_of(part, "bound", k, alpha),
        )
        if target not in ladder:
            raise ValueError(
                f"no reference '{target}': a target is one of {', '.join(ladder)}, or a tolerance such as {{'gap': 0.25}}"
            )
        return (
            joint - ladder[target].losses,
            lo - ladder[target].highest,
            hi - ladder[target].lowest,
            0.0,
        )
    if len(target) != 1:
        raise ValueError(
            f"a stream has one target, got {dict(target)}: run one stream for each, and divide delta among them"
        )
    ((quantity, most),) = target.items()
    x, lo, hi = values_of(part, quantity, k, alpha)
    if not lo < most < hi:
        raise ValueError(
            f"'{quantity}' lies between {lo:.4g} and {hi:.4g}: whether it is below {most:g} needs no data"
        )
    return x, lo, hi, float(most)


def _joined(seen: SequenceLosses, part: SequenceLosses) -> SequenceLosses:
    """What assumption checks look at, for all parts so far; ValueError if the new one does not belong to them."""
    facts = [{name: record.provenance.get(name) for name in _SAME} for record in (seen, part)]
    for fact, record in zip(facts, (seen, part), strict=True):
        ranking = None if record.discovery is None else record.discovery.order.tolist()
        fact |= {
            "vocabulary": record.n_vocab,
            "references": record.reference_support,
            "discovery ranking": ranking,
        }
    if different := [name for name in facts[0] if facts[0][name] != facts[1][name]]:
        raise ValueError(
            f"the parts of a stream differ in {', '.join(different)}: measure all on one model, SAE, corpus and discovery"
        )
    rows = {
        name: (getattr(seen, name), getattr(part, name))
        for name in ("active", "l0", "ids", "documents", "similar", "overlap")
    }
    bare = replace(
        part,
        loss={},
        raw={},
        total_variation={},
        top1_disagreement={},
        outside_firings={},
        outside_energy={},
    )
    return replace(
        bare,
        **{
            name: None if any(v is None for v in both) else np.concatenate(both)
            for name, both in rows.items()
        },
    )

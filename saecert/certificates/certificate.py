"""certify(): an upper bound on the risk of a frozen LM and of its sparse proxies, in four terms."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from operator import index
from pathlib import Path
from typing import Any

import numpy as np

from saecert.arguments import checked
from saecert.certificates import files
from saecert.certificates.behaviour import pool_behaviour
from saecert.certificates.checks import Findings, checked_sample, group_findings
from saecert.certificates.concepts import concept_counts
from saecert.certificates.delta import split_delta
from saecert.certificates.ladder import climb, rungs
from saecert.certificates.pool_rules import PoolChoice, choose_pools, prior_of
from saecert.certificates.sample import Sample
from saecert.certificates.score import measured_ablations, recovered_rows
from saecert.certificates.settings import SETTINGS
from saecert.certificates.summary import source, summary
from saecert.certificates.terms import (
    Shares,
    Upper,
    joint_loss,
    sample_means,
    sharp_loss,
    statements,
    terms_of,
)
from saecert.records import SequenceLosses
from saecert.statistics.finite import finite_upper
from saecert.statistics.inequalities import INEQUALITIES, MONOTONE, tightness


@dataclass(frozen=True)
class Certificate:
    """A high-probability bound on the risk of a frozen LM and of its sparse proxies.

    With everything it rests on.

    **Guarantee.** For sequences drawn i.i.d. from `population`, independently of the model, the
    SAE, the discovery split and every setting here, each group of `statements` is true with
    probability at least 1 minus the deltas of that group. With `population_size` they are a simple
    random sample, without replacement, of a finite list, and statements are about the mean over
    that list; with the `unit` "group" it is groups that are i.i.d., and statements are about a
    random sequence of a new group. Losses are smoothed with weight `alpha`:
    compare only within one alpha. All losses are bits per token.
    """

    method: str
    """"fixed" (T1), "nested" (T2) or "in_sample" (T3): how the pool was chosen."""
    inequality: str
    """Name of the concentration inequality, a key of
    `saecert.statistics.inequalities.INEQUALITIES`.
    """
    delta: float
    """Miscoverage: how often a statement (or a group of them) may be wrong over samples."""
    alpha: float
    """Weight of the uniform distribution in every predictor."""
    pool: int | list[int] | None
    """Pool size or grid given by the caller, None when a rule chose."""
    prior: str | None
    """Prior over the pools that the method chooses among, None for "fixed", which chooses none."""
    tolerance: float | None
    """Largest discovery mismatch of the pool in bits, None unless the rule used it."""
    budget: dict[str, float] | None
    """Shares of delta set by the caller, None for the default."""
    seed: int
    """Seed of the order in which sequences are read, fixed before any loss is looked at."""
    allow: list[str]
    """Assumption checks that found something and were let through all the same, by name."""
    eps: list[float]
    """Tolerances of the concept counts, bits per token."""
    unit: str
    """What is taken for independent, a key of `saecert.certificates.checks.UNITS`: "sequence", or
    "group" (one random sequence of each group, statements about new groups).
    """
    population_size: int | None
    """Length of the finite list that all statements are about, of which the sequences are a simple
    random sample without replacement; None for i.i.d. sequences.
    """
    n_seq: int
    """Number of certification sequences used: the first ones of the record; with the unit "group"
    the number of groups, one sequence each.
    """
    sample_sha256: str
    """SHA-256 of the ids of those sequences in the order in which they were read: what `n_seq` and
    `seed` lead to.
    """
    lo: float
    """Smallest possible loss."""
    hi: float
    """Largest possible loss."""
    n_vocab: int
    """Vocabulary size of the model."""
    d_sae: int
    """Latents in the dictionary."""
    k: int
    """Latents in the pool; with "in_sample" in the set that is paid for, which holds every latent
    active on the sample.
    """
    pool_rule: str
    """How the pool was chosen, in words."""
    selection_nats: float
    """ln(1 / prior weight) of the pool: what choosing it on the sample cost, 0 when it was fixed
    beforehand.
    """
    means: dict[str, float]
    """Sample means: "model risk", "proxy risk", "reconstruction gap", "pool mismatch",
    "clipping"; and the two of the sharp bound that are not among them, "one-sided mismatch" and
    "one-sided gap".
    """
    complexity: dict[str, float]
    """Bound minus the sum of its other terms: "sampling" (the bound at no selection cost) and
    "selection" (the rest).
    """
    sharp_complexity: dict[str, float]
    """The same for the sharp bound."""
    statements: dict[str, dict[str, Any]]
    """By name: "quantity", sample "mean", limits "lower" and "upper" (None: not stated, or a
    ladder), "delta", "nats", "group". What the record does not hold for the pool (behaviour, shares
    outside it) is left out.
    """
    ladder: list[dict[str, Any]]
    """References in the order tested: "rung", sample "risk", "mean" of s_A minus it, "upper" limit
    (None: not tested), "claimed". The claims hold together; a limit decides its own test, and holds
    on its own only, at the statement's nats.
    """
    direct_ladder: list[dict[str, Any]]
    """The same for the model's own loss, without any proxy."""
    curve: list[dict[str, int | float]]
    """Method "nested": terms and both bounds at every pool size, and the "nats" that choosing it
    costs: all the bounds on E v_A are jointly true, and so are those on E s_A. Otherwise the one
    pool.
    """
    concepts: list[dict[str, Any]]
    """Certified concept counts, one row per tolerance "eps": count "k" (None: not even the full SAE
    keeps within it), and every size "tested", from the full dictionary downwards, with its limit.
    Each row is a statement of its own at delta: that every pool which passed keeps within eps. The
    limits decide the tests and hold one by one, not together: for that see
    `saecert.certificates.concepts.frontier`.
    """
    recovered: list[dict[str, Any]]
    """Loss recovered by the whole SAE, a row an ablation: "ablation", ratio "recovered" of the
    sample means, "lower" limit (None: none shown), each a statement of its own at delta.
    """
    tightness: float
    """(bound - mean) over the yardstick for its nats; one draw, so average it over resamples before
    comparing.
    """
    checks: dict[str, int | float | None]
    """What every check of `saecert.certificates.checks.CHECKS` found on the sequences used; None
    where the record does not allow it.
    """
    fingerprint: str
    """SHA-256 of the losses record it was computed from."""
    population: str
    """What the sequences are a sample of."""
    provenance: dict[str, Any]
    """Provenance of the losses record."""

    def __post_init__(self) -> None:
        if not all("ablation" in row for row in self.recovered):
            raise ValueError("a row of recovered names no ablation")
        sums = ((self.terms, self.bound, "bound"), (self.sharp_terms, self.sharp, "sharp bound"))
        for terms, limit, name in sums:
            total = sum(terms.values())
            if not math.isclose(total, limit, rel_tol=1e-9):
                raise ValueError(f"the terms sum to {total}, the {name} is {limit}")

    @property
    def bound(self) -> float:
        """Upper limit on the risk of model, SAE proxy and pooled proxy at once, as in the papers.

        A limit on E v_A, whose terms are absolute gaps.
        """
        return self.statements["bound"]["upper"]

    @property
    def sharp(self) -> float:
        """Upper limit on the same three risks by E s_A, the mean of the largest of three losses.

        At most `bound` for a monotone inequality at one share of delta. Each is a statement of its
        own; verdict and ladder go by this one.
        """
        return self.statements["sharp"]["upper"]

    @property
    def direct(self) -> float:
        """Upper limit on the risk of the model without any proxy.

        At most `bound` for a monotone inequality at one share of delta.
        """
        return self.statements["direct"]["upper"]

    @property
    def price(self) -> float:
        """Upper limit on how much more the pooled proxy loses than the model.

        A difference of two bounds would bound nothing.
        """
        return self.statements["price"]["upper"]

    @property
    def uniform(self) -> float:
        """Risk of the uniform predictor, log2 V."""
        return math.log2(self.n_vocab)

    @property
    def non_vacuous(self) -> bool:
        """Whether the sharp bound beats the uniform predictor, and nothing more."""
        return self.sharp < self.uniform

    @property
    def verdict(self) -> str | None:
        """Highest rung claimed: the last reference whose risk is certified to exceed E s_A.

        None when not even the uniform predictor. It is the statement "ladder", with a delta of its
        own, at which all of its claims hold jointly: `sharp` and verdict hold together at the sum
        of their deltas, and so do `bound` and verdict.
        """
        return next((row["rung"] for row in reversed(self.ladder) if row["claimed"]), None)

    @property
    def terms(self) -> dict[str, float]:
        """The four terms, which add up to `bound`.

        And a non-positive fifth, "clipping", if any sequence was clipped.
        """
        names = ["proxy risk", "reconstruction gap", "pool mismatch"]
        if self.means["clipping"] != 0:
            names.append("clipping")
        measured = {name: self.means[name] for name in names}
        return measured | {"complexity": sum(self.complexity.values())}

    @property
    def sharp_terms(self) -> dict[str, float]:
        """The four terms of the sharp bound, which add up to `sharp`."""
        names = ("proxy risk", "one-sided gap", "one-sided mismatch")
        measured = {name: self.means[name] for name in names}
        return measured | {"complexity": sum(self.sharp_complexity.values())}

    @property
    def groups(self) -> dict[str, tuple[list[str], float]]:
        """What holds jointly: ``{group: (statements, their deltas summed)}``.

        Different groups hold each on its own, and any of them together at the sum of their deltas.
        Every concept count is a group of its own, "concepts within <eps> bits", and so is every
        "loss recovered, <ablation>".
        """
        table: dict[str, tuple[list[str], float]] = {}
        for name, row in self.statements.items():
            names, total = table.get(row["group"], ([], 0.0))
            table[row["group"]] = ([*names, name], total + row["delta"])
        for row in self.concepts:
            name = f"concepts within {row['eps']} bits"
            table[name] = ([name], self.delta)
        for row in self.recovered:
            name = f"loss recovered, {row['ablation']}"
            table[name] = ([name], self.delta)
        return table

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments with which `certify` makes this certificate from its losses."""
        names = "method pool delta alpha inequality budget n_seq seed allow eps unit".split()
        names.append("population_size")
        settings = {name: getattr(self, name) for name in names}
        settings["ablations"] = [row["ablation"] for row in self.recovered]
        for name in ("prior", "tolerance"):  # None where the method has none
            if getattr(self, name) is not None:
                settings[name] = getattr(self, name)
        return settings

    def verify(self, losses: SequenceLosses) -> int:
        """Number of values recomputed from `losses` with the settings stored here, all agreeing.

        Raises
        ------
        ValueError
            `losses` is not the record behind this certificate, or a value differs: the first one is
            named with what is stored and what was computed. Support, sample, delta budget and pool
            rule come before the numbers.
        """
        self._check_source(losses)
        try:
            again = certify(losses, **self.settings)
            stored = {"groups": self.groups} | asdict(self)
            computed = {"groups": again.groups} | asdict(again)
        except Exception as error:  # a forged setting may fail anywhere
            raise ValueError(
                f"the settings of this certificate do not certify these losses: {error}"
            ) from error
        order = dict.fromkeys([*files.FIRST, *computed])
        return files.compare(
            {name: stored[name] for name in order}, {name: computed[name] for name in order}
        )

    def _check_source(self, losses: SequenceLosses) -> None:
        fingerprint = losses.fingerprint()
        if fingerprint == self.fingerprint:
            return
        mine = source(self.provenance)
        theirs = source(losses.provenance)
        about = f"both are about {mine}"
        if mine != theirs:
            about = f"the certificate is about {mine}, the losses are of {theirs}"
        raise ValueError(
            f"fingerprint: the certificate says {self.fingerprint!r}, "
            f"the losses have {fingerprint!r}; {about}"
        )

    def save(self, path: str | Path) -> None:
        """Write a JSON file, whole or not at all."""
        files.write_fields(path, asdict(self))

    @classmethod
    def load(cls, path: str | Path) -> Certificate:
        """The certificate in a file written by `save`, which may come from anybody.

        Raises
        ------
        ValueError
            It is no such file, is truncated, edited or of another schema; the message begins with
            the path.
        """
        content = files.read_fields(path, cls)
        try:
            return cls(**content)
        except Exception as error:  # whatever forged fields lead to
            raise ValueError(f"{path} was edited or damaged, certify again: {error!r}") from error

    def __str__(self) -> str:
        return summary(self)


@checked(SETTINGS)
def certify(
    losses: SequenceLosses,
    *,
    method: str = "fixed",
    pool: int | Sequence[int] | None = None,
    delta: float = 0.05,
    alpha: float = 0.5,
    inequality: str = "dirichlet",
    prior: str | None = None,
    tolerance: float = 0.1,
    budget: Mapping[str, float] | None = None,
    n_seq: int | None = None,
    seed: int = 0,
    allow: Sequence[str] = (),
    eps: Sequence[float] = (0.1, 0.25, 0.5, 1.0),
    unit: str = "sequence",
    population_size: int | None = None,
    ablations: Sequence[str] | None = None,
) -> Certificate:
    """A `Certificate` for the model, SAE and sample behind `losses`.

    **Guarantee.** If the sequences are i.i.d. given the discovery split, and every argument was
    fixed before the certification sample was looked at, then ``R(f), R(g), R(g_A) <= sharp`` with
    probability at least ``1 - delta``: it bounds ``E s_A`` (see `sharp_loss`). Likewise for
    ``bound``, which bounds ``E v_A`` (see `joint_loss`). With "nested" this holds for all pools of
    the grid at once (weights that sum to 1), with "in_sample" for all subsets of the dictionary at
    once (prior over subsets; Occam bound, McAllester 1999), so A may depend on the sample.

    Parameters
    ----------
    losses
        Record of the certification sample, with what was fixed on discovery.
    method
        "fixed" (default): one pool, chosen on discovery or given, no selection cost. "nested": the
        best of a grid. "in_sample": the cheapest set that holds every latent active on the sample,
        the papers' form.
    pool
        A size ("fixed") or grid of sizes ("nested") fixed beforehand. Default: by `tolerance`, or
        every measured size.
    delta, alpha
        Miscoverage and smoothing weight, in (0, 1); losses must have been recorded at `alpha`.
    inequality
        A key of `saecert.statistics.inequalities.INEQUALITIES`.
    prior
        How confidence is divided among the pools. For "nested": "equal" (default, 1/K each: for the
        best of the grid, whichever it is) or "discovery" (.9 on the size that discovery chose by
        `tolerance`, which then costs .11 nats; the others share the rest). For "in_sample":
        "product" (default: discovery firing rates, much the cheaper) or "uniform" (needs no
        discovery). None: the default.
    tolerance
        Largest mean mismatch on discovery, bits per token: for "fixed" without `pool`, and the
        prior "discovery".
    budget
        Shares of delta for statements that shall hold jointly, e.g. ``{"bound": .04, "price":
        .01}``; see `split_delta`.
    n_seq
        Use the first so many sequences of the record; all by default. Smaller samples are prefixes
        of larger ones.
    seed
        Fixes the order in which sequences are read ("betting" depends on it); relative order is the
        same at every `n_seq`.
    allow
        Names of assumption checks (`saecert.certificates.checks.CHECKS`) that may find something,
        such as ``("duplicates",)`` for a sample drawn with replacement on purpose. Those that did
        find something are recorded with what they found.
    eps
        Tolerances in bits per token at which concepts are counted
        (`saecert.certificates.concepts.concept_counts`), each a statement of its own at `delta`;
        ``()`` for none.
    unit
        "sequence", or "group": one random sequence of each group (`SequenceLosses.groups`, drawn
        by `seed`), and i.i.d. *groups* instead of sequences are assumed. Then `n_seq` counts groups
        and statements are about a random sequence of a new group, such as would give one to the
        sample.
    population_size
        Length N of the finite list of which the record is a simple random sample without
        replacement (what the hash order of `saecert.load_corpus` guarantees; the number of its
        sequences). Then every statement is about the mean over *that list*, whatever its
        documents have in common, and nothing is assumed of how it came about. Needs an inequality
        of `saecert.statistics.finite.FINITE`: "betting" is about sqrt(1 - n/N) as wide as
        otherwise, and certain at n = N. "dirichlet" is false there and refused.
    ablations
        "mean", "zero" or both: loss recovered relative to each is stated from below
        (`saecert.certificates.score.recovered_rows`). Default: those that were measured; ``()`` for
        none.

    Raises
    ------
    ValueError
        A setting out of range or unknown, a pool or alpha that was not measured, fewer than two
        sequences or than `n_seq`, no discovery where the method needs it, shares above delta or for
        a statement that the record does not allow, an assumption check that found something and is
        not in `allow`; groups that the record does not have, a `population_size` below the length
        of the record, with the unit "group", or with an inequality that is false there.
    """
    upper = _upper(inequality, population_size, losses, unit)
    shares = split_delta(delta, budget)
    stated = measured_ablations(losses, ablations, population_size)
    prior = prior_of(method, prior)
    # concepts are counted on pools ranked on discovery
    ranked = method != "in_sample" or prior == "product" or len(eps) > 0
    rows, checks, passed = checked_sample(losses, n_seq, seed, allow, discovery=ranked, unit=unit)
    sample = Sample.of(rows, alpha)
    pools = choose_pools(sample, method, pool=pool, prior=prior, tolerance=tolerance)
    return Certificate(
        inequality=inequality,
        delta=delta,
        alpha=alpha,
        seed=seed,
        allow=passed,
        concepts=concept_counts(sample, -math.log(delta), eps, upper),
        recovered=recovered_rows(sample, stated, delta, inequality),
        **_pool_settings(method, pool, pools, prior, tolerance),
        **_plain(budget, eps, unit, population_size),
        **_numbers(sample, pools, shares, upper, checks),
        **_identity(losses, rows),
    )


def _pool_settings(
    method: str,
    pool: int | Sequence[int] | None,
    pools: PoolChoice,
    prior: str | None,
    tolerance: float,
) -> dict[str, Any]:
    """How the pool was asked for; None for what did not matter."""
    by_tolerance = _chosen_by_tolerance(method, pool, prior)
    return {
        "method": method,
        "pool": _given_pool(pool, pools),
        "prior": prior,
        "tolerance": tolerance if by_tolerance else None,
    }


def _plain(
    budget: Mapping[str, float] | None, eps: Sequence[float], unit: str, population_size: int | None
) -> dict[str, Any]:
    """Arguments as JSON has them."""
    return {
        "budget": dict(budget) if budget else None,
        "eps": [float(tolerance) for tolerance in eps],
        "unit": unit,
        "population_size": None if population_size is None else index(population_size),
    }


def _upper(
    inequality: str, population_size: int | None, losses: SequenceLosses, unit: str
) -> Upper:
    """The inequality, for the mean of a list of `population_size` if there is one."""
    if inequality not in INEQUALITIES:
        raise ValueError(f"unknown inequality '{inequality}'; there are {', '.join(INEQUALITIES)}")
    if population_size is None:
        return INEQUALITIES[inequality]
    if unit == "group":
        raise ValueError(
            "population_size counts the sequences of a list, unit='group' is about new groups: "
            "give one of the two"
        )
    upper = finite_upper(inequality, population_size)
    if population_size < len(losses):
        raise ValueError(
            f"population_size = {population_size} is less than the {len(losses)} sequences of the "
            "record, which were drawn from that list: give the length of the whole list"
        )
    listed = losses.provenance.get("n_list", population_size)
    if listed != population_size:
        raise ValueError(
            f"population_size = {population_size}, but the list that the sequences were drawn from "
            f"has {listed} of them: give that number"
        )
    return upper


def _identity(losses: SequenceLosses, rows: SequenceLosses) -> dict[str, Any]:
    """What was certified: the record, and its sequences in the order in which they were read."""
    return {
        "n_seq": len(rows),
        "sample_sha256": hashlib.sha256(rows.ids.tobytes()).hexdigest(),
        "n_vocab": losses.n_vocab,
        "d_sae": losses.d_sae,
        "fingerprint": losses.fingerprint(),
        "population": str(losses.provenance.get("population", "not recorded")),
        "provenance": json.loads(json.dumps(losses.provenance)),
    }


def _chosen_by_tolerance(method: str, pool: int | Sequence[int] | None, prior: str | None) -> bool:
    return prior == "discovery" or (method == "fixed" and pool is None)


def _given_pool(pool: int | Sequence[int] | None, pools: PoolChoice) -> int | list[int] | None:
    """The caller's pool as JSON: a size, an ascending grid, or None when a rule chose."""
    if isinstance(pool, Sequence):
        return list(pools.sizes)
    return None if pool is None else int(pool)


def _numbers(
    sample: Sample, pools: PoolChoice, shares: Shares, upper: Upper, found: Findings
) -> dict[str, Any]:
    """Every field of a certificate that is computed from losses, but for the concept counts."""
    lo = sample.lo
    hi = sample.hi
    spent = {name: -math.log(share) for name, (share, _) in shares.items()}
    curve = _curve(sample, pools, spent, upper)
    best = min(range(len(curve)), key=lambda place: curve[place]["sharp"])
    price = float(pools.nats[best])
    terms = terms_of(sample.clean, sample.full, pools.losses[best], hi)
    behaviour = pool_behaviour(sample.record, pools.sizes[best], pools.measured[best])
    table = statements(terms, behaviour, (lo, hi), shares, price, upper)
    complexity = {}
    for name, values in (("bound", terms.joint), ("sharp", terms.sharp)):
        limit = float(curve[best][name])
        table[name]["upper"] = limit
        free = float(upper(values, lo, hi, spent[name])) if price else limit
        sampling = free - float(values.mean())
        complexity[name] = {"sampling": sampling, "selection": limit - free}
    if any(upper is INEQUALITIES[name] for name in MONOTONE):
        _keep_direct_below(table)
    ladder = rungs(sample.record, sample.alpha)
    return {
        "lo": lo,
        "hi": hi,
        "k": pools.sizes[best],
        "pool_rule": pools.rule,
        "selection_nats": price,
        "means": sample_means(terms),
        "complexity": complexity["bound"],
        "sharp_complexity": complexity["sharp"],
        "statements": table,
        "ladder": climb(terms.sharp, ladder, lo, hi, spent["ladder"] + price, upper),
        "direct_ladder": climb(sample.clean, ladder, lo, hi, spent["direct_ladder"], upper),
        "curve": curve,
        "checks": found | group_findings(sample.record, terms.joint),
        "tightness": float(
            tightness(table["bound"]["upper"], terms.joint, hi, spent["bound"] + price)
        ),
    }


def _keep_direct_below(table: dict[str, dict[str, Any]]) -> None:
    """l(f) <= s_A <= v_A: only the rounding of two sums can say otherwise of their limits."""
    direct = table["direct"]
    for above in (table["sharp"], table["bound"]):
        if direct["nats"] <= above["nats"]:
            direct["upper"] = min(direct["upper"], above["upper"])


def _curve(
    sample: Sample, pools: PoolChoice, spent: Mapping[str, float], upper: Upper
) -> list[dict[str, int | float]]:
    """Pool size, price, both bounds and sample means of every candidate pool."""
    losses = (sample.clean, sample.full, pools.losses)
    support = (sample.lo, sample.hi)
    joint = joint_loss(*losses, sample.hi)
    bounds = np.asarray(upper(joint, *support, spent["bound"] + pools.nats))
    sharps = np.asarray(upper(sharp_loss(*losses), *support, spent["sharp"] + pools.nats))
    rows: list[dict[str, int | float]] = []
    for place, k in enumerate(pools.sizes):
        means = sample_means(terms_of(*losses[:2], pools.losses[place], sample.hi))
        limits = {"bound": float(bounds[place]), "sharp": float(sharps[place])}
        rows.append({"k": k, "nats": float(pools.nats[place])} | limits | means)
    return rows

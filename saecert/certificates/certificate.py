"""certify(): an upper bound on a frozen LM's risk through its sparse proxy, in four terms, and what else the sample says."""

from __future__ import annotations

import hashlib
import json
import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np
from jaxtyping import Float

from saecert.certificates import files as verification
from saecert.certificates.checks import CHECKS, checked_sample
from saecert.certificates.concepts import concept_counts, pool_behaviour
from saecert.certificates.ladder import climb, rungs
from saecert.certificates.pool_rules import (
    BEHAVIOUR,
    QUANTITIES,
    PoolChoice,
    choose_pools,
    split_delta,
)
from saecert.records import SequenceLosses, smoothed_support
from saecert.statistics.inequalities import INEQUALITIES, tightness, uppers
from saecert.storage import atomic_path

Losses = Float[np.ndarray, "n_seq"]
Upper = Callable[..., Any]
Support = tuple[float, float]
Shares = dict[str, tuple[float, str]]
Behaviour = dict[str, tuple[Losses, float]]

SCHEMA = 2
"""Version of the JSON file (certificates/schema.json describes it); one that this code does not know is refused."""


@dataclass(frozen=True)
class Certificate:
    """A high-probability bound on the risk of a frozen LM and of its sparse proxies, with everything it rests on.

    **Guarantee.** For sequences drawn i.i.d. from `population`, independently of the model, the SAE, the discovery
    split and every setting here, each group of `statements` is true with probability at least 1 minus the deltas of
    that group. Losses are smoothed with weight `alpha`: compare only within one alpha. All losses are bits per token.
    """

    method: str
    """"fixed" (T1), "nested" (T2) or "in_sample" (T3): how the pool was chosen."""
    inequality: str
    """Name of the concentration inequality, a key of `saecert.statistics.inequalities.INEQUALITIES`."""
    delta: float
    """Miscoverage: how often a statement (or a group of them) may be wrong over samples."""
    alpha: float
    """Weight of the uniform distribution in every predictor."""
    pool: int | list[int] | None
    """Pool size or grid given by the caller, None when a rule chose."""
    prior: str | None
    """Prior over subsets of latents, None unless the method is "in_sample"."""
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
    n_seq: int
    """Number of certification sequences used: the first ones of the record."""
    sample_sha256: str
    """SHA-256 of the ids of those sequences in the order in which they were read: what `n_seq` and `seed` lead to."""
    lo: float
    """Smallest possible loss."""
    hi: float
    """Largest possible loss."""
    n_vocab: int
    """Vocabulary size of the model."""
    d_sae: int
    """Latents in the dictionary."""
    k: int
    """Latents in the pool."""
    pool_rule: str
    """How the pool was chosen, in words."""
    selection_nats: float
    """ln(1 / prior weight) of the pool: what choosing it on the sample cost, 0 when it was fixed beforehand."""
    means: dict[str, float]
    """Sample means: "model risk", "proxy risk", "reconstruction gap", "pool mismatch", "clipping"."""
    complexity: dict[str, float]
    """Bound minus the sum of those terms: "sampling" (the bound at no selection cost) and "selection" (the rest)."""
    statements: dict[str, dict[str, Any]]
    """By name: "quantity", sample "mean", limits "lower" and "upper" (None: not stated, or a ladder), "delta", "nats", "group".
    What the record does not hold for the pool (behaviour, shares outside it) is left out."""
    ladder: list[dict[str, Any]]
    """References in the order tested: "rung", sample "risk", "mean" of v_A minus it, "upper" limit (None: not tested), "claimed".
    The claims hold together; a limit decides its own test, and holds on its own only, at the statement's nats."""
    direct_ladder: list[dict[str, Any]]
    """The same for the model's own loss, without any proxy."""
    curve: list[dict[str, int | float]]
    """Method "nested": terms and bound at every pool size, jointly true; otherwise the one pool."""
    concepts: list[dict[str, Any]]
    """Certified concept counts, one row per tolerance "eps": count "k" (None: not even the full SAE keeps within it), and every size
    "tested", from the full dictionary downwards, with its limit. Each row is a statement of its own at delta: that every pool which
    passed keeps within eps. The limits decide the tests and hold one by one, not together: for that see `saecert.certificates.concepts.frontier`."""
    tightness: float
    """(bound - mean) over the yardstick for its nats; one draw, so average it over resamples before comparing."""
    checks: dict[str, int | float | None]
    """What every check of `saecert.certificates.checks.CHECKS` found on the sequences used; None where the record does not allow it."""
    fingerprint: str
    """SHA-256 of the losses record it was computed from."""
    population: str
    """What the sequences are a sample of."""
    provenance: dict[str, Any]
    """Provenance of the losses record."""

    def __post_init__(self) -> None:
        if not math.isclose(sum(self.terms.values()), self.bound, rel_tol=1e-9):
            raise ValueError(
                f"the terms sum to {sum(self.terms.values())}, the bound is {self.bound}"
            )

    @property
    def bound(self) -> float:
        """Upper limit on the risk of model, SAE proxy and pooled proxy at once."""
        return self.statements["bound"]["upper"]

    @property
    def direct(self) -> float:
        """Upper limit on the risk of the model without any proxy; at most `bound` for a monotone inequality at one share of delta."""
        return self.statements["direct"]["upper"]

    @property
    def price(self) -> float:
        """Upper limit on how much more the pooled proxy loses than the model. A difference of two bounds would bound nothing."""
        return self.statements["price"]["upper"]

    @property
    def uniform(self) -> float:
        """Risk of the uniform predictor, log2 V."""
        return math.log2(self.n_vocab)

    @property
    def non_vacuous(self) -> bool:
        """Whether the bound beats the uniform predictor, and nothing more."""
        return self.bound < self.uniform

    @property
    def verdict(self) -> str | None:
        """Last reference that the bound beats (the highest rung claimed), None when not even the uniform predictor."""
        return next((row["rung"] for row in reversed(self.ladder) if row["claimed"]), None)

    @property
    def terms(self) -> dict[str, float]:
        """The four terms, which add up to `bound`, and a non-positive fifth, "clipping", if any sequence was clipped."""
        names = ["proxy risk", "reconstruction gap", "pool mismatch"] + ["clipping"] * (
            self.means["clipping"] != 0
        )
        return {name: self.means[name] for name in names} | {
            "complexity": sum(self.complexity.values())
        }

    @property
    def groups(self) -> dict[str, tuple[list[str], float]]:
        """What holds jointly: ``{group: (statements, their deltas summed)}``; different groups hold each on its own.

        Every concept count is a group of its own, "concepts within <eps> bits".
        """
        table: dict[str, tuple[list[str], float]] = {}
        for name, row in self.statements.items():
            names, total = table.get(row["group"], ([], 0.0))
            table[row["group"]] = ([*names, name], total + row["delta"])
        return table | {
            name: ([name], self.delta)
            for name in (f"concepts within {row['eps']} bits" for row in self.concepts)
        }

    def verify(self, losses: SequenceLosses) -> int:
        """Number of values that were recomputed from `losses` with the settings stored here, all of which agree.

        Raises
        ------
        ValueError
            `losses` is not the record behind this certificate, or a value differs: the first one is named with what is
            stored and what was computed. Support, sample, delta budget and pool rule come before the numbers.
        """
        if self.fingerprint != (found := losses.fingerprint()):
            mine, theirs = _source(self.provenance), _source(losses.provenance)
            about = (
                f"the certificate is about {mine}, the losses are of {theirs}"
                if mine != theirs
                else f"both are about {mine}"
            )
            raise ValueError(
                f"fingerprint: the certificate says {self.fingerprint!r}, the losses have {found!r}; {about}"
            )
        names = (
            "method",
            "pool",
            "delta",
            "alpha",
            "inequality",
            "budget",
            "n_seq",
            "seed",
            "allow",
            "eps",
        )
        settings = {name: getattr(self, name) for name in names}
        settings |= {
            name: value
            for name in ("prior", "tolerance")
            if (value := getattr(self, name)) is not None
        }
        try:
            again = certify(losses, **settings)
            stored, computed = ({"groups": c.groups} | asdict(c) for c in (self, again))
        except Exception as error:  # a forged setting may fail anywhere
            raise ValueError(
                f"the settings of this certificate do not certify these losses: {error}"
            ) from error
        order = dict.fromkeys([*verification.FIRST, *computed])
        return verification.compare(
            *({name: table[name] for name in order} for table in (stored, computed))
        )

    def save(self, path: str | Path) -> None:
        """Write a JSON file, whole or not at all."""
        with atomic_path(path) as partial:
            partial.write_text(
                json.dumps({"schema": SCHEMA} | asdict(self), indent=1, allow_nan=False) + "\n",
                encoding="utf-8",
            )

    @classmethod
    def load(cls, path: str | Path) -> Certificate:
        """Read a file written by `save`. Raises ValueError when it is not one, is truncated, edited or of another schema."""
        try:
            content = json.loads(
                Path(path).read_text(encoding="utf-8"), object_pairs_hook=_each_once
            )
        except ValueError as error:
            raise ValueError(
                f"{path} is not a whole JSON file ({error}): certify and save again"
            ) from error
        if not isinstance(content, dict) or "schema" not in content:
            raise ValueError(f"{path} is JSON but not a certificate of saecert: it has no 'schema'")
        if (schema := content.pop("schema")) != SCHEMA:
            raise ValueError(
                f"{path} has schema {schema}, this version of saecert reads {SCHEMA}: update saecert or certify again"
            )
        if different := {field.name for field in fields(cls)} ^ set(content):
            raise ValueError(
                f"{path} has missing or unknown fields: {', '.join(sorted(different))}"
            )
        for name, hint in get_type_hints(cls).items():
            kinds = tuple(
                get_origin(kind) or kind
                for kind in (get_args(hint) if isinstance(hint, UnionType) else (hint,))
            )
            if not isinstance(content[name], kinds) or isinstance(
                content[name], bool
            ):  # no field is one, and False == 0
                raise ValueError(
                    f"{path}: {name} is {content[name]!r}, not {cls.__annotations__[name]}: edited or damaged, certify again"
                )
        try:
            return cls(**content)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} was edited or damaged, certify again: {error!r}") from error

    def __str__(self) -> str:
        return _summary(self)


def joint_loss(
    clean: Float[np.ndarray, "*#pools n_seq"],
    full: Float[np.ndarray, "*#pools n_seq"],
    pooled: Float[np.ndarray, "*#pools n_seq"],
    hi: float,
) -> Float[np.ndarray, "*#pools n_seq"]:
    """``v_A = min(l(g_A) + |l(f) - l(g)| + |l(g) - l(g_A)|, hi)`` per sequence, in ``[lo, hi]``.

    At least ``max(l(f), l(g), l(g_A))`` by the triangle inequality; clipping costs nothing because no loss exceeds `hi`.

    >>> joint_loss(np.array([2.0]), np.array([3.0]), np.array([2.5]), hi=12.0)
    array([4.])
    """
    return np.minimum(pooled + np.abs(clean - full) + np.abs(full - pooled), hi)


def certify(
    losses: SequenceLosses,
    *,
    method: str = "fixed",
    pool: int | Sequence[int] | None = None,
    delta: float = 0.05,
    alpha: float = 0.5,
    inequality: str = "dirichlet",
    prior: str = "product",
    tolerance: float = 0.1,
    budget: Mapping[str, float] | None = None,
    n_seq: int | None = None,
    seed: int = 0,
    allow: Sequence[str] = (),
    eps: Sequence[float] = (0.1, 0.25, 0.5, 1.0),
) -> Certificate:
    """A `Certificate` for the model, SAE and sample behind `losses`.

    **Guarantee.** If the sequences are i.i.d. given the discovery split, and every argument was fixed before the certification
    sample was looked at, then ``R(f), R(g), R(g_A) <= bound`` with probability at least ``1 - delta``: the bound is on
    ``E v_A`` (see `joint_loss`). With "nested" this holds for all pools of the grid at once (weights 1/K), with "in_sample" for
    all subsets of the dictionary at once (prior over subsets; Occam bound, McAllester 1999), so A may depend on the sample.

    Parameters
    ----------
    losses
        Record of the certification sample, with what was fixed on discovery.
    method
        "fixed" (default): one pool, chosen on discovery or given, no selection cost. "nested": the best of a grid.
        "in_sample": all latents active on the sample, the papers' form.
    pool
        A size ("fixed") or grid of sizes ("nested") fixed beforehand. Default: by `tolerance`, or every measured size.
    delta, alpha
        Miscoverage and smoothing weight, in (0, 1); losses must have been recorded at `alpha`.
    inequality
        A key of `saecert.statistics.inequalities.INEQUALITIES`.
    prior
        Only for "in_sample": "product" (discovery firing rates, much the cheaper) or "uniform" (needs no discovery).
    tolerance
        Only for "fixed" without `pool`: largest mean mismatch on discovery, bits per token.
    budget
        Shares of delta for statements that shall hold jointly, e.g. ``{"bound": .04, "price": .01}``; see `split_delta`.
    n_seq
        Use the first so many sequences of the record; all by default. Smaller samples are prefixes of larger ones.
    seed
        Fixes the order in which sequences are read ("betting" depends on it); relative order is the same at every `n_seq`.
    allow
        Names of assumption checks (`saecert.certificates.checks.CHECKS`) that may find something, such as ``("duplicates",)`` for a sample
        drawn with replacement on purpose. Those that did find something are recorded with what they found.
    eps
        Tolerances in bits per token at which concepts are counted (`saecert.certificates.concepts.concept_counts`), each a statement of its own
        at `delta`; ``()`` for none.

    Raises
    ------
    ValueError
        A setting out of range or unknown, a pool or alpha that was not measured, fewer than two sequences or than `n_seq`, no
        discovery where the method needs it, shares above delta or for a statement that the record does not allow, an
        assumption check that found something and is not in `allow`.
    """
    if inequality not in INEQUALITIES:
        raise ValueError(f"unknown inequality '{inequality}'; there are {', '.join(INEQUALITIES)}")
    upper, shares, support = (
        INEQUALITIES[inequality],
        split_delta(delta, budget),
        smoothed_support(alpha, losses.n_vocab),
    )
    ranked = (
        method != "in_sample" or prior == "product" or len(eps) > 0
    )  # concepts are counted on pools ranked on discovery
    sample, found, let_through = checked_sample(losses, n_seq, seed, allow, discovery=ranked)
    pools = choose_pools(sample, method, pool=pool, prior=prior, tolerance=tolerance, alpha=alpha)
    return Certificate(
        method=method,
        inequality=inequality,
        delta=delta,
        alpha=alpha,
        pool=pool
        if pool is None
        else list(pools.sizes)
        if isinstance(pool, Sequence)
        else int(pool),
        prior=prior if method == "in_sample" else None,
        tolerance=tolerance if method == "fixed" and pool is None else None,
        budget=dict(budget) if budget else None,
        seed=seed,
        allow=let_through,
        eps=[float(e) for e in eps],
        n_seq=len(sample),
        sample_sha256=hashlib.sha256(sample.ids.tobytes()).hexdigest(),
        n_vocab=losses.n_vocab,
        d_sae=losses.d_sae,
        pool_rule=pools.rule,
        selection_nats=pools.nats,
        **_numbers(sample, pools, alpha, support, shares, upper),
        concepts=concept_counts(sample, alpha, -math.log(delta), eps, upper),
        checks=found,
        fingerprint=losses.fingerprint(),
        population=str(losses.provenance.get("population", "not recorded")),
        provenance=json.loads(json.dumps(losses.provenance)),
    )


def _numbers(
    sample: SequenceLosses,
    pools: PoolChoice,
    alpha: float,
    support: Support,
    shares: Shares,
    upper: Upper,
) -> dict[str, Any]:
    """Every field of a certificate that is computed from losses."""
    lo, hi = support
    clean, full = sample.at("clean", alpha), sample.at("full", alpha)
    nats = {name: -math.log(share) for name, (share, _) in shares.items()}
    paid = nats["bound"] + pools.nats
    joint = joint_loss(clean, full, pools.losses, hi)
    bounds = np.asarray(upper(joint, lo, hi, paid))
    best = int(np.argmin(bounds))
    bound, v, pooled = float(bounds[best]), joint[best], pools.losses[best]
    free = float(upper(v, lo, hi, nats["bound"])) if pools.nats else bound
    ladder = rungs(sample, alpha)
    behaviour = pool_behaviour(sample, pools.sizes[best], pools.measured[best])
    statements = _statements(
        (clean, full, pooled, v), behaviour, support, shares, pools.nats, upper
    )
    statements["bound"]["upper"] = bound
    return {
        "lo": lo,
        "hi": hi,
        "k": pools.sizes[best],
        "means": _means(clean, full, pooled, v),
        "complexity": {"sampling": free - float(v.mean()), "selection": bound - free},
        "statements": statements,
        "ladder": climb(v, ladder, lo, hi, nats["ladder"] + pools.nats, upper),
        "direct_ladder": climb(clean, ladder, lo, hi, nats["direct_ladder"], upper),
        "curve": [
            {"k": k, "bound": float(bounds[i])} | _means(clean, full, pools.losses[i], joint[i])
            for i, k in enumerate(pools.sizes)
        ],
        "tightness": float(tightness(bounds[best], v, hi, paid)),
    }


def _means(clean: Losses, full: Losses, pooled: Losses, joint: Losses) -> dict[str, float]:
    terms = {
        "proxy risk": pooled,
        "reconstruction gap": np.abs(clean - full),
        "pool mismatch": np.abs(full - pooled),
    }
    clipped = joint - sum(terms.values())
    clipped = np.where(np.abs(clipped) > 1e-12, clipped, 0.0)  # rounding is not clipping
    return {
        name: float(term.mean())
        for name, term in ({"model risk": clean} | terms | {"clipping": clipped}).items()
    }


def _statements(
    losses: tuple[Losses, ...],
    behaviour: Behaviour,
    support: Support,
    shares: Shares,
    selection: float,
    upper: Upper,
) -> dict[str, dict[str, Any]]:
    """One-sided limits at each statement's share of delta, two-sided for the signed gap; only what involves A pays selection."""
    (clean, full, pooled, joint), (lo, hi), width = losses, support, support[1] - support[0]
    signed = pooled - clean
    table: dict[str, tuple[Losses | None, float, float, float]] = {
        "bound": (joint, lo, hi, selection),
        "proxy": (pooled, lo, hi, selection),
        "gap": (np.abs(clean - full), 0.0, width, 0.0),
        "mismatch": (np.abs(full - pooled), 0.0, width, selection),
        "signed_gap": (signed, -width, width, selection + math.log(2)),
        "direct": (clean, lo, hi, 0.0),
        "price": (signed, -width, width, selection),
        "ladder": (None, lo, hi, selection),
        "direct_ladder": (None, lo, hi, 0.0),
    } | {name: (x, 0.0, highest, selection) for name, (x, highest) in behaviour.items()}
    if absent := [
        name for name, (_, group) in shares.items() if group == "budget" and name not in table
    ]:
        raise ValueError(
            f"the budget has shares for what the record does not hold for this pool: {', '.join(absent)}; leave them out"
        )
    nats = {name: -math.log(shares[name][0]) + extra for name, (*_, extra) in table.items()}
    stated = {
        name: (x, low, high, nats[name])
        for name, (x, low, high, _) in table.items()
        if x is not None
    }
    *limits, below = uppers([*stated.values(), (-signed, -width, width, nats["signed_gap"])], upper)
    rows = {}
    for name in table:
        mean, limit = (
            (float(stated[name][0].mean()), limits.pop(0)) if name in stated else (None, None)
        )
        lower = -below if name == "signed_gap" else None
        (share, group), quantity = shares[name], QUANTITIES[name]
        row = {"quantity": quantity, "mean": mean, "lower": lower, "upper": limit}
        rows[name] = row | {"delta": share, "nats": nats[name], "group": group}
    return rows


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object. Of a name that comes twice, people read the first value and programs the last: ValueError."""
    if len(table := dict(pairs)) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(
            f"'{next(name for name in names if names.count(name) > 1)}' comes twice in one object"
        )
    return table


def rounded_up(limit: float, decimals: int = 2) -> float:
    """An upper limit for print: never below the limit itself. Minus that of ``-limit`` for a lower one."""
    return math.ceil(limit * 10**decimals - 1e-9) / 10**decimals + 0.0


def _source(provenance: Mapping[str, Any]) -> str:
    return " at ".join(
        str(provenance[key]) for key in ("subject", "hook_name") if key in provenance
    )


def _summary(certificate: Certificate) -> str:
    """The certificate for people to read."""
    c, source, up = certificate, _source(certificate.provenance), rounded_up
    behaviour = {name: c.statements[name] for name in BEHAVIOUR if name in c.statements}
    parts = ", ".join(f"{name} {bits:.2f}" for name, bits in c.complexity.items())
    spent = ", ".join(f"{' + '.join(names)} {total:.3g}" for names, total in c.groups.values())
    lines = [
        f"Certificate{' of ' * bool(source)}{source}, in bits per token",
        f"  {c.n_seq} sequences; alpha {c.alpha:g}, delta {c.delta:g}, {c.inequality}; pool of {c.k} of {c.d_sae} latents ({c.pool_rule})",
        f"  population: {c.population}",
        *(f"  {name:<22}{value:8.2f}" for name, value in c.terms.items()),
        f"  {'= bound':<22}{up(c.bound):8.2f}   complexity: {parts}",
        f"  {'uniform predictor':<22}{c.uniform:8.2f}",
        f"  {'direct bound':<22}{up(c.direct):8.2f}   without any proxy",
        f"  {'price of explanation':<22}{up(c.price):8.2f}   at most, R(pooled proxy) - R(model)",
        f"  verdict: {'better than ' + c.verdict if c.verdict else 'vacuous: not shown to be better than uniform'}",
        f"  Model, SAE proxy and pooled proxy lose at most {up(c.bound):.2f} bits each on average,",
        f"  except with probability {c.delta:g} over samples",
        *(
            f"  {name.replace('_', ' '):<22}{up(row['upper'], 3):8.3f}  at most, {row['quantity']}"
            for name, row in behaviour.items()
        ),
        *(
            f"  concepts within {row['eps']} bits: {row['k'] or 'none, not even with the full SAE'}"
            for row in c.concepts
        ),
        textwrap.fill(
            f"Statements and their delta, each on its own: {spent}",
            120,
            initial_indent="  ",
            subsequent_indent="    ",
        ),
        f"  All of them at once: {sum(total for _, total in c.groups.values()):.3g}",
        *(
            f"  Let through: {name} = {c.checks[name]:g} ({CHECKS[name].partition(':')[0]})"
            for name in c.allow
        ),
    ]
    if unknown := [name for name, value in c.checks.items() if value is None]:
        lines.append(f"  Not checked, for want of a record: {', '.join(unknown)}")
    return "\n".join(lines)

"""Page 20: on how many units is a random baseline worse than its twin, and what could be told?

Limits on a mean difference of scores in [0, 1] have to allow for rare units with a huge one; a
share of units needs no such thing (Clopper & Pearson 1934), but says nothing of sizes. Units are
texts, pairs of texts or sets of texts, never tokens: those of one text depend on each other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd

from saecert.dictionaries.quantities import (
    CLASSES_OF_TOKENS,
    DETECTION,
    JUDGED_PARTS,
    edit_name,
    labels_probed,
)
from saecert.reporting import judged
from saecert.reporting import random_baselines as baselines
from saecert.reporting.claims import Undecided, decided
from saecert.reporting.random_baselines import BETTER, HELD, OPEN, WORSE, Arrays, Member
from saecert.statistics.inequalities import INEQUALITIES, chernoff_kl, lower
from saecert.statistics.order import share_lower
from saecert.statistics.rounding import half_step

PROBES = tuple(judged.PROBES)
"""Measures that are probes."""
Places = Mapping[str, Sequence[Member]]
"""SAEs by hook point."""
Pair = tuple[np.ndarray, np.ndarray]
"""Scores of a baseline and of its twin, of the same units."""
WORSE_SHARE, BETTER_SHARE = "worse, at least", "better, at least"
"""Columns of lower limits on shares."""
VERDICT = "verdict"
HALF = 0.5
"""What a dead SAE scores by every measure."""


def unit_shares(places: Places, delta: float, ties: bool = True) -> pd.DataFrame:
    """On how many units each baseline scores less than its twin, and on how many more.

    A row a baseline, measure and label, under its hook point. Columns: numbers "n", "worse",
    "better" and "equal"; the mean difference "difference"; lower limits `WORSE_SHARE` and
    `BETTER_SHARE` on the shares; `VERDICT`, whether one of them is above one half.

    **Guarantee.** With probability at least ``1 - delta`` all limits of the frame hold, for units
    drawn i.i.d., given the discovery split: each is that of Clopper and Pearson at ``ln(2 J /
    delta)`` nats for the J rows and two directions. A unit on which both score the same counts for
    neither direction. With `ties` false the shares are among units that are not equal: given how
    many there are, the worse ones are binomial, so that the limits hold as well (sign test).

    Scores were kept in half precision, which never turns the order of two: it makes units equal.
    The score of an edit is a mean of four kept ones; there a difference within their half-steps
    counts as equal. Detection is of each SAE's own latents, which cannot be paired, and is left
    out.
    """
    pairs = {(place, *key): pair for place, found in places.items() for key, pair in _pairs(found)}
    nats = math.log(2 * max(1, len(pairs)) / delta)
    rows = {key: _row(pair, key[2], nats, ties) for key, pair in pairs.items()}
    names = ["", "SAE", "measure", "label"]
    index = pd.MultiIndex.from_tuples(rows, names=names) if rows else None
    return pd.DataFrame(list(rows.values()), index=index)


def _pairs(found: Sequence[Member]) -> Iterator[tuple[tuple[str, str, str], Pair]]:
    """Paired scores by baseline, measure and label."""
    measures = [x for x in baselines.scores_of(found) if x != DETECTION]
    for baseline, twin in baselines.twins(found):
        for measure in measures:
            sparse = measure in judged.PROBES
            k = judged.PROBES.get(measure, 0)
            labels = labels_probed(baseline.scores, k) if sparse else [measure]
            both = (judged.values_of(member.scores, measure) for member in (baseline, twin))
            for label, a, b in zip(labels, *both, strict=True):
                yield (baseline.label, measure, label), (a, b)


def _row(pair: Pair, measure: str, nats: float, ties: bool) -> dict[str, object]:
    """Counts, limits and verdict of one baseline by one array."""
    difference = pair[0].astype(float) - pair[1].astype(float)
    equal_within = 2 * half_step(1) if measure == judged.EDIT else 0.0
    worse, better = difference < -equal_within, difference > equal_within
    counted = slice(None) if ties else worse | better
    limits = [
        float(share_lower(side[counted], nats)) if side.any() else 0.0 for side in (worse, better)
    ]
    told = [WORSE, BETTER][int(np.argmax(limits))] if max(limits) > HALF else OPEN
    counts = {"worse": int(worse.sum()), "better": int(better.sum())}
    equal = len(difference) - sum(counts.values())
    found = {"n": len(difference), **counts, "equal": equal, "difference": difference.mean()}
    return found | {WORSE_SHARE: limits[0], BETTER_SHARE: limits[1], VERDICT: told}


def by_label(table: pd.DataFrame) -> pd.DataFrame:
    """How many baselines are told by each measure and label: columns n, "equal" (the median number
    of units), `WORSE`, `BETTER` and `OPEN`. `table` is that of `unit_shares`."""
    by = table.groupby(["measure", "label"], sort=False)
    counts = {word: by[VERDICT].agg(partial(_count, word)) for word in (WORSE, BETTER, OPEN)}
    return pd.DataFrame({"n": by["n"].first(), "equal": by["equal"].median(), **counts})


def _count(word: str, verdicts: pd.Series) -> int:
    return int((verdicts == word).sum())


def by_baseline(table: pd.DataFrame) -> pd.DataFrame:
    """By how many of its tests each baseline is told to be `WORSE`, to be `BETTER`, and "tests"."""
    by = table.groupby(level=[0, 1], sort=False)[VERDICT]
    counts = {word: by.agg(partial(_count, word)) for word in (WORSE, BETTER)}
    return pd.DataFrame({**counts, "tests": by.size()})


def by_held(table: pd.DataFrame) -> pd.DataFrame:
    """How many baselines are told by at least one test, by what is held, over hook points.

    Columns `WORSE` (by some test, and by none to be better), `BETTER` likewise, "both", "neither"
    and "baselines"; the last row is their sum. `table` is that of `unit_shares`.
    """
    each = by_baseline(table)
    worse, better = each[WORSE] > 0, each[BETTER] > 0
    sides = {WORSE: worse & ~better, BETTER: better & ~worse, "both": worse & better}
    sides |= {"neither": ~worse & ~better, "baselines": pd.Series(True, each.index)}
    held = [label.split(", ")[1] for label in each.index.get_level_values(1)]
    found = pd.DataFrame(sides).astype(int).groupby(held, sort=False).sum()
    return pd.concat([found, found.sum().to_frame("all").T])


def told_shares(table: pd.DataFrame, verdict: str, measures: Sequence[str] = ()) -> int:
    """How many baselines some test tells to be `WORSE`, or `BETTER`; default: of all measures."""
    among = table.index.get_level_values("measure")
    rows = among.isin(list(measures)) if measures else np.ones(len(table), bool)
    hit = table[rows & (table[VERDICT] == verdict)]
    return len(hit.groupby(level=[0, 1]))


def claimed(paired: Mapping[str, pd.DataFrame], table: pd.DataFrame) -> dict[str, bool | str]:
    """What page 20 claims: of limits on differences by hook point, and of `unit_shares`.

    `paired` are frames of `saecert.reporting.random_baselines.all_differences`. A claim does not
    hold where limits tell its contrary: by shares, where as many baselines are told to be better by
    every probe (worse, for the second one). Else it may be `saecert.reporting.claims.Undecided`.
    """
    every = pd.concat(list(paired.values()))
    verdict = baselines.verdicts(every)
    fixed = list(baselines.fixed_beforehand(paired).values())
    fit, predictions = verdict[baselines.EXPLAINED], verdict[baselines.VARIATION]
    return {
        "limits on mean scores tell no baseline": fixed[2],
        "by shares, probes tell most baselines to be worse": _more_than(table, 0.5, WORSE, BETTER),
        "by shares, probes tell some to be better": _more_than(table, 0.0, BETTER, WORSE),
        "predictions tell every frozen decoder": baselines.told(
            every, (baselines.VARIATION,), (HELD[1],)
        ),
        "one baseline explains more variance and changes predictions more": decided(
            bool(baselines.better_fit_at_larger_cost(paired)),
            ((fit == WORSE) | (predictions == BETTER)).all(),
        ),
    }


def _more_than(table: pd.DataFrame, share: float, verdict: str, contrary: str) -> bool | Undecided:
    """Whether some probe gives `verdict` for more than such a share of the baselines; not, where
    all probes give its contrary for all the others."""
    n = len(by_baseline(table))
    probes = table[table.index.get_level_values("measure").isin(PROBES)]
    against = (probes[VERDICT] == contrary).groupby(level=[0, 1]).all()
    shown = told_shares(table, verdict, PROBES)
    return decided(shown > share * n, n - against.sum() <= share * n)


def whole(table: pd.DataFrame, measure: str) -> list[tuple[str, str]]:
    """Arrays of a measure that `table`, some rows of `unit_shares`, has for every baseline."""
    by = table.groupby(["measure", "label"], sort=False).size()
    n_saes = len(table.index.unique("SAE"))
    return [key for key, size in by.items() if key[0] == measure and size == n_saes]


def dead_in_place(found: Sequence[Member]) -> list[Member]:
    """The same SAEs, each baseline with the scores of an SAE in which nothing is ever active.

    Such an SAE scores one half on every unit: its probes and its judge answer the same whatever
    they are asked, and its edits change nothing, cause 0 and isolate 1.
    """
    return [m if m.held == HELD[0] else replace(m, scores=_dead(m.scores)) for m in found]


def _dead(scores: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    ends = {part: float(part == JUDGED_PARTS[1]) for part in JUDGED_PARTS}
    edits = {edit_name(part, name): end for name in CLASSES_OF_TOKENS for part, end in ends.items()}
    return {name: np.full(len(x), edits.get(name, HALF)) for name, x in scores.items()}


def above_floors(places: Places, delta: float, inequality: str) -> pd.DataFrame:
    """Mean scores of each trained SAE less those of its own floor: limits, all jointly at `delta`.

    A row a trained SAE under its hook point, columns measure and `judged.ENDS`. Floors as in
    `judged.above_floor`; of these only means were kept, so that they are not paired with scores.

    **Guarantee.** As `judged.differences` of two samples: the limit on a floor is that of Chernoff
    and Hoeffding, which needs its mean and n only; both are moved by a half-step, for what was kept
    in half precision.
    """
    trained = {
        (place, member.label): member
        for place, found in places.items()
        for member in found
        if member.held == HELD[0]
    }
    arrays = {
        (*name, measure): list(_with_floors(member, measure))
        for name, member in trained.items()
        for measure in baselines.scores_of([member])
    }
    nats = math.log(4 * max(1, sum(map(len, arrays.values()))) / delta)
    rows: dict[tuple[str, str], dict[tuple[str, str], float]] = {}
    for (place, label, measure), several in arrays.items():
        ends = np.mean([_above(x, floor, nats, inequality) for x, floor in several], axis=0)
        row = rows.setdefault((place, label), {})
        row |= {(measure, end): float(x) for end, x in zip(judged.ENDS, ends, strict=True)}
    return pd.DataFrame(rows).T.rename_axis(["", "SAE"])


def _with_floors(member: Member, measure: str) -> Iterator[tuple[np.ndarray, float]]:
    """Arrays of a measure, each with the mean of its floor."""
    means = baselines.as_scores(member.floors)
    floors = judged.values_of(means, measure, floor=True)
    scores = judged.values_of(member.scores, measure)
    yield from ((x, float(y.mean())) for x, y in zip(scores, floors, strict=True))


def _above(
    scores: np.ndarray, floor: float, nats: float, inequality: str
) -> tuple[float, float, float]:
    x = scores.astype(float)
    step = half_step(1)
    upper = INEQUALITIES[inequality]
    low, high = lower(upper, x, 0.0, 1.0, nats) - step, upper(x, 0.0, 1.0, nats) + step
    most = chernoff_kl(min(floor + step, 1.0), len(x), 0.0, 1.0, nats)
    least = 1 - chernoff_kl(min(1 - floor + step, 1.0), len(x), 0.0, 1.0, nats)
    return float(low - most), float(x.mean() - floor), float(high - least)


def above_half(places: Places, delta: float, inequality: str) -> pd.DataFrame:
    """Mean scores of each trained SAE with limits, all jointly at `delta`: a row each under its
    hook point. One half is what a dead SAE scores on every unit, so that it needs no limit."""
    tables = {}
    for place, found in places.items():
        scores = {m.label: m.scores for m in found if m.held == HELD[0]}
        measures = baselines.scores_of(found)
        tables[place] = judged.score_limits(scores, delta / len(places), inequality, measures)
    table = pd.concat(tables)
    for measure in dict.fromkeys(table.columns.get_level_values(0)):
        table[measure, "lower"] -= half_step(1)
        table[measure, "upper"] += half_step(1)
    return table.rename_axis(["", "SAE"])


def what_could_be_told(
    places: Places, deltas: tuple[float, float], inequality: str
) -> pd.DataFrame:
    """What each measure could have told at all: a row a measure.

    "dead SAE told": of how many baselines ("of") a dead SAE in their place is told to be worse than
    the twin, "by means" (limits on mean differences) and "by shares" (`unit_shares`; missing for
    detection). "trained above": how many of the trained SAEs ("of") are certified to score more
    than "one half" (`above_half`) and than their own "random latents" (`above_floors`).

    `deltas` are that of limits on means at one hook point (`random_baselines.judged_differences`),
    and that of each other column.
    """
    of_means, delta = deltas
    dead = {place: dead_in_place(found) for place, found in places.items()}
    means = [baselines.judged_differences(x, of_means, inequality) for x in dead.values()]
    verdicts = pd.concat([baselines.verdicts(table) for table in means])
    shares = unit_shares(dead, delta)
    half, floor = (f(places, delta, inequality) for f in (above_half, above_floors))
    told, above = "dead SAE told", "trained above"
    rows = {}
    for measure in verdicts:
        paired = measure != DETECTION
        rows[measure] = {
            (told, "by means"): int((verdicts[measure] == WORSE).sum()),
            (told, "by shares"): told_shares(shares, WORSE, [measure]) if paired else pd.NA,
            (told, "of"): len(verdicts),
            (above, "one half"): int((half[measure, "lower"] > HALF).sum()),
            (above, "random latents"): int((floor[measure, "lower"] > 0).sum()),
            (above, "of"): len(half),
        }
    return pd.DataFrame(rows).T


def kept_above_floor(places: Mapping[str, tuple[Sequence[Member], Arrays]]) -> pd.DataFrame:
    """Share of the twin's score above its floor that a frozen decoder has: sample means, no limits.

    A row a frozen decoder under its hook point; columns by floor, "random latents" (the mean over
    SAEs of the hook point) and "one half" (a dead SAE), and by probe. Above 1: more than its twin.
    """
    rows = {}
    for place, (found, arrays) in places.items():
        table = baselines.means(found, 1.0)
        random = baselines.floors(found, arrays).loc["random stand-ins"]
        for baseline, twin in baselines.twins(found):
            if baseline.held == HELD[1]:
                rows[place, baseline.label] = {
                    (floor, measure): (table.loc[baseline.label, measure] - low)
                    / (table.loc[twin.label, measure] - low)
                    for floor, lows in (("random latents", random), ("one half", None))
                    for measure in judged.PROBES
                    for low in [HALF if lows is None else lows[measure]]
                }
    return pd.DataFrame(rows).T.rename_axis(["", "SAE"])

"""Page 20: random baselines beside their trained twins, as scores, differences and verdicts.

No torch: everything is read from the arrays of `saecert.training.random_baselines`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from saecert.certificates.certificate import Certificate
from saecert.dictionaries.norm_limits import mean_limits
from saecert.dictionaries.quantities import (
    CLASSES_OF_TOKENS,
    JUDGED_PARTS,
    RANDOM_LATENTS,
    SPARSE,
    edit_name,
    package_label,
    packages_probed,
    probe_name,
)
from saecert.records import SequenceLosses, smoothed_support
from saecert.reporting import judged, top_afa
from saecert.reporting.claims import NOT_TESTED, UNDECIDED, Undecided, decided
from saecert.statistics.rounding import half_step, widened

BUILD = "saecert.training.random_baselines:random_baselines"
"""What trains and measures them."""
BESIDES = "saecert.training.random_baselines:packages_and_outliers"
"""What measures the rest of them."""
KINDS = ("BatchTopK", "TopK", "top-AFA", "JumpReLU")
"""Kinds of SAEs, in the order in which `saecert.training.recipes.ARCHITECTURES` has them."""
HELD = ("trained", "frozen decoder", "soft decoder", "frozen encoder")
"""What was held, in the order in which `saecert.training.recipes.FROZEN` has it."""
STAYS = "what stays"
"""What `HELD` is called in tables."""
STARTS = ("sae_lens", "isotropic", "covariance")
"""Where it started, in the order in which `saecert.training.recipes.STARTS` has it."""
ENDS = ("lower", "mean", "upper")
EPS = 0.25
"""Bits within which a text's loss should stay."""

EXPLAINED = "explained variance"
POOLED = "pooled explained variance"
ACTIVE = "active latents"
GAP = "gap"
LARGEST = "largest loss"
"""Of the model, the SAE and its pool: what the sharp bound is on."""
BEYOND = f"beyond {EPS:g} bits"
VARIATION = "total variation"
DISAGREEMENT = "top-1 disagreement"
FIT = (EXPLAINED,)
CERTIFIED = (GAP, LARGEST, BEYOND, VARIATION, DISAGREEMENT)
"""What the certificate is about: smaller is better."""
SCORES = judged.MEASURES
"""What latents are judged by: larger is better."""
BOUNDED = (BEYOND, VARIATION, DISAGREEMENT)
"""Of the certificate, what lies in [0, 1], so that limits need not allow for huge losses."""

WORSE = "worse"
BETTER = "better"
OPEN = "open"

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Member:
    """One trained SAE and what was measured of it."""

    label: str
    """Such as "BatchTopK, frozen decoder, covariance"."""
    kind: str
    """One of `KINDS`."""
    held: str
    """One of `HELD`."""
    start: str
    """One of `STARTS`."""
    asked: int
    """Active latents asked for."""
    values: dict[str, np.ndarray]
    """By name; absolute losses "full" and "pool" in bits."""
    scores: dict[str, np.ndarray]
    """As `saecert.dictionaries.judged.judged` has them, without floors; empty if not judged."""
    floors: dict[str, float]
    """Mean of each floor, by name."""


def loss_width(alpha: float, n_vocab: int) -> float:
    """Width of the support of a smoothed loss, bits."""
    lo, hi = smoothed_support(alpha, n_vocab)
    return hi - lo


def members(arrays: Arrays, alpha: float, n_vocab: int) -> list[Member]:
    """The SAEs of one hook point, in the order in which they were trained.

    Scores of one unit only are left out: they have no limits.
    """
    lo, hi = smoothed_support(alpha, n_vocab)
    clean = arrays["clean"].astype(float)
    n_judged = max((len(x) for name, x in arrays.items() if name.startswith("judged ")), default=0)
    usual = int(arrays["asked"][0])
    found = []
    for row in range(len(arrays["asked"])):
        values = {name: _of_one(arrays[name], row) for name in _PER_SAE}
        for name in ("full", "pool"):
            values[name] = (clean + values[name]).clip(lo, hi)
        values["clean"] = clean
        values["d_sae"] = np.full(len(clean), arrays["d_sae"][row])
        kind, held, start = (
            words[int(arrays[name][row])]
            for words, name in ((KINDS, "architecture"), (HELD, "frozen"), (STARTS, "start"))
        )
        asked = int(arrays["asked"][row])
        number = "" if asked == usual else f" {asked}"
        scores, floors = (
            {
                name.removeprefix(part): _of_one(arrays[name], row)
                for name in arrays
                if row < n_judged and name.startswith(part) and not _single(arrays, name)
            }
            for part in ("judged ", "floor ")
        )
        label = f"{kind}{number}, {held}, {start}"
        means = {name: float(x) for name, x in floors.items()}
        found.append(Member(label, kind, held, start, asked, values, scores, means))
    return found


_PER_SAE = (
    "explained",
    "full",
    "pool",
    "total_variation",
    "disagreement",
    "l0",
    "pooled",
    "silent",
    "cosine",
)


def _of_one(array: np.ndarray, row: int) -> np.ndarray:
    return np.asarray(array[row], dtype=float)


def _single(arrays: Arrays, name: str) -> bool:
    """Whether scores, or their floor, are of one unit."""
    label = name.removeprefix("judged ").removeprefix("floor ")
    scores = arrays.get(f"judged {label.removesuffix(f', {RANDOM_LATENTS}')}")
    return scores is not None and scores.shape[-1] < 2


def main_set(found: Sequence[Member]) -> list[Member]:
    """The SAEs that every hook point has: those that were judged by everything."""
    return [member for member in found if member.scores]


def sweep_set(found: Sequence[Member]) -> list[Member]:
    """Of the kind and start of the first SAE, those of every number of active latents."""
    first = found[0]
    return [m for m in found if (m.kind, m.start) == (first.kind, first.start)]


def twins(found: Sequence[Member]) -> list[tuple[Member, Member]]:
    """Each baseline with the SAE of its kind, number of latents and start that learns it all."""
    trained = {(m.kind, m.asked, m.start): m for m in found if m.held == HELD[0]}
    return [(m, trained[m.kind, m.asked, m.start]) for m in found if m.held != HELD[0]]


def values_of(member: Member, measure: str, width: float) -> tuple[np.ndarray, float]:
    """One of `FIT` or `CERTIFIED` by sequence, and the largest absolute difference of two values.

    `width` is that of the support of a loss, in bits.
    """
    values = member.values
    clean = values["clean"]
    table = {
        EXPLAINED: (values["explained"], 1.0),
        GAP: (np.abs(values["full"] - clean), width),
        LARGEST: (np.maximum.reduce([clean, values["full"], values["pool"]]), width),
        BEYOND: ((np.abs(values["pool"] - clean) > EPS).astype(float), 1.0),
        VARIATION: (values["total_variation"], 1.0),
        DISAGREEMENT: (values["disagreement"], 1.0),
    }
    return table[measure]


def differences(
    found: Sequence[Member],
    delta: float,
    inequality: str,
    width: float,
    measures: Sequence[str] = (*FIT, *CERTIFIED),
) -> pd.DataFrame:
    """Each baseline less its twin, paired by sequence: a row a baseline, columns measure and end.

    All limits hold together at `delta`. They are limits on what was measured, not on what of it
    was kept in half precision (`saecert.statistics.rounding.widened`).
    """
    pairs = twins(found)
    nats = math.log(2 * len(pairs) * len(measures) / delta)
    rows = {}
    for baseline, twin in pairs:
        row = {}
        for measure in measures:
            (a, largest), (b, _) = (values_of(m, measure, width) for m in (baseline, twin))
            limits = mean_limits(a - b, (-largest, largest), nats, inequality)
            if measure != BEYOND:
                limits = widened(limits, 2 * half_step(largest))
            row |= {(measure, end): x for end, x in zip(ENDS, limits, strict=True)}
        rows[baseline.label] = row
    return pd.DataFrame(rows).T


def scores_of(found: Sequence[Member]) -> tuple[str, ...]:
    """What the latents of these SAEs are judged by: of `SCORES` all, or all but edits."""
    edited = edit_name(JUDGED_PARTS[0], CLASSES_OF_TOKENS[0])
    return tuple(x for x in SCORES if x != judged.EDIT or edited in found[0].scores)


def judged_differences(
    found: Sequence[Member], delta: float, inequality: str, measures: Sequence[str] = ()
) -> pd.DataFrame:
    """The same of what latents are judged by (`saecert.reporting.judged.differences`).

    Default: `scores_of` the SAEs.
    """
    measures = measures or scores_of(found)
    pairs = twins(found)
    scores = {member.label: member.scores for member in found}
    labels = {baseline.label: twin.label for baseline, twin in pairs}
    table = judged.differences(scores, labels, delta, inequality, measures)
    step = 2 * half_step(1)
    for measure in measures:
        table[measure, "lower"] -= step
        table[measure, "upper"] += step
    return table.set_axis(list(labels), axis=0)


def all_differences(
    found: Sequence[Member], delta: float, inequality: str, width: float
) -> pd.DataFrame:
    """Every difference from the twin, half of `delta` for fit and certificate, half for scores."""
    parts = [
        differences(found, delta / 2, inequality, width),
        judged_differences(found, delta / 2, inequality),
    ]
    return pd.concat(parts, axis=1)


def verdicts(table: pd.DataFrame) -> pd.DataFrame:
    """What limits say of each baseline by measure: `WORSE` than its twin, `BETTER`, or `OPEN`."""
    found = {}
    for measure in dict.fromkeys(table.columns.get_level_values(0)):
        part = table[measure]
        sign = (part["lower"] > 0).astype(int) - (part["upper"] < 0)
        sign = sign if measure in CERTIFIED else -sign
        found[measure] = sign.map({1: WORSE, -1: BETTER, 0: OPEN})
    return pd.DataFrame(found)


def told(
    table: pd.DataFrame, measures: Sequence[str], held: Sequence[str] = HELD[1:]
) -> bool | Undecided:
    """Whether each baseline of some kinds is worse by each of some measures.

    Undecided where limits leave it open for some, and tell none to be `BETTER`.
    """
    verdict = verdicts(table)
    rows = [any(f", {word}, " in label for word in held) for label in verdict.index]
    seen = verdict.loc[rows, list(measures)]
    return decided((seen == WORSE).all(axis=None), (seen == BETTER).any(axis=None))


def untold(table: pd.DataFrame, measures: Sequence[str], held: Sequence[str] = HELD[1:]) -> bool:
    """Whether no baseline of some kinds is told from its twin by any of some measures."""
    verdict = verdicts(table)
    rows = [any(f", {word}, " in label for word in held) for label in verdict.index]
    return bool((verdict.loc[rows, list(measures)] == OPEN).all(axis=None))


def fixed_beforehand(tables: Mapping[str, pd.DataFrame]) -> dict[str, bool | str]:
    """What page 20 claimed before any number was there, by claim: whether it holds at every hook
    point. The first two may be `saecert.reporting.claims.Undecided`; the third is about what limits
    tell, which they always say."""
    frozen = (HELD[1], HELD[3])
    every = list(tables.values())
    scores = [x for x in SCORES if all(x in table.columns.get_level_values(0) for table in every)]
    both = pd.concat(every)
    return {
        "frozen parts explain less": told(both, FIT, frozen),
        "frozen parts change predictions more": told(both, (VARIATION,), frozen),
        "limits on mean scores of latents tell no baseline": all(untold(x, scores) for x in every),
    }


def claims_frame(claimed: Mapping[str, bool | str]) -> pd.DataFrame:
    """Claims with what came of them: "yes", "no", "undecided" or "not tested"."""
    words: dict[bool | str, str] = {True: "yes", False: "no"}
    told = {
        name: UNDECIDED if isinstance(x, Undecided) else words.get(x, NOT_TESTED)
        for name, x in claimed.items()
    }
    return pd.DataFrame({"holds": told})


def better_fit_at_larger_cost(tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """Baselines that are certified to explain more than their twin, and to change predictions more:
    "hook point: label"."""
    found = []
    for name, table in tables.items():
        verdict = verdicts(table)
        rows = (verdict[EXPLAINED] == BETTER) & (verdict[VARIATION] == WORSE)
        found += [f"{name}: {label}" for label in verdict.index[rows]]
    return found


def verdict_counts(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """How many baselines are told to be worse, by what is held and measure, over hook points."""
    every = pd.concat([verdicts(table) for table in tables.values()])
    held = [label.split(", ")[1] for label in every.index]
    worse = (every == WORSE).groupby(held, sort=False).sum()
    return worse.assign(baselines=pd.Series(held).value_counts())


def means(found: Sequence[Member], width: float) -> pd.DataFrame:
    """Sample means of everything, a row an SAE: point estimates, as the field reports them."""
    rows = {}
    for member in found:
        row = {POOLED: float(member.values["pooled"]), ACTIVE: member.values["l0"].mean()}
        for measure in (*FIT, GAP, BEYOND, VARIATION):
            row[measure] = values_of(member, measure, width)[0].mean()
        for measure in scores_of(found):
            several = judged.values_of(member.scores, measure)
            row[measure] = float(np.mean([x.mean() for x in several]))
        row["cosine to start"] = float(member.values["cosine"][0])
        rows[member.label] = row
    return pd.DataFrame(rows).T


def floors(found: Sequence[Member], arrays: Arrays) -> pd.DataFrame:
    """Floors of what latents are judged by: mean over SAEs of random stand-ins, and a dead SAE."""
    dead = {name: arrays[f"dead {name}"] for name in found[0].scores}
    stand_ins = {}
    silent = {}
    for measure in scores_of(found):
        several = [
            np.mean([x.mean() for x in judged.values_of(as_scores(m.floors), measure, floor=True)])
            for m in found
        ]
        stand_ins[measure] = float(np.mean(several))
        values = judged.values_of(as_scores(dead), measure)
        silent[measure] = float(np.mean([x.mean() for x in values]))
    return pd.DataFrame({"random stand-ins": stand_ins, "dead SAE": silent}).T


def macro_scores(found: Sequence[Member], besides: Arrays) -> pd.DataFrame:
    """Probes on the package of a text, means over packages: a row an SAE, and a dead one.

    `besides` is what `BESIDES` measured of the same SAEs. "of random latents" is the floor. Nothing
    but missing values for text without packages.
    """
    labels = [*(member.label for member in found), "dead SAE"]
    table = {}
    for k in SPARSE:
        rows = [np.full(len(labels), np.nan)]
        floors_of = [np.full(len(labels), np.nan)]
        for package in packages_in(besides):
            name = probe_name(k, package_label(package))
            rows.append(np.append(besides[f"judged {name}"].mean(axis=1), besides[f"dead {name}"]))
            floors_of.append(np.append(besides[f"floor {name}, {RANDOM_LATENTS}"], np.nan))
        table[f"best {k}"] = np.mean(rows[1:] or rows, axis=0)
        table[f"{k} of random latents"] = np.mean(floors_of[1:] or floors_of, axis=0)
    return pd.DataFrame(table, index=labels)


PACKAGE_WORDS = {
    "best 1": "package probe 1",
    "best 5": "package probe 5",
    "1 of random latents": "package probe 1, random",
    "5 of random latents": "package probe 5, random",
}
"""Columns of `macro_scores` as tables name them."""


def macro_table(found: Sequence[Member], besides: Arrays) -> pd.DataFrame:
    """`macro_scores` with floors as one row, the mean over SAEs of random latents."""
    table = macro_scores(found, besides)
    best = {k: f"best {k}" for k in SPARSE}
    floor = {best[k]: table[f"{k} of random latents"].mean() for k in SPARSE}
    table = pd.concat([table[list(best.values())], pd.DataFrame(floor, index=["random latents"])])
    return table.rename(columns=PACKAGE_WORDS)


def packages_in(besides: Arrays) -> list[str]:
    """Packages that were probed."""
    names = [name.removeprefix("judged ") for name in besides if name.startswith("judged ")]
    begin = package_label("")
    k = SPARSE[0]
    return [label.removeprefix(begin) for label in packages_probed(names, k)]


def macro_differences(
    found: Sequence[Member], besides: Arrays, delta: float, inequality: str
) -> pd.DataFrame:
    """`macro_scores` of each baseline less its twin's; all limits hold together at `delta`.

    No columns for text without packages.
    """
    if not packages_in(besides):
        return pd.DataFrame(index=[baseline.label for baseline, _ in twins(found)])
    scores = [
        {
            name.removeprefix("judged "): _of_one(x, row)
            for name, x in besides.items()
            if name.startswith("judged ")
        }
        for row in range(len(found))
    ]
    members = [replace(member, scores=x) for member, x in zip(found, scores, strict=True)]
    return judged_differences(members, delta, inequality, tuple(judged.PACKAGES))


def as_scores(means: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Means as arrays of one; those of floors also under plain names, which say what there is."""
    found = {name: np.atleast_1d(np.asarray(x, dtype=float)) for name, x in means.items()}
    plain = {name.removesuffix(f", {RANDOM_LATENTS}"): x for name, x in found.items()}
    return plain | found


def certificates_of(
    native: SequenceLosses, arrays: Arrays, found: Sequence[Member], settings: Mapping[str, Any]
) -> dict[str, tuple[Certificate, SequenceLosses]]:
    """Certificate and record of every SAE by label; `settings` are those of `certify`.

    ValueError if `native` is a record of other sequences.
    """
    return top_afa.certificates_of(native, arrays, found, settings)


def by_kind(frame: pd.DataFrame) -> pd.DataFrame:
    """The same with labels of SAEs, the last level of the index, in two: kind and start, and
    `STAYS`."""
    *others, labels = [frame.index.get_level_values(i) for i in range(frame.index.nlevels)]
    parts = [[*label.split(", "), "", ""][:3] for label in labels]
    saes = [f"{kind} {start[:3]}".strip() for kind, _, start in parts]
    held = [word for _, word, _ in parts]
    names = [*frame.index.names[:-1], "SAE", STAYS]
    return frame.set_axis(pd.MultiIndex.from_arrays([*others, saes, held], names=names))


def side_by_side(frame: pd.DataFrame, measures: Sequence[str]) -> pd.DataFrame:
    """Some columns of a frame of `by_kind`, with what is held side by side: a row a kind and start.

    Rows of nothing that was held (a dead SAE, floors) are left out.
    """
    held = [x for x in HELD if x in frame.index.get_level_values(STAYS)]
    parts = {word: frame[list(measures)].xs(word, level=STAYS) for word in held}
    wide = pd.concat(parts, axis=1).swaplevel(axis=1)
    return wide[[(measure, word) for measure in measures for word in held]]


def sweep_frame(
    found: Sequence[Member], delta: float, inequality: str, width: float
) -> pd.DataFrame:
    """Explained variance and gap by number of active latents: columns panel, held, l0, and `ENDS`.

    All limits hold together at `delta`.
    """
    chosen = sweep_set(found)
    measures = (EXPLAINED, GAP, BEYOND)
    nats = math.log(2 * len(chosen) * len(measures) / delta)
    rows = []
    for member in chosen:
        for measure in measures:
            values, largest = values_of(member, measure, width)
            limits = mean_limits(values, (0.0, largest), nats, inequality)
            if measure != BEYOND:
                limits = widened(limits, half_step(largest))
            row = {"panel": measure, "held": member.held, "l0": member.asked}
            rows.append(row | dict(zip(ENDS, limits, strict=True)))
    return pd.DataFrame(rows).sort_values("l0", kind="stable", ignore_index=True)


def training_frame(arrays: Arrays, delta: float, inequality: str, width: float) -> pd.DataFrame:
    """What the SAEs that were watched had come to after some steps: panel, held, step, `ENDS`.

    Panels "explained variance" and "loss increase" (bits) with limits that hold together at
    `delta`; "cosine to start" has the mean over decoder rows, and as ends the smallest and the
    median.
    """
    steps = arrays["steps"].tolist()
    shape = arrays["training explained"].shape[:2]
    nats = math.log(2 * 2 * shape[0] * shape[1] / delta)
    rows = []
    for number, held in enumerate((HELD[0], HELD[2])):
        for place, step in enumerate(steps):
            at = {"held": held, "step": step}
            one = {name: arrays[f"training {name}"][number, place].astype(float) for name in _SEEN}
            for panel, name, support in (
                (EXPLAINED, "explained", (0.0, 1.0)),
                ("loss increase", "full", (-width, width)),
            ):
                limits = mean_limits(one[name], support, nats, inequality)
                limits = widened(limits, half_step(support[1]))
                rows.append({"panel": panel, **at, **dict(zip(ENDS, limits, strict=True))})
            mean, lowest, _, median = one["cosine"]
            ends = {"lower": lowest, "mean": mean, "upper": max(mean, median)}
            rows.append({"panel": "cosine to start", **at, **ends})
    return pd.DataFrame(rows)


_SEEN = ("explained", "full", "cosine")


def reported() -> pd.DataFrame:
    """What arXiv 2602.14111 reports for BatchTopK SAEs of two larger models; no limits were."""
    return judged.reported()


REPORTED_INTERPRETABLE = {"trained": 0.90, "frozen decoder": 0.87}
"""Share of right answers in automatic interpretability, as reported there."""

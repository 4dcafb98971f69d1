"""The pages about optimality: measured distances as tables and panels (no torch)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from saecert.dictionaries.lasso import Price, cost, nonnegative_lasso
from saecert.dictionaries.learned import learn_dictionary
from saecert.dictionaries.quantities import ABSORBED, COSTS, OFTEN
from saecert.dictionaries.two_features import Plane, certified_minimum
from saecert.dictionaries.wide import column_generation
from saecert.reporting.claims import NOT_SHOWN, Undecided, decided
from saecert.reporting.layers import labels_of
from saecert.statistics.paired import difference_limits
from saecert.statistics.rank import kendall_limits_of_pairs, kendall_tau

if TYPE_CHECKING:
    from saecert.reporting.study import Study

Measured = Mapping[str, Mapping[str, np.ndarray]]
ERRORS = {
    "encoder's error": ("encoder", "optimal"),
    "dictionary's error, found": ("optimal", "better"),
    "above the wide limit": ("optimal", "floor"),
}
"""Differences of costs: the second is what the first could be."""
SOLVED = ("optimal", "better", "directions")
"""Costs of codes that a solver found: at most a duality gap above the least."""
WORDS = ("encoder", "optimal")
CODES = {"encoder": "encoder's", "optimal": "optimal"}
"""Whose codes: as measurements and as tables name them."""
IMPLIED = "implied price / lambda"
"""A column of tables; it holds no limits, although a price elsewhere is one."""
PRICED = "saecert.training.priced:priced"
"""What trains and judges the objective's own case."""
SPLITTING = "saecert.training.splitting:splitting"
"""What trains several sizes and looks for latents that split."""
OWN_CASE = {"standard": "standard", "batchtopk": "BatchTopK"}
"""SAEs of `PRICED`: how their arrays begin, and their names."""
PAIR_WORDS = {
    "first": "first fires",
    "second": "second fires",
    "both": "both fire",
    "by chance": "both, by chance",
    "excess, upper": "excess, at most",
    "with child, lower": "silent with child, at least",
    "alone, upper": "silent alone, at most",
}
"""Columns of pairs of latents as tables name them."""
PHASE = {"tol": 5e-3, "most_boxes": 60_000}
"""How finely the phase diagram searches."""


def anchors(theta: Price, rho: Price, lambdas: Sequence[Price], seed: int) -> pd.DataFrame:
    """Absorption in the exact world: a row a price, what is found against what is known.

    v1 fires alone with probability ``1 - rho``, with v2 at `theta` degrees with `rho`. Columns
    "exact" (formula), "found" (from random starts), "certified, lower" and "certified, upper" (by a
    search that leaves nothing out), "true dictionary", "angle of 1" and "angle of 2" (of the atoms
    found, degrees).
    """
    plane = Plane(1 - rho, 0.0, rho, math.radians(theta))
    seen = plane.weights > 0
    points, weights = plane.points[seen], plane.weights[seen]
    truth = plane.points[:2]
    rows = {}
    for lam in lambdas:
        length = 2 * math.cos(plane.theta / 2)
        exact = (1 - rho) * (lam - lam**2 / 2) + rho * (lam * length - lam**2 / 2)
        found = learn_dictionary(points, 2, lam, weights=weights, n_starts=6, seed=seed)
        certified = certified_minimum(plane, lam)
        codes = nonnegative_lasso(points, truth, lam, tol=1e-12)
        angles = np.sort(np.degrees(np.arctan2(found.atoms[:, 1], found.atoms[:, 0])))
        rows[lam] = {
            "exact": exact,
            "found": found.cost,
            "certified, lower": certified.lower,
            "certified, upper": certified.cost,
            "true dictionary": float(weights @ cost(points, truth, codes, lam)),
            "angle of 1": abs(angles[0]),
            "angle of 2": angles[1],
        }
    return pd.DataFrame(rows).T.rename_axis("lambda")


def anchors_table(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame of `anchors` in fewer columns, with both angles in one, to whole degrees."""
    pairs = zip(frame["angle of 1"], frame["angle of 2"], strict=True)
    angles = [f"{first:.0f} and {second:.0f}" for first, second in pairs]
    words = {"exact": "by formula", "true dictionary": "true features"}
    found = frame.drop(columns=["angle of 1", "angle of 2"]).rename(columns=words)
    return found.assign(**{"angles, degrees": angles})


def errors_by_layer(
    measured: Measured, delta: float, inequality: str, cap: float = 0.1
) -> dict[str, pd.DataFrame]:
    """Limits on each of `ERRORS`, shares of the cost of no activity, one row a hook point.

    **Guarantee.** With probability at least ``1 - delta`` over sequences drawn i.i.d. all limits on
    the expected differences hold, at ``ln(2 J H / delta)`` nats a side. No codes are better than
    optimal ones and no dictionary than the wide limit, so those two differences lie in [0, 1] (what
    rounding and the duality gap take off counts as 0). The dictionary's error found may have either
    sign: a sequence counts for `cap` at most. Limits are on differences of least costs, those of
    "mean" of the costs that the solver came to (`difference_frame`). Of the codes of other atoms no
    gap was kept: it counts as that of the SAE's atoms, to the same tolerance.
    """
    nats = math.log(2 * len(ERRORS) * len(measured) / delta)
    rows = {name: np.stack([values[name] for values in measured.values()]) for name in COSTS}
    limits = {}
    for name, (first, second) in ERRORS.items():
        ends = (-cap, cap) if second == "better" else (0.0, 1.0)
        off = gaps_of(measured, first), gaps_of(measured, second)
        difference = rows[first] - rows[second]
        limits[name] = difference_frame(difference, ends, off, nats, inequality)
    return limits


def gaps_of(measured: Measured, cost: str) -> np.ndarray:
    """By how much a cost may be too high at each hook point: the largest duality gap, or 0."""
    return np.array([float(np.max(x["gap"])) if cost in SOLVED else 0.0 for x in measured.values()])


def difference_frame(
    difference: np.ndarray,
    ends: tuple[float, float],
    off: tuple[np.ndarray, np.ndarray],
    nats: float,
    inequality: str,
) -> pd.DataFrame:
    """Limits on expected differences of two costs, a row a hook point: "lower", "mean", "upper".

    Parameters
    ----------
    difference
        By hook point and sequence, shares of the cost of no activity; clipped to `ends`.
    ends
        Between which the difference of least costs lies.
    off
        By how much the first and the second cost may be too high (`gaps_of`). The lower limit is
        moved down by the first, the upper one up by the second, within `ends`.
    nats, inequality
        Of each limit.
    """
    least, most = ends
    inside = difference.clip(least, most)
    support = (least, most, 0.0, 0.0)
    low, high = difference_limits(inside, np.zeros_like(inside), support, nats, inequality)
    down, up = off
    limits = {"lower": np.maximum(low - down, least), "mean": inside.mean(axis=1)}
    return pd.DataFrame(limits | {"upper": np.minimum(high + up, most)})


def apart(first: pd.DataFrame, second: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """Lower and upper limits on differences of two expectations that have limits of their own.

    Both frames have columns "lower" and "upper", and rows in the same order; the limits hold
    together if those of the frames do.
    """
    return first["lower"] - second["upper"], first["upper"] - second["lower"]


def settings_by_layer(measured: Measured) -> pd.DataFrame:
    """Price, implied price (weighted mean over latents) and active latents, one row a layer."""
    names = {
        "lambda": "lambda",
        "implied lambda": "implied price",
        "l0, encoder": "active, encoder",
        "l0, optimal": "active, optimal",
    }
    rows = {
        label: {title: float(values[name]) for name, title in names.items()}
        for label, values in zip(labels_of(list(measured)), measured.values(), strict=True)
    }
    return pd.DataFrame(rows).T.rename_axis("layer")


def atoms_by_layer(measured: Measured) -> pd.DataFrame:
    """Conditions on atoms over latents that fire often enough: a row a layer, for either code.

    Quantiles of the implied price as a share of lambda, the median angle in degrees, and the median
    agreement; no limits.
    """
    ends = {"10 %": 0.1, "median": 0.5, "90 %": 0.9}
    rows = {}
    for word in WORDS:
        for label, values in zip(labels_of(list(measured)), measured.values(), strict=True):
            often = values[f"firings, {word}"] >= OFTEN
            implied = values[f"implied_lambda, {word}"][often] / values["lambda"]
            row = {(IMPLIED, name): np.nanquantile(implied, end) for name, end in ends.items()}
            for name, title in {"angle": "angle, degrees", "agreement": "agreement"}.items():
                row["median", title] = np.nanmedian(values[f"{name}, {word}"][often])
            rows[CODES[word], label] = row
    frame = pd.DataFrame(rows).T.rename_axis(["codes", "layer"])
    return frame.set_axis(pd.MultiIndex.from_tuples(frame.columns), axis=1)


def own_case(arrays: Mapping[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """What `saecert.training.priced.priced` measures at one hook point, by SAE."""
    return {
        label: {
            name.removeprefix(f"{kind}: "): np.asarray(values, dtype=float)
            for name, values in arrays.items()
            if name.startswith(f"{kind}: ")
        }
        for kind, label in OWN_CASE.items()
    }


def own_case_table(measured: Measured, delta: float, inequality: str) -> pd.DataFrame:
    """The objective's own case beside another: a row an SAE.

    "lambda" is the price that it is judged at. `IMPLIED`: weighted mean over latents, and quantiles
    over those that fire often enough (no limits); the encoder's error with limits, those of
    `errors_by_layer`; active latents of both codes.
    """
    encoder = errors_by_layer(measured, delta, inequality)["encoder's error"]
    rows = {}
    for place, (label, values) in enumerate(measured.items()):
        often = values["firings, encoder"] >= OFTEN
        implied = values["implied_lambda, encoder"][often] / values["lambda"]
        quantiles = np.nanquantile(implied, [0.1, 0.5, 0.9])
        row = {("lambda", ""): values["lambda"]}
        row |= {(IMPLIED, "weighted mean"): values["implied lambda"] / values["lambda"]}
        names = ("10 %", "median", "90 %")
        row |= {(IMPLIED, x): q for x, q in zip(names, quantiles, strict=True)}
        row |= {("encoder's error", end): encoder[end].iloc[place] for end in encoder}
        row |= {("active latents", x): values[f"l0, {x}"] for x in WORDS}
        rows[label] = {name: float(value) for name, value in row.items()}
    frame = pd.DataFrame(rows).T
    return frame.set_axis(pd.MultiIndex.from_tuples(frame.columns), axis=1)


def split_examples(values: Mapping[str, np.ndarray], steps: Iterable[str]) -> list[str]:
    """Lines about the parent with most children of each step: tokens where they are strongest."""
    lines = []
    for step, (parent, *children) in zip(steps, values["example words"], strict=True):
        told = "; ".join(str(words) for words in children if words)
        lines.append(f"{step}: parent {parent}, children {told}" if told else f"{step}: none")
    return lines


def encoder_difference(measured: Measured, delta: float, inequality: str) -> dict[str, float]:
    """Encoder's error of the first SAE less that of the second: "lower", "mean", "upper".

    Shares of the cost of no activity, in [-1, 1], paired by sequence; the two limits hold together
    at `delta`, and are moved outwards by duality gaps: the lower one by that of the second SAE, the
    upper one by that of the first.
    """
    errors = [(x["encoder"] - x["optimal"]).clip(0, 1) for x in measured.values()]
    support = (0.0, 1.0, 0.0, 1.0)
    low, high = difference_limits(*errors, support, math.log(2 / delta), inequality)
    mean = float((errors[0] - errors[1]).mean())
    up, down = gaps_of(measured, "optimal")
    return {"lower": float(low - down), "mean": mean, "upper": float(high + up)}


def splits_table(values: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """What becomes of latents from each size to the next: a row a step; no limits."""
    sizes = values["d_sae"].astype(int)
    steps = [f"{a} to {b}" for a, b in itertools.pairwise(sizes)]
    parents = values["parents"]
    columns = {
        "frequent latents": parents,
        "there again": values["kept"] / np.maximum(parents, 1),
        "split": values["split"] / np.maximum(parents, 1),
        "children": values["children"],
    }
    return pd.DataFrame(columns, index=pd.Index(steps, name="latents"))


def new_atoms_by_layer(measured: Measured) -> pd.DataFrame:
    """What the best new atom gains of the residuals, shares of lambda, by codes and layer."""
    names = {"gain by chance": "by chance", "gain": "found", "gain at most": "at most"}
    rows = {
        label: {
            (f"{CODES[word]} codes", title): float(values[f"{name}, {word}"])
            for word in WORDS
            for name, title in names.items()
        }
        for label, values in zip(labels_of(list(measured)), measured.values(), strict=True)
    }
    frame = pd.DataFrame(rows).T
    return frame.set_axis(pd.MultiIndex.from_tuples(frame.columns), axis=1).rename_axis("layer")


def predicted(
    measured: Measured, gaps: Mapping[str, np.ndarray], delta: float, inequality: str
) -> dict[str, pd.DataFrame]:
    """Kendall's tau of distances, as the solver came to them, and the reconstruction gap over
    sequences, one row a hook point.

    **Guarantee.** With probability at least ``1 - delta`` all limits hold, at ``ln(4 H / delta)``
    nats a side (two distances, two sides, H hook points).

    Parameters
    ----------
    measured
        What "optimality" measures, by hook point.
    gaps
        |loss of the model - loss of the SAE proxy| of the same sequences, in bits.
    """
    nats = math.log(4 * len(measured) / delta)
    gap = np.stack([gaps[name] for name in measured])
    limits = {}
    for name in ("encoder's error", "above the wide limit"):
        first, second = ERRORS[name]
        distance = np.stack([values[first] - values[second] for values in measured.values()])
        tau = kendall_tau(distance, gap)
        low, high = kendall_limits_of_pairs(distance, gap, nats, inequality)
        limits[name] = pd.DataFrame({"lower": low, "mean": tau, "upper": high})
    return limits


def phase_row(
    *, lam: Price, theta: Price, tilt: Price, shares: Sequence[Price]
) -> list[dict[str, float]]:
    """One row of the phase diagram: a cell for each share of "both" among all activity.

    Of the rest, the first feature alone has the share `tilt`. Columns both, kept, certified, cost,
    lower.
    """
    rows = []
    for both in shares:
        alone = 1 - both
        plane = Plane(alone * tilt, alone * (1 - tilt), both, math.radians(theta))
        found = certified_minimum(plane, lam, **PHASE)
        row = {"both": both, "kept": found.kept, "certified": found.certified}
        row |= {"cost": found.cost, "lower": found.lower}
        rows.append({name: float(value) for name, value in row.items()})
    return rows


def moved(phases: pd.DataFrame, tilt: float, low: float, high: float) -> tuple[int, int]:
    """Cells told at both prices that merge as the price rises from `low` to `high`, and that part.

    `phases` has the columns of `phase_row`, lam, tilt and theta. Cells are paired by theta and
    both: shares of cells told at each price alone compare different cells.
    """
    told = phases[(phases["certified"] == 1) & (phases["tilt"] == tilt)]
    where = ["theta", "both"]
    before, after = (told[told["lam"] == lam].set_index(where)["kept"] for lam in (low, high))
    paired = pd.concat([before, after], axis=1, join="inner", keys=["before", "after"])
    change = paired["after"] - paired["before"]
    return int((change < 0).sum()), int((change > 0).sum())


def widening(*, n: int, width: int, lam: Price, rounds: int, seed: int) -> list[dict[str, float]]:
    """A dictionary grown on `n` normal points of `width` dimensions until it costs the floor.

    Columns atoms, cost, floor, long (points longer than `lam`): one row a round.
    """
    x = np.random.default_rng(seed).normal(size=(n, width))
    long = float((np.linalg.norm(x, axis=1) > lam).sum())
    return [
        {"atoms": float(step.n_atoms), "cost": step.cost, "floor": step.floor, "long": long}
        for step in column_generation(x, lam, rounds=rounds, at_once=4, tol=1e-4)
    ]


def grown_table(grown: pd.DataFrame) -> pd.DataFrame:
    """Where `widening` ends at each price (column lam): a row a price, columns in words."""
    ends = grown.groupby("lam").last().rename_axis("lambda")
    columns = {
        "atoms in use": ends["atoms"].astype(int),
        "points longer than lambda": ends["long"].astype(int),
        "cost": ends["cost"],
        "above the wide limit, share": ends["cost"] / ends["floor"] - 1,
    }
    return pd.DataFrame(columns)


def pairs_table(frame: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Rows of pairs of latents as a table: layer and pair, then the columns named, in words."""
    layer = labels_of(frame["hook_name"].tolist())
    pair = frame["pair"].str.replace(" ", " and ")
    shown = frame.assign(layer=layer, pair=pair).set_index(["layer", "pair"])[list(columns)]
    return shown.rename(columns=PAIR_WORDS)


def at_each(shown: pd.Series, groups: pd.Series | pd.Index) -> bool | Undecided:
    """Whether a test certifies something in every group, such as a hook point or a step.

    `shown` says of what, in the order of `groups`. Where there is a group of which nothing is
    certified the claim is undecided: such tests have limits of one side.
    """
    return decided(shown.groupby(np.asarray(groups)).any().all(), False, NOT_SHOWN)


def clearest(kind: str, frame: pd.DataFrame) -> pd.DataFrame:
    """The clearest pair of each hook point of a table of limits: that with the widest gap between
    them, or the least upper limit on the excess."""
    gap = (
        frame["with child, lower"] - frame["alone, upper"]
        if kind == ABSORBED
        else -frame["excess, upper"]
    )
    order = gap.sort_values(ascending=False, kind="stable").index
    return frame.loc[order].drop_duplicates("hook_name").sort_index()


def words_table(measured: Measured, kind: str, frame: pd.DataFrame) -> pd.DataFrame:
    """Tokens at which the latents of the `clearest` pairs are strongest on discovery, a row each.

    Columns "parent" and "child" for pairs that absorb, else "one" and "other".
    """
    columns = ["parent", "child"] if kind == ABSORBED else ["one", "other"]
    rows = clearest(kind, frame)
    words = [
        [str(text) for text in measured[name][f"{kind} words"][place]]
        for name, place in zip(rows["hook_name"], _places(measured, kind, rows), strict=True)
    ]
    told = pd.DataFrame(words, columns=columns, index=rows.index)
    return pairs_table(rows.join(told), columns)


def examples(measured: Measured, frame: pd.DataFrame, study: Study) -> list[str]:
    """Lines with places in the discovery text of a study at which the parents of the `clearest`
    pairs are silent with the child, and at which they fire; the text is read again for that.
    """
    rows = clearest(ABSORBED, frame)
    lines = []
    for row, place in zip(rows.to_dict("records"), _places(measured, ABSORBED, rows), strict=True):
        lines.append(f"{row['pair']} at {row['hook_name']}:")
        there = measured[row["hook_name"]][f"{ABSORBED} examples"][place]
        for word, several in zip(("silent", "fires"), there, strict=True):
            lines += [f"parent {word} at: {text}" for text in _texts(study, several)]
    return lines


def _places(measured: Measured, kind: str, rows: pd.DataFrame) -> list[int]:
    """Which of the pairs of its hook point each row is about."""
    places = []
    for name, pair in zip(rows["hook_name"], rows["pair"], strict=True):
        pairs = measured[name][f"{kind} pairs"].tolist()
        places.append([f"{first} {second}" for first, second in pairs].index(pair))
    return places


def _texts(study: Study, places: np.ndarray) -> list[str]:
    """What stands at sequences and positions of the discovery text; it is read again for that."""
    from saecert.dictionaries.phenomena import context

    found = [tuple(map(int, place)) for place in places if place[0] >= 0]
    return [context(study.subject, study.discovery, *place) for place in found]

"""What SAEs score when they are judged by their latents: limits, differences, tables (no torch)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from saecert.dictionaries.quantities import (
    CLASSES_OF_TOKENS,
    DETECTION,
    JUDGED_PARTS,
    OTHER_LATENT,
    RANDOM_LATENTS,
    SPARSE,
    edit_name,
    labels_probed,
    packages_probed,
    probe_name,
)
from saecert.statistics.inequalities import INEQUALITIES, lower
from saecert.statistics.paired import difference_limits
from saecert.statistics.unpaired import two_sample_limits

Scores = Mapping[str, Float[np.ndarray, "_"]]
"""What `saecert.dictionaries.judged.judged` returns for one SAE."""
Ends = tuple[float, float, float]

PROBES = {f"probe {k}": k for k in SPARSE}
"""Measures that are means over labels, with the number of latents that the probe reads."""
PACKAGES = {f"packages {k}": k for k in SPARSE}
"""Macro scores: means over packages, each probed against all others, with the number of latents."""
EDIT = "edit"
"""The mean of cause and isolate over both attributes."""
MEASURES = (*PROBES, EDIT, DETECTION)
"""What SAEs are judged by; each lies in [0, 1], and 1/2 is chance or no change."""
ENDS = ("lower", "mean", "upper")

_MODELS = ("Gemma-2-2B, layer 12", "Llama-3.1-8B, layer 16")
_SAES = (
    "trained",
    "frozen decoder, isotropic",
    "frozen decoder, covariance",
    "soft-frozen decoder",
    "frozen encoder, isotropic",
    "frozen encoder, covariance",
)
_REPORTED = (
    (
        (0.852, 0.721, 0.849, 0.720),
        (0.430, 0.669, 0.768, 0.562),
        (0.570, 0.692, 0.797, 0.554),
        (0.785, 0.659, 0.723, 0.728),
        (0.475, 0.638, 0.731, 0.641),
        (0.112, 0.609, 0.682, 0.400),
    ),
    (
        (0.805, 0.766, 0.874, 0.533),
        (0.268, 0.709, 0.779, 0.486),
        (0.426, 0.689, 0.771, 0.491),
        (0.699, 0.752, 0.848, 0.519),
        (0.424, 0.713, 0.798, 0.492),
        (0.408, 0.681, 0.763, 0.482),
    ),
)
"""Explained variance, probes on 1 and 5 latents, editing, by model and BatchTopK SAE; as reported
in arXiv 2602.14111."""
REPORTED_DEAD = 0.485
"""What an SAE without active latents was reported to score in editing."""


def values_of(scores: Scores, measure: str, floor: bool = False) -> list[np.ndarray]:
    """The arrays whose means a measure is the mean of, by independent unit.

    `measure` is one of `MEASURES` or `PACKAGES`, or the name of an array. With `floor`, what stands
    in for the SAE's latents: random ones, or for detection the examples of another latent.
    ValueError for an unknown measure.
    """
    word = RANDOM_LATENTS if floor else ""
    if measure in PROBES:
        k = PROBES[measure]
        return [scores[probe_name(k, label, word)] for label in labels_probed(scores, k)]
    if measure in PACKAGES:
        k = PACKAGES[measure]
        return [scores[probe_name(k, label, word)] for label in packages_probed(scores, k)]
    if measure == EDIT:
        names = [edit_name(part, a, word) for a in CLASSES_OF_TOKENS for part in JUDGED_PARTS]
        return [np.mean([scores[name] for name in names], axis=0, dtype=np.float64)]
    if measure == DETECTION:
        return [scores[OTHER_LATENT if floor else DETECTION]]
    name = f"{measure}, {word}" if floor else measure
    if name not in scores:
        raise ValueError(f"nothing is called '{name}'; there are {', '.join(MEASURES)}")
    return [scores[name]]


def score_limits(
    judged: Mapping[str, Scores],
    delta: float,
    inequality: str,
    measures: Sequence[str] = MEASURES,
    floor: bool = False,
) -> pd.DataFrame:
    """Mean scores with limits: a row an SAE, columns by measure and `ENDS`.

    **Guarantee.** With probability at least ``1 - delta`` all limits of the frame hold, each array
    of scores at ``ln(2 J / delta)`` nats a side, J being the number of arrays in it. Probes and
    edits: for sequences drawn i.i.d., given the discovery split, on which latents were picked and
    probes fitted. Detection: for latents drawn with replacement, given both texts, on the mean over
    all latents that may be drawn. The limit on a mean over labels is the mean of their limits.
    ValueError for an unknown measure.
    """
    arrays = {
        (name, measure): values_of(scores, measure, floor)
        for name, scores in judged.items()
        for measure in measures
    }
    nats = _nats(arrays, delta)
    upper = INEQUALITIES[inequality]

    def limits(values: np.ndarray) -> Ends:
        x = values.astype(np.float64)
        low, high = lower(upper, x, 0.0, 1.0, nats), upper(x, 0.0, 1.0, nats)
        return float(low), float(x.mean()), float(high)

    return _frame(arrays, limits, measures)


def differences(
    judged: Mapping[str, Scores],
    twins: Mapping[str, str],
    delta: float,
    inequality: str,
    measures: Sequence[str] = MEASURES,
) -> pd.DataFrame:
    """Mean scores of each SAE less those of its twin: a row a pair, columns as `score_limits`.

    **Guarantee.** As `score_limits`. Probes and edits are paired by unit: sequences are the same
    for both. Latents of two SAEs are not: detection is compared as two samples.

    Parameters
    ----------
    judged
        Scores by name of the SAE, all with the same `saecert.dictionaries.judged.Shared`.
    twins
        By name of an SAE, the name of what it is compared with.
    delta
        Probability that any limit of the frame is wrong.
    inequality
        A key of `saecert.statistics.inequalities.INEQUALITIES`.
    measures
        Of `MEASURES`, or names of arrays.

    Raises
    ------
    ValueError
        An unknown measure, or scores of other units than the twin's.
    """
    arrays = {
        (f"{name} less {twin}", measure): [
            (measure == DETECTION, a, b)
            for a, b in zip(
                values_of(judged[name], measure), values_of(judged[twin], measure), strict=True
            )
        ]
        for name, twin in twins.items()
        for measure in measures
    }
    nats = _nats(arrays, delta)
    return _frame(arrays, lambda x: _difference(*x, nats, inequality), measures)


def above_floor(
    judged: Mapping[str, Scores], delta: float, inequality: str, measures: Sequence[str] = MEASURES
) -> pd.DataFrame:
    """Mean scores of each SAE less those of its own floor, paired by unit; as `score_limits`.

    The floor: random latents of the SAE for probes and edits, for detection the examples of another
    latent. ValueError for an unknown measure.
    """
    arrays = {
        (name, measure): [
            (False, a, b)
            for a, b in zip(
                values_of(scores, measure), values_of(scores, measure, True), strict=True
            )
        ]
        for name, scores in judged.items()
        for measure in measures
    }
    nats = _nats(arrays, delta)
    return _frame(arrays, lambda x: _difference(*x, nats, inequality), measures)


def units(scores: Scores, measures: Sequence[str] = MEASURES) -> pd.DataFrame:
    """How many independent units each array has: index measure and array, column "n"."""
    rows = {}
    for measure in measures:
        names = labels_probed(scores, PROBES[measure]) if measure in PROBES else [""]
        values = values_of(scores, measure)
        rows |= {(measure, name): len(x) for name, x in zip(names, values, strict=True)}
    return pd.DataFrame({"n": rows}).rename_axis(["measure", "label"])


def reported() -> pd.DataFrame:
    """Scores that others reported for SAEs of two larger models; no limits were."""
    columns = ["explained variance", *PROBES, EDIT]
    parts = {
        model: pd.DataFrame(rows, index=list(_SAES), columns=columns)
        for model, rows in zip(_MODELS, _REPORTED, strict=True)
    }
    return pd.concat(parts).rename_axis(["as reported", "SAE"])


def _nats(arrays: Mapping[tuple[str, str], Sequence[object]], delta: float) -> float:
    """ln(1 / delta) of one side of the limits on each array, if all shall hold together."""
    return math.log(2 * max(1, sum(map(len, arrays.values()))) / delta)


def _difference(apart: bool, a: np.ndarray, b: np.ndarray, nats: float, inequality: str) -> Ends:
    """Limits on the difference of two means, of two samples if `apart`, else paired."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    if not apart and a.shape != b.shape:
        raise ValueError(
            f"scores of {len(a)} and of {len(b)} units cannot be paired: judge both SAEs on the "
            "same text"
        )
    if apart:
        low, high = two_sample_limits(a, b, (0.0, 1.0), nats, inequality)
    else:
        low, high = difference_limits(a, b, (0.0, 1.0, 0.0, 1.0), nats, inequality)
    return float(low), float(a.mean() - b.mean()), float(high)


def _frame(
    arrays: Mapping[tuple[str, str], Sequence], limits: Callable[..., Ends], measures: Sequence[str]
) -> pd.DataFrame:
    """Means over the arrays of each cell of their limits, a row a name."""
    rows: dict[str, dict[tuple[str, str], float]] = {}
    for (name, measure), several in arrays.items():
        ends = np.mean([limits(x) for x in several], axis=0)
        row = rows.setdefault(name, {})
        row |= {(measure, end): float(x) for end, x in zip(ENDS, ends, strict=True)}
    columns = pd.MultiIndex.from_product([measures, ENDS])
    return pd.DataFrame(rows).T.reindex(columns=columns)

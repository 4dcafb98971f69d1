"""Pages 22 and 23: norms of codes as tables and panels, and what others reported (no torch)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from saecert.dictionaries.coherent import welch_limit
from saecert.dictionaries.norm_limits import LIMITS, Measured
from saecert.dictionaries.quantities import BANDS, outside_name, token_name
from saecert.records import SequenceLosses, smoothed_support
from saecert.reporting.layers import labels_of

REPORTED = {
    ("GPT-2 Small", "1"): (0.972, 0.001, 0.24),
    ("GPT-2 Small", "6"): (0.841, 0.055, 1.69),
    ("GPT-2 Small", "12"): (0.884, 0.082, 1.17),
    ("Gemma-2-2B", "1"): (1.094, 0.026, 1.76),
    ("Gemma-2-2B", "12"): (0.759, 0.148, 4.48),
    ("Gemma-2-2B", "25"): (0.806, 0.148, 3.28),
}
"""Medians over tokens of 1,000 sequences as reported in arXiv 2503.24277, of the first, a middle
and the last of 12 and 25 layers: ||f~|| / ||z||, normalised error, eps_LBO times 100,000."""
REPORTED_SIZES = {"GPT-2 Small": (24_576, 768), "Gemma-2-2B": (16_384, 2_304)}
"""Latents and dimensions, for Welch's limit. The number of latents was not reported: it is the one
that ratios and eps_LBO fit, | ratio^-2 - 1 | / eps_LBO being 24,500 and 16,400 in the middle rows.
The first row of Gemma-2-2B fits another number, 9,344."""
SCALE = 1e5
"""What eps_LBO is multiplied with in tables, as reported."""
WORDS = {
    "ratio": "norm ratio",
    "nmse": "NMSE",
    "eps_lbo": "published ε × 100,000",
    "eps_identity": "ε from ẑ",
    "norm_deviation": "deviation of norms",
    "total_variation": "total variation",
    "loss_increase": "increase in loss",
}
"""Quantities as tables name them."""
RANKED = WORDS | {"eps_lbo": "published ε"}
"""The same where only their order counts, or where they are not multiplied with `SCALE`."""
_BANDS = {outside_name(band): f"ε (H − 1) = {band:g}" for band in BANDS}


def by_name(frame: pd.DataFrame, quantities: Sequence[str], names: Sequence[str]) -> pd.DataFrame:
    """Limits of some quantities as a table: columns by quantity, lower, middle and upper.

    `frame` is that of `saecert.dictionaries.norm_limits.medians` or `means`; rows are called
    `names`. eps_LBO is multiplied with `SCALE`.
    """
    scales = {"eps_lbo": SCALE}
    parts = {
        (WORDS | _BANDS).get(quantity, quantity): frame[quantity][LIMITS].set_axis(names)
        * scales.get(quantity, 1)
        for quantity in quantities
    }
    return pd.concat(parts, axis=1)


def reported() -> pd.DataFrame:
    """Medians that others reported, which have no limits: a row a model and layer.

    "Welch's limit × 100,000" is for the sizes that fit them (`REPORTED_SIZES`), which were not
    reported.
    """
    columns = [WORDS[name] for name in ("ratio", "nmse", "eps_lbo")]
    frame = pd.DataFrame(REPORTED, index=columns).T.rename_axis(["as reported", "layer"])
    sizes = [REPORTED_SIZES[model] for model, _ in frame.index]
    return frame.assign(
        **{"Welch's limit × 100,000": [SCALE * welch_limit(*size) for size in sizes]}
    )


def coherences_table(frame: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """What is said of the coherence, and the coherence: a row an SAE, columns in words.

    `frame` is that of `saecert.dictionaries.norm_limits.coherences`; rows are called `names`.
    """
    words = {"Welch": "Welch's limit", "decoder": "coherence", "with bias": "with the bias"}
    return frame.set_axis(names).rename(columns=RANKED | words)


def ranks_table(frame: pd.DataFrame, cost: str, names: Sequence[str]) -> pd.DataFrame:
    """Ranks with one cost: three rows a predictor (lower, value, upper), a column an SAE.

    `frame` is that of `saecert.dictionaries.norm_limits.ranks_within` or `ranks_between`.
    """
    part = frame.loc[cost]
    predictors = list(dict.fromkeys(part.index.get_level_values("predictor")))
    rows = {RANKED[name]: part.loc[name].set_axis(names)[LIMITS].T for name in predictors}
    return pd.concat(rows, names=["predictor", ""])


def rank_panels(frame: pd.DataFrame, cost: str) -> pd.DataFrame:
    """The same by hook point, as `saecert.reporting.figures.plot_layers` draws it."""
    part = frame.loc[cost].reset_index().rename(columns={"value": "mean", "predictor": "quantity"})
    title = f"rank correlation with {cost.replace('_', ' ')}"
    layer = labels_of(part["name"].tolist())
    told = {"quantity": part["quantity"].map(RANKED), "panel": title, "layer": layer}
    return part.assign(**told, unit="mean of Kendall's tau")


def increases(
    losses: Mapping[str, SequenceLosses], alpha: float
) -> tuple[dict[str, np.ndarray], float]:
    """Smoothed loss that splicing costs each sequence by hook point, and the most it can, bits."""
    rises = {name: x.at("full", alpha) - x.at("clean", alpha) for name, x in losses.items()}
    n_vocab = next(iter(losses.values())).n_vocab
    lo, hi = smoothed_support(alpha, n_vocab)
    return rises, hi - lo


def points(measured: Measured, names: Mapping[str, str]) -> pd.DataFrame:
    """Norms at one random token of each sequence: columns panel (its title), z and f."""
    frames = []
    for key, title in names.items():
        drawn = {axis: measured[key][token_name(f"norm_{axis}")][:, 0] for axis in ("z", "f")}
        frames.append(pd.DataFrame(drawn).assign(panel=title))
    return pd.concat(frames, ignore_index=True)

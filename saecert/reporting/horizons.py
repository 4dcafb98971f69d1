"""The page about horizons: measured KL as tables and panels, and what others printed (no torch)."""

from __future__ import annotations

from typing import Any

import pandas as pd

from saecert.dictionaries.horizon_limits import SAE
from saecert.dictionaries.quantities import OUTPUT
from saecert.reporting.claims import all_above, all_below
from saecert.reporting.layers import labels_of

HORIZONS = (0, 1, 2, 4, 8, OUTPUT)
"""Columns of `PRINTED`."""
_NONE = float("nan")
PRINTED = {
    ("GPT-2 Small", "6 pre"): (0.627, 0.636, 0.616, 0.647, _NONE, 0.252),
    ("Gemma-2B", "12"): (1.006, 1.417, 1.381, 0.585, _NONE, 0.572),
    ("Llama-3-8B", "4"): (1.280, 4.992, 5.412, 5.666, 5.576, 12.016),
    ("Llama-3-8B", "8"): (1.469, 4.179, 4.377, 4.645, 5.476, 11.106),
    ("Llama-3-8B", "12"): (1.426, 3.077, 3.097, 3.641, 5.432, 7.648),
    ("Llama-3-8B", "16"): (1.185, 3.044, 5.200, 4.752, 6.953, 5.859),
    ("Llama-3-8B", "20"): (1.244, 3.030, 4.665, 4.645, 4.867, 3.791),
    ("Llama-3-8B", "24"): (1.410, 1.819, 2.126, 4.034, _NONE, 2.918),
    ("Llama-3-8B", "28"): (1.873, 2.438, 2.608, _NONE, _NONE, 3.029),
    ("Llama-3-8B", "30"): (1.812, 1.102, _NONE, _NONE, _NONE, 1.102),
}
"""Mean KL of the SAE's error in bits, as printed in the result files of the paper's authors
(newcodevelop/sparse-lens-certification, horizon_conditioned_proxy_kl_results.csv, read 2026-11-24):
32,256 tokens, top-k 64, every position replaced."""
PRINTED_RATIOS = {
    "4": (1.39, 1.71, 1.22, 0.93),
    "8": (1.41, 2.18, 1.32, 1.09),
    "12": (1.40, 1.80, 1.34, 1.00),
    "16": (1.39, 1.78, 1.38, 0.60),
    "20": (1.53, 1.76, 1.49, 0.71),
    "24": (1.84, 1.95, 1.33, 0.65),
    "28": (2.33, 3.37, 1.29, 1.04),
    "30": (2.59, 1.64, 1.45, 0.40),
}
"""Llama-3-8B by layer: mean KL of the SAE's error over that of noise (at horizon 0, at the output)
and of shuffled latents as large (likewise), from newcodevelop/Faithful-SAEs, rollout_extended and
rollout_extended_sae_shuffle (read 2026-11-24)."""
RATIOS = [("noise", 0), ("noise", OUTPUT), ("shuffled latents", 0), ("shuffled latents", OUTPUT)]
"""Columns of `PRINTED_RATIOS`."""


def printed() -> pd.DataFrame:
    """Mean KL as others printed it: a row a model and layer, a column a horizon."""
    frame = pd.DataFrame(PRINTED, index=[str(h) for h in HORIZONS]).T
    return frame.rename_axis(["model", "layer"]).rename_axis(columns="blocks")


def by_horizon(means: pd.DataFrame, perturbation: str = SAE) -> pd.DataFrame:
    """Mean KL of one perturbation: a row a layer, a column a horizon.

    `means` is that of `saecert.dictionaries.horizon_limits.mean_divergences`.
    """
    part = means[means["perturbation"] == perturbation]
    layer = labels_of(part["hook_name"].tolist())
    horizons = list(dict.fromkeys(sorted(map(str, part["horizon"]), key=_distance)))
    wide = part.assign(layer=layer, horizon=part["horizon"].astype(str))
    wide = wide.pivot(index="layer", columns="horizon", values="mean")
    return wide.loc[list(dict.fromkeys(layer)), horizons].rename_axis(columns="blocks")


def ratios(means: pd.DataFrame) -> pd.DataFrame:
    """Mean KL of the SAE's error over that of errors as large, by layer: columns as `RATIOS`."""
    words = means.assign(horizon=means["horizon"].astype(str))
    at = words.set_index(["perturbation", "horizon", "hook_name"])["mean"].sort_index()
    table = {(name, str(h)): at[SAE, str(h)] / at[name, str(h)] for name, h in RATIOS}
    frame = pd.DataFrame(table)
    frame = frame.loc[list(dict.fromkeys(means["hook_name"]))]
    return frame.set_axis(labels_of(frame.index.tolist())).rename_axis("layer")


def printed_ratios() -> pd.DataFrame:
    """The same for Llama-3-8B, as others printed it."""
    columns = pd.MultiIndex.from_tuples([(name, str(h)) for name, h in RATIOS])
    return pd.DataFrame(PRINTED_RATIOS, index=columns).T.rename_axis("layer")


def statements(frame: pd.DataFrame) -> pd.DataFrame:
    """What `saecert.dictionaries.horizon_limits.paired` says, under two levels of columns."""
    names = {
        "mean": ("KL, t interval", "mean"),
        "t, lower": ("KL, t interval", "lower"),
        "t, upper": ("KL, t interval", "upper"),
        "smoothed, lower": ("smoothed, certified", "lower"),
        "smoothed, upper": ("smoothed, certified", "upper"),
        "share": ("share larger, certified", "share"),
        "share, lower": ("share larger, certified", "lower"),
        "share, upper": ("share larger, certified", "upper"),
    }
    chosen = frame[list(names)]
    return chosen.set_axis(pd.MultiIndex.from_tuples(list(names.values())), axis=1)


def depth_panel(title: str, means: pd.DataFrame) -> pd.DataFrame:
    """Local and output KL by layer, as `saecert.reporting.figures.plot_layers` draws them."""
    ends = means[means["horizon"].isin([0, OUTPUT])]
    ends = ends[(ends["perturbation"] == SAE) | (ends["horizon"] == OUTPUT)]
    named = ends["perturbation"] + ends["horizon"].map(_in_words)
    layer = labels_of(ends["hook_name"].tolist())
    return ends.assign(quantity=named, layer=layer, panel=title, unit="mean KL (bits)")


def printed_panel(model: str) -> pd.DataFrame:
    """The same of a model of `PRINTED`, without intervals: none were printed."""
    part = printed().loc[model]
    rows = []
    for h in (0, OUTPUT):
        mean = part[str(h)].to_numpy()
        limits = {"mean": mean, "lower": mean, "upper": mean}
        rows.append(pd.DataFrame({"quantity": SAE + _in_words(h), "layer": part.index, **limits}))
    frame = pd.concat(rows, ignore_index=True)
    return frame.assign(panel=f"{model}, as printed", unit="mean KL (bits)")


def share_panel(against: pd.DataFrame) -> pd.DataFrame:
    """Shares of sequences on which the SAE's error has the larger KL, by layer."""
    rows = against.reset_index()
    named = "than " + rows["control"] + rows["horizon"].map(_in_words)
    limits = {"mean": rows["share"], "lower": rows["share, lower"], "upper": rows["share, upper"]}
    frame = pd.DataFrame(limits).assign(quantity=named, layer=labels_of(list(rows["hook_name"])))
    return frame.assign(panel="the SAE's error has the larger KL", unit="share of sequences")


def claimed(
    against: pd.DataFrame, trend: pd.DataFrame, damped: pd.DataFrame, n_hooks: int
) -> dict[str, Any]:
    """What the page claims, as `saecert.reporting.claims.claims` takes it.

    Parameters
    ----------
    against, trend, damped
        What `against_controls`, `last_against_first` and `output_against_local` of
        `saecert.dictionaries.horizon_limits` return.
    n_hooks
        Number of hook points; with one there is no last against the first.
    """
    alone = "needs two hook points" if n_hooks == 1 else ""
    last = "needs blocks behind the hook point" if damped.empty else ""
    noise = _limits(against.loc["noise"], "share")
    local, output = (_limits(trend.loc[[h]], "share") for h in (0, OUTPUT))
    smoothed = _limits(trend, "smoothed")
    return {
        "most texts: more than noise, at every layer": all_above(*noise, 0.5),
        "most texts: local KL larger at the last layer": alone or all_above(*local, 0.5),
        "most texts: output KL larger at the last layer": alone or all_above(*output, 0.5),
        "mean smoothed KL is larger at the last layer": alone or all_above(*smoothed),
        "most texts: the output moves less than the place": last
        or all_below(*_limits(damped, "share"), 0.5),
    }


def _limits(frame: pd.DataFrame, name: str) -> tuple[pd.Series, pd.Series]:
    return frame[f"{name}, lower"], frame[f"{name}, upper"]


def _in_words(horizon: int | str) -> str:
    return ", output" if horizon == OUTPUT else f", {horizon} blocks on" if horizon else ", local"


def _distance(horizon: str) -> tuple[bool, int]:
    return horizon == OUTPUT, 0 if horizon == OUTPUT else int(horizon)

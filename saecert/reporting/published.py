"""The paper's figures, restated, and what its means certify: the frames of pages 09 and 10."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from saecert.certificates import published
from saecert.certificates.published.ranges import loss_range
from saecert.statistics.coverage import REJECT_AT
from saecert.statistics.inequalities import clopper_pearson_upper

FIGURES = Path(__file__).resolve().parents[2] / "book/data/published.csv"
"""The project's own table of the paper's figures, with their source."""
DELTA, ALPHA = 0.05, 0.5
"""Settings of every published bound."""

FIXED, OCCAM, DIRECT = "fixed pool", "with Occam", "direct, no SAE"
"""What tables call the paper's U_SAE, its U_SAE + Occam, and the bound without an SAE."""
_COLUMNS = {FIXED: "fixed", OCCAM: "occam", DIRECT: "direct"}
_SAMPLE = ("n_seq", "n_vocab", "d_sae", "pool")
_MEANS = ("proxy_risk", "gap", "mismatch")


def restated(group: str = "", path: str | Path = FIGURES) -> pd.DataFrame:
    """Published statistics and bounds, one row a bound, as `FIGURES` has them.

    Columns: group, model, hook_name, layer, tau, n_seq, n_vocab, d_sae, pool, risk (of the model),
    proxy_risk, gap, mismatch (a share of sequences), printed_fixed, printed_occam, printed_direct;
    bits per token.

    Parameters
    ----------
    group
        "models" (three, at n = 10,000), "layers" (of Llama-3-8B, at 70,000) or "thresholds" (pools
        of latents seen at least tau times, at 10,000); "" for all.
    path
        Another table with these columns.
    """
    frame = pd.read_csv(path, comment="#")
    frame["layer"] = frame["hook_name"].str.split(".").str[1].astype(int)
    frame["tau"] = frame["tau"].astype("Int64")
    return frame[frame["group"] == group].reset_index(drop=True) if group else frame


def certified(frame: pd.DataFrame, delta: float = DELTA) -> pd.DataFrame:
    """The rows of `restated` with what their means certify, by the printed formula and sharper.

    New columns, in bits per token: fixed, occam, direct (the printed formulas), first_version (that
    of arXiv 2606.18383v1 on the same means; no certificate), core (proxy risk + gap + mismatch
    term), mismatch_bits, sharper_fixed, sharper_occam, sharper_direct, and uniform, above which a
    bound is vacuous. Each row, and each bound, holds on its own at `delta`.
    """
    rows = [_certified(row, delta) for row in frame.to_dict("records")]
    return pd.concat([frame, pd.DataFrame(rows, index=frame.index)], axis=1)


def largest_difference(frame: pd.DataFrame) -> float:
    """Bits by which a bound of `certified` differs most from the one that is printed."""
    columns = _COLUMNS.values()
    differences = [(frame[name] - frame[f"printed_{name}"]).abs() for name in columns]
    return float(pd.concat(differences).max())


def by_form(frame: pd.DataFrame, label: str = "model") -> pd.DataFrame:
    """Three rows for each of `certified`: each form as printed, recomputed and sharper."""
    rows = []
    for row in frame.to_dict("records"):
        for form, name in _COLUMNS.items():
            values = {label: row[label], "bound of": form, "as printed": row[f"printed_{name}"]}
            values |= {"recomputed": row[name], "sharper, at most": row[f"sharper_{name}"]}
            rows.append(values | {"log2 V": row["uniform"]})
    return pd.DataFrame(rows).set_index([label, "bound of"])


def counted_twice(frame: pd.DataFrame, label: str = "model") -> pd.DataFrame:
    """How much of the gap is in the proxy risk already, by row of `certified`.

    Columns: model risk, "proxy - model" (difference of the risks), gap, "share of gap (%)" (of the
    gap that this difference is; where it is near 100, core is the model's risk and twice the gap),
    mismatch term. `label` names the column for the index.
    """
    excess = frame["proxy_risk"] - frame["risk"]
    table = pd.DataFrame({"model risk": frame["risk"], "proxy - model": excess})
    table["gap"] = frame["gap"]
    table["share of gap (%)"] = 100 * excess / frame["gap"]
    table["mismatch term"] = frame["mismatch_bits"]
    return table.set_index(frame[label])


def thresholds(frame: pd.DataFrame) -> pd.DataFrame:
    """Pools of latents seen at least tau times: how the terms and bounds of `certified` move.

    Columns, by tau ("seen at least"): k, proxy risk, outside (sequences that leave the pool),
    mismatch term, U_SAE as printed ("as printed"), and sharper.
    """
    table = pd.DataFrame({"k": frame["pool"], "proxy risk": frame["proxy_risk"]})
    table["outside"] = (frame["mismatch"] * frame["n_seq"]).round().astype(int)
    table["mismatch term"] = frame["mismatch_bits"]
    table["as printed"] = frame["printed_fixed"]
    table["sharper, at most"] = frame["sharper_fixed"]
    return table.set_index(frame["tau"].rename("seen at least"))


def rankings(frame: pd.DataFrame) -> pd.DataFrame:
    """Bounds of several rows as printed, as a share of their uniform risk.

    One row a form; one column a model, from the best to the worst under the direct bound.
    """
    order = (frame["printed_direct"] / frame["uniform"]).sort_values().index
    ordered = frame.loc[order]
    shares = {
        form: (ordered[f"printed_{_COLUMNS[form]}"] / ordered["uniform"]).to_numpy()
        for form in (DIRECT, FIXED, OCCAM)
    }
    return pd.DataFrame.from_dict(shares, orient="index", columns=list(ordered["model"]))


def rows_of_published(delta: float = DELTA) -> pd.DataFrame:
    """The three models as rows beside certificates: published means, certified by us.

    Columns: label, model, hook_name, n_seq, k, d_sae, bound (`sharper_fixed`), "share of uniform",
    "below uniform", direct.
    """
    frame = certified(restated("models"), delta)
    rows = frame[["model", "hook_name", "n_seq", "d_sae"]].copy()
    rows.insert(3, "k", frame["pool"])
    rows["bound"] = frame["sharper_fixed"]
    rows["share of uniform"] = frame["sharper_fixed"] / frame["uniform"]
    rows["below uniform"] = frame["uniform"] - frame["sharper_fixed"]
    rows["direct bound"] = frame["sharper_direct"]
    return rows.assign(label=rows["model"] + ", published means")


def named_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """The frame of `rows_of_published` as a table, by model and hook point."""
    columns = ["k", "of latents", "bound", "share of uniform", "below uniform", "direct bound"]
    named = rows.rename(columns={"d_sae": "of latents"}).set_index(["model", "hook_name"])
    return named[columns].rename_axis(["model", "hook point"])


def simulated_misses(
    *, draws: int = 20_000, n_seq: int = 1_000, delta: float = DELTA, seed: int = 0
) -> pd.DataFrame:
    """How often one of the three limits of `published.sharper` is below its mean, truth known.

    Every value lies at an end of its range, the upper one with a known probability: 0.1 in "coins";
    so small in "hardly ever seen" that a sample misses it with 0.98 times what its limit may spend,
    in "seldom seen" with twice that. A miss is one of the three limits below its mean.

    Columns: population, rule ("as here", or "delta not divided", which is wrong), "misses (%)", "99
    % from", "99 % to", verdict ("rejected" if a valid rule has so many with probability
    `REJECT_AT`, else "valid").
    """
    rng = np.random.default_rng(seed)
    spent = np.array([delta / 3, delta / 6, delta / 3])
    truths = {
        "coins": np.full(3, 0.1),
        "hardly ever seen": -np.expm1(np.log(0.98 * spent) / n_seq),
        "seldom seen": -np.expm1(np.log(2 * spent) / n_seq),
    }
    rows = []
    for population, truth in truths.items():
        counts = rng.binomial(n_seq, truth, (draws, 3))
        for rule, share in {"as here": 1, "delta not divided": 3}.items():
            upper = _limits_of_counts(counts, n_seq, min(share * delta, 0.999))
            missed = int((upper < truth).any(axis=1).sum())
            rows.append({"population": population, "rule": rule, **_judged(missed, draws, delta)})
    return pd.DataFrame(rows)


def _certified(row: dict[str, Any], delta: float) -> dict[str, float]:
    shape = {name: int(row[name]) for name in _SAMPLE} | {"alpha": ALPHA, "delta": delta}
    means = {name: row[name] for name in _MEANS}
    alone = {"risk": row["risk"], **{name: shape[name] for name in ("n_seq", "n_vocab")}}
    alone |= {"alpha": ALPHA, "delta": delta}
    printed = published.tacl(**means, **shape)
    valid = published.sharper(**means, **shape)
    return {
        "fixed": printed.fixed,
        "occam": printed.occam,
        "direct": published.direct(**alone).bound,
        "first_version": published.v1(**means, **shape).bound,
        "core": printed.core,
        "mismatch_bits": printed.mismatch,
        "sharper_fixed": valid.fixed,
        "sharper_occam": valid.occam,
        "sharper_direct": published.sharper_direct(**alone),
        "uniform": math.log2(shape["n_vocab"]),
    }


def _limits_of_counts(counts: np.ndarray, n_seq: int, delta: float) -> np.ndarray:
    """Limits of `published.sharper`, as shares of the range, where values lie at its ends.

    `counts` (rows, 3) says how many of `n_seq` lie at the upper end: of risk, gap and mismatch.
    """
    shape = {"n_seq": n_seq, "n_vocab": 50_257, "pool": 1, "d_sae": 1, "alpha": ALPHA}
    lo, hi = loss_range(shape["n_vocab"], ALPHA)
    different, places = np.unique(counts, return_inverse=True)
    table = []
    for share in (different / n_seq).tolist():
        distance = (hi - lo) * share
        means = {"proxy_risk": lo + distance, "gap": distance, "mismatch": share}
        valid = published.sharper(**means, **shape, delta=delta)
        risk = (valid.proxy_risk - lo) / (hi - lo)
        table.append([risk, valid.gap / (hi - lo), valid.mismatch_share])
    return np.take_along_axis(np.array(table), places.reshape(counts.shape), axis=0)


def _judged(missed: int, draws: int, delta: float) -> dict[str, Any]:
    """Rate of misses with its limits in percent, and whether delta allows it."""
    low, least = 1 - clopper_pearson_upper(draws - missed, draws, -np.log([0.005, REJECT_AT]))
    high = clopper_pearson_upper(missed, draws, -np.log(0.005))
    rates = {"misses (%)": 100 * missed / draws, "99 % from": 100 * low, "99 % to": 100 * high}
    return rates | {"verdict": "rejected" if least > delta else "valid"}

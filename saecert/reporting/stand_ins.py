"""Pages about other things in the place of the SAE: paired differences and floors (no torch)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from saecert.certificates.certificate import certify
from saecert.certificates.comparison import values_of
from saecert.certificates.terms import joint_loss
from saecert.measurement.stand_in import as_sae
from saecert.records import SequenceLosses
from saecert.reporting.claims import Undecided, decided
from saecert.statistics.inequalities import INEQUALITIES, lower
from saecert.statistics.paired import difference_limits

TERMS = {
    "proxy": "proxy risk",
    "gap": "reconstruction gap",
    "mismatch": "pool mismatch",
    "bound": "joint loss",
}
"""What is compared, by its name in `saecert.certificates.comparison.QUANTITIES`."""


def records_of(losses: SequenceLosses, names: Mapping[str, str]) -> dict[str, SequenceLosses]:
    """A record for each label in which the named proxy stands where the SAE stood.

    "full" is the SAE itself: its record is as it was measured.
    """
    return {
        label: losses if name == "full" else as_sae(losses, name) for label, name in names.items()
    }


def moved(
    records: Mapping[str, SequenceLosses], k: int, alpha: float, delta: float, inequality: str
) -> pd.DataFrame:
    """How much each term is larger than for the first record: index shuffling and term.

    **Guarantee.** With probability at least ``1 - delta`` all limits hold, for sequences drawn
    i.i.d. and a pool of size `k` fixed beforehand (theorem "what a shuffling costs").

    Columns "more than real" (sample mean of the paired difference), "lower", "upper".
    """
    real, *others = records
    nats = math.log(2 * len(TERMS) * len(others) / delta)
    rows = []
    for label in others:
        for quantity, term in TERMS.items():
            changed, *support = values_of(records[label], quantity, k, alpha)
            usual, *_ = values_of(records[real], quantity, k, alpha)
            low, high = difference_limits(changed, usual, (*support, *support), nats, inequality)
            mean = float((changed - usual).mean())
            row = {"shuffling": label, "term": term, "more than real": mean}
            rows.append({**row, "lower": float(low), "upper": float(high)})
    return pd.DataFrame(rows).set_index(["shuffling", "term"])


def known_difference(delta: float, inequality: str, seed: int) -> pd.Series:
    """Limits on the difference of two made-up means, 0.35 apart, over 400 samples of 100 pairs.

    Entries "lower" and "upper" (on average) and "missed" (share of samples with a wrong limit).
    """
    rng = np.random.default_rng(seed)
    real = rng.beta(2, 3, size=(400, 100))
    shuffled = rng.beta(6, 2, size=(400, 100))
    truth = 6 / 8 - 2 / 5
    low, high = difference_limits(shuffled, real, (0, 1, 0, 1), math.log(2 / delta), inequality)
    missed = float(((low > truth) | (high < truth)).mean())
    return pd.Series({"lower": low.mean(), "upper": high.mean(), "missed": missed})


def gaps(records: Mapping[str, SequenceLosses], alpha: float) -> pd.DataFrame:
    """Reconstruction gap of each sequence (rows) by label (columns), bits per token."""
    columns = {
        label: np.abs(record.at("clean", alpha) - record.at("full", alpha))
        for label, record in records.items()
    }
    return pd.DataFrame(columns)


def floors(
    records: Mapping[str, SequenceLosses], alpha: float, delta: float, inequality: str
) -> pd.DataFrame:
    """Limits on E v by label, with every latent kept: what remains when complexity has vanished.

    **Guarantee.** With probability at least ``1 - delta`` all of "v from" and "v to" hold, and with
    probability at least ``1 - delta`` all of "above SAE from" and "above SAE to" (paired by
    sequence with the first record), for sequences drawn i.i.d.

    Columns: "risk" and "unclipped" (sample means of the proxy's loss, and of the sum that may leave
    the range of losses), "v", and those limits; the first row has none on its excess.
    """
    real, *others = records
    nats = math.log(2 * len(records) / delta)
    paired = math.log(2 * max(1, len(others)) / delta)
    first, *_ = _joint(records[real], alpha)
    rows = []
    for label, record in records.items():
        v, lo, hi = _joint(record, alpha)
        clean = record.at("clean", alpha)
        full = record.at("full", alpha)
        row = {"label": label, "risk": full.mean(), "v": v.mean()}
        row["unclipped"] = joint_loss(clean, full, full, math.inf).mean()
        row["v from"] = float(lower(inequality, v, lo, hi, nats))
        row["v to"] = float(INEQUALITIES[inequality](v, lo, hi, nats))
        if label != real:
            low, high = difference_limits(v, first, (lo, hi, lo, hi), paired, inequality)
            row |= {"above SAE from": float(low), "above SAE to": float(high)}
        rows.append(row)
    columns = ["risk", "unclipped", "v", "v from", "v to", "above SAE from", "above SAE to"]
    return pd.DataFrame(rows).set_index("label").rename_axis("proxy").reindex(columns=columns)


def components_for(variances: Sequence[float] | np.ndarray, fvu: float) -> int:
    """Number of leading principal components that leave at most `fvu` of the variance unexplained.

    >>> components_for([6.0, 3.0, 1.0], 0.15)
    2
    """
    left = 1 - np.cumsum(variances) / np.sum(variances)
    left[-1] = 0.0  # all of them leave nothing, whatever the rounding
    return int(np.argmax(left <= fvu)) + 1


def component_counts(
    l0: float, variances: Sequence[float] | np.ndarray, fvu: float, others: Sequence[int]
) -> tuple[int, int, list[int]]:
    """Principal components as many as the SAE's active latents, as many as match its FVU, and all.

    None exceeds the width; `others` that do are left out.

    >>> component_counts(1.6, [6.0, 3.0, 1.0], 0.15, [1, 7])
    (2, 2, [1, 2])
    """
    width = len(variances)
    by_l0 = min(max(1, round(l0)), width)
    by_fvu = components_for(variances, fvu)
    within = {size for size in others if 0 < size <= width}
    return by_l0, by_fvu, sorted({by_l0, by_fvu, *within})


def convergence(
    records: Mapping[str, SequenceLosses], sizes: Sequence[int], **settings: Any
) -> pd.DataFrame:
    """Bounds with every latent kept, one row a record and number of sequences.

    Columns label, n_seq, bound; `settings` are those of `saecert.certify`. Each bound is a
    statement of its own at delta.
    """
    rows = []
    for label, record in records.items():
        for size in sizes:
            certificate = certify(record, pool=record.d_sae, n_seq=size, **settings)
            rows.append({"label": label, "n_seq": size, "bound": certificate.bound})
    return pd.DataFrame(rows)


def verdicts(floor: pd.DataFrame) -> pd.Series:
    """Whether each floor is told to be above or below the first one: "larger", "smaller", ""."""
    tests = [floor["above SAE from"] > 0, floor["above SAE to"] < 0]
    words = np.select(tests, ["larger", "smaller"], "not told")
    return pd.Series(words, floor.index).where(floor["above SAE from"].notna(), "")


def certifiably_worse(floor: pd.DataFrame, label: str) -> bool | Undecided | str:
    """What a page claims of one stand-in: a larger floor than the first; "not tried" if not there.

    `floor` is that of `floors`.
    """
    if label not in floor.index:
        return "not tried"
    verdict = verdicts(floor)[label]
    return decided(verdict == "larger", verdict == "smaller")


def printed_floors(floor: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Two tables of `floors`: risks and floors, and by how much a floor is above the first."""
    own = {"risk": "risk", "unclipped": "not clipped", "v": "joint loss"}
    own |= {"v from": "floor, at least", "v to": "floor, at most"}
    above = {"above SAE from": "at least", "above SAE to": "at most"}
    excess = floor[list(above)].rename(columns=above).iloc[1:]
    return floor[list(own)].rename(columns=own), excess.assign(floor=verdicts(floor))


def _joint(record: SequenceLosses, alpha: float) -> tuple[np.ndarray, float, float]:
    return values_of(record, "bound", record.d_sae, alpha)

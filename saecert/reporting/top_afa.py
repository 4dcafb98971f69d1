"""Page 23: SAEs that were trained side by side, as records, certificates and tables (no torch)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd

from saecert.certificates.certificate import Certificate, certify
from saecert.certificates.comparison import compare
from saecert.certificates.recovered import loss_recovered
from saecert.certificates.tails import tails
from saecert.dictionaries.norm_limits import LIMITS, mean_limits
from saecert.dictionaries.quantities import PREDICTORS, token_name
from saecert.records import SequenceLosses, smoothed_support
from saecert.reporting.claims import Undecided
from saecert.statistics.order import share_lower
from saecert.statistics.rounding import half_step, widened

BUILD = "saecert.training.compared:compared"
"""What trains and measures them."""
KINDS = ("BatchTopK", "TopK", "top-AFA")
"""Kinds of SAEs, in the order in which `saecert.training.recipes.ARCHITECTURES` has them."""
REPORTED = {
    ("TopK", "k = 32"): (32, 0.0649),
    ("TopK", "k = 64"): (64, 0.0513),
    ("TopK", "k = 128"): (128, 0.0392),
    ("TopK", "k = 256"): (256, 0.0264),
    ("TopK", "k = 512"): (512, 0.0089),
    ("top-AFA", "lambda = 1/128"): (315, 0.132),
    ("top-AFA", "lambda = 1/64"): (1110, 0.0291),
    ("top-AFA", "lambda = 1/32"): (2037, 0.00016),
}
"""Active latents and normalised error of SAEs with 12,288 latents at layer 6 of GPT-2 Small (768
dimensions), as reported in arXiv 2503.24277."""
ENDS = ("lower", "mean", "upper")
"""Columns of limits."""
LARGER_NMSE = "texts with larger NMSE"
LARGER_GAP = "texts with larger gap"
"""Columns of `differences`."""
_NORM_Z = token_name("norm_z")
_CONSTANT = ("clean", "zero", "pool size", _NORM_Z)
_PER_TOKEN = ("norm_f", "nmse", "eps_identity")
_LARGEST = ("largest eps_lbo", "largest eps_identity")
_FACTS = ("d_sae", "d_in", "coherence", "coherence with b_dec", *_LARGEST)

Arrays = Mapping[str, np.ndarray]


@runtime_checkable
class Measured(Protocol):
    """An SAE that was trained for a page, and what was measured of it."""

    label: str
    values: Arrays


@dataclass(frozen=True)
class Member:
    """One trained SAE and what was measured of it."""

    label: str
    """Such as "top-AFA, 1/16" or "TopK 24"."""
    kind: str
    """One of `KINDS`."""
    asked: int
    """Active latents asked for; of top-AFA, that it ended with."""
    weight: float
    """Lambda of top-AFA, else nan."""
    values: dict[str, np.ndarray]
    """As `saecert.dictionaries.norms.norms` has them, and the losses "full" and "pool"."""


def members(arrays: Arrays) -> list[Member]:
    """The SAEs of one hook point: top-AFA first."""
    found = []
    n_seq = len(arrays["clean"])
    for row, code in enumerate(arrays["kind"]):
        values = {
            name: np.asarray(x[row], dtype=np.float64)
            for name, x in arrays.items()
            if name not in _CONSTANT
        }
        for name in _FACTS:
            values[name] = np.full(n_seq, values[name])
        for name in _PER_TOKEN:
            values[token_name(name)] = values[token_name(name)][:, None]
        values[_NORM_Z] = arrays[_NORM_Z][:, None]
        for name in ("full", "pool"):
            values[name] = arrays["clean"] + values[name]
        kind = KINDS[int(code)]
        weight = float(values.pop("lambda"))
        asked = int(values["asked"])
        told = f", {weight_text(weight)}" if kind == KINDS[2] else f" {asked}"
        found.append(Member(kind + told, kind, asked, weight, values))
    return found


def weight_text(weight: float) -> str:
    """Lambda as a fraction.

    >>> weight_text(0.0078125)
    '1/128'
    """
    return str(Fraction(weight).limit_denominator(100_000))


def matched(found: Sequence[Member]) -> list[tuple[Member, Member, Member]]:
    """Each top-AFA SAE with the TopK and the BatchTopK one of as many active latents."""
    of_kind = {(m.kind, m.asked): m for m in found}
    return [
        (m, of_kind[KINDS[1], m.asked], of_kind[KINDS[0], m.asked])
        for m in found
        if m.kind == KINDS[2]
    ]


def record_of(native: SequenceLosses, arrays: Arrays, member: Measured, alpha: float) -> Any:
    """What a sweep of one SAE would have left: its losses in the place of those of `native`.

    `native` is any record of the same sequences at the same hook point. The latents active in each
    sequence were not kept: all count as active. ValueError if the model's own losses are others.
    """
    clean = native.at("clean", alpha)
    n_seq = len(arrays["clean"])
    if len(clean) < n_seq or np.abs(clean[:n_seq] - arrays["clean"]).max() > 2e-3:
        raise ValueError("the SAEs were measured on other sequences than the record given")
    native = native.take(slice(0, n_seq))
    lo, hi = smoothed_support(alpha, native.n_vocab)
    losses = {"clean": arrays["clean"], "zero": arrays["zero"], "full": member.values["full"]}
    losses[f"pool_{int(arrays['pool size'])}"] = member.values["pool"]
    d_sae = int(member.values["d_sae"][0])
    return replace(
        native,
        alphas=(alpha,),
        loss={name: x.clip(lo, hi)[None] for name, x in losses.items()},
        raw={},
        total_variation={"full": member.values["total_variation"].clip(0, 1)},
        top1_disagreement={},
        outside_firings={},
        outside_energy={},
        active=np.full((n_seq, -(-d_sae // 8)), 255, np.uint8),
        d_sae=d_sae,
        reference_support={},
        discovery=None,
        provenance=native.provenance | {"sae": member.label, "sae_trained_for": "page 23"},
    )


def certificates_of(
    native: SequenceLosses, arrays: Arrays, found: Sequence[Measured], settings: Mapping[str, Any]
) -> dict[str, tuple[Certificate, SequenceLosses]]:
    """Certificate and record of every SAE by label; `settings` are those of `certify`."""
    k = int(arrays["pool size"])
    made = {}
    for member in found:
        record = record_of(native, arrays, member, settings["alpha"])
        made[member.label] = (certify(record, pool=k, eps=(), ablations=(), **settings), record)
    return made


def quality(found: Sequence[Member], delta: float, inequality: str) -> pd.DataFrame:
    """Active latents over tokens, and the error with its limits: a row an SAE.

    "at most" is an upper limit on the expected number of active latents, "below d" the share of
    tokens of the sample with fewer than dimensions, "NMSE" the mean over tokens, each counting as
    at most 1 and none as less than 0; all limits hold together at `delta`, and are of what was
    measured, not of what of it was kept in half precision (`saecert.statistics.rounding.widened`).
    """
    nats = float(np.log(3 * len(found) / delta))
    rows = {}
    for member in found:
        limits = mean_limits(member.values["nmse"], (0.0, 1.0), nats, inequality)
        low, mean, high = widened(limits, half_step(1))
        size = float(member.values["d_sae"][0])
        limits = mean_limits(member.values["l0"], (0.0, size), nats, inequality)
        *_, most = widened(limits, half_step(size))
        counts = member.values["l0 counts"]
        rows[member.label] = {
            ("active latents", "5 %"): quantile(counts, 0.05),
            ("active latents", "mean"): float(member.values["l0"].mean()),
            ("active latents", "95 %"): quantile(counts, 0.95),
            ("active latents", "at most"): most,
            ("active latents", "below d"): share_below(counts, int(member.values["d_in"][0])),
            ("NMSE", "lower"): max(low, 0.0),
            ("NMSE", "mean"): mean,
            ("NMSE", "upper"): high,
        }
    whole = {("active latents", name): int for name in ("5 %", "95 %")}
    return pd.DataFrame(rows).T.astype(whole)


def panel(title: str, found: Sequence[Member], delta: float, inequality: str) -> pd.DataFrame:
    """Error against active latents as `saecert.reporting.norm_figures.plot_sparsity` draws it."""
    table = quality(found, delta, inequality)
    frame = pd.DataFrame(
        {
            "l0": table["active latents", "mean"],
            "lower": table["NMSE", "lower"],
            "value": table["NMSE", "mean"],
            "upper": table["NMSE", "upper"],
        }
    )
    kinds = [member.kind for member in found]
    return frame.assign(kind=kinds, panel=title, unit="NMSE").reset_index(drop=True)


def quantile(counts: np.ndarray, level: float) -> int:
    """Smallest number of active latents that a share `level` of tokens does not exceed.

    >>> quantile(np.array([0, 2, 1, 1]), 0.5)
    1
    """
    return int(np.searchsorted(np.cumsum(counts), level * counts.sum() - 1e-9))


def share_below(counts: np.ndarray, number: int) -> float:
    """Share of tokens with fewer than so many active latents.

    >>> share_below(np.array([0, 2, 1, 1]), 2)
    0.5
    """
    return float(counts[:number].sum() / counts.sum())


def certified(
    made: Mapping[str, tuple[Certificate, SequenceLosses]], delta: float, inequality: str
) -> pd.DataFrame:
    """Terms, sharp bound, loss recovered and a tail of every SAE: a row each.

    "within 0.25" is a lower limit on the share of sequences whose loss the pooled proxy changes by
    at most a quarter of a bit; "recovered" the loss recovered against zero ablation. Both are
    statements at `delta` of their own; the others those of the certificate. Limits are of the
    losses as they were kept (`saecert.reporting.widened.certified`: of those measured).
    """
    rows = {}
    for label, (certificate, record) in made.items():
        options = {"delta": delta, "alpha": certificate.alpha, "inequality": inequality}
        back = loss_recovered(record, ablation="zero", **options)
        few = {"eps": (0.25,), "levels": (), "jointly": False}
        tail = tails(record, pool=certificate.k, **few, **options)
        rows[label] = {
            "gap": certificate.means["reconstruction gap"],
            "mismatch": certificate.means["pool mismatch"],
            "sharp": certificate.sharp,
            "recovered": np.nan if back.recovered is None else back.recovered,
            "recovered, lower": np.nan if back.lower is None else back.lower,
            "within 0.25, lower": tail.shares[0].lower,
        }
    return pd.DataFrame(rows).T


def differences(
    made: Mapping[str, tuple[Certificate, SequenceLosses]],
    triples: Sequence[tuple[Member, Member, Member]],
    delta: float,
    inequality: str,
) -> pd.DataFrame:
    """top-AFA less TopK and less BatchTopK of as many active latents, paired by sequence.

    A row a pair; NMSE (each token at most 1), "gap" and "sharp" as
    `saecert.certificates.comparison.compare` has them; and the shares of texts on which the NMSE
    and the gap of top-AFA are the larger ones (Clopper & Pearson 1934). All limits hold together at
    `delta`. Those on means are widened, as those of `quality`; the larger one of two values is the
    larger one in half precision, too, where they differ there.
    """
    pairs = [(a, b) for a, *others in triples for b in others]
    share = delta / (5 * len(pairs))
    rows = {}
    for a, b in pairs:
        (cert_a, record_a), (cert_b, record_b) = made[a.label], made[b.label]
        difference = a.values["nmse"] - b.values["nmse"]
        nats = float(np.log(2 / share))
        limits = widened(mean_limits(difference, (-1.0, 1.0), nats, inequality), 2 * half_step(1))
        row = {("NMSE", end): x for end, x in zip(ENDS, limits, strict=True)}
        gaps = _gap(record_a) - _gap(record_b)
        for name, larger in ((LARGER_NMSE, difference > 0), (LARGER_GAP, gaps > 0)):
            row[name, "share"] = float(larger.mean())
            row[name, "at least"] = float(share_lower(larger, -np.log(share)))
        for quantity in ("gap", "sharp"):
            records = (record_a, record_b)
            told = compare(cert_a, cert_b, records, quantity=quantity, delta=share)
            step = 2 * half_step(cert_a.hi - cert_a.lo)
            ends = widened((told.lower, told.difference, told.upper), step)
            row |= {(quantity, end): x for end, x in zip(ENDS, ends, strict=True)}
        rows[a.label, b.label] = row
    return pd.DataFrame(rows).T.rename_axis(["top-AFA", "compared with"])


def own_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of top-AFA SAEs of a table whose index ends with labels of SAEs."""
    labels = table.index.get_level_values(-1)
    return table[[str(label).startswith(KINDS[2]) for label in labels]]


def summary(paired: pd.DataFrame) -> pd.DataFrame:
    """What `differences` of several hook points say, a row each: told means, and least shares.

    `paired` has the hook point as its first level. Columns: how many pairs there are, in how many
    top-AFA is certified to have the larger mean NMSE, gap and sharp loss, and, over pairs, the
    least lower limit on the share of texts on which it has the larger NMSE and gap.
    """
    means, shares = "larger mean, certified pairs", "share of texts with larger, at least"
    rows = {}
    for place, part in paired.groupby(level=0, sort=False):
        row: dict[tuple[str, str], float] = {("", "pairs"): len(part)}
        for quantity in ("NMSE", "gap", "sharp"):
            name = "sharp loss" if quantity == "sharp" else quantity
            row[means, name] = int((part[quantity, "lower"] > 0).sum())
        for name, quantity in ((LARGER_NMSE, "NMSE"), (LARGER_GAP, "gap")):
            row[shares, quantity] = part[name, "at least"].min()
        rows[place] = row
    table = pd.DataFrame(rows).T
    return table.astype({name: int for name in table if name[0] != shares})


def _gap(record: SequenceLosses) -> np.ndarray:
    """Reconstruction gap of each sequence, bits."""
    (alpha,) = record.alphas
    return np.abs(record.at("clean", alpha) - record.at("full", alpha))


def increases(
    made: Mapping[str, tuple[Certificate, SequenceLosses]],
) -> tuple[dict[str, np.ndarray], float]:
    """What splicing costs each sequence in smoothed loss by label, and the most it can, bits."""
    found = {}
    largest = 0.0
    for label, (certificate, record) in made.items():
        alpha = certificate.alpha
        found[label] = record.at("full", alpha) - record.at("clean", alpha)
        largest = certificate.hi - certificate.lo
    return found, largest


def ranks_by_kind(frame: pd.DataFrame, kinds: Mapping[str, str]) -> pd.DataFrame:
    """Ranks within sequences of many SAEs, told by kind: the least lower limit, the means' range,
    the largest upper limit.

    `frame` is that of `saecert.dictionaries.norm_limits.ranks_within` for one cost; `kinds` are
    kinds of SAEs by their names in it.
    """
    kind = frame.index.get_level_values("name").map(kinds)
    grouped = frame.groupby([frame.index.get_level_values("predictor"), kind], sort=False)
    least, mean, most = (grouped[end] for end in LIMITS)
    columns = {"at least": least.min(), "smallest": mean.min(), "largest": mean.max()}
    table = pd.DataFrame(columns | {"at most": most.max()})
    order = [(x, k) for x in PREDICTORS for k in dict.fromkeys(kinds.values())]
    return table.loc[order].rename_axis(["", "SAEs"])


def told(row: Mapping[str, float], otherwise: str) -> bool | str:
    """Whether a number with limits "lower" and "upper" is above 0, or `otherwise` as an undecided
    claim if they do not say.

    >>> told({"lower": 0.1, "upper": 0.3}, "not told"), told({"lower": -1, "upper": 1}, "not told")
    (True, 'not told')
    """
    if row["lower"] > 0:
        return True
    return False if row["upper"] < 0 else Undecided(otherwise)


def reported() -> pd.DataFrame:
    """Active latents and error that others reported; no limits were."""
    columns = ["active latents", "NMSE"]
    table = pd.DataFrame(REPORTED, index=columns).T.rename_axis(["as reported", "setting"])
    return table.astype({"active latents": int})

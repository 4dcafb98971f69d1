"""What ways of running an SAE cost: terms, and limits on their differences (no torch).

All limits of a page share one delta, see `Shares`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

from saecert.certificates.divergence import divergence_range
from saecert.certificates.terms import joint_loss
from saecert.dictionaries.protocols import (
    KL,
    MODEL,
    POOL,
    SAE,
    SMOOTHED_KL,
    Protocol,
    Splice,
    Values,
    array_name,
)
from saecert.records import smoothed_support
from saecert.statistics.inequalities import INEQUALITIES, clopper_pearson_upper
from saecert.statistics.paired import difference_limits


def terms(measured: Mapping[str, Values], protocols: Mapping[str, Protocol]) -> pd.DataFrame:
    """Sample means: a row a hook point and protocol.

    Columns: "model risk", "proxy risk", "reconstruction gap" and "pool mismatch", in bits per
    token; "sum" of the last three; "KL".
    """
    rows = {}
    for hook_name, values in measured.items():
        for label, protocol in protocols.items():
            model, sae, pool = (values[array_name(w, protocol)] for w in (MODEL, SAE, POOL))
            gap = np.abs(model - sae)
            mismatch = np.abs(sae - pool)
            rows[hook_name, label] = {
                "model risk": model.mean(),
                "proxy risk": pool.mean(),
                "reconstruction gap": gap.mean(),
                "pool mismatch": mismatch.mean(),
                "sum": (pool + gap + mismatch).mean(),
                KL: values[array_name(KL, protocol)].mean(),
            }
    frame = pd.DataFrame.from_dict(rows, orient="index")
    return frame.rename_axis(["hook_name", "protocol"])


def joint_of(
    values: Values, protocol: Protocol, alpha: float, n_vocab: int
) -> Float[np.ndarray, "n_seq"]:
    """``v_A`` of each sequence: sum of the three terms, or the largest loss if that is less."""
    model, sae, pool = (values[array_name(what, protocol)] for what in (MODEL, SAE, POOL))
    lo, hi = smoothed_support(alpha, n_vocab)
    return joint_loss(*(loss.clip(lo, hi) for loss in (model, sae, pool)), hi)


@dataclass(frozen=True)
class Shares:
    """One `delta`, divided equally among all one-sided limits of a page."""

    delta: float
    """Probability that any of the limits is wrong."""
    n_hooks: int
    """Hook points."""
    n_bounds: int
    """Upper limits on E v_A at each hook point."""
    n_changes: int
    """Changes of protocol at each hook point, each with six limits: two on the change of E v_A, two
    on that of the smoothed KL, two on the share of sequences whose KL rises."""

    @property
    def count(self) -> int:
        """One-sided limits in all."""
        return self.n_hooks * (self.n_bounds + 6 * self.n_changes)

    @property
    def nats(self) -> float:
        """``ln(count / delta)``: what each of them is taken at.

        >>> Shares(0.05, 4, 2, 4).count, round(Shares(0.05, 4, 2, 4).nats, 3)
        (104, 7.64)
        """
        return math.log(self.count / self.delta)


def bounds(
    measured: Mapping[str, Values],
    protocols: Mapping[str, Protocol],
    shares: Shares,
    *,
    alpha: float,
    n_vocab: int,
    inequality: str,
) -> pd.DataFrame:
    """Upper limits on ``E v_A``: a row a hook point and protocol, columns "mean" and "upper".

    **Guarantee.** For sequences drawn i.i.d. each is wrong with probability at most
    ``exp(-shares.nats)``.
    """
    lo, hi = smoothed_support(alpha, n_vocab)
    rows = {}
    for hook_name, values in measured.items():
        for label, protocol in protocols.items():
            joint = joint_of(values, protocol, alpha, n_vocab)
            upper = float(INEQUALITIES[inequality](joint, lo, hi, shares.nats))
            rows[hook_name, label] = {"mean": joint.mean(), "upper": upper}
    frame = pd.DataFrame.from_dict(rows, orient="index")
    return frame.rename_axis(["hook_name", "protocol"])


def changes(
    measured: Mapping[str, Values],
    protocols: Mapping[str, Protocol],
    ours: Protocol,
    shares: Shares,
    *,
    alpha: float,
    n_vocab: int,
    inequality: str,
) -> pd.DataFrame:
    """What another protocol adds to ours, paired by sequence: a row a hook point and protocol.

    **Guarantee.** For sequences drawn i.i.d. each limit is wrong with probability at most
    ``exp(-shares.nats)``: on the expected change of v_A, which lies in [-w, w] with w the width of
    the smoothed loss; on that of the smoothed KL, which lies in [-L, L] with L the largest one; and
    on the probability that the KL of a sequence rises (Clopper & Pearson 1934; ties count as not).

    Columns: "v_A", "smoothed KL" and "share", each with "<name>, lower" and "<name>, upper".
    """
    rows = {}
    settings = (alpha, n_vocab)
    for hook_name, values in measured.items():
        for label, protocol in protocols.items():
            rows[hook_name, label] = {
                **_joint_change(values, (protocol, ours), settings, shares.nats, inequality),
                **_kl_change(values, (protocol, ours), settings, shares.nats, inequality),
                **_share(values, (protocol, ours), shares.nats),
            }
    frame = pd.DataFrame.from_dict(rows, orient="index")
    return frame.rename_axis(["hook_name", "protocol"])


def known_changes(delta: float, inequality: str, seed: int, samples: int = 100) -> float:
    """Share of samples in which any limit of `changes` or `bounds` is wrong, on made-up losses.

    One hook point, V = 64, alpha .5, 100 sequences: the proxies lose U more than the model in our
    protocol and 2 U in the other, U uniform on [0, .5]; the KL is U and, with probability 3/4, 2 U
    or else 0.
    """
    rng = np.random.default_rng(seed)
    other = Protocol(Splice(1), 8)
    ours = Protocol(Splice(), 8)
    shares = Shares(delta, 1, 1, 1)
    settings = {"alpha": 0.5, "n_vocab": 64, "inequality": inequality}
    truths = {"v_A": 0.5, "smoothed KL": 0.125, "share": 0.75}
    wrong = 0
    for _ in range(samples):
        values = {"": _made_up(rng, ours, other)}
        changed = changes(values, {"other": other}, ours, shares, **settings).iloc[0]
        upper = bounds(values, {"other": other}, shares, **settings)["upper"].iloc[0]
        missed = [
            not changed[f"{name}, lower"] <= truth <= changed[f"{name}, upper"]
            for name, truth in truths.items()
        ]
        wrong += any(missed) or upper < 3.0
    return wrong / samples


def _made_up(rng: np.random.Generator, ours: Protocol, other: Protocol) -> dict[str, np.ndarray]:
    """Values of 100 sequences: E v_A is 2.5 in our protocol and 3 in the other."""
    more = rng.uniform(0, 0.5, 100)
    rises = rng.uniform(size=100) < 0.75
    values = {}
    for protocol, size in ((ours, 1), (other, 2)):
        proxies = 2 + size * more
        values |= {array_name(MODEL, protocol): np.full(100, 2.0)}
        values |= {array_name(what, protocol): proxies for what in (SAE, POOL)}
        divergence = more if size == 1 else 2 * more * rises
        values |= {array_name(what, protocol): divergence for what in (KL, SMOOTHED_KL)}
    return values


def _joint_change(
    values: Values,
    pair: Sequence[Protocol],
    settings: tuple[float, int],
    nats: float,
    inequality: str,
) -> dict[str, float]:
    support = smoothed_support(*settings)
    first, second = (joint_of(values, protocol, *settings) for protocol in pair)
    low, high = difference_limits(first, second, (*support, *support), nats, inequality)
    return _named("v_A", (first - second).mean(), low, high)


def _kl_change(
    values: Values,
    pair: Sequence[Protocol],
    settings: tuple[float, int],
    nats: float,
    inequality: str,
) -> dict[str, float]:
    highest = divergence_range(*settings)
    kept = [values[array_name(SMOOTHED_KL, protocol)] for protocol in pair]
    first, second = (x.clip(0, highest) for x in kept)
    low, high = difference_limits(first, second, (0.0, highest, 0.0, highest), nats, inequality)
    return _named(SMOOTHED_KL, (first - second).mean(), low, high)


def _share(values: Values, pair: Sequence[Protocol], nats: float) -> dict[str, float]:
    first, second = (values[array_name(KL, protocol)] for protocol in pair)
    n_seq = len(first)
    larger = int((first > second).sum())
    low = 1 - clopper_pearson_upper(n_seq - larger, n_seq, nats)
    return _named("share", larger / n_seq, low, clopper_pearson_upper(larger, n_seq, nats))


def _named(name: str, value: float, low: float, high: float) -> dict[str, float]:
    return {name: float(value), f"{name}, lower": float(low), f"{name}, upper": float(high)}

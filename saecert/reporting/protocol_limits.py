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
from saecert.dictionaries.horizon_limits import t_interval
from saecert.dictionaries.protocols import (
    KL,
    MODEL,
    N_VOCAB,
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


def n_vocab_of(values: Values) -> int:
    """Size of the vocabulary of the model that was measured."""
    return int(values[N_VOCAB][0])


def joint_of(values: Values, protocol: Protocol, alpha: float) -> Float[np.ndarray, "n_seq"]:
    """``v_A`` of each sequence: sum of the three terms, or the largest loss if that is less."""
    model, sae, pool = (values[array_name(what, protocol)] for what in (MODEL, SAE, POOL))
    lo, hi = smoothed_support(alpha, n_vocab_of(values))
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
    """Protocols compared with ours at each hook point, each with six limits: two on the change of
    E v_A, two on that of the smoothed KL, two on the share of sequences whose KL rises."""

    @property
    def count(self) -> int:
        """One-sided limits in all."""
        return self.n_hooks * (self.n_bounds + 6 * self.n_changes)

    @property
    def nats(self) -> float:
        """``ln(count / delta)``: what each of them is taken at.

        >>> Shares(0.05, 4, 2, 6).count, round(Shares(0.05, 4, 2, 6).nats, 2)
        (152, 8.02)
        """
        return math.log(self.count / self.delta)


def bounds(
    measured: Mapping[str, Values],
    protocols: Mapping[str, Protocol],
    shares: Shares,
    *,
    alpha: float,
    inequality: str,
) -> pd.DataFrame:
    """Upper limits on ``E v_A``: a row a hook point and protocol, columns "mean" and "upper".

    **Guarantee.** For sequences drawn i.i.d. each is wrong with probability at most
    ``exp(-shares.nats)``.
    """
    places = _places(measured, protocols)
    support = smoothed_support(alpha, _vocabulary(measured))
    joint = np.stack([joint_of(measured[hook], protocols[name], alpha) for hook, name in places])
    upper = INEQUALITIES[inequality](joint, *support, shares.nats)
    return pd.DataFrame({"mean": joint.mean(axis=1), "upper": upper}, index=places)


def changes(
    measured: Mapping[str, Values],
    protocols: Mapping[str, Protocol],
    ours: Protocol,
    shares: Shares,
    *,
    alpha: float,
    inequality: str,
) -> pd.DataFrame:
    """What another protocol adds to ours, paired by sequence: a row a hook point and protocol.

    **Guarantee.** For sequences drawn i.i.d. each limit is wrong with probability at most
    ``exp(-shares.nats)``: on the expected change of v_A, which lies in [-w, w] with w the width of
    the smoothed loss; on that of the smoothed KL, which lies in [-L, L] with L the largest one; and
    on the probability that the KL of a sequence rises (Clopper & Pearson 1934; ties count as not).

    Columns: "v_A", "smoothed KL" and "share", each with "<name>, lower" and "<name>, upper".
    """
    places = _places(measured, protocols)
    pairs = [(measured[hook], protocols[name], ours) for hook, name in places]
    n_vocab = _vocabulary(measured)
    support = smoothed_support(alpha, n_vocab)
    highest = divergence_range(alpha, n_vocab)
    joint = np.stack([[joint_of(x, way, alpha) for way in ways] for x, *ways in pairs])
    smoothed = _stacked(SMOOTHED_KL, pairs).clip(0, highest)
    columns = _paired("v_A", joint, support, shares.nats, inequality)
    columns |= _paired(SMOOTHED_KL, smoothed, (0.0, highest), shares.nats, inequality)
    columns |= _rising(_stacked(KL, pairs), shares.nats)
    return pd.DataFrame(columns, index=places)


def approximate(
    measured: Mapping[str, Values],
    protocols: Mapping[str, Protocol],
    ours: Protocol,
    *,
    delta: float,
    alpha: float,
) -> pd.DataFrame:
    """Student's intervals for the mean changes of v_A and of KL as it is: rows as of `changes`.

    **No guarantee.** They hold together with probability about ``1 - delta`` if means of changes
    are about normal, and know nothing of sequences so rare that the sample has none.
    """
    places = _places(measured, protocols)
    pairs = [(measured[hook], protocols[name], ours) for hook, name in places]
    joint = np.stack([[joint_of(x, way, alpha) for way in ways] for x, *ways in pairs])
    columns = {}
    for name, values in (("v_A", joint), (KL, _stacked(KL, pairs))):
        differences = values[:, 0] - values[:, 1]
        low, high = t_interval(differences, delta / (2 * len(places)))
        columns |= _named(name, differences.mean(axis=1), low, high)
    return pd.DataFrame(columns, index=places)


def known_changes(delta: float, inequality: str, seed: int, samples: int = 100) -> float:
    """Share of samples in which any limit of `changes` or `bounds` is wrong, on made-up losses.

    One hook point, V = 64, alpha .5, 100 sequences: the proxies lose U more than the model in our
    protocol and 2 U in the other, U uniform on [0, .5]; the KL is U and, with probability 3/4, 2 U
    or else 0.
    """
    rng = np.random.default_rng(seed)
    other = {"other": Protocol(Splice(1), 8)}
    ours = Protocol(Splice(), 8)
    drawn = {str(index): _made_up(rng, ours, other["other"]) for index in range(samples)}
    shares = Shares(delta, 1, 1, 1)
    settings = {"alpha": 0.5, "inequality": inequality}
    limits = changes(drawn, other, ours, shares, **settings)
    wrong = bounds(drawn, other, shares, **settings)["upper"].to_numpy() < 3.0
    for name, truth in {"v_A": 0.5, "smoothed KL": 0.125, "share": 0.75}.items():
        wrong |= (limits[f"{name}, lower"] > truth).to_numpy()
        wrong |= (limits[f"{name}, upper"] < truth).to_numpy()
    return float(wrong.mean())


def _made_up(rng: np.random.Generator, ours: Protocol, other: Protocol) -> dict[str, np.ndarray]:
    """Values of 100 sequences: E v_A is 2.5 in our protocol and 3 in the other."""
    more = rng.uniform(0, 0.5, 100)
    rises = rng.uniform(size=100) < 0.75
    values = {N_VOCAB: np.full(100, 64.0)}
    for protocol, size in ((ours, 1), (other, 2)):
        proxies = 2 + size * more
        values |= {array_name(MODEL, protocol): np.full(100, 2.0)}
        values |= {array_name(what, protocol): proxies for what in (SAE, POOL)}
        divergence = more if size == 1 else 2 * more * rises
        values |= {array_name(what, protocol): divergence for what in (KL, SMOOTHED_KL)}
    return values


def _places(measured: Mapping[str, Values], protocols: Mapping[str, Protocol]) -> pd.MultiIndex:
    """Hook points and protocols, in the order of the rows."""
    pairs = [(hook_name, label) for hook_name in measured for label in protocols]
    return pd.MultiIndex.from_tuples(pairs, names=["hook_name", "protocol"])


def _vocabulary(measured: Mapping[str, Values]) -> int:
    return n_vocab_of(next(iter(measured.values())))


def _stacked(
    what: str, pairs: Sequence[tuple[Values, Protocol, Protocol]]
) -> Float[np.ndarray, "pairs 2 n_seq"]:
    """Values under both protocols of each pair."""
    return np.stack([[values[array_name(what, way)] for way in ways] for values, *ways in pairs])


def _paired(
    name: str,
    values: Float[np.ndarray, "pairs 2 n_seq"],
    support: tuple[float, float],
    nats: float,
    inequality: str,
) -> dict[str, np.ndarray]:
    """Mean changes, the first less the second, and their limits."""
    first, second = values[:, 0], values[:, 1]
    low, high = difference_limits(first, second, (*support, *support), nats, inequality)
    return _named(name, (first - second).mean(axis=1), low, high)


def _rising(values: Float[np.ndarray, "pairs 2 n_seq"], nats: float) -> dict[str, np.ndarray]:
    """Shares of sequences with a larger first value, and their limits."""
    n_seq = values.shape[-1]
    larger = (values[:, 0] > values[:, 1]).sum(axis=-1)
    low = 1 - clopper_pearson_upper(n_seq - larger, n_seq, nats)
    return _named("share", larger / n_seq, low, clopper_pearson_upper(larger, n_seq, nats))


def _named(
    name: str, value: np.ndarray, low: np.ndarray, high: np.ndarray
) -> dict[str, np.ndarray]:
    return {name: value, f"{name}, lower": low, f"{name}, upper": high}

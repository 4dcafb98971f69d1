"""How much loss a unit of an SAE's error makes downstream, with limits (numpy only)."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
from jaxtyping import Float

from saecert.dictionaries.quantities import FIDELITY
from saecert.statistics.paired import difference_limits

Rows = Float[np.ndarray, "hook n_seq"]
ERROR = "relative error"
OURS = "amplification"
RANDOM = "amplification of random error"
PAIRED = "loss change, SAE less random"


def fidelity_and_amplification(
    fidelity: Mapping[str, Rows],
    clean: Rows,
    full: Rows,
    noisy: Rows,
    *,
    cap: float,
    delta: float,
    inequality: str,
) -> dict[str, pd.DataFrame]:
    """Limits by quantity, one row a hook point: fidelity, loss changes and amplifications.

    **Guarantee.** With probability at least ``1 - delta`` every limit holds: two-sided ones at
    ``ln(2 J H / delta)`` nats a side for J = 6 expectations at H hook points, and what follows from
    them (theorem "limits on amplification" on the page about layers).

    Parameters
    ----------
    fidelity
        Per-sequence values, hook points by rows, of everything in `FIDELITY`.
    clean, full, noisy
        Losses of the model, of its SAE proxy, and of the proxy with a random error as large as the
        SAE's, bits per token.
    cap
        Bits up to which a change of loss counts.
    delta
        Probability that any of the limits is wrong.
    inequality
        A key of `saecert.statistics.inequalities.INEQUALITIES`.

    Returns
    -------
    dict
        Frames with columns lower, mean, upper: those of `FIDELITY`, "loss change", "loss change of
        random error", `PAIRED` (their difference), `OURS` and `RANDOM` (bits per unit of relative
        error).
    """
    change = np.minimum(np.abs(clean - full), cap)
    random_change = np.minimum(np.abs(clean - noisy), cap)
    nothing = np.zeros_like(change)
    pairs = {name: (fidelity[name], nothing, (*ends, 0, 0)) for name, ends in FIDELITY.items()}
    pairs["loss change"] = (change, nothing, (0, cap, 0, 0))
    pairs["loss change of random error"] = (random_change, nothing, (0, cap, 0, 0))
    pairs[PAIRED] = (change, random_change, (0, cap, 0, cap))
    nats = math.log(2 * len(pairs) * len(change) / delta)
    limits = {}
    for name, (a, b, supports) in pairs.items():
        low, high = difference_limits(a, b, supports, nats, inequality)
        means = (a - b).mean(axis=1)
        limits[name] = pd.DataFrame({"lower": low, "mean": means, "upper": high})
    limits[OURS] = quotient(limits["loss change"], limits[ERROR])
    limits[RANDOM] = quotient(limits["loss change of random error"], limits[ERROR])
    return limits


def quotient(change: pd.DataFrame, error: pd.DataFrame) -> pd.DataFrame:
    """Limits of E change / E error, both not negative, from the limits of both.

    >>> change = pd.DataFrame({"lower": [0.1], "mean": [0.2], "upper": [0.3]})
    >>> error = pd.DataFrame({"lower": [0.5], "mean": [0.8], "upper": [1.0]})
    >>> quotient(change, error).round(2).to_numpy().tolist()
    [[0.1, 0.25, 0.6]]
    """
    values = {
        "lower": change["lower"].clip(lower=0) / error["upper"],
        "mean": change["mean"] / error["mean"],
        "upper": change["upper"] / error["lower"].clip(lower=0),
    }
    return pd.DataFrame(values)


def difference(last: pd.Series, first: pd.Series) -> tuple[float, float]:
    """Limits of a difference of two quantities from the limits of each."""
    return last["lower"] - first["upper"], last["upper"] - first["lower"]


def known_network(
    delta: float, inequality: str, seed: int, depth: int = 4, width: int = 16, samples: int = 200
) -> pd.DataFrame:
    """A network of linear maps, whose amplification is known: one row a layer, the last one first.

    The loss change of an error e is the squared norm of what the maps to come make of it. Columns:
    "measured over true" amplification, "missed" (share of `samples` samples of 100 errors in which
    any layer's limits are wrong; the same in all rows).
    """
    rng = np.random.default_rng(seed)
    sizes = rng.beta(2, 8, size=(samples, 100))
    signs = rng.choice([-1, 1], size=(samples, 100, width))
    squares = 2 * 3 / (10 * 11)  # of a size; its mean is 0.2
    nats = math.log(2 * 2 * depth / delta)
    error = _limits(sizes, 1.0, nats, inequality)
    product = np.eye(width)
    missed = np.zeros(samples, dtype=bool)
    ratios = []
    for _ in range(depth):
        product = product @ rng.normal(size=(width, width)) / math.sqrt(width)
        mapped = signs @ product.T / math.sqrt(width)
        changes = sizes**2 * np.square(mapped).sum(axis=-1)
        truth = np.square(product).sum() / width * squares / 0.2
        most = np.linalg.norm(product, 2) ** 2
        limits = quotient(_limits(changes, most, nats, inequality), error)
        missed |= ((limits["lower"] > truth) | (limits["upper"] < truth)).to_numpy()
        ratios.append(changes.mean() / sizes.mean() / truth)
    return pd.DataFrame({"measured over true": ratios, "missed": missed.mean()})


def _limits(values: np.ndarray, most: float, nats: float, inequality: str) -> pd.DataFrame:
    supports = (0.0, most, 0.0, 0.0)
    low, high = difference_limits(values, 0 * values, supports, nats, inequality)
    return pd.DataFrame({"lower": low, "mean": values.mean(axis=1), "upper": high})

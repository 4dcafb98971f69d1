"""From per-sequence losses to the four terms and to every statement of a certificate."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from saecert.certificates.delta import QUANTITIES
from saecert.statistics.inequalities import uppers

Losses = Float[np.ndarray, "n_seq"]
Upper = Callable[..., Any]
Shares = dict[str, tuple[float, str]]
Behaviour = dict[str, tuple[Losses, float]]

_ROUNDING = 1e-12  # bits by which a sum of terms may miss the joint loss without being clipped


class Terms(NamedTuple):
    """Smoothed losses of one pool, bits per token, one value for each sequence."""

    clean: Losses
    """l(f), the model."""
    full: Losses
    """l(g), the SAE proxy."""
    pooled: Losses
    """l(g_A), the pooled proxy."""
    joint: Losses
    """v_A, see `joint_loss`."""
    sharp: Losses
    """s_A, see `sharp_loss`."""


class _Quantity(NamedTuple):
    """What a statement is about: values and the ends of their support."""

    values: Losses | None
    """None for a ladder, which has limits of its own."""
    lowest: float
    highest: float
    nats: float
    """What is paid on top of ln(1/delta): the choice of the pool, or a second side."""


def joint_loss(
    clean: Float[np.ndarray, "*#pools n_seq"],
    full: Float[np.ndarray, "*#pools n_seq"],
    pooled: Float[np.ndarray, "*#pools n_seq"],
    hi: float,
) -> Float[np.ndarray, "*#pools n_seq"]:
    """``v_A = min(l(g_A) + |l(f) - l(g)| + |l(g) - l(g_A)|, hi)`` per sequence, in ``[lo, hi]``.

    At least ``max(l(f), l(g), l(g_A))`` by the triangle inequality; clipping costs nothing because
    no loss exceeds `hi`.

    >>> joint_loss(np.array([2.0]), np.array([3.0]), np.array([2.5]), hi=12.0)
    array([4.])
    """
    return np.minimum(pooled + np.abs(clean - full) + np.abs(full - pooled), hi)


def sharp_loss(
    clean: Float[np.ndarray, "*#pools n_seq"],
    full: Float[np.ndarray, "*#pools n_seq"],
    pooled: Float[np.ndarray, "*#pools n_seq"],
) -> Float[np.ndarray, "*#pools n_seq"]:
    """``s_A = max(l(f), l(g), l(g_A))`` per sequence: in ``[lo, hi]``, and at most v_A.

    The smallest function of the three losses that none of them exceeds. It is the sum of `l(g_A)`
    and the two parts of `one_sided`.

    >>> sharp_loss(np.array([2.0]), np.array([3.0]), np.array([2.5]))
    array([3.])
    """
    return np.maximum(np.maximum(clean, full), pooled)


def one_sided(
    clean: Float[np.ndarray, "*#pools n_seq"],
    full: Float[np.ndarray, "*#pools n_seq"],
    pooled: Float[np.ndarray, "*#pools n_seq"],
) -> tuple[Float[np.ndarray, "*#pools n_seq"], Float[np.ndarray, "*#pools n_seq"]]:
    """``(l(g) - l(g_A))+`` and ``(l(f) - max(l(g), l(g_A)))+`` per sequence, in ``[0, hi - lo]``.

    By how much the SAE proxy loses more than the pooled proxy, and the model more than both. Added
    to ``l(g_A)`` they are `sharp_loss`: ``y + (x - y)+ = max(x, y)``, twice.

    >>> one_sided(np.array([2.0]), np.array([3.0]), np.array([2.5]))
    (array([0.5]), array([0.]))
    """
    proxies = np.maximum(full, pooled)
    return proxies - pooled, np.maximum(clean - proxies, 0.0)


def terms_of(
    clean: Float[np.ndarray, " n_seq"],
    full: Float[np.ndarray, " n_seq"],
    pooled: Float[np.ndarray, " n_seq"],
    hi: float,
) -> Terms:
    """The three losses of one pool with the two that dominate them."""
    joint = joint_loss(clean, full, pooled, hi)
    return Terms(clean, full, pooled, joint, sharp_loss(clean, full, pooled))


def sample_means(terms: Terms) -> dict[str, float]:
    """Means of the model's risk, the terms of both bounds, and what was clipped (at most 0)."""
    mismatch, gap = one_sided(terms.clean, terms.full, terms.pooled)
    measured = {
        "proxy risk": terms.pooled,
        "reconstruction gap": np.abs(terms.clean - terms.full),
        "pool mismatch": np.abs(terms.full - terms.pooled),
    }
    clipped = terms.joint - sum(measured.values())
    clipped = np.where(np.abs(clipped) > _ROUNDING, clipped, 0.0)
    rows = {"model risk": terms.clean} | measured | {"clipping": clipped}
    rows |= {"one-sided mismatch": mismatch, "one-sided gap": gap}
    return {name: float(values.mean()) for name, values in rows.items()}


def statements(
    terms: Terms,
    behaviour: Behaviour,
    support: tuple[float, float],
    shares: Shares,
    selection: float,
    upper: Upper,
) -> dict[str, dict[str, Any]]:
    """One-sided limits at each statement's share of delta, two-sided for the signed gap.

    Only what involves the pool pays `selection`, the nats that its choice cost.

    Raises
    ------
    ValueError
        The budget has a share for what the record does not hold.
    """
    quantities = _quantities(terms, behaviour, support, selection)
    _check_budget(shares, quantities)
    nats = {name: row.nats - math.log(shares[name][0]) for name, row in quantities.items()}
    stated = {name: row.values for name, row in quantities.items() if row.values is not None}
    bounded = [
        (values, quantities[name].lowest, quantities[name].highest, nats[name])
        for name, values in stated.items()
    ]
    signed, lowest, highest, _ = bounded[list(stated).index("signed_gap")]
    below = (-signed, -highest, -lowest, nats["signed_gap"])
    *limits, minus_lower = uppers([*bounded, below], upper)
    highs = dict(zip(stated, limits, strict=True))
    lows = {"signed_gap": -minus_lower}
    return {
        name: {
            "quantity": QUANTITIES[name],
            "mean": float(stated[name].mean()) if name in stated else None,
            "lower": lows.get(name),
            "upper": highs.get(name),
            "delta": shares[name][0],
            "nats": nats[name],
            "group": shares[name][1],
        }
        for name, row in quantities.items()
    }


def _quantities(
    terms: Terms, behaviour: Behaviour, support: tuple[float, float], selection: float
) -> dict[str, _Quantity]:
    lo, hi = support
    width = hi - lo
    signed = terms.pooled - terms.clean
    gap = np.abs(terms.clean - terms.full)
    mismatch = np.abs(terms.full - terms.pooled)
    rows = {
        "bound": _Quantity(terms.joint, lo, hi, selection),
        "sharp": _Quantity(terms.sharp, lo, hi, selection),
        "proxy": _Quantity(terms.pooled, lo, hi, selection),
        "gap": _Quantity(gap, 0.0, width, 0.0),
        "mismatch": _Quantity(mismatch, 0.0, width, selection),
        "signed_gap": _Quantity(signed, -width, width, selection + math.log(2)),
        "direct": _Quantity(terms.clean, lo, hi, 0.0),
        "price": _Quantity(signed, -width, width, selection),
        "ladder": _Quantity(None, lo, hi, selection),
        "direct_ladder": _Quantity(None, lo, hi, 0.0),
    }
    for name, (values, highest) in behaviour.items():
        rows[name] = _Quantity(values, 0.0, highest, selection)
    return rows


def _check_budget(shares: Shares, quantities: dict[str, _Quantity]) -> None:
    budgeted = [name for name, (_, group) in shares.items() if group == "budget"]
    if absent := [name for name in budgeted if name not in quantities]:
        raise ValueError(
            "the budget has shares for what the record does not hold for this pool: "
            f"{', '.join(absent)}; leave them out"
        )

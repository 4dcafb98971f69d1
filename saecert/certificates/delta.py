"""How delta is divided among the statements of a certificate, and what each statement is about."""

from __future__ import annotations

from collections.abc import Mapping

QUANTITIES = {
    "bound": "E v_A, hence the risk of the model, of its SAE proxy and of the pooled proxy at once",
    "sharp": "E s_A, mean of the largest of the three losses, hence the same three risks at once",
    "proxy": "R(g_A), risk of the pooled proxy",
    "gap": "E|l(f) - l(g)|, SAE reconstruction gap",
    "mismatch": "E|l(g) - l(g_A)|, concept-pool mismatch",
    "signed_gap": "R(g_A) - R(f), what reading the model through the pool costs, signed",
    "direct": "R(f), risk of the model without any proxy",
    "price": "R(g_A) - R(f) from above, price of explanation",
    "ladder": "which references have a larger risk than E s_A",
    "direct_ladder": "which references have a larger risk than R(f)",
    "total_variation": "expected total variation distance of next-token distributions, "
    "model and pooled proxy",
    "disagreement": "expected share of positions where model and pooled proxy differ in the most "
    "likely token",
    "outside_firings": "expected share of a sequence's firings that are outside the pool",
    "outside_energy": "expected share of a sequence's activation energy that is outside the pool",
}
"""Every statement of a certificate and what it is about."""

BEHAVIOUR = ("total_variation", "disagreement", "outside_firings", "outside_energy")
"""Statements about shares in [0, 1] rather than losses."""

GROUPS = {name: "terms" if name in ("proxy", "gap", "mismatch") else name for name in QUANTITIES}
"""The group of every statement: a group holds jointly, groups hold each on its own."""


def split_delta(
    delta: float, budget: Mapping[str, float] | None = None
) -> dict[str, tuple[float, str]]:
    """Share of delta and group of every statement, ``{name: (share, group)}``.

    Statements of one group hold jointly at the sum of their shares; different groups hold each on
    its own (and any of them together at the sum of theirs). By default each group of `GROUPS` has
    all of `delta`, divided equally inside it. Statements named in `budget` form one group "budget"
    with the shares given there, at most `delta` in all; the others stay in their default group.

    So "sharp" and "bound" each have all of `delta` and neither takes from the other: they limit two
    expectations, each on its own. What they say of the three *risks* holds jointly at the delta of
    "sharp" alone, if the inequality is monotone and the share of "sharp" is not the smaller one:
    for then its limit is not above that of "bound".

    Raises
    ------
    ValueError
        Delta outside (0, 1), a share that is not positive or for no statement, shares above delta.

    Examples
    --------
    >>> split_delta(0.05, {"bound": 0.04, "price": 0.01})["price"]
    (0.01, 'budget')
    """
    if not 0 < delta < 1:
        raise ValueError(
            f"delta must lie strictly between 0 and 1, got {delta}: "
            "it is the probability of a wrong certificate"
        )
    sizes = {group: list(GROUPS.values()).count(group) for group in GROUPS.values()}
    shares = {name: (delta / sizes[group], group) for name, group in GROUPS.items()}
    budget = dict(budget or {})
    if unknown := set(budget) - set(GROUPS):
        raise ValueError(
            f"budget names no such statement: {', '.join(sorted(unknown))}; "
            f"there are {', '.join(GROUPS)}"
        )
    if not all(share > 0 for share in budget.values()):
        raise ValueError(
            f"every share of the delta budget must be positive, got {budget}: "
            "leave out what you do not need"
        )
    if sum(budget.values()) > delta * (1 + 1e-12):
        raise ValueError(
            f"the delta budget sums to {sum(budget.values()):g}, more than delta = {delta:g}: "
            "lower its shares or raise delta"
        )
    return shares | {name: (float(share), "budget") for name, share in budget.items()}

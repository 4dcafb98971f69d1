"""Two features in a plane, two atoms: the exact cost, and minima that are certified.

The data is v1 with probability a, v2 with b, v1 + v2 with c (and nothing otherwise, which costs
nothing); v1 and v2 have norm 1 and the angle theta. Atoms outside the plane of v1 and v2 are never
better: projected into it and normalised, they do the same with less activity.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from saecert.dictionaries.lasso import Price, checked_lambda

Angles = Float[np.ndarray, "n 2"]
TINY = 1e-12
FIRST_GRID = 48
"""Boxes along each angle at the beginning."""
KEPT = 0.75
"""Two atoms are kept apart if the angle between them is nearer to that of the features than to half
of it, that of one feature and the sum of both. At obtuse angles of the features a pair may be
called merged that is more than 90 degrees apart."""
MOST_BOXES = 100_000


class Plane(NamedTuple):
    """A distribution of two features in the plane."""

    a: Price
    """Probability of the first feature alone."""
    b: Price
    """Of the second alone."""
    c: Price
    """Of both."""
    theta: Price
    """Angle between the two, radians."""

    @property
    def points(self) -> Float[np.ndarray, "3 2"]:
        """The three activations: v1, v2, v1 + v2."""
        first = np.array([1.0, 0.0])
        second = np.array([math.cos(self.theta), math.sin(self.theta)])
        return np.stack([first, second, first + second])

    @property
    def weights(self) -> Float[np.ndarray, "3"]:
        """Their probabilities."""
        return np.array([self.a, self.b, self.c], dtype=float)


class Minimum(NamedTuple):
    """The least cost of two atoms, between two numbers."""

    angles: tuple[float, float]
    """Of the best atoms found, radians from v1, the smaller first."""
    cost: float
    """Theirs: no less than the minimum."""
    lower: float
    """**Guarantee.** No two atoms cost less."""
    kept: bool
    """Whether the best atoms found are kept apart: by more than `KEPT` of the features' angle."""
    certified: bool
    """Whether it is certified that every best pair of atoms is of this kind."""


def plane_cost(plane: Plane, lam: Price, angles: Angles) -> Float[np.ndarray, "n"]:
    """Least cost of pairs of atoms at angles from v1 in radians: exact, no solver.

    With ``b = D'x - lam`` the codes that use both atoms are ``(D'D)^-1 b``, at the cost ``||x||^2 /
    2 - b' (D'D)^-1 b / 2``: optimal where both come out positive. Elsewhere at most one atom is
    active, the code is ``max(b, 0)`` and takes off half its square.
    """
    total = np.zeros(len(angles))
    for point, weight in zip(plane.points, plane.weights, strict=True):
        first, second = (_along(point, at) - lam for at in angles.T)
        inner = np.cos(angles[:, 0] - angles[:, 1])
        rest = np.maximum(1 - inner**2, TINY)
        joint = (first**2 + second**2 - 2 * inner * first * second) / rest
        positive = _sides(point, lam, angles).min(axis=1) > 0
        single = np.maximum(np.maximum(first, second), 0.0) ** 2
        total += weight / 2 * (point @ point - np.where(positive, joint, single))
    return total


def certified_minimum(
    plane: Plane, lam: Price, *, tol: float = 2e-3, most_boxes: int = MOST_BOXES
) -> Minimum:
    """The least cost of two atoms, by a search of all pairs of angles that leaves nothing out.

    Boxes of angles are halved as long as they may hold something better than the best pair known: a
    box whose centre costs more than that by `margins` is done with. It ends when the margin of all
    boxes left is below `tol` of the best cost and all of them are of one kind, or when it does not
    pay to go on: then `certified` is False.

    Parameters
    ----------
    plane, lam
        The distribution, and the price of a unit of activity, above 0.
    tol
        Largest distance of `lower` from `cost`, as a share of the cost.
    most_boxes
        Boxes that are looked at together at most.

    Raises
    ------
    ValueError
        `lam` not above 0, probabilities negative or adding up to 0 or to more than 1, an angle
        outside (0, pi).
    """
    lam = checked_lambda(lam)
    _check_plane(plane)
    half = math.pi / FIRST_GRID
    centres = (np.arange(FIRST_GRID) + 0.5) * 2 * half
    boxes = np.stack(np.meshgrid(centres, centres, indexing="ij"), axis=-1).reshape(-1, 2)
    boxes = boxes[boxes[:, 0] <= boxes[:, 1]]  # a pair has no order
    least, best = math.inf, boxes[0]
    while True:
        costs = plane_cost(plane, lam, boxes)
        if costs.min() < least:
            least, best = float(costs.min()), boxes[costs.argmin()]
        margin = margins(plane, lam, boxes, half)
        left = costs - margin <= least
        boxes, lower, margin = boxes[left], (costs - margin)[left], margin[left]
        kinds = _kinds(plane, boxes, half)
        settled = bool((kinds == 1).all() or (kinds == -1).all())
        fine = float(margin.max()) <= tol * least
        tired = 4 * len(boxes) > most_boxes or float(margin.max()) <= tol * least / 64
        if tired or (fine and settled):
            break
        boxes, half = _halved(boxes, half), half / 2
    kept = bool(_apart(best[None])[0] > KEPT * plane.theta)
    angles = tuple(float(at) for at in best)
    return Minimum(angles, least, min(least, float(lower.min())), kept, settled)


def margins(plane: Plane, lam: Price, boxes: Angles, half: float) -> Float[np.ndarray, "n"]:
    """By how much the cost at most differs from that at the centre, anywhere in a box.

    **Guarantee.** ``half`` times a bound on ``|df/dp1| + |df/dp2|``, point by point (theorem on
    page 25): ``||x||^2 / 2`` where one atom is active, and where both are, p being the angle
    between them, ``lam ||x|| sin(p/2) / cos(p/2)^2`` and ``||x||^3 / (3 sqrt(3) lam)``.
    """
    widest = np.minimum(_apart(boxes) + 2 * half, np.pi) / 2
    steep = np.sin(widest) / np.maximum(np.cos(widest), TINY) ** 2
    slope = np.zeros(len(boxes))
    for point, weight in zip(plane.points, plane.weights, strict=True):
        norm = float(np.linalg.norm(point))
        joint = np.minimum(lam * norm * steep, norm**3 / (3 * math.sqrt(3) * lam))
        slope += weight * np.maximum(norm**2 / 2, joint)
    return half * slope


def _kinds(plane: Plane, boxes: Angles, half: float) -> Int[np.ndarray, "n"]:
    """1 where atoms are kept apart all over a box, -1 where nowhere, 0 if that cannot be told."""
    beyond = _apart(boxes) - KEPT * plane.theta
    return np.where(beyond > 2 * half, 1, np.where(beyond < -2 * half, -1, 0))


def _apart(angles: Angles) -> Float[np.ndarray, "n"]:
    """Angle between two atoms, 0 to pi."""
    apart = np.abs(angles[:, 0] - angles[:, 1]) % (2 * np.pi)
    return np.minimum(apart, 2 * np.pi - apart)


def _sides(point: Float[np.ndarray, "2"], lam: Price, angles: Angles) -> Angles:
    """Codes with the sign they have if both atoms are used: times the squared sine between them."""
    first, second = (_along(point, at) - lam for at in angles.T)
    inner = np.cos(angles[:, 0] - angles[:, 1])
    return np.stack([first - inner * second, second - inner * first], axis=1)


def _along(point: Float[np.ndarray, "2"], at: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    return point[0] * np.cos(at) + point[1] * np.sin(at)


def _halved(boxes: Angles, half: float) -> Float[np.ndarray, "more 2"]:
    steps = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]]) * half / 2
    return (boxes[:, None] + steps).reshape(-1, 2)


def _check_plane(plane: Plane) -> None:
    weights = plane.weights
    if (weights < 0).any() or not 0 < weights.sum() <= 1 + 1e-9:
        raise ValueError(
            f"a, b, c are probabilities with a sum above 0 and at most 1, got {weights.tolist()}"
        )
    if not 0 < plane.theta < math.pi:
        raise ValueError(f"theta is an angle between 0 and pi radians, got {plane.theta!r}")

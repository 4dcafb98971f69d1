"""Very wide dictionaries: a convex problem, its exact optimum, and the way there atom by atom.

If the dictionary may be as large as it likes, codes are nonnegative measures on the unit sphere,
``min sum_i ||x_i - int u dm_i(u)||^2 / 2 + lam m_i(sphere)``. That is convex, and each sample is on
its own: the best measure is one atom in the direction of x. (Our reading of the convex problem of
arXiv 2606.02385, of which the abstract was available.)
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from saecert.dictionaries.lasso import Atoms, Data, Price, checked_lambda, cost, nonnegative_lasso
from saecert.dictionaries.stationarity import best_new_atom

SAME = 1e-7
"""Smaller codes, as a share of ``||x||``, count as 0 when atoms in use are counted."""


def wide_cost(x: Data, lam: Price) -> Float[np.ndarray, "n"]:
    """What no dictionary of any size can cost less than, by sample.

    **Guarantee.** ``lam ||x|| - lam^2 / 2`` if ``||x|| >= lam``, else ``||x||^2 / 2``: unit atoms
    make ``||sum z_j d_j|| <= sum z_j``, and ``||x - y||^2 / 2 + lam ||y||`` is least at the y in
    the direction of x that is shorter by lam (soft thresholding). Reached by the dictionary that
    holds ``x / ||x||``.
    """
    lam = checked_lambda(lam)
    length = np.linalg.norm(x, axis=1)
    return np.where(length >= lam, lam * length - lam**2 / 2, length**2 / 2)


class Grown(NamedTuple):
    """One dictionary of a growing sequence."""

    n_atoms: int
    """Atoms that any sample uses."""
    cost: float
    """Mean cost of the optimal codes."""
    floor: float
    """Mean of `wide_cost`."""
    gain: float
    """Of the best new atom that `best_new_atom` found, from the 8 longest residuals (`at_once`, if
    that is more), the main axes and random directions; no limit on what an atom can gain."""
    atoms: Atoms


def column_generation(
    x: Data, lam: Price, *, rounds: int = 50, at_once: int = 1, tol: float = 1e-6, seed: int = 0
) -> list[Grown]:
    """A dictionary grown from nothing by adding atoms where the cost falls fastest.

    Each round solves all codes anew, then adds the best atom for all residuals together
    (`best_new_atom`) and the directions of the `at_once` - 1 longest ones, and drops atoms that no
    sample uses. It ends when the cost is within `tol` of the floor, relatively, or after `rounds`.
    As the problem is convex, the floor is a certificate.
    """
    lam = checked_lambda(lam)
    floor = float(wide_cost(x, lam).mean())
    length = np.linalg.norm(x, axis=1)
    atoms = np.empty((0, x.shape[1]))
    codes = np.empty((len(x), 0))
    grown = []
    for _ in range(rounds):
        if len(atoms):
            codes = nonnegative_lasso(x, atoms, lam, start=codes, tol=tol * 1e-2)
            used = (codes > SAME * length[:, None]).any(axis=0)
            atoms, codes = atoms[used], codes[:, used]
        residuals = x - codes @ atoms
        mean = float(cost(x, atoms, codes, lam).mean())
        found = best_new_atom(residuals, lam, n_starts=max(8, at_once), seed=seed)
        grown.append(Grown(len(atoms), mean, floor, found.gain, atoms))
        if mean - floor <= tol * floor or found.upper <= 0:
            break
        longest = np.argsort(-np.linalg.norm(residuals, axis=1))[: at_once - 1]
        own = residuals[longest] / np.linalg.norm(residuals[longest], axis=1, keepdims=True)
        atoms = np.concatenate([atoms, found.direction[None], own])
        codes = np.pad(codes, ((0, 0), (0, 1 + len(own))))
    return grown

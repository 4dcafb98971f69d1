"""Small worlds in which everything is known: what optimal dictionaries of each size look like."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from saecert.dictionaries.lasso import Price
from saecert.dictionaries.learned import learn_dictionary

FIRES = 1e-6


def splitting(
    sizes: Sequence[int], lam: Price, *, n_parents: int = 2, n_children: int = 2, seed: int = 0
) -> pd.DataFrame:
    """Parents that always fire with one of their children, learned at several sizes.

    All directions are orthogonal; a child is half as strong as its parent, and all pairs of a
    parent and a child are equally likely. One row a size, columns "atoms" in use, "cost", "pairs an
    atom" (largest number of pairs at which one atom fires) and "nested" (share of atoms that fire
    only where one and the same atom of the size before does; NaN for the first).
    """
    basis = np.eye(n_parents + n_parents * n_children)
    parents = np.repeat(basis[:n_parents], n_children, axis=0)
    points = parents + 0.5 * basis[n_parents:]
    rows = []
    before: np.ndarray | None = None
    for size in sizes:
        found = learn_dictionary(points, size, lam, n_starts=12, seed=seed)
        fires = found.codes[:, (found.codes > FIRES).any(axis=0)] > FIRES
        nested = float("nan") if before is None else _nested(fires, before)
        row = {"atoms": fires.shape[1], "cost": found.cost, "nested": nested}
        rows.append({**row, "pairs an atom": int(fires.sum(axis=0).max())})
        before = fires
    return pd.DataFrame(rows, index=pd.Index(list(sizes), name="size"))


def opposite(lam: Price, *, seed: int = 0) -> pd.DataFrame:
    """Two directions whose coefficients have either sign, learned with two to four atoms.

    Four points, ``v1, -v1, v2, -v2`` with probabilities .4, .4, .1, .1: the first direction is
    dense. One row a size: "cost", and "smallest cosine" between two atoms.
    """
    points = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    weights = np.array([0.4, 0.4, 0.1, 0.1])
    rows = {}
    for size in (2, 3, 4):
        found = learn_dictionary(points, size, lam, weights=weights, n_starts=12, seed=seed)
        cosine = float((found.atoms @ found.atoms.T).min())
        rows[size] = {"cost": found.cost, "smallest cosine": cosine}
    return pd.DataFrame(rows).T.rename_axis("size")


def _nested(fires: np.ndarray, before: np.ndarray) -> float:
    inside = [
        any((child <= parent).all() for parent in before.T)  # where the child is, the parent is
        for child in fires.T
    ]
    return float(np.mean(inside))

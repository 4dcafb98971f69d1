"""Dictionaries made optimal: from random starts, or from one that is there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.optimize import minimize

from saecert.dictionaries.lasso import (
    Atoms,
    Codes,
    Data,
    Price,
    checked_data,
    checked_lambda,
    cost,
    nonnegative_lasso,
    unit_atoms,
)

Weights = Float[np.ndarray, "n"]
EXACT = 1e-12
"""Duality gap of codes in the search for small exact dictionaries, as a share of ``||x||^2``."""
RIDGES = (1.0, 4.0, 16.0)
"""Pulls towards the old atoms that `better_atoms` tries, in units of the median sample's power."""


@dataclass(frozen=True)
class Learned:
    """A dictionary found by descent, its codes, and the expected cost."""

    atoms: Atoms
    codes: Codes
    cost: float
    found: Float[np.ndarray, "starts"]
    """Cost at the end of each start: how often the best one was found, and what else there is."""


def learn_dictionary(
    x: Data,
    n_atoms: int,
    lam: Price,
    *,
    weights: Weights | None = None,
    n_starts: int = 20,
    seed: int = 0,
    tol: float = EXACT,
    steps: int = 500,
) -> Learned:
    """The best of several dictionaries, each found from random atoms.

    The cost as a function of the atoms alone, codes being optimal, has the gradient ``-E[z_j r]``
    (envelope theorem); L-BFGS descends it over ``u_j / ||u_j||``. It is not convex: another start
    may find another minimum, and nothing certifies the best one found (`two_features` does, for two
    atoms in the plane).

    Parameters
    ----------
    x
        Samples, or the points of a finite distribution with probabilities `weights`.
    n_atoms, lam
        Size of the dictionary, and price of a unit of activity above 0.
    n_starts, seed
        Random starts: directions of mixtures of the data, so that every atom can be active.
    tol, steps
        Accuracy of the codes (see `nonnegative_lasso`) and steps of a start at most.

    Raises
    ------
    ValueError
        As `nonnegative_lasso`; fewer than one atom or start.
    """
    lam = checked_lambda(lam)
    if n_atoms < 1 or n_starts < 1:
        raise ValueError(f"n_atoms and n_starts must be 1 or more, got {n_atoms} and {n_starts}")
    shares = np.full(len(x), 1 / len(x)) if weights is None else np.asarray(weights, float)
    rng = np.random.default_rng(seed)
    shape = (n_atoms, x.shape[1])

    def value(flat: np.ndarray) -> tuple[float, np.ndarray]:
        rows = flat.reshape(shape)
        length = np.linalg.norm(rows, axis=1, keepdims=True)
        atoms = rows / length
        codes = nonnegative_lasso(x, atoms, lam, tol=tol)
        pull = -(codes * shares[:, None]).T @ (x - codes @ atoms)
        across = pull - (pull * atoms).sum(axis=1, keepdims=True) * atoms
        return float(shares @ cost(x, atoms, codes, lam)), (across / length).ravel()

    ends = []
    for _ in range(n_starts):
        first = rng.exponential(size=(n_atoms, len(x))) @ x + 0.3 * rng.normal(size=shape)
        options = {"maxiter": steps, "ftol": 1e-15, "gtol": 1e-10}
        ends.append(minimize(value, first.ravel(), jac=True, method="L-BFGS-B", options=options))
    best = min(ends, key=lambda end: end.fun)
    rows = best.x.reshape(shape)
    atoms = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    codes = nonnegative_lasso(x, atoms, lam, tol=tol)
    return Learned(atoms, codes, float(best.fun), np.array([end.fun for end in ends]))


def better_atoms(x: Data, atoms: Atoms, codes: Codes, ridge: float) -> Atoms:
    """Atoms that fit these codes better: least squares with a pull towards the old ones.

    ``argmin ||x - z D'||^2 + k ||D' - D||^2``, normalised, where k is `ridge` times the median
    ``||z||^2`` of a sample. Whether they are better for the objective is for other data to say.
    """
    gram = codes @ codes.T
    pull = ridge * float(np.median(np.diag(gram)))
    moved = np.linalg.solve(gram + pull * np.eye(len(x)), x - codes @ atoms)
    rows = atoms + codes.T @ moved
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def improved_dictionary(
    x: Data,
    atoms: Atoms,
    lam: Price,
    *,
    start: Codes | None = None,
    tol: float = 1e-5,
    held_out: float = 0.2,
) -> tuple[Atoms, Codes]:
    """A dictionary near `atoms` of smaller cost on data like `x`, and the old one's optimal codes.

    One round of `better_atoms`; the pull towards the old atoms, one of `RIDGES` or so large that
    nothing changes, is chosen by the cost of the last `held_out` of the samples. That it is better
    by some amount shows that `atoms` are no optimum, by at least so much; that nothing better was
    found shows nothing.
    """
    atoms, _ = unit_atoms(atoms)
    x = checked_data(x, atoms)
    codes = nonnegative_lasso(x, atoms, lam, start=start, tol=tol)
    n_fit = len(x) - int(held_out * len(x))
    judged = (x[n_fit:], codes[n_fit:])
    best = (float(cost(judged[0], atoms, judged[1], lam).mean()), atoms)
    for ridge in RIDGES:
        moved = better_atoms(x[:n_fit], atoms, codes[:n_fit], ridge)
        again = nonnegative_lasso(judged[0], moved, lam, start=judged[1], tol=tol)
        mean = float(cost(judged[0], moved, again, lam).mean())
        if mean < best[0]:
            best = (mean, better_atoms(x, atoms, codes, ridge))
    return best[1], codes

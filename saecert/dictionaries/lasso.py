"""The nonnegative lasso: the best codes of given atoms, and how far any codes are from them.

For data ``x``, unit atoms ``d_j`` and ``lam > 0`` the cost of codes ``z >= 0`` is ``||x - sum z_j
d_j||^2 / 2 + lam sum z_j``. The solver is scikit-learn's coordinate descent: maintained, compiled,
fast with many more atoms than dimensions, and it takes the encoder's codes as a start (celer is
made for many samples a regression, cvxpy's solvers for accuracy on small problems). What it returns
is not believed but checked: `duality_gap` bounds how far any codes are from the optimum, whoever
found them.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from jaxtyping import Float

Data = Float[np.ndarray, "n d_in"]
Atoms = Float[np.ndarray, "d_sae d_in"]
Codes = Float[np.ndarray, "n d_sae"]
Costs = Float[np.ndarray, "n"]
Rows = Float[np.ndarray, "_ _"]
"""Of any shape: what does not fit is refused with a message."""
Price = float | int | np.floating | np.integer

UNIT = 1e-6
"""How far from 1 the norm of an atom may be without being normalised."""
SWEEPS = 5000


def checked_lambda(lam: Any) -> float:
    """A price of activity; ValueError unless it is a finite number above 0."""
    if not (isinstance(lam, int | float | np.floating | np.integer) and 0 < lam < np.inf):
        raise ValueError(f"lam is the price of a unit of activity and must be above 0, got {lam!r}")
    return float(lam)


def unit_atoms(atoms: Any) -> tuple[Rows, Float[np.ndarray, "_"]]:
    """Atoms of norm 1 and the norms they had; codes are to be multiplied by these.

    Warns if any norm was not 1. ValueError for atoms that are no matrix, not finite or 0.
    """
    rows = np.asarray(atoms, dtype=np.float64)
    if rows.ndim != 2 or not rows.size:
        raise ValueError(f"atoms take one row an atom, got an array of shape {rows.shape}")
    norms = np.linalg.norm(rows, axis=1)
    if not (np.isfinite(norms).all() and (norms > 0).all()):
        bad = int(np.argmin(np.isfinite(norms) & (norms > 0)))
        raise ValueError(f"atom {bad} has no direction: its norm is {norms[bad]}")
    off = int((np.abs(norms - 1) > UNIT).sum())
    if off:
        warnings.warn(
            f"{off} of {len(rows)} atoms do not have norm 1 (they have {norms.min():.4g} to "
            f"{norms.max():.4g}): normalised, so codes are in units of what they write",
            stacklevel=2,
        )
    return rows / norms[:, None], norms


def checked_data(x: Any, atoms: Atoms) -> Rows:
    """Data as rows of doubles; ValueError for another width than the atoms', or not finite."""
    rows = np.asarray(x, dtype=np.float64)
    if rows.ndim != 2 or rows.shape[1] != atoms.shape[1]:
        raise ValueError(
            f"x has shape {rows.shape}, but the atoms are of width {atoms.shape[1]}: activations "
            "of another model or hook point?"
        )
    if not np.isfinite(rows).all():
        raise ValueError("x is not finite everywhere: leave out the rows that are not")
    return rows


def checked_codes(codes: Any, x: Rows, atoms: Atoms) -> Rows:
    """Codes as doubles; ValueError for another shape or for a negative one."""
    rows = np.asarray(codes, dtype=np.float64)
    if rows.shape != (len(x), len(atoms)):
        raise ValueError(f"codes have shape {rows.shape}, not {(len(x), len(atoms))}")
    if (rows < 0).any():
        raise ValueError(
            f"{(rows < 0).sum()} codes are negative: the conditions are about nonnegative codes; "
            "give each atom that fires both ways an opposite one"
        )
    return rows


def nonnegative_lasso(
    x: Rows,
    atoms: Rows,
    lam: Price,
    *,
    start: Rows | None = None,
    tol: float = 1e-6,
    sweeps: int = SWEEPS,
) -> Rows:
    """Codes of least cost, one row a sample.

    Parameters
    ----------
    x, atoms
        Data, and atoms of norm 1 (others are normalised, with a warning).
    lam
        Price of a unit of activity, above 0, in units of `x`.
    start
        Codes to begin with, such as an encoder's.
    tol
        Duality gap aimed at, as a share of a sample's ``||x||^2``. Where descent leaves more than
        twice it, least-angle regression is tried, too, and the cheaper codes are returned,
        whatever their gap: `duality_gap` says it.
    sweeps
        At most so many passes over the atoms.

    Raises
    ------
    ValueError
        `lam` not above 0, data of another width, codes of another shape or negative.
    """
    lam = checked_lambda(lam)
    atoms, _ = unit_atoms(atoms)
    x = checked_data(x, atoms)
    begin = None if start is None else checked_codes(start, x, atoms)
    codes = _descent(x, atoms, lam, begin, tol, sweeps)
    allowed = 2 * tol * np.square(x).sum(axis=1)
    left = duality_gap(x, atoms, codes, lam) > allowed + np.finfo(float).tiny
    for row in np.flatnonzero(left):  # among near-copies of an atom descent takes for ever
        other = _along_path(x[row], atoms, lam)
        both = np.stack([codes[row], other])
        costs = cost(x[[row, row]], atoms, both, lam)
        codes[row] = both[costs.argmin()]
    return codes


def _along_path(
    x: Float[np.ndarray, "d_in"], atoms: Atoms, lam: Price
) -> Float[np.ndarray, "d_sae"]:
    """Codes of one sample by least-angle regression (Efron et al. 2004): exact, but slower."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LassoLars

    model = LassoLars(
        alpha=lam / atoms.shape[1],
        positive=True,
        fit_intercept=False,
        max_iter=4 * len(atoms) + 100,
        eps=1e-14,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(atoms.T, x).coef_


def _descent(
    x: Data, atoms: Atoms, lam: Price, start: Codes | None, tol: float, sweeps: int
) -> Codes:
    """What scikit-learn returns, converged or not."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import Lasso

    model = Lasso(
        alpha=lam / atoms.shape[1],
        positive=True,
        fit_intercept=False,
        precompute=atoms @ atoms.T,
        tol=tol,
        max_iter=sweeps,
        warm_start=start is not None,
    )
    if start is not None:
        model.coef_ = np.array(start, order="F", copy=True)  # it is written into
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(np.asfortranarray(atoms.T), x.T)
    return np.asarray(model.coef_).reshape(len(x), len(atoms))


def cost(x: Data, atoms: Atoms, codes: Codes, lam: Price) -> Costs:
    """``||x - sum z_j d_j||^2 / 2 + lam sum z_j`` of each sample."""
    residual = x - codes @ atoms
    return 0.5 * np.square(residual).sum(axis=1) + lam * codes.sum(axis=1)


def duality_gap(x: Data, atoms: Atoms, codes: Codes, lam: Price) -> Costs:
    """How far the cost of codes is from the optimum of these atoms at most, by sample.

    **Guarantee.** For any ``t`` with ``d_j' t <= lam`` for all j no codes cost less than ``||x||^2
    / 2 - ||x - t||^2 / 2`` (weak duality: the cost is at least its Lagrangian). Here t is the
    residual, made shorter until it is allowed.
    """
    residual = x - codes @ atoms
    most = (residual @ atoms.T).max(axis=1)
    length = np.square(residual).sum(axis=1)
    best = (x * residual).sum(axis=1) / np.maximum(length, np.finfo(float).tiny)
    allowed = lam / np.maximum(most, np.finfo(float).tiny)
    dual = np.clip(best, 0, allowed)[:, None] * residual
    value = 0.5 * (np.square(x).sum(axis=1) - np.square(x - dual).sum(axis=1))
    return np.maximum(cost(x, atoms, codes, lam) - value, 0.0)


def kkt_violation(x: Data, atoms: Atoms, codes: Codes, lam: Price) -> Float[np.ndarray, "n 2"]:
    """What is left of the two conditions of optimality, as shares of `lam`, by sample.

    First the largest ``|d_j' r - lam|`` over active atoms, then the largest ``d_j' r - lam`` over
    all others, 0 if none is above 0. Codes are optimal if and only if both are 0.
    """
    pull = (x - codes @ atoms) @ atoms.T - lam
    active = np.where(codes > 0, np.abs(pull), 0.0).max(axis=1)
    silent = np.where(codes > 0, 0.0, np.maximum(pull, 0.0)).max(axis=1)
    return np.stack([active, silent], axis=1) / lam

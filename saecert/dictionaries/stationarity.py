"""Are a dictionary's atoms where its objective wants them, and would another atom help?

At an optimum of ``E ||x - sum z_j d_j||^2 / 2 + lam E sum z_j`` over unit atoms and nonnegative
codes, with residual r: ``E[z_j r] = lam E[z_j] d_j`` for every atom, and no new atom u has ``u'r``
above lam on any sample (facts after arXiv 2606.02385; derived on page 24).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from saecert.dictionaries.lasso import (
    Atoms,
    Codes,
    Data,
    Price,
    Rows,
    checked_codes,
    checked_data,
    checked_lambda,
    unit_atoms,
)

ByLatent = Float[np.ndarray, "d_sae"]
STEPS = 100


@dataclass(frozen=True)
class Stationarity:
    """How far each atom is from stationary for given codes; NaN for an atom that never fires."""

    firings: Int[np.ndarray, "d_sae"]
    """Samples at which it is active."""
    implied_lambda: ByLatent
    """``d_j' E[z_j r] / E[z_j]``: the price at which its length of pull would be right. One and the
    same for all atoms at an optimum; 0 where codes are not shrunk."""
    angle: ByLatent
    """Degrees between ``E[z_j r]`` and the atom: 0 at an optimum."""
    distance: ByLatent
    """``||E[z_j r] / E[z_j] - lam d_j|| / lam``: 0 at an optimum."""
    turn: ByLatent
    """Degrees of the arc tangent of ``||across|| / (E[z_j^2] + max(along, 0))``, where along and
    across are the parts of ``E[z_j r]`` along the atom and at right angles to it. 0 at an optimum.
    Where along is 0 or more, the angle from the atom to the best one for these codes, all others
    fixed, which points along ``E[z_j^2] d_j + E[z_j r]``; where it is below, less than that."""


def stationarity(x: Rows, atoms: Rows, codes: Rows, lam: Price) -> Stationarity:
    """The conditions on the atoms, latent by latent, averaged over the samples given.

    Warns if there are fewer samples than latents: most averages are then over a handful of firings,
    and are not near 0 even for a dictionary that is optimal for the population.

    Raises
    ------
    ValueError
        As `nonnegative_lasso`.
    """
    lam = checked_lambda(lam)
    atoms, norms = unit_atoms(atoms)
    x = checked_data(x, atoms)
    codes = checked_codes(codes, x, atoms) * norms
    if len(x) < len(atoms):
        warnings.warn(
            f"{len(x)} samples for {len(atoms)} latents: what is said of a single atom is mostly "
            "noise; take more samples than latents",
            stacklevel=2,
        )
    pull = codes.T @ (x - codes @ atoms)
    total = codes.sum(axis=0)
    alive = total > 0
    some = np.where(alive, total, np.nan)
    along = (pull * atoms).sum(axis=1)
    across = np.linalg.norm(pull - along[:, None] * atoms, axis=1)
    square = np.where(alive, np.square(codes).sum(axis=0), np.nan)
    return Stationarity(
        firings=(codes > 0).sum(axis=0),
        implied_lambda=along / some,
        angle=np.where(alive, np.degrees(np.arctan2(across, along)), np.nan),
        distance=np.linalg.norm(pull / some[:, None] - lam * atoms, axis=1) / lam,
        turn=np.degrees(np.arctan2(across, square + np.maximum(along, 0))),
    )


def overall_lambda(x: Data, atoms: Atoms, codes: Codes) -> float:
    """The one price that fits all firings best: ``E[(x_hat)' r] / E sum z_j``.

    It is the mean of the implied prices of all atoms, weighted by their activity.
    """
    recons = codes @ atoms
    return float(((x - recons) * recons).sum() / codes.sum())


def agreement(x: Data, atoms: Atoms, codes: Codes) -> ByLatent:
    """Cosine between the pull across each atom on one half of the samples and on the other.

    The halves are the even and the odd rows. Chance alone gives values about 0, of either sign. A
    pull that is there gives about its share in signal and noise together, so a small value is no
    evidence that there is none: it falls with fewer firings. Halves that share sequences also share
    what is peculiar to those, which raises it. NaN for an atom that does not fire on both halves.
    """
    pulls = []
    for half in (slice(None, None, 2), slice(1, None, 2)):
        pull = codes[half].T @ (x[half] - codes[half] @ atoms)
        across = pull - (pull * atoms).sum(axis=1, keepdims=True) * atoms
        length = np.linalg.norm(across, axis=1, keepdims=True)
        pulls.append(across / np.where(length > 0, length, np.nan))
    return (pulls[0] * pulls[1]).sum(axis=1)


@dataclass(frozen=True)
class NewAtom:
    """The best atom to add, as far as it was found, and what no atom exceeds."""

    direction: Float[np.ndarray, "d_in"]
    """Unit vector u."""
    gain: float
    """``E[(u'r - lam)_+]``: the rate at which the cost falls as u is brought in."""
    upper: float
    """What no unit vector exceeds."""


def best_new_atom(
    residuals: Data,
    lam: Price,
    *,
    weights: Float[np.ndarray, "n"] | None = None,
    n_starts: int = 32,
    seed: int = 0,
) -> NewAtom:
    """The unit vector u of largest gain ``E[(u'r - lam)_+]``, by ascent from many starts.

    The gain is convex in u, so that ``u <- normalised E[1{u'r > lam} r]`` never makes it smaller:
    there is no step to choose. Starts are the longest residuals, the main axes of all of them, and
    random ones. It may end in a local maximum; `upper` holds for all unit vectors.

    Parameters
    ----------
    residuals
        What the dictionary leaves over, a row a sample.
    lam
        Price of a unit of activity, above 0.
    weights
        Probabilities of the samples; equal if not said.
    n_starts
        At least so many starts.
    seed
        Of the random ones.
    """
    lam = checked_lambda(lam)
    shares = np.full(len(residuals), 1 / len(residuals)) if weights is None else weights
    upper = largest_gain(residuals, lam, shares)
    directions = _starts(residuals, n_starts, np.random.default_rng(seed))
    for _ in range(STEPS):
        helped = (residuals @ directions.T > lam) * shares[:, None]
        turned = helped.T @ residuals
        length = np.linalg.norm(turned, axis=1, keepdims=True)
        turned = np.where(length > 0, turned / np.maximum(length, 1e-300), directions)
        if np.allclose(turned, directions, atol=1e-12):
            break
        directions = turned
    gains = shares @ np.maximum(residuals @ directions.T - lam, 0.0)
    best = int(gains.argmax())
    return NewAtom(directions[best], float(gains[best]), upper)


def largest_gain(
    residuals: Data, lam: Price, weights: Float[np.ndarray, "n"] | None = None
) -> float:
    """What ``E[(u'r - lam)_+]`` does not exceed for any unit vector u.

    **Guarantee.** For ``|a| <= m`` the hinge ``(a - lam)_+`` lies below the parabola ``w a^2`` with
    ``w = (b - lam)_+ / b^2``, ``b = min(m, 2 lam)``, since ``(a - lam) / a^2`` rises up to ``a = 2
    lam`` (our derivation). With m the length of each residual, the largest eigenvalue of ``E[w r
    r']`` bounds the supremum; so does ``E[(||r|| - lam)_+]``, and the smaller one is returned.
    """
    shares = np.full(len(residuals), 1 / len(residuals)) if weights is None else weights
    length = np.linalg.norm(residuals, axis=1)
    alone = float(shares @ np.maximum(length - lam, 0.0))
    reach = np.minimum(length, 2 * lam)
    parabola = np.maximum(reach - lam, 0.0) / np.maximum(reach, lam) ** 2
    scaled = residuals * np.sqrt(shares * parabola)[:, None]
    return min(alone, float(np.linalg.norm(scaled, 2) ** 2))


def _starts(residuals: Data, n_starts: int, rng: np.random.Generator) -> Rows:
    length = np.linalg.norm(residuals, axis=1)
    longest = residuals[np.argsort(-length)[:n_starts]]
    axes = np.linalg.svd(residuals, full_matrices=False)[2][:n_starts]
    anywhere = rng.normal(size=(n_starts, residuals.shape[1]))
    rows = np.concatenate([longest, axes, -axes, anywhere])
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows[length[:, 0] > 0] / length[length[:, 0] > 0]

"""How far an SAE is from an optimum of the sparse-coding objective: encoder and dictionary apart.

The objective has a price of activity, an SAE that was not trained on it has none. It is given the
price at which optimal codes of its own atoms are as active (in the sum of their codes) as the
encoder's are: then all that the optimum is better by is a better reconstruction.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float
from scipy.optimize import brentq

from saecert.corpora.corpus import Corpus
from saecert.dictionaries.lasso import Atoms, Codes, Data, cost, duality_gap, nonnegative_lasso
from saecert.dictionaries.learned import improved_dictionary
from saecert.dictionaries.quantities import COSTS
from saecert.dictionaries.samples import AsAtoms, as_atoms, sampled_activations
from saecert.dictionaries.stationarity import agreement, best_new_atom, overall_lambda, stationarity
from saecert.dictionaries.wide import wide_cost
from saecert.subjects.subject import Subject

TOL = 1e-5
"""Duality gap of codes on real activations, as a share of ``||x||^2``."""
N_MATCH = 100
"""Activations on which the price is matched."""
STARTS = 8
STEP = 1.4
LOWEST = 9.0
"""Logarithm of how much smaller than the largest price, at which nothing fires, one may be."""
DIGITS = 2


def optimality(
    subject: Subject,
    corpus: Corpus,
    hook_names: Sequence[str] | None = None,
    *,
    discovery: Corpus,
    per_sequence: int = 4,
    seed: int = 0,
    batch_size: int | None = None,
    progress: bool = True,
) -> dict[str, dict[str, Float[np.ndarray, "..."]]]:
    """Distance of SAEs from an optimum, by hook point: arrays by sequence, by latent, and numbers.

    **By sequence** of `corpus`, the mean over `per_sequence` random positions of costs as shares of
    ``||x||^2 / 2``, the cost of no activity: `COSTS`, that is of the encoder's codes (counted as at
    most 1), of optimal codes, of optimal codes of a dictionary that was improved on `discovery`,
    and of the wide limit. All lie in [0, 1].

    **By latent**, on `discovery`, "<quantity>, encoder" and "<quantity>, optimal" for the fields of
    `saecert.dictionaries.stationarity.Stationarity` and `agreement` (of the codes named).

    **Numbers**: "lambda", matched on `discovery`; "implied lambda"; "gap", the largest duality gap
    of `corpus` as a share of ``||x||^2 / 2``; "l0, encoder", "l0, optimal"; and for the residuals
    of both codes on `corpus` "gain, ..." of the best new atom, its limit "gain at most, ...", and
    "gain by chance, ..." of residuals as long in random directions, all as shares of lambda; "short
    residuals, ...", the share that is not longer than lambda.

    Activations are kept in the cache folder, the rest is computed anew.

    Raises
    ------
    ValueError
        As `saecert.dictionaries.samples.as_atoms` and `sampled_activations`.
    """
    names = tuple(hook_names or subject.hook_names)
    options = {"seed": seed, "batch_size": batch_size, "progress": progress}
    chosen = sampled_activations(subject, discovery, names, per_sequence, **options)
    sample = sampled_activations(subject, corpus, names, per_sequence, **options)
    found = {}
    for name in names:
        n_seq = len(sample[name])
        pair = [
            as_atoms(subject, name, acts[name].reshape(-1, acts[name].shape[-1]))
            for acts in (chosen, sample)
        ]
        found[name] = distances(*pair, n_seq, seed)
    return found


def matched_lambda(x: Data, atoms: Atoms, codes: Codes) -> float:
    """The price at which optimal codes have the mean sum of `codes`, to two digits.

    The sum falls as the price rises: Brent's method on its logarithm. ValueError for codes that are
    never active, or more so than optimal codes at a price near 0.
    """
    wanted = float(codes.sum(axis=1).mean())
    highest = float((x @ atoms.T).max())

    def excess(logarithm: float) -> float:
        solved = nonnegative_lasso(x, atoms, np.exp(logarithm), start=codes, tol=1e-4)
        return float(solved.sum(axis=1).mean()) / wanted - 1

    if wanted <= 0:
        raise ValueError("no latent is ever active: there is no price that this would be right for")
    high = np.log(highest)
    low = high - STEP
    while excess(low) < 0:
        low, high = low - STEP, low
        if low < np.log(highest) - LOWEST:
            raise ValueError("codes are larger than optimal ones at any price: too few atoms?")
    root = brentq(excess, low, high, xtol=0.01)
    return float(f"{np.exp(root):.{DIGITS}g}")


def distances(
    chosen: AsAtoms, sample: AsAtoms, n_seq: int, seed: int, lam: float | None = None
) -> dict[str, Float[np.ndarray, "..."]]:
    """What `optimality` says of one SAE.

    Parameters
    ----------
    chosen
        Activations of discovery.
    sample
        Activations of the sequences, as many of each, one sequence after the other.
    n_seq
        Number of sequences.
    seed
        Of starts and random residuals.
    lam
        The price; matched on discovery if not given.
    """
    atoms = sample.atoms
    if lam is None:
        lam = matched_lambda(chosen.x[:N_MATCH], atoms, chosen.codes[:N_MATCH])
    better, solved = improved_dictionary(chosen.x, atoms, lam, start=chosen.codes, tol=TOL)
    arrays = {"lambda": np.array(lam)}
    arrays["implied lambda"] = np.array(overall_lambda(chosen.x, atoms, chosen.codes))
    for word, rows in (("encoder", chosen.codes), ("optimal", solved)):
        at = stationarity(chosen.x, atoms, rows, lam)
        arrays |= {f"{name}, {word}": values for name, values in vars(at).items()}
        arrays[f"agreement, {word}"] = agreement(chosen.x, atoms, rows)
    arrays |= costs_of(sample, better, lam, n_seq, seed)
    return {name: np.asarray(array) for name, array in arrays.items()}


def costs_of(
    sample: AsAtoms,
    better: Atoms,
    lam: float,
    n_seq: int,
    seed: int,
    counted: Bool[np.ndarray, "n"] | None = None,
) -> dict[str, Float[np.ndarray, "..."]]:
    """What `optimality` says of `sample`: costs by sequence, gap, active latents, a new atom.

    Parameters
    ----------
    sample, n_seq, seed, lam
        As for `distances`.
    better
        Atoms of the other dictionary.
    counted
        Activations that count; the others have the share 0 in all costs, and are in nothing else.
    """
    x, atoms, codes = sample
    counted = np.ones(len(x), dtype=bool) if counted is None else counted
    optimal = nonnegative_lasso(x, atoms, lam, start=codes, tol=TOL)
    again = nonnegative_lasso(x, better, lam, start=optimal, tol=TOL)
    nothing = 0.5 * np.square(x).sum(axis=1)
    costs = [cost(x, atoms, codes, lam), cost(x, atoms, optimal, lam)]
    costs += [cost(x, better, again, lam), wide_cost(x, lam)]
    arrays = {}
    for name, values in zip(COSTS, costs, strict=True):
        share = np.where(counted, np.minimum(values / nothing, 1), 0.0)
        arrays[name] = share.reshape(n_seq, -1).mean(axis=1)
    arrays["gap"] = (duality_gap(x, atoms, optimal, lam) / nothing)[counted].max()
    for word, rows in (("encoder", codes[counted]), ("optimal", optimal[counted])):
        arrays[f"l0, {word}"] = (rows > 0).sum(axis=1).mean()
        arrays |= _residuals(x[counted] - rows @ atoms, lam, seed, word)
    return arrays


def _residuals(
    residuals: Data, lam: float, seed: int, word: str
) -> dict[str, Float[np.ndarray, ""]]:
    """What a new atom would gain of residuals, as shares of lambda."""
    length = np.linalg.norm(residuals, axis=1, keepdims=True)
    anywhere = np.random.default_rng(seed).normal(size=residuals.shape)
    anywhere *= length / np.linalg.norm(anywhere, axis=1, keepdims=True)
    found = best_new_atom(residuals, lam, n_starts=STARTS, seed=seed)
    chance = best_new_atom(anywhere, lam, n_starts=STARTS, seed=seed)
    numbers = {
        "gain": found.gain / lam,
        "gain at most": found.upper / lam,
        "gain by chance": chance.gain / lam,
        "short residuals": float((length <= lam).mean()),
    }
    return {f"{name}, {word}": np.asarray(value) for name, value in numbers.items()}

"""How far SAEs of a large model are from an optimum, on its usual tokens.

A few tokens of a large model have activations many times as long as all others. At one price they
would decide what the averages say, so that they are told apart: prices and atoms are of the usual
tokens, and in costs by sequence an outlier counts as 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from saecert.corpora.corpus import Corpus
from saecert.dictionaries.learned import improved_dictionary
from saecert.dictionaries.optimality import N_MATCH, TOL, costs_of, matched_lambda
from saecert.dictionaries.quantities import OFTEN
from saecert.dictionaries.samples import AsAtoms, as_atoms, sampled_activations
from saecert.dictionaries.stationarity import agreement, overall_lambda, stationarity
from saecert.measurement.quality import OUTLIER_FACTOR
from saecert.subjects.subject import Subject

Acts = Float[np.ndarray, "n d_in"]


def usual_optimality(
    subject: Subject,
    corpus: Corpus,
    hook_names: Sequence[str] | None = None,
    *,
    discovery: Corpus,
    per_sequence: int = 2,
    per_discovery: int = 40,
    n_fitted: int = 400,
    seed: int = 0,
    batch_size: int | None = None,
    progress: bool = True,
) -> dict[str, dict[str, Float[np.ndarray, "..."]]]:
    """What `saecert.dictionaries.optimality.optimality` measures, of usual tokens; by hook point.

    A token is an **outlier** if the norm of its activation exceeds `OUTLIER_FACTOR` times the
    median norm on `discovery`; BOS is never looked at.

    **By sequence** of `corpus`: `COSTS`, where an outlier among the `per_sequence` positions counts
    as 0; "usual", the share of positions that are none.

    **By latent**, for the encoder's codes on the usual ones of `per_discovery` positions of each
    sequence of `discovery`: "firings, encoder", and "implied_lambda, encoder" in half precision.

    **Numbers**: those of `optimality`; "usual, discovery", a share; medians over latents that fire
    at least `OFTEN` times: "angle, encoder", "agreement, encoder". The price is matched and other
    atoms are fitted on `n_fitted` of the discovery activations, drawn at random: optimal codes are
    what is dear.

    Raises
    ------
    ValueError
        As `optimality`.
    """
    names = tuple(hook_names or subject.hook_names)
    options: dict[str, Any] = {"seed": seed, "batch_size": batch_size, "progress": progress}
    chosen = sampled_activations(subject, discovery, names, per_discovery, **options)
    sample = sampled_activations(subject, corpus, names, per_sequence, **options)
    found = {}
    for name in names:
        width = sample[name].shape[-1]
        rows, acts = (some[name].reshape(-1, width) for some in (chosen, sample))
        most = OUTLIER_FACTOR * float(np.median(_norms(rows)))
        usual = _norms(acts) <= most
        seen = as_atoms(subject, name, rows[_norms(rows) <= most])
        view = as_atoms(subject, name, acts)
        found[name] = _distances(seen, view, usual, len(corpus), n_fitted, seed)
        found[name]["usual, discovery"] = np.asarray(len(seen.x) / len(rows))
    return found


def _distances(
    seen: AsAtoms,
    sample: AsAtoms,
    usual: Bool[np.ndarray, "n"],
    n_seq: int,
    n_fitted: int,
    seed: int,
) -> dict[str, Float[np.ndarray, "..."]]:
    """What `usual_optimality` says of one SAE, of the usual tokens of discovery and the sample."""
    atoms = seen.atoms
    some = np.random.default_rng(seed).permutation(len(seen.x))[:n_fitted]
    x, codes = seen.x[some], seen.codes[some]
    lam = matched_lambda(x[:N_MATCH], atoms, codes[:N_MATCH])
    better, _ = improved_dictionary(x, atoms, lam, start=codes, tol=TOL)
    at = stationarity(seen.x, atoms, seen.codes, lam)
    often = at.firings >= OFTEN
    halves = agreement(seen.x, atoms, seen.codes)
    arrays = costs_of(sample, better, lam, n_seq, seed, usual)
    arrays |= {
        "lambda": lam,
        "implied lambda": overall_lambda(seen.x, atoms, seen.codes),
        "firings, encoder": at.firings,
        "implied_lambda, encoder": at.implied_lambda.astype(np.float16),
        "angle, encoder": np.nanmedian(at.angle[often]),
        "agreement, encoder": np.nanmedian(halves[often]),
        "usual": usual.reshape(n_seq, -1).mean(axis=1),
    }
    return {name: np.asarray(array) for name, array in arrays.items()}


def _norms(acts: Acts) -> Float[np.ndarray, "n"]:
    return np.linalg.norm(acts.astype(np.float64), axis=1)

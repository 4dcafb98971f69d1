"""How far the atoms of an SAE are from the wide limit, and from one way there, by sequence.

The wide limit is a floor for dictionaries of any size. On the sample it is attained by one atom for
each activation; on other text by no dictionary that is known. So a dictionary made in that way is
tried beside the SAE's: directions of other activations, as many as the SAE has latents.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from saecert.corpora.corpus import Corpus
from saecert.dictionaries.lasso import Atoms, Data, cost, duality_gap, nonnegative_lasso
from saecert.dictionaries.optimality import TOL
from saecert.dictionaries.samples import as_atoms, sampled_activations
from saecert.dictionaries.wide import wide_cost
from saecert.subjects.subject import Subject


def wide_limit(
    subject: Subject,
    corpus: Corpus,
    hook_names: Sequence[str],
    *,
    discovery: Corpus,
    prices: Mapping[str, float],
    per_sequence: int = 8,
    seed: int = 0,
    batch_size: int | None = None,
    progress: bool = True,
) -> dict[str, dict[str, Float[np.ndarray, "n_seq"]]]:
    """Costs by hook point, one value a sequence of `corpus`.

    The mean over `per_sequence` random positions of costs as shares of ``||x||^2 / 2``: "optimal",
    of optimal codes of the SAE's atoms; "directions", of optimal codes of as many directions of
    activations of `discovery`, fewer if there are fewer; "floor", of the wide limit. And "gap", the
    largest duality gap of the first two, as such a share.

    Parameters
    ----------
    prices
        The price of activity by hook point.
    per_sequence, seed
        Positions of each sequence of `corpus` and `discovery`, and of their choice.

    Raises
    ------
    ValueError
        As `saecert.dictionaries.optimality.optimality`; a hook point without a price.
    """
    without = [name for name in hook_names if name not in prices]
    if without:
        raise ValueError(f"no price for {', '.join(without)}: prices take one for each hook point")
    options: dict[str, Any] = {"seed": seed, "batch_size": batch_size, "progress": progress}
    chosen = sampled_activations(subject, discovery, hook_names, per_sequence, **options)
    sample = sampled_activations(subject, corpus, hook_names, per_sequence, **options)
    found = {}
    for name in hook_names:
        width = sample[name].shape[-1]
        x, atoms, codes = as_atoms(subject, name, sample[name].reshape(-1, width))
        others = as_atoms(subject, name, chosen[name].reshape(-1, width)).x
        lam = float(prices[name])
        tried = {"optimal": (atoms, codes), "directions": (directions(others, len(atoms)), None)}
        nothing = 0.5 * np.square(x).sum(axis=1)
        rows = {"floor": wide_cost(x, lam) / nothing, "gap": np.zeros(len(x))}
        for word, (rays, start) in tried.items():
            best = nonnegative_lasso(x, rays, lam, start=start, tol=TOL)
            rows[word] = cost(x, rays, best, lam) / nothing
            left = duality_gap(x, rays, best, lam) / nothing
            rows["gap"] = np.maximum(rows["gap"], left)
        table = {word: row.reshape(len(corpus), -1) for word, row in rows.items()}
        gap = table.pop("gap").max(axis=1)
        found[name] = {word: row.mean(axis=1) for word, row in table.items()} | {"gap": gap}
    return found


def directions(x: Data, count: int) -> Atoms:
    """Directions of `count` rows spread evenly over `x`, of all if there are fewer; not of 0."""
    length = np.linalg.norm(x, axis=1)
    there = np.flatnonzero(length > 0)
    places = np.linspace(0, len(there) - 1, min(count, len(there))).round().astype(int)
    rows = there[places]
    return x[rows] / length[rows, None]

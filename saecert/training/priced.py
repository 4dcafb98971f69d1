"""A standard SAE, whose price of activity is known, and BatchTopK: how far both are from optimal.

What page 24 says of the objective's own case. Both are trained on the same activations, in the same
order, from the same seed; BatchTopK gets the number of active latents that the other ended with.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from sae_lens import SAE

from saecert.corpora.corpus import Corpus
from saecert.dictionaries.optimality import distances
from saecert.dictionaries.samples import as_atoms, sampled_activations
from saecert.measurement.identity import digest
from saecert.storage import cache_dir
from saecert.subjects.subject import Subject
from saecert.training.compared import Acts, activations, quietly, token_counts
from saecert.training.recipes import BATCH_TOP_K, STANDARD, SAERecipe, plan_fields
from saecert.training.sae import price_of, train_sae

BY_LATENT = ("implied_lambda", "angle", "agreement")
"""Kept of each latent in half precision; the numbers of firings are whole."""
LEFT_OUT = ("distance", "turn")
"""Not kept: page 24 does not read them."""


@dataclass(frozen=True)
class Plan:
    """How the two SAEs are trained, and on what they are judged."""

    l1_coefficient: float
    """Price of the standard SAE, as `SAERecipe.l1_coefficient`."""
    n_cached: int
    """Train activations of each hook point."""
    n_samples: int
    """Activations seen by each SAE."""
    n_discovery: int
    """Held-out activations on which better atoms are fitted."""
    per_sequence: int = 4
    """Positions of each sequence that are looked at."""
    expansion: int = 8
    """Latents per dimension."""
    batch_size: int = 256
    """Activations a step."""
    learning_rate: float = 2e-3
    """Its peak."""
    seed: int = 0
    """Of weights, order of batches and choice of positions."""

    @property
    def of_training(self) -> tuple[float | int, ...]:
        """What changes an SAE besides its kind."""
        sizes = (self.n_cached, self.n_samples, self.expansion, self.batch_size)
        return (*sizes, self.learning_rate, self.seed)

    def recipe(self, kind: str, l0: int) -> SAERecipe:
        """That of one SAE."""
        return SAERecipe(
            n_samples=self.n_samples,
            learning_rate=self.learning_rate,
            l0=l0,
            expansion=self.expansion,
            batch_size=self.batch_size,
            warm_up_steps=max(1, self.n_samples // self.batch_size // 10),
            seed=self.seed,
            order_seed=self.seed,
            checkpoints=2,
            architecture=kind,
            l1_coefficient=self.l1_coefficient,
        )


def priced(
    subject: Subject, corpus: Corpus, hook_names: Sequence[str], settings: Mapping[str, Any]
) -> dict[str, dict[str, np.ndarray]]:
    """What `saecert.dictionaries.optimality.optimality` measures, of two SAEs a hook point.

    Its arrays, in front of whose names stand "standard: ", judged at the price that it was trained
    at, and "batchtopk: ", at a matched one. SAEs and activations are in the cache folder.

    Parameters
    ----------
    subject, corpus
        The model, and the sequences that SAEs are judged on.
    hook_names
        Hook points.
    settings
        Fields of `Plan`, and "progress".

    Raises
    ------
    ValueError
        What `saecert.training.sae.train_sae` and `optimality` refuse.
    """
    given = plan_fields(settings)
    plan = Plan(**given)
    folder = cache_dir() / "priced" / digest(subject.fingerprint, *plan.of_training)[:16]
    options = {"seed": plan.seed, "progress": False}
    found = {}
    with quietly(bool(settings.get("progress"))):
        data = activations(subject, hook_names, plan.n_cached, plan.seed)
        for name in hook_names:
            arrays: dict[str, np.ndarray] = {}
            for recipe, sae in _trained(*data[name], plan, folder / name, name):
                alone = replace(subject, saes={name: sae})
                acts = sampled_activations(alone, corpus, [name], plan.per_sequence, **options)
                sample = as_atoms(alone, name, _rows(acts[name]))
                chosen = as_atoms(alone, name, data[name][1][: plan.n_discovery])
                is_priced = recipe.architecture == STANDARD
                lam = price_of(data[name][0], recipe) if is_priced else None
                rows = distances(chosen, sample, len(corpus), plan.seed, lam)
                arrays |= {f"{recipe.architecture}: {key}": x for key, x in _narrowed(rows)}
            found[name] = arrays
    return found


def _narrowed(rows: Mapping[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """What is kept: of what is known by latent some, in half precision."""
    for name, values in rows.items():
        if name.partition(",")[0] in LEFT_OUT:
            continue
        is_by_latent = name.partition(",")[0] in BY_LATENT
        yield name, values.astype(np.float16) if is_by_latent else values


def _rows(acts: Float[np.ndarray, "n_seq some d_in"]) -> Float[np.ndarray, "n d_in"]:
    return acts.reshape(-1, acts.shape[-1])


def _trained(
    acts: Acts, held_out: Acts, plan: Plan, folder: Path, hook_name: str
) -> Iterator[tuple[SAERecipe, SAE]]:
    """The standard SAE, then BatchTopK with as many active latents."""
    l0 = 1
    for kind in (STANDARD, BATCH_TOP_K):
        recipe = plan.recipe(kind, l0)
        price = f"-{plan.l1_coefficient:.6g}" if kind == STANDARD else f"-{l0}"
        names = {"hook_name": hook_name, "checkpoints": folder / "checkpoints" / kind}
        place = train_sae(acts, held_out, recipe, folder / (kind + price), **names)
        sae = SAE.load_from_disk(place, dtype="float32").eval()
        yield recipe, sae
        l0 = max(1, round(float(token_counts(sae, held_out).sum()) / len(held_out)))

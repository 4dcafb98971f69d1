"""SAEs of several sizes on the same activations, and how their latents split (page 25)."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sae_lens import SAE

from saecert.corpora.corpus import Corpus
from saecert.dictionaries.phenomena import Reading
from saecert.dictionaries.samples import as_atoms, chosen_positions, sampled_activations
from saecert.dictionaries.splits import Atoms, Fires, Splits, inside_shares, splits
from saecert.measurement.identity import digest
from saecert.storage import cache_dir
from saecert.subjects.subject import Subject
from saecert.training.compared import Acts, activations, quietly
from saecert.training.recipes import SAERecipe, plan_fields
from saecert.training.sae import train_sae

BATCH = 5_000
"""Activations encoded at once."""
SHOWN = 3
"""Children of the parent that is shown."""


@dataclass(frozen=True)
class Plan:
    """Which sizes are trained, and on what they are judged."""

    expansions: tuple[int, ...]
    """Latents per dimension, the smallest first."""
    l0: int
    """Active latents of each."""
    n_cached: int
    """Train activations of each hook point."""
    n_samples: int
    """Activations seen by each SAE."""
    per_sequence: int = 32
    """Positions of each sequence that are looked at."""
    batch_size: int = 256
    """Activations a step."""
    learning_rate: float = 2e-3
    """Its peak."""
    seed: int = 0
    """Of weights, order of batches and choice of positions."""

    def __post_init__(self) -> None:
        sizes = list(self.expansions)
        if len(sizes) < 2 or sizes != sorted(set(sizes)):
            raise ValueError(f"expansions are two sizes or more, the smallest first, got {sizes}")

    def recipe(self, expansion: int) -> SAERecipe:
        """That of one size."""
        return SAERecipe(
            n_samples=self.n_samples,
            learning_rate=self.learning_rate,
            l0=self.l0,
            expansion=expansion,
            batch_size=self.batch_size,
            warm_up_steps=max(1, self.n_samples // self.batch_size // 10),
            seed=self.seed,
            order_seed=self.seed,
            checkpoints=2,
        )


def splitting(
    subject: Subject, corpus: Corpus, hook_names: Sequence[str], settings: Mapping[str, Any]
) -> dict[str, dict[str, np.ndarray]]:
    """How latents split from each size to the next, by hook point, of SAEs trained if need be.

    A value a size: "d_sae", and on held-out activations "l0" and "nmse" (error over the squared
    norm of what is reconstructed). A value a step from one size to the next, on held-out
    activations: "parents", how many of them are "kept" and "split", "children" of those. By step
    and sequence of `corpus`: "inside" and "inside by chance" (`inside_shares`). "example words":
    tokens at which the parent with most children, of each step, and `SHOWN` of its children are
    strongest in `corpus`.

    SAEs and activations are in the cache folder.

    Parameters
    ----------
    subject, corpus
        The model, and the sequences on which children are counted; pairs are chosen on held-out
        activations of the validation documents.
    hook_names
        Hook points.
    settings
        Fields of `Plan`, and "progress".

    Raises
    ------
    ValueError
        What `Plan` and `saecert.training.sae.train_sae` refuse.
    """
    given = plan_fields(settings)
    plan = Plan(**{**given, "expansions": tuple(given["expansions"])})
    sizes = (plan.n_cached, plan.n_samples, plan.l0, plan.batch_size, plan.learning_rate)
    key = digest(subject.fingerprint, *sizes, plan.seed)[:16]
    folder = cache_dir() / "splitting" / key
    found = {}
    with quietly(bool(settings.get("progress"))):
        data = activations(subject, hook_names, plan.n_cached, plan.seed)
        for name in hook_names:
            saes = _trained(*data[name], plan, folder / name, name)
            found[name] = _Judged(subject, corpus, name, plan).arrays(saes, data[name][1])
    return found


def _trained(acts: Acts, held_out: Acts, plan: Plan, folder: Path, hook_name: str) -> list[SAE]:
    """One SAE a size."""
    saes = []
    for expansion in plan.expansions:
        name = f"x{expansion}"
        options = {"hook_name": hook_name, "checkpoints": folder / "checkpoints" / name}
        place = train_sae(acts, held_out, plan.recipe(expansion), folder / name, **options)
        saes.append(SAE.load_from_disk(place, dtype="float32").eval())
    return saes


@dataclass(frozen=True)
class _Judged:
    """What is said of the SAEs of one hook point."""

    subject: Subject
    corpus: Corpus
    hook_name: str
    plan: Plan

    def arrays(self, saes: Sequence[SAE], held_out: Acts) -> dict[str, np.ndarray]:
        known = [_atoms_and_firings(sae, held_out) for sae in saes]
        options = {"seed": self.plan.seed, "progress": False}
        place = (self.corpus, [self.hook_name], self.plan.per_sequence)
        acts = sampled_activations(self.subject, *place, **options)[self.hook_name]
        codes = [self._codes(sae, acts) for sae in saes]
        steps = [splits(*pair) for pair in itertools.pairwise(known)]
        facts = [_facts(sae, held_out) for sae in saes]
        arrays = {name: np.array([row[name] for row in facts]) for name in facts[0]}
        counts = [_counts(step) for step in steps]
        arrays |= {name: np.array([row[name] for row in counts]) for name in counts[0]}
        pairs = list(zip(steps, *zip(*itertools.pairwise(codes), strict=True), strict=True))
        shares = [inside_shares(step, a > 0, b > 0, len(acts)) for step, a, b in pairs]
        inside = np.stack(shares).astype(np.float16)
        arrays |= {"inside": inside[..., 0], "inside by chance": inside[..., 1]}
        words = [self._words(*pair) for pair in pairs]
        return arrays | {"example words": np.array(words, dtype=np.str_)}

    def _codes(self, sae: SAE, acts: np.ndarray) -> np.ndarray:
        alone = replace(self.subject, saes={self.hook_name: sae})
        rows = acts.reshape(-1, acts.shape[-1])
        return as_atoms(alone, self.hook_name, rows).codes.astype(np.float32)

    def _words(self, step: Splits, small: np.ndarray, large: np.ndarray) -> list[str]:
        """Words of a parent and some of its children, "" for none."""
        count = self.plan.per_sequence
        shape = (self.corpus.first, self.corpus.n_ctx, count, self.plan.seed)
        at = chosen_positions(self.corpus.ids, *shape).ravel()
        rows = np.repeat(np.arange(len(self.corpus)), count)
        reading = Reading(self.subject, self.corpus, rows, at)
        words = [""] * (1 + SHOWN)
        if not step.split.any():
            return words
        parent = step.parents[step.n_children.argmax()]
        children = step.pairs[step.pairs[:, 0] == parent, 1][:SHOWN]
        words[0] = reading.words(small[:, parent])
        for place, child in enumerate(children, 1):
            words[place] = reading.words(large[:, child])
        return words


@torch.no_grad()
def _atoms_and_firings(sae: SAE, acts: Acts) -> tuple[Atoms, Fires]:
    parts = [acts[start : start + BATCH] for start in range(0, len(acts), BATCH)]
    fires = [(sae.encode(torch.from_numpy(x.astype(np.float32))) > 0).numpy() for x in parts]
    atoms = torch.nn.functional.normalize(sae.W_dec.double(), dim=1).numpy()
    return atoms, np.concatenate(fires)


@torch.no_grad()
def _facts(sae: SAE, acts: Acts) -> dict[str, float | int]:
    """Size, and what it does on the first of the held-out activations."""
    x = torch.from_numpy(acts[:BATCH].astype(np.float32))
    codes = sae.encode(x)
    error = (x - sae.decode(codes)).square().sum(dim=1) / (x - sae.b_dec).square().sum(dim=1)
    l0 = (codes > 0).sum(dim=1).float().mean()
    return {"d_sae": sae.cfg.d_sae, "l0": float(l0), "nmse": float(error.clamp_max(1).mean())}


def _counts(step: Splits) -> dict[str, int]:
    return {
        "parents": len(step.parents),
        "kept": int(step.kept.sum()),
        "split": int(step.split.sum()),
        "children": len(step.pairs),
    }

"""Several SAEs trained side by side on one pass over the same activations."""

from __future__ import annotations

import contextlib
import copy
import io
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from sae_lens import SAE
from torch import Tensor
from tqdm import tqdm

from saecert.storage import progress_bar
from saecert.training.activations import shuffled_batches
from saecert.training.architectures import finished
from saecert.training.baselines import BaselineTrainer
from saecert.training.checkpoints import Checkpoints
from saecert.training.recipes import SAERecipe
from saecert.training.sae import calibration, is_trained, new_trainer, save_sae

SHARED = ("n_samples", "batch_size", "norm_batches", "order_seed")
"""What recipes of SAEs that see the same batches have in common."""

Acts = Float[np.ndarray, "_ d_in"]


@dataclass(frozen=True)
class SideBySide:
    """Folders of SAEs that were trained on the same batches, and the steps at which to keep one."""

    out: Path
    """Folder with one SAE a name."""
    recipes: Mapping[str, SAERecipe]
    """By name; what is in `SHARED` is the same in all."""
    looks: Mapping[str, Sequence[int]]
    """By name of an SAE, numbers of steps after which it is saved as well, as if training had ended
    there; 0 is its start."""
    inside: str = ""
    """Folder of the SAE within that of its name, such as a hook point; "" for that folder
    itself."""

    def __post_init__(self) -> None:
        if not self.recipes:
            raise ValueError("no recipe: name one SAE to train at least")
        first = next(iter(self.recipes.values()))
        for field in SHARED:
            values = {getattr(recipe, field) for recipe in self.recipes.values()}
            if len(values) > 1:
                raise ValueError(f"SAEs side by side see the same batches: give one {field}")
        unknown = sorted(set(self.looks) - set(self.recipes))
        last = first.n_samples // first.batch_size
        steps = [step for several in self.looks.values() for step in several]
        if unknown or not all(0 <= step <= last for step in steps):
            raise ValueError(
                f"looks are numbers of steps from 0 to {last} at SAEs that are trained, got "
                f"{dict(self.looks)}"
            )

    def place(self, name: str, step: int | None = None) -> Path:
        """The folder of an SAE, trained to the end or up to a step."""
        return self.out / (name if step is None else f"{name}-after-{step}") / self.inside

    def missing(self) -> dict[str, SAERecipe]:
        """Recipes of what is not there yet."""
        return {
            name: recipe
            for name, recipe in self.recipes.items()
            if not all(is_trained(self.place(name, step)) for step in self._places(name))
        }

    def _places(self, name: str) -> list[int | None]:
        return [None, *self.looks.get(name, ())]


def train_side_by_side(
    acts: Acts,
    held_out: Acts,
    plan: SideBySide,
    *,
    hook_name: str = "",
    subject_name: str = "",
    checkpoints: Path | None = None,
    progress: bool = True,
) -> dict[str, Path]:
    """Train all SAEs of a plan in one pass over the activations, and return their folders by name.

    Every batch is read once and seen by all. Each SAE has its own optimizer, and ends with the
    weights that `saecert.training.sae.train_sae` gives it alone. SAEs that are there are kept.

    Parameters
    ----------
    acts, held_out
        Activations, in random order; those held out are of other text and set thresholds.
    plan
        What is trained, and where it goes.
    hook_name, subject_name
        Where the activations are from, for the SAEs' configuration.
    checkpoints
        Folder for the state of the training, from which the same call goes on after an
        interruption, to the same weights. Default: nothing is kept.
    progress
        Show a bar.

    Raises
    ------
    ValueError
        What `train_sae` refuses.
    """
    missing = plan.missing()
    if missing:
        trainers = {
            name: new_trainer(acts, recipe, hook_name, subject_name)
            for name, recipe in missing.items()
        }
        run = _Run(plan, trainers, calibration(held_out, next(iter(missing.values()))))
        run.train(acts, checkpoints, progress)
    if checkpoints is not None:  # also what a killed process left
        shutil.rmtree(checkpoints, ignore_errors=True)
    return {name: plan.place(name) for name in plan.recipes}


class _Run:
    """The trainers of one call, which go through the same batches."""

    def __init__(
        self,
        plan: SideBySide,
        trainers: Mapping[str, BaselineTrainer],
        held_out: Float[Tensor, "n d_in"],
    ) -> None:
        self.plan = plan
        self.trainers = trainers
        self.held_out = held_out
        self.recipe = next(iter(trainers.values())).recipe
        self.n_steps = -(-self.recipe.n_samples // self.recipe.batch_size)

    def train(self, acts: Acts, checkpoints: Path | None, progress: bool) -> None:
        recipes = {name: trainer.recipe for name, trainer in self.trainers.items()}
        store = None if checkpoints is None else Checkpoints(checkpoints, acts, recipes)
        done = 0 if store is None else store.restore(self.trainers)
        start = self.recipe.norm_batches + done if done else 0
        batches = shuffled_batches(acts, self.recipe.batch_size, self.recipe.order_seed, start)
        if not done:
            self._estimate_norm(acts.shape[1], batches)
            self._look(0)
        every = max(1, self.n_steps // (self.recipe.checkpoints + 1))
        with self._bar(done, progress) as bar:
            for step in range(done + 1, self.n_steps + 1):
                self._step(next(batches))
                self._look(step)
                bar.update(self.recipe.batch_size)
                if store is not None and step % every == 0 and step < self.n_steps:
                    store.save(self.trainers)
        for name in self.trainers:
            save_sae(self._as_finished(name), self.plan.place(name))

    def _bar(self, done: int, progress: bool) -> tqdm:
        return progress_bar(
            total=self.n_steps * self.recipe.batch_size,
            initial=done * self.recipe.batch_size,
            desc=f"{len(self.trainers)} SAEs",
            unit="act",
            unit_scale=True,
            mininterval=5,
            disable=not progress,
        )

    def _estimate_norm(self, d_in: int, batches: Iterator[Float[Tensor, "batch d_in"]]) -> None:
        """What activations are divided by, from the first batches: the same for all."""
        one, *others = self.trainers.values()
        with contextlib.redirect_stderr(io.StringIO()):  # its bar knows no switch
            one.activation_scaler.estimate_scaling_factor(d_in, batches, self.recipe.norm_batches)
        for trainer in others:
            trainer.activation_scaler.scaling_factor = one.activation_scaler.scaling_factor

    def _step(self, batch: Float[Tensor, "batch d_in"]) -> None:
        for trainer in self.trainers.values():
            trainer.maybe_reset_sparsity()
            trainer.step(batch)
            trainer.n_training_steps += 1

    def _look(self, step: int) -> None:
        for name in self.trainers:
            if step in self.plan.looks.get(name, ()):
                save_sae(self._as_finished(name), self.plan.place(name, step))

    def _as_finished(self, name: str) -> SAE:
        """What the SAE would be if its training ended now."""
        trainer = self.trainers[name]
        trainer.set_final_sae_metadata()
        sae = copy.deepcopy(trainer.sae)
        factor = trainer.activation_scaler.scaling_factor
        with torch.no_grad():
            sae.fold_activation_norm_scaling_factor(factor)
        return finished(sae, self.held_out, trainer.recipe)

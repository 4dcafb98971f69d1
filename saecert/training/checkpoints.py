"""The state of one training, or of several side by side, kept so that they can be resumed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from sae_lens import SAETrainer

from saecert.training.recipes import SAERecipe

ALONE = "."
"""Name of a trainer that has the folder for itself."""


class Checkpoints:
    """The state of all trainers at one step, in a folder that is there whole or not at all.

    Parameters
    ----------
    folder
        Where states are kept, the newest one only.
    acts
        What is trained on.
    recipes
        By the names of the trainers; one `ALONE`, or several that see the same batches.
    """

    def __init__(
        self, folder: Path, acts: Float[np.ndarray, "n d_in"], recipes: Mapping[str, SAERecipe]
    ) -> None:
        self.folder = folder
        first = next(iter(recipes.values()))
        self.batch_size = first.batch_size
        facts = {name: asdict(recipe) for name, recipe in recipes.items()}
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
        digest.update(str(acts.shape).encode())
        digest.update(np.ascontiguousarray(acts[: first.batch_size]).tobytes())
        self.key = digest.hexdigest()[:16]

    def restore(self, trainers: Mapping[str, SAETrainer]) -> int:
        """Put trainers into the state that was kept; how many steps they had done, 0 for none."""
        latest = self._latest()
        if latest is None:
            return 0
        for name, trainer in trainers.items():
            state = torch.load(latest / name / "sae.pt", weights_only=True)
            trainer.sae.load_state_dict(state)
            trainer.load_trainer_state(latest / name)
            # sae_lens counts a step after the checkpoint that it makes in it
            trainer.n_training_steps = trainer.n_training_samples // self.batch_size
            trainer.checkpoint_thresholds = [
                threshold
                for threshold in trainer.checkpoint_thresholds
                if threshold >= trainer.n_training_samples
            ]
        return trainer.n_training_steps

    def save(self, trainers: Mapping[str, SAETrainer]) -> None:
        """Keep the state of all trainers instead of the one before."""
        self.folder.mkdir(parents=True, exist_ok=True)
        older = list(self.folder.iterdir())
        partial = Path(tempfile.mkdtemp(dir=self.folder, prefix="partial-"))
        for name, trainer in trainers.items():
            (partial / name).mkdir(exist_ok=True)
            torch.save(trainer.sae.state_dict(), partial / name / "sae.pt")
            trainer.save_trainer_state(partial / name)
        os.replace(partial, self.folder / f"{self.key}-{trainer.n_training_samples}")
        for state in older:
            shutil.rmtree(state)

    def clear(self) -> None:
        """Remove what was kept."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _latest(self) -> Path | None:
        states = list(self.folder.glob(f"{self.key}-*"))
        return max(states, key=lambda state: int(state.name.split("-")[1]), default=None)

"""Train an SAE with sae_lens, make it ready for use, and keep it in half precision."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from sae_lens import SAE, LoggingConfig, SAETrainer, TrainingSAE
from sae_lens.config import SAETrainerConfig

from saecert.storage import partial_folder
from saecert.training.activations import shuffled_batches
from saecert.training.architectures import finished, new_sae
from saecert.training.recipes import TOP_AFA, SAERecipe


def train_sae(
    acts: Float[np.ndarray, "n_acts d_in"],
    held_out: Float[np.ndarray, "n_held_out d_in"],
    recipe: SAERecipe,
    out: Path,
    *,
    hook_name: str = "",
    subject_name: str = "",
    checkpoints: Path | None = None,
) -> Path:
    """Train an SAE on `acts`, set its threshold on `held_out`, and return its folder, `out`.

    It is saved in float16, in the format of sae_lens, whole or not at all; one that is there
    already is kept. BatchTopK becomes JumpReLU; TopK and top-AFA have no threshold.

    Parameters
    ----------
    acts, held_out
        Activations, in random order; those held out are of other text.
    recipe
        Width, sparsity, schedule and seeds.
    out
        Folder to write.
    hook_name, subject_name
        Where the activations are from, for the SAE's configuration.
    checkpoints
        Folder for the state of the training: the same call goes on from there after an
        interruption, to the same weights. Default: nothing is kept.

    Raises
    ------
    ValueError
        Fewer activations than a batch, more active latents asked for than there are latents, or a
        training that diverged.
    """
    if (out / "sae_weights.safetensors").exists():
        if checkpoints is not None:  # killed before they were removed
            shutil.rmtree(checkpoints, ignore_errors=True)
        return out
    if recipe.architecture != TOP_AFA and recipe.l0 > recipe.expansion * acts.shape[1]:
        raise ValueError(
            f"l0={recipe.l0} asked of an SAE of {recipe.expansion * acts.shape[1]} latents"
        )
    torch.manual_seed(recipe.seed)
    sae = new_sae(acts.shape[1], recipe, hook_name, subject_name)
    trainer = _trainer(sae, recipe)
    store = None if checkpoints is None else _Checkpoints(checkpoints, acts, recipe)
    start = 0
    if store is not None:
        start = store.attach(trainer)
    trainer.data_provider = shuffled_batches(acts, recipe.batch_size, recipe.order_seed, start)
    calibration = held_out[: recipe.n_calibration].astype(np.float32)
    inference = finished(trainer.fit(), torch.from_numpy(calibration), recipe)
    inference.cfg.dtype = "float16"
    _save(inference.half(), out)
    if store is not None:
        store.clear()
    return out


def _trainer(sae: TrainingSAE, recipe: SAERecipe) -> SAETrainer:
    """A trainer of sae_lens by the recipe, without its data."""
    settings = SAETrainerConfig(
        total_training_samples=recipe.n_samples,
        train_batch_size_samples=recipe.batch_size,
        lr=recipe.learning_rate,
        lr_end=recipe.learning_rate / 10,
        lr_warm_up_steps=recipe.warm_up_steps,
        lr_decay_steps=recipe.n_samples // recipe.batch_size // 3,
        dead_feature_window=recipe.dead_steps,
        n_batches_for_norm_estimate=recipe.norm_batches,
        n_checkpoints=recipe.checkpoints,
        autocast=recipe.autocast,
        logger=LoggingConfig(log_to_wandb=False),
    )
    return SAETrainer(cfg=settings, sae=sae, data_provider=iter(()))


class _Checkpoints:
    """The state of a training, in a folder that is there whole or not at all."""

    def __init__(self, folder: Path, acts: np.ndarray, recipe: SAERecipe) -> None:
        self.folder = folder
        self.recipe = recipe
        digest = hashlib.sha256(json.dumps(asdict(recipe), sort_keys=True).encode())
        digest.update(str(acts.shape).encode())
        digest.update(np.ascontiguousarray(acts[: recipe.batch_size]).tobytes())
        self.key = digest.hexdigest()[:16]

    def attach(self, trainer: SAETrainer) -> int:
        """Keep the trainer's state from now on, and restore what was kept.

        Returns how many batches were used already.
        """
        trainer.save_checkpoint_fn = lambda **_: self._save(trainer)
        latest = self._latest()
        if latest is None:
            return 0
        trainer.sae.load_state_dict(torch.load(latest / "sae.pt", weights_only=True))
        trainer.load_trainer_state(latest)
        # sae_lens counts a step after the checkpoint that it makes in it
        trainer.n_training_steps = trainer.n_training_samples // self.recipe.batch_size
        trainer.checkpoint_thresholds = [
            threshold
            for threshold in trainer.checkpoint_thresholds
            if threshold >= trainer.n_training_samples
        ]
        return self.recipe.norm_batches + trainer.n_training_steps

    def clear(self) -> None:
        """Remove what was kept."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _latest(self) -> Path | None:
        states = list(self.folder.glob(f"{self.key}-*"))
        return max(states, key=lambda state: int(state.name.split("-")[1]), default=None)

    def _save(self, trainer: SAETrainer) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        older = list(self.folder.iterdir())
        partial = Path(tempfile.mkdtemp(dir=self.folder, prefix="partial-"))
        torch.save(trainer.sae.state_dict(), partial / "sae.pt")
        trainer.save_trainer_state(partial)
        os.replace(partial, self.folder / f"{self.key}-{trainer.n_training_samples}")
        for state in older:
            shutil.rmtree(state)


def _save(sae: SAE, out: Path) -> None:
    """Write the folder `out`, whole or not at all."""
    with partial_folder(out.parent) as folder:
        written = folder / out.name
        sae.save_model(written)
        if out.exists():
            shutil.rmtree(out)
        os.replace(written, out)

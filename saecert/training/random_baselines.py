"""Random baselines beside their trained twins at some hook points, trained and measured.

What page 20 stands on. At each hook point: BatchTopK with its decoder frozen, softly frozen and its
encoder frozen, from isotropic and covariance-matched starts; TopK and JumpReLU from isotropic ones;
each beside the twin that learns everything from the same start. At one hook point BatchTopK again
with other numbers of active latents. All SAEs of a hook point see the same batches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from sae_lens import SAE

from saecert.corpora.corpus import Corpus
from saecert.corpora.loading import load_corpus
from saecert.dictionaries.fidelity import local_fidelity
from saecert.dictionaries.judged import Shared, dead, judged, share
from saecert.dictionaries.quantities import OTHER_LATENT, RANDOM_LATENTS
from saecert.measurement.identity import digest
from saecert.measurement.proxies import Proxy, full, pool, zero_ablation
from saecert.measurement.sweep import sweep
from saecert.storage import cache_dir
from saecert.subjects.subject import Subject
from saecert.training.baselines import cosines
from saecert.training.compared import N_HELD_OUT, Acts, activations, token_counts
from saecert.training.figures import held_out_figures
from saecert.training.recipes import (
    ARCHITECTURES,
    BATCH_TOP_K,
    COVARIANCE,
    FROZEN,
    JUMP_RELU,
    STARTS,
    TOP_K,
    SAERecipe,
)
from saecert.training.sae import new_trainer
from saecert.training.side_by_side import SideBySide, train_side_by_side

ISOTROPIC = "isotropic"
LEVELS = (0.0, 0.05, 0.5)
"""Quantiles of the cosine of decoder rows with their start that are kept."""

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Plan:
    """Which SAEs are trained, on how much, and what is measured of them."""

    l0: int
    """Active latents a token of the SAEs at every hook point."""
    other_l0: tuple[int, ...]
    """Numbers of active latents of BatchTopK besides, at `sweep_hook`."""
    sweep_hook: str
    """Where other numbers are tried and training is watched; "" for nowhere."""
    shares: tuple[float, ...]
    """Shares of the training after which the trained and the soft BatchTopK SAE are looked at."""
    n_spliced: int
    """Sequences, the first ones, on which the model runs with an SAE in it."""
    n_discovery: int
    """Sequences on which probes are fitted and latents are picked."""
    n_cached: int
    """Train activations of each hook point."""
    n_samples: int
    """Activations seen by each SAE."""
    source: str = "docstrings"
    """Text that is trained on, as `saecert.training.text.training_text` takes it."""
    expansion: int = 8
    """Latents per dimension."""
    batch_size: int = 256
    """Activations a step."""
    learning_rate: float = 2e-3
    """Its peak."""
    alpha: float = 0.5
    """Smoothing weight of the losses."""
    pool_share: float = 0.75
    """Size of the pool, as a share of the dictionary: the latents most often active on held-out
    activations."""
    seed: int = 0
    """Of weights, order of batches and choice of tokens."""

    def __post_init__(self) -> None:
        if not 0 < self.pool_share <= 1:
            raise ValueError(f"pool_share lies in (0, 1], got {self.pool_share}")
        if not all(0 <= share <= 1 for share in self.shares):
            raise ValueError(f"shares of a training lie in [0, 1], got {self.shares}")
        if self.l0 in self.other_l0:
            raise ValueError(f"other_l0 names l0={self.l0} again, which is trained anyway")

    @property
    def n_steps(self) -> int:
        """Steps of each training."""
        return -(-self.n_samples // self.batch_size)

    def looks(self) -> tuple[int, ...]:
        """Steps after which training is looked at."""
        return tuple(dict.fromkeys(round(share * self.n_steps) for share in self.shares))

    def recipes(self, hook_name: str) -> dict[str, SAERecipe]:
        """Those of all SAEs of a hook point by name; the SAEs of every hook point come first."""
        chosen = [(BATCH_TOP_K, self.l0, start) for start in (ISOTROPIC, COVARIANCE)]
        chosen += [(kind, self.l0, ISOTROPIC) for kind in (TOP_K, JUMP_RELU)]
        if hook_name and hook_name == self.sweep_hook:
            chosen += [(BATCH_TOP_K, l0, ISOTROPIC) for l0 in self.other_l0]
        return {
            baseline_name(kind, l0, start, frozen): self._recipe(kind, l0, start, frozen)
            for kind, l0, start in chosen
            for frozen in FROZEN
        }

    def watched(self, hook_name: str) -> dict[str, tuple[int, ...]]:
        """Names of the SAEs whose training is looked at, with the steps."""
        if hook_name != self.sweep_hook:
            return {}
        frozen = ("", "soft-decoder")
        return {baseline_name(BATCH_TOP_K, self.l0, ISOTROPIC, x): self.looks() for x in frozen}

    def n_main(self) -> int:
        """How many SAEs every hook point has: those that are judged by all that there is."""
        return len(self.recipes(""))

    @property
    def of_training(self) -> tuple[Any, ...]:
        """What changes all SAEs; the rest is in their names."""
        sizes = (self.n_cached, self.n_samples, self.expansion, self.batch_size)
        return (self.source, *sizes, self.learning_rate, self.seed)

    def _recipe(self, kind: str, l0: int, start: str, frozen: str) -> SAERecipe:
        return SAERecipe(
            n_samples=self.n_samples,
            learning_rate=self.learning_rate,
            l0=l0,
            expansion=self.expansion,
            batch_size=self.batch_size,
            warm_up_steps=max(1, self.n_steps // 20),
            n_calibration=N_HELD_OUT,
            seed=self.seed,
            order_seed=self.seed,
            checkpoints=4,
            architecture=kind,
            frozen=frozen,
            start=start,
        )


def baseline_name(architecture: str, l0: int, start: str, frozen: str) -> str:
    """Name of an SAE's folder.

    >>> baseline_name("topk", 24, "isotropic", "decoder"), baseline_name("topk", 8, "", "")
    ('topk-24-isotropic-frozen-decoder', 'topk-8-trained')
    """
    words = {"": "trained", "soft-decoder": "soft-decoder"}
    parts = [architecture, str(l0), start, words.get(frozen, f"frozen-{frozen}")]
    return "-".join(part for part in parts if part)


def random_baselines(
    subject: Subject, corpus: Corpus, hook_names: Sequence[str], settings: Mapping[str, Any]
) -> dict[str, Arrays]:
    """Named arrays by hook point, measured on `corpus`, of SAEs that are trained if need be.

    The first axis of most arrays is the SAE, in the order of `Plan.recipes`. One number each:
    "architecture", "frozen", "start" (indices into the lists of `saecert.training.recipes`),
    "asked" (active latents asked for), "d_sae", "d_in", and on held-out activations "pooled"
    (explained variance over all tokens) and "silent". A value a sequence: "explained"; and of the
    first `n_spliced`, "full" and "pool" (smoothed loss less that of the model), "total_variation",
    "disagreement", "l0". "cosine" has the mean and the quantiles `LEVELS` of the decoder rows'
    cosine with their start.

    For the first `Plan.n_main` SAEs, "judged <name>": what `saecert.dictionaries.judged.judged`
    has, by unit; "floor <name>" is the mean of a floor, and "dead <name>", one number, what an SAE
    without any activity scores.

    Without that axis: the losses "clean" and "zero" by sequence, "pool size", and of training:
    "steps", and with axes SAE and step "training explained", "training full", "training cosine".

    SAEs and activations are in the cache folder; an interrupted call goes on where it was.

    Parameters
    ----------
    subject, corpus
        The model, and the sequences that SAEs are measured on.
    hook_names
        Hook points.
    settings
        Fields of `Plan`, and "progress".

    Raises
    ------
    ValueError
        What `Plan`, `saecert.training.side_by_side.train_side_by_side` and
        `saecert.dictionaries.judged.share` refuse.
    """
    given = {key: value for key, value in settings.items() if key not in ("progress", "build")}
    several = {key: tuple(given[key]) for key in ("other_l0", "shares")}
    plan = Plan(**{**given, **several})
    progress = bool(settings.get("progress"))
    place = digest(subject.fingerprint, *hook_names, *plan.of_training)[:16]
    folder = cache_dir() / "baselines" / place
    text = {"source": plan.source, "progress": progress}
    data = activations(subject, hook_names, plan.n_cached, plan.seed, **text)
    options = {"split": "discovery", "n_ctx": corpus.n_ctx, "bos": corpus.bos}
    discovery = load_corpus(plan.source, subject, **options)
    discovery = discovery.take(min(plan.n_discovery, len(discovery)))
    found = {}
    for hook_name in hook_names:
        train, held_out = data[hook_name]
        side = SideBySide(folder / hook_name, plan.recipes(hook_name), plan.watched(hook_name))
        train_side_by_side(
            train,
            held_out,
            side,
            hook_name=hook_name,
            subject_name=subject.name,
            checkpoints=folder / "checkpoints" / hook_name,
            progress=progress,
        )
        measured = _Measured(subject, corpus, hook_name, plan, side, train)
        shared = share(subject, hook_name, discovery, corpus, seed=plan.seed)
        found[hook_name] = measured.arrays(held_out, shared)
    return found


@dataclass(frozen=True)
class _Measured:
    """What is measured of the SAEs of one hook point."""

    subject: Subject
    corpus: Corpus
    hook_name: str
    plan: Plan
    side: SideBySide
    train: Acts

    def arrays(self, held_out: Acts, shared: Shared) -> Arrays:
        rows = []
        judgements = []
        common: Arrays = {}
        for number, (name, recipe) in enumerate(self.side.recipes.items()):
            sae = _loaded(self.side.place(name))
            k = max(1, round(self.plan.pool_share * sae.cfg.d_sae))
            order = np.argsort(-token_counts(sae, held_out), kind="stable")
            pooled = replace(pool(order[:k], sae.cfg.d_sae), name="pooled")
            row, losses = self._behaviour(sae, [pooled, *([] if rows else [zero_ablation()])])
            row |= {"pool": losses["pooled"] - losses["clean"], "cosine": self._cosine(name, sae)}
            if number == 0:
                common = {key: losses[key] for key in ("clean", "zero")} | _of_dead(shared, sae)
                common["pool size"] = np.array(k)
            if number < self.plan.n_main():
                judgements.append(_judgement(shared, sae))
            rows.append(row | _facts(recipe, sae, held_out))
        return halved(_stacked(rows) | _stacked(judgements) | self._training()) | common

    def _behaviour(self, sae: SAE, others: Sequence[Proxy] = ()) -> tuple[Arrays, Arrays]:
        """What one SAE does to each sequence, and the losses of all proxies."""
        alone = replace(self.subject, saes={self.hook_name: sae})
        chosen = {self.hook_name: [full(), *others]}
        options = {"alphas": (self.plan.alpha,), "progress": False}
        spliced = self.corpus.take(min(self.plan.n_spliced, len(self.corpus)))
        record = sweep(alone, spliced, chosen, **options)[self.hook_name]
        fit = local_fidelity(alone, self.corpus, [self.hook_name], progress=False)
        losses = {name: values[0] for name, values in record.loss.items()}
        row = {
            "explained": fit[self.hook_name]["explained variance"],
            "l0": record.l0[:, self.corpus.first :].mean(axis=1),
            "full": losses["full"] - losses["clean"],
            "total_variation": record.total_variation["full"],
            "disagreement": record.top1_disagreement["full"],
        }
        return row, losses

    def _cosine(self, name: str, sae: SAE) -> Float[np.ndarray, "_"]:
        """Mean and `LEVELS` of the cosine of decoder rows with where they started."""
        start = new_trainer(self.train, self.side.recipes[name]).start
        found = cosines(sae.W_dec.detach(), start).numpy()
        return np.array([found.mean(), *np.quantile(found, LEVELS)])

    def _training(self) -> Arrays:
        """Explained variance, loss increase and cosines of the SAEs that were looked at."""
        looks = self.side.looks
        if not looks:
            return {}
        rows = {"training explained": [], "training full": [], "training cosine": []}
        for name, steps in looks.items():
            for step in steps:
                sae = _loaded(self.side.place(name, step))
                row, _ = self._behaviour(sae)
                rows["training explained"].append(row["explained"])
                rows["training full"].append(row["full"])
                rows["training cosine"].append(self._cosine(name, sae))
        steps = self.plan.looks()
        shape = (len(looks), len(steps), -1)
        return {name: np.stack(x).reshape(shape) for name, x in rows.items()} | {
            "steps": np.array(steps)
        }


def _stacked(rows: Sequence[Arrays]) -> Arrays:
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def _judgement(shared: Shared, sae: SAE) -> Arrays:
    """Scores of an SAE by unit, and the means of floors."""
    found = {}
    for name, values in judged(shared, sae).items():
        if is_floor(name):
            found[f"floor {name}"] = np.array(values.mean())
        else:
            found[f"judged {name}"] = values
    return found


def is_floor(name: str) -> bool:
    """Whether scores are those of what stands in for the latents of an SAE.

    >>> is_floor("probe 1 of code"), is_floor("probe 1 of code, random latents")
    (False, True)
    """
    return name == OTHER_LATENT or name.endswith(f", {RANDOM_LATENTS}")


def _of_dead(shared: Shared, sae: SAE) -> Arrays:
    scores = judged(shared, dead(sae))
    return {
        f"dead {name}": np.asarray(x.mean()) for name, x in scores.items() if not is_floor(name)
    }


def _loaded(folder: Path) -> SAE:
    return SAE.load_from_disk(folder, dtype="float32").eval()


@torch.no_grad()
def _facts(recipe: SAERecipe, sae: SAE, held_out: Acts) -> Arrays:
    """Numbers of one SAE."""
    figures = held_out_figures(sae, held_out, min(recipe.l0, sae.cfg.d_in))
    return {
        "architecture": np.array(ARCHITECTURES.index(recipe.architecture)),
        "frozen": np.array(FROZEN.index(recipe.frozen)),
        "start": np.array(STARTS.index(recipe.start)),
        "asked": np.array(recipe.l0),
        "d_sae": np.array(sae.cfg.d_sae),
        "d_in": np.array(sae.cfg.d_in),
        "pooled": np.array(figures["explained_variance"]["all"]),
        "silent": np.array(figures["silent"]),
    }


def halved(arrays: Arrays) -> Arrays:
    """The same with floats in half precision, three digits: what is kept must be small."""
    return {name: x.astype(np.float16) if x.dtype.kind == "f" else x for name, x in arrays.items()}

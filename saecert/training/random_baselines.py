"""Random baselines beside their trained twins at some hook points, trained and measured.

What page 20 stands on. At each hook point: BatchTopK with its decoder frozen, softly frozen and its
encoder frozen, from isotropic and covariance-matched starts; TopK and JumpReLU from isotropic ones;
each beside the twin that learns everything from the same start. At one hook point BatchTopK again
with other numbers of active latents. All SAEs of a hook point see the same batches.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from sae_lens import SAE
from torch import Tensor

from saecert.corpora.corpus import Corpus
from saecert.corpora.loading import load_corpus
from saecert.dictionaries.judged import Shared, dead, judged, share
from saecert.dictionaries.probed import package_scores
from saecert.dictionaries.quantities import OTHER_LATENT, RANDOM_LATENTS
from saecert.measurement.identity import digest
from saecert.measurement.proxies import Proxy, full, pool, zero_ablation
from saecert.measurement.quality import explained_by_sequence
from saecert.measurement.site import Site
from saecert.measurement.sweep import sweep
from saecert.storage import cache_dir
from saecert.subjects.subject import Subject, weights_hash
from saecert.training.baseline_plan import Plan
from saecert.training.baselines import cosines
from saecert.training.compared import Acts, activations, token_counts
from saecert.training.figures import held_out_figures
from saecert.training.recipes import ARCHITECTURES, FROZEN, STARTS, SAERecipe
from saecert.training.sae import new_trainer
from saecert.training.side_by_side import SideBySide, train_side_by_side

SEQUENCES = 32
"""Sequences encoded at once."""
LEVELS = (0.0, 0.05, 0.5)
"""Quantiles of the cosine of decoder rows with their start that are kept."""

Arrays = dict[str, np.ndarray]


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
    plan = Plan.of(settings)
    found = {}
    for hook_name, side, train, held_out in trained(subject, hook_names, settings):
        discovery = judging_text(subject, corpus, plan)
        options = {"seed": plan.seed, "edits": plan.edits}
        shared = share(subject, hook_name, discovery, corpus, **options)
        measured = _Measured(subject, hook_name, plan, side, train, shared)
        found[hook_name] = measured.arrays(held_out)
    return found


def packages_and_outliers(
    subject: Subject, corpus: Corpus, hook_names: Sequence[str], settings: Mapping[str, Any]
) -> dict[str, Arrays]:
    """Named arrays by hook point of the first `Plan.n_main` SAEs, the same as `random_baselines`.

    "judged <name>", "floor <name>" and "dead <name>" as there, of
    `saecert.dictionaries.probed.package_scores`; with an axis of SAEs "without outliers", the
    explained variance of held-out activations without outlier tokens, and "with outliers"; and one
    number, "outlier share", the share of such tokens.

    Parameters and errors as of `random_baselines`.
    """
    plan = Plan.of(settings)
    found = {}
    for hook_name, side, _, held_out in trained(subject, hook_names, settings):
        discovery = judging_text(subject, corpus, plan)
        shared = share(subject, hook_name, discovery, corpus, seed=plan.seed, edits=False)
        names = list(side.recipes)[: plan.n_main()]
        saes = [_loaded(side.place(name)) for name in names]
        figures = [held_out_figures(sae, held_out, 1) for sae in saes]
        explained = [each["explained_variance"] for each in figures]
        texts = (shared.discovery, shared.sample)
        silent = package_scores(texts, dead(saes[0]), shared.seed)
        found[hook_name] = halved(
            _stacked([_by_unit(package_scores(texts, sae, shared.seed)) for sae in saes])
            | {f"dead {name}": np.array(x.mean()) for name, x in _without_floors(silent).items()}
            | {
                "with outliers": np.array([each["all"] for each in explained]),
                "without outliers": np.array([each["without_outliers"] for each in explained]),
                "outlier share": np.array(figures[0]["outlier_share"]),
            }
        )
    return found


def trained(
    subject: Subject, hook_names: Sequence[str], settings: Mapping[str, Any]
) -> Iterator[tuple[str, SideBySide, Acts, Acts]]:
    """Each hook point with its SAEs, trained if they are not there, train and held-out activations.

    `settings` as for `random_baselines`.
    """
    plan = Plan.of(settings)
    progress = bool(settings.get("progress"))
    place = digest(subject.fingerprint, *hook_names, *plan.of_training)[:16]
    folder = cache_dir() / "baselines" / place
    dtype = torch.bfloat16 if plan.autocast else torch.float32
    options = {"source": plan.source, "dtype": dtype, "progress": progress}
    data = activations(subject, hook_names, plan.n_cached, plan.seed, **options)
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
        yield hook_name, side, train, held_out


def judging_text(subject: Subject, corpus: Corpus, plan: Plan) -> Corpus:
    """The discovery sequences on which probes are fitted, of the shape of those in `corpus`."""
    options = {"split": "discovery", "n_ctx": corpus.n_ctx, "bos": corpus.bos}
    discovery = load_corpus(plan.judging or plan.source, subject, **options)
    return discovery.take(min(plan.n_discovery, len(discovery)))


@dataclass(frozen=True)
class _Measured:
    """What is measured of the SAEs of one hook point."""

    subject: Subject
    hook_name: str
    plan: Plan
    side: SideBySide
    train: Acts
    shared: Shared

    def arrays(self, held_out: Acts) -> Arrays:
        saes = {name: _loaded(self.side.place(name)) for name in self.side.recipes}
        kept = {name: self._pool(sae, held_out) for name, sae in saes.items()}
        judgements = [
            _by_unit(judged(self.shared, saes[name])) for name in list(saes)[: self.plan.n_main()]
        ]
        facts = [_facts(recipe, saes[name], held_out) for name, recipe in self.side.recipes.items()]
        whole = self.plan.pool_share == 1
        rows, common = self._behaviour(saes, {} if whole else kept)
        for row, fact, (name, sae) in zip(rows, facts, saes.items(), strict=True):
            row |= fact | {"cosine": self._cosine(name, sae)}
            if whole:
                row["pool"] = row["full"]
        first = next(iter(saes))
        common |= _of_dead(self.shared, saes[first]) | {"pool size": np.array(len(kept[first]))}
        return halved(_stacked(rows) | _stacked(judgements) | self._training()) | common

    def _pool(self, sae: SAE, held_out: Acts) -> Int[np.ndarray, "k"]:
        """The latents most often active on held-out activations."""
        k = max(1, round(self.plan.pool_share * sae.cfg.d_sae))
        return np.argsort(-token_counts(sae, held_out), kind="stable")[:k]

    def _behaviour(
        self, saes: Mapping[str, SAE], kept: Mapping[str, Int[np.ndarray, "k"]]
    ) -> tuple[list[Arrays], Arrays]:
        """What each SAE does to each sequence, with its pool where one is `kept`; and the losses
        of the model alone. The model runs once for all of them."""
        proxies = [zero_ablation()]
        for name, sae in saes.items():
            proxies.append(reading(sae, name, full()))
            if name in kept:
                pooled = replace(pool(kept[name], sae.cfg.d_sae), name="pooled")
                proxies.append(reading(sae, f"{name} pooled", pooled))
        alone = replace(self.subject, saes={self.hook_name: next(iter(saes.values()))})
        options = {"alphas": (self.plan.alpha,), "progress": False}
        corpus = self.shared.sample.corpus
        spliced = corpus.take(min(self.plan.n_spliced, len(corpus)))
        record = sweep(alone, spliced, {self.hook_name: proxies}, **options)[self.hook_name]
        losses = {name: values[0] for name, values in record.loss.items()}
        rows = []
        for name, sae in saes.items():
            row = _fit(self.shared, sae, len(spliced))
            row["full"] = losses[name] - losses["clean"]
            row["total_variation"] = record.total_variation[name]
            row["disagreement"] = record.top1_disagreement[name]
            if name in kept:
                row["pool"] = losses[f"{name} pooled"] - losses["clean"]
            rows.append(row)
        return rows, {key: losses[key] for key in ("clean", "zero")}

    def _cosine(self, name: str, sae: SAE) -> Float[np.ndarray, "_"]:
        """Mean and `LEVELS` of the cosine of decoder rows with where they started."""
        start = new_trainer(self.train, self.side.recipes[name]).start
        found = cosines(sae.W_dec.detach(), start).numpy()
        return np.array([found.mean(), *np.quantile(found, LEVELS)])

    def _training(self) -> Arrays:
        """Explained variance, loss increase and cosines of the SAEs that were looked at."""
        looks = [(name, step) for name, steps in self.side.looks.items() for step in steps]
        if not looks:
            return {}
        saes = {f"{name} {step}": _loaded(self.side.place(name, step)) for name, step in looks}
        rows, _ = self._behaviour(saes, {})
        steps = np.array(self.plan.looks())
        found = {f"training {name}": [row[name] for row in rows] for name in ("explained", "full")}
        found["training cosine"] = [
            self._cosine(name, sae) for (name, _), sae in zip(looks, saes.values(), strict=True)
        ]
        shape = (len(self.side.looks), len(steps), -1)
        return {name: np.stack(x).reshape(shape) for name, x in found.items()} | {"steps": steps}


def reading(sae: SAE, name: str, proxy: Proxy) -> Proxy:
    """`proxy` made by another SAE than that of the subject, under another name."""

    def own(site: Site) -> Tensor:
        return proxy.replace(Site(site.acts, sae, site.ids, site.first))

    return Proxy(name, own, f"{proxy.key} {weights_hash(sae.state_dict(), sae.cfg.to_dict())}")


@torch.no_grad()
def _fit(shared: Shared, sae: SAE, n_spliced: int) -> Arrays:
    """Explained variance of each sequence; active latents a token of those that are spliced."""
    split = shared.sample
    first = split.corpus.first
    parts = []
    counts = []
    for acts in np.array_split(split.acts, -(-len(split.acts) // SEQUENCES)):
        native = torch.from_numpy(acts)
        codes = sae.encode(native)
        recons = sae.decode(codes)
        told = explained_by_sequence(native[:, first:].double(), recons[:, first:].double())
        parts.append(told.numpy())
        counts.append((codes[:, first:] != 0).sum(dim=-1).double().mean(dim=1).numpy())
    return {"explained": np.concatenate(parts), "l0": np.concatenate(counts)[:n_spliced]}


def _stacked(rows: Sequence[Arrays]) -> Arrays:
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def _by_unit(scores: Mapping[str, np.ndarray]) -> Arrays:
    """Scores of an SAE by unit, and the means of floors."""
    return {
        f"{'floor' if is_floor(name) else 'judged'} {name}": (
            np.array(values.mean()) if is_floor(name) else values
        )
        for name, values in scores.items()
    }


def is_floor(name: str) -> bool:
    """Whether scores are those of what stands in for the latents of an SAE.

    >>> is_floor("probe 1 of code"), is_floor("probe 1 of code, random latents")
    (False, True)
    """
    return name == OTHER_LATENT or name.endswith(f", {RANDOM_LATENTS}")


def _without_floors(scores: Mapping[str, np.ndarray]) -> Arrays:
    return {name: x for name, x in scores.items() if not is_floor(name)}


def _of_dead(shared: Shared, sae: SAE) -> Arrays:
    scores = _without_floors(judged(shared, dead(sae)))
    return {f"dead {name}": np.asarray(x.mean()) for name, x in scores.items()}


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

"""top-AFA against TopK and BatchTopK, trained side by side on the same few activations.

What page 23 stands on. At each hook point: a top-AFA SAE for each lambda; TopK and BatchTopK with
the number of active latents that each of them ended with, and with a usual one. Same activations,
width, schedule, seed and order of batches for all, so that they differ in how latents are chosen.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from sae_lens import SAE

from saecert.corpora.corpus import Corpus
from saecert.dictionaries.quantities import PREDICTORS, tau_name, token_name
from saecert.dictionaries.several import Candidate, measure_several
from saecert.measurement.identity import digest
from saecert.storage import cache_dir
from saecert.subjects.subject import Subject
from saecert.training.activations import cache_activations
from saecert.training.recipes import (
    ARCHITECTURES,
    BATCH_TOP_K,
    TOP_AFA,
    TOP_K,
    SAERecipe,
    plan_fields,
)
from saecert.training.sae import train_sae
from saecert.training.text import training_text

N_HELD_OUT = 20_000
"""Held-out activations: they set thresholds, count active latents and rank them."""
BATCH = 4_096
"""Activations encoded at once."""
ROWS = ("nmse", "l0", "total_variation")
"""Means over each sequence that are kept, of `saecert.dictionaries.norms.norms`."""
TAUS = tuple(tau_name(predictor, "total_variation") for predictor in PREDICTORS)
"""Rank correlations of each sequence that are kept."""
TOKENS = ("norm_f", "nmse", "eps_identity")
"""Values at one random token of each sequence that are kept, besides the norm of the activation."""
PROXIES = ("full", "pool")
"""Losses that are kept as their difference from the model's."""
TRUTHS = ("d_sae", "d_in", "coherence", "coherence with b_dec")
"""Facts of an SAE that are kept."""
LARGEST = ("largest eps_identity", "largest eps_lbo")
"""Of these the largest of any token is kept."""

Acts = Float[np.ndarray, "_ d_in"]


@dataclass(frozen=True)
class Plan:
    """Which SAEs are trained, on how much, and what is measured of them."""

    lambdas: tuple[float, ...]
    """Of top-AFA, one SAE each."""
    usual_l0: int
    """Active latents of TopK and BatchTopK besides the matched ones; 0 for no others."""
    n_cached: int
    """Train activations of each hook point."""
    n_samples: int
    """Activations seen by each SAE."""
    expansion: int = 8
    """Latents per dimension."""
    batch_size: int = 512
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
        if not self.lambdas or min(self.lambdas) < 0:
            raise ValueError(f"lambdas are one or more numbers from 0 on, got {self.lambdas}")
        if not 0 < self.pool_share <= 1:
            raise ValueError(f"pool_share lies in (0, 1], got {self.pool_share}")

    @property
    def of_training(self) -> tuple[float | int, ...]:
        """What changes all SAEs; lambdas and numbers of active latents are in their names."""
        sizes = (self.n_cached, self.n_samples, self.expansion, self.batch_size)
        return (*sizes, self.learning_rate, self.seed)

    def recipe(self, kind: str, l0: int, weight: float = 0.0) -> SAERecipe:
        """That of one SAE."""
        return SAERecipe(
            n_samples=self.n_samples,
            learning_rate=self.learning_rate,
            l0=l0,
            expansion=self.expansion,
            batch_size=self.batch_size,
            warm_up_steps=max(1, self.n_samples // self.batch_size // 10),
            n_calibration=N_HELD_OUT,
            seed=self.seed,
            order_seed=self.seed,
            checkpoints=2,
            architecture=kind,
            afa_coefficient=weight,
        )


@dataclass(frozen=True)
class Trained:
    """One SAE of a comparison."""

    recipe: SAERecipe
    """How it was trained; `l0` of top-AFA is the number that it ended with."""
    sae: SAE
    """In single precision."""


def compared(
    subject: Subject, corpus: Corpus, hook_names: Sequence[str], settings: Mapping[str, Any]
) -> dict[str, dict[str, np.ndarray]]:
    """Named arrays by hook point, measured on `corpus`, of SAEs that are trained if need be.

    The first axis of most arrays is the SAE: "kind" (index into `ARCHITECTURES`), "lambda" (nan but
    of top-AFA), "asked" (active latents asked for; of top-AFA, that it ended with, rounded),
    `TRUTHS` and `LARGEST`; by sequence and in half precision `ROWS`, `TAUS`, `token_name` of
    `TOKENS`, and the smoothed losses `PROXIES` less that of the model; and "l0 counts", tokens by
    number of active latents. Without that axis: the losses "clean" and "zero" and `token_name` of
    "norm_z" by sequence, and "pool size".

    SAEs and activations are in the cache folder; an interrupted call goes on where it was.

    Parameters
    ----------
    subject, corpus
        The model, and the sequences that SAEs are measured on; they are trained on the train
        documents of the docstrings, with thresholds and ranks from its validation documents.
    hook_names
        Hook points.
    settings
        Fields of `Plan`, and "progress".

    Raises
    ------
    ValueError
        What `Plan`, `saecert.training.sae.train_sae` and `norms` refuse.
    """
    plan = plan_of(settings)
    folder = place_of(subject, plan)
    found = {}
    with quietly(bool(settings.get("progress"))):
        data = activations(subject, hook_names, plan.n_cached, plan.seed)
        for hook_name in hook_names:
            place = folder / hook_name
            members = list(trained(*data[hook_name], plan, place, hook_name, subject.name))
            held_out = data[hook_name][1]
            found[hook_name] = _arrays(subject, corpus, hook_name, members, held_out, plan)
    return found


def plan_of(settings: Mapping[str, Any]) -> Plan:
    """The plan in the settings of `compared`."""
    given = plan_fields(settings)
    return Plan(**{**given, "lambdas": tuple(given["lambdas"])})


def place_of(subject: Subject, plan: Plan) -> Path:
    """Where SAEs and activations of a plan are: a folder of the cache folder."""
    return cache_dir() / "compared" / digest(subject.fingerprint, *plan.of_training)[:16]


@contextlib.contextmanager
def quietly(shown: bool) -> Iterator[None]:
    """Without the bars of sae_lens, which know no switch, unless they are to be `shown`."""
    with contextlib.ExitStack() as quiet:
        if not shown:
            quiet.enter_context(contextlib.redirect_stderr(io.StringIO()))
        yield


def trained(
    acts: Acts,
    held_out: Acts,
    plan: Plan,
    folder: Path,
    hook_name: str = "",
    subject_name: str = "",
) -> Iterator[Trained]:
    """All SAEs of a plan on the same activations: top-AFA first, then those matched to it.

    Numbers of active latents that two lambdas lead to are trained once. SAEs that are in `folder`
    are not trained again.
    """

    def one(recipe: SAERecipe, name: str) -> SAE:
        names = {"hook_name": hook_name, "subject_name": subject_name}
        checkpoints = folder / "checkpoints" / name
        data = (acts, held_out)
        train_sae(*data, recipe, folder / name, **names, checkpoints=checkpoints)
        return SAE.load_from_disk(folder / name, dtype="float32").eval()

    asked = []
    for weight in plan.lambdas:
        recipe = plan.recipe(TOP_AFA, max(1, plan.usual_l0), weight)
        sae = one(recipe, f"{TOP_AFA}-{weight:.6g}")
        l0 = max(1, round(float(token_counts(sae, held_out).sum()) / len(held_out)))
        asked.append(l0)
        yield Trained(replace(recipe, l0=l0), sae)
    for kind in (TOP_K, BATCH_TOP_K):
        for l0 in filter(None, dict.fromkeys([plan.usual_l0, *asked])):
            recipe = plan.recipe(kind, l0)
            yield Trained(recipe, one(recipe, f"{kind}-{l0}"))


@torch.no_grad()
def token_counts(sae: SAE, acts: Acts) -> Int[np.ndarray, "d_sae"]:
    """On how many of the activations each latent is active."""
    counts = torch.zeros(sae.cfg.d_sae, dtype=torch.int64)
    for start in range(0, len(acts), BATCH):
        part = torch.from_numpy(acts[start : start + BATCH].astype(np.float32))
        counts += (sae.encode(part) != 0).sum(dim=0)
    return counts.numpy()


def activations(
    subject: Subject,
    hook_names: Sequence[str],
    n_cached: int,
    seed: int,
    *,
    source: str = "docstrings",
    dtype: torch.dtype = torch.float32,
    progress: bool = False,
) -> dict[str, tuple[Acts, Acts]]:
    """Train and held-out activations by hook point, of the same tokens, in one order for all.

    Of the train and of the validation documents of `source`; kept in the cache folder. With `dtype`
    bfloat16 the model runs under autocast.
    """
    key = digest(subject.fingerprint, *hook_names, source, n_cached, seed)[:16]
    folder = cache_dir() / "activations" / key
    texts = training_text(source, subject, n_tokens=n_cached)
    sizes = {"train": n_cached, "held-out": N_HELD_OUT}
    found = []
    for text, (name, n_tokens) in zip(texts, sizes.items(), strict=True):
        acts = cache_activations(
            subject,
            text.tokens,
            text.lengths,
            list(hook_names),
            n_tokens,
            folder,
            dtype,
            name=name,
            bos=text.bos,
            seed=seed,
            progress=progress,
        )
        found.append(acts)
    return {name: (found[0][name], found[1][name]) for name in hook_names}


def _arrays(
    subject: Subject,
    corpus: Corpus,
    hook_name: str,
    members: Sequence[Trained],
    held_out: Acts,
    plan: Plan,
) -> dict[str, np.ndarray]:
    """What is kept of all SAEs of a hook point, in half precision."""
    k = max(1, round(plan.pool_share * members[0].sae.cfg.d_sae))
    candidates = []
    for member in members:
        order = np.argsort(-token_counts(member.sae, held_out), kind="stable")
        candidates.append(Candidate(member.sae, order[:k]))
    options = {"alpha": plan.alpha, "seed": plan.seed, "progress": False}
    measured, model = measure_several(subject, corpus, hook_name, candidates, **options)
    rows = [
        _of_one(values, model["clean"]) | _facts(member)
        for values, member in zip(measured, members, strict=True)
    ]
    stacked = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    norm_z = measured[0][token_name("norm_z")][:, 0]
    return stacked | model | {"pool size": np.array(k), token_name("norm_z"): norm_z}


def _of_one(
    measured: Mapping[str, np.ndarray], clean: Float[np.ndarray, "n_seq"]
) -> dict[str, np.ndarray]:
    """Arrays of one SAE."""
    row = {name: measured[name] for name in (*ROWS, *TAUS)}
    row |= {token_name(name): measured[token_name(name)][:, 0] for name in TOKENS}
    row |= {name: measured[name] - clean for name in PROXIES}
    row = {name: values.astype(np.float16) for name, values in row.items()}
    row |= {name: measured[name][0] for name in TRUTHS}
    row |= {name: measured[name].max() for name in LARGEST}
    return row | {"l0 counts": measured["l0 counts"]}


def _facts(member: Trained) -> dict[str, np.ndarray]:
    recipe = member.recipe
    weight = recipe.afa_coefficient if recipe.architecture == TOP_AFA else np.nan
    return {
        "kind": np.array(ARCHITECTURES.index(recipe.architecture)),
        "lambda": np.array(weight),
        "asked": np.array(recipe.l0),
    }

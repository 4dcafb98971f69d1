"""Which random baselines page 20 trains beside their twins, on how much, and how they are named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from saecert.training.compared import N_HELD_OUT
from saecert.training.recipes import (
    BATCH_TOP_K,
    COVARIANCE,
    FROZEN,
    JUMP_RELU,
    TOP_K,
    SAERecipe,
    plan_fields,
)

ISOTROPIC = "isotropic"
KINDS = (
    (BATCH_TOP_K, ISOTROPIC),
    (BATCH_TOP_K, COVARIANCE),
    (TOP_K, ISOTROPIC),
    (JUMP_RELU, ISOTROPIC),
)
"""Architectures, with the starts from which each is trained."""


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
    judging: str = ""
    """Text on whose discovery split probes are fitted and latents are picked; "" for `source`."""
    kinds: tuple[tuple[str, str], ...] = KINDS
    """Architectures and starts of the SAEs at every hook point: each is trained, and held in every
    way."""
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
    activations. With 1 the pool is the whole dictionary, whose losses are not measured twice."""
    autocast: bool = False
    """Multiply in bfloat16 while training, in the model that gives the activations as well."""
    edits: bool = True
    """Judge latents by edits as well, for which the model is run on pairs of contexts."""
    seed: int = 0
    """Of weights, order of batches and choice of tokens."""

    def __post_init__(self) -> None:
        if not 0 < self.pool_share <= 1:
            raise ValueError(f"pool_share lies in (0, 1], got {self.pool_share}")
        if not all(0 <= share <= 1 for share in self.shares):
            raise ValueError(f"shares of a training lie in [0, 1], got {self.shares}")
        if self.l0 in self.other_l0:
            raise ValueError(f"other_l0 names l0={self.l0} again, which is trained anyway")

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Plan:
        """The plan that `settings` describe: its fields, with lists for tuples, among others."""
        given = plan_fields(settings)
        several = {
            "other_l0": tuple(given["other_l0"]),
            "shares": tuple(float(share) for share in given["shares"]),
            "kinds": tuple((kind, start) for kind, start in given.get("kinds", KINDS)),
        }
        return cls(**{**given, **several})

    @property
    def n_steps(self) -> int:
        """Steps of each training."""
        return -(-self.n_samples // self.batch_size)

    def looks(self) -> tuple[int, ...]:
        """Steps after which training is looked at."""
        return tuple(dict.fromkeys(round(share * self.n_steps) for share in self.shares))

    def recipes(self, hook_name: str) -> dict[str, SAERecipe]:
        """Those of all SAEs of a hook point by name; the SAEs of every hook point come first."""
        chosen = [(kind, self.l0, start) for kind, start in self.kinds]
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
        return (self.source, *sizes, self.learning_rate, self.seed, *["autocast"] * self.autocast)

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
            autocast=self.autocast,
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

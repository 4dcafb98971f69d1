"""Ways of running an SAE in a model (no torch).

The same SAE loses more or less of a prediction by how it is used: with all its active latents or
the largest few, with BOS exempt or replaced, on long contexts or short ones. `Protocol` is one such
way; `saecert.dictionaries.spliced` measures several on the same sequences.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

EXEMPT = "exempt"
"""BOS keeps its native activation."""
REPLACED = "replaced"
"""BOS is reconstructed like any other token."""
LOST = "lost"
"""At BOS no latent is active: the decoder's bias alone, as if the SAE could not reconstruct it."""
AT_BOS = (EXEMPT, REPLACED, LOST)

MODEL, SAE, POOL = "model", "SAE", "pool"
"""Smoothed losses in bits per token: of the model, the SAE proxy and the pooled proxy."""
KL, SMOOTHED_KL = "KL", "smoothed KL"
"""Divergence of the SAE proxy's predictions from the model's in bits, as they are and smoothed."""
MEASURED = (MODEL, SAE, POOL, KL, SMOOTHED_KL)

Values = Mapping[str, Float[np.ndarray, "n_seq"]]
"""What `saecert.dictionaries.spliced.spliced` measures at one hook point."""


@dataclass(frozen=True)
class Splice:
    """How an SAE is put into the model."""

    n_active: int = 0
    """Most active latents at a token: the largest are kept; 0 keeps all."""
    bos: str = EXEMPT
    """One of `AT_BOS`."""

    def __str__(self) -> str:
        latents = f"top {self.n_active}" if self.n_active else "all active"
        return f"{latents}, BOS {self.bos}"


@dataclass(frozen=True)
class Protocol:
    """How an SAE is put into the model, and how much of each sequence is looked at."""

    splice: Splice
    """How it is put in."""
    n_ctx: int
    """Tokens of a sequence that are looked at, BOS included."""

    def __str__(self) -> str:
        return f"{self.splice}, {self.n_ctx} tokens"


@dataclass(frozen=True)
class Factors:
    """Two ways for each of three choices: ours first, then the other."""

    n_active: tuple[int, int]
    """Most active latents at a token; 0 for all."""
    bos: tuple[str, str]
    """What is done at BOS."""
    n_ctx: tuple[int, int]
    """Tokens of a sequence."""

    def protocol(self, *other: str) -> Protocol:
        """Our protocol with the `other` way for some of the choices, by their names here.

        >>> str(Factors((0, 11), ("exempt", "replaced"), (128, 32)).protocol("n_active", "n_ctx"))
        'top 11, BOS exempt, 32 tokens'
        """
        chosen = {name: getattr(self, name)[name in other] for name in FACTORS}
        return Protocol(Splice(chosen["n_active"], chosen["bos"]), chosen["n_ctx"])

    def grid(self) -> dict[tuple[str, ...], Protocol]:
        """All eight protocols, by the choices that are made in the other way."""
        subsets = [
            tuple(name for bit, name in enumerate(FACTORS) if index >> bit & 1)
            for index in range(2 ** len(FACTORS))
        ]
        subsets.sort(key=len)
        return {names: self.protocol(*names) for names in subsets}


FACTORS = {"n_active": "fewer latents", "bos": "BOS replaced", "n_ctx": "short contexts"}
"""Choices of `Factors`, and what the other way is called."""
TOGETHER = "all three"
"""What all of them together are called."""


def array_name(what: str, protocol: Protocol) -> str:
    """Name of an array of `saecert.dictionaries.spliced.spliced`.

    >>> array_name("KL", Protocol(Splice(11, "replaced"), 32))
    'KL | top 11, BOS replaced, 32 tokens'
    """
    return f"{what} | {protocol}"


def labelled(factors: Factors) -> dict[str, Protocol]:
    """The protocols that differ from ours in one choice, and in all three."""
    alone = {title: factors.protocol(name) for name, title in FACTORS.items()}
    return {**alone, TOGETHER: factors.protocol(*FACTORS)}


def lost_at_bos(factors: Factors) -> Protocol:
    """Our protocol, for an SAE that cannot reconstruct BOS at all."""
    ours = factors.protocol()
    return replace(ours, splice=replace(ours.splice, bos=LOST))

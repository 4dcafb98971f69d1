"""Ways of running an SAE in a model (no torch).

The same SAE loses more or less of a prediction by how it is used: with all its active latents or
the largest few, with BOS exempt or replaced, on long contexts or short ones. `Protocol` is one such
way; `saecert.dictionaries.spliced` measures several on the same sequences.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
N_VOCAB = "n_vocab"
"""Size of the vocabulary: beside the others, the same for every sequence."""

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


FACTORS = {"n_active": "fewer latents", "bos": "BOS replaced", "n_ctx": "short contexts"}
"""Choices of `Factors`, and what the other way is called."""
OURS = "ours"
"""None of them."""
TOGETHER = "all three"
"""All of them: the protocol under examination."""
BOS_LOST = "BOS lost"
"""Ours, but for an SAE that cannot reconstruct BOS at all."""


def array_name(what: str, protocol: Protocol) -> str:
    """Name of an array of `saecert.dictionaries.spliced.spliced`.

    >>> array_name("KL", Protocol(Splice(11, "replaced"), 32))
    'KL | top 11, BOS replaced, 32 tokens'
    """
    return f"{what} | {protocol}"


def grid(factors: Factors) -> dict[str, Protocol]:
    """All eight protocols that choices in the other way make, none of them first, all of them last.

    >>> list(grid(Factors((0, 11), ("exempt", "replaced"), (128, 32))))[3:5]
    ['short contexts', 'fewer latents, BOS replaced']
    """
    indices = sorted(range(2 ** len(FACTORS)), key=int.bit_count)
    names = list(FACTORS)
    made = {}
    for index in indices:
        other = [name for bit, name in enumerate(names) if index >> bit & 1]
        made[_label(other)] = factors.protocol(*other)
    return made


def compared(factors: Factors) -> dict[str, Protocol]:
    """Protocols that are compared with ours: each choice alone, the two about the SAE, and all
    three; and ours for an SAE that cannot reconstruct BOS.
    """
    chosen = [[name] for name in FACTORS]
    chosen += [["n_active", "bos"], list(FACTORS)]
    made = {_label(names): factors.protocol(*names) for names in chosen}
    ours = factors.protocol()
    lost = Protocol(Splice(ours.splice.n_active, LOST), ours.n_ctx)
    return {**made, BOS_LOST: lost}


def splices_of(factors: Factors) -> list[list[int | str]]:
    """What `saecert.dictionaries.spliced.spliced` has to measure, as JSON values."""
    protocols = (*grid(factors).values(), *compared(factors).values())
    splices = dict.fromkeys(protocol.splice for protocol in protocols)
    return [[splice.n_active, splice.bos] for splice in splices]


def _label(other: Sequence[str]) -> str:
    if not other:
        return OURS
    return TOGETHER if len(other) == len(FACTORS) else ", ".join(FACTORS[name] for name in other)

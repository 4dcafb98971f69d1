"""Splitting: latents of a larger dictionary that fire inside one of a smaller one, as its parts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import sparse

LIKE = 0.5
"""Least cosine between the atoms of child and parent."""
INSIDE = 0.75
"""Least share of a child's firings at which its parent fires."""
PART = 0.5
"""A child fires at most so often as its parent, as a share."""
SAME = 0.9
"""Cosine from which a latent is there again in the larger dictionary."""
OFTEN = 40
"""Firings that a latent has to have to be a child; a parent has twice as many."""

Fires = Bool[np.ndarray, "_ _"]
Atoms = Float[np.ndarray, "_ _"]


@dataclass(frozen=True)
class Splits:
    """What becomes of the latents of one dictionary in a larger one."""

    parents: Int[np.ndarray, "n_parents"]
    """Latents of the smaller one that fire often enough to be judged."""
    kept: Bool[np.ndarray, "n_parents"]
    """Whether the larger one has an atom at a cosine of `SAME` or more."""
    n_children: Int[np.ndarray, "n_parents"]
    """Latents of the larger one that are its parts: at a cosine of `LIKE` or more, firing inside it
    with a share of `INSIDE` or more, and at most `PART` as often."""
    pairs: Int[np.ndarray, "n_pairs 2"]
    """Each child of a parent that has two or more: parent and child."""
    others: Int[np.ndarray, "n_pairs"]
    """For each of these pairs a latent of the smaller one that is not like the child and fires
    about as often as its parent: what chance would put in the parent's place."""

    @property
    def split(self) -> Bool[np.ndarray, "n_parents"]:
        """Whether a parent has two children or more."""
        return self.n_children >= 2


def splits(small: tuple[Atoms, Fires], large: tuple[Atoms, Fires]) -> Splits:
    """Which latents of the dictionary `small` are split in `large`.

    Parameters
    ----------
    small, large
        Atoms of norm 1, a row each, and which latents fire on the same activations, a row each.

    Raises
    ------
    ValueError
        Activations that are not the same number, or atoms of another width.
    """
    (atoms, fires), (more, fires_more) = small, large
    if len(fires) != len(fires_more) or atoms.shape[1] != more.shape[1]:
        raise ValueError(
            f"both dictionaries are judged on the same activations: got {len(fires)} and "
            f"{len(fires_more)} of widths {atoms.shape[1]} and {more.shape[1]}"
        )
    count, count_more = fires.sum(axis=0), fires_more.sum(axis=0)
    one, other = (sparse.csr_array(x).astype(np.float64) for x in (fires, fires_more))
    together = np.asarray((one.T @ other).todense())
    cosine = atoms @ more.T
    inside = together / np.maximum(count_more, 1)
    is_child = (cosine >= LIKE) & (inside >= INSIDE) & (count_more >= OFTEN)
    is_child &= count_more <= PART * count[:, None]
    parents = np.flatnonzero(count >= 2 * OFTEN)
    n_children = is_child[parents].sum(axis=1)
    chosen = parents[n_children >= 2]
    pairs = np.array([(j, i) for j in chosen for i in np.flatnonzero(is_child[j])], dtype=np.int64)
    pairs = pairs.reshape(-1, 2)
    others = [_other(j, count, cosine[:, i]) for j, i in pairs.tolist()]
    return Splits(
        parents=parents,
        kept=(cosine[parents] >= SAME).any(axis=1),
        n_children=n_children,
        pairs=pairs,
        others=np.array(others, dtype=np.int64),
    )


def _other(parent: int, count: Int[np.ndarray, "d_sae"], cosine: Float[np.ndarray, "d_sae"]) -> int:
    """The latent nearest to the parent in how often it fires, of those unlike the child."""
    distance = np.abs(count - count[parent]).astype(float)
    distance[cosine >= LIKE] = np.inf
    distance[parent] = np.inf
    return int(distance.argmin())


def inside_shares(
    found: Splits, small: Fires, large: Fires, n_seq: int
) -> Float[np.ndarray, "n_seq 2"]:
    """By sequence, the share of all children's firings at which their parent fires, and at which
    the latent fires that stands for chance; nan where no child fires.

    `small` and `large` say which latents fire on as many activations of each of the sequences, one
    sequence after the other.
    """
    child = large[:, found.pairs[:, 1]]
    n_fired = child.reshape(n_seq, -1).sum(axis=1).astype(float)
    n_fired[n_fired == 0] = np.nan
    columns = []
    for latents in (found.pairs[:, 0], found.others):
        both = (child & small[:, latents]).reshape(n_seq, -1).sum(axis=1)
        columns.append(both / n_fired)
    return np.stack(columns, axis=1)

"""Are activations the size they should be? Norms of codes, and how coherent a decoder must be.

Atoms of unit length whose cosines are at most eps in size are *eps-quasi-orthogonal*, and eps is
their coherence. Then the norm of a code is nearly that of what it decodes to, so it can be told
from the norm of the activation (arXiv 2503.24277). Read the other way round, norms that disagree
say how coherent the atoms must at least be; `quasi_orthogonality` has the published number and one
that is a lower bound for every token.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from saecert.dictionaries.coherent import eps_lbo, welch_limit
from saecert.dictionaries.quantities import NORMS

__all__ = ["Coherence", "coherence", "eps_lbo", "quasi_orthogonality", "welch_limit"]

ATOMS_AT_ONCE = 1024
"""Rows and columns of the block of cosines that is held at once."""
TOKENS_AT_ONCE = 512
"""Tokens whose codes are held in double precision at once."""


class Coherence(NamedTuple):
    """The largest cosine in size of two atoms, and which these are."""

    value: float
    """In [0, 1]."""
    pair: tuple[int, int]
    """Their numbers, the smaller one first; the bias counts as one behind the last atom."""


@torch.no_grad()
def quasi_orthogonality(
    acts: Float[Tensor, "..."],
    latents: Float[Tensor, "..."],
    W_dec: Float[Tensor, "d_sae d_in"],
    b_dec: Float[Tensor, "..."],
) -> dict[str, Float[Tensor, "..."]]:
    """Norms of each token's activation and code, and two readings of the coherence, by name.

    In double precision, the names of `saecert.dictionaries.quantities.NORMS`:

    * ``norm_z``, ``||z||`` of the activation; ``norm_z_hat``, that of ``latents @ W_dec + b_dec``
    * ``norm_f``, ``||f~||`` with ``f~ = (f_i ||w_i||, ||b_dec||)``, the bias being an atom that is
      always active (arXiv 2503.24277)
    * ``nmse``, ``||z - z_hat||^2 / ||z||^2``
    * ``eps_lbo``, the published number, see `eps_lbo`
    * ``eps_identity``, ``| ||z_hat||^2 - ||f~||^2 | / (||f~||_1^2 - ||f~||_2^2)``

    **Guarantee.** ``eps_identity`` is at most the `coherence` of the atoms and the bias, for every
    token and every decoder: ``||z_hat||^2 - ||f~||^2`` is the sum over pairs of ``f~_i f~_j`` times
    a cosine (our derivation). What double precision can be wrong by, ``4 (k + d_in + 1) 2^-52
    ||f~||_1^2`` with k active atoms, is taken off the numerator, and the denominator is summed pair
    by pair, so it holds as computed, too. It is 0 where fewer than two atoms are active and where
    rounding could explain the difference; never above 1. ``eps_lbo`` has no such guarantee: it
    reads z, which is z_hat only where the SAE makes no error.

    Parameters
    ----------
    acts : (..., d_in)
        Activations as the decoder is to reconstruct them: of an SAE that normalises what it reads,
        the normalised ones.
    latents : (..., d_sae)
        Codes of the same tokens, of any sign.
    W_dec : (d_sae, d_in), b_dec : (d_in)
        Decoder rows and bias.

    Raises
    ------
    ValueError
        Shapes that do not belong together, an activation or an active atom of length zero, values
        that are not finite, fewer than two latents.

    Examples
    --------
    >>> z = torch.tensor([[3.0, 4.0]])
    >>> found = quasi_orthogonality(z, z, torch.eye(2), torch.zeros(2))
    >>> [found[name].item() for name in ("norm_z", "norm_f", "nmse", "eps_identity")]
    [5.0, 5.0, 0.0, 0.0]
    """
    _check_shapes(acts, latents, W_dec, b_dec)
    flat_acts = acts.flatten(0, -2)
    flat_latents = latents.flatten(0, -2)
    atoms = W_dec.double()
    bias = b_dec.double()
    lengths = atoms.norm(dim=1)
    parts = []
    for start in range(0, len(flat_acts), TOKENS_AT_ONCE):
        rows = slice(start, start + TOKENS_AT_ONCE)
        _check_tokens(flat_acts[rows], flat_latents[rows], lengths, start)
        z = flat_acts[rows].double()
        codes = flat_latents[rows].double()
        scaled = torch.cat([codes * lengths, bias.norm().expand(len(codes), 1)], dim=1)
        parts.append(_of_tokens(z, codes @ atoms + bias, scaled))
    found = torch.cat(parts, dim=1).unflatten(1, acts.shape[:-1])
    return dict(zip(NORMS, found, strict=True))


@torch.no_grad()
def coherence(
    W_dec: Float[Tensor, "d_sae d_in"],
    b_dec: Float[Tensor, "d_in"] | None = None,
    *,
    chunk: int = ATOMS_AT_ONCE,
) -> Coherence:
    """The coherence of a decoder's atoms, exactly, with `b_dec` as one atom more if it is given.

    The largest absolute cosine of two atoms, in double precision, a block of ``chunk`` by ``chunk``
    cosines at a time: the matrix of all of them is never there. A bias of zero is no atom.

    Raises
    ------
    ValueError
        Fewer than two atoms, an atom of length zero or not finite, a `chunk` below 1.

    Examples
    --------
    >>> coherence(torch.tensor([[1.0, 0.0], [0.0, 2.0], [0.6, 0.8]]))
    Coherence(value=0.8, pair=(1, 2))
    """
    if chunk < 1:
        raise ValueError(f"chunk={chunk}: blocks have one row or more")
    atoms = _unit_atoms(W_dec, b_dec)
    best = Coherence(-1.0, (0, 0))
    for first in range(0, len(atoms), chunk):
        rows = atoms[first : first + chunk]
        for second in range(first, len(atoms), chunk):
            cosines = (rows @ atoms[second : second + chunk].T).abs()
            if first == second:
                cosines.fill_diagonal_(-1.0)
            value, place = cosines.flatten().max(dim=0)
            if value.item() > best.value:
                row, column = divmod(place.item(), cosines.shape[1])
                pair = sorted((first + row, second + column))
                best = Coherence(value.item(), (pair[0], pair[1]))
    return Coherence(min(best.value, 1.0), best.pair)


def _of_tokens(
    z: Float[Tensor, "n d_in"], z_hat: Float[Tensor, "n d_in"], scaled: Float[Tensor, "n atoms"]
) -> Float[Tensor, "6 n"]:
    """The rows of `NORMS`; `scaled` is f~."""
    sq_z = z.square().sum(dim=1)
    sq_hat = z_hat.square().sum(dim=1)
    sq_f = scaled.square().sum(dim=1)
    error = (z - z_hat).square().sum(dim=1)
    identity = _least_coherence(sq_hat - sq_f, scaled, z.shape[1])
    norms = [sq_z.sqrt(), sq_f.sqrt(), sq_hat.sqrt()]
    lbo = eps_lbo(norms[0], norms[1], scaled.shape[1] - 1)
    return torch.stack([*norms, error / sq_z, lbo, identity])


def _least_coherence(
    difference: Float[Tensor, "n"], scaled: Float[Tensor, "n atoms"], d_in: int
) -> Float[Tensor, "n"]:
    """``|difference| / sum_{i != j} |f~_i f~_j|``, made smaller by what rounding may add."""
    n_active = (scaled != 0).sum(dim=1)
    most = max(int(n_active.max()), 1)
    sizes = scaled.abs().topk(most, dim=1).values.flip(1)  # the smallest first
    smaller = sizes.cumsum(dim=1)
    pairs = 2 * (sizes[:, 1:] * smaller[:, :-1]).sum(dim=1)  # no difference of large sums
    operations = 4 * (n_active + d_in + 1)
    rounding = operations * torch.finfo(scaled.dtype).eps * smaller[:, -1].square()
    certain = difference.abs() - rounding
    told = (certain > 0) & (pairs > 0)
    return torch.where(told, certain / pairs, 0.0).clamp(max=1.0)


def _unit_atoms(
    W_dec: Float[Tensor, "d_sae d_in"], b_dec: Float[Tensor, "d_in"] | None
) -> Float[Tensor, "atoms d_in"]:
    atoms = W_dec.double()
    if b_dec is not None and b_dec.any():
        atoms = torch.cat([atoms, b_dec.double()[None]])
    if len(atoms) < 2:
        raise ValueError("coherence is of two atoms or more")
    lengths = atoms.norm(dim=1)
    bad = ~(lengths.isfinite() & (lengths > 0))
    if bad.any():
        number = int(bad.nonzero()[0])
        raise ValueError(
            f"atom {number} has length {lengths[number].item():g} and no direction: leave it out"
        )
    return atoms / lengths[:, None]


def _check_shapes(acts: Tensor, latents: Tensor, W_dec: Tensor, b_dec: Tensor) -> None:
    d_sae, d_in = W_dec.shape
    expected = {"acts": (*latents.shape[:-1], d_in), "latents": (*acts.shape[:-1], d_sae)}
    for name, tensor in (("acts", acts), ("latents", latents)):
        if tuple(tensor.shape) != expected[name] or tensor.ndim < 2:
            raise ValueError(
                f"{name} has shape {tuple(tensor.shape)}, {expected[name]} belongs to the other "
                f"and to W_dec of {d_sae} latents by {d_in} dimensions"
            )
    if tuple(b_dec.shape) != (d_in,):
        raise ValueError(f"b_dec has shape {tuple(b_dec.shape)}, W_dec has {d_in} dimensions")
    if d_sae < 2:
        raise ValueError(f"d_sae={d_sae}: the angle between atoms needs two of them")


def _check_tokens(
    acts: Float[Tensor, "n d_in"],
    latents: Float[Tensor, "n d_sae"],
    lengths: Float[Tensor, "d_sae"],
    start: int,
) -> None:
    if not (acts.isfinite().all() and latents.isfinite().all() and lengths.isfinite().all()):
        raise ValueError("activations, codes and atoms must be finite")
    silent = ~acts.any(dim=1)
    if silent.any():
        token = start + int(silent.nonzero()[0])
        raise ValueError(
            f"the activation of token {token} is zero: no norm to compare, leave it out"
        )
    lost = latents.any(dim=0) & (lengths == 0)
    if lost.any():
        atom = int(lost.nonzero()[0])
        raise ValueError(f"atom {atom} is active and has length zero: it has no direction")

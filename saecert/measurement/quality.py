"""How well a reconstruction fits: the one place for explained variance, FVU, cosine and relative
error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jaxtyping import Float

if TYPE_CHECKING:
    from torch import Tensor


OUTLIER_FACTOR = 8
"""A token is an outlier when the norm of its activation exceeds the median norm so many times."""


def explained_text(
    all_tokens: float, without_outliers: float, outlier_share: float, digits: int = 3, of: str = ""
) -> str:
    """Explained variance over all tokens and without the outliers among them, in words.

    >>> explained_text(0.954, 0.846, 0.0006, 2)
    '0.95 over all tokens, 0.85 without the 0.06 % of outliers (norm above 8 times the median)'
    >>> explained_text(0.954, 0.954, 0.0, 2, " of the variance")
    '0.95 of the variance over all tokens, none an outlier'
    """
    first = f"{all_tokens:.{digits}f}{of} over all tokens"
    if not outlier_share:
        return f"{first}, none an outlier"
    return (
        f"{first}, {without_outliers:.{digits}f} without the {100 * outlier_share:.2g} % of "
        f"outliers (norm above {OUTLIER_FACTOR} times the median)"
    )


def fraction_unexplained(sq_error: Any, sq_spread: Any) -> Any:
    """Fraction of variance unexplained, ``E||x - x_hat||^2 / E||x - E x||^2`` (FVU).

    Predicting the mean scores 1. Sums over the same tokens do as well as means; pooled over tokens
    unless said.

    >>> fraction_unexplained(1.0, 4.0)
    0.25
    """
    return sq_error / sq_spread


def explained_variance(sq_error: Any, sq_spread: Any) -> Any:
    """Explained variance, one minus `fraction_unexplained`.

    >>> explained_variance(1.0, 4.0)
    0.75
    """
    return 1 - fraction_unexplained(sq_error, sq_spread)


def squared_spread(acts: Float[Tensor, "*seq pos d_in"]) -> Float[Tensor, "*seq"]:
    """Sum of ``||x - mean x||^2`` over the positions of each sequence, the mean being over the same
    positions."""
    return (acts - acts.mean(dim=-2, keepdim=True)).square().sum(dim=(-2, -1))


def explained_by_sequence(
    native: Float[Tensor, "seq pos d_in"], recons: Float[Tensor, "seq pos d_in"]
) -> Float[Tensor, "seq"]:
    """Explained variance of each sequence, with sums and mean over its own positions; 0 where it is
    negative."""
    tiny = _tiny(native)
    error = (native - recons).norm(dim=-1).square().sum(dim=1)
    unexplained = fraction_unexplained(error, squared_spread(native).clamp_min(tiny))
    return 1 - unexplained.clamp_max(1)


def cosine_by_sequence(
    native: Float[Tensor, "seq pos d_in"], recons: Float[Tensor, "seq pos d_in"]
) -> Float[Tensor, "seq"]:
    """Cosine similarity of activation and reconstruction in [-1, 1], mean over the positions of
    each sequence."""
    import torch

    cosine = torch.nn.functional.cosine_similarity(native, recons, dim=-1)
    return cosine.clamp(-1, 1).mean(dim=1)


def relative_error(
    native: Float[Tensor, "seq pos d_in"], recons: Float[Tensor, "seq pos d_in"]
) -> Float[Tensor, "seq pos"]:
    """Relative error ``||x - x_hat|| / ||x||`` at each position; replacing x by zero scores 1."""
    return (native - recons).norm(dim=-1) / native.norm(dim=-1).clamp_min(_tiny(native))


def _tiny(acts: Float[Tensor, "..."]) -> float:
    import torch  # ratios of sums need none of it

    return torch.finfo(acts.dtype).tiny

"""What published statistics may be: each outside its range is an error of one line."""

from __future__ import annotations

import math
from collections.abc import Mapping

from saecert.statistics.inequalities import Scalar


def loss_range(n_vocab: int, alpha: Scalar) -> tuple[float, float]:
    """Least and largest smoothed loss, bits: ``-log2(1 - alpha + alpha/V)`` and ``log2(V/alpha)``.

    Raises
    ------
    ValueError
        `n_vocab` is less than 2, or `alpha` not strictly between 0 and 1.

    Examples
    --------
    >>> [round(bits, 4) for bits in loss_range(50_257, 0.5)]
    [1.0, 16.617]
    """
    check_probability("alpha", alpha)
    if not (n_vocab >= 2 and math.isfinite(n_vocab)):
        raise ValueError(f"n_vocab = {n_vocab}: a vocabulary has at least 2 tokens")
    return -math.log2(1 - alpha + alpha / n_vocab), math.log2(n_vocab / alpha)


def check_probability(name: str, value: Scalar) -> None:
    """Nothing, if `value` lies strictly between 0 and 1; else ValueError."""
    if not 0 < value < 1:
        raise ValueError(f"{name} = {value}: must lie strictly between 0 and 1")


def check_sample(n_seq: Scalar, delta: Scalar) -> None:
    """Nothing, if there are sequences and delta is a probability; else ValueError."""
    check_probability("delta", delta)
    if not (n_seq >= 1 and math.isfinite(n_seq)):
        raise ValueError(f"n_seq = {n_seq}: a mean is taken over at least 1 sequence")


def check_precision(precision: Scalar) -> None:
    """Nothing, if `precision` is a relative error; else ValueError."""
    if not 0 <= precision < 1:
        raise ValueError(f"precision = {precision}: a relative error lies in [0, 1)")


def check_pool(pool: int, d_sae: int) -> None:
    """Nothing, if so many latents can be kept of a dictionary of `d_sae`; else ValueError."""
    if not 0 <= pool <= d_sae:
        raise ValueError(f"pool = {pool}: must lie between 0 and d_sae = {d_sae}")


def check_means(means: Mapping[str, Scalar], n_vocab: int, alpha: Scalar) -> None:
    """Nothing, if every mean lies where means of its kind do.

    Parameters
    ----------
    means
        Some of "risk" and "proxy_risk" (bits, [lo, hi]), "gap" (bits, [0, hi - lo]), "mismatch" (a
        share of sequences).
    n_vocab, alpha
        Vocabulary and smoothing, which give lo and hi.

    Raises
    ------
    ValueError
        Names the first mean outside its range, and the range.
    """
    lo, hi = loss_range(n_vocab, alpha)
    ranges = {"gap": (0.0, hi - lo), "mismatch": (0.0, 1.0)}
    for name, value in means.items():
        least, most = ranges.get(name, (lo, hi))
        if not least <= value <= most:
            raise ValueError(f"{name} = {value}: must lie in [{least:.6g}, {most:.6g}]")

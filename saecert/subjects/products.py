"""Products of matrices on a CPU by oneDNN where torch would call its BLAS.

Torch multiplies in single precision by Intel's library, which does without the widest instructions
of other makers' processors: there oneDNN, which torch has as well, takes half the time.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

_BLOCK = 2_048  # columns of `out` at once


def affine(
    rows: Float[Tensor, "rows d_in"],
    weight: Float[Tensor, "d_out d_in"],
    bias: Float[Tensor, "d_out"],
    out: Float[Tensor, "rows d_out"] | None = None,
) -> Float[Tensor, "rows d_out"]:
    """``rows @ weight.T + bias``, made in `out` if that is given.

    Where gradients or other types are asked for, and on other devices, as `torch.addmm` has it;
    else equal to it up to the order in which products are added up.

    >>> affine(torch.tensor([[1.0, 2.0]]), torch.eye(2), torch.tensor([0.5, 0.0])).tolist()
    [[1.5, 2.0]]
    """
    if not _by_onednn(rows, weight, bias):
        return torch.addmm(bias, rows, weight.T, out=out)
    if out is None:
        return _product(rows, weight, bias)
    # it makes memory of its own: little, which stays in the cache until it is copied
    for start in range(0, len(weight), _BLOCK):
        part = slice(start, start + _BLOCK)
        out[:, part] = _product(rows, weight[part], bias[part])
    return out


def _product(rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")


def _by_onednn(*operands: Tensor) -> bool:
    """Whether its product is to be had: without gradients, in single precision, on a CPU."""
    if torch.is_grad_enabled() or torch.is_autocast_enabled("cpu"):
        return False
    plain = all(x.device.type == "cpu" and x.dtype == torch.float32 for x in operands)
    return plain and torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled

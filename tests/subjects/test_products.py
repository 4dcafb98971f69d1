"""Products by oneDNN: those of torch, and left to torch where it must make them itself."""

from __future__ import annotations

import pytest
import torch

from saecert.subjects.products import _by_onednn, affine


@pytest.fixture
def operands() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(37, 192), (5_000, 192), (5_000,)]  # more than a block
    rows, weight, bias = (torch.randn(shape, generator=generator) for shape in shapes)
    return rows, weight, bias


@pytest.mark.parametrize("cut", [(37, 192), (1, 192), (0, 192), (5, 3)])
@pytest.mark.parametrize("strided", [False, True])
def test_equal_to_double_precision(operands, cut, strided) -> None:
    rows, weight, bias = operands
    rows, weight = rows[: cut[0], : cut[1]], weight[:, : cut[1]]
    if strided:
        rows, weight = rows.T.contiguous().T, weight.T.contiguous().T
    with torch.no_grad():
        assert _by_onednn(rows, weight, bias)
        made = affine(rows, weight, bias)
        out = torch.full_like(made, torch.nan)
        assert affine(rows, weight, bias, out) is out
    exact = rows.double() @ weight.double().T + bias.double()
    assert made.shape == exact.shape
    for found in (made, out):
        torch.testing.assert_close(found.double(), exact, rtol=0, atol=1e-4)


def test_gradients_pass(operands) -> None:
    rows, weight, bias = operands
    weight.requires_grad_()
    affine(rows, weight, bias).sum().backward()
    torch.testing.assert_close(weight.grad, rows.sum(dim=0).expand_as(weight))


@torch.no_grad()
def test_other_types_are_left_to_torch(operands) -> None:
    assert affine(*(x.double() for x in operands)).dtype == torch.float64
    with torch.autocast("cpu", torch.bfloat16):
        assert affine(*operands).dtype == torch.bfloat16
    with torch.backends.mkldnn.flags(enabled=False, allow_tf32=None):
        assert not _by_onednn(*operands)
        rows, weight, bias = operands
        assert torch.equal(affine(rows, weight, bias), torch.addmm(bias, rows, weight.T))

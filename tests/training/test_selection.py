"""The sooner ways to pick the largest numbers give what sae_lens and torch give, to the bit."""

import pytest
import torch
from sae_lens import (
    BatchTopKTrainingSAE,
    BatchTopKTrainingSAEConfig,
    JumpReLUTrainingSAE,
    JumpReLUTrainingSAEConfig,
    TopKTrainingSAE,
    TopKTrainingSAEConfig,
)
from sae_lens.saes.batchtopk_sae import BatchTopK
from sae_lens.saes.topk_sae import TopK

from saecert.training.selection import (
    SoonerBatchTopK,
    SoonerThreshold,
    SoonerTopK,
    hasten,
    largest_of,
)

PAIRS = [(TopK, SoonerTopK), (BatchTopK, SoonerBatchTopK)]


def both(kinds, k, x):
    """Value and gradient of the usual function and of the sooner one."""
    weights = torch.arange(x.numel(), dtype=torch.float32).reshape(x.shape) / x.numel()
    found = []
    for kind in kinds:
        leaf = x.clone().requires_grad_()
        made = kind(k)(leaf)
        (made * weights).sum().backward()
        found.append((made.detach(), leaf.grad))
    return found


def inputs():
    generator = torch.Generator().manual_seed(0)
    normal = torch.randn(16, 40, generator=generator)
    return {
        "normal": normal,
        "hardly any positive": normal - 2.5,
        "none positive": -normal.abs() - 1,
        "ties": (3 * normal).round(),
        "all alike": torch.ones(16, 40),
        "three axes": normal.view(4, 4, 40),
    }


@pytest.mark.parametrize("name", inputs())
@pytest.mark.parametrize("kinds", PAIRS, ids=["TopK", "BatchTopK"])
@pytest.mark.parametrize("k", [1, 7, 40])
def test_values_and_gradients_are_those_of_sae_lens(name, kinds, k):
    x = inputs()[name]
    (usual, slope), (sooner, sooner_slope) = both(kinds, k, x)
    assert torch.equal(usual, sooner)
    active = usual != 0
    assert torch.equal(slope[active], sooner_slope[active])
    assert torch.equal(slope[x > 0] != 0, sooner_slope[x > 0] != 0)


def test_numbers_that_are_none_go_the_usual_way():
    x = torch.randn(4, 10)
    x[1, 2] = torch.nan
    assert SoonerTopK(3)(x).isnan().sum() == TopK(3)(x).isnan().sum()
    assert SoonerBatchTopK(3)(x).isnan().sum() == BatchTopK(3)(x).isnan().sum()
    tied = torch.tensor([[torch.nan, 1.0, 2.0], [1.0, 1.0, 0.0]])  # too few and too many
    torch.testing.assert_close(SoonerTopK(1)(tied), TopK(1)(tied), equal_nan=True)
    with pytest.raises(RuntimeError, match="out of range"):
        SoonerTopK(4)(tied)


def test_batches_of_another_scale_are_picked_as_the_first():
    """The bound below which nothing is looked at came from the batch before."""
    sooner = SoonerBatchTopK(5)
    for scale in (1.0, 10.0, 0.01, 0.0, 1.0):
        x = scale * torch.randn(16, 40, generator=torch.Generator().manual_seed(3))
        assert torch.equal(sooner(x), BatchTopK(5)(x))


@pytest.mark.parametrize("n", [1, 5, 500, 1000])
def test_the_largest_of_parts_are_those_of_the_whole(n):
    parts = [torch.randn(100, generator=torch.Generator().manual_seed(seed)) for seed in range(6)]
    found = largest_of(iter(parts), n)
    expected = torch.cat(parts).topk(min(n, 600)).values
    assert torch.equal(found.sort(descending=True).values, expected)


def test_nan_is_among_the_largest():
    parts = [torch.tensor([1.0, torch.nan, 2.0]), torch.tensor([5.0, torch.nan])]
    assert largest_of(parts[:1], 1).isnan().all()
    assert largest_of(parts, 1).isnan().all()
    assert int(largest_of(reversed(parts), 3).isnan().sum()) == 2


def test_only_functions_of_sae_lens_are_replaced():
    sizes = {"d_in": 4, "d_sae": 8}
    top_k = TopKTrainingSAE(TopKTrainingSAEConfig(**sizes, k=2))
    batch = BatchTopKTrainingSAE(BatchTopKTrainingSAEConfig(**sizes, k=2))
    jump = JumpReLUTrainingSAE(JumpReLUTrainingSAEConfig(**sizes))
    before = jump.activation_fn
    for sae in (top_k, batch, jump):
        hasten(sae)
    assert type(top_k.activation_fn) is SoonerTopK
    assert type(batch.activation_fn) is SoonerBatchTopK
    assert jump.activation_fn is before


@pytest.mark.parametrize(
    "acts",
    [
        torch.tensor([[0.0, 2.0, 0.5], [0.0, 0.0, 3.0]]),
        torch.zeros(2, 3),
        torch.tensor([[torch.nan, 0.0, 1.0]]),
        torch.full((2, 3), torch.inf),
    ],
)
def test_the_running_threshold_is_that_of_sae_lens(acts) -> None:
    settings = BatchTopKTrainingSAEConfig(d_in=4, d_sae=3, k=1, topk_threshold_lr=0.25)
    saes = [kind(settings) for kind in (BatchTopKTrainingSAE, SoonerThreshold)]
    for sae in saes:
        sae.topk_threshold.fill_(1.0)
        sae.update_topk_threshold(acts)
    assert torch.equal(saes[0].topk_threshold, saes[1].topk_threshold)

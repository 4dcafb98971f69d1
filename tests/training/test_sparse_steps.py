"""Steps that touch active latents alone have the losses and gradients of sae_lens."""

import copy

import pytest
import torch
from sae_lens import (
    BatchTopKTrainingSAE,
    BatchTopKTrainingSAEConfig,
    MatryoshkaBatchTopKTrainingSAE,
    MatryoshkaBatchTopKTrainingSAEConfig,
    TopKTrainingSAE,
    TopKTrainingSAEConfig,
)
from sae_lens.saes.sae import TrainStepInput

from saecert.training.selection import hasten
from saecert.training.sparse_steps import SparseBatchTopK, SparseMatryoshka, SparseTopK

D_IN, D_SAE, BATCH, K = 12, 40, 16, 3
SIZES = {"d_in": D_IN, "d_sae": D_SAE, "k": K, "apply_b_dec_to_input": True}
KINDS = {
    "topk": (TopKTrainingSAE, SparseTopK, TopKTrainingSAEConfig, {}),
    "batchtopk": (BatchTopKTrainingSAE, SparseBatchTopK, BatchTopKTrainingSAEConfig, {}),
    "matryoshka": (
        MatryoshkaBatchTopKTrainingSAE,
        SparseMatryoshka,
        MatryoshkaBatchTopKTrainingSAEConfig,
        {"matryoshka_widths": [5, 20, D_SAE]},
    ),
}
DEAD = {"none": [], "few": [3, 17], "many": list(range(8, 36)), "all": list(range(D_SAE))}


def both(kind, b_enc=0.1):
    """The SAE of sae_lens and the sooner one, with the same weights, no decoder row of norm 1."""
    usual, sooner, config, own = KINDS[kind]
    saes = [cls(config(**SIZES, **own)) for cls in (usual, sooner)]
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weights in saes[0].named_parameters():
            drawn = torch.randn(weights.shape, generator=generator)
            weights.copy_(drawn * (b_enc if name == "b_enc" else 0.3))
    saes[1].load_state_dict(saes[0].state_dict())
    hasten(saes[1])
    return saes


def given(acts, mask):
    """What a step of sae_lens is given."""
    return TrainStepInput(
        sae_in=acts,
        coefficients={},
        dead_neuron_mask=mask,
        n_training_steps=1,
        is_logging_step=False,
    )


def step(sae, dead, acts=None):
    """Losses and gradients of a step."""
    if acts is None:
        acts = torch.randn(BATCH, D_IN, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(D_SAE, dtype=torch.bool)
    mask[DEAD[dead]] = True
    output = sae.training_forward_pass(given(acts, mask))
    output.loss.backward()
    gradients = {name: weights.grad for name, weights in sae.named_parameters()}
    return output, gradients


@pytest.mark.parametrize("dead", DEAD)
@pytest.mark.parametrize("kind", KINDS)
def test_losses_and_gradients_are_those_of_sae_lens(kind, dead):
    (usual, slopes), (sooner, sooner_slopes) = (step(sae, dead) for sae in both(kind))
    assert usual.losses.keys() == sooner.losses.keys()
    for name, loss in usual.losses.items():
        torch.testing.assert_close(sooner.losses[name], loss)
    if dead != "none":
        assert usual.losses["auxiliary_reconstruction_loss"] > 0
    torch.testing.assert_close(sooner.sae_out, usual.sae_out)
    torch.testing.assert_close(sooner.feature_acts, usual.feature_acts.detach())
    for name, slope in slopes.items():
        assert slope.abs().max() > 0
        torch.testing.assert_close(sooner_slopes[name], slope, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_samples_without_an_active_latent(kind):
    """All strengths below zero: the reconstruction is the decoder's bias."""
    usual, sooner = both(kind)
    for sae in (usual, sooner):
        with torch.no_grad():
            sae.b_enc -= 100
    outputs = [step(sae, "few") for sae in (usual, sooner)]
    assert not outputs[1][0].feature_acts.any()
    for name, slope in outputs[0][1].items():
        other = outputs[1][1][name]
        torch.testing.assert_close(other, slope, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(outputs[1][0].loss, outputs[0][0].loss)


@pytest.mark.parametrize("kind", KINDS)
def test_the_threshold_of_a_batch_follows(kind):
    usual, sooner = both(kind)
    for sae in (usual, sooner):
        for seed in range(3):
            step(
                sae, "few", torch.randn(BATCH, D_IN, generator=torch.Generator().manual_seed(seed))
            )
    if kind != "topk":
        assert usual.topk_threshold > 0
        torch.testing.assert_close(sooner.topk_threshold, usual.topk_threshold)


@pytest.mark.parametrize("kind", KINDS)
def test_use_without_gradients_and_codes_of_others_go_the_usual_way(kind):
    usual, sooner = both(kind)
    acts = torch.randn(BATCH, D_IN)
    with torch.no_grad():
        assert torch.equal(sooner.encode(acts), usual.encode(acts))
        assert torch.equal(sooner(acts), usual(acts))
    step(sooner, "none")
    codes = torch.rand(BATCH, D_SAE)
    assert torch.equal(sooner.decode(codes), usual.decode(codes))


def test_a_loss_of_the_dead_by_width_is_refused():
    own = {"matryoshka_widths": [5, 20, D_SAE], "use_matryoshka_aux_loss": True}
    with pytest.raises(ValueError, match="needs the SAE of sae_lens"):
        SparseMatryoshka(MatryoshkaBatchTopKTrainingSAEConfig(**SIZES, **own))


@pytest.mark.parametrize("kind", KINDS)
def test_codes_of_a_step_are_used_in_that_step_alone(kind):
    """Without gradients, after a step or before one, and where somebody wrote into the codes."""
    usual, sooner = both(kind)
    acts = torch.randn(BATCH, D_IN, generator=torch.Generator().manual_seed(5))
    for _ in range(2):
        with torch.no_grad():
            losses = [evaluated(sae, acts) for sae in (usual, sooner)]
        torch.testing.assert_close(losses[1], losses[0])
        step(sooner, "few")
    codes = sooner.encode(acts)
    codes[:, 7:] = 0
    with torch.no_grad():
        torch.testing.assert_close(sooner.decode(codes), usual.decode(codes))
    torch.testing.assert_close(sooner.decode(codes).detach(), usual.decode(codes).detach())


def evaluated(sae, acts):
    """Loss of dead latents without a step."""
    mask = torch.ones(D_SAE, dtype=torch.bool)
    return sae.training_forward_pass(given(acts, mask)).losses["auxiliary_reconstruction_loss"]


def test_a_copy_leaves_the_last_step_behind():
    _, sooner = both("topk")
    step(sooner, "few")
    again = copy.deepcopy(sooner)
    acts = torch.randn(BATCH, D_IN)
    with torch.no_grad():
        assert torch.equal(again(acts), sooner(acts))


@pytest.mark.parametrize(
    "setting",
    [
        {"rescale_acts_by_decoder_norm": False},
        {"normalize_activations": "layer_norm"},
        {"reshape_activations": "hook_z"},
    ],
)
def test_other_settings_than_the_recipe_s_are_refused(setting):
    with pytest.raises(ValueError, match="use the SAE of sae_lens"):
        SparseTopK(TopKTrainingSAEConfig(**SIZES, **setting))

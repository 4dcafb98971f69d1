"""top-AFA: which latents a token gets, by hand; its loss; its files; what is refused."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import D_MODEL, D_SAE
from sae_lens import SAE, TrainingSAE
from sae_lens.saes.sae import TrainStepInput
from safetensors.torch import load_file, save_file

from saecert import collect, load_subject
from saecert.dictionaries.norms import atoms_of
from saecert.measurement.proxies import full, pool
from saecert.measurement.sweep import sweep
from saecert.subjects.top_afa import (
    TopAFASAE,
    TopAFASAEConfig,
    TopAFATrainingSAE,
    TopAFATrainingSAEConfig,
    chosen_latents,
    register,
)

HOOK = "blocks.0.hook_resid_post"


@pytest.mark.parametrize(
    ("scaled", "norm", "roots", "squares"),
    [
        # sums of squares 16, 25, 26; norms 4, 5, 5.1
        ([3.0, 4.0, 1.0, 0.1], 4.4, [0, 1, 0, 0], [0, 1, 0, 0]),
        ([3.0, 4.0, 1.0, 0.1], 4.6, [1, 1, 0, 0], [1, 1, 0, 0]),
        ([3.0, 4.0, 1.0, 0.1], 9.0, [1, 1, 1, 0], [1, 1, 1, 0]),
        # between 4 and 5: the middle is 4.5 of roots, sqrt(20.5) = 4.528 of squares
        ([3.0, 4.0, 1.0, 0.1], 4.51, [1, 1, 0, 0], [0, 1, 0, 0]),
        # at least one, though it is too long
        ([3.0, 4.0, 1.0, 0.1], 0.1, [0, 1, 0, 0], [0, 1, 0, 0]),
        # never all: the last sum is infinite
        ([1.0, 1.0, 1.0, 1.0], 2.0, [1, 1, 1, 0], [1, 1, 1, 0]),
        # none is active: the first is kept, and is 0
        ([0.0, 0.0, 0.0, 0.0], 2.0, [1, 0, 0, 0], [1, 0, 0, 0]),
    ],
    ids=["one", "two", "all but one", "they differ", "too long", "never all", "silent"],
)
def test_latents_of_a_token_by_hand(scaled, norm, roots, squares):
    token = (torch.tensor(scaled), torch.tensor(norm))
    assert chosen_latents(*token).tolist() == roots
    assert chosen_latents(*token, "squares").tolist() == squares


def test_the_number_of_latents_is_the_one_that_fits_best():
    """Against a search over every number of latents, token by token."""
    torch.manual_seed(0)
    scaled = torch.randn(200, 12, dtype=torch.float64).relu()
    norm = 3 * torch.rand(200, dtype=torch.float64)
    kept = chosen_latents(scaled, norm)
    for token, length, mask in zip(scaled, norm, kept, strict=True):
        ranked = token.sort(descending=True).values
        gaps = [abs(ranked[:k].norm() - length) for k in range(1, 12)]
        assert abs((token * mask).norm() - length) == pytest.approx(min(gaps).item())


def small(**settings):
    """Three latents along (1, 0), (0, 1) and (-1, 0), the second writing twice its length."""
    sae = TopAFASAE(TopAFASAEConfig(d_in=2, d_sae=3, **settings))
    with torch.no_grad():
        sae.W_enc.copy_(torch.tensor([[1.0, 0.0, -1.0], [0.0, 1.0, 0.0]]))
        sae.W_dec.copy_(torch.tensor([[1.0, 0.0], [0.0, 2.0], [-1.0, 0.0]]))
        sae.b_dec.copy_(torch.tensor([10.0, 0.0]))
        sae.b_enc.zero_()
    sae.cfg.metadata.hook_name = HOOK
    return sae


@torch.no_grad()
def test_tokens_through_the_sae_by_hand():
    """x - c = (3, 2.5): scaled 3 and 5; 5 is nearer to its norm 3.905 than sqrt(34) is."""
    sae = small()
    x = torch.tensor([[13.0, 2.5], [13.0, 1.0]])
    codes = sae.encode(x)
    # (3, 1): norm 3.162; scaled 3 and 2: 3 is nearer than 3.606
    assert codes.tolist() == [[0.0, 2.5, 0.0], [3.0, 0.0, 0.0]]
    assert sae.decode(codes).tolist() == [[10.0, 5.0], [13.0, 0.0]]
    # with norms of decoder rows left out both latents would be kept
    assert chosen_latents(torch.tensor([3.0, 2.5, 0.0]), torch.tensor(3.905)).tolist() == [1, 1, 0]


def trained(**settings):
    sae = TopAFATrainingSAE(TopAFATrainingSAEConfig(d_in=2, d_sae=3, **settings))
    with torch.no_grad():
        for name, weights in small().state_dict().items():
            sae.state_dict()[name].copy_(weights)
    return sae


def test_the_loss_of_norms_by_hand():
    """f~ = (3, 4), of norm 5; x = (13, 0) of norm 13, (3, 0) of norm 3 without the bias."""
    x, codes = torch.tensor([[13.0, 0.0]]), torch.tensor([[3.0, 2.0, 0.0]])
    for settings, expected in [
        ({"afa_coefficient": 0.5}, 0.5 * 64 * 2),
        ({"afa_coefficient": 0.5, "reconstruction": "sum"}, 0.5 * 64),
        ({"afa_coefficient": 0.5, "reconstruction": "sum", "loss_norm": "centred"}, 0.5 * 4),
        ({"afa_coefficient": 0.0}, 0.0),
    ]:
        assert trained(**settings).norm_loss(x, codes).item() == pytest.approx(expected)


def step(sae, x, dead=None):
    given = TrainStepInput(
        sae_in=x, coefficients={}, dead_neuron_mask=dead, n_training_steps=0, is_logging_step=False
    )
    return sae.training_forward_pass(given)


def test_a_training_step_adds_the_three_losses():
    x = torch.tensor([[13.0, 2.5]])
    done = step(trained(afa_coefficient=0.5, reconstruction="sum"), x)
    # x_hat = (10, 5); f~ = (0, 5, 0)
    assert done.losses["mse_loss"].item() == pytest.approx(9 + 6.25)
    distance = 5 - math.sqrt(13**2 + 2.5**2)
    assert done.losses["afa_loss"].item() == pytest.approx(0.5 * distance**2)
    assert done.losses["auxiliary_reconstruction_loss"].item() == 0
    assert done.loss.item() == pytest.approx(15.25 + 0.5 * distance**2)
    dead = step(trained(), x, torch.tensor([True, False, False]))
    # the dead latent reads 3 along (1, 0), where the error is 3: nothing is left of it but 2.5
    assert dead.losses["auxiliary_reconstruction_loss"].item() == pytest.approx(6.25)


def test_an_encoder_bias_is_trained_only_if_it_is_asked_for():
    for wanted in (False, True):
        sae = trained(encoder_bias=wanted)
        step(sae, torch.tensor([[13.0, 2.5]])).loss.backward()
        assert (sae.b_enc.grad is not None) == wanted
        assert sae.W_enc.grad.abs().sum() > 0 and sae.W_dec.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"afa_coefficient": -0.1}, "afa_coefficient must be 0 or more, got -0.1"),
        ({"afa_coefficient": math.nan}, "afa_coefficient must be 0 or more, got nan"),
        ({"compared": "logs"}, "compared is one of roots, squares, got 'logs'"),
        ({"loss_norm": "output"}, "loss_norm is one of input, centred"),
        ({"reconstruction": "median"}, "reconstruction is one of mean, sum"),
        ({"rescale_acts_by_decoder_norm": True}, "scales by decoder norms itself"),
    ],
    ids=["negative lambda", "nan", "compared", "norm", "reconstruction", "rescaled"],
)
def test_settings_that_cannot_be(settings, says):
    with pytest.raises(ValueError, match=says):
        TopAFATrainingSAEConfig(d_in=2, d_sae=3, **settings)
    if "compared" in settings:
        with pytest.raises(ValueError, match=says):
            TopAFASAEConfig(d_in=2, d_sae=3, **settings)


@pytest.mark.parametrize("make", [small, trained], ids=["inference", "training"])
@pytest.mark.parametrize("way", ["fold_W_dec_norm", "fold_and_get_W_dec_norm"])
def test_decoder_norms_are_not_folded(make, way):
    sae = make()
    before = sae.W_dec.clone()
    with pytest.raises(NotImplementedError, match="part of the rule that chooses its latents"):
        getattr(sae, way)()
    assert torch.equal(sae.W_dec, before)


def test_a_file_whose_norms_were_folded_is_refused(tmp_path):
    small().save_model(tmp_path)
    path = tmp_path / "sae_weights.safetensors"
    weights = load_file(path)
    norms = weights["W_dec"].norm(dim=1)
    weights["W_dec"] = weights["W_dec"] / norms[:, None]
    weights["W_enc"] = weights["W_enc"] * norms
    save_file(weights, path)
    with pytest.raises(ValueError, match=r"norm 1 on average and had 1.33 .* folded or rescaled"):
        SAE.load_from_disk(tmp_path)


@pytest.mark.parametrize("compared", ["roots", "squares"])
def test_it_is_saved_and_loaded_in_the_format_of_sae_lens(tmp_path, compared):
    sae = small(compared=compared)
    sae.save_model(tmp_path)
    again = SAE.load_from_disk(tmp_path)
    assert isinstance(again, TopAFASAE) and again.cfg.compared == compared
    assert json.loads((tmp_path / "cfg.json").read_text())["architecture"] == "top_afa"
    x = torch.randn(50, 2) * 5
    assert torch.equal(again.encode(x), sae.encode(x))
    half = SAE.load_from_disk(tmp_path, dtype="float16")
    assert half.encode(x.half()).dtype == torch.float16
    register()  # a second time does nothing


def test_what_is_trained_is_what_is_saved(tmp_path):
    torch.manual_seed(1)
    settings = TopAFATrainingSAEConfig(d_in=6, d_sae=20, compared="squares")
    sae = TrainingSAE.from_dict(settings.to_dict())
    x = torch.randn(40, 6)
    with torch.no_grad():
        sae.W_dec.mul_(3 * torch.rand(20, 1) + 1)
        codes = sae.encode(x)
        sae.save_inference_model(tmp_path)
        again = SAE.load_from_disk(tmp_path)
        assert isinstance(again, TopAFASAE)
        assert torch.equal(again.encode(x), codes)
        assert torch.equal(again(x), sae(x))
    assert again.cfg.metadata.training_architecture_details["afa_coefficient"] == 1 / 16


def test_scaling_of_activations_is_folded_without_another_choice_of_latents():
    """What sae_lens does at the end of a training on activations of another unit."""
    torch.manual_seed(2)
    sae = TopAFATrainingSAE(TopAFATrainingSAEConfig(d_in=6, d_sae=20))
    x = torch.randn(40, 6)
    with torch.no_grad():
        codes = sae.encode(4 * x)
        recons = sae.decode(codes) / 4
        sae.fold_activation_norm_scaling_factor(4.0)
        torch.testing.assert_close(sae.encode(x), codes)
        torch.testing.assert_close(sae(x), recons)


@pytest.fixture(scope="module")
def with_top_afa(folders, tmp_path_factory):
    """The tiny Llama with a top-AFA SAE at its first block, from a folder."""
    torch.manual_seed(3)
    sae = TopAFASAE(TopAFASAEConfig(d_in=D_MODEL, d_sae=D_SAE))
    sae.cfg.metadata.hook_name = HOOK
    with torch.no_grad():
        sae.W_enc.copy_(sae.W_dec.T)
    folder = tmp_path_factory.mktemp("saes") / "top-afa"
    sae.save_model(folder)
    return load_subject(folders["llama"], sae=folder)


def test_a_subject_with_it_is_loaded_measured_and_certified(with_top_afa, corpora):
    from saecert import certify

    subject = with_top_afa
    assert isinstance(subject.sae_at(HOOK), TopAFASAE)
    options = {"discovery": corpora["discovery"].take(8), "progress": False}
    losses = collect(subject, corpora["certification"].take(8), allow_bad_sae=True, **options)
    per_token = losses.l0[:, 1:]
    assert per_token.min() >= 1 and per_token.std() > 0
    assert certify(losses).bound > 0
    atoms, bias = atoms_of(subject.sae_at(HOOK))
    assert atoms.shape == (D_SAE, D_MODEL) and bias.shape == (D_MODEL,)


def test_a_pool_of_all_latents_is_the_sae(with_top_afa, corpora):
    everything = pool(np.arange(D_SAE), D_SAE)
    sample = corpora["certification"].take(4)
    both = {HOOK: [full(), replace(everything, name="all")]}
    record = sweep(with_top_afa, sample, both, alphas=(0.5,), progress=False)
    raw = record[HOOK].raw
    torch.testing.assert_close(
        torch.from_numpy(raw["all"]), torch.from_numpy(raw["full"]), rtol=1e-5, atol=1e-6
    )


def test_a_training_sae_given_as_it_is_is_measured_as_it_would_be_saved(folders):
    sae = TopAFATrainingSAE(TopAFATrainingSAEConfig(d_in=D_MODEL, d_sae=D_SAE))
    sae.cfg.metadata.hook_name = HOOK
    subject = load_subject(folders["llama"], sae=sae)
    assert isinstance(subject.sae_at(HOOK), TopAFASAE)

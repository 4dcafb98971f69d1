"""Training an SAE: its sparsity, resumption to the same weights, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sae_lens import SAE, SAETrainer

from saecert.training import architectures
from saecert.training import sae as sae_training
from saecert.training.architectures import set_threshold
from saecert.training.recipes import SAERecipe
from saecert.training.sae import price_of, train_sae

HOOK = "blocks.2.hook_resid_post"
RECIPE = SAERecipe(n_samples=102_400, learning_rate=1e-3, l0=4, batch_size=256, seed=2)


@pytest.fixture(scope="module")
def acts():
    """Sparse combinations of forty directions in sixteen dimensions."""
    rng = np.random.default_rng(0)
    codes = rng.exponential(size=(30_000, 40)) * (rng.random((30_000, 40)) < 0.1)
    return (codes @ rng.normal(size=(40, 16)) + 1).astype(np.float16)


def test_sae_is_saved_at_its_target_sparsity(acts, tmp_path):
    recipe = replace(RECIPE, n_samples=204_800)
    folder = train_sae(acts, acts[:6_000], recipe, tmp_path / "sae", hook_name=HOOK)
    sae = SAE.load_from_disk(folder, dtype="float32")
    assert sae.cfg.architecture() == "jumprelu" and sae.cfg.metadata.hook_name == HOOK
    assert sae.cfg.d_sae == 128
    x = torch.from_numpy(acts[6_000:].astype(np.float32))
    assert (sae.encode(x) > 0).float().sum(-1).mean().item() == pytest.approx(4, abs=0.2)
    assert ((x - sae(x)).square().sum() / (x - x.mean(0)).square().sum()).item() < 0.6
    assert [path.name for path in tmp_path.iterdir()] == ["sae"]


def test_a_killed_training_goes_on_to_the_same_weights(acts, tmp_path, monkeypatch):
    straight = train_sae(acts, acts[:2_000], RECIPE, tmp_path / "straight")
    steps = []
    step = SAETrainer.step

    def killed(trainer, batch):
        steps.append(1)
        if len(steps) == 250:
            raise KeyboardInterrupt
        return step(trainer, batch)

    monkeypatch.setattr(SAETrainer, "step", killed)
    work = tmp_path / "work"
    with pytest.raises(KeyboardInterrupt):
        train_sae(acts, acts[:2_000], RECIPE, tmp_path / "killed", checkpoints=work)
    assert len(list(work.iterdir())) == 1, "one state is kept"
    train_sae(acts, acts[:2_000], RECIPE, tmp_path / "killed", checkpoints=work)
    assert 400 < len(steps) < 450, "at most a twentieth of the training is done again"
    first, second = (
        SAE.load_from_disk(folder).state_dict() for folder in (straight, tmp_path / "killed")
    )
    for name, weights in first.items():
        assert torch.equal(weights, second[name]), name
    assert not work.exists()
    n_steps = len(steps)
    train_sae(acts, acts[:2_000], RECIPE, tmp_path / "killed", checkpoints=work)
    assert len(steps) == n_steps, "what is there is kept"


def test_a_state_of_another_recipe_is_not_taken(acts, tmp_path, monkeypatch):
    recipe = replace(RECIPE, n_samples=12_800, checkpoints=4)
    stop = pytest.MonkeyPatch()
    stop.setattr(sae_training, "finished", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train_sae(acts, acts, recipe, tmp_path / "a", checkpoints=tmp_path / "work")
    stop.undo()
    other = replace(recipe, l0=6)
    train_sae(acts, acts[:2_000], other, tmp_path / "b", checkpoints=tmp_path / "work")
    train_sae(acts, acts[:2_000], other, tmp_path / "c")
    first, second = (SAE.load_from_disk(tmp_path / name).state_dict() for name in ("b", "c"))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("kind", ["topk", "top_afa"])
def test_other_kinds_are_saved_as_themselves_and_resumed(acts, tmp_path, kind):
    recipe = replace(RECIPE, architecture=kind, n_samples=51_200, afa_coefficient=0.02)
    folder = train_sae(acts, acts[:2_000], recipe, tmp_path / "sae", hook_name=HOOK)
    sae = SAE.load_from_disk(folder, dtype="float32")
    assert sae.cfg.architecture() == kind and sae.cfg.metadata.hook_name == HOOK
    x = torch.from_numpy(acts[6_000:9_000].astype(np.float32))
    per_token = (sae.encode(x) > 0).sum(-1)
    if kind == "topk":
        assert per_token.max() <= 4
    else:
        assert per_token.float().std() > 0 and not sae.b_enc.any()
    assert ((x - sae(x)).square().sum() / (x - x.mean(0)).square().sum()).item() < 0.9
    # settings of another kind do not matter to it
    assert sae.cfg.metadata.training_architecture_details.get("afa_coefficient") == (
        0.02 if kind == "top_afa" else None
    )


def test_lambda_says_how_much_norms_may_disagree(acts, tmp_path):
    x = torch.from_numpy(acts[6_000:9_000].astype(np.float32))
    apart = []
    for weight in (0.0, 1.0):
        recipe = replace(
            RECIPE,
            architecture="top_afa",
            n_samples=51_200,
            afa_coefficient=weight,
            afa_loss_norm="centred",
        )
        sae = SAE.load_from_disk(
            train_sae(acts, acts[:2_000], recipe, tmp_path / f"{weight}"), dtype="float32"
        )
        scaled = (sae.encode(x) * sae.W_dec.norm(dim=-1)).norm(dim=-1)
        apart.append((scaled - (x - sae.b_dec).norm(dim=-1)).abs().mean().item())
    assert apart[1] < apart[0]


@torch.no_grad()
def test_a_price_of_activity_is_paid_and_known(acts, tmp_path):
    """At the end of training a latent that could be scaled up or down is worth its price: in the
    units of the activations, E[z_j d_j'r] = lambda E[z_j], summed over latents."""
    x = torch.from_numpy(acts[6_000:9_000].astype(np.float32))
    active = []
    for coefficient in (1.0, 4.0):
        recipe = replace(
            RECIPE, architecture="standard", n_samples=256_000, l1_coefficient=coefficient
        )
        with torch.enable_grad():
            folder = train_sae(
                acts, acts[:500], recipe, tmp_path / f"{coefficient}", hook_name=HOOK
            )
        sae = SAE.load_from_disk(folder, dtype="float32")
        assert sae.cfg.architecture() == "standard" and sae.cfg.metadata.hook_name == HOOK
        codes = sae.encode(x) * sae.W_dec.norm(dim=1)
        atoms = torch.nn.functional.normalize(sae.W_dec, dim=1)
        pull = (x - sae.b_dec - codes @ atoms) @ atoms.T
        implied = float((codes * pull).sum() / codes.sum())
        assert implied == pytest.approx(price_of(acts, recipe), rel=0.15)
        active.append(float((codes > 0).sum()) / len(x))
    assert active[1] < active[0]


def test_what_others_have_no_price_of(acts):
    with pytest.raises(ValueError, match="an SAE of the kind 'batchtopk' has no price"):
        price_of(acts, RECIPE)


def test_threshold_is_the_same_in_any_number_of_parts(acts, tmp_path, monkeypatch):
    folder = train_sae(acts, acts[:500], replace(RECIPE, n_samples=5_120), tmp_path / "sae")
    sae = SAE.load_from_disk(folder, dtype="float32")
    x = torch.from_numpy(acts[:3_000].astype(np.float32))
    set_threshold(sae, x, 4)
    whole = sae.threshold.clone()
    monkeypatch.setattr(architectures, "CALIBRATION_BATCH", 70)
    set_threshold(sae, x, 4)
    torch.testing.assert_close(sae.threshold, whole)
    assert (sae.encode(x) > 0).sum().item() == pytest.approx(12_000, abs=2)


def test_what_cannot_be_trained(acts, tmp_path):
    with pytest.raises(ValueError, match="l0=200 asked of an SAE of 128 latents"):
        train_sae(acts, acts, replace(RECIPE, l0=200), tmp_path / "sae")
    with pytest.raises(ValueError, match="100 activations do not fill a batch of 256"):
        train_sae(acts[:100], acts, RECIPE, tmp_path / "sae")
    for change, said in [
        ({"l0": 0}, "l0 must be at least 1, got 0"),
        ({"n_samples": 100}, "100 samples are less than one batch of 256"),
        (
            {"architecture": "vanilla"},
            "architecture is one of batchtopk, topk, top_afa, jumprelu, standard, got",
        ),
        ({"afa_coefficient": -1.0}, "afa_coefficient must be 0 or more, got -1.0"),
        ({"l1_coefficient": 0.0}, "l1_coefficient must be above 0, got 0.0"),
        ({"learning_rate": 2.0}, r"learning_rate must lie in \(0, 1\), got 2.0"),
    ]:
        with pytest.raises(ValueError, match=said):
            replace(RECIPE, **change)
    assert not (tmp_path / "sae").exists()

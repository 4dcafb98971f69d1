"""Random baselines: what is held stays, where they start, and the same weights side by side."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sae_lens import SAE

from saecert.training.activations import shuffled_batches
from saecert.training.baselines import cosines, covariance_root, within_cosine
from saecert.training.recipes import SAERecipe
from saecert.training.sae import new_trainer, train_sae
from saecert.training.side_by_side import SideBySide, train_side_by_side

RECIPE = SAERecipe(
    n_samples=6_400,
    learning_rate=5e-3,
    l0=4,
    batch_size=128,
    warm_up_steps=5,
    expansion=4,
    seed=3,
    start="isotropic",
    n_calibration=2_000,
)
KINDS = ("batchtopk", "topk", "jumprelu")


@pytest.fixture(scope="module")
def acts():
    """Sparse combinations of forty directions in twelve dimensions, of unlike variance."""
    rng = np.random.default_rng(0)
    codes = rng.exponential(size=(20_000, 40)) * (rng.random((20_000, 40)) < 0.1)
    directions = rng.normal(size=(40, 12)) * np.linspace(0.3, 2.0, 12)
    return (codes @ directions + 1).astype(np.float16)


def steps(acts, recipe, n=40):
    """The trainer after each of `n` steps, its start first."""
    trainer = new_trainer(acts, recipe)
    trainer.activation_scaler.scaling_factor = 1.0
    yield trainer
    batches = shuffled_batches(acts, recipe.batch_size, recipe.order_seed)
    for _ in range(n):
        trainer.step(next(batches))
        trainer.n_training_steps += 1
        yield trainer


@pytest.mark.parametrize("architecture", KINDS)
@pytest.mark.parametrize("start", ["", "isotropic", "covariance"])
def test_a_frozen_part_is_unmoved_bit_for_bit_and_the_rest_learns(acts, architecture, start):
    for frozen, held in (("decoder", "W_dec"), ("encoder", "W_enc")):
        recipe = replace(RECIPE, architecture=architecture, start=start, frozen=frozen)
        twin = new_trainer(acts, replace(recipe, frozen="")).sae.state_dict()
        every = steps(acts, recipe)
        first = {name: x.clone() for name, x in next(every).sae.state_dict().items()}
        assert all(torch.equal(first[name], twin[name]) for name in twin), "as its twin starts"
        for trainer in every:
            assert torch.equal(getattr(trainer.sae, held), first[held])
        moved = {
            name for name, x in trainer.sae.state_dict().items() if not torch.equal(x, first[name])
        }
        others = {"W_dec", "W_enc", "b_enc", "b_dec"} - {held}
        assert others <= moved and held not in moved
        if architecture == "jumprelu":
            assert "threshold" in moved


@pytest.mark.parametrize("architecture", KINDS)
@pytest.mark.parametrize("least", [0.8, 0.95])
def test_rows_of_a_soft_decoder_never_leave_their_cone(acts, architecture, least):
    held = {"frozen": "soft-decoder", "soft_cosine": least}
    recipe = replace(RECIPE, architecture=architecture, learning_rate=0.05, **held)
    every = steps(acts, recipe)
    start = next(every).sae.W_dec.detach().clone()
    lowest = [
        cosines(trainer.sae.W_dec.detach().double(), start.double()).min() for trainer in every
    ]
    assert min(lowest) >= least - 1e-6
    assert min(lowest) == pytest.approx(least, abs=1e-6), "some row came to the edge"
    *_, free = steps(acts, replace(recipe, frozen=""))
    assert cosines(free.sae.W_dec.detach(), start).min() < least, "unheld it would have left"


def test_rows_are_turned_to_the_nearest_direction_allowed():
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(200, 5, generator=generator, dtype=torch.float64)
    rows = torch.randn(200, 5, generator=generator, dtype=torch.float64)
    rows[0] = -3 * start[0]
    rows[1] = 0
    turned = within_cosine(rows, start, 0.8)
    torch.testing.assert_close(turned.norm(dim=1), rows.norm(dim=1))
    torch.testing.assert_close(turned[0], start[0] * 3)
    inside = cosines(rows, start) >= 0.8
    assert torch.equal(turned[inside], rows[inside]) and 0 < inside.sum() < 150
    outside = ~inside
    outside[:2] = False
    assert cosines(turned, start)[outside].sub(0.8).abs().max() < 1e-12
    # no direction of the cone is nearer: 0.8 away from the start, angles add up
    before = cosines(rows, start)[outside].acos()
    apart = cosines(turned, rows)[outside].acos()
    torch.testing.assert_close(apart, before - torch.tensor(0.8, dtype=torch.float64).acos())


def test_a_covariance_start_has_the_covariance_of_the_activations(acts):
    recipe = replace(RECIPE, start="covariance", expansion=400)
    rows = new_trainer(acts, recipe).sae.W_dec.detach().double()
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(len(rows), dtype=torch.float64))
    root = covariance_root(acts)
    sample = np.cov(acts.astype(np.float64).T, bias=True)
    np.testing.assert_allclose((root @ root).numpy(), sample, rtol=1e-6, atol=1e-8)
    # a Gaussian row with this covariance is a uniform direction once whitened
    white = torch.nn.functional.normalize(rows @ torch.linalg.inv(root), dim=1)
    moments = white.T @ white / len(white)
    chance = 5 / len(rows) ** 0.5
    assert (moments - torch.eye(12) / 12).abs().max() < chance / 12 * 2**0.5
    isotropic = new_trainer(acts, replace(recipe, start="isotropic")).sae.W_dec.detach().double()
    other = torch.nn.functional.normalize(isotropic @ torch.linalg.inv(root), dim=1)
    assert (other.T @ other / len(other) - torch.eye(12) / 12).abs().max() > 10 * chance / 12
    assert (isotropic.T @ isotropic / len(rows) - torch.eye(12) / 12).abs().max() < chance / 6


def test_thresholds_of_jumprelu_start_and_end_at_the_number_of_latents_asked(acts, tmp_path):
    recipe = replace(RECIPE, architecture="jumprelu")
    sae = new_trainer(acts, recipe).sae
    x = torch.from_numpy(acts[:2_000].astype(np.float32))
    scaled = x * 12**0.5 / x.norm(dim=1).mean()
    with torch.no_grad():
        assert (sae.encode(scaled) > 0).sum(1).float().mean() == pytest.approx(4, abs=0.5)
    folder = train_sae(acts, acts[:2_000], recipe, tmp_path / "sae")
    sae = SAE.load_from_disk(folder, dtype="float32")
    assert sae.cfg.architecture() == "jumprelu"
    assert (sae.encode(x) > 0).sum(1).float().mean() == pytest.approx(4, abs=0.05)
    assert sae.threshold.std() > 0, "each latent has its own"


@pytest.fixture
def recipes():
    made = {kind: replace(RECIPE, architecture=kind) for kind in KINDS}
    for frozen in ("decoder", "soft-decoder", "encoder"):
        made[frozen] = replace(RECIPE, frozen=frozen, start="covariance")
    made["as before"] = replace(RECIPE, start="", l0=6)
    return made


def weights(folder):
    return SAE.load_from_disk(folder).state_dict()


def test_side_by_side_each_ends_with_the_weights_it_has_alone(acts, recipes, tmp_path):
    plan = SideBySide(tmp_path / "together", recipes, {"topk": (0, 20, 50)})
    places = train_side_by_side(acts, acts[:2_000], plan, progress=False)
    for name, recipe in recipes.items():
        alone = weights(train_sae(acts, acts[:2_000], recipe, tmp_path / name))
        together = weights(places[name])
        assert together.keys() == alone.keys()
        assert all(torch.equal(together[key], alone[key]) for key in alone), name
    assert all(
        torch.equal(x, weights(plan.place("topk", 50))[key])
        for key, x in weights(plan.place("topk")).items()
    ), "a look at the end is the end"
    start = new_trainer(acts, recipes["topk"]).start
    seen = [weights(plan.place("topk", step))["W_dec"].float() for step in (0, 20, 50)]
    lowest = [cosines(rows, start).min().item() for rows in seen]
    assert lowest[0] == pytest.approx(1, abs=1e-5) and lowest[0] > lowest[1] > lowest[2]


def test_a_killed_run_goes_on_to_the_same_weights(acts, recipes, tmp_path, monkeypatch):
    data = (acts, acts[:2_000])
    straight = SideBySide(tmp_path / "straight", recipes, {})
    train_side_by_side(*data, straight, progress=False)
    plan = SideBySide(tmp_path / "killed", recipes, {"topk": (30,)})
    count = []
    step = new_trainer(acts, RECIPE).__class__.step

    def killed(trainer, batch):
        count.append(1)
        if len(count) == 25 * len(recipes):
            raise KeyboardInterrupt
        return step(trainer, batch)

    monkeypatch.setattr("saecert.training.baselines.BaselineTrainer.step", killed)
    work = tmp_path / "work"
    with pytest.raises(KeyboardInterrupt):
        train_side_by_side(*data, plan, checkpoints=work, progress=False)
    assert len(list(work.iterdir())) == 1
    places = train_side_by_side(*data, plan, checkpoints=work, progress=False)
    assert 50 * len(recipes) < len(count) < 55 * len(recipes), "little is done again"
    for name, folder in places.items():
        expected = weights(straight.place(name))
        assert all(torch.equal(x, expected[key]) for key, x in weights(folder).items()), name
    assert not work.exists()
    n_steps = len(count)
    train_side_by_side(*data, plan, checkpoints=work, progress=False)
    assert len(count) == n_steps, "what is there is kept"


def test_what_cannot_be_a_baseline(acts, tmp_path):
    for change, said in [
        ({"frozen": "bias"}, "frozen is one of '', decoder, soft-decoder, encoder, got 'bias'"),
        ({"start": "zero"}, "start is one of '', isotropic, covariance, got 'zero'"),
        ({"soft_cosine": 1.0}, r"must lie in \(0, 1\), got 1.0"),
        ({"soft_cosine": 0.0}, r"must lie in \(0, 1\), got 0.0"),
    ]:
        with pytest.raises(ValueError, match=said):
            replace(RECIPE, **change)
    few = replace(RECIPE, start="covariance", batch_size=8, n_samples=8)
    with pytest.raises(ValueError, match="at least, got 11 of 12 dimensions: cache more tokens"):
        train_sae(acts[:11], acts, few, tmp_path / "sae")
    assert not (tmp_path / "sae").exists()


def test_what_cannot_be_trained_side_by_side(tmp_path):
    two = {"a": RECIPE, "b": replace(RECIPE, order_seed=1)}
    for recipes, looks, said in [
        ({}, {}, "no recipe"),
        (two, {}, "see the same batches: give one order_seed"),
        ({"a": RECIPE}, {"b": (0,)}, "looks are numbers of steps from 0 to 50"),
        ({"a": RECIPE}, {"a": (51,)}, "looks are numbers of steps from 0 to 50"),
    ]:
        with pytest.raises(ValueError, match=said):
            SideBySide(tmp_path, recipes, looks)

"""SAEs trained on small worlds: what they recover, what is measured of them, what is refused."""

import numpy as np
import pytest
import torch

from saecert.dictionaries.counted import counts_of, errors_from
from saecert.dictionaries.recovery import largest_cosines
from saecert.reporting import recovery
from saecert.training.recovered import recovery_row
from saecert.training.synthetic import new_world
from saecert.training.synthetic_saes import SyntheticRecipe, train_on

EASY = {"n_features": 24, "d_in": 16, "l0": 2}
"""Few features, hardly more than dimensions: an SAE that learns at all finds most of them."""
TRAINING = {"n_samples": 40_000, "learning_rate": 5e-3, "batch_size": 64}
MEASURED = {"threshold": 0.8, "n_test": 2_000, "n_fresh": 500, "seed": 0}
WORLD = new_world("constant", n_features=24, d_in=16, n_active=2, seed=0)


def recipe(**changes):
    settings = {"architecture": "topk", "d_sae": 24, "l0": 2, **TRAINING, **changes}
    return SyntheticRecipe(**settings)


@pytest.fixture(scope="module")
def rows():
    """A row of each kind, on the easy world."""
    import pandas as pd

    made = []
    for kind in recovery.LABELS:
        own = {"world": "constant", "architecture": kind, "d_sae": 24, **EASY}
        (row,) = recovery_row(**own, **TRAINING, **MEASURED)
        made.append(own | row)
    return pd.DataFrame(made)


def test_every_kind_finds_the_features_of_an_easy_world(rows):
    found = rows.set_index("architecture")
    assert (found["explained_variance"] > 0.6).all()
    assert (found["recovered"] >= 12).all()
    assert found.loc["topk", "recovered"] >= 18
    assert (found["fresh"] < 100).all()
    assert found.loc["true decoder", "recovered"] == 24
    assert found.loc["true decoder", "mcc"] == pytest.approx(1, abs=1e-5)
    one_threshold = found.loc[["topk", "true decoder"], "l0"]
    assert (one_threshold <= 2).all()
    assert (found["l0"] - 2).abs().max() < 0.4
    assert (found["true_l0"] - 2).abs().max() < 0.2


def test_kept_counts_are_of_all_features_and_samples(rows):
    for _, row in rows.iterrows():
        errors = errors_from(counts_of(row["errors"]))
        assert len(errors) == 2_000
        assert counts_of(row["cosines"]).sum() == 24
        assert counts_of(row["features"]).sum() == 24
        assert counts_of(row["recovered_features"]).sum() == row["recovered"]


def test_the_same_seed_trains_the_same_sae(rows):
    own = {"world": "constant", "architecture": "batchtopk", "d_sae": 24, **EASY}
    (again,) = recovery_row(**own, **TRAINING, **MEASURED)
    before = rows.set_index("architecture").loc["batchtopk"]
    for name in ("recovered", "cosines", "errors"):
        assert str(again[name]) == str(before[name])


def test_a_true_decoder_stays_as_it_is_and_its_encoder_learns():
    trained = train_on(WORLD, recipe(architecture="true decoder"))
    unit = torch.nn.functional.normalize(trained.sae.W_dec.detach(), dim=1)
    assert torch.allclose(unit, torch.from_numpy(WORLD.features), atol=1e-5)
    cosines = largest_cosines(trained.sae.W_enc.detach().numpy().T, WORLD.features)
    assert cosines.min() < 0.999
    assert trained.cpu_seconds > 0


def test_an_sae_that_starts_at_the_features_may_leave_them():
    one_step = recipe(architecture="true start", n_samples=64, learning_rate=1e-4)
    begun = train_on(WORLD, one_step).sae.W_dec.detach().numpy()
    ended = train_on(WORLD, recipe(architecture="true start")).sae.W_dec.detach().numpy()
    assert largest_cosines(begun, WORLD.features).min() > 0.9999
    assert largest_cosines(ended, WORLD.features).min() < 0.9999
    assert (largest_cosines(ended, WORLD.features) > 0.8).sum() >= 18


def test_a_silent_sae_has_error_one_and_recovers_by_its_rows_alone():
    from saecert.training.recovered import of_samples

    trained = train_on(WORLD, recipe(n_samples=640))
    with torch.no_grad():
        trained.sae.b_enc.fill_(-1e6)
        trained.sae.b_dec.zero_()
    row = of_samples(trained.sae, WORLD, 1_000, 9)
    assert row["l0"] == 0
    assert row["silent"] == 1
    assert errors_from(counts_of(row["errors"])).min() == 1
    assert row["explained_variance"] < 0


@pytest.mark.parametrize("name", ["constant", "hierarchy"])
def test_activations_alone_are_those_of_the_samples(name):
    world = new_world(name, n_features=200, d_in=16, n_active=2, seed=0)
    alone = list(world.acts(150, 64, 3))
    together = [acts for acts, _ in world.samples(150, 64, 3)]
    assert [len(acts) for acts in alone] == [64, 64, 22]
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"architecture": "vanilla"}, "architecture is one of"),
        ({"l0": 25}, "l0=25 asked of an SAE of 24 latents"),
        ({"l0": 0}, "l0=0"),
        ({"learning_rate": 2.0}, "learning_rate"),
        ({"batch_size": 50_000}, "batch_size"),
    ],
)
def test_recipes_that_are_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        recipe(**changes)


@pytest.mark.parametrize("kind", ["true decoder", "true start"])
def test_a_true_decoder_of_another_width_is_refused(kind):
    with pytest.raises(ValueError, match="24 rows, the SAE 30 latents"):
        train_on(WORLD, recipe(architecture=kind, d_sae=30))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"d_sae": 20}, "20 latents cannot recover 24 features"),
        ({"threshold": 1.0}, "cosine in"),
        ({"world": "flat"}, "world is one of"),
    ],
)
def test_rows_that_are_refused_before_training(changes, said, monkeypatch):
    from saecert.training import synthetic_saes

    monkeypatch.setattr(synthetic_saes, "train_on", None)
    own = {"world": "constant", "architecture": "topk", "d_sae": 24, **EASY}
    with pytest.raises(ValueError, match=said):
        recovery_row(**{**own, **TRAINING, **MEASURED, **changes})


def test_limits_enclose_means_and_labels_are_those_of_the_page(rows):
    limits = recovery.splice_limits(rows, 0.05, "dirichlet")
    assert (limits["lower"] < limits["mean"]).all()
    assert (limits["mean"] < limits["upper"]).all()
    assert limits["kind"].tolist() == list(recovery.LABELS.values())
    values = np.array([errors_from(counts_of(text)).mean() for text in rows["errors"]])
    assert (limits["upper"] > values).all()

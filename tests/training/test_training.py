"""The recipe of the shipped subject: what it says, and that its model learns and resumes."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import make_texts

from saecert.subjects.listing import SHIPPED
from saecert.training import language_model
from saecert.training.card import card_text
from saecert.training.recipes import DOCSTRING_6L

SMALL = replace(DOCSTRING_6L.language_model, n_tokens=6_000, batch_size=8, checkpoint_steps=2)


@pytest.fixture
def small(monkeypatch):
    """The real code on generated text, a few hundred windows of it."""
    texts = {"train": make_texts(300), "validation": make_texts(40, seed=1)}
    monkeypatch.setattr(language_model, "split_texts", texts.get)


def test_the_recipe_of_the_shipped_subject_stays_what_it_was(shipped):
    saes = DOCSTRING_6L.saes
    assert list(saes) == list(shipped.hook_names)
    schedules = [(sae.n_samples, sae.learning_rate, sae.l0) for sae in saes.values()]
    assert schedules == [(2_000_000, 2e-3, 24)] * 4 + [(8_000_000, 4e-3, 26)] * 2
    assert [sae.seed for sae in saes.values()] == [0, 1, 2, 3, 4, 5]
    assert {(sae.batch_size, sae.dead_steps, sae.expansion) for sae in saes.values()} == {
        (512, 80, 8)
    }
    recipe = DOCSTRING_6L.language_model
    assert (recipe.n_tokens, recipe.learning_rate, recipe.batch_size) == (16_000_000, 3e-3, 32)
    assert shipped.card["training"]["sae_tokens"] == [sae.n_samples for sae in saes.values()]
    assert shipped.card["training"]["tokens_seen"] >= recipe.n_tokens
    assert shipped.model.cfg.d_model == recipe.d_model and shipped.n_layers == recipe.n_layers


def test_training_resumes_and_learns(small, tmp_path, monkeypatch):
    taken = []
    loss = language_model.batch_loss

    def interrupted(model, tokens, lengths):
        taken.append(model.training)
        if len(taken) == 7:
            raise KeyboardInterrupt
        return loss(model, tokens, lengths)

    monkeypatch.setattr(language_model, "batch_loss", interrupted)
    with pytest.raises(KeyboardInterrupt):
        language_model.train(tmp_path / "killed", SMALL)
    language_model.train(tmp_path / "killed", SMALL)
    language_model.train(tmp_path / "straight", SMALL)
    killed, straight = (
        (tmp_path / name / "model/trained.json").read_text() for name in ("killed", "straight")
    )
    assert killed == straight, "the same steps to the same loss"
    assert language_model.json.loads(killed)["validation_bits"] < 11, "untrained: 12 bits"
    before = len(taken)
    language_model.train(tmp_path / "killed", SMALL)
    assert len(taken) == before, "a trained model is not trained again"


def test_the_card_of_the_shipped_subject_is_its_template_filled_in(shipped):
    assert card_text(shipped.card) == (SHIPPED["docstring-6l"] / "README.md").read_text()


def test_batches_are_seeded_and_cover_the_windows():
    recipe = DOCSTRING_6L.language_model
    lengths = np.random.default_rng(0).integers(2, 128, 1000)
    first = np.concatenate(language_model.batches(lengths, 0, recipe))
    assert len(set(first.tolist())) == len(first) > 1000 - recipe.batch_size
    again = np.concatenate(language_model.batches(lengths, 0, recipe))
    np.testing.assert_array_equal(first, again)
    later = np.concatenate(language_model.batches(lengths, 1, recipe))
    assert first.tolist() != later.tolist()
    with pytest.raises(ValueError, match="31 windows do not fill a batch of 32"):
        language_model.batches(lengths[:31], 0, recipe)

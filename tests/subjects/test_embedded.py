"""The shipped subject is what its card says, measured again on a few sequences."""

import json

import pytest

from saecert import load_corpus
from saecert.subjects.listing import SHIPPED
from saecert.training import card as recipe

FOLDER = SHIPPED["docstring-6l"]


@pytest.fixture(scope="module")
def card():
    return json.loads((FOLDER / "card.json").read_text())


@pytest.mark.shared_cache
def test_card_figures_are_recomputed(shipped, card):
    corpus = load_corpus("docstrings", shipped, split="discovery", n_seq=recipe.N_CHECK)
    assert corpus.text_hash == card["corpus"]["text_hash"]
    measured, stated = recipe.check_figures(shipped, corpus), card[f"first_{recipe.N_CHECK}"]
    assert measured["model"] == pytest.approx(stated["model"], abs=0.02)
    for name, tolerance in (("ce_increase", 0.02), ("fvu", 0.005), ("l0", 0.5)):
        for hook, value in stated[name].items():
            assert measured[name][hook] == pytest.approx(value, abs=tolerance), (name, hook)


def test_model_beats_the_bigram_by_a_bit(card):
    bits = card["discovery"]
    assert bits["model"] < bits["bigram"] - 1.0 < bits["unigram"] - 1.0


def test_every_layer_has_a_good_sae(card, shipped):
    assert len(card["saes"]) == shipped.n_layers >= 6
    for hook, found in card["saes"].items():
        assert found["fvu"] <= min(0.12, found["pca_fvu"] / 3), hook
        assert 22 <= found["l0"] <= 26 and found["silent"] < 0.10, hook
        assert found["ce_increase"] < found["pca_ce_increase"], hook


MISSED = pytest.mark.xfail(
    reason="0.245 bits reached: no block after the last layer repairs an error; the card says so"
)


@pytest.mark.parametrize("layer", [0, 1, 2, 3, 4, pytest.param(5, marks=MISSED)])
def test_splicing_in_the_sae_costs_little(card, layer):
    assert card["saes"][f"blocks.{layer}.hook_resid_post"]["ce_increase"] <= 0.2


def test_artefacts_stay_small_and_the_card_is_readable(card):
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) < 20e6
    assert (FOLDER / "README.md").read_text() == recipe.card_text(card)

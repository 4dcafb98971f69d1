"""The card of SAEs: measured as it says, and the shipped ones measured again."""

import json
from dataclasses import replace

import numpy as np
import pytest

from saecert import load_corpus, load_subject
from saecert.__main__ import _parser
from saecert.measurement.survey import survey
from saecert.subjects.listing import SHIPPED, is_installed, package_of, shipped_hooks
from saecert.training import card as docstring_card
from saecert.training import sae_card
from saecert.training.recipes import SMOLLM2

HOOK = "blocks.2.hook_resid_post"
FOLDER = SHIPPED["smollm2-135m"]


@pytest.fixture(scope="module")
def one(shipped):
    return replace(shipped, saes={HOOK: shipped.sae_at(HOOK)})


@pytest.mark.shared_cache
def test_a_card_of_the_shipped_sae(one, tmp_path, monkeypatch):
    monkeypatch.setattr(sae_card, "N_CARD", 30)
    discovery = load_corpus("docstrings", one, split="discovery")
    facts = {"tokens_cached": 5, "source": "docstrings", "tokens_in_source": 9}
    recipe = {"n_samples": 7, "batch_size": 2, "learning_rate": 0.1, "l0": 3, "expansion": 8}
    (tmp_path / "training.json").write_text(json.dumps(facts | {"recipe": recipe}))
    card = sae_card.write_sae_card(one, discovery, tmp_path, progress=False)
    assert json.loads((tmp_path / "card.json").read_text()) == card
    text = (tmp_path / "README.md").read_text()
    assert text == sae_card.card_text(card)
    assert "on 30 discovery sequences" in text and "**Training.** 5 tokens of docstrings" in text
    assert f"| {HOOK} | {card['saes'][HOOK]['explained_variance']['all']:.3f} / " in text
    again = sae_card.sae_figures(one, sae_card.first(discovery), progress=False)
    assert again == card["first_12"]


@pytest.mark.shared_cache
def test_its_figures_are_those_of_the_survey_and_of_the_other_card(one):
    corpus = load_corpus("docstrings", one, split="discovery", n_seq=40)
    figures = sae_card.sae_figures(one, corpus, progress=False)[HOOK]
    surveyed = survey(one, corpus, HOOK, progress=False)
    assert figures["n_tokens"] == 40 * (corpus.n_ctx - 1)
    assert figures["explained_variance"]["all"] == pytest.approx(1 - surveyed.fvu, abs=1e-4)
    variances = surveyed.variances
    dense = float(variances[: sae_card.N_COMPONENTS].sum() / variances.sum())
    assert figures["pca_explained_variance"]["all"] == pytest.approx(dense, abs=1e-4)
    assert figures["l0"] == pytest.approx(surveyed.l0, abs=1e-6)
    assert figures["silent"] == pytest.approx(surveyed.silent, abs=1e-6)
    other = docstring_card.check_figures(one, corpus)
    assert figures["ce"] == pytest.approx(other["model"], abs=1e-4)
    assert figures["ce_increase"] == pytest.approx(other["ce_increase"][HOOK], abs=1e-4)
    assert figures["ce_increase"] < figures["pca_ce_increase"]


def test_the_command_of_the_recipe_trains_by_the_recipe():
    options = _parser().parse_args(SMOLLM2.command("out"))
    assert (options.subject, tuple(options.hooks)) == (SMOLLM2.subject, SMOLLM2.hook_names)
    assert (options.corpus, options.tokens) == (SMOLLM2.source, SMOLLM2.n_cached)
    for name in ("l0", "expansion", "batch_size", "learning_rate"):
        assert getattr(options, name) == getattr(SMOLLM2.sae, name)
    assert options.samples == SMOLLM2.sae.n_samples and options.dtype == "bfloat16"


@pytest.fixture
def card():
    path = FOLDER / "card.json"
    if not path.exists():
        pytest.skip("smollm2-135m has no SAEs yet")
    return json.loads(path.read_text())


def test_the_card_of_the_public_model_is_of_its_recipe(card):
    assert shipped_hooks("smollm2-135m") == SMOLLM2.hook_names == tuple(card["saes"])
    assert card["model_sha256"] == package_of("smollm2-135m")["fingerprint"]
    training = card["training"]
    assert training["tokens_cached"] == SMOLLM2.n_cached and training["bos_left_out"]
    for name, value in training["recipe"].items():
        assert value == getattr(SMOLLM2.sae, name), name
    assert (FOLDER / "README.md").read_text() == sae_card.card_text(card)
    for hook, figures in card["saes"].items():
        explained = figures["explained_variance"]["without_outliers"]
        assert explained > figures["pca_explained_variance"]["without_outliers"], hook
        assert figures["ce_increase"] < figures["pca_ce_increase"], hook
    files = [path for path in FOLDER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 45e6


@pytest.mark.shared_cache
@pytest.mark.skipif(
    not is_installed("smollm2-135m"),
    reason="the model of smollm2-135m is not installed: make smollm2",
)
def test_the_card_of_the_public_model_is_recomputed(card):
    subject = load_subject("smollm2-135m")
    discovery = load_corpus("docstrings", subject, split="discovery")
    measured = sae_card.sae_figures(subject, sae_card.first(discovery), progress=False)
    for hook, stated in card[f"first_{sae_card.N_AGAIN}"].items():
        for name, tolerance in (("ce", 0.02), ("ce_increase", 0.02), ("l0", 0.5)):
            assert measured[hook][name] == pytest.approx(stated[name], abs=tolerance), (hook, name)
        for which, value in stated["explained_variance"].items():
            found = measured[hook]["explained_variance"][which]
            np.testing.assert_allclose(found, value, atol=0.005)

"""What a certificate means in words: its limits, rounded outwards, and what is left open."""

from dataclasses import replace

import pytest
from synthetic_losses import make_losses, random_losses

from saecert import certify
from saecert.certificates.meaning import meaning
from saecert.statistics.rounding import upper_text


def test_every_limit_in_the_sentences_is_one_of_the_certificate():
    c = certify(random_losses())
    words = meaning(c)
    said = " ".join(words.says)
    assert f"at most {upper_text(c.sharp)} bits per token each" in said
    assert f"costs at most {upper_text(c.price)} bits" in said
    assert f"without any SAE loses at most {upper_text(c.direct)} bits" in said
    assert f"only {c.k} of the {c.d_sae} latents" in said
    assert "population (made up)" in said
    assert all(len(line) <= 72 for line in str(words).splitlines())


def test_a_vacuous_certificate_is_called_so():
    words = " ".join(meaning(certify(make_losses([12.5, 12.6, 12.4], pools={8: [12.5] * 3}), pool=8,
                                     eps=())).says)  # fmt: skip
    assert "It is vacuous" in words and "That is better than" not in words


@pytest.mark.parametrize(("own", "hopeless"), [(11.9, False), (12.5, True)])
def test_no_remedy_is_offered_where_the_model_itself_only_guesses(own, hopeless):
    losses = make_losses([own] * 3, pools={8: [12.5] * 3})
    c = certify(losses, pool=8, eps=())
    said = " ".join(meaning(c).says)
    assert not c.non_vacuous
    assert ("no less than guessing" in said) == (own >= c.uniform) == hopeless
    assert ("a better SAE" in said) != hopeless


def test_how_many_statements_may_be_wrong_is_said():
    few = certify(random_losses(), delta=0.001)
    assert any(
        "any of them is wrong has a chance of at most" in x for x in meaning(few).leaves_open
    )
    many = certify(random_losses(), delta=0.4)
    assert any("at once is not said" in text for text in meaning(many).leaves_open)


@pytest.mark.parametrize("settings", [{}, {"population_size": 500, "inequality": "betting"}])
def test_independence_is_asked_for_unless_a_list_is_meant(settings):
    open_points = " ".join(meaning(certify(random_losses(), **settings)).leaves_open)
    assert ("drawn one independently" in open_points) == (not settings)


def test_a_population_from_anybody_cannot_write_to_the_terminal():
    losses = random_losses()
    losses.provenance["population"] = "a\x1b[2J"
    assert "\x1b" not in str(meaning(certify(losses)))


def test_a_pool_of_all_latents_is_no_third_predictor():
    c = certify(random_losses(), tolerance=1e-9)
    assert c.k == c.d_sae
    said = " ".join(meaning(c).says)
    assert f"all {c.k} latents are kept (no smaller pool met the tolerance)" in said
    assert "only" not in said.partition(". ")[0]


@pytest.mark.parametrize(
    ("facts", "spared"),
    [({"bos": True}, True), ({"bos": True, "bos_replaced": True}, False), ({}, False)],
)
def test_whether_bos_keeps_its_activation_is_said(facts, spared):
    c = certify(random_losses())
    c = replace(c, provenance={**c.provenance, **facts})
    assert ("at every token but BOS," in meaning(c).says[0]) == spared

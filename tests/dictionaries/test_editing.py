"""Swaps of latents between contexts: a world with known latents, and a real model's last block."""

import numpy as np
import pytest
import torch
from conftest import D_MODEL, identity_sae
from scipy import sparse

from saecert.dictionaries import editing
from saecert.dictionaries.editing import (
    Contexts,
    Guide,
    Readout,
    contexts_at,
    edited,
    log_odds,
    paired_positions,
    picked,
    ranking,
    scores,
    swapped,
)
from saecert.subjects.forward import native_acts

LAST = "blocks.2.hook_resid_post"
NONE = np.zeros(0, dtype=np.int64)


class Linear(Readout):
    """A model whose log-odds are the first two coordinates of the activation."""

    def odds(self, contexts, replaced=None):
        return (contexts.at if replaced is None else replaced)[:, :2].astype(np.float64)

    def slopes(self, contexts):
        eye = np.eye(contexts.acts.shape[-1], dtype=np.float32)[:2]
        return np.repeat(eye[None], len(contexts.acts), axis=0)


def world(n_pairs=30, seed=0):
    """Contexts of two tokens whose activations differ in everything, with opposite odds."""
    rng = np.random.default_rng(seed)
    acts = rng.normal(size=(2 * n_pairs, 2, D_MODEL)).astype(np.float32)
    signs = rng.choice([-1, 1], size=(n_pairs, 1, 2)) * np.array([[[1], [-1]]])
    acts[:, 1, :2] = (signs * rng.uniform(1, 3, size=(n_pairs, 2, 2))).reshape(-1, 2)
    tokens = np.zeros((2 * n_pairs, 2), dtype=np.int32)
    return tokens, np.ones(2 * n_pairs, dtype=np.int64), acts


@pytest.fixture
def linear(subject):
    readout = Linear(subject, LAST, np.zeros((2, subject.d_vocab), dtype=bool))
    return readout, contexts_at(readout, *world())


def best_of(readout, sae, contexts, attribute, sizes=(2, 8, 32)):
    """Latents that are picked when all ends of contexts are what is known of them."""
    with torch.no_grad():
        codes = sparse.csr_array(sae.encode(torch.from_numpy(contexts.at)).numpy())
    slopes = readout.slopes(contexts).mean(axis=0).astype(np.float64)
    guide = Guide(np.arange(len(contexts.at)), contexts.odds, slopes)
    order = ranking(sae, codes, guide, attribute)
    return picked(readout, sae, contexts, order, attribute, sizes)


def rotated_sae():
    """An exact SAE whose latents mix both attributes at 45 degrees."""
    sae = identity_sae(LAST)
    turn = torch.eye(D_MODEL)
    half = 0.5**0.5
    turn[:2, :2] = torch.tensor([[half, half], [-half, half]])
    with torch.no_grad():
        sae.W_enc.copy_(turn.T @ sae.W_enc)
        sae.W_dec.copy_(sae.W_dec @ turn)
    return sae


@pytest.mark.parametrize("attribute", [0, 1])
def test_the_latents_of_an_attribute_are_found_and_move_it_alone(linear, attribute):
    readout, contexts = linear
    sae = identity_sae(LAST)
    best = best_of(readout, sae, contexts, attribute)
    assert sorted(best) == [attribute, attribute + D_MODEL]  # both signs of its coordinate
    fresh = contexts_at(readout, *world(seed=1))
    np.testing.assert_allclose(edited(readout, sae, fresh, attribute, best), 1, atol=1e-5)


def test_latents_that_mix_attributes_cannot_do_both(linear):
    readout, contexts = linear
    mixed = rotated_sae()
    best = best_of(readout, mixed, contexts, 0)
    found = edited(readout, mixed, contexts, 0, best).mean(axis=0)
    assert found.mean() < 0.8


def test_without_a_swap_nothing_moves_and_with_all_everything(linear):
    readout, contexts = linear
    sae = identity_sae(LAST)
    np.testing.assert_allclose(edited(readout, sae, contexts, 0, NONE), [[0, 1]] * 30, atol=1e-6)
    everything = np.arange(2 * D_MODEL)
    np.testing.assert_allclose(
        edited(readout, sae, contexts, 0, everything), [[1, 0]] * 30, atol=1e-5
    )


def test_an_edit_keeps_the_error_of_the_sae_and_all_other_latents():
    sae = identity_sae(LAST)
    with torch.no_grad():
        sae.W_dec.mul_(0.5)  # an error as large as half of the activation
    base, source = np.random.default_rng(0).normal(size=(2, 4, D_MODEL)).astype(np.float32)
    new = swapped(sae, base, source, np.array([3, 3 + D_MODEL]))
    expected = base.copy()
    expected[:, 3] += 0.5 * (source - base)[:, 3]
    np.testing.assert_allclose(new, expected, atol=1e-6)


def test_scores_by_hand():
    before, source = np.array([[-2.0, 1.0]]), np.array([[2.0, -1.0]])
    cases = {(2.0, 1.0): [1, 1], (0.0, 0.0): [0.5, 0.5], (-4.0, 2.0): [0, 0.5], (9.0, -9.0): [1, 0]}
    for after, expected in cases.items():
        found = scores(before, np.array([after]), source, 0)
        np.testing.assert_allclose(found, [expected])


def test_log_odds_by_hand():
    logits = torch.log(torch.tensor([[0.2, 0.3, 0.5]]))
    classes = torch.tensor([[True, False, False], [False, True, True]])
    expected = np.log([[0.2 / 0.8, 0.8 / 0.2]])
    np.testing.assert_allclose(log_odds(logits, classes).numpy(), expected, rtol=1e-6)


def test_pairs_have_opposite_predictions_clear_ones_and_share_no_sequence():
    odds = np.random.default_rng(0).normal(scale=2, size=(40, 30, 2))
    ids = np.arange(40, dtype=np.uint64)
    places = paired_positions(odds, ids, seed=0)
    assert len(places) > 10
    rows, positions = places[..., 0], places[..., 1]
    assert (rows[:, 0] % 2 == 0).all() and (rows[:, 1] == rows[:, 0] + 1).all()
    assert (positions >= editing.EARLIEST).all()
    chosen = odds[rows, positions]
    assert (np.sign(chosen[:, 0]) == -np.sign(chosen[:, 1])).all()
    assert (np.abs(chosen) >= editing.MARGIN).all()
    np.testing.assert_array_equal(places, paired_positions(odds, ids, seed=0))
    assert len(paired_positions(np.ones((4, 30, 2)), ids[:4], seed=0)) == 0


@pytest.fixture
def real(subject, corpora):
    """Contexts of the tiny model at its last hook point, whatever it predicts there."""
    rng = np.random.default_rng(0)
    classes = rng.random((2, subject.d_vocab)) < 0.5
    readout = Readout(subject, LAST, classes)
    tokens = corpora["discovery"].tokens[:6]
    run = torch.from_numpy(tokens.astype(np.int64))
    seen = native_acts(subject.model, run, LAST).numpy()
    positions = rng.integers(8, tokens.shape[1], size=6)
    return readout, contexts_at(readout, tokens, positions, seen)


def test_what_is_read_is_what_the_model_predicts(real):
    readout, contexts = real
    tokens = torch.from_numpy(contexts.tokens.astype(np.int64))
    logits = readout.subject.model(tokens)[torch.arange(6), torch.from_numpy(contexts.positions)]
    p = logits.detach().double().softmax(dim=-1).numpy()
    inside = (p[:, None] * readout.classes).sum(axis=-1)
    np.testing.assert_allclose(contexts.odds, np.log(inside / (1 - inside)), atol=1e-4)


def test_slopes_are_those_of_small_steps(real):
    readout, contexts = real
    step = 1e-2 * np.random.default_rng(1).normal(size=contexts.at.shape).astype(np.float32)
    change = readout.odds(contexts, contexts.at + step) - readout.odds(contexts, contexts.at - step)
    expected = 2 * np.einsum("nci,ni->nc", readout.slopes(contexts), step)
    np.testing.assert_allclose(change, expected, rtol=0.05, atol=2e-3)


def test_after_the_last_block_a_full_swap_is_the_source(real):
    readout, contexts = real
    sae = identity_sae(LAST)
    new = swapped(sae, contexts.at, contexts.at[contexts.sources], np.arange(2 * D_MODEL))
    np.testing.assert_allclose(
        readout.odds(contexts, new), contexts.odds[contexts.sources], atol=1e-4
    )


def test_sizes_beyond_the_dictionary_are_all_of_it(linear):
    readout, contexts = linear
    assert len(best_of(readout, identity_sae(LAST), contexts, 0, sizes=(100,))) == 2 * D_MODEL


def test_rows_of_a_pair_are_each_others_source():
    contexts = Contexts(*world(2)[:2], world(2)[2], np.zeros((4, 2)))
    assert contexts.sources.tolist() == [1, 0, 3, 2]

"""Sparse probes find what was planted, score chance on what was not, and refuse one class."""

import numpy as np
import pytest
from scipy import sparse

from saecert.dictionaries.probing import (
    balanced_scores,
    best_latents,
    fitted,
    random_latents,
    separation,
    sequence_means,
    within_scores,
)


@pytest.fixture
def planted():
    """Latent 3 fires with the label, 5 against it; the others know nothing. Two halves."""
    rng = np.random.default_rng(0)
    labels = rng.random(400) < 0.3
    codes = rng.exponential(size=(400, 20)) * (rng.random((400, 20)) < 0.3)
    codes[:, 3] += 4.0 * labels
    codes[:, 5] += 3.0 * ~labels
    return [(codes[half], labels[half]) for half in (slice(0, 200), slice(200, 400))]


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array])
def test_planted_latents_are_found_and_tell_the_label_on_other_items(planted, kind):
    (codes, labels), (others, truth) = planted
    assert best_latents(kind(codes), labels, 2).tolist() == [3, 5]
    for k in (1, 2):
        probe = fitted(kind(codes), labels, best_latents(kind(codes), labels, k))
        scores = balanced_scores(probe.answers(kind(others)) == truth, truth)
        assert scores.mean() > 0.95


def test_latents_that_know_nothing_score_chance(planted):
    (codes, labels), (others, truth) = planted
    probe = fitted(codes, labels, np.array([0, 1, 2]))
    scores = balanced_scores(probe.answers(others) == truth, truth)
    # 60 sets, each with variance at most 1/4: four standard errors
    assert abs(scores.mean() - 0.5) < 4 * 0.5 / np.sqrt(len(scores))


def test_silent_latents_answer_always_the_same_and_score_one_half(planted):
    (_, labels), (_, truth) = planted
    nothing = np.zeros((200, 20))
    said = fitted(nothing, labels, np.array([0])).answers(nothing)
    assert len(np.unique(said)) == 1
    assert (balanced_scores(said == truth, truth) == 0.5).all()


def test_separation_by_hand():
    codes = np.array([[0.0, 1.0, 7.0], [2.0, 1.0, 7.0], [4.0, 3.0, 7.0], [6.0, 3.0, 7.0]])
    labels = np.array([False, False, True, True])
    # means 1 and 5, variance 1 in both classes; a latent that the label alone changes; a constant
    np.testing.assert_allclose(separation(codes, labels), [4.0, np.inf, 0.0])
    np.testing.assert_allclose(separation(sparse.csr_array(codes), labels), [4.0, np.inf, 0.0])


def test_means_of_sequences_leave_bos_out():
    codes = sparse.csr_array(
        np.array([[9.0, 9.0], [1.0, 0.0], [3.0, 0.0], [9.0, 0.0], [0, 2], [0, 4]])
    )
    np.testing.assert_allclose(sequence_means(codes, 2, 1), [[2.0, 0.0], [0.0, 3.0]])


def test_random_latents_are_active_ones():
    codes = np.zeros((5, 10))
    codes[0, [2, 4, 7]] = 1.0
    assert random_latents(codes, 3, seed=0).tolist() == [2, 4, 7]
    assert random_latents(sparse.csr_array(codes), 3, seed=1).tolist() == [2, 4, 7]
    assert len(set(random_latents(codes, 5, seed=0))) == 5


def test_scores_of_tokens_by_hand():
    right = np.array([[1, 1, 0, 0], [1, 1, 1, 1], [0, 1, 0, 1]], dtype=bool)
    labels = np.array([[1, 0, 0, 0], [1, 1, -1, -1], [0, 1, 0, -1]], dtype=np.int8)
    # 1 of 1 and 1 of 3; one value only; 1 of 1 and 0 of 2
    np.testing.assert_allclose(within_scores(right, labels), [(1 + 1 / 3) / 2, 0.5])


@pytest.mark.parametrize("labels", [np.ones(4, dtype=bool), np.zeros(4, dtype=bool)])
def test_labels_of_one_class_are_refused(labels):
    codes = np.ones((4, 2))
    for ask in (
        lambda: separation(codes, labels),
        lambda: fitted(codes, labels, np.array([0])),
        lambda: balanced_scores(labels, labels),
    ):
        with pytest.raises(ValueError, match="labels of one class cannot be probed"):
            ask()
    with pytest.raises(ValueError, match="nothing to tell apart"):
        within_scores(labels[None], labels[None].astype(np.int8))


def test_more_latents_than_there_are_are_refused():
    labels = np.array([True, False])
    with pytest.raises(ValueError, match="5 latents asked of a dictionary of 3"):
        best_latents(np.ones((2, 3)), labels, 5)
    with pytest.raises(ValueError, match="0 latents asked of a dictionary of 3"):
        random_latents(np.ones((2, 3)), 0, seed=0)

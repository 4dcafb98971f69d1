"""Whether known features are among the rows of a decoder: chance level, cosines, errors."""

import numpy as np
import pytest
from scipy import stats

from saecert.dictionaries import counted
from saecert.dictionaries.recovery import (
    cap_probability,
    chance_cosine,
    chance_of_recovery,
    largest_cosines,
    recovered,
)
from saecert.training.synthetic import uniform_directions


def test_caps_by_hand():
    """On the circle the angle is uniform; on the sphere in three dimensions the height is."""
    assert cap_probability(0.5, 2) == pytest.approx(1 / 3)
    assert cap_probability([0.0, 0.5, 0.8, 1.0], 3) == pytest.approx([0.5, 0.25, 0.1, 0.0])


def test_caps_in_many_dimensions_are_an_integral_of_the_density():
    density = stats.beta(49.5, 49.5, loc=-1, scale=2)  # of the cosine, in 100 dimensions
    t = np.array([0.1, 0.35, 0.8])
    assert cap_probability(t, 100) == pytest.approx(density.sf(t), rel=1e-9)


def test_chance_agrees_with_random_rows():
    rng = np.random.default_rng(0)
    rows, features = (uniform_directions(n, 20, rng) for n in (300, 4_000))
    found = largest_cosines(rows, features)
    for t in (0.5, 0.6, 0.7):
        chance = chance_of_recovery(t, 20, 300)
        low, high = stats.binom.interval(1 - 1e-6, 4_000, chance)
        # features share their rows: the count varies with these a little more than a binomial
        assert 0.8 * low <= (found > t).sum() <= 1.2 * high
    median = chance_cosine(0.5, 20, 300)
    assert chance_of_recovery(median, 20, 300) == pytest.approx(0.5)
    assert np.median(found) == pytest.approx(median, abs=0.01)


def test_largest_cosines_by_hand():
    rows = np.array([[2.0, 0.0], [0.0, 0.0], [3.0, 4.0]])
    features = np.array([[1.0, 0.0], [0.0, 5.0], [-1.0, 0.0], [0.6, 0.8]])
    assert largest_cosines(rows, features) == pytest.approx([1.0, 0.8, 0.0, 1.0])
    assert recovered(rows, features[:3], 0.75).tolist() == [True, True, False]
    assert recovered(rows, features[:3], 0.85).tolist() == [True, False, False]


@pytest.mark.parametrize("threshold", [0.0, 1.0, -0.5, 1.2, float("nan")])
def test_a_threshold_that_is_no_cosine_between_0_and_1_is_refused(threshold):
    with pytest.raises(ValueError, match="cosine in"):
        recovered(np.eye(2), np.eye(2), threshold)


def test_fewer_latents_than_features_asked_for_are_refused():
    with pytest.raises(ValueError, match="2 latents cannot recover 3 features"):
        recovered(np.eye(3)[:2], np.eye(3))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: cap_probability(0.5, 1), "d_in"),
        (lambda: cap_probability(1.5, 3), "cosines"),
        (lambda: chance_of_recovery(0.5, 3, 0), "n_rows"),
        (lambda: chance_cosine(0.0, 3, 5), "levels"),
        (lambda: largest_cosines(np.eye(2), np.eye(3)), "shape"),
        (lambda: largest_cosines(np.array([[np.nan, 1.0]]), np.eye(2)), "finite"),
        (lambda: counted.relative_errors(np.ones((1, 2)), np.full((1, 2), np.inf)), "finite"),
    ],
)
def test_bad_input(call, said):
    with pytest.raises(ValueError, match=said):
        call()


def test_relative_errors_by_hand():
    acts = np.array([[3.0, 4.0], [0.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    recons = np.array([[3.0, 0.0], [1.0, 0.0], [9.0, 0.0], [1.0, 0.0]])
    assert counted.relative_errors(acts, recons) == pytest.approx([16 / 25, 1, 1, 0])


def test_errors_on_the_grid_enclose_the_errors():
    errors = np.sort(np.random.default_rng(0).random(1_000)) ** 3
    errors[:3] = (0.0, 0.25, 1.0)
    errors.sort()
    counts = counted.counts_of(counted.counts_text(counted.error_counts(errors)))
    above = counted.errors_from(counts)
    below = counted.errors_from(counts, rounded="down")
    assert len(above) == len(below) == len(errors)
    assert (below <= errors).all()
    assert (errors <= above).all()
    assert (above - below).max() <= 1 / counted.ERROR_STEPS + 1e-12


def test_cosines_and_probabilities_go_to_their_bins():
    cosines = np.array([-0.3, 0.0, 0.81, 1.0])
    counts = counted.cosine_counts(cosines)
    assert (counts[0], counts[40], counts[-1]) == (2, 1, 1)
    assert counted.bins_of(np.array([1.0, 0.99, 0.1, 1e-4])).tolist() == [0, -1, -4, -16]


def test_counts_survive_as_text():
    assert counted.counts_text(np.zeros(4, dtype=int)) == "0"
    assert counted.counts_of(7, 2).tolist() == [7, 0]

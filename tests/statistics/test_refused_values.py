"""What no limit can be computed from is refused; of which number type it is does not matter."""

import math
from inspect import unwrap

import numpy as np
import pytest

from saecert.statistics.finite import certain_upper
from saecert.statistics.groups import design_effect, intraclass_correlation
from saecert.statistics.inequalities import INEQUALITIES, chernoff_kl, lower, uppers
from saecert.statistics.paired import difference_limits
from saecert.statistics.priors import (
    cheapest_uniform_superset,
    equal_nats,
    favoured_nats,
    product_prior_nats,
    uniform_prior_nats,
)
from saecert.statistics.rank import kendall_limits_of_pairs
from saecert.statistics.ratio import ratio_limits
from saecert.statistics.rounding import widened
from saecert.statistics.unpaired import two_sample_limits

every = pytest.mark.parametrize("name", INEQUALITIES)


@every
@pytest.mark.parametrize("wrong", [7.0, -0.01, 1.01, np.nan, np.inf, -np.inf])
def test_uppers_take_no_value_outside_its_support(name, wrong):
    """They were clipped to it: fifty values of 7 in [0, 1] had a limit of 1."""
    right = (np.full(20, 0.5), 0.0, 1.0, 3.0)
    bad = np.full(20, 0.25)
    bad[4] = wrong
    with pytest.raises(ValueError, match=r"row 1: x\[4\] = .* is no number in \[lo, hi\]"):
        uppers([right, (bad, 0.0, 1.0, 3.0)], INEQUALITIES[name])


def test_uppers_clip_dust_alone_and_know_a_mean_without_width():
    upper = INEQUALITIES["hoeffding"]
    dust = uppers([(np.full(20, 1 + 1e-6), 0.0, 1.0, 3.0)], upper)
    assert dust == [1.0]
    assert uppers([(np.full(20, 2.0), 2.0, 2.0, 3.0)], upper) == [2.0]
    with pytest.raises(ValueError, match="is no number in"):
        uppers([(np.full(20, 5.0), 2.0, 2.0, 3.0)], upper)


@every
def test_a_support_whose_width_overflows_is_refused(name):
    """Betting gave nan, Dirichlet asked for a report of a bug."""
    x = np.array([-1e308, 1e308, 0.0])
    with pytest.raises(ValueError, match=r"width of the support .* overflows"):
        INEQUALITIES[name](x, -1.7e308, 1.7e308, 3.0)
    with pytest.raises(ValueError, match="overflows"):
        chernoff_kl(0.0, 10, -1.7e308, 1.7e308, 3.0)


@pytest.mark.parametrize("kind", [np.uint8, np.uint64, np.int8, np.float16, bool])
def test_differences_do_not_depend_on_the_number_type(kind):
    """0 less 1 was 255 in eight bits without a sign."""
    a = np.arange(40) % 3 == 0
    b = np.ones(40, bool)
    supports = (0, 1, 0, 1)
    expected = difference_limits(a.astype(float), b.astype(float), supports, 3.0, "hoeffding")
    limits = unwrap(difference_limits)(a.astype(kind), b.astype(kind), supports, 3.0, "hoeffding")
    assert limits == expected
    low = unwrap(lower)("hoeffding", a.astype(kind), 0, 1, 3.0)
    assert low == lower("hoeffding", a.astype(float), 0, 1, 3.0)
    two = unwrap(two_sample_limits)(a.astype(kind), b.astype(kind), (0, 1), 3.0, "dirichlet")
    assert two == two_sample_limits(a.astype(float), b.astype(float), (0, 1), 3.0, "dirichlet")


def test_half_precision_is_subtracted_in_double():
    a = np.full(40, 1000.0, np.float16)
    b = np.full(40, 0.25, np.float16)
    low, high = difference_limits(a, b, (0, 2000, 0, 1), 3.0, "hoeffding")
    assert low + high == pytest.approx(2 * 999.75)


@pytest.mark.parametrize("shape", [(40, 1), (1,), (20,)])
def test_paired_values_have_one_shape(shape):
    """Forty by forty differences were made of a row and a column."""
    with pytest.raises(ValueError, match="one shape"):
        unwrap(difference_limits)(np.zeros(40), np.zeros(shape), (0, 1, 0, 1), 3.0, "hoeffding")
    with pytest.raises(ValueError, match="one shape"):
        unwrap(kendall_limits_of_pairs)(np.arange(40.0), np.zeros(shape), 3.0)


def test_an_unknown_inequality_is_named():
    with pytest.raises(ValueError, match="unknown inequality 'gaussian'"):
        difference_limits(np.zeros(4), np.zeros(4), (0, 1, 0, 1), 3.0, "gaussian")


def test_ranks_of_more_numbers_in_one_than_the_other_are_refused():
    """The rest was left out."""
    with pytest.raises(ValueError, match="one shape"):
        unwrap(kendall_limits_of_pairs)(np.arange(40.0), np.arange(41.0), 3.0)


def test_a_ratio_takes_one_loss_of_each_kind_a_sequence_in_any_number_type():
    clean = np.linspace(2, 3, 64, dtype=np.float16)
    losses = (clean + np.float16(5), clean + np.float16(1), clean)
    expected = ratio_limits(*(x.astype(float) for x in losses), (1.0, 13.0), 3.0, "dirichlet")
    assert ratio_limits(*losses, (1.0, 13.0), 3.0, "dirichlet") == expected
    with pytest.raises(ValueError, match="have one shape"):
        unwrap(ratio_limits)(losses[0], losses[1], clean[:1], (1.0, 13.0), 3.0, "dirichlet")


@pytest.mark.parametrize("step", [-0.1, np.nan])
def test_limits_only_move_outwards(step):
    with pytest.raises(ValueError, match="only move outwards"):
        widened((0.1, 0.2, 0.3), step)


def test_nothing_is_certain_of_more_values_than_the_list_has():
    """Their mean, raised by a negative share of `hi`, was below it."""
    with pytest.raises(ValueError, match="population_size must be"):
        certain_upper(np.zeros(10), hi=1, population_size=5)
    for wrong in (np.nan, 1.1):
        with pytest.raises(ValueError, match="nothing is certain"):
            certain_upper(np.array([0.0, wrong]), hi=1, population_size=4)


@pytest.mark.parametrize("function", [intraclass_correlation, design_effect])
@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_values_that_are_not_finite_have_no_variance(function, wrong):
    with pytest.raises(ValueError, match="not finite"):
        function(np.array([1.0, wrong, 2.0, 3.0]), np.array([0, 0, 1, 1]))


@pytest.mark.parametrize(("k", "d_sae"), [(7, 6), (-1, 6), (2.5, 6), (math.nan, 6)])
def test_a_subset_has_no_more_latents_than_there_are(k, d_sae):
    """Seven of six cost minus infinity."""
    with pytest.raises(ValueError, match="whole number of 0 to 6 latents"):
        unwrap(uniform_prior_nats)(k, d_sae)
    if k == 7:
        with pytest.raises(ValueError, match="whole number of 0 to 6 latents"):
            cheapest_uniform_superset(k, d_sae)


def test_candidates_are_counted_from_zero():
    for favourite in (5, -1):
        with pytest.raises(ValueError, match="of 5 candidates is 0 to 4, got"):
            favoured_nats(5, favourite)
    with pytest.raises(ValueError, match="at least one candidate"):
        equal_nats(0)


@pytest.mark.parametrize("n_active", [[3, 11], [-1, 3]])
def test_a_latent_is_active_in_no_more_sequences_than_there_are(n_active):
    """Eleven of ten gave a weight above 1."""
    with pytest.raises(ValueError, match="a count is outside that"):
        product_prior_nats(np.array([True, False]), np.array(n_active), 10, 50)

"""Scores, counts and costs from which a wrong number would come are refused."""

from inspect import unwrap

import numpy as np
import pytest

from saecert.dictionaries.alarms import alarm_table, auc, promise_pvalue, roc_curve
from saecert.dictionaries.growth import absent, judged_pool, missing, pool_growth, sequences_needed
from saecert.dictionaries.horizon_limits import paired
from saecert.dictionaries.monitor import count_scores
from saecert.dictionaries.norm_limits import mean_limits
from saecert.dictionaries.phenomena_limits import absorbed, inside, together
from saecert.statistics.inequalities import INEQUALITIES

USUAL = np.linspace(0, 1, 40)


def table(strange, delta=0.05, **changes):
    scores = {"usual": {"s": USUAL}, "strange": {"s": strange}} | changes
    return alarm_table(scores, {"s": USUAL}, 0.05, delta, usual="usual", count="s")


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_refused(wrong):
    """Where half were nan the table had an AUC of .08, with limits, and no alarm among them."""
    strange = np.where(USUAL > 0.5, wrong, USUAL)
    with pytest.raises(ValueError, match=r"'s' of 'strange': one finite number .* with 20"):
        table(strange)
    for function in (auc, roc_curve):
        with pytest.raises(ValueError, match="one finite number a sequence"):
            function(strange, USUAL)


def test_a_table_needs_scores_a_kind_and_a_delta():
    with pytest.raises(ValueError, match="one finite number a sequence"):
        table(np.zeros(0))
    with pytest.raises(ValueError, match="at least 2 values"):
        table(np.ones(1))
    with pytest.raises(ValueError, match="'other' lacks scores that 'usual' has: s"):
        table(USUAL, other={})
    with pytest.raises(ValueError, match="no kind 'usual'; there are strange"):
        alarm_table({"strange": {"s": USUAL}}, {"s": USUAL}, 0.05, 0.05, usual="usual", count="s")
    for delta in (0.0, 1.0, np.nan):
        with pytest.raises(ValueError, match="delta must lie strictly between"):
            table(USUAL, delta)


def test_unsigned_scores_are_compared_as_numbers():
    usual = np.arange(40, dtype=np.uint8)
    strange = np.zeros(40, np.uint8)
    assert unwrap(auc)(strange, usual) == auc(strange.astype(float), usual.astype(float))


@pytest.mark.parametrize(
    ("n_false", "n_calibration", "level"),
    [(201, 200, 0.05), (-1, 200, 0.05), (3, 10, 0.05), (3, 200, 1.5), (3, 200, 0.0)],
)
def test_a_promise_is_one_that_the_calibration_can_make(n_false, n_calibration, level):
    """Ten sequences promise no level of .05: the probability was nan, of -1 false alarms 1."""
    with pytest.raises(ValueError, match="false alarms in 200 sequences"):
        promise_pvalue(n_false, 200, n_calibration, level)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_a_count_that_is_not_finite_is_refused(wrong):
    """A monitor stayed silent about it."""
    with pytest.raises(ValueError, match="must be finite"):
        unwrap(count_scores)(np.array([[wrong], [1000.0]]))


def test_counts_have_positions():
    for counts in (np.zeros((3, 0), int), np.arange(5)):
        with pytest.raises(ValueError, match="a row a sequence and a column a position"):
            unwrap(count_scores)(counts)
    with pytest.raises(ValueError, match="unknown statistic 'median'"):
        count_scores(np.ones((3, 4), int), "median")


@pytest.mark.parametrize("name", INEQUALITIES)
@pytest.mark.parametrize("wrong", [7.0, 1.01, -0.01, np.nan, np.inf])
def test_limits_on_a_mean_take_no_value_outside_its_support(name, wrong):
    """They were clipped to it: fifty values of 7 in [0, 1] had the limits .94 and 1."""
    x = np.full(50, 0.5)
    x[3] = wrong
    with pytest.raises(ValueError, match=r"value 3 is .*, no number in \[0, 1\]"):
        mean_limits(x, (0.0, 1.0), 3.0, name)


def test_limits_on_a_mean_forgive_what_half_precision_rounds():
    top = 11.998
    x = np.full(50, top, np.float16)
    assert float(x[0]) > top
    low, mean, high = mean_limits(x, (0.0, top), 3.0, "dirichlet")
    assert low < high == top == pytest.approx(mean)


def test_counts_are_no_booleans():
    """Two positions in one of ten sequences were two sequences."""
    counts = np.zeros((10, 3), np.uint8)
    counts[0] = 2
    for call in (
        lambda: unwrap(absent)(counts, 2),
        lambda: unwrap(missing)(counts > 0, 2, counts),
        lambda: unwrap(sequences_needed)(counts > 0, counts, 0.9, 3.0),
    ):
        with pytest.raises(ValueError, match="pass counts > 0"):
            call()
    assert pool_growth(counts > 0, 10) == 3


def test_a_pool_is_judged_on_one_dictionary():
    pool = np.ones((5, 4), np.uint8)
    for calibration, fresh in ((pool[:0], pool), (pool, np.ones((5, 3), np.uint8))):
        with pytest.raises(ValueError, match="sequences of one dictionary, from one on"):
            unwrap(judged_pool)(calibration, fresh, 3.0)


def test_a_divergence_that_is_nan_is_larger_than_none():
    """Its sequence counted as one at which the first is not the larger."""
    kl = np.full((1, 20), 0.5)
    bad = kl.copy()
    bad[0, 3] = np.nan
    with pytest.raises(ValueError, match="nan is larger than none"):
        paired((bad, kl), (kl, kl), 1.0, 0.05, "dirichlet")
    with pytest.raises(ValueError, match="has one shape"):
        unwrap(paired)((kl, kl), (kl[:, :5], kl[:, :5]), 1.0, 0.05, "dirichlet")


def test_a_parent_is_silent_or_not():
    values = {
        "absorbed pairs": np.array([[0, 1]]),
        "absorbed cosine": np.ones(1),
        "absorbed child": np.array([[1.0], [np.nan]]),
        "absorbed alone": np.array([[0.0], [1.0]]),
    }
    with pytest.raises(ValueError, match="a parent is silent"):
        absorbed({"a": values}, 0.05)


@pytest.mark.parametrize("wrong", [3.0, -0.5, np.nan, np.inf])
def test_what_fires_together_is_given_as_shares(wrong):
    """Counts were clipped to a covariance of a quarter."""
    share = np.full((20, 1), 0.5)
    bad = share.copy()
    bad[2] = wrong
    values = {
        "opposite pairs": np.array([[0, 1]]),
        "opposite cosine": np.ones(1),
        "opposite first": share,
        "opposite second": share,
        "opposite both": bad,
    }
    with pytest.raises(ValueError, match=r"shares of positions lie in \[0, 1\]"):
        together({"a": values}, "opposite", 0.05, "dirichlet")
    if not np.isnan(wrong):  # nan: no child fires there
        with pytest.raises(ValueError, match=r"shares of positions lie in \[0, 1\]"):
            inside({"inside": bad.T, "inside by chance": share.T}, 0.05, "dirichlet")

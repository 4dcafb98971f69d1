"""Reference predictors against hand-worked counts."""

import numpy as np
import pytest

from saecert.measurement.references import fit_references

TOKENS = np.array(
    [[0, 1, 2, 1], [0, 1, 1, 2]]
)  # transitions: 0>1 twice, 1>2 twice, 2>1 once, 1>1 once


def test_unigram_and_bigram_by_hand():
    fitted = fit_references(TOKENS, 4)
    np.testing.assert_allclose(
        fitted.unigram, np.array([1, 5, 3, 1]) / 10
    )  # add one: targets 1 x4, 2 x2
    p = fitted.probabilities(np.array([[1, 2, 3]]))["bigram"][0]
    backoff = 0.75 * 2 / 3  # two followers of 1, seen three times
    assert p[0] == pytest.approx((2 - 0.75) / 3 + backoff * 0.3)
    assert p[1] == pytest.approx(0.75 * 1 / 1 * 0.1)


def test_every_predictor_sums_to_one_and_stays_within_its_limits():
    fitted = fit_references(TOKENS, 4)
    for context in range(4):  # 3 was never seen as context: its row is the unigram
        rows = np.array([[context, target] for target in range(4)])
        for name, p in fitted.probabilities(rows).items():
            assert p.sum() == pytest.approx(1.0), (name, context)
            low, high = fitted.limits()[name]
            assert (p >= low - 1e-12).all() and (p <= high + 1e-12).all(), (name, context)
    np.testing.assert_allclose(
        fitted.probabilities(np.array([[3, 1]]))["bigram"], fitted.unigram[1]
    )


def test_padding_is_not_counted():
    padded = np.concatenate([TOKENS, np.full((2, 3), 3)], axis=1)
    short = fit_references(padded, 4, lengths=np.array([4, 4]))
    np.testing.assert_allclose(short.unigram, fit_references(TOKENS, 4).unigram)
    assert short.n_tokens == 6


def test_nothing_to_fit():
    with pytest.raises(ValueError, match="no tokens"):
        fit_references(TOKENS, 4, lengths=np.array([1, 1]))

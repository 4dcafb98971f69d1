"""Limits from norms: known medians and means, and ranks."""

import numpy as np
import pytest
from synthetic_norms import made_up

from saecert.dictionaries.norm_limits import (
    BOUNDED,
    LIMITS,
    MEDIANS,
    WITHIN,
    better_ranked,
    coherences,
    means,
    medians,
    ranks_between,
    ranks_of_saes,
    ranks_within,
    token_ends,
    tokens_of,
)
from saecert.dictionaries.quantities import PREDICTORS, tau_name
from saecert.statistics.rank import kendall_tau


def test_tokens_are_the_first_drawn_of_each_sequence():
    rows = made_up(20, 0)
    tokens = tokens_of(rows)
    z, f = rows["token norm_z"][:, 0], rows["token norm_f"][:, 0]
    np.testing.assert_allclose(tokens["ratio"], f / z)
    np.testing.assert_allclose(tokens["norm_deviation"], abs(f / z - 1))
    np.testing.assert_allclose(tokens["eps_lbo"], abs(z**2 - f**2) / (4 * f**2))
    np.testing.assert_array_equal(tokens["nmse"], rows["token nmse"][:, 0])


def test_limits_on_medians_and_means_are_wrong_no_more_often_than_promised():
    delta = 0.2
    wrong = []
    for seed in range(100):
        rows = made_up(80, seed)
        middle = medians({"a": rows}, delta).loc["a"]
        mean = means({"a": rows}, delta, "dirichlet").loc["a"]
        missed = not middle["ratio"]["lower"] <= 0.7 <= middle["ratio"]["upper"]
        missed |= not middle["nmse"]["lower"] <= 0.5 <= middle["nmse"]["upper"]
        missed |= any(not mean[x]["lower"] <= 0.25 <= mean[x]["upper"] for x in BOUNDED)
        wrong.append(missed)
    # two frames, each at delta
    assert np.mean(wrong) <= 2 * delta


def test_limits_of_two_saes_are_wider_than_those_of_one():
    """They hold together: statements share delta."""
    rows = made_up(200, 0)
    alone = medians({"a": rows}, 0.05).loc["a"]
    both = medians({"a": rows, "b": made_up(200, 1)}, 0.05).loc["a"]
    for name in MEDIANS:
        assert both[name]["lower"] <= alone[name]["lower"]
        assert both[name]["upper"] >= alone[name]["upper"]
        assert both[name]["value"] == alone[name]["value"]


def test_the_largest_of_any_token_stands_beside_the_truth():
    rows = made_up(30, 0)
    row = coherences({"a": rows}).loc["a"]
    assert row["eps_identity"] == rows["largest eps_identity"].max()
    assert row["eps_lbo"] == rows["largest eps_lbo"].max()
    assert row["Welch"] == pytest.approx(np.sqrt(2 / (3 * 4)))
    assert (row["decoder"], row["with bias"]) == (0.9, 0.95)


def test_ranks_within_sequences_are_means_of_tau():
    delta = 0.2
    wrong = []
    for seed in range(30):
        rows = made_up(80, seed)
        frame = ranks_within({"a": rows}, delta, "dirichlet")
        for predictor, cost in WITHIN:
            limits = frame.loc[(cost, predictor, "a")]
            assert limits["value"] == pytest.approx(rows[tau_name(predictor, cost)].mean())
        wrong.append(not ((frame["lower"] <= 0.2) & (frame["upper"] >= 0.2)).all())
    assert np.mean(wrong) <= delta
    assert (frame["upper"] - frame["lower"] < 0.6).all()
    one = ranks_within({"a": rows}, delta, "dirichlet", [("nmse", "total_variation")])
    assert one.index.tolist() == [("total_variation", "nmse", "a")]
    assert one["upper"].iloc[0] < frame.loc[("total_variation", "nmse", "a"), "upper"]


def test_ranks_between_sequences_are_of_one_token_each():
    rows = made_up(300, 0)
    frame = ranks_between({"a": rows}, 0.05)
    tokens = tokens_of(rows)
    limits = frame.loc[("loss_increase", "nmse", "a")]
    assert limits["value"] == kendall_tau(tokens["nmse"], tokens["loss_increase"])
    assert limits["lower"] < 0 < limits["upper"]


def test_ranks_of_saes_are_open_where_limits_overlap_and_known_where_not():
    nothing = {x: np.zeros(100) for x in "abc"}
    alike = ranks_of_saes({x: made_up(100, 0) for x in "abc"}, nothing, 9.0, 0.05, "dirichlet")
    assert (alike["lower"] == -1).all() and (alike["upper"] == 1).all()
    rising, increases = {}, {}
    for place, name in enumerate("abc"):
        rows = made_up(400, place)
        rows["token nmse"] = 0.3 * place + 0.1 * rows["token nmse"]
        rows["total_variation"] = 0.4 * place + 0.1 * rows["total_variation"]
        rising[name] = rows
        increases[name] = -3.0 * place + 0.1 * rows["nmse"]
    known = ranks_of_saes(rising, increases, 9.0, 0.05, "dirichlet")
    assert known.loc[("total_variation", "nmse"), LIMITS].tolist() == [1.0, 1.0, 1.0]
    # the other cost falls where the error rises
    assert known.loc[("loss_increase", "nmse"), LIMITS].tolist() == [-1.0, -1.0, -1.0]


def test_limits_on_ranks_of_saes_are_wrong_no_more_often_than_promised():
    """Three SAEs whose medians and costs are in a known order, far enough apart to be told."""
    truth = {"total_variation": 1 / 3, "loss_increase": -1 / 3}
    ratios = (0.5, 0.7, 0.9)  # so deviations are .5, .3, .1
    shares = (0.2, 0.0, 0.4)
    wrong = []
    told = []
    for seed in range(20):
        rows = {}
        increases = {}
        for place, (ratio, share) in enumerate(zip(ratios, shares, strict=True)):
            values = made_up(400, 3 * seed + place, ratio)
            values["total_variation"] = -share + 0.5 + 0.1 * values["nmse"]
            rows[str(place)] = values
            increases[str(place)] = 5 * share + 0.1 * values["nmse"]
        frame = ranks_of_saes(rows, increases, 6.0, 0.2, "dirichlet")
        for cost, tau in truth.items():
            low, _, high = frame.loc[(cost, "norm_deviation"), LIMITS]
            wrong.append(not low <= tau + 1e-12 or not tau - 1e-12 <= high)
            told.append(high - low < 0.1)
    assert np.mean(wrong) <= 0.2
    assert np.mean(told) > 0.8


def test_which_predictor_ranks_better_is_a_paired_difference():
    rows = made_up(300, 0)
    rows["tau of nmse with total_variation"] = rows["tau of eps_lbo with total_variation"] + 0.3
    limits = better_ranked(
        {"a": rows}, "total_variation", ("nmse", "eps_lbo"), 0.05, "dirichlet"
    ).loc["a"]
    assert limits["value"] == pytest.approx(0.3)
    assert 0 < limits["lower"] < 0.3 < limits["upper"]


def test_too_few_sequences_have_no_limits():
    with pytest.raises(ValueError, match="too extreme for 5 sequences"):
        medians({"a": made_up(5, 0)}, 0.05)


def in_half_precision(rows):
    """The same as a page keeps them: norms of activations, sizes and coherence stay as they are."""
    kept = ("token norm_z", "d_sae", "d_in", "coherence", "coherence with b_dec")
    return {
        name: x if name in kept else x.astype(np.float16).astype(float) for name, x in rows.items()
    }


def test_limits_of_what_was_kept_in_half_precision_are_of_what_was_measured():
    for seed in range(2):
        rows = {name: made_up(60, seed + shift, ratio=1.0) for name, shift in (("a", 0), ("b", 50))}
        kept = {name: in_half_precision(x) for name, x in rows.items()}
        for name in rows:
            tokens = tokens_of(rows[name])
            low, high = token_ends(kept[name])
            for quantity in ("ratio", *PREDICTORS):
                assert (low[quantity] <= tokens[quantity]).all(), quantity
                assert (tokens[quantity] <= high[quantity]).all(), quantity
        options = (0.05, "hoeffding")
        frames = [
            (medians(rows, 0.05), medians(kept, 0.05, half=True)),
            (ranks_within(rows, *options), ranks_within(kept, *options, half=True)),
        ]
        for measured, told in frames:
            for end, sign in (("lower", 1), ("upper", -1)):
                ends = [
                    x.filter(regex=end) if x.columns.nlevels == 1 else x.xs(end, axis=1, level=1)
                    for x in (measured, told)
                ]
                assert (sign * (ends[0] - ends[1]) >= 0).all(axis=None)
        rises = {name: np.linspace(-2, 3, 60) for name in rows}
        exact = ranks_of_saes(rows, rises, 12.0, *options)
        told = ranks_of_saes(kept, rises, 12.0, *options, half=True)
        assert (told["lower"] <= exact["lower"]).all()
        assert (told["upper"] >= exact["upper"]).all()

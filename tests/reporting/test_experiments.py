"""Experiments of pages: each cell has the rows that a page reads, and can be made again."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from synthetic_losses import HI, LO, make_losses

from saecert.records import Discovery
from saecert.reporting import experiments, simulations
from saecert.reporting.simulations import simulated
from saecert.statistics.inequalities import INEQUALITIES, tightness

SETTINGS = {"draws": 400, "values": 10**7, "delta": 0.05, "seed": 0}
RULE = {"alpha": 0.5, "tolerance": 0.1}


def record(n=60, seed=0):
    rng = np.random.default_rng(seed)
    clean = rng.uniform(4, 6, n)
    full = clean + rng.uniform(0, 0.3, n)
    pools = {4: full + 0.5, 8: full + 0.05}
    found = make_losses(clean, full, pools)
    found = replace(found, ids=found.ids + np.uint64(1000))
    discovery = Discovery("frequency", np.arange(16), np.full(16, 9), n, found)
    return make_losses(clean, full, pools, discovery=discovery)


def test_made_up_cells_name_their_pools_and_say_what_was_not_paid():
    valid = pd.DataFrame(experiments.misses_made_up(pools="T2: nested", n=100, **SETTINGS))
    assert set(valid["inequality"]) == set(INEQUALITIES)
    assert (valid["verdict"] == "valid").all()
    unpaid = {"pools": "T3: uniform prior", "method": "dirichlet", "free": True}
    wrong = pd.DataFrame(experiments.misses_made_up(n=100, **unpaid, **SETTINGS))
    assert set(wrong["label"]) == {"T3: uniform prior, at no cost"}
    assert (wrong["verdict"] == "rejected").any()


def test_a_mutant_is_rejected_under_its_own_name():
    cell = {"pools": "T1: fixed", "n": 500, "method": "half width"}
    rows = pd.DataFrame(experiments.misses_made_up(**cell, **{**SETTINGS, "draws": 4000}))
    assert set(rows["label"]) == {"half width"}
    assert (rows["verdict"] == "rejected").any()


def test_measured_quantities_are_those_of_the_certificate_and_lie_on_their_support():
    losses = record()
    quantities = experiments.measured_quantities(losses, **RULE)
    for values, lo, hi, _ in quantities.values():
        assert values.min() >= lo
        assert values.max() <= hi
    full = losses.at("full", 0.5)
    gap = full - losses.at("clean", 0.5)
    v = full + 0.05 + gap + 0.05  # the pool of 8 is the smallest within the tolerance
    np.testing.assert_allclose(quantities["v_A (T1)"].values[0], v)
    np.testing.assert_allclose(quantities["reconstruction gap"].values[0], gap)
    assert quantities["v_A of any pool (T2)"].values.shape == (3, 60)
    assert quantities["slack: R(f) by v_A"].truth == losses.at("clean", 0.5).mean()
    assert (quantities["model risk"].lo, quantities["model risk"].hi) == (LO, HI)


def test_repeats_are_rejected_where_single_documents_are_not():
    settings = {"n": 500, **RULE, **SETTINGS, "draws": 4000}
    verdicts = {}
    for copies in (1, 4):
        cell = {"source": "coins", "copies": copies}
        (row,) = experiments.misses_of_repeats(record(), **cell, **settings)
        verdicts[row["label"]] = row["verdict"]
    assert verdicts == {"coins, 1 of each": "valid", "coins, 4 of each": "rejected"}


def test_a_measured_cell_is_kept_and_made_again_alike():
    losses = record()
    cells = [{"quantity": name, "n": 20} for name in ("proxy risk", "slack: R(f) by v_A")]
    arguments = ("measured", {**SETTINGS, **RULE}, experiments.misses_on_measured)
    first = simulated(*arguments, cells=cells, losses=losses)
    again = simulated(*arguments, cells=cells, losses=losses)
    pd.testing.assert_frame_equal(first, again)
    slack = first.loc[first["label"] == "slack: R(f) by v_A", "misses"]
    assert (slack == 0).all()


def test_the_worst_cell_of_each_group_is_the_one_that_misses_most():
    frame = pd.DataFrame(
        {"label": ["b", "b", "a"], "inequality": "dirichlet", "miss_rate": [0.1, 0.2, 0.0]}
    )
    assert experiments.worst_cells(frame)["miss_rate"].tolist() == [0.2, 0.0]


def test_tightness_of_resamples_is_the_mean_over_the_same_resamples():
    losses = record()
    settings = {"n": 20, "resamples": 10, "delta": 0.05, "seed": 3, **RULE}
    frame = pd.DataFrame(experiments.tightness_of_resamples(losses, **settings))
    assert len(frame) == 4 * len(INEQUALITIES)
    drawn = np.random.default_rng([3, 20]).integers(60, size=(10, 20))
    x = (losses.at("full", 0.5) + 0.05)[drawn]
    nats = -np.log(0.05)
    expected = tightness(INEQUALITIES["hoeffding"](x, LO, HI, nats), x, HI, nats).mean()
    row = frame[(frame["quantity"] == "proxy risk") & (frame["inequality"] == "hoeffding")]
    assert row["tightness"].item() == pytest.approx(expected)


def test_tightness_on_coins_is_what_sampling_shows():
    exact = experiments.tightness_on_coins([50], 0.05)[50]
    flips = (np.random.default_rng(0).random((4000, 50)) < 0.3).astype(float)
    nats = -np.log(0.05)
    ratios = tightness(INEQUALITIES["dirichlet"](flips, 0.0, 1.0, nats), flips, 1.0, nats)
    assert abs(ratios.mean() - exact) < 5 * ratios.std() / np.sqrt(4000)


def test_the_floor_lies_below_the_yardstick_and_is_that_of_the_theorem():
    values = np.array([4.0, 6.0] * 20)
    frame = experiments.floor_tightness(values, 12.0, [20, 2000], 0.05)
    room = 12.0 - 5.0
    rare = (1 - 0.05 ** (1 / 20)) * room
    spread = 1.6448536 * values.std(ddof=1) / np.sqrt(20)
    expected = (1 - 0.1 ** (1 / 20)) * room / np.hypot(rare, spread)
    assert frame["tightness"][0] == pytest.approx(expected)
    assert (frame["tightness"] < 1).all()


def test_repeats_miss_as_often_as_arithmetic_says():
    assert experiments.repeated_in_theory("coins", 1, 0.05) == pytest.approx(0.05)
    assert experiments.repeated_in_theory("rare event", 2, 0.05) == pytest.approx(0.049**0.5)
    assert np.isnan(experiments.repeated_in_theory(experiments.MEASURED, 2, 0.05))


def test_a_label_of_two_tables_has_to_be_rejected_in_each():
    frame = pd.DataFrame({"label": ["a", "a", "b"], "verdict": ["valid", "rejected", "rejected"]})
    missed = frame.assign(verdict=["valid", "valid", "rejected"])
    found = experiments.caught({"v_A": frame, "s_A": missed})
    assert found.loc["v_A"].all() and len(found) == 4
    assert not found["s_A", "a"] and found["s_A", "b"]


def test_only_the_mutant_counts_wrong_too_often():
    misses = experiments.wrong_counts(n=500, n_pools=6, draws=4000, delta=0.05, seed=0)
    wrong = misses / 4000
    assert (wrong.iloc[:2] < 0.06).all(axis=None)
    assert wrong.loc["smallest that passes (mutant)", "pools apart"] > 0.2


def test_two_bounds_name_the_wrong_one_and_pairing_does_not():
    frame = experiments.names_given(draws=400).set_index(["world", "rule"])
    assert frame.loc[("b smaller, but spread out", "smaller bound"), "wrong"] > 300
    common = "a smaller, much in common"
    assert frame.loc[(common, "paired"), "named"] > 390
    assert frame.loc[(common, "apart"), "named"] < 20
    assert (frame.xs("paired", level="rule")["wrong"] <= 30).all()


def test_an_interrupted_simulation_goes_on_where_it_was(monkeypatch):
    cells = [{"pools": "T1: fixed", "n": n} for n in (20, 100)]
    arguments = ("made up", {**SETTINGS, "draws": 50}, experiments.misses_made_up)
    whole = simulated(*arguments, cells=cells)
    made = []

    def counted(*given, **options):
        made.append(given[2])
        return make_cells(*given, **options)

    make_cells = simulations.make_cells
    monkeypatch.setattr(simulations, "make_cells", counted)
    more = [*cells, {"pools": "T1: fixed", "n": 30}]
    again = simulated(*arguments, cells=more)
    assert made == [[more[-1]]]
    pd.testing.assert_frame_equal(again[again["n"] != 30], whole)


def test_cells_made_side_by_side_are_those_made_one_after_another(monkeypatch, tmp_path):
    cells = [{"pools": "T1: fixed", "n": n} for n in (20, 30, 40)]
    arguments = ("made up", {**SETTINGS, "draws": 50}, experiments.misses_made_up)
    alone = simulated(*arguments, cells=cells)
    monkeypatch.setenv("SAECERT_CACHE", str(tmp_path))
    monkeypatch.setattr(simulations, "LONG", -1.0)
    monkeypatch.setattr(simulations.os, "cpu_count", lambda: 2)
    pd.testing.assert_frame_equal(simulated(*arguments, cells=cells), alone)
    with pytest.raises(ValueError, match="outside its support"):
        simulated(*arguments, cells=[{"pools": "T1: fixed", "n": n} for n in (-5, -6)])


def test_bounds_by_rule_change_one_thing_at_a_time_and_say_how_much_text_they_need():
    losses = record()
    curve = experiments.bounds_by_rule(losses, [20, 60], delta=0.05, alpha=0.5)
    bounds = curve.pivot(index="label", columns="n_seq", values="bound")
    assert (bounds.loc["T2, Dirichlet"] <= bounds.loc["T2, Hoeffding"]).all()
    assert (bounds.loc["T3, superset, Hoeffding"] <= bounds.loc[experiments.EXACT]).all()
    reached = {"all": curve["bound"] <= 13, "none": curve["bound"] < 0}
    needed = experiments.sizes_needed(curve, reached)
    assert (needed["all"] == 20).all()
    assert needed["none"].isna().all()
    options = {"orders": 3, "seed": 0, "delta": 0.05, "alpha": 0.5}
    assert experiments.share_of_orders(losses, 0, 60, **options) == 1.0

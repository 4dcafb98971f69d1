"""Tables and panels of the pages about horizons and aliases, from made-up measurements."""

from itertools import product

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from synthetic_losses import random_losses

from saecert import certify
from saecert.certificates.exact_set import exact_set_bound
from saecert.dictionaries.aliased import merged
from saecert.dictionaries.horizon_limits import (
    SAE,
    against_controls,
    last_against_first,
    mean_divergences,
    output_against_local,
)
from saecert.dictionaries.quantities import (
    CEILING,
    DIVERGENCES,
    OUTPUT,
    PERTURBATIONS,
    divergence_name,
)
from saecert.measurement.stand_in import as_sae
from saecert.reporting import figures, horizons
from saecert.reporting.aliases import by_copies, leave_more, moved_table, unmoved_table
from saecert.reporting.claims import Undecided
from saecert.reporting.perfect import EXACT, perfect_bounds

mpl.use("Agg")
HOOKS = {"blocks.0.hook_resid_post": [0, 1, 2], "blocks.2.hook_resid_post": [0]}


@pytest.fixture(scope="module")
def measured():
    rng = np.random.default_rng(0)
    size = dict(zip(PERTURBATIONS, (2.0, 1.0, 4.0), strict=True))
    values = {
        hook: {
            divergence_name(divergence, p, h): size[p] * rng.uniform(0.9, 1.1, 40)
            for divergence in DIVERGENCES
            for p in PERTURBATIONS
            for h in (*horizon, OUTPUT)
        }
        for hook, horizon in HOOKS.items()
    }
    return {hook: {**arrays, CEILING: np.full(40, 12.0)} for hook, arrays in values.items()}


def test_tables_by_layer(measured):
    means = mean_divergences(measured, 0.05)
    table = horizons.by_horizon(means)
    assert table.index.tolist() == ["0", "2"]
    assert table.columns.tolist() == ["0", "1", "2", OUTPUT]
    assert np.isnan(table.loc["2", "1"]) and table.loc["0", "1"] == pytest.approx(2, abs=0.1)
    ratios = horizons.ratios(means)
    np.testing.assert_allclose(ratios["noise"], 2, atol=0.1)
    np.testing.assert_allclose(ratios["shuffled latents"], 0.5, atol=0.05)
    assert ratios.columns.equals(horizons.printed_ratios().columns)
    against = against_controls(measured, 0.05, "dirichlet")
    shares = horizons.statements(against)["share larger, certified"]
    assert (shares["lower"].loc["noise"] > 0.5).all()


def of_known_size(sizes, n_seq):
    """What is measured where the KL of a hook point is its size, local and at the output."""
    rng = np.random.default_rng(0)
    found = {}
    for hook, size in sizes.items():
        found[hook] = {CEILING: np.full(n_seq, 12.0)}
        for divergence in DIVERGENCES:
            for p, share in zip(PERTURBATIONS, (1.0, 0.6, 0.6), strict=True):
                for h, factor in ((0, 1.0), (OUTPUT, 0.5)):
                    values = size * share * factor * rng.uniform(0.9, 1.1, n_seq)
                    found[hook][divergence_name(divergence, p, h)] = values
    return found


def verdicts(measured):
    frames = [
        made(measured, 0.05, "dirichlet")
        for made in (against_controls, last_against_first, output_against_local)
    ]
    return list(horizons.claimed(*frames, len(measured)).values())


def test_claims_of_known_data_hold_of_reversed_data_do_not_and_of_few_are_open():
    sizes = {"blocks.0.hook_resid_post": 0.5, "blocks.1.hook_resid_post": 6.0}
    measured = of_known_size(sizes, 200)
    assert verdicts(measured) == [True] * 5
    reversed_order = dict(reversed(measured.items()))
    assert verdicts(reversed_order) == [True, False, False, False, True]
    swap = {SAE: "noise", "noise": SAE, 0: OUTPUT, OUTPUT: 0}
    swapped = {hook: {CEILING: values[CEILING]} for hook, values in measured.items()}
    for hook, divergence, p, h in product(measured, DIVERGENCES, PERTURBATIONS, (0, OUTPUT)):
        other = divergence_name(divergence, swap.get(p, p), swap[h])
        swapped[hook][divergence_name(divergence, p, h)] = measured[hook][other]
    assert verdicts(swapped) == [False, True, True, True, False]
    few = verdicts(of_known_size(sizes, 3))
    assert all(isinstance(verdict, Undecided) for verdict in few)


def test_claims_that_need_more_are_not_tested():
    alone = verdicts(of_known_size({"blocks.0.hook_resid_post": 1.0}, 200))
    assert alone[0] is True and alone[-1] is True
    assert alone[1:4] == ["needs two hook points"] * 3
    last = of_known_size(dict.fromkeys(HOOKS, 1.0), 200)
    for values in last.values():
        for divergence, p in product(DIVERGENCES, PERTURBATIONS):
            local = values[divergence_name(divergence, p, 0)]
            values[divergence_name(divergence, p, OUTPUT)] = local
    assert verdicts(last)[-1] == "needs blocks behind the hook point"


@pytest.mark.parametrize("names", [list(HOOKS), list(HOOKS)[:1]])
def test_panels_are_drawn(measured, names):
    some = {name: measured[name] for name in names}
    means = mean_divergences(some, 0.05)
    frames = [horizons.depth_panel("here", means), horizons.printed_panel("Llama-3-8B")]
    fig = figures.plot_layers(pd.concat(frames))
    assert [ax.get_title() for ax in fig.axes] == ["here", "Llama-3-8B, as printed"]
    figures.plot_layers(horizons.share_panel(against_controls(some, 0.05, "dirichlet")))
    plt.close("all")


def test_printed_figures_are_those_of_the_result_files():
    table = horizons.printed()
    llama = table.loc["Llama-3-8B"]
    assert llama.loc["4", ["0", OUTPUT]].tolist() == [1.280, 12.016]
    assert llama.loc["30", ["0", "1", OUTPUT]].tolist() == [1.812, 1.102, 1.102]
    assert llama["0"].iloc[-1] > llama["0"].iloc[0]
    # 12.089 over 7.057, and 12.016 over 12.907
    assert horizons.printed_ratios().loc["4"].tolist() == [1.39, 1.71, 1.22, 0.93]


def test_certificates_by_number_of_aliases():
    record = random_losses(40)
    copies = 4
    rng = np.random.default_rng(0)
    chosen = rng.random((40, record.d_sae, copies)) < 0.3
    chosen[..., 0] |= ~chosen.any(axis=-1)
    rows = (chosen & record.activity()[..., None]).reshape(40, -1)
    seen = rng.random((30, record.d_sae * copies)) < 0.1
    counts = {f"n_active_{r}": merged(seen, copies, r).sum(axis=0) for r in (1, 2, 4)}
    settings = {"delta": 0.05, "alpha": 0.5, "inequality": "hoeffding"}
    table = by_copies(
        record, np.packbits(rows, axis=1), counts | {"n_seq": np.array(30)}, 8, **settings
    )
    assert table.index.tolist() == [1, 2, 4]
    assert table["dictionary", "latents"].tolist() == [16, 32, 64]
    own = certify(record, pool=8, **settings)
    assert set(table["unmoved", "T1"]) == {own.bound}
    assert set(table["unmoved", "direct"]) == {own.direct}
    assert table["nats", "whole dictionary"].is_monotonic_increasing
    assert table["leaving", "share"].is_monotonic_increasing
    assert leave_more(table) is True
    none = table.copy()
    none["leaving", "share"] = 0.0
    assert isinstance(leave_more(none), Undecided)
    none["leaving", "share"] = [0.5, 0.2, 0.9]
    assert leave_more(none) is False
    unmoved = unmoved_table(table)
    assert list(unmoved)[:3] == ["latents", "bound, fixed pool", "direct bound"]
    assert list(unmoved)[3:] == ["price of explanation", "concepts within 0.5 bits"]
    assert set(unmoved["bound, fixed pool"]) == {own.bound}
    moved = moved_table(table)
    assert list(moved.columns.get_level_values(0).unique()) == [
        "dictionary",
        "cost of the pool, nats",
        "bound, bits",
    ]
    costs = moved["cost of the pool, nats", "exact set"]
    assert (costs == table["nats", "exact set"]).all()


def test_the_model_as_its_own_proxy():
    record = random_losses(40)
    settings = {"delta": 0.05, "alpha": 0.5}
    asked = {"own": {"pool": record.d_sae, "eps": (), **settings}}
    bounds = perfect_bounds(record, asked, **settings)
    assert list(bounds.columns) == [2, 3, 5, 10, 20, 40]
    assert list(bounds.index) == ["own", EXACT]
    own = certify(as_sae(record, "clean"), pool=record.d_sae, n_seq=10, eps=(), **settings)
    assert bounds.loc["own", 10] == own.bound
    assert bounds.loc[EXACT, 40] == exact_set_bound(as_sae(record, "clean"), **settings).bound
    assert (bounds.loc["own"] <= bounds.loc[EXACT]).all()

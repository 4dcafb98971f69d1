"""SAEs trained side by side: who is matched with whom, what is kept, and tables of it."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import D_MODEL

from saecert import collect
from saecert.certificates.comparison import compare
from saecert.dictionaries import norm_limits
from saecert.dictionaries.norm_limits import mean_limits
from saecert.dictionaries.quantities import PREDICTORS, tau_name
from saecert.reporting import norm_figures, top_afa, widened
from saecert.reporting.quantities import MEASURABLE
from saecert.reporting.tables import show
from saecert.statistics.rounding import half_step
from saecert.subjects.forward import native_acts
from saecert.subjects.top_afa import TopAFASAE
from saecert.training import compared as module
from saecert.training.compared import Plan, compared, token_counts, trained
from saecert.training.text import Windows

HOOK = "blocks.0.hook_resid_post"
PLAN = Plan(
    lambdas=(0.0, 0.05), usual_l0=3, n_cached=600, n_samples=1_280, expansion=4, batch_size=64
)


@pytest.fixture(scope="module")
def acts(subject, corpora):
    tokens = torch.from_numpy(corpora["discovery"].tokens.astype(np.int64))
    found = native_acts(subject.model, tokens, HOOK)[:, 1:].flatten(0, 1)
    return found.numpy().astype(np.float16)


@pytest.fixture
def on_tiny_text(monkeypatch, corpora):
    """The discovery split of made-up text where the docstrings would be."""
    corpus = corpora["discovery"]
    lengths = np.full(len(corpus), corpus.n_ctx)
    windows = Windows(corpus.tokens, lengths, bos=True)
    monkeypatch.setattr(module, "training_text", lambda *_, **__: (windows, windows))


@pytest.fixture
def measured(subject, corpora, on_tiny_text):
    sample = corpora["certification"].take(20)
    settings = {**vars(PLAN), "lambdas": list(PLAN.lambdas), "build": top_afa.BUILD}
    arrays = MEASURABLE["built"].measure(subject, sample, [HOOK], settings | {"progress": False})
    options = {"discovery": corpora["discovery"].take(10), "allow_bad_sae": True}
    native = collect(subject, sample, hook_name=HOOK, progress=False, **options)
    return arrays[HOOK], native


def test_each_top_afa_sae_has_a_topk_and_a_batchtopk_of_as_many_latents(acts, tmp_path):
    members = list(trained(acts, acts, PLAN, tmp_path))
    kinds = [m.recipe.architecture for m in members]
    assert kinds[:2] == ["top_afa", "top_afa"]
    asked = [m.recipe.l0 for m in members[:2]]
    for kind in ("topk", "batchtopk"):
        others = [m.recipe.l0 for m in members if m.recipe.architecture == kind]
        assert others == list(dict.fromkeys([3, *asked]))
    for member in members[:2]:
        assert isinstance(member.sae, TopAFASAE)
        found = token_counts(member.sae, acts).sum() / len(acts)
        assert member.recipe.l0 == pytest.approx(found, abs=0.5)
    for member in members:
        same = {"seed": 0, "order_seed": 0, "n_samples": 1_280, "learning_rate": 2e-3}
        assert {name: getattr(member.recipe, name) for name in same} == same


def test_what_is_trained_is_not_trained_again(acts, tmp_path, monkeypatch):
    first = list(trained(acts, acts, PLAN, tmp_path))
    monkeypatch.setattr("saecert.training.sae.new_sae", lambda *_: 1 / 0)
    again = list(trained(acts, acts, PLAN, tmp_path))
    assert [m.recipe for m in again] == [m.recipe for m in first]


def test_tokens_on_which_latents_are_active(acts, tmp_path):
    sae = next(trained(acts, acts, PLAN, tmp_path)).sae
    codes = sae.encode(torch.from_numpy(acts.astype(np.float32)))
    assert token_counts(sae, acts).tolist() == (codes != 0).sum(dim=0).tolist()


def test_arrays_are_of_every_sae_and_sequence(measured):
    arrays, _ = measured
    n_saes = len(arrays["kind"])
    assert n_saes >= 6
    for name in ("nmse", "full", "pool", "l0", "total_variation", "token norm_f"):
        assert arrays[name].shape == (n_saes, 20), name
        assert arrays[name].dtype == np.float16, name
    assert arrays["clean"].shape == arrays["zero"].shape == (20,)
    assert arrays["l0 counts"].shape == (n_saes, 4 * D_MODEL + 1)
    assert int(arrays["pool size"]) == 3 * D_MODEL
    found = top_afa.members(arrays)
    for member in found:
        counts = member.values["l0 counts"]
        mean = (counts * np.arange(len(counts))).sum() / counts.sum()
        # the last token has no next one: norms leave it out
        assert member.values["l0"].mean() == pytest.approx(mean, rel=0.1)
        if member.kind == "TopK":
            assert np.flatnonzero(counts).max() <= member.asked
    assert [m.label for m in found[:2]] == ["top-AFA, 0", "top-AFA, 1/20"]


def test_records_are_certified_and_compared(measured):
    arrays, native = measured
    found = top_afa.members(arrays)
    settings = {"alpha": 0.5, "delta": 0.05, "inequality": "dirichlet"}
    made = top_afa.certificates_of(native, arrays, found, settings)
    for member in found:
        certificate, _ = made[member.label]
        gap = np.abs(arrays["clean"] - member.values["full"]).mean()
        assert certificate.means["reconstruction gap"] == pytest.approx(gap, abs=1e-5)
        assert certificate.k == 3 * D_MODEL
    triples = top_afa.matched(found)
    assert [a.asked == b.asked == c.asked for a, b, c in triples] == [True, True]
    table = top_afa.differences(made, triples, 0.05, "dirichlet")
    first, other = table.index[0]
    a, b = (next(m for m in found if m.label == label) for label in (first, other))
    mean = (a.values["nmse"] - b.values["nmse"]).mean()
    assert table.iloc[0][("NMSE", "mean")] == pytest.approx(mean, abs=1e-6)
    ends = [table.xs(end, axis=1, level=1) for end in ("lower", "upper")]
    assert (ends[0] <= ends[1]).all(axis=None)
    larger = (a.values["nmse"] > b.values["nmse"]).mean()
    assert table.iloc[0][(top_afa.LARGER_NMSE, "share")] == larger
    assert table.iloc[0][(top_afa.LARGER_NMSE, "at least")] <= larger
    gaps = [np.abs(m.values["full"] - arrays["clean"]) for m in (a, b)]
    assert table.iloc[0][(top_afa.LARGER_GAP, "share")] == pytest.approx(
        (gaps[0] > gaps[1]).mean(), abs=0.051
    )
    rows = top_afa.certified(made, 0.05, "dirichlet")
    assert rows.loc[first, "sharp"] == made[first][0].sharp
    assert "sharp" in str(show(rows, "a table"))


def test_limits_on_what_was_kept_in_half_precision_are_widened(measured):
    arrays, native = measured
    found = top_afa.members(arrays)
    settings = {"alpha": 0.5, "delta": 0.05, "inequality": "dirichlet"}
    made = top_afa.certificates_of(native, arrays, found, settings)
    table = top_afa.differences(made, top_afa.matched(found), 0.05, "dirichlet")
    first, other = table.index[0]
    step = half_step(made[first][0].hi - made[first][0].lo)
    assert widened.certified(made, 0.05, "dirichlet").loc[first, "sharp"] == (
        made[first][0].sharp + step
    )
    told = compare(
        made[first][0],
        made[other][0],
        (made[first][1], made[other][1]),
        quantity="gap",
        delta=0.05 / 20,
    )
    assert table.iloc[0][("gap", "lower")] == pytest.approx(told.lower - 2 * step)
    assert table.iloc[0][("gap", "upper")] == pytest.approx(told.upper + 2 * step)
    each = widened.certified(made, 0.05 / (2 * len(found)), "dirichlet")
    everyone = widened.of_saes(native, arrays, found, settings)
    np.testing.assert_array_equal(everyone.to_numpy(), each.to_numpy())
    assert "sharp bound, bits" in everyone
    assert top_afa.own_rows(everyone).index.tolist() == [m.label for m in found[:2]]


def test_differences_in_short(measured):
    arrays, native = measured
    found = top_afa.members(arrays)
    settings = {"alpha": 0.5, "delta": 0.05, "inequality": "dirichlet"}
    made = top_afa.certificates_of(native, arrays, found, settings)
    table = top_afa.differences(made, top_afa.matched(found), 0.05, "dirichlet")
    everywhere = pd.concat({"layer 0": table, "layer 1": table + 1}, names=[""])
    summary = top_afa.summary(everywhere)
    assert summary["", "pairs"].tolist() == [len(table)] * 2
    told = summary["larger mean, certified pairs"]
    assert told.loc["layer 0", "NMSE"] == (table["NMSE", "lower"] > 0).sum()
    assert told.loc["layer 1"].tolist() == [
        (table[x, "lower"] > -1).sum() for x in ("NMSE", "gap", "sharp")
    ]
    least = summary["share of texts with larger, at least"].loc["layer 0", "gap"]
    assert least == table[top_afa.LARGER_GAP, "at least"].min()


def test_tables_and_figure_of_quality(measured):
    arrays, _ = measured
    found = top_afa.members(arrays)
    table = top_afa.quality(found, 0.05, "dirichlet")
    assert (table[("NMSE", "lower")] <= table[("NMSE", "mean")]).all()
    for member in found[:2]:
        x = member.values["nmse"]
        low, _, high = mean_limits(x, (0.0, 1.0), np.log(3 * len(found) / 0.05), "dirichlet")
        row = table.loc[member.label, "NMSE"]
        assert (row["lower"], row["upper"]) == (max(low - half_step(1), 0), high + half_step(1))
    assert (table[("active latents", "5 %")] <= table[("active latents", "95 %")]).all()
    panel = top_afa.panel("layer 0", found, 0.05, "dirichlet")
    fig = norm_figures.plot_sparsity(panel, D_MODEL)
    assert fig.axes[0].get_title() == "layer 0"
    small = panel.assign(value=1e-4, lower=[0.0] + [5e-5] * (len(panel) - 1))
    for ax in norm_figures.plot_sparsity(pd.concat([panel, small.assign(panel="2")]), D_MODEL).axes:
        assert ax.get_yscale() == "log" and ax.get_ylim()[0] > 0
    assert (table[("active latents", "at most")] >= table[("active latents", "mean")]).all()


def test_what_splices_cost_and_how_it_is_ranked(measured):
    arrays, native = measured
    found = top_afa.members(arrays)
    settings = {"alpha": 0.5, "delta": 0.05, "inequality": "dirichlet"}
    made = top_afa.certificates_of(native, arrays, found, settings)
    rises, largest = top_afa.increases(made)
    first = found[0]
    expected = first.values["full"] - arrays["clean"]
    np.testing.assert_allclose(rises[first.label], expected, atol=1e-3)
    assert np.abs(expected).max() < largest
    rows = {m.label: m.values for m in found}
    ranks = norm_limits.ranks_of_saes(rows, rises, largest, 0.9, "dirichlet")
    assert (ranks["lower"] <= ranks["upper"]).all()
    pairs = [(x, "total_variation") for x in PREDICTORS]
    within = norm_limits.ranks_within(rows, 0.9, "dirichlet", pairs)
    table = top_afa.ranks_by_kind(within, {m.label: m.kind for m in found})
    name = tau_name("nmse", "total_variation")
    means = [m.values[name].mean() for m in found if m.kind != "top-AFA"]
    kinds = ["top-AFA", "TopK", "BatchTopK"]
    assert [kind for _, kind in table.index[:3]] == kinds
    of_top_k = table.loc["nmse"].loc[kinds[1:]]
    assert of_top_k["smallest"].min() == pytest.approx(min(means))
    assert of_top_k["largest"].max() == pytest.approx(max(means))


def test_other_sequences_than_those_measured_are_refused(measured):
    arrays, native = measured
    member = top_afa.members(arrays)[0]
    moved = dict(arrays) | {"clean": arrays["clean"] + 1}
    with pytest.raises(ValueError, match="measured on other sequences"):
        top_afa.record_of(native, moved, member, 0.5)
    with pytest.raises(ValueError, match="measured on other sequences"):
        top_afa.record_of(native.take(slice(0, 5)), arrays, member, 0.5)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"lambdas": (0.1, -0.1)}, "lambdas are one or more numbers from 0 on"),
        ({"lambdas": ()}, "lambdas are one or more numbers"),
        ({"pool_share": 0.0}, "pool_share lies in"),
    ],
    ids=["negative", "none", "no pool"],
)
def test_plans_that_cannot_be(changes, says):
    with pytest.raises(ValueError, match=says):
        replace(PLAN, **changes)


def test_numbers_reported_for_others_stand_as_they_are():
    table = top_afa.reported()
    assert table.loc[("top-AFA", "lambda = 1/128"), "NMSE"] == 0.132
    assert table.loc[("TopK", "k = 512"), "active latents"] == 512


def test_the_same_call_gives_the_same_numbers(subject, corpora, on_tiny_text):
    sample = corpora["certification"].take(6)
    settings = {**vars(replace(PLAN, lambdas=(0.05,))), "progress": False}
    first, again = (compared(subject, sample, [HOOK], settings)[HOOK] for _ in range(2))
    for name, values in first.items():
        np.testing.assert_array_equal(values, again[name], err_msg=name)

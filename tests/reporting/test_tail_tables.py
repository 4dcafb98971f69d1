"""Tables and figures of page 08."""

from dataclasses import replace

import numpy as np
import pytest
from synthetic_losses import random_losses

from saecert.certificates.divergence import divergence_range
from saecert.reporting import tail_figures, tails
from saecert.reporting.study import open_study
from saecert.statistics.coverage_tails import statements

SETTINGS = {"delta": 0.05, "alpha": 0.5}


@pytest.fixture(scope="module")
def losses():
    record = random_losses(300)
    ablated = np.clip(record.loss["clean"] + 5, None, 12.9)
    return replace(record, loss=record.loss | {"zero": ablated})


def test_tables_have_a_row_a_pool(losses):
    pools = losses.pool_sizes[::-1]
    limits = tails.quantile_table(losses, pools, eps=1.0, **SETTINGS)
    assert list(limits.columns) == ["0.5", "0.9", "0.95", "0.99", "P(gap > 1), at most"]
    assert list(limits.index) == [16, 8, 4]
    assert limits["P(gap > 1), at most"][16] == pytest.approx(1 - 0.05 ** (1 / 300))
    printed = tails.named_quantiles(limits, 1.0)
    assert list(printed.columns[[0, -1]]) == [
        ("quantile, at most", "0.5"),
        ("probability, at most", "gap > 1"),
    ]
    assert (printed.to_numpy() == limits.to_numpy()).all()
    means = tails.mean_table(losses, pools, cap=0.5, inequality="dirichlet", **SETTINGS)
    assert (means["mean, at most"] > means["mean"]).all()
    assert (means["capped, at most"] > means["capped mean"]).all()
    assert means["share"][16] == pytest.approx(1 - 0.05 ** (1 / 300), rel=0.15)
    scores = tails.recovered_table(losses, pools, inequality="dirichlet", **SETTINGS)
    assert scores["ablation"].unique().tolist() == ["zero ablation"]
    assert ((scores["lower"] < scores["mean"]) & (scores["mean"] < scores["upper"])).all()
    sample = tails.exceedance(losses, pools, 0.5)
    assert (
        sample.groupby("k")["share"].agg(["min", "max"]).to_numpy().tolist()
        == [[pytest.approx(1 / 300), 1.0]] * 3
    )
    left, right = tail_figures.plot_tails(sample, limits, means).axes
    assert len(left.lines) == 6 and len(right.lines) == 3
    (ax,) = tail_figures.plot_recovered(scores).axes
    assert ax.get_xlabel() == "loss recovered"


def test_one_hook_few_sequences_and_no_ablation_are_no_obstacle():
    record = random_losses(40)
    limits = tails.quantile_table(record, (16,), eps=1.0, **SETTINGS)
    assert list(limits.columns) == ["0.5", "0.9", "P(gap > 1), at most"]
    scores = tails.recovered_table(record, (16,), inequality="dirichlet", **SETTINGS)
    assert scores.empty and list(scores.columns) == ["ablation", "k", "mean", "lower", "upper"]


def test_divergences_are_kept_and_read_without_torch():
    names = ["full", "pool(1152)", "pool(768)", "pool(384)", "pool(192)", "mean", "zero"]
    alphas = [0.5, 0.01]
    found = open_study(n_seq=200).measure("divergence", proxies=names, alphas=alphas)
    assert {values.shape for values in found.values()} == {(200, 2)}
    frame = tails.divergence_table(found, alphas, 4096, delta=0.05, inequality="hoeffding")
    assert (frame["upper"] <= [divergence_range(a, 4096) for a in frame["alpha"]]).all()
    at_half = frame[frame["alpha"] == 0.5].set_index("proxy")["mean"]
    assert at_half[
        ["full", "pool_1152", "pool_768", "pool_384", "pool_192"]
    ].is_monotonic_increasing


@pytest.mark.parametrize("wrong", [False, True])
def test_a_statement_in_the_form_of_page_04(wrong):
    rows = tails.misses_of_statement(
        statement="quantile at 0.95", n=100, wrong=wrong, draws=2000, delta=0.05, seed=0
    )
    assert {row["verdict"] for row in rows} == ({"rejected"} if wrong else {"valid"})
    label = "quantile at 0.95, one rank too low" if wrong else "quantile at 0.95"
    assert {row["label"] for row in rows} == {label}
    assert set(statements()) > {"share", "capped mean", "loss recovered"}


def test_tables_call_proxies_by_words():
    names = ("full", "pool_1152", "mean", "noise")
    words = [tails.proxy_in_words(name) for name in names]
    assert words == ["whole SAE", "pool of 1,152", "mean ablation", "noise"]

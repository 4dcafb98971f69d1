"""Tables, verdicts and figures of page 20, from arrays that are made up."""

import re

import nbformat
import numpy as np
import pandas as pd
import pytest
from checks import ROOT

from saecert.dictionaries.quantities import (
    CLASSES_OF_TOKENS,
    DETECTION,
    JUDGED_PARTS,
    OTHER_LATENT,
    RANDOM_LATENTS,
    SPARSE,
    edit_name,
    package_label,
    probe_name,
)
from saecert.reporting import random_baseline_figures as figures
from saecert.reporting import random_baselines as reporting
from saecert.reporting.claims import Undecided
from saecert.reporting.tables import show

N_VOCAB = 320
N_SEQ, N_SPLICED = 30, 20
STEPS = 3


def names_of_scores(floor=""):
    names = [probe_name(k, label, floor) for k in SPARSE for label in ("code", "example")]
    return names + [edit_name(p, a, floor) for a in CLASSES_OF_TOKENS for p in JUDGED_PARTS]


@pytest.fixture(scope="module")
def arrays():
    """Sixteen SAEs at 4 active latents and four at 2: the less is held, the better."""
    rng = np.random.default_rng(0)
    kinds = [0] * 8 + [1] * 4 + [3] * 4 + [0] * 4
    held = np.tile(np.arange(4), 5)
    n = len(kinds)
    worse = np.array([0.0, 0.3, 0.1, 0.2])[held][:, None]
    texts = rng.random(N_SPLICED)
    noise = rng.normal(size=(n, N_SPLICED)) * 0.02
    found = {
        "architecture": np.array(kinds),
        "frozen": held,
        "start": np.array([1] * 4 + [2] * 4 + [1] * 12),
        "asked": np.array([4] * 16 + [2] * 4),
        "d_sae": np.full(n, 64),
        "pooled": 0.9 - worse[:, 0],
        "silent": np.zeros(n),
        "cosine": np.tile([0.9, 0.8, 0.85, 0.9], (n, 1)),
        "explained": (0.8 - worse + 0.1 * rng.random((1, N_SEQ))).astype(np.float16),
        "full": (0.2 + worse * (1 + texts) + noise).astype(np.float16),
        "pool": (0.3 + worse * (1 + texts) + noise).astype(np.float16),
        "total_variation": (0.1 + worse * 0.5 + 0.1 * texts).astype(np.float16),
        "disagreement": (0.1 + worse * 0.5 + 0.1 * texts).astype(np.float16),
        "l0": np.full((n, N_SPLICED), 4.0, np.float16),
        "clean": 3 + texts,
        "zero": 7 + texts,
        "pool size": np.array(48),
        "steps": np.array([0, 10, 20]),
        "training explained": rng.random((2, STEPS, N_SEQ)),
        "training full": rng.normal(size=(2, STEPS, N_SPLICED)),
        "training cosine": np.sort(rng.random((2, STEPS, 4)))[..., [3, 0, 1, 2]],
    }
    units = rng.random((16, 25))
    for name in names_of_scores():
        found[f"judged {name}"] = units.astype(np.float16)
        found[f"dead {name}"] = np.array(0.5)
    found |= {f"floor {name}": np.full(16, 0.55) for name in names_of_scores(RANDOM_LATENTS)}
    found[f"judged {DETECTION}"] = rng.random((16, 64))
    found[f"floor {OTHER_LATENT}"] = np.full(16, 0.6)
    found[f"dead {DETECTION}"] = np.array(0.5)
    return found


@pytest.fixture(scope="module")
def found(arrays):
    return reporting.members(arrays, 0.5, N_VOCAB)


@pytest.fixture(scope="module")
def width():
    return reporting.loss_width(0.5, N_VOCAB)


def test_differences_are_paired_and_hold_jointly(found, width):
    chosen = reporting.main_set(found)
    table = reporting.all_differences(chosen, 0.05, "dirichlet", width)
    assert len(table) == 12
    for measure in (*reporting.FIT, *reporting.CERTIFIED, *reporting.SCORES):
        part = table[measure]
        assert (part["lower"] <= part["mean"]).all() and (part["mean"] <= part["upper"]).all()
    a, b = reporting.twins(chosen)[0]
    mean = (a.values["explained"] - b.values["explained"]).mean()
    assert table.iloc[0][("explained variance", "mean")] == pytest.approx(mean)
    gap = np.abs(a.values["full"] - a.values["clean"]).mean()
    gap -= np.abs(b.values["full"] - b.values["clean"]).mean()
    assert table.iloc[0][("gap", "mean")] == pytest.approx(gap)
    alone = reporting.differences(chosen, 0.05, "dirichlet", width, ["explained variance"])
    wide = table["explained variance"]
    assert (alone["explained variance", "upper"] <= wide["upper"]).all(), "paid for all at once"


def wide_table(held, explained=-0.2):
    """One baseline that costs more, with open scores."""
    means = {"explained variance": explained, "total variation": 0.2}
    means |= dict.fromkeys(reporting.SCORES, 0.0)
    row = {(m, end): x + d for m, x in means.items() for end, d in ENDS_APART.items()}
    return pd.DataFrame({f"TopK, {held}, isotropic": row}).T


ENDS_APART = {"lower": -0.1, "mean": 0.0, "upper": 0.1}


def test_verdicts_read_both_directions():
    columns = pd.MultiIndex.from_product([["gap", "probe 1"], reporting.ENDS])
    rows = {
        "BatchTopK, frozen decoder, isotropic": [0.1, 0.2, 0.3, -0.3, -0.2, -0.1],
        "BatchTopK, soft decoder, isotropic": [-0.3, -0.2, -0.1, -0.1, 0.0, 0.1],
    }
    table = pd.DataFrame(rows, index=columns).T
    found = reporting.verdicts(table)
    assert found.to_numpy().tolist() == [["worse", "worse"], ["better", "open"]]
    assert reporting.told(table, ["gap", "probe 1"], ["frozen decoder"]) is True
    assert reporting.told(table, ["gap"]) is False
    assert reporting.untold(table, ["probe 1"], ["soft decoder"])
    assert not reporting.untold(table, ["probe 1"])
    fixed = reporting.fixed_beforehand({"layer 1": wide_table("frozen decoder")})
    assert list(fixed.values()) == [True, True, True]
    fixed = reporting.fixed_beforehand({"layer 1": wide_table("frozen decoder", 0.2)})
    assert list(fixed.values()) == [False, True, True]
    odd = reporting.better_fit_at_larger_cost({"layer 1": wide_table("frozen encoder", 0.2)})
    assert odd == ["layer 1: TopK, frozen encoder, isotropic"]
    counts = reporting.verdict_counts({"layer 1": table, "layer 4": table})
    assert counts.loc["frozen decoder"].to_dict() == {"gap": 2, "probe 1": 2, "baselines": 2}
    assert counts.loc["soft decoder", "gap"] == 0


def test_a_baseline_that_limits_leave_open_refutes_nothing():
    """Two hook points: worse at one and open at the other is undecided, better there is "no"."""
    decoder, encoder = (wide_table(f"frozen {part}") for part in ("decoder", "encoder"))
    encoder["total variation", "lower"] = -0.1
    fixed = reporting.fixed_beforehand({"layer 1": encoder, "layer 4": decoder})
    first, second, third = fixed.values()
    assert first is True and isinstance(second, Undecided) and third is True
    assert reporting.claims_frame(fixed)["holds"].tolist() == ["yes", "undecided", "yes"]
    encoder["total variation", "upper"] = -0.01
    fixed = reporting.fixed_beforehand({"layer 1": encoder, "layer 4": decoder})
    assert reporting.claims_frame(fixed)["holds"].tolist() == ["yes", "no", "yes"]


def test_what_limits_refute_on_the_page_is_one_claim_of_two():
    """Explained variance is certified better at both layers; total variation is open at one."""
    notebook = nbformat.read(ROOT / "notebooks/20_random_baselines.ipynb", as_version=4)
    texts = [
        output["data"]["text/plain"]
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if "data" in output
    ]
    (table,) = (text for text in texts if "Claims that were fixed beforehand" in text)
    assert re.search(r"frozen parts explain less +no\n", table)
    assert re.search(r"frozen parts change predictions more +undecided\n", table)


def test_figures(arrays, found, width):
    chosen = reporting.main_set(found)
    table = reporting.all_differences(chosen, 0.05, "dirichlet", width)
    fig = figures.plot_differences(table, ["probe 1", "gap"], "layer 0")
    assert [ax.get_title() for ax in fig.axes] == ["probe 1", "gap"]
    assert fig.axes[1].get_xlabel().endswith("bits")
    rows = [tick.get_text() for tick in fig.axes[0].get_yticklabels()]
    assert rows[0] == "BatchTopK, frozen decoder" and rows[3].endswith("(cov)")
    sweep = reporting.sweep_frame(found, 0.05, "dirichlet", width)
    assert sorted(sweep["l0"].unique()) == [2, 4] and len(sweep) == 24
    assert len(figures.plot_sweep(sweep).axes) == 3
    frame = reporting.training_frame(arrays, 0.05, "dirichlet", width)
    assert (frame["lower"] <= frame["mean"]).all() and (frame["mean"] <= frame["upper"]).all()
    assert len(frame) == 18 and len(figures.plot_training(frame).axes) == 3


def test_means_and_floors(arrays, found, width):
    chosen = reporting.main_set(found)
    table = reporting.means(chosen, width)
    assert len(table) == 16 and table.loc["TopK, trained, isotropic", reporting.ACTIVE] == 4
    gap = np.abs(arrays["full"][8].astype(float)).mean()
    assert table.loc["TopK, trained, isotropic", "gap"] == pytest.approx(gap)
    assert reporting.POOLED in str(show(table, "means"))
    low = reporting.floors(chosen, arrays)
    assert low.loc["dead SAE"].tolist() == [0.5] * 4
    assert low.loc["random stand-ins"].tolist() == pytest.approx([0.55] * 3 + [0.6])


def test_what_is_held_side_by_side(found, width):
    chosen = reporting.main_set(found)
    table = reporting.means(chosen, width)
    rows = pd.concat({"layer 1": table, "layer 4": table + 1}, names=["", "SAE"])
    rows.loc[("layer 1", "dead SAE"), :] = 0.0
    measures = [reporting.VARIATION, reporting.EXPLAINED]
    wide = reporting.side_by_side(reporting.by_kind(rows), measures)
    assert list(wide) == [(measure, word) for measure in measures for word in reporting.HELD]
    assert len(wide) == 2 * len(table) / 4
    for label in table.index:
        kind, held, start = label.split(", ")
        shown = wide.loc[("layer 4", f"{kind} {start[:3]}"), (reporting.EXPLAINED, held)]
        assert shown == table.loc[label, reporting.EXPLAINED] + 1


def test_macro_scores_are_means_over_packages(found):
    chosen = reporting.main_set(found)[:4]
    rng = np.random.default_rng(1)
    names = [probe_name(k, package_label(x)) for k in SPARSE for x in ("numpy", "scipy")]
    besides = {f"judged {name}": rng.random((4, n)) for n, name in enumerate(names, 12)}
    besides |= {f"floor {name}, {RANDOM_LATENTS}": np.full(4, 0.6) for name in names}
    besides |= {f"dead {name}": np.array(0.5) for name in names}
    assert reporting.packages_in(besides) == ["numpy", "scipy"]
    table = reporting.macro_scores(chosen, besides)
    by_package = [besides[f"judged {name}"][2].mean() for name in names[:2]]
    assert table.loc[chosen[2].label, "best 1"] == pytest.approx(np.mean(by_package))
    assert table.loc["dead SAE", "best 5"] == 0.5
    assert table.loc[chosen[0].label, "5 of random latents"] == pytest.approx(0.6)
    apart = reporting.macro_differences(chosen, besides, 0.05, "dirichlet")
    best = table["best 1"]
    mean = best[chosen[3].label] - best[chosen[0].label]
    assert apart.loc[chosen[3].label, ("packages 1", "mean")] == pytest.approx(mean)
    assert (apart["packages 5", "lower"] < apart["packages 5", "upper"]).all()
    assert reporting.macro_scores(chosen, {}).isna().all(axis=None)
    assert "nan" not in str(show(reporting.macro_scores(chosen, {}), "none")).lower()
    assert reporting.macro_differences(chosen, {}, 0.05, "dirichlet").shape == (3, 0)


def test_scores_of_one_unit_are_left_out(arrays):
    few = dict(arrays) | {f"judged {probe_name(1, 'code')}": np.ones((16, 1))}
    (first, *_) = reporting.members(few, 0.5, N_VOCAB)
    assert probe_name(1, "code") not in first.scores
    assert probe_name(1, "code", RANDOM_LATENTS) not in first.floors
    assert probe_name(5, "code") in first.scores


def test_what_differs_is_told_and_what_does_not_is_open(found, width):
    chosen = reporting.main_set(found)
    table = reporting.all_differences(chosen, 0.05, "dirichlet", width)
    frozen = ("frozen decoder",)
    left = reporting.told(table, reporting.FIT)
    assert isinstance(left, Undecided), "20 texts do not tell .1"
    assert reporting.untold(table, reporting.SCORES)
    counts = reporting.verdict_counts({"layer 0": table})
    assert counts["baselines"].tolist() == [4, 4, 4]
    easy = reporting.differences(chosen, 0.9, "dirichlet", width, reporting.FIT)
    assert reporting.told(easy, reporting.FIT, frozen) is True


def test_what_others_reported_stands_as_it_is():
    table = reporting.reported()
    row = table.loc[("Gemma-2-2B, layer 12", "soft-frozen decoder")]
    assert row["explained variance"] == 0.785 and row["probe 1"] == 0.659
    assert reporting.REPORTED_INTERPRETABLE["frozen decoder"] == 0.87

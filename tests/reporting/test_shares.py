"""Shares of units on which a random baseline is worse: from scores that are made up, of page 20."""

from dataclasses import replace

import jupytext
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
    probe_name,
)
from saecert.reporting import random_baseline_figures as figures
from saecert.reporting import random_baselines as baselines
from saecert.reporting import shares
from saecert.reporting.claims import Undecided, read_claims

DELTA = 0.2
N = 150


def scores_of(rng, level=0.75, spread=0.05, n=N):
    """Scores around a level: probes on two labels, edits near one half, detection."""
    found = {
        probe_name(k, label): rng.normal(level, spread, n).clip(0, 1)
        for k in SPARSE
        for label in ("code", "identifier")
    }
    for name in CLASSES_OF_TOKENS:
        changed = rng.uniform(0, 0.4, n)
        noise = rng.normal(0, 0.02, n)
        found[edit_name(JUDGED_PARTS[0], name)] = changed
        found[edit_name(JUDGED_PARTS[1], name)] = (1 - changed + noise).clip(0, 1)
    return found | {DETECTION: rng.normal(0.65, 0.1, 64).clip(0, 1)}


def member(held, scores):
    label = f"TopK, {held}, isotropic"
    floors = {f"{name}, {RANDOM_LATENTS}": 0.5 for name in scores if name != DETECTION}
    return baselines.Member(
        label, "TopK", held, "isotropic", 24, {}, scores, floors | {OTHER_LATENT: 0.5}
    )


def pair_of(rng, less=0.0, **options):
    """A trained SAE, and one with a frozen decoder whose scores are lower by so much."""
    trained = scores_of(rng, **options)
    noise = {name: rng.normal(0, 0.02, len(x)) for name, x in trained.items()}
    frozen = {name: (x - less + noise[name]).clip(0, 1) for name, x in trained.items()}
    return [member("trained", trained), member("frozen decoder", frozen)]


def test_false_alarms_are_at_most_delta():
    """Twins that differ by noise alone: a difference may be told in a share delta of samples."""
    rng = np.random.default_rng(0)
    n_samples = 300
    alarms = sum(
        bool((shares.unit_shares({"": pair_of(rng)}, DELTA)["verdict"] != "open").any())
        for _ in range(n_samples)
    )
    assert 0 < alarms <= n_samples * DELTA + 3 * np.sqrt(n_samples * DELTA * (1 - DELTA))


@pytest.mark.parametrize("ties", [True, False])
def test_limits_cover_the_shares(ties):
    """Half of the units equal, of the others three in four worse: limits that hold jointly."""
    rng = np.random.default_rng(1)
    truth = (0.375, 0.125) if ties else (0.75, 0.25)
    missed = 0
    for _ in range(200):
        found = pair_of(rng)
        for name, x in found[0].scores.items():
            change = rng.choice([-0.1, 0.0, 0.1], len(x), p=[0.375, 0.5, 0.125])
            found[1].scores[name] = (x.clip(0.2, 0.8) + change).astype(float)
            found[0].scores[name] = x.clip(0.2, 0.8)
        table = shares.unit_shares({"": found}, DELTA, ties)
        table = table[table.index.get_level_values("measure") != "edit"]
        limits = table[["worse, at least", "better, at least"]]
        missed += bool((limits.to_numpy() > np.array(truth)).any())
    assert missed <= 200 * DELTA + 3 * np.sqrt(200 * DELTA * (1 - DELTA))


def test_a_difference_that_limits_on_means_miss_is_found():
    found = pair_of(np.random.default_rng(2), less=0.02)
    means = baselines.verdicts(baselines.judged_differences(found, 0.05, "dirichlet"))
    assert (means[["probe 1", "probe 5"]] == "open").all(axis=None)
    table = shares.unit_shares({"": found}, 0.05)
    assert (table.xs("probe 1", level="measure")["verdict"] == "worse").all()
    assert shares.told_shares(table, "worse", ["probe 1"]) == 1
    turned = [replace(found[0], scores=found[1].scores), replace(found[1], scores=found[0].scores)]
    other = shares.unit_shares({"": turned}, 0.05)
    assert other["better, at least"].tolist() == table["worse, at least"].tolist()
    assert shares.told_shares(other, "worse") == 0


def test_counts_by_hand_and_ties_count_for_neither_side():
    found = pair_of(np.random.default_rng(3))
    name = probe_name(1, "code")
    found[0].scores[name] = np.full(20, 0.5)
    found[1].scores[name] = np.repeat([0.25, 0.5, 0.75], [12, 7, 1])
    key = ("", found[1].label, "probe 1", "code")
    row = shares.unit_shares({"": found}, 0.05).loc[key]
    assert row[["n", "worse", "equal", "better"]].tolist() == [20, 12, 7, 1]
    assert row["verdict"] == "open" and row["difference"] == pytest.approx(-11 / 80)
    assert shares.unit_shares({"": found}, 0.9, ties=False).loc[key, "verdict"] == "worse"
    by = shares.by_label(shares.unit_shares({"": found}, 0.05)).loc[("probe 1", "code")]
    assert by.tolist() == [20, 7, 0, 0, 1]


def test_an_edit_that_differs_within_the_half_steps_of_what_was_kept_is_equal():
    found = pair_of(np.random.default_rng(4))
    names = [edit_name(p, a) for a in CLASSES_OF_TOKENS for p in JUDGED_PARTS]
    for step, equal in ((0.0004, N), (0.0006, 0)):
        for name in names:
            found[0].scores[name] = np.full(N, 0.5)
            found[1].scores[name] = np.full(N, 0.5 - step)
        row = shares.unit_shares({"": found}, 0.05).xs("edit", level="label").iloc[0]
        assert row["equal"] == equal


def test_a_dead_sae_is_not_told_where_nothing_can_be_and_no_dead_one_from_another():
    found = pair_of(np.random.default_rng(5))
    found[0].scores[DETECTION] = found[0].scores[DETECTION] - 0.08  # .57, as little as can be
    table = shares.what_could_be_told({"": found}, (0.01, 0.05), "dirichlet")
    assert table["dead SAE told", "by means"].tolist() == [1, 1, 0, 0]
    assert table["dead SAE told", "of"].tolist() == [1] * 4
    assert table["trained above", "one half"].tolist()[:2] == [1, 1]
    assert table.loc["edit", ("trained above", "random latents")] == 0
    dead = shares.dead_in_place(found)
    both = [replace(dead[0], scores=dead[1].scores), dead[1]]
    counted = shares.unit_shares({"": both}, 0.9)
    assert (counted["verdict"] == "open").all() and (counted["equal"] == counted["n"]).all()
    verdicts = baselines.verdicts(baselines.judged_differences(both, 0.9, "dirichlet"))
    assert (verdicts == "open").all(axis=None)


def test_what_a_frozen_decoder_keeps_of_a_score_above_its_floor():
    found = pair_of(np.random.default_rng(6), less=0.05)
    nothing = {"l0": np.zeros(2), "pooled": 0, "cosine": [1]}
    values = nothing | {name: np.zeros(2) for name in ("explained", "full", "pool", "clean")}
    values |= {name: np.zeros(2) for name in ("total_variation", "disagreement")}
    found = [replace(m, values=values) for m in found]
    arrays = {f"dead {name}": np.array(0.5) for name in found[0].scores}
    kept = shares.kept_above_floor({"layer 1": (found, arrays)})
    a, b = (
        np.mean([m.scores[probe_name(1, x)].mean() for x in ("code", "identifier")]) for m in found
    )
    share = kept.loc[("layer 1", found[1].label), ("one half", "probe 1")]
    assert share == pytest.approx((b - 0.5) / (a - 0.5))
    assert kept.iloc[0][("random latents", "probe 1")] == pytest.approx(share)


def test_counts_over_baselines_and_figures():
    rng = np.random.default_rng(7)
    found = [*pair_of(rng, less=0.04), member("soft decoder", {})]
    found[2] = replace(found[2], scores={k: x + 0.0 for k, x in found[0].scores.items()})
    table = shares.unit_shares({"layer 1": found}, 0.05)
    by = shares.by_held(table)
    assert by.loc["frozen decoder"].tolist() == [1, 0, 0, 0, 1]
    assert by.loc["all"].tolist() == [1, 0, 0, 1, 2]
    drawn = shares.whole(table.loc["layer 1"], "probe 1")
    assert drawn == [("probe 1", "code"), ("probe 1", "identifier")]
    fig = figures.plot_shares(table.loc["layer 1"], drawn, "layer 1")
    assert [ax.get_title() for ax in fig.axes] == ["probe 1 of code", "probe 1 of identifier"]
    assert len(fig.axes[0].get_yticks()) == 2


def test_shares_that_are_open_refute_no_claim():
    """Probes worse: the first claim holds; turned around it does not; by noise alone it is open."""
    worse = pair_of(np.random.default_rng(8), less=0.05)
    turned = [replace(a, scores=b.scores) for a, b in zip(worse, worse[::-1], strict=True)]
    frame = pd.DataFrame({(m, end): [0.0] for m in MEASURES for end in baselines.ENDS})
    paired = {"": frame.set_axis([worse[1].label])}
    names = ["by shares, probes tell most baselines to be worse"]
    names += ["by shares, probes tell some to be better"]
    for found, told in ((worse, [True, False]), (turned, [False, True])):
        claimed = shares.claimed(paired, shares.unit_shares({"": found}, 0.05))
        assert [claimed[name] for name in names] == told
    noise = shares.unit_shares({"": pair_of(np.random.default_rng(9))}, 1e-6)
    claimed = shares.claimed(paired, noise)
    assert all(isinstance(claimed[name], Undecided) for name in [*names, *list(claimed)[3:]])


MEASURES = (baselines.EXPLAINED, baselines.VARIATION, *baselines.SCORES)


def test_the_page_claims_what_it_prints():
    """Numbers of the tables behind the claims by shares, read off the page as it was executed."""
    notebook = nbformat.read(ROOT / "notebooks/20_random_baselines.ipynb", as_version=4)
    source = jupytext.read(ROOT / "notebooks/20_random_baselines.py")
    texts = [
        output.get("text", "") or output.get("data", {}).get("text/plain", "")
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
    ]
    verdicts = read_claims("\n".join(text for text in texts if "by shares, probes" in text))
    assert verdicts["limits on mean scores tell no baseline"] == "holds"
    assert verdicts["by shares, probes tell most baselines to be worse"] == "holds"
    (held,) = (text for text in texts if "Baselines told by some share" in text)
    (row,) = (line.split() for line in held.splitlines() if line.strip().startswith("all"))
    worse, better, both, neither, n = map(int, row[1:])
    assert worse + better + both + neither == n
    words = "\n".join(cell.source for cell in source.cells if cell.cell_type == "markdown")
    assert f"tell {worse + both} baselines to be worse" in words
    assert f"tell {better + both} to be better" in words and (worse + both) > n / 2
    assert "tells no random SAE" not in words and "tell no random SAE" not in words
    (could,) = (text for text in texts if "What each measure could have told" in text)
    lines = [line.split() for line in could.split("\n\n")[1].splitlines()]
    rows = {line[0]: line[1] for line in lines}
    assert rows["edit"] == rows["detection"] == "0", "withdrawn: a dead SAE is not told either"

"""Limits on scores and on their differences, from made-up scores of known means."""

import numpy as np
import pytest

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
from saecert.reporting import judged
from saecert.statistics.inequalities import hoeffding_upper

LABELS = ("package", "identifier")
SIZES = dict(zip(LABELS, (40, 90), strict=True))


def made_up(level, seed=0, n=400):
    """Scores of an SAE with the given mean of everything; those of its floor have mean 1/2."""
    rng = np.random.default_rng(seed)

    def drawn(mean, size):
        return (rng.random(size) < mean).astype(np.float32)

    found = {}
    for floor, mean in {"": level, RANDOM_LATENTS: 0.5}.items():
        for label in LABELS:
            for k in SPARSE:
                found[probe_name(k, label, floor)] = drawn(mean, SIZES[label])
        for name in CLASSES_OF_TOKENS:
            for part in JUDGED_PARTS:
                found[edit_name(part, name, floor)] = drawn(mean, n)
    return found | {DETECTION: drawn(level, 64), OTHER_LATENT: drawn(0.5, 64)}


@pytest.fixture
def two():
    return {"trained": made_up(0.9), "frozen": made_up(0.6, seed=1)}


def test_means_by_hand_and_limits_around_them(two):
    table = judged.score_limits(two, 0.05, "dirichlet")
    assert table.index.tolist() == ["trained", "frozen"]
    assert list(table.columns.get_level_values(0).unique()) == list(judged.MEASURES)
    probes = [two["trained"][probe_name(1, label)].mean() for label in LABELS]
    assert table.loc["trained", ("probe 1", "mean")] == pytest.approx(np.mean(probes))
    edits = [
        two["trained"][edit_name(p, a)].mean() for p in JUDGED_PARTS for a in CLASSES_OF_TOKENS
    ]
    assert table.loc["trained", ("edit", "mean")] == pytest.approx(np.mean(edits))
    for measure in judged.MEASURES:
        cells = table[measure]
        assert (cells["lower"] < cells["mean"]).all() and (cells["mean"] < cells["upper"]).all()


def test_every_limit_pays_for_all_of_the_frame(two):
    """Two SAEs with 2 + 2 arrays of probes, one of edits and one of detection: 12, two sides."""
    table = judged.score_limits(two, 0.05, "hoeffding")
    nats = np.log(2 * 12 / 0.05)
    scores = two["frozen"][DETECTION].astype(float)
    expected = hoeffding_upper(scores, 0, 1, nats)
    assert table.loc["frozen", (DETECTION, "upper")] == pytest.approx(expected)
    ends = [hoeffding_upper(two["frozen"][probe_name(5, x)], 0, 1, nats) for x in LABELS]
    assert table.loc["frozen", ("probe 5", "upper")] == pytest.approx(np.mean(ends))


def test_differences_are_paired_but_for_detection(two):
    names = {"frozen": "trained"}
    table = judged.differences(two, names, 0.05, "hoeffding")
    assert table.index.tolist() == ["frozen less trained"]
    row = table.loc["frozen less trained"]
    nats = np.log(2 * 6 / 0.05)
    a, b = (two[name][DETECTION].astype(float) for name in ("frozen", "trained"))
    assert row[DETECTION, "mean"] == pytest.approx(a.mean() - b.mean())
    wide = 2 * np.sqrt((nats + np.log(2)) / (2 * 64))  # two limits of their own
    assert row[DETECTION, "lower"] == pytest.approx(
        max(a.mean() - wide / 2, 0) - min(b.mean() + wide / 2, 1)
    )
    width = 2 * np.sqrt(nats / (2 * 400))
    edits = [judged.values_of(two[x], "edit")[0] for x in ("frozen", "trained")]
    assert row["edit", "upper"] == pytest.approx((edits[0] - edits[1]).mean() + width)
    assert row["edit", "upper"] < 0  # .6 is certified to be less than .9


def test_an_sae_is_compared_with_its_own_floor(two):
    table = judged.above_floor(two, 0.05, "dirichlet")
    measure = ("edit", "lower")
    assert table.loc["trained", measure] > 0
    same = {"itself": two["trained"] | {DETECTION: two["trained"][OTHER_LATENT]}}
    assert judged.above_floor(same, 0.05, "dirichlet")[DETECTION, "mean"].iloc[0] == 0


def test_single_arrays_may_be_asked_for(two):
    name = probe_name(1, "identifier")
    table = judged.score_limits(two, 0.05, "dirichlet", [name])
    assert table.loc["frozen", (name, "mean")] == pytest.approx(two["frozen"][name].mean())
    floor = judged.score_limits(two, 0.05, "dirichlet", [name], floor=True)
    expected = two["frozen"][probe_name(1, "identifier", RANDOM_LATENTS)].mean()
    assert floor.loc["frozen", (name, "mean")] == pytest.approx(expected)


def test_limits_are_rarely_wrong():
    """All limits of 25 made-up pairs of SAEs, of known means: of 50 frames a fifth may be wrong."""
    wrong = 0
    for seed in range(25):
        pair = {"a": made_up(0.8, seed=3 * seed), "b": made_up(0.7, seed=3 * seed + 1)}
        means = judged.score_limits(pair, 0.2, "dirichlet")
        apart = judged.differences(pair, {"b": "a"}, 0.2, "dirichlet")
        for table, truths in ((means, (0.8, 0.7)), (apart, (-0.1,))):
            lower, upper = (table.xs(end, axis=1, level=1).to_numpy() for end in ("lower", "upper"))
            truth = np.array(truths)[:, None]
            wrong += bool(((lower > truth) | (upper < truth)).any())
    assert wrong <= 50 * 0.2 + 4 * np.sqrt(50 * 0.2 * 0.8)


def test_units_are_counted(two):
    table = judged.units(two["trained"])
    assert table.loc[("probe 1", "identifier"), "n"] == 90
    assert table.loc[("edit", ""), "n"] == 400 and table.loc[(DETECTION, ""), "n"] == 64


def test_what_others_reported_is_marked_so():
    table = judged.reported()
    assert table.index.names[0] == "as reported" and table.shape == (12, 4)
    gemma = table.loc[("Gemma-2-2B, layer 12", "frozen decoder, isotropic")]
    assert gemma.tolist() == [0.430, 0.669, 0.768, 0.562]
    llama = table.loc[("Llama-3.1-8B, layer 16", "trained")]
    assert llama.tolist() == [0.805, 0.766, 0.874, 0.533]


def test_bad_requests_are_refused(two):
    with pytest.raises(ValueError, match="nothing is called 'probe 9'; there are probe 1, probe 5"):
        judged.score_limits(two, 0.05, "dirichlet", ["probe 9"])
    short = {name: x[:10] for name, x in two["frozen"].items()}
    with pytest.raises(ValueError, match="judge both SAEs on the same text"):
        judged.differences(two | {"frozen": short}, {"frozen": "trained"}, 0.05, "dirichlet")

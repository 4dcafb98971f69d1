"""Pairs of latents: chosen as they should be, counted as they fire, with limits that hold."""

import numpy as np
import pytest

from saecert.dictionaries.phenomena import (
    absorbed_pairs,
    context,
    frequent_pairs,
    phenomena,
    thresholds_of,
)
from saecert.dictionaries.phenomena_limits import absorbed, inside, together
from saecert.dictionaries.samples import AsAtoms
from saecert.statistics.inequalities import dirichlet_upper, lower

HOOK = "blocks.0.hook_resid_post"


def test_the_most_opposite_pair_of_frequent_latents_comes_first():
    atoms = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.6, -0.8]])
    fires = np.ones((200, 4), dtype=bool)
    assert frequent_pairs(atoms, fires, -1).tolist() == [[0, 1], [2, 3]]
    fires[:, 1] = False  # a latent that never fires is in no pair
    assert frequent_pairs(atoms, fires, -1)[0].tolist() == [2, 3]
    assert frequent_pairs(atoms, fires, 1)[0].tolist() == [0, 3]


@pytest.fixture
def absorbing():
    """Parent 0 is silent where child 1 fires, which holds it; latent 2 is alone."""
    rng = np.random.default_rng(0)
    half = np.sqrt(0.5)
    atoms = np.array([[1.0, 0.0, 0.0], [half, half, 0.0], [0.0, 0.0, 1.0]])
    child = rng.random(2000) < 0.2
    parent = ~child & (rng.random(2000) < 0.5)
    other = rng.random(2000) < 0.5
    codes = np.stack([parent * 1.0, child * 2.0, other * 1.0], axis=1)
    return AsAtoms(codes @ atoms, atoms, codes)


def test_absorption_is_found_where_it_was_put(absorbing):
    pairs = absorbed_pairs(absorbing, thresholds_of(absorbing))
    assert pairs[0].tolist() == [0, 1]


def test_a_child_that_leaves_its_parent_alone_absorbs_nothing(absorbing):
    codes = absorbing.codes.copy()
    codes[:, 0] = np.maximum(codes[:, 0], codes[:, 1] > 0)
    view = AsAtoms(codes @ absorbing.atoms, absorbing.atoms, codes)
    measured = {HOOK: {"absorbed pairs": np.array([[0, 1]]), "absorbed cosine": np.array([0.7])}}
    present = view.x @ view.atoms[0] >= thresholds_of(view)[0]
    silent = (view.codes[:, 0] == 0).astype(int)
    child = view.codes[:, 1] > 0
    measured[HOOK]["absorbed child"] = np.where(present & child, silent, -1)[:, None]
    measured[HOOK]["absorbed alone"] = np.where(present & ~child, silent, -1)[:, None]
    row = absorbed(measured, 0.05).iloc[0]
    assert row["silent with child"] == 0
    assert row["with child, lower"] <= row["alone, upper"]


def test_rare_latents_have_no_threshold(absorbing):
    codes = absorbing.codes.copy()
    codes[5:, 2] = 0
    thresholds = thresholds_of(AsAtoms(absorbing.x, absorbing.atoms, codes))
    assert np.isinf(thresholds[2]) and np.isfinite(thresholds[:2]).all()


def test_pairs_of_a_tiny_subject_are_counted(subject, corpora):
    found = phenomena(
        subject,
        corpora["certification"],
        [HOOK],
        discovery=corpora["discovery"],
        n_pairs=3,
        per_sequence=20,
        progress=False,
    )[HOOK]
    n_seq = len(corpora["certification"])
    assert found["opposite pairs"].shape == (3, 2)
    # its atoms come in both signs: opposite ones never fire together
    np.testing.assert_allclose(found["opposite cosine"], -1, atol=1e-5)
    assert (found["opposite both"] == 0).all()
    assert found["opposite first"].shape == (n_seq, 3)
    assert found["opposite first"].mean() > 0
    assert (found["alike cosine"][:-1] >= found["alike cosine"][1:] - 1e-9).all()
    assert all(text for text in found["opposite words"].ravel())
    assert set(np.unique(found["absorbed child"])) <= {-1, 0, 1}
    places = found["absorbed examples"]
    assert places.shape == (len(found["absorbed pairs"]), 2, 2, 2)
    assert places.dtype.kind == "i", "no text is kept"
    text = context(subject, corpora["discovery"], 1, 5)
    own = subject.tokenizer.decode([int(corpora["discovery"].tokens[1, 5])])
    assert text.endswith("»") and own.strip() in text


def rows_of(first, second, both):
    values = {"first": first, "second": second, "both": both}
    arrays = {f"opposite {name}": array[:, None] for name, array in values.items()}
    return {"opposite pairs": np.array([[3, 7]]), "opposite cosine": np.array([-0.9]), **arrays}


def test_together_by_hand_and_never_for_exclusive_latents():
    rng = np.random.default_rng(0)
    first, second = rng.uniform(0.3, 0.5, size=(2, 300))
    found = together({HOOK: rows_of(first, second, np.zeros(300))}, "opposite", 0.05, "dirichlet")
    row = found.iloc[0]
    assert row["pair"] == "3 7"
    assert row["excess"] == pytest.approx(-(first * second).mean())
    assert row["excess"] < row["excess, upper"] < 0
    usual = together({HOOK: rows_of(first, second, first * second)}, "opposite", 0.05, "dirichlet")
    assert usual["excess"].iloc[0] == pytest.approx(0)
    assert usual["excess, upper"].iloc[0] > 0


def test_limits_of_absorption_by_hand():
    child = np.array([1] * 90 + [0] * 10 + [-1] * 100)[:, None]
    alone = np.array([1] * 20 + [0] * 180)[:, None]
    values = {"absorbed pairs": np.array([[1, 2]]), "absorbed cosine": np.array([0.5])}
    values |= {"absorbed child": child, "absorbed alone": alone}
    row = absorbed({HOOK: values}, 0.05).iloc[0]
    assert (row["sequences with child"], row["silent with child"], row["silent alone"]) == (
        100,
        0.9,
        0.1,
    )
    # Clopper and Pearson at 0.025: 10 of 100 at most .1762, 20 of 200 at most .1502
    assert row["with child, lower"] == pytest.approx(1 - 0.1762, abs=1e-4)
    assert row["alone, upper"] == pytest.approx(0.1502, abs=1e-4)


def test_a_pair_that_never_occurs_says_nothing():
    values = {"absorbed pairs": np.array([[1, 2]]), "absorbed cosine": np.array([0.5])}
    values |= {name: np.full((50, 1), -1) for name in ("absorbed child", "absorbed alone")}
    row = absorbed({HOOK: values}, 0.05).iloc[0]
    assert row["with child, lower"] == 0 and row["alone, upper"] == 1


def test_limits_on_kept_shares_are_moved_by_the_half_step():
    """Shares just below 0.75 and 0.25 in half precision are kept as these; limits allow for it."""
    kept = np.full((1, 200), 0.75, np.float16)
    values = {"inside": kept, "inside by chance": np.full((1, 200), 0.25, np.float16)}
    row = inside(values, 0.05, "dirichlet").iloc[0]
    nats = np.log(2 / 0.05)
    share = float(lower(dirichlet_upper, kept[0].astype(float), 0.0, 1.0, nats))
    more = float(lower(dirichlet_upper, np.full(200, 0.5), -1.0, 1.0, nats))
    assert row["inside, lower"] == pytest.approx(share - 2.0**-12, abs=1e-12)
    assert row["more, lower"] == pytest.approx(more - 2.0**-11, abs=1e-12)
    assert row["inside"] == 0.75 and row["more"] == 0.5

"""Splitting: latents of a larger dictionary that are parts of one of a smaller one, by hand."""

import numpy as np
import pytest

from saecert.dictionaries.splits import OFTEN, inside_shares, splits

N = 40 * OFTEN


def unit(*rows):
    rows = np.array(rows, dtype=float)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture
def small():
    """Latent 0 fires on the first quarter of the samples, 1 on the second, 2 on as many others."""
    fires = np.zeros((N, 3), bool)
    for latent in range(3):
        fires[latent * N // 4 : (latent + 1) * N // 4, latent] = True
    return unit([1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]), fires


@pytest.fixture
def large(small):
    """0 and 1 are the halves of the smaller one's 0, its 1 is there again as 2, 3 is new."""
    fires = np.zeros((N, 4), bool)
    fires[: N // 8, 0] = True
    fires[N // 8 : N // 4, 1] = True
    fires[:, 2] = small[1][:, 1]
    fires[3 * N // 4 :, 3] = True
    return unit([1, 0, 0, 0.5], [1, 0, 0, -0.5], [0, 1, 0, 0.1], [0, 0, 0.6, 0.8]), fires


def test_halves_are_children_and_what_is_there_again_is_kept(small, large):
    found = splits(small, large)
    assert found.parents.tolist() == [0, 1, 2]
    assert found.kept.tolist() == [False, True, False]
    assert found.n_children.tolist() == [2, 0, 0]
    assert found.split.tolist() == [True, False, False]
    assert found.pairs.tolist() == [[0, 0], [0, 1]]
    # what stands for chance is no latent that is like the child, nor the parent
    assert set(found.others.tolist()) <= {1, 2}


@pytest.mark.parametrize("change", ["unlike", "outside", "too large", "too rare", "alone"])
def test_what_is_no_split(small, large, change):
    atoms, fires = large
    if change == "unlike":
        atoms = unit(atoms[0], [0, 0, 0, 1], *atoms[2:])
    elif change == "outside":
        fires[N // 2 : 3 * N // 4, 1] = True
    elif change == "too large":
        fires[: N // 4, 1] = True
    elif change == "too rare":
        fires[:, 1] = False
        fires[N // 8 : N // 8 + OFTEN - 1, 1] = True
    else:
        atoms, fires = atoms[1:], fires[:, 1:]
    found = splits(small, (atoms, fires))
    assert not found.split.any() and found.pairs.shape == (0, 2)


def test_rare_latents_are_no_parents(small, large):
    small[1][:, 1] = False
    small[1][: 2 * OFTEN - 1, 1] = True
    assert splits(small, large).parents.tolist() == [0, 2]


def test_shares_inside_by_sequence(small, large):
    found = splits(small, large)
    # two sequences of three activations; the children of latent 0 fire in the first alone
    child = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [1, 0, 0, 1]] + [[0, 0, 1, 0]] * 3, bool)
    parent = np.array([[1, 0, 0], [0, 1, 1], [1, 0, 0]] + [[1, 1, 1]] * 3, bool)
    shares = inside_shares(found, parent, child, 2)
    assert shares[0].tolist() == pytest.approx([2 / 3, 1 / 3])
    assert np.isnan(shares[1]).all()


def test_other_activations_are_refused(small, large):
    with pytest.raises(ValueError, match="judged on the same activations: got"):
        splits((small[0], small[1][:-1]), large)
    with pytest.raises(ValueError, match="widths 3 and 4"):
        splits((small[0][:, :3], small[1]), large)

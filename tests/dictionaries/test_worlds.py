"""Small worlds: what is learned is what theory says."""

import pytest

from saecert.dictionaries.worlds import opposite, splitting


def test_atoms_split_along_the_hierarchy_until_each_pair_has_its_own():
    lam = 0.1
    table = splitting([2, 4], lam)
    assert table["atoms"].tolist() == [2, 4]
    assert table["pairs an atom"].tolist() == [2, 1]
    assert table["nested"].iloc[1] == 1
    # four atoms are the wide limit: every point has norm sqrt(1.25)
    assert table["cost"].iloc[1] == pytest.approx(lam * 1.25**0.5 - lam**2 / 2, abs=1e-6)
    # two atoms are the mean directions: along them a point is (1 + 1/8) / sqrt(1 + 1/8)
    along = 1.125**0.5
    assert table["cost"].iloc[0] == pytest.approx(0.625 - (along - lam) ** 2 / 2, abs=1e-6)


def test_dense_signs_get_antipodal_atoms_first():
    table = opposite(0.2)
    assert table.loc[[2, 4], "smallest cosine"].tolist() == pytest.approx([-1, -1], abs=1e-4)
    assert table["cost"].is_monotonic_decreasing
    assert table.loc[4, "cost"] == pytest.approx(0.2 - 0.02, abs=1e-6)

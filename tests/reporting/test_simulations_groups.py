"""Groups of kept records, and what drawing them anew does to a bound."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic_losses import make_losses

from saecert.reporting import measurements
from saecert.reporting.simulations_groups import docstring_groups
from saecert.statistics.coverage import coverage_table
from saecert.statistics.inequalities import dirichlet_upper
from saecert.statistics.populations import clustered, one_of_each

LABELS = np.repeat(np.arange(30), 10)
VALUES = (np.arange(30) % 2).astype(float)[LABELS]


@pytest.mark.parametrize(("design", "n"), [(clustered, 200), (one_of_each, 30)])
def test_truth_of_redrawn_groups(design, n):
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [1, 3, 8])
    values = rng.random(12)
    x, ((mean,),), _ = design("groups", values, labels, 0.0, 1.0).draw(rng, 4000, n)
    by_group = np.mean([values[labels == label].mean() for label in range(3)])
    assert mean == pytest.approx(values.mean() if design is clustered else by_group)
    # the mean of samples of groups of unequal size is about the truth, and not exactly
    assert x.mean() == pytest.approx(mean, abs=0.05 if design is clustered else 0.005)
    assert set(np.unique(x)) <= set(values)


def test_ignoring_groups_is_rejected_and_one_of_each_passes():
    made = [
        clustered("every sequence", VALUES, LABELS, 0.0, 1.0),
        one_of_each("one of each", VALUES, LABELS, 0.0, 1.0),
    ]
    verdicts = [
        coverage_table(
            {"dirichlet": dirichlet_upper},
            (n,),
            populations=[population],
            draws=600,
            progress=False,
        )[0]["verdict"]
        for population, n in zip(made, (300, 30), strict=True)
    ]
    assert verdicts == ["rejected", "valid"]


def test_kept_groups_are_those_of_the_documents():
    """The kept table of page 04, against what is known of the corpus."""
    kept = [each for each in measurements.all_kept("frame") if each.request["name"] == "groups"]
    (frame,) = [measurements.read_frame(each.path) for each in kept]
    assert frame["groups"].tolist() == [9, 2100] and set(frame["n_seq"]) == {4931}


def test_documents_from_elsewhere_have_no_groups():
    with pytest.raises(ValueError, match="unknown grouping 'author'; there are package, module"):
        docstring_groups(make_losses([3.0, 4.0]), "author")

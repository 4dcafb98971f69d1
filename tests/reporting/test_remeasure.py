"""What counts as a change when kept numbers are measured again."""

import numpy as np
import pytest

from saecert.reporting import measurements, remeasure
from saecert.reporting.measurements import Kept

SOME = np.arange(100.0)


@pytest.mark.parametrize(
    ("held", "again", "change"),
    [
        (SOME, SOME + 0.25, 0.25),
        (np.array([1.0, np.nan]), np.array([1.0, np.nan]), 0.0),
        (np.array([1.0, 2.0]), np.array([1.0, np.nan]), np.inf),
        (SOME, SOME[:-1], np.inf),
        (SOME[:0], SOME[:0], 0.0),
    ],
)
def test_a_number_that_is_none_any_more_has_changed(held, again, change):
    assert remeasure._change(held, again) == change


@pytest.mark.parametrize(
    ("held", "again", "share"),
    [
        (SOME, SOME, 0.0),
        (SOME, np.where(SOME < 20, SOME + 1, SOME), 0.2),
        (SOME, SOME + 0.09, 0.0),
        (np.array([1.0, np.nan]), np.array([1.0, np.nan]), 0.0),
        (np.array([1.0, np.nan]), np.array([np.nan, np.nan]), 0.5),
        (SOME.astype(int), SOME.astype(int) + (SOME == 7), 0.01),
        (np.array(["a", "b"]), np.array(["a", "c"]), 0.5),
        (SOME, SOME[:-1], 1.0),
        (SOME, None, 1.0),
        (None, SOME, 1.0),
    ],
)
def test_shares_of_entries_that_differ(held, again, share):
    assert remeasure._share_changed(held, again) == pytest.approx(share)


def test_a_simulation_whose_losses_are_gone_is_named():
    (file, *_) = [kept for kept in measurements.all_kept("frame") if kept.request["losses"]]
    assert len(remeasure.losses_behind(file)) > 1_000
    request = {**file.request, "losses": "of others"}
    with pytest.raises(ValueError, match=f"{file.path.name} stands on losses that are not kept"):
        remeasure.losses_behind(Kept(file.path, {**file.facts, "request": request}))

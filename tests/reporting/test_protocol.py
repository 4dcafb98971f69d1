"""The same SAE used in several ways, compared by document."""

from dataclasses import replace

import numpy as np
import pytest
from synthetic_losses import ALPHA, make_losses

from saecert.reporting import protocol
from saecert.reporting.protocol import COMPARED, USUAL, Protocol

HOOK = "blocks.3.hook_resid_post"
K = 8


def _record(shift, rng):
    clean = rng.uniform(3, 4, 200)
    full = clean + shift
    return make_losses(clean, full, {K: full + 0.1})


@pytest.fixture
def measured():
    shifts = {USUAL: 0.2} | {each: 0.2 + 1.5 * each.few + 0.5 * each.bos for each in COMPARED}
    records = {each: _record(shift, np.random.default_rng(0)) for each, shift in shifts.items()}
    divergences = {each: np.full(200, shift / 2) for each, shift in shifts.items()}
    return {HOOK: records}, {HOOK: divergences}


def test_changes_are_paired_with_the_usual_protocol(measured):
    settings = {"cap": 4.0, "alpha": ALPHA, "delta": 0.05, "inequality": "dirichlet"}
    frame = protocol.changes(*measured, K, **settings)
    gaps = frame[frame["quantity"] == protocol.GAP].set_index("protocol")
    assert gaps.loc["few", "mean"] == pytest.approx(1.5)
    assert gaps.loc["BOS", "mean"] == pytest.approx(0.5)
    assert gaps.loc["short", "mean"] == pytest.approx(0)
    assert gaps.loc["few + BOS", "mean"] == pytest.approx(2.0)
    assert (gaps["lower"] <= gaps["mean"]).all() and (gaps["mean"] <= gaps["upper"]).all()
    assert gaps.loc["few", "lower"] > 0 > gaps.loc["short", "lower"]
    capped = protocol.changes(*measured, K, **{**settings, "cap": 1.0})
    few = capped[capped["quantity"] == protocol.GAP].set_index("protocol").loc["few"]
    assert few["mean"] == pytest.approx(0.8)
    divergence = frame[frame["quantity"] == protocol.DIVERGENCE].set_index("protocol")
    assert divergence.loc["few + BOS + short", "mean"] == pytest.approx(1.0)


def test_tables_and_panels_have_every_protocol_once(measured):
    means = protocol.means(*measured, K, ALPHA)
    assert list(means.loc["3"].index) == [str(each) for each in (USUAL, *COMPARED)]
    assert means.loc[("3", "as trained"), "mismatch"] == pytest.approx(0.1)
    settings = {"cap": 4.0, "alpha": ALPHA, "delta": 0.05, "inequality": "hoeffding"}
    frame = protocol.changes(*measured, K, **settings)
    shown = protocol.shown_changes(frame, protocol.GAP)
    assert list(shown.columns.get_level_values(0).unique()) == [str(each) for each in COMPARED]
    panels = protocol.panels(frame)
    assert set(panels["panel"]) == {"change of the gap", "change of KL"}
    assert set(panels["quantity"]) == {str(each) for each in COMPARED}


class _Study:
    """Says what was asked of it, and answers with made-up numbers."""

    def __init__(self, asked, bos=False, cut=0):
        self.asked = asked
        self.way = (bos, cut)

    def beside(self, exempt_bos, cut):
        return _Study(self.asked, not exempt_bos, cut)

    def losses(self, hook_names, pools, controls, extra):
        self.asked.append((*self.way, tuple(extra)))
        record = _record(0.3, np.random.default_rng(1))
        more = {"top_5": record.loss["full"] + 1, f"top_5 pool_{K}": record.loss["full"] + 2}
        loss = record.loss | (more if extra else {})
        return {hook: replace(record, loss=loss) for hook in hook_names}


def test_one_run_of_each_way_serves_its_protocols():
    asked = []
    studies = protocol.studies_of(_Study(asked), cut=32)
    records = protocol.losses_of(studies, [HOOK], 5, K)[HOOK]
    assert sorted((bos, cut) for bos, cut, _ in asked) == [
        (False, 0),
        (False, 32),
        (True, 0),
        (True, 32),
    ]
    assert list(records) == [USUAL, *COMPARED]
    difference = records[Protocol(few=True)].at("full", ALPHA) - records[USUAL].at("full", ALPHA)
    np.testing.assert_allclose(difference, 1)
    pooled = records[Protocol(few=True)].at(f"pool_{K}", ALPHA)
    np.testing.assert_allclose(pooled - records[USUAL].at("full", ALPHA), 2)

"""The same SAE used in several ways, compared by document."""

import numpy as np
import pytest

from saecert.measurement.named import parse
from saecert.reporting import protocol
from saecert.reporting.protocol import COMPARED, USUAL, Protocol

ALPHA = 0.5
HOOK = "blocks.3.hook_resid_post"
K = 8


def _losses(shift, rng):
    clean = rng.uniform(3, 4, 200)
    full = clean + shift
    return {"model": clean, "SAE": full, "pool": full + 0.1}


@pytest.fixture
def measured():
    shifts = {USUAL: 0.2} | {each: 0.2 + 1.5 * each.few + 0.5 * each.bos for each in COMPARED}
    records = {each: _losses(shift, np.random.default_rng(0)) for each, shift in shifts.items()}
    divergences = {each: np.full(200, shift / 2) for each, shift in shifts.items()}
    return {HOOK: records}, {HOOK: divergences}


def test_changes_are_paired_with_the_usual_protocol(measured):
    settings = {"cap": 4.0, "delta": 0.05, "inequality": "dirichlet"}
    frame = protocol.changes(*measured, **settings)
    gaps = frame[frame["quantity"] == protocol.GAP].set_index("protocol")
    assert gaps.loc["few", "mean"] == pytest.approx(1.5)
    assert gaps.loc["BOS", "mean"] == pytest.approx(0.5)
    assert gaps.loc["short", "mean"] == pytest.approx(0)
    assert gaps.loc["few + BOS", "mean"] == pytest.approx(2.0)
    assert (gaps["lower"] <= gaps["mean"]).all() and (gaps["mean"] <= gaps["upper"]).all()
    assert gaps.loc["few", "lower"] > 0 > gaps.loc["short", "lower"]
    capped = protocol.changes(*measured, **{**settings, "cap": 1.0})
    few = capped[capped["quantity"] == protocol.GAP].set_index("protocol").loc["few"]
    assert few["mean"] == pytest.approx(0.8)
    divergence = frame[frame["quantity"] == protocol.DIVERGENCE].set_index("protocol")
    assert divergence.loc["few + BOS + short", "mean"] == pytest.approx(1.0)


def test_tables_and_panels_have_every_protocol_once(measured):
    means = protocol.means(*measured)
    assert list(means.loc["3"].index) == [str(each) for each in (USUAL, *COMPARED)]
    assert means.loc[("3", "as trained"), "mismatch"] == pytest.approx(0.1)
    settings = {"cap": 4.0, "delta": 0.05, "inequality": "hoeffding"}
    frame = protocol.changes(*measured, **settings)
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

    def measure(self, quantity, hook_names, proxies, alphas):
        self.asked.append((*self.way, tuple(proxies)))
        assert quantity == "spliced" and alphas == [ALPHA]
        clean = np.linspace(3, 4, 50)[:, None]
        values = {parse(name).name: clean + shift for shift, name in enumerate(proxies, 1)}
        return {hook: {"clean": clean, **values} for hook in hook_names}


def test_one_run_of_each_way_serves_its_protocols():
    asked = []
    studies = protocol.studies_of(_Study(asked), cut=32)
    losses = protocol.losses_of(studies, [HOOK], 5, K, ALPHA)[HOOK]
    assert {(bos, cut): proxies for bos, cut, proxies in asked} == {
        (False, 0): ("full", "pool(8)", "top(5)", "pooled(top(5), 8)"),
        (False, 32): ("full", "pool(8)"),
        (True, 0): ("full", "pool(8)", "top(5)", "pooled(top(5), 8)"),
        (True, 32): ("top(5)", "pooled(top(5), 8)"),
    }
    assert list(losses) == [USUAL, *COMPARED]
    few = losses[Protocol(few=True)]
    np.testing.assert_allclose(few["SAE"] - few["model"], 3)
    np.testing.assert_allclose(few["pool"] - few["model"], 4)
    alone = losses[Protocol(few=True, bos=True, short=True)]
    np.testing.assert_allclose(alone["pool"] - alone["model"], 2)

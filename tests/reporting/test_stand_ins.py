"""Other things in the place of the SAE: differences and floors whose truth is known."""

from dataclasses import replace

import numpy as np
import pytest
from synthetic_losses import HI, LO, make_losses

from saecert.certificates.certificate import certify
from saecert.reporting import stand_ins
from saecert.reporting.claims import Undecided

RNG = np.random.default_rng(0)
CLEAN = RNG.uniform(3, 5, 400)


def losses(excess=1.0):
    full = CLEAN + 0.1
    record = make_losses(CLEAN, full, {8: full + 0.1})
    worse = full + excess
    added = {"worse": worse[None], "worse pool_8": (worse + 0.1)[None]}
    return replace(record, loss=record.loss | added)


def records(excess=1.0):
    return stand_ins.records_of(losses(excess), {"SAE": "full", "other": "worse"})


def test_each_term_moves_by_what_was_added():
    moved = stand_ins.moved(records(), 8, 0.5, 0.05, "dirichlet")
    expected = {"proxy risk": 1, "reconstruction gap": 1, "pool mismatch": 0, "joint loss": 2}
    means = moved.loc["other", "more than real"]
    assert means.to_dict() == pytest.approx(expected, abs=1e-9)
    assert (moved["lower"] <= moved["more than real"]).all()
    assert (moved["upper"] >= moved["more than real"]).all()


def test_limits_on_a_known_difference():
    known = stand_ins.known_difference(0.05, "dirichlet", 0)
    assert known["lower"] < 0.35 < known["upper"]
    assert known["missed"] <= 0.05


def test_gaps_of_single_sequences():
    gaps = stand_ins.gaps(records(), 0.5)
    np.testing.assert_allclose(gaps["SAE"], 0.1)
    np.testing.assert_allclose(gaps["other"], 1.1)


def test_floors_enclose_the_mean_and_the_excess():
    floors = stand_ins.floors(records(), 0.5, 0.05, "dirichlet")
    other = floors.loc["other"]
    assert other["risk"] == pytest.approx(CLEAN.mean() + 1.1)
    assert other["v"] == pytest.approx(CLEAN.mean() + 2.2)
    assert other["v from"] < other["v"] < other["v to"]
    assert other["above SAE from"] < 2 < other["above SAE to"]
    assert np.isnan(floors.loc["SAE", "above SAE to"])
    assert stand_ins.verdicts(floors).tolist() == ["", "larger"]
    own, excess = stand_ins.printed_floors(floors)
    assert own.loc["other", "floor, at most"] == other["v to"]
    assert excess.loc["other"].tolist() == [*other[["above SAE from", "above SAE to"]], "larger"]


def test_worse_only_where_the_limits_show_it():
    floors = stand_ins.floors(records(), 0.5, 0.05, "dirichlet")
    assert stand_ins.certifiably_worse(floors, "other") is True
    assert stand_ins.certifiably_worse(floors, "third") == "not tried"
    close = stand_ins.floors(records(0.0), 0.5, 0.05, "dirichlet")
    assert isinstance(stand_ins.certifiably_worse(close, "other"), Undecided)
    better = floors.assign(**{"above SAE from": -2.0, "above SAE to": -1.0})
    assert stand_ins.certifiably_worse(better, "other") is False


def test_only_the_clipped_floor_ends_at_the_ceiling():
    floors = stand_ins.floors(records(7.0), 0.5, 0.05, "hoeffding")
    assert floors.loc["other", "v"] <= HI
    assert floors.loc["other", "unclipped"] > HI > LO


def test_convergence_is_that_of_single_certificates():
    curve = stand_ins.convergence(
        records(), [50, 400], delta=0.05, alpha=0.5, inequality="dirichlet", eps=()
    )
    last = curve[(curve["label"] == "SAE") & (curve["n_seq"] == 400)]
    expected = certify(losses(), pool=16, eps=()).bound
    assert last["bound"].item() == pytest.approx(expected)


def test_components_that_match_an_sae():
    variances = np.array([6.0, 3.0, 1.0])
    assert stand_ins.components_for(variances, 0.4) == 1
    assert stand_ins.components_for(variances, 0.0) == 3
    assert stand_ins.component_counts(9.2, variances, 0.2, [1, 3, 5]) == (3, 2, [1, 2, 3])

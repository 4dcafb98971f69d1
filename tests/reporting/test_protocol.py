"""Ways of running an SAE: tables by layer, and limits on what they change."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from scipy.stats import t
from synthetic_losses import make_losses

from saecert.certificates.divergence import divergence_range
from saecert.dictionaries import protocols
from saecert.dictionaries.protocols import (
    KL,
    MODEL,
    N_VOCAB,
    POOL,
    SAE,
    SMOOTHED_KL,
    Factors,
    Protocol,
    Splice,
    array_name,
    compared,
    grid,
    splices_of,
)
from saecert.records import smoothed_support
from saecert.reporting import figures, protocol, protocol_limits
from saecert.reporting.claims import NOT_SHOWN, Undecided
from saecert.reporting.protocol_limits import Shares
from saecert.reporting.tables import show
from saecert.statistics.inequalities import INEQUALITIES

mpl.use("Agg")
FACTORS = Factors((0, 11), ("exempt", "replaced"), (128, 32))
OURS = FACTORS.protocol()
HOOKS = ("blocks.3.hook_resid_post", "blocks.9.hook_resid_post")
V = 4096
ALPHA = 0.5
N = 60
SETTINGS = {"alpha": ALPHA, "inequality": "dirichlet"}


@pytest.fixture(scope="module")
def measured():
    rng = np.random.default_rng(0)
    found = {}
    for hook in HOOKS:
        values = {N_VOCAB: np.full(N, float(V))}
        for chosen in dict.fromkeys([*grid(FACTORS).values(), *compared(FACTORS).values()]):
            cost = 0.1 + (chosen.splice.n_active > 0) + 2.0 * (chosen.splice.bos != "exempt")
            model = rng.uniform(4, 5, N) + (chosen.n_ctx == 32)
            sae = model + rng.uniform(0, cost, N)
            losses = {MODEL: model, SAE: sae, POOL: sae + rng.uniform(-0.2, 0.3, N)}
            kl = rng.uniform(0, cost, N)
            losses |= {KL: kl, SMOOTHED_KL: 0.4 * kl}
            values |= {array_name(what, chosen): x for what, x in losses.items()}
        found[hook] = values
    return found


def test_all_protocols_and_what_they_need_of_a_measurement():
    made = grid(FACTORS)
    assert list(made) == [
        "ours",
        "fewer latents",
        "BOS replaced",
        "short contexts",
        "fewer latents, BOS replaced",
        "fewer latents, short contexts",
        "BOS replaced, short contexts",
        "all three",
    ]
    assert len(set(made.values())) == 8
    assert made["all three"] == Protocol(Splice(11, "replaced"), 32)
    assert compared(FACTORS)["BOS lost"] == Protocol(Splice(0, "lost"), 128)
    ways = [[0, "exempt"], [11, "exempt"], [0, "replaced"], [11, "replaced"], [0, "lost"]]
    assert splices_of(FACTORS) == ways
    assert protocols.OURS not in compared(FACTORS)


def test_terms_by_hand(measured):
    row = protocol.terms_by_layer(measured, {"x": OURS}).loc[("9", "x")]
    values = measured[HOOKS[1]]
    model, sae, pool = (values[array_name(what, OURS)] for what in (MODEL, SAE, POOL))
    assert row["reconstruction gap"] == pytest.approx(np.abs(model - sae).mean())
    assert row["pool mismatch"] == pytest.approx(np.abs(sae - pool).mean())
    assert row["sum"] == pytest.approx(
        row[["proxy risk", "reconstruction gap"]].sum() + row.iloc[3]
    )
    assert row["KL"] == values[array_name(KL, OURS)].mean()
    joint = protocol_limits.joint_of(values, OURS, ALPHA)
    assert joint.mean() == pytest.approx(row["sum"]) and (joint >= np.maximum(model, sae)).all()


def test_a_sum_beyond_the_largest_loss_is_that_loss(measured):
    top = smoothed_support(ALPHA, V)[1]
    values = {**measured[HOOKS[0]], array_name(SAE, OURS): np.full(N, top)}
    assert (protocol_limits.joint_of(values, OURS, ALPHA) == top).all()


def test_limits_at_equal_shares_of_one_delta(measured):
    shares = Shares(0.05, len(HOOKS), 2, len(compared(FACTORS)))
    assert shares.count == 2 * (2 + 36)
    assert shares.count * np.exp(-shares.nats) == pytest.approx(0.05)
    other = FACTORS.protocol("bos")
    row = protocol_limits.changes(measured, {"x": other}, OURS, shares, **SETTINGS)
    row = row.loc[(HOOKS[0], "x")]
    values = measured[HOOKS[0]]
    lo, hi = smoothed_support(ALPHA, V)
    pair = [protocol_limits.joint_of(values, way, ALPHA) for way in (other, OURS)]
    expected = INEQUALITIES["dirichlet"](pair[0] - pair[1], lo - hi, hi - lo, shares.nats)
    assert row["v_A, upper"] == pytest.approx(float(expected))
    top = divergence_range(ALPHA, V)
    kl = [values[array_name(SMOOTHED_KL, way)] for way in (other, OURS)]
    expected = INEQUALITIES["dirichlet"](kl[1] - kl[0], -top, top, shares.nats)
    assert row["smoothed KL, lower"] == pytest.approx(-float(expected))
    rising = (values[array_name(KL, other)] > values[array_name(KL, OURS)]).mean()
    assert row["share"] == rising
    assert row["share, lower"] < rising <= row["share, upper"]


def test_limits_hold_as_often_as_promised_on_known_changes():
    assert protocol_limits.known_changes(0.2, "dirichlet", 0, samples=60) <= 0.2 + 3 * 0.052


def test_limits_that_are_too_narrow_would_be_caught(monkeypatch):
    monkeypatch.setattr(Shares, "nats", property(lambda shares: 0.05))
    assert protocol_limits.known_changes(0.2, "dirichlet", 0, samples=20) > 0.5


def test_nothing_changes_between_a_protocol_and_itself(measured):
    shares = Shares(0.05, 2, 0, 1)
    frame = protocol_limits.changes(measured, {"same": OURS}, OURS, shares, **SETTINGS)
    assert (frame[["v_A", "smoothed KL", "share"]] == 0).all(axis=None)
    assert (frame["share, lower"] == 0).all() and (frame["v_A, lower"] < 0).all()
    rough = protocol_limits.approximate(measured, {"same": OURS}, OURS, delta=0.05, alpha=ALPHA)
    assert (rough == 0).all(axis=None)


def test_intervals_of_student_share_a_delta(measured):
    other = {"bos": FACTORS.protocol("bos")}
    rough = protocol_limits.approximate(measured, other, OURS, delta=0.05, alpha=ALPHA)
    values = measured[HOOKS[0]]
    x = values[array_name(KL, other["bos"])] - values[array_name(KL, OURS)]
    row = rough.loc[(HOOKS[0], "bos")]

    width = t.ppf(1 - 0.05 / 4 / 2, N - 1) * x.std(ddof=1) / np.sqrt(N)
    assert row["KL, upper"] - row["KL"] == pytest.approx(width)


def test_tables_print_limits_outwards(measured):
    shares = Shares(0.05, 2, 2, 6)
    frame = protocol_limits.changes(measured, compared(FACTORS), OURS, shares, **SETTINGS)
    table = protocol.changes_table(frame)
    assert table.index[0] == ("3", "fewer latents") and len(table) == 12
    printed = str(show(table, "changes"))
    assert "lower" in printed and "upper" in printed
    cell = frame["share, upper"].iloc[0]
    assert float(show(table, "").rows[0][-1].text) >= cell
    bounds = protocol_limits.bounds(measured, {"x": OURS}, shares, **SETTINGS)
    table = protocol.bounds_by_layer(measured, bounds)
    assert (table["log2 V"] == 12).all()
    assert set(table["verdict"]) == {"better than uniform"}
    high = bounds.assign(upper=12.0)
    assert set(protocol.bounds_by_layer(measured, high)["verdict"]) == {"vacuous"}


def verdicts(measured, uniform=12.0):
    shares = Shares(0.05, len(measured), 1, len(compared(FACTORS)))
    bounds = protocol_limits.bounds(measured, {protocols.OURS: OURS}, shares, **SETTINGS)
    changes = protocol_limits.changes(measured, compared(FACTORS), OURS, shares, **SETTINGS)
    rough = protocol_limits.approximate(measured, compared(FACTORS), OURS, delta=0.05, alpha=ALPHA)
    return list(protocol.claimed(bounds, changes, rough, uniform).values())


def of_known_cost(cost, n_seq, ours=5.0, two=2.2):
    """What is measured where each factor that differs from ours adds `cost` bits, two of them
    `two` times as much, and the model loses 5 bits."""
    rng = np.random.default_rng(0)
    values = {N_VOCAB: np.full(n_seq, float(V))}
    for way in dict.fromkeys([*grid(FACTORS).values(), *compared(FACTORS).values()]):
        other = (way.splice.n_active > 0) + (way.splice.bos != "exempt") + (way.n_ctx == 32)
        added = cost * (two if other == 2 else other)
        proxies = ours + added + rng.uniform(0, 0.1, n_seq)
        values |= {array_name(what, way): proxies for what in (SAE, POOL)}
        values[array_name(MODEL, way)] = np.full(n_seq, 5.0)
        values |= {array_name(what, way): (proxies - 4) / 2 for what in (KL, SMOOTHED_KL)}
    return dict.fromkeys(HOOKS, values)


def test_claims_hold_do_not_hold_or_stay_open_by_their_limits():
    assert verdicts(of_known_cost(0.5, 400)) == [True] * 6
    falls = verdicts(of_known_cost(-0.5, 400, ours=8.0), uniform=3.0)
    assert falls[:5] == [False] * 5
    assert isinstance(falls[5], Undecided) and falls[5] == NOT_SHOWN
    few = verdicts(of_known_cost(0.5, 4, two=1.8))
    assert all(isinstance(verdict, Undecided) for verdict in few[:4])
    assert few[4] is False, "a claim about means of the sample"


def test_panels_are_drawn(measured):
    frame = protocol.panels(measured, grid(FACTORS), ALPHA)
    table = protocol.by_protocol(measured, grid(FACTORS), KL, ALPHA)
    shown = frame[(frame["quantity"] == "all three") & (frame["panel"] == "divergence")]
    np.testing.assert_array_equal(shown["mean"], table.loc["all three"])
    assert table.columns.tolist() == ["3", "9"]
    figures.plot_layers(frame)
    plt.close("all")


def test_a_difference_to_a_kept_record_is_seen(measured):
    words = {"clean": MODEL, "full": SAE}
    losses = {name: measured[HOOKS[0]][array_name(what, OURS)] for name, what in words.items()}
    losses["full"] = losses["full"] + 0.25 * (np.arange(N) == 7)
    pooled = measured[HOOKS[0]][array_name(POOL, OURS)]
    record = make_losses(losses["clean"], losses["full"], {8: pooled})
    found = protocol.largest_difference(measured[HOOKS[0]], OURS, record, 8, ALPHA)
    assert found == pytest.approx(0.25)

"""The monitor keeps its rate of false alarms, and refuses what it cannot promise."""

import json
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from checks import ROOT
from conftest import N_CTX
from scipy import stats
from synthetic_losses import make_losses

from saecert import collect, load_corpus
from saecert.dictionaries.monitor import (
    ConstantCountError,
    Monitor,
    calibrate,
    conformal_threshold,
    trained_threshold,
)

HASHES = {"model_sha256": "m", "sae_sha256": "s"}


@pytest.mark.parametrize(
    ("n", "level", "k"),
    [(19, 0.05, 19), (20, 0.05, 20), (39, 0.05, 38), (99, 0.1, 90), (9, 0.1, 9), (9, 0.99, 1)],
)
def test_threshold_is_the_kth_smallest(n, level, k):
    assert k == np.ceil((n + 1) * (1 - level) - 1e-9)
    scores = np.random.default_rng(0).permutation(np.arange(1.0, n + 1))
    assert conformal_threshold(scores, level) == k


@pytest.mark.parametrize("two_sided", [False, True])
@pytest.mark.parametrize(("n", "level"), [(39, 0.05), (100, 0.05), (79, 0.2)])
def test_rate_of_false_alarms_is_kept_and_nearly_reached(n, level, two_sided):
    """Counts have ties: the rate may fall a little short of (n + 1) * level // 1, not exceed it."""
    rng = np.random.default_rng(n)
    draws = 4_000
    l0 = 1 + rng.poisson(20 * rng.gamma(5, 0.2, size=(draws, n + 1, 1)), size=(draws, n + 1, 40))
    alarms = [
        calibrate(counts[:n], level, two_sided=two_sided).alarm(counts[n:])[0] for counts in l0
    ]
    sides = 1 + two_sided
    exact = sides * np.floor((n + 1) * level / sides + 1e-9) / (n + 1)
    assert exact <= level
    assert stats.binom.sf(sum(alarms) - 1, draws, exact) > 1e-3
    assert stats.binom.cdf(sum(alarms), draws, 0.93 * exact) > 1e-3


def test_a_threshold_one_rank_too_low_would_be_noticed():
    rng = np.random.default_rng(5)
    draws = 4_000
    n = 39
    level = 0.05
    scores = rng.random((draws, n + 1))
    alarms = sum(row[n] > np.sort(row[:n])[n - 3] for row in scores)
    assert stats.binom.sf(alarms - 1, draws, level) < 1e-3


def test_scores_by_hand():
    l0 = np.array([[0, 2, 4], [0, 9, 9], [0, 0, 6], [0, 0, 0]])
    training = np.arange(1, 40)[:, None]
    assert calibrate(training, 0.05).score(l0).tolist() == [3, 9, 6, 0], (
        "positions where nothing is active do not count"
    )
    assert calibrate(training, 0.05, statistic="max").score(l0).tolist() == [4, 9, 6, 0]


def test_alarm_is_strictly_outside_the_limits():
    training = np.arange(1, 40)[:, None]
    asked = np.array([[0], [1], [2], [37], [38], [39], [40]])
    assert calibrate(training, 0.05).alarm(asked).tolist() == [False] * 5 + [True] * 2
    assert (
        calibrate(training, 0.1, two_sided=True).alarm(asked).tolist()
        == [True] * 2 + [False] * 3 + [True] * 2
    )


def test_a_smaller_level_never_adds_an_alarm():
    rng = np.random.default_rng(3)
    training = rng.integers(1, 60, size=(300, 8))
    asked = rng.integers(1, 80, size=(200, 8))
    alarms = [
        calibrate(training, level, two_sided=True).alarm(asked) for level in (0.01, 0.05, 0.2)
    ]
    assert (
        (alarms[0] <= alarms[1]).all()
        and (alarms[1] <= alarms[2]).all()
        and alarms[0].sum() < alarms[2].sum()
    )


def test_a_record_is_judged_like_its_l0_and_sequence_by_sequence(subject):
    discovery, sample = (
        load_corpus("random-tokens", subject, split=split, n_seq=30, n_ctx=N_CTX)
        for split in ("discovery", "certification")
    )
    known, asked = (
        collect(subject, corpus, controls=False, progress=False) for corpus in (discovery, sample)
    )
    monitor = calibrate(known, 0.1)
    assert (
        monitor.source["hook_name"] == subject.middle_hook
        and monitor.source["population"] == discovery.population
    )
    assert (
        replace(monitor, source={}) == replace(calibrate(known.l0, 0.1), source={})
    ) and calibrate(known.l0, 0.1).source == {}
    np.testing.assert_array_equal(monitor.score(asked), monitor.score(asked.l0))
    alone = [monitor.score(asked.l0[[row]])[0] for row in range(30)]
    np.testing.assert_array_equal(monitor.score(asked), alone)


def test_another_subject_is_refused(tmp_path):
    record = make_losses(np.full(40, 3.0), provenance=HASHES | {"subject": "toy"})
    record = replace(record, l0=np.arange(1, 41)[:, None] * np.ones((1, 3), int))
    monitor = calibrate(record, 0.05)
    assert monitor.alarm(record).sum() == 1
    for changed in (
        {"model_sha256": "x", "subject": "other"},
        {"sae_sha256": "x"},
        {"hook_name": "blocks.1.hook_resid_post"},
    ):
        other = replace(record, provenance=record.provenance | changed)
        with pytest.raises(
            ValueError,
            match=f"on toy at blocks.0.*asked about.*another {next(iter(changed))}.: calibrate",
        ):
            monitor.alarm(other)
        bare = calibrate(record.l0, 0.05).alarm(other)
        assert bare.sum() == 1, "a monitor of bare numbers cannot tell"
    monitor.save(tmp_path / "monitor.json")
    with pytest.raises(ValueError, match="asked about"):
        Monitor.load(tmp_path / "monitor.json").score(other)


def test_saving_and_loading(tmp_path):
    monitor = calibrate(
        np.random.default_rng(0).integers(1, 90, size=(50, 7)), 0.1, statistic="max", two_sided=True
    )
    monitor.save(tmp_path / "monitor.json")
    assert Monitor.load(tmp_path / "monitor.json") == monitor
    content = json.loads((tmp_path / "monitor.json").read_text())
    for bad in (
        content | {"monitor": 3},
        content | {"extra": 1},
        [content],
        {k: v for k, v in content.items() if k != "upper"},
    ):
        (tmp_path / "bad.json").write_text(json.dumps(bad))
        with pytest.raises(ValueError, match="bad.json is not a monitor of version 2"):
            Monitor.load(tmp_path / "bad.json")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(ValueError, match="is not a whole JSON file"):
        Monitor.load(tmp_path / "bad.json")


GOOD = {
    "monitor": 2,
    "upper": 30.0,
    "lower": None,
    "statistic": "mean",
    "level": 0.05,
    "n_seq": 200,
    "delta": None,
    "source": {"subject": "toy", "n_ctx": 128, "bos": True},
}


def refusal(path, text):
    """What `Monitor.load` says of a file with this text."""
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="monitor.json") as raised:
        Monitor.load(path)
    message = str(raised.value)
    assert "\n" not in message and len(message) < 400 + len(str(path))
    return message


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("value", ["text", None, True, -1, [], {}, [[1]], 2.5, {"subject": []}])
def test_a_field_of_another_type_is_refused(name, value, tmp_path):
    allowed = {"lower": (None, -1, 2.5), "delta": (None,), "upper": (2.5, -1), "source": ({},)}
    if value in allowed.get(name, ()) and value is not True:
        return
    message = refusal(tmp_path / "monitor.json", json.dumps(GOOD | {name: value}))
    assert name in message


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"level": 7}, "level must lie strictly between 0 and 1, got 7"),
        ({"delta": 1.5}, "delta must lie strictly between 0 and 1, got 1.5"),
        ({"delta": 1e-6}, "200 calibration sequences cannot guarantee .* at delta = 1e-06"),
        ({"level": 0.001}, "200 calibration sequences cannot guarantee a level of 0.001"),
        ({"level": 0.009, "lower": 3.0}, "cannot guarantee a level of 0.0045 on one side"),
        ({"lower": 31.0}, "the lower threshold 31 is above the upper, 30"),
        ({"n_seq": 10**400}, "has more than 64 bits"),
        ({"upper": 10**400}, "has more than 64 bits"),
        ({"upper": float("inf")}, "Infinity is not a finite number"),
        ({"statistic": "median"}, "unknown statistic 'median'"),
        ({"source": {"unheard": 1}}, "'source' cannot be"),
        ({"source": {"subject": "\ud800"}}, "surrogates not allowed"),
    ],
)
def test_values_that_no_calibration_gives_are_refused(change, said, tmp_path):
    assert re.search(said, refusal(tmp_path / "monitor.json", json.dumps(GOOD | change)))


def test_files_made_to_do_harm_are_refused_in_a_line(tmp_path):
    path = tmp_path / "monitor.json"
    text = json.dumps(GOOD)
    path.write_text(text)
    assert Monitor.load(path).upper == 30
    deep = "[" * 990 + "]" * 990
    assert "nested" in refusal(path, text.replace("null", deep))
    assert "nested" in refusal(path, "[" * 100_000)
    assert "'level' comes twice" in refusal(
        path, text.replace('{"monitor"', '{"level": 0.5, "monitor"', 1)
    )
    assert "larger than the 1,048,576 bytes" in refusal(path, text + " " * (1 << 20))
    assert "1e999 is not a finite number" in refusal(path, text.replace("30.0", "1e999"))
    path.write_bytes(b"\xff\xfe{}")
    with pytest.raises(ValueError, match="is not a whole JSON file"):
        Monitor.load(path)


def test_a_constant_count_cannot_raise_an_alarm():
    constant = np.full((100, 12), 32)
    constant[:, 0] = 0  # BOS
    for settings in ({}, {"statistic": "max"}, {"two_sided": True}):
        with pytest.raises(ConstantCountError, match="the same .* 32: a constant count .*TopK"):
            calibrate(constant, 0.05, **settings)
    constant[7, 3] = 31
    assert calibrate(constant, 0.05).upper == 32


def test_monitor_needs_no_torch():
    code = "import sys, saecert.dictionaries.monitor; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_what_cannot_be_calibrated():
    l0 = np.ones((18, 4), dtype=int)
    with pytest.raises(
        ValueError,
        match="18 calibration sequences cannot guarantee a level of 0.05 on one side, it takes 19",
    ):
        calibrate(l0, 0.05)
    assert calibrate(np.arange(1, 20)[:, None], 0.05).upper == 19
    with pytest.raises(ValueError, match="level of 0.025 on one side, it takes 39"):
        calibrate(l0, 0.05, two_sided=True)
    with pytest.raises(ValueError, match="0 calibration sequences cannot guarantee"):
        calibrate(l0[:0], 0.05)
    with pytest.raises(ValueError, match="level must lie strictly between 0 and 1, got 1"):
        calibrate(l0, 1.0)
    with pytest.raises(ValueError, match="unknown statistic 'median'; there are mean, max"):
        calibrate(l0, 0.2, statistic="median")
    with pytest.raises(ValueError, match="cannot be negative, got -1"):
        calibrate(-l0, 0.2)
    with pytest.raises(ValueError, match="must be finite numbers"):
        conformal_threshold(np.array([1.0, np.nan] * 20), 0.05)


@pytest.mark.parametrize(
    ("n", "level", "delta", "k"),
    [(59, 0.05, 0.05, 1), (92, 0.05, 0.05, 1), (93, 0.05, 0.05, 2), (200, 0.05, 0.05, 5)],
)
def test_trained_threshold_is_wilks_order_statistic(n, level, delta, k):
    """Wilks' tables: 59 values for one, 93 for two at 95 % content and 95 % confidence."""
    scores = np.random.default_rng(0).permutation(np.arange(1.0, n + 1))
    assert trained_threshold(scores, level, delta) == n + 1 - k
    assert stats.binom.cdf(k - 1, n, level) <= delta < stats.binom.cdf(k, n, level)


@pytest.mark.parametrize("two_sided", [False, True])
def test_this_calibration_keeps_its_rate_but_with_probability_delta(two_sided):
    """Uniform scores: the rate of every single calibration is known exactly."""
    rng = np.random.default_rng(1)
    draws = 6_000
    n = 150
    level = 0.1
    delta = 0.1
    wrong = 0
    for scores in rng.random((draws, n)):
        sides = 1 + two_sided
        upper = trained_threshold(scores, level / sides, delta / sides)
        lower = -trained_threshold(-scores, level / 2, delta / 2) if two_sided else 0.0
        wrong += 1 - upper + lower > level
    assert stats.binom.sf(wrong - 1, draws, delta) > 1e-3
    ranks = np.arange(n + 1)
    exact = stats.binom.cdf(ranks - 1, n, level)
    assert two_sided or stats.binom.cdf(wrong, draws, exact[exact <= delta].max()) > 1e-3


def test_ties_do_no_harm_and_a_rank_too_low_is_noticed():
    """Counts with few values, and the mutant that takes the next smaller score."""
    rng = np.random.default_rng(2)
    draws = 6_000
    n = 93
    smooth = rng.random((draws, n))
    coarse = np.ceil(10 * smooth)
    right = sum(1 - trained_threshold(row, 0.05, 0.05) > 0.05 for row in smooth)
    mutant = sum(1 - np.sort(row)[n - 3] > 0.05 for row in smooth)
    tied = sum(1 - trained_threshold(row, 0.05, 0.05) / 10 > 0.05 for row in coarse)
    assert stats.binom.sf(right - 1, draws, 0.05) > 1e-3
    assert stats.binom.sf(tied - 1, draws, 0.05) > 1e-3
    assert stats.binom.sf(mutant - 1, draws, 0.05) < 1e-6
    conformal = sum(1 - conformal_threshold(row, 0.05) > 0.05 for row in smooth)
    often = stats.beta.sf(0.05, 4, 90)  # 4 = 94 * 0.05, rounded down
    assert often > 0.25, "the average promise says little about one calibration"
    assert 1e-3 < stats.binom.cdf(conformal, draws, often) < 1 - 1e-3


def test_a_monitor_with_delta_is_saved_printed_and_reads_what_was_kept_before(tmp_path):
    counts = np.random.default_rng(0).integers(1, 90, size=(200, 7))
    monitor = calibrate(counts, 0.1, two_sided=True, delta=0.05)
    assert monitor.upper == trained_threshold(monitor.score(counts), 0.05, 0.025)
    assert monitor.upper >= calibrate(counts, 0.1, two_sided=True).upper
    path = tmp_path / "monitor.json"
    monitor.save(path)
    assert Monitor.load(path) == monitor and monitor.delta == 0.05
    assert "at most 0.1 for this calibration, except with probability 0.05" in str(monitor)
    assert "average over calibrations" in str(calibrate(counts, 0.1))
    before = {name: value for name, value in GOOD.items() if name != "delta"} | {"monitor": 1}
    path.write_text(json.dumps(before))
    assert Monitor.load(path).delta is None
    assert "version 2" in refusal(path, json.dumps(GOOD | {"monitor": 1}))


def test_too_few_sequences_for_this_calibration():
    l0 = np.arange(1, 59)[:, None]
    with pytest.raises(ValueError, match="58 .* of 0.05 on one side at delta = 0.05, it takes 59"):
        calibrate(l0, 0.05, delta=0.05)
    assert calibrate(np.arange(1, 60)[:, None], 0.05, delta=0.05).upper == 59
    with pytest.raises(ValueError, match="at delta = 0.025, it takes 146"):
        calibrate(l0, 0.05, two_sided=True, delta=0.05)
    for delta in (0.0, 1.0, -1.0):
        with pytest.raises(ValueError, match="delta must lie strictly between 0 and 1"):
            calibrate(l0, 0.05, delta=delta)

"""Losses measured live next to those of a record."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import make_texts
from synthetic_losses import random_losses

from saecert.reporting.live import compare_live, live_losses
from saecert.reporting.study import open_study


def moved(record, bits):
    loss = {name: values.copy() for name, values in record.loss.items()}
    loss["full"][0, 3] += bits
    return replace(record, loss=loss)


def test_the_largest_difference_is_named_and_rounded_up():
    record = random_losses()
    again = compare_live(moved(record.take(np.arange(10)), 0.00101), record, 0.5, True)
    assert again.n_seq == 10
    assert again.largest == pytest.approx(0.00101)
    assert again.mean == pytest.approx(0.000101)
    assert again.verdict is True
    assert "0.0011 bits" in str(again)
    assert all(len(line) <= 72 for line in str(again).splitlines())


def test_a_difference_beyond_rounding_is_no_agreement():
    record = random_losses()
    assert compare_live(moved(record, 0.003), record, 0.5, True).verdict is False


def test_without_a_kept_record_nothing_is_claimed():
    record = random_losses()
    assert "nothing is kept" in compare_live(record, record, 0.5, False).verdict


def test_other_sequences_are_refused():
    record = random_losses()
    with pytest.raises(ValueError, match="other sequences"):
        compare_live(record.take(np.arange(1, 9)), record, 0.5, True)


def test_live_losses_are_measured_at_the_alpha_of_the_page(folders, tmp_path):
    text = tmp_path / "texts.txt"
    text.write_text("\n".join(make_texts(40)), encoding="utf-8")
    study = open_study(str(folders["llama"]), corpus=str(text), n_seq=6, n_discovery=None)
    losses = study.losses(pools=[], controls=False, alphas=[0.3])
    live = live_losses(study, 100, alphas=[0.3])
    assert len(live) == 6, "no more than the study has"
    assert compare_live(live, losses, 0.3, True).verdict is True

"""What latents did is kept once for all records of the same sequences."""

from dataclasses import replace

import numpy as np
import pytest
from synthetic_losses import random_losses

from saecert.reporting.latents import put_aside, put_back

REQUEST = {
    "quantity": "losses",
    "subject": "toy",
    "corpus": "made up",
    "split": "certification",
    "hook_name": "blocks.0.hook_resid_post",
    "skip": 5,
    "n_seq": 60,
    "n_discovery": 40,
    "extra": [],
    "pools": None,
    "controls": True,
    "rank": "frequency",
    "alphas": [0.5],
}


@pytest.fixture
def record():
    return random_losses(60)


def test_a_record_comes_back_as_it_was(record, tmp_path):
    bare, files = put_aside(record, REQUEST, tmp_path)
    assert set(files) == {"sample", "discovery"}
    assert not bare.active.any() and not bare.discovery.losses.l0.any()
    assert put_back(bare, files, tmp_path).fingerprint() == record.fingerprint()
    assert bare.fingerprint() != record.fingerprint()


def test_other_proxies_and_longer_samples_share_the_file(record, tmp_path):
    part = record.take(slice(0, 20))
    few, files = put_aside(part, {**REQUEST, "n_seq": 20, "extra": ["noise"]}, tmp_path)
    _, again = put_aside(record, REQUEST, tmp_path)
    assert again == files and len(list(tmp_path.iterdir())) == 2
    assert put_back(few, files, tmp_path).fingerprint() == part.fingerprint()


def test_other_text_has_a_file_of_its_own(record, tmp_path):
    _, files = put_aside(record, REQUEST, tmp_path)
    _, others = put_aside(record, {**REQUEST, "skip": 6}, tmp_path)
    assert others["sample"] != files["sample"]
    assert others["discovery"] == files["discovery"]


def test_a_record_that_differs_keeps_its_own(record, tmp_path):
    put_aside(record, REQUEST, tmp_path)
    flipped = record.active.copy()
    flipped[3, 0] ^= 1
    other = replace(record, active=flipped)
    kept, files = put_aside(other, REQUEST, tmp_path)
    assert set(files) == {"discovery"}
    np.testing.assert_array_equal(kept.active, flipped)
    assert put_back(kept, files, tmp_path).fingerprint() == other.fingerprint()


def test_a_file_that_is_gone_is_an_error(record, tmp_path):
    bare, files = put_aside(record, REQUEST, tmp_path)
    (tmp_path / files["sample"]).unlink()
    with pytest.raises(FileNotFoundError):
        put_back(bare, files, tmp_path)

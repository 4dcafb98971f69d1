import dataclasses
import json

import numpy as np
import pytest
from synthetic_losses import HI, LO, make_losses, random_losses

from saecert.record_files import FORMAT
from saecert.records import SequenceLosses, smoothed_support


def test_support_is_that_of_the_smoothed_loss():
    for alpha, n_vocab in ((0.5, 50257), (0.01, 4096)):
        lo, hi = smoothed_support(alpha, n_vocab)
        q = np.array([1.0, 0.0])
        np.testing.assert_allclose([lo, hi], -np.log2((1 - alpha) * q + alpha / n_vocab))
    for alpha in (0.0, 1.0, -0.1):
        with pytest.raises(ValueError, match="alpha must lie strictly between"):
            smoothed_support(alpha, 10)
    with pytest.raises(ValueError, match="n_vocab must be at least 2"):
        smoothed_support(0.5, 1)


def test_save_and_load_return_the_same_record(tmp_path):
    record = random_losses()
    record.save(tmp_path / "losses.npz")
    loaded = SequenceLosses.load(tmp_path / "losses.npz")
    assert loaded.fingerprint() == record.fingerprint()
    assert loaded.pool_sizes == record.pool_sizes == (4, 8, 16)
    assert list(loaded.reference_support) == list(record.reference_support)
    np.testing.assert_array_equal(
        loaded.discovery.losses.loss["pool_4"], record.discovery.losses.loss["pool_4"]
    )
    assert list(tmp_path.iterdir()) == [tmp_path / "losses.npz"]


@pytest.mark.parametrize(
    "part", ["loss", "raw", "active", "l0", "ids", "provenance", "reference_support", "discovery"]
)
def test_fingerprint_sees_every_part(part):
    record = random_losses()
    changed = {
        "loss": {name: values + (name == "full") * 1e-9 for name, values in record.loss.items()},
        "raw": {"clean": record.raw["clean"] + 1e-9},
        "active": record.active ^ np.uint8(1),
        "l0": record.l0 + 1,
        "ids": record.ids + np.uint64(1),
        "provenance": record.provenance | {"seed": 1},
        "reference_support": record.reference_support | {"bigram": ((2.0, 11.5),)},
        "discovery": dataclasses.replace(record.discovery, n_active=np.arange(16)),
    }[part]
    assert dataclasses.replace(record, **{part: changed}).fingerprint() != record.fingerprint()


def test_at_clips_rounding_and_names_what_exists():
    record = make_losses([HI + 5e-7, LO - 5e-7, 3.0], pools={4: [3.0, 3.0, 3.0]})
    assert record.at("clean", 0.5).tolist() == [HI, LO, 3.0]
    np.testing.assert_array_equal(record.at("pool_16", 0.5), record.at("full", 0.5))
    with pytest.raises(KeyError, match="'pool_5' was not measured; there are clean, full, pool_4"):
        record.at("pool_5", 0.5)
    with pytest.raises(ValueError, match=r"not 0.01: collect again with alphas=\(0.01,\)"):
        record.at("clean", 0.01)


def test_take_keeps_rows_together():
    record = random_losses()
    some = record.take(np.array([5, 2, 5]))
    assert some.ids.tolist() == [5, 2, 5]
    np.testing.assert_array_equal(some.activity(), record.activity()[[5, 2, 5]])
    np.testing.assert_array_equal(some.at("bigram", 0.5), record.at("bigram", 0.5)[[5, 2, 5]])
    assert len(record.take(slice(0, 7))) == 7


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1.0], "1 sequence.* needs at least 2, give a larger corpus"),
        ([4.0, float("nan"), 4.0], "loss of 'clean' is not finite on sequence 1"),
        ([4.0, 5.0, float("inf")], "loss of 'clean' is not finite on sequence 2"),
        (
            [4.0, HI + 0.1],
            r"loss of 'clean' on sequence 1 is 13.1 bits, outside its support \[0.99",
        ),
        ([LO - 0.5, 4.0], "loss of 'clean' on sequence 0 is 0.49"),
    ],
)
def test_bad_losses_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        make_losses(values)


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"loss 'full' has shape \(1, 2\), expected \(1, 3\)"):
        make_losses([3.0, 3.0, 3.0], full=[3.0, 3.0])
    record = random_losses()
    with pytest.raises(ValueError, match="'clean': expected 60 finite values, one per sequence"):
        dataclasses.replace(record, raw={"clean": np.full(60, np.nan)})


def test_files_that_are_no_record_are_refused(tmp_path):
    path = tmp_path / "losses.npz"
    random_losses().save(path)
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"hello", b""):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="measure again"):
            SequenceLosses.load(path)
    np.savez(path, x=np.ones(3))
    with pytest.raises(ValueError, match="its header is missing"):
        SequenceLosses.load(path)
    np.savez(path, header=np.array(json.dumps({"format": 99})))
    with pytest.raises(ValueError, match="another version of saecert"):
        SequenceLosses.load(path)
    for header in ("{", "[]", json.dumps({"format": FORMAT})):
        np.savez(path, header=np.array(header))
        with pytest.raises(ValueError, match="was edited or is damaged .*: measure again"):
            SequenceLosses.load(path)
    with pytest.raises(FileNotFoundError):
        SequenceLosses.load(tmp_path / "nowhere.npz")


def test_repr_is_a_line():
    record = random_losses()
    shown = "toy, blocks.0.hook_resid_post: 60 sequences, alpha 0.5, 6 predictors, 16 latents"
    assert repr(record) == f"SequenceLosses({shown}, with discovery)"
    bare = dataclasses.replace(record, provenance={}, discovery=None)
    assert repr(bare).startswith("SequenceLosses(no provenance: 60 sequences")
    forged = dataclasses.replace(record, provenance={"subject": "\x1b[2J\u202e\nverified"})
    assert repr(forged).startswith("SequenceLosses(\\x1b[2J\\u202e\\nverified: 60 sequences")


@pytest.mark.parametrize(
    "name", ["pool_0", "pool_04", "pool_-4", "pool_17", "pool_x", "pool_", "pool_\u0664"]
)
def test_pools_that_no_dictionary_has_are_refused(name):
    record = random_losses()
    loss = record.loss | {name: record.loss["pool_4"]}
    with pytest.raises(ValueError, match="is no pool of 1 to 16 latents"):
        dataclasses.replace(record, loss=loss)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_seq": 0}, "n_active of the discovery split leaves 0 to its 0 sequences"),
        ({"n_active": np.full(16, 41)}, "leaves 0 to its 40 sequences"),
        ({"n_active": np.full(16, -1)}, "leaves 0 to its 40 sequences"),
        ({"order": np.zeros(16, int)}, "does not name every latent once"),
        ({"order": np.arange(1, 17)}, "does not name every latent once"),
    ],
)
def test_a_discovery_split_that_cannot_be_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(random_losses().discovery, **changes)


def test_the_number_of_latents_is_that_of_the_activity():
    with pytest.raises(ValueError, match=r"active has shape \(60, 2\), expected \(60, 5\)"):
        dataclasses.replace(random_losses(), d_sae=40)

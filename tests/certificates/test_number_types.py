"""A record is certified in double precision, whatever its arrays are kept in."""

from dataclasses import replace

import numpy as np
import pytest
from synthetic_losses import random_losses

from saecert.certificates.certificate import certify
from saecert.certificates.comparison import compare
from saecert.certificates.concepts import frontier
from saecert.certificates.divergence import divergence_limit
from saecert.certificates.published.from_means import count_of_share, sharper_direct
from saecert.certificates.recovered import loss_recovered
from saecert.certificates.tails import tails
from saecert.records import SequenceLosses

TABLES = ("loss", "total_variation", "top1_disagreement", "outside_firings", "outside_energy")
SETTINGS = {"pool": 8, "eps": (0.1,)}


def in_type(record, kind):
    tables = {
        name: {key: x.astype(kind) for key, x in getattr(record, name).items()} for name in TABLES
    }
    return replace(record, **tables)


@pytest.fixture(scope="module", params=[np.float32, np.float16])
def both(request):
    """A record in single or half precision, and the same numbers in double."""
    record = random_losses()
    loss = record.loss | {"zero": record.loss["clean"] + 3.0}
    narrow = in_type(replace(record, loss=loss), request.param)
    return narrow, in_type(narrow, np.float64)


@pytest.mark.parametrize("inequality", ["dirichlet", "betting"])
def test_a_certificate_of_narrow_numbers_is_that_of_the_same_in_double(both, inequality):
    """It ended with "the terms sum to 4.600603396700347, the bound is 4.600603404150927"."""
    narrow, double = both
    first = certify(narrow, inequality=inequality, **SETTINGS)
    second = certify(double, inequality=inequality, **SETTINGS)
    assert first.fingerprint == narrow.fingerprint() != second.fingerprint
    assert replace(first, fingerprint="") == replace(second, fingerprint="")


def test_so_is_everything_else_that_reads_a_record(both):
    narrow, double = both
    assert tails(narrow, pool=8) == tails(double, pool=8)
    assert frontier(narrow) == frontier(double)
    assert loss_recovered(narrow) == loss_recovered(double)
    compared = []
    for record in both:
        one, other = (certify(record, pool=k, eps=(), ablations=()) for k in (8, 4))
        found = compare(one, other, (record, record), quantity="total_variation")
        compared.append((found.lower, found.difference, found.upper))
    assert compared[0] == compared[1]


def test_a_saved_record_keeps_its_type_and_its_fingerprint(both, tmp_path):
    narrow, _ = both
    narrow.save(tmp_path / "losses.npz")
    loaded = SequenceLosses.load(tmp_path / "losses.npz")
    assert loaded.loss["full"].dtype == narrow.loss["full"].dtype
    assert loaded.fingerprint() == narrow.fingerprint()


def test_losses_in_double_are_handed_on_without_a_copy_of_another_type():
    record = random_losses()
    assert record.at("full", 0.5).dtype == np.float64
    np.testing.assert_array_equal(record.at("full", 0.5), record.loss["full"][0])


def test_a_divergence_is_averaged_in_double():
    values = np.linspace(0, 2, 300, dtype=np.float16)
    kinds = [values, values.astype(np.float64)]
    first, second = (divergence_limit(x, proxy="full", alpha=0.5, n_vocab=4096) for x in kinds)
    assert first == second


@pytest.mark.parametrize("precision", [-0.1, 1.0, float("nan")])
def test_printed_means_are_raised_and_never_lowered(precision):
    """A precision below 0 lowered them, and the limits with them."""
    with pytest.raises(ValueError, match="a relative error lies in"):
        count_of_share(0.5, 100, precision)
    with pytest.raises(ValueError, match="a relative error lies in"):
        sharper_direct(n_seq=100, risk=5.0, n_vocab=4096, precision=precision)

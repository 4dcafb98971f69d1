"""Settings of certificates that are none: each is refused in a line that names it."""

import json
from functools import partial

import numpy as np
import pytest
from synthetic_losses import random_losses

from saecert.certificates.certificate import Certificate, certify
from saecert.certificates.comparison import compare
from saecert.certificates.recovered import loss_recovered
from saecert.certificates.stopping import certify_stream
from saecert.certificates.tails import quantile_counts, tails

LOSSES = random_losses()
CERTIFY = partial(certify, LOSSES, inequality="hoeffding")

BAD = [
    (CERTIFY, {"prior": "x"}, "takes no prior, got 'x'"),
    (CERTIFY, {"prior": "discovery"}, "takes no prior"),
    (CERTIFY, {"prior": 5, "method": "nested"}, "prior takes one text, got 5"),
    (CERTIFY, {"method": "x", "prior": "y"}, "unknown method 'x'"),
    (CERTIFY, {"pool": 192.7}, "pool takes a whole number"),
    (CERTIFY, {"pool": "4"}, "pool takes a whole number"),
    (CERTIFY, {"pool": [2.5], "method": "nested"}, "an item of pool takes a whole number"),
    (CERTIFY, {"tolerance": -1, "pool": 4}, "tolerance must be a positive number"),
    (CERTIFY, {"tolerance": -1, "method": "nested"}, "tolerance must be a positive number"),
    (CERTIFY, {"tolerance": np.inf}, "tolerance must be a positive number"),
    (CERTIFY, {"tolerance": "0.1"}, "tolerance takes a number"),
    (CERTIFY, {"seed": None}, "seed takes a whole number, got None"),
    (CERTIFY, {"seed": -1}, "seed takes a whole number from 0"),
    (CERTIFY, {"delta": "0.05"}, "delta takes a number"),
    (CERTIFY, {"delta": 5e-324}, "delta takes a probability of at least 1e-310"),
    (CERTIFY, {"alpha": "0.5"}, "alpha takes a number"),
    (CERTIFY, {"n_seq": 2.5}, "n_seq takes a whole number"),
    (CERTIFY, {"eps": 0.1}, "eps takes a list, got 0.1"),
    (CERTIFY, {"unit": ["group"]}, "unit takes one text"),
    (CERTIFY, {"inequality": ["betting"]}, "inequality takes one text"),
    (CERTIFY, {"budget": "sharp"}, "budget takes shares of delta"),
    (CERTIFY, {"budget": {"sharp": "x"}}, r"budget\['sharp'\] takes a number"),
    (CERTIFY, {"allow": 3}, "allow takes a list"),
    (CERTIFY, {"ablations": 3}, "ablations takes a list"),
    (certify, {"losses": "l.npz"}, "losses takes a record: SequenceLosses.load"),
    (tails, {"losses": LOSSES, "jointly": "no"}, "jointly takes True or False, got 'no'"),
    (tails, {"losses": LOSSES, "cap": "1"}, "cap takes a number"),
    (tails, {"losses": LOSSES, "pool": 4.5}, "pool takes a whole number"),
    (tails, {"losses": LOSSES, "levels": 0.5}, "levels takes a list"),
    (quantile_counts, {"losses": LOSSES, "level": "0.9"}, "level takes a number"),
    (loss_recovered, {"losses": LOSSES, "ablation": ["zero"]}, "ablation takes one text"),
    (certify_stream, {"parts": [LOSSES], "target": "uniform", "delta": "1"}, "delta takes a num"),
]


@pytest.mark.parametrize(("function", "settings", "message"), BAD, ids=[row[2] for row in BAD])
def test_a_setting_that_is_none_is_refused_in_a_line(function, settings, message):
    with pytest.raises(ValueError, match=message) as caught:
        function(**settings)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 200


def test_numbers_of_numpy_are_saved_like_those_of_python(tmp_path):
    plain = {"delta": 0.05, "alpha": 0.5, "tolerance": 0.2, "seed": 3, "n_seq": 50}
    odd = {name: np.float32(value) for name, value in plain.items()}
    odd |= {"seed": np.int64(3), "n_seq": np.int32(50), "budget": {"sharp": np.float32(0.04)}}
    certificate = CERTIFY(**odd)
    assert certificate == CERTIFY(**plain, budget={"sharp": 0.04})
    certificate.save(tmp_path / "certificate.json")
    assert Certificate.load(tmp_path / "certificate.json") == certificate
    assert certificate.verify(LOSSES) > 0


def test_a_whole_number_of_bits_can_be_read_back(tmp_path):
    CERTIFY(tolerance=1).save(tmp_path / "certificate.json")
    assert Certificate.load(tmp_path / "certificate.json").tolerance == 1.0


def test_a_grid_of_numpy_is_a_grid():
    grid = np.array(LOSSES.pool_sizes[:2])
    assert CERTIFY(method="nested", pool=grid) == CERTIFY(method="nested", pool=grid.tolist())


def test_compare_wants_both_records():
    certificate = CERTIFY()
    for losses in ((LOSSES,), LOSSES, (LOSSES, "l.npz")):
        with pytest.raises(ValueError, match="losses takes (the records of both|a record)"):
            compare(certificate, certificate, losses)


@pytest.mark.parametrize("forged", [["zero"], [{"lower": 0.5}]])
def test_an_edited_row_is_the_documented_error(tmp_path, forged):
    path = tmp_path / "certificate.json"
    CERTIFY().save(path)
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"recovered": forged}))
    with pytest.raises(ValueError, match=r"certificate\.json.*edited or damaged"):
        Certificate.load(path)

"""Certificates in files: what is written is read again, and what is no certificate is refused."""

import dataclasses
import json

import pytest
from synthetic_losses import random_losses

from saecert.certificates.certificate import Certificate, certify


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"method": "nested", "pool": (4, 8), "budget": {"bound": 0.02}},
        {"method": "in_sample", "n_seq": 5},
    ],
)
def test_json_round_trip_is_exact(tmp_path, settings):
    losses = random_losses()
    losses = dataclasses.replace(
        losses, provenance=losses.provenance | {"versions": {"numpy": "2"}, "pair": (1, 2)}
    )
    certificate = certify(losses, **settings)
    certificate.save(tmp_path / "certificate.json")
    assert Certificate.load(tmp_path / "certificate.json") == certificate
    assert certificate.fingerprint == losses.fingerprint()


def test_bad_files_are_refused(tmp_path):
    path = tmp_path / "certificate.json"
    certify(random_losses()).save(path)
    text = path.read_text()
    content = json.loads(text)
    cases = {
        text[: len(text) // 2]: "not a whole JSON file",
        "[]": "not a certificate of saecert",
        json.dumps(content | {"schema": 99}): "schema 99, this version of saecert reads 3: update",
        json.dumps(
            content | {"schema": 2}
        ): "has schema 2, .* reads 3: certify the same losses again",
        json.dumps(
            content | {"means": content["means"] | {"one-sided gap": 1.0}}
        ): "the terms sum to .*, the sharp bound is",
        json.dumps(
            {key: value for key, value in content.items() if key != "alpha"}
        ): "missing or unknown fields: alpha",
        json.dumps(content | {"extra": 1}): "missing or unknown fields: extra",
        json.dumps(
            content | {"means": content["means"] | {"proxy risk": 1.0}}
        ): "edited or damaged, certify again: .*the terms sum to",
        json.dumps(content | {"means": {}}): "edited or damaged, certify again: KeyError",
        json.dumps(content | {"n_seq": "60"}): "n_seq is '60', not int: edited or damaged",
    }
    for damaged, message in cases.items():
        path.write_text(damaged)
        with pytest.raises(ValueError, match=message):
            Certificate.load(path)
    with pytest.raises(FileNotFoundError):
        Certificate.load(tmp_path / "nowhere.json")

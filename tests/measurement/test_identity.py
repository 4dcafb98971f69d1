"""Measurements are kept under what determines them, and under nothing else."""

from dataclasses import replace

import pytest

from saecert import load_subject
from saecert.measurement import identity as identities
from saecert.measurement.circumstances import merged
from saecert.measurement.identity import identity


def test_model_saes_sequences_and_settings_identify_a_measurement(folders, subject, corpora):
    sample = corpora["certification"]
    first, second, *_ = subject.hook_names
    key = identity(subject, sample, first, "settings")
    swapped = replace(subject, saes={first: subject.sae_at(second)})
    other_model = replace(load_subject(folders["gpt2"]), saes=subject.saes)
    others = [
        identity(subject, corpora["discovery"], first, "settings"),
        identity(subject, replace(sample, bos=not sample.bos), first, "settings"),
        identity(subject, sample, second, "settings"),
        identity(subject, sample, "", "settings"),
        identity(subject, sample, first, "other settings"),
        identity(swapped, sample, first, "settings"),
        identity(other_model, sample, first, "settings"),
    ]
    assert key == identity(subject, sample, first, "settings")
    assert len({key, *others}) == 1 + len(others)


@pytest.mark.parametrize("name", ["MEASUREMENT_VERSION", "dtype_name"])
def test_version_and_number_type_identify_a_measurement(subject, corpora, monkeypatch, name):
    key = identity(subject, corpora["discovery"])
    monkeypatch.setattr(identities, name, lambda subject: "bfloat16")
    assert identity(subject, corpora["discovery"]) != key


def test_the_name_of_a_document_identifies_nothing(subject, corpora):
    sample = corpora["discovery"]
    renamed = replace(sample, name="other", keys=tuple(f"{key}!" for key in sample.keys))
    assert identity(subject, renamed) == identity(subject, sample)


def test_circumstances_that_differ_are_all_told():
    first = {"versions": {"torch": "2.1"}, "machine": {"device": "cpu"}, "date": "2026-01-02"}
    second = {"versions": {"torch": "2.2"}, "machine": {"device": "cpu"}, "date": "2026-01-01"}
    both = {
        "versions": {"torch": "2.1, 2.2"},
        "machine": {"device": "cpu"},
        "date": "2026-01-01, 2026-01-02",
    }
    assert merged([first, second]) == both
    assert merged([first, first]) == first

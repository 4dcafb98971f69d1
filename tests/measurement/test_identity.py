"""Measurements are kept under what determines them, and under nothing else."""

import ast
import hashlib
from dataclasses import replace

import pytest
from checks import ROOT

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


MEASURING = (
    "saecert/measurement/batch.py",
    "saecert/measurement/catalogue.py",
    "saecert/measurement/controls.py",
    "saecert/measurement/proxies.py",
    "saecert/measurement/quality.py",
    "saecert/measurement/references.py",
    "saecert/measurement/saecheck.py",
    "saecert/measurement/scoring.py",
    "saecert/measurement/site.py",
    "saecert/measurement/survey.py",
    "saecert/subjects/forward.py",
)
"""Files with code that makes numbers."""
PINNED = "e945ffd521321b41"
"""Hash of that code at the present `MEASUREMENT_VERSION`."""


def code_hash(paths):
    """Hash of the code of files without docstrings, comments and layout."""
    dumped = []
    for path in paths:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            body = getattr(node, "body", None)
            if isinstance(body, list):
                node.body = [line for line in body if not _is_text(line)]
        dumped.append(ast.dump(tree))
    return hashlib.sha256("\n".join(dumped).encode()).hexdigest()[:16]


def _is_text(line):
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant)


def test_the_code_that_measures_is_the_one_of_this_version():
    present = code_hash([ROOT / path for path in MEASURING])
    assert present == PINNED, (
        "the measuring code changed: numbers may change. If they do, raise MEASUREMENT_VERSION in "
        "saecert/measurement/version.py and measure again (make measure). If they cannot, only "
        f"update the hash: PINNED = '{present}'"
    )


def test_comments_and_layout_are_no_code(tmp_path):
    plain = tmp_path / "plain.py"
    annotated = tmp_path / "annotated.py"
    changed = tmp_path / "changed.py"
    plain.write_text("def f(x):\n    return x + 1\n")
    annotated.write_text('"""About."""\n\ndef f(x):\n    """More."""\n    return (x + 1)  # one\n')
    changed.write_text("def f(x):\n    return x + 10\n")
    assert code_hash([plain]) == code_hash([annotated]) != code_hash([changed])

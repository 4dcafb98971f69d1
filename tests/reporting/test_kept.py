"""What is kept under ``measurements/`` is what is measured: random parts of all of it, again.

Another seed tries other parts: ``SAECERT_SEED=7 make test``.
"""

import os

import numpy as np
import pytest

from saecert.dictionaries.counted import counts_of, errors_from
from saecert.measurement.version import MEASUREMENT_VERSION
from saecert.reporting import measurements, remeasure, simulations
from saecert.subjects.listing import SHIPPED, is_installed

SEED = int(os.environ.get("SAECERT_SEED", "0"))
LARGEST_CHANGE = 2e-3
"""Bits a sequence: more than another processor changes, less than any printed digit."""
MEGABYTES = 20


TRAINED = ("recovery", "recovery_started", "recovery_small")
"""Simulations whose cells are SAEs that are trained."""


SMALL_CHANGES = {
    "explained_variance": 0.01,
    "mean_cosine": 0.02,
    "f1": 0.05,
    "mcc": 0.05,
    "silent": 0.05,
}
"""What rounding otherwise may do to the small SAE."""


def everything(kind):
    return list(measurements.all_kept(kind))


SUBJECTS = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            not is_installed(name), reason=f"the model of {name} is not installed: make smollm2"
        ),
    )
    for name in SHIPPED
]
"""Measurements stay when the model that they are of is not on this machine."""


def of_subject(kind, name):
    return [file for file in everything(kind) if file.request["subject"] == name]


@pytest.fixture
def rng():
    return np.random.default_rng(SEED)


@pytest.mark.shared_cache
@pytest.mark.parametrize("name", SUBJECTS)
def test_losses_of_random_sequences_of_every_record(name, rng):
    changes = remeasure.changes_of_losses(of_subject("losses", name), rng)
    assert {name: change for name, change in changes.items() if change > LARGEST_CHANGE} == {}


@pytest.mark.shared_cache
@pytest.mark.parametrize("name", SUBJECTS)
def test_random_sequences_of_all_named_arrays(name, rng):
    rows = [file for file in of_subject("arrays", name) if file.facts["by_sequence"]]
    changes = remeasure.changes_of_arrays(rows, rng)
    assert {name: change for name, change in changes.items() if change > LARGEST_CHANGE} == {}


@pytest.mark.parametrize("file", everything("frame"), ids=lambda file: file.path.stem)
def test_random_cells_of_every_simulation(file, rng):
    if file.request["name"] in TRAINED:
        pytest.skip("minutes of training a cell; the small one is trained again below")
    pair = remeasure.changes_of_frame(file, rng)
    if pair is None:
        assert file.request["losses"], "made by a function of a page: it cannot be made again"
        return
    rows, again = pair
    assert rows.columns.tolist() == again.columns.tolist()
    for name in rows.select_dtypes("number"):
        # the same seed: another processor may turn a few samples over, chance would more
        np.testing.assert_allclose(rows[name], again[name], rtol=1e-2, atol=2e-3)
    for name in rows.select_dtypes(exclude="number"):
        assert rows[name].tolist() == again[name].tolist()


def test_the_small_sae_trained_again_is_the_kept_one():
    """Weights after 1,000 steps are those of this processor: another rounds otherwise, and a few
    features end on the other side of the threshold. Everything counted on samples is the same but
    for that; the world and the test samples are the same to the bit.
    """
    (file,) = [file for file in everything("frame") if file.request["name"] == "recovery_small"]
    build = simulations.function_named(file.request["build"])
    made = simulations.make_cells(build, file.request["settings"], file.request["cells"], [0])
    kept = measurements.read_frame(file.path).iloc[0]
    again = measurements.as_kept_frame(made).iloc[0]
    for name in ("steps", "first_bin", "features", "true_l0", "world", "architecture", "l0"):
        assert again[name] == kept[name], name
    assert abs(again["recovered"] - kept["recovered"]) <= 5
    for name in ("explained_variance", "mean_cosine", "f1", "mcc", "silent"):
        assert again[name] == pytest.approx(kept[name], abs=SMALL_CHANGES[name]), name
    errors = [errors_from(counts_of(row["errors"])) for row in (kept, again)]
    assert len(errors[0]) == len(errors[1]) == file.request["settings"]["n_test"]
    assert errors[0].mean() == pytest.approx(errors[1].mean(), abs=0.01)


def test_all_of_it_is_of_this_version_of_a_shipped_subject_and_small():
    files = everything("")
    subjects = {file.request["subject"] for file in files if "subject" in file.request}
    assert subjects <= set(SHIPPED)
    versions = {file.request.get("measurement_version", MEASUREMENT_VERSION) for file in files}
    assert versions <= {MEASUREMENT_VERSION}
    frames = {file.request["simulation_version"] for file in everything("frame")}
    assert frames <= {simulations.SIMULATION_VERSION}
    size = sum(file.path.stat().st_size for file in files)
    assert size < MEGABYTES * 1e6


def test_no_record_is_a_part_of_another(monkeypatch):
    files = everything("losses")
    for file in files:
        others = [other for other in files if other.path != file.path]
        monkeypatch.setattr(measurements, "all_kept", lambda kind, others=others: iter(others))
        answer = measurements.find_losses(file.request)
        assert answer is None, f"{file.path.name} is answered by another file"

"""What is kept under ``measurements/`` is what is measured: random parts of all of it, again.

Another seed tries other parts: ``SAECERT_SEED=7 make test``.
"""

import os

import numpy as np
import pytest
from faulty import LONG

from saecert.dictionaries.counted import counts_of, errors_from
from saecert.measurement.version import MEASUREMENT_VERSION
from saecert.reporting import measurements, remeasure, simulations
from saecert.reporting.quantities import MEASURABLE
from saecert.storage import cache_dir
from saecert.subjects.listing import SHIPPED, is_installed

SEED = int(os.environ.get("SAECERT_SEED", "0"))
LARGEST_CHANGE = 2e-3
"""Bits a sequence: more than another processor changes, less than any printed digit."""
MEGABYTES = 20
LARGEST_SHARE = 0.05
"""Of the entries of an array: those about which processors may disagree where values nearly tie."""
LARGEST_N = 100
"""Sample size up to which cells that stand on losses are made again here; all by `make faults`."""
TEXT = ("docstrings-", "functions-", "tokens-", "similar-")
"""Files of the cache folder that hold text."""

QUICK = ("alias_counts", "document", "mixing", "phenomena", "survey")
"""Kinds of arrays without a row a sequence of which one whole file takes seconds."""
SLOW = {
    "compared": "trains 14 SAEs",
    "compared_probed": "trains 3 SAEs and fits probes",
    "packages_and_outliers": "trains 16 SAEs",
    "optimality": "solves for codes; random sequences are in dictionaries/test_optimality",
    "priced": "trains 2 SAEs",
    "random_baselines": "trains 16 SAEs",
    "splitting": "trains 5 SAEs",
    "strongest": "gradients of the latents of two SAEs",
    "compared of smollm2-135m": "trains 3 SAEs of a public model",
    "packages_and_outliers of smollm2-135m": "trains 4 SAEs of a public model",
    "random_baselines of smollm2-135m": "trains 4 SAEs of a public model",
    "survey of smollm2-135m": "runs a public model on 300 sequences",
    "usual_optimality of smollm2-135m": "solves for codes of 4,608 latents",
}
"""Kinds of which a file takes 15 seconds to many minutes: measured again by `make faults`."""


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


def kind_of(file):
    """What a file of arrays is a measurement of, such as "survey of smollm2-135m"."""
    request = file.request
    build = request["settings"].get("build", request["quantity"]).rpartition(":")[2]
    return build if request["subject"] == "docstring-6l" else f"{build} of {request['subject']}"


def whole_files():
    """Files of arrays that are no values of single sequences, by kind."""
    files = {}
    for file in everything("arrays"):
        if not file.facts["by_sequence"]:
            files.setdefault(kind_of(file), []).append(file)
    return files


@pytest.fixture
def rng():
    return np.random.default_rng(SEED)


@pytest.fixture(scope="module")
def module_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def text_only(module_cache, monkeypatch, request):
    """A cache folder with the text and nothing that was measured before: that would answer.

    Surveys of the public model take minutes; they are made anew by `make faults` alone.
    """
    if "smollm2" in request.node.name and not LONG:
        return
    for path in cache_dir().iterdir():
        link = module_cache / path.name
        if path.name.startswith(TEXT) and not link.exists():
            link.symlink_to(path.resolve())
    monkeypatch.setenv("SAECERT_CACHE", str(module_cache))


@pytest.mark.shared_cache
@pytest.mark.usefixtures("text_only")
@pytest.mark.parametrize("name", SUBJECTS)
def test_losses_of_random_sequences_of_every_record(name, rng):
    changes = remeasure.changes_of_losses(of_subject("losses", name), rng)
    assert {name: change for name, change in changes.items() if change > LARGEST_CHANGE} == {}


@pytest.mark.shared_cache
@pytest.mark.usefixtures("text_only")
@pytest.mark.parametrize("name", SUBJECTS)
def test_random_sequences_of_all_named_arrays(name, rng):
    rows = [file for file in of_subject("arrays", name) if file.facts["by_sequence"]]
    changes = remeasure.changes_of_arrays(rows, rng)
    assert {name: change for name, change in changes.items() if change > LARGEST_CHANGE} == {}


def test_every_kind_of_file_is_measured_again_here_or_by_make_faults():
    assert {file.facts["kind"] for file in everything("")} == {"losses", "arrays", "frame"}
    for file in everything("arrays"):
        assert file.facts["by_sequence"] == MEASURABLE[file.request["quantity"]].by_sequence
    assert set(whole_files()) == set(QUICK) | set(SLOW), (
        "a kind of arrays without a row a sequence is to be in QUICK (seconds a file) or in SLOW"
    )
    trained = {file.request["name"] for file in everything("frame")} & set(TRAINED)
    assert trained == set(TRAINED)


def too_many(files):
    """Arrays of which too many entries are others when they are measured again."""
    shares = remeasure.shares_changed(files)
    return {
        f"{file}: {name}": share
        for file, one in shares.items()
        for name, share in one.items()
        if share > LARGEST_SHARE
    }


@pytest.mark.shared_cache
@pytest.mark.usefixtures("text_only")
def test_a_random_file_of_each_quick_kind_measured_again_as_a_whole(rng):
    files = whole_files()
    assert too_many([files[kind][rng.integers(len(files[kind]))] for kind in QUICK]) == {}


@pytest.mark.faults
@pytest.mark.shared_cache
@pytest.mark.usefixtures("text_only")
@pytest.mark.skipif(not LONG, reason="up to minutes a kind: make faults")
@pytest.mark.parametrize("kind", SLOW)
def test_a_random_file_of_each_slow_kind_measured_again_as_a_whole(kind, rng):
    files = whole_files()[kind]
    name = files[0].request["subject"]
    if not is_installed(name):
        pytest.skip(f"the model of {name} is not installed: make smollm2")
    assert too_many([files[rng.integers(len(files))]]) == {}


def cheap_cells(request):
    """Cells that are made again in seconds: of a simulation on losses, those of small samples."""
    sizes = [cell.get("n", 0) for cell in request["cells"]]
    largest = max([LARGEST_N, min(sizes)]) if request["losses"] and not LONG else np.inf
    return [index for index, n in enumerate(sizes) if n <= largest]


@pytest.mark.shared_cache
@pytest.mark.usefixtures("text_only")
@pytest.mark.parametrize("file", everything("frame"), ids=lambda file: file.path.stem)
def test_random_cells_of_every_simulation(file, rng):
    if file.request["name"] in TRAINED:
        pytest.skip("minutes of training a cell; the small one is trained again below")
    pair = remeasure.changes_of_frame(file, rng, among=cheap_cells(file.request))
    assert pair is not None, "made by a function of a page: it cannot be made again"
    rows, again = pair
    assert len(rows) > 0
    assert rows.columns.tolist() == again.columns.tolist()
    for name in rows.select_dtypes("number"):
        # the same seed: another processor may turn a few samples over, chance would more
        np.testing.assert_allclose(rows[name], again[name], rtol=1e-2, atol=2e-3)
    for name in rows.select_dtypes(exclude="number"):
        assert rows[name].tolist() == again[name].tolist()


def test_the_small_sae_trained_again_is_the_kept_one():
    """The world and the test samples are the same to the bit. Torch's AVX2 in place of AVX-512
    changed no digit of the SAE; a processor whose matrix products round otherwise may put a few
    features on the other side of the threshold after 1,000 steps.
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

"""A study checks first, loads late, reads what is kept, and measures what is not."""

import json
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from checks import ROOT
from conftest import make_texts
from synthetic_losses import random_losses

from saecert import certify
from saecert.measurement.named import parse
from saecert.reporting import measurements, simulations, study
from saecert.reporting.measurements import all_kept, load_record
from saecert.reporting.settings import SettingsError
from saecert.reporting.study import open_study

MIDDLE = "blocks.2.hook_resid_post"


@pytest.mark.shared_cache
def test_what_discovery_has_as_well_is_left_out_whether_or_not_a_study_has_discovery():
    """Arrays are kept by what they are of, and that does not name discovery."""
    alone = open_study(corpus="python-source", n_seq=200, n_discovery=None)
    beside = alone.beside(n_discovery=0)
    assert alone.sample.n_shared == beside.sample.n_shared > 0
    assert np.array_equal(alone.sample.tokens, beside.sample.tokens)
    seen = {row.tobytes() for row in beside.discovery.tokens}
    assert not any(row.tobytes() in seen for row in alone.sample.tokens)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty folder of kept measurements, measured anew as by ``make measure``."""
    monkeypatch.setenv(measurements.PLACE, str(tmp_path / "measurements"))
    monkeypatch.setenv(measurements.ANEW, "1")
    return tmp_path / "measurements"


@pytest.fixture
def measured(monkeypatch):
    """What would run the model makes up losses instead; the calls so far."""
    calls = []

    def collect(subject, sample, names, **options):
        calls.append((tuple(names), options))
        alphas = tuple(options["alphas"])
        extra = [
            parse(name).name if isinstance(name, str) else "other" for name in options["extra"]
        ]
        made = made_up(alphas, extra).take(slice(0, len(sample)))
        return dict.fromkeys(names, made)

    monkeypatch.setattr("saecert.measurement.collect.collect_layers", collect)
    monkeypatch.setattr(study.Study, "subject", None)
    monkeypatch.setattr(study.Study, "sample", [None] * 60)
    monkeypatch.setattr(study.Study, "discovery", [None] * 40)
    return calls


def made_up(alphas, extra):
    """A record of 60 sequences at some smoothing weights, with the proxies that were asked for."""
    record = at_alphas(random_losses(60), alphas)
    seen = at_alphas(record.discovery.losses, alphas)
    whole = record.total_variation["full"]
    names = ["full", "pool_4", "pool_8", "mean", "zero", *extra]
    behaviour = dict.fromkeys(names, whole)
    loss = {name: record.loss.get(name, record.loss["full"]) for name in (*record.loss, *names)}
    facts = {"n_ctx": 128, "population": "made up", "sae_check": {"problem": ""}}
    return replace(
        record,
        loss=loss,
        total_variation=behaviour,
        top1_disagreement=behaviour,
        discovery=replace(record.discovery, losses=seen),
        provenance=record.provenance | facts,
    )


def at_alphas(record, alphas):
    """The record with the same losses at every smoothing weight, and supports that hold them."""
    loss = {name: np.repeat(values, len(alphas), axis=0) for name, values in record.loss.items()}
    support = {name: pairs * len(alphas) for name, pairs in record.reference_support.items()}
    return replace(record, alphas=tuple(alphas), loss=loss, reference_support=support)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"subject": "docstring-6m"}, "unknown subject 'docstring-6m'"),
        ({"subject": "/"}, "subject '/' is no model folder"),
        ({"subject": ""}, "subject is empty: give a model folder"),
        ({"hook_name": "blocks.9.hook_resid_post"}, "no SAE at 'blocks.9.hook_resid_post'"),
        ({"n_seq": -1}, "n_seq takes a whole number of at least 2, or 0 for all there are"),
        ({"n_discovery": 1}, "n_discovery takes"),
        ({"corpus": "no-such.jsonl"}, "no such file"),
        ({"device": "gpu"}, "device takes"),
        ({"split": "test"}, "unknown split"),
        ({"skip": -3}, "skip takes"),
    ],
)
def test_settings_are_checked_before_anything_is_loaded(settings, message):
    begun = time.process_time()  # its own: other processes may hold it up
    with pytest.raises(SettingsError, match=message):
        open_study(**settings)
    assert time.process_time() - begun < 1


def test_a_gguf_file_and_a_folder_with_one_are_subjects(tmp_path):
    (tmp_path / "model.gguf").touch()
    for subject in (tmp_path, tmp_path / "model.gguf"):
        assert open_study(str(subject)).settings["subject"] == str(subject)
    with pytest.raises(SettingsError, match=r"no folder of that name, and none of docstring-6l, "):
        open_study(str(tmp_path / "another.gguf"))


def test_opening_and_reading_what_is_kept_needs_no_torch(place, measured):
    open_study(n_seq=0).losses()
    code = (
        "import sys; from saecert.reporting.study import open_study; study = open_study(n_seq=9); "
        "print(study, len(study.losses())); sys.exit('torch' in sys.modules)"
    )
    environment = {measurements.PLACE: str(place), "PATH": "", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert f"at {MIDDLE}\n9 sequences of 128 tokens; 40 discovery" in done.stdout


def test_hook_points_by_name_and_by_word():
    assert open_study().hook_name == MIDDLE
    assert open_study(hook_name="all").hook_name == MIDDLE
    assert open_study(hook_name="last").hook_name == "blocks.5.hook_resid_post"
    pair = open_study(hook_name=["middle", "last"])
    assert pair.hook_names == (MIDDLE, "blocks.5.hook_resid_post")
    assert open_study(hook_name=f"{MIDDLE}, last").hook_names == pair.hook_names


def test_what_was_measured_once_is_read_afterwards(place, measured):
    first = open_study(n_seq=0).losses(extra=["noise"])
    again = open_study(n_seq=0).losses(extra=["noise"])
    assert len(measured) == 1
    assert again.fingerprint() == first.fingerprint()
    assert len(list(place.glob("docstring-6l-blocks.2*.npz"))) == 1


def test_what_a_larger_record_answers_is_not_kept_beside_it(place, measured, monkeypatch):
    monkeypatch.setattr(study.Study, "sample", [None] * 7)
    small = open_study(n_seq=7).losses()
    monkeypatch.setattr(study.Study, "sample", [None] * 30)
    open_study(n_seq=30).losses(controls=False)
    assert len(list(all_kept("losses"))) == 2, "neither is a part of the other"
    open_study(n_seq=30).losses()
    assert len(list(all_kept("losses"))) == 1
    assert len(list(place.glob("docstring*.*"))) == 2, "the record and its side file"
    assert open_study(n_seq=7).losses().fingerprint() == small.fingerprint()


def test_a_part_of_what_is_kept_answers_a_smaller_request(place, measured):
    whole = open_study(n_seq=0).losses(extra=["noise"], alphas=[0.1])
    part = open_study(n_seq=20).losses(controls=False)
    assert len(measured) == 1
    assert (len(part), part.alphas) == (20, (0.5, 0.01))
    assert set(part.total_variation) == {"full", *(f"pool_{k}" for k in part.pool_sizes[:-1])}
    assert {"mean", "zero", "noise"}.isdisjoint(part.loss)
    assert np.array_equal(part.loss["full"], whole.loss["full"][:2, :20])


def test_whether_losses_are_kept_is_known_without_measuring(place, measured):
    assert not open_study(n_seq=20).is_kept()
    open_study(n_seq=0).losses()
    assert open_study(n_seq=20).is_kept(alphas=[0.5])
    assert not open_study(n_seq=20).is_kept(alphas=[0.3])
    assert not open_study(n_seq=20).is_kept(extra=[object()])
    assert len(measured) == 1


@pytest.mark.parametrize(
    "options", [{"extra": ["pca(4)"]}, {"alphas": [0.2]}, {"rank": "energy"}, {"pools": [5]}]
)
def test_another_request_is_measured(place, measured, options):
    open_study(n_seq=0).losses()
    open_study(n_seq=0).losses(**options)
    assert len(measured) == 2


def test_more_sequences_than_were_kept_are_measured(place, measured, monkeypatch):
    monkeypatch.setattr(study.Study, "sample", [None] * 30)
    open_study(n_seq=30).losses()
    open_study(n_seq=40).losses()
    assert len(measured) == 2


def test_only_what_everyone_has_is_kept(place, measured):
    open_study(n_seq=30).losses(extra=[object()])
    assert not list(place.glob("*"))


def test_fewer_than_were_asked_for_are_taken_and_it_is_said(place, measured, capsys):
    asked = open_study(n_seq=1000, n_discovery=500)
    assert len(asked.losses()) == 60
    said = " ".join(capsys.readouterr().out.split())
    assert "60 certification sequences, fewer than 1000: all are used" in said
    assert "40 discovery sequences, fewer than 500: all are used" in said
    print(asked)
    asked.beside(skip=0).losses(controls=False)
    said += " ".join(capsys.readouterr().out.split())
    assert [said.count(note) for note in asked.notes] == [1, 1]
    assert max(map(len, str(asked).splitlines())) <= 72


def test_numbers_are_those_of_a_file_whether_read_or_measured(place, measured):
    record = open_study(n_seq=0).losses()
    assert all((x == x.astype(np.float32)).all() for x in record.raw.values())
    (kept,) = all_kept("losses")
    certificate = certify(record)
    assert certificate.verify(load_record(kept)) > 10


def test_an_sae_that_failed_the_check_is_refused_when_it_is_read(place, measured, monkeypatch):
    bad = made_up((0.5, 0.01), [])
    bad = replace(bad, provenance=bad.provenance | {"sae_check": {"problem": "explains nothing"}})
    monkeypatch.setattr(
        "saecert.measurement.collect.collect_layers", lambda *_, **__: {MIDDLE: bad}
    )
    assert len(open_study(n_seq=0, allow_bad_sae=True).losses()) == 60
    with pytest.raises(ValueError, match="explains nothing"):
        open_study(n_seq=0).losses()


def test_arrays_are_kept_and_cut(place, monkeypatch):
    monkeypatch.setattr(study.Study, "subject", None)
    monkeypatch.setattr(study.Study, "sample", [None] * 60)
    made = []

    def measure(subject, corpus, names, settings):
        made.append(names)
        return {name: {"cosine": np.linspace(0, 1, 60)} for name in names}

    fidelity = replace(study.MEASURABLE["fidelity"], measure=measure)
    monkeypatch.setattr(study, "MEASURABLE", {"fidelity": fidelity})
    whole = open_study(n_seq=0).measure("fidelity")
    part = open_study(n_seq=7).measure("fidelity", hook_names=[MIDDLE])
    assert len(made) == 1
    assert np.array_equal(part[MIDDLE]["cosine"], whole["cosine"][:7])
    with pytest.raises(SettingsError, match="unknown quantity 'beauty'; there are fidelity"):
        open_study().measure("beauty")


@pytest.mark.parametrize(("kept", "asked"), [(40, 50), (40, 30), (0, 30)])
def test_sums_over_other_sequences_answer_nothing(place, kept, asked):
    request = {"quantity": "survey", "subject": "s", "hook_name": "h", "corpus": "c"}
    request |= {"split": "discovery", "n_seq": kept}
    measurements.save_arrays(request, {"variances": np.ones(8)}, by_sequence=False)
    assert measurements.find_arrays(request) is not None
    assert measurements.find_arrays(request | {"n_seq": asked}) is None


@pytest.fixture
def short(folders, tmp_path):
    """A study of a model of one's own and of 40 documents of one's own, with other settings."""
    path = tmp_path / "texts.jsonl"
    texts = make_texts(40)
    path.write_text("\n".join(json.dumps({"text": text}) for text in texts), encoding="utf-8")

    def opened(**settings):
        return open_study(str(folders["llama"]), corpus=str(path), **settings)

    return opened


def test_fewer_are_passed_over_if_the_text_is_short_and_it_is_said(short, capsys):
    whole = short(n_seq=0).sample
    n = len(whole)
    assert 20 < n < 40
    assert (short(n_seq=5, skip=9).sample.tokens == whole.tokens[9:14]).all()
    assert "skip" not in capsys.readouterr().out
    asked = short(n_seq=10, skip=500)
    assert (asked.sample.tokens == whole.tokens[-10:]).all()
    said = " ".join(capsys.readouterr().out.split())
    assert f"{n} certification sequences, too few for n_seq=10 behind 500" in said
    assert f"{n - 10} are passed over" in said
    assert (short(n_seq=100, skip=500).sample.tokens == whole.tokens).all()


def test_a_text_that_is_passed_over_whole_is_refused_with_what_to_do(short):
    n = len(short(n_seq=0).sample)
    assert len(short(n_seq=0, skip=n - 2).sample) == 2
    with pytest.raises(SettingsError, match=r"skip: at least 502 .*: about \d+ documents"):
        _ = short(n_seq=0, skip=500).sample


def test_needs_name_the_parameter_and_the_documents(short):
    small = short(n_seq=500)
    assert 2 < len(small.sample) < 40
    with pytest.raises(SettingsError, match=r"n_calibration: at least 60 .* about \d\d documents"):
        small.needs(60, "n_calibration")
    small.needs(3)
    assert small.beside(n_seq=5).subject is small.subject


def squares(top, seed, low):
    """Rows of a made-up simulation."""
    return [{"square": x * x / 3, "label": ""} for x in range(low, top)]


def test_simulated_frames_are_kept_and_can_be_made_again(place):
    cells = [{"low": 0}, {"low": 2}]
    frame = simulations.simulated("squares", {"top": 4, "seed": 0}, squares, cells=cells)
    again = open_study().simulated("squares", {"top": 4, "seed": 0}, squares, cells=cells)
    pd.testing.assert_frame_equal(frame, again)
    assert frame["low"].tolist() == [0, 0, 0, 0, 2, 2]
    assert frame["square"].tolist() == [x * x / 3 for x in (0, 1, 2, 3, 2, 3)]
    (kept,) = measurements.all_kept("frame")
    assert simulations.function_named(kept.request["build"]) is None
    assert "def squares" in kept.request["build"]


def test_functions_of_the_library_are_known_by_name():
    name = simulations.name_of(simulations.make_cells)
    assert simulations.function_named(name) is simulations.make_cells

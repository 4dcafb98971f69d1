"""What `make measure` does before its pages and after them."""

import json

import pytest

from saecert.reporting import measurements


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A clone that keeps one record of a shipped subject, one of another, and a simulation."""
    kept = tmp_path / "measurements"
    kept.mkdir()
    monkeypatch.setattr(measurements, "CLONE", tmp_path)
    shared = "latents-public.npz"
    for name, subject in (("public", "smollm2-135m"), ("own", "docstring-6l")):
        facts = {"kind": "losses", "request": {"subject": subject}}
        facts |= {"latents": {"sample": shared}} if name == "public" else {}
        (kept / f"{name}.json").write_text(json.dumps(facts), encoding="utf-8")
        (kept / f"{name}.npz").write_bytes(b"old")
    (kept / shared).write_bytes(b"old")
    (kept / "simulated.json").write_text('{"kind": "frame", "request": {}}', encoding="utf-8")
    (kept / "simulated.csv").write_text("x\n1\n", encoding="utf-8")
    return tmp_path


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("installed", [True, False])
def test_what_cannot_be_measured_here_is_not_lost(clone, monkeypatch, capsys, installed):
    monkeypatch.setattr(
        measurements, "is_installed", lambda name: installed or name != "smollm2-135m"
    )
    measurements.main("begin")
    carried = [] if installed else ["latents-public.npz", "public.json", "public.npz"]
    anew = clone / "_build/measurements"
    assert names(anew) == carried
    said = "smollm2-135m is not installed, its measurements stay (make smollm2 installs it)\n"
    assert capsys.readouterr().out == ("" if installed else said)
    (anew / "own.json").write_text('{"kind": "losses", "request": {}}', encoding="utf-8")
    (anew / "own.npz").write_bytes(b"new")
    measurements.main("publish")
    kept = clone / "measurements"
    assert names(kept) == sorted([*carried, "own.json", "own.npz"])
    assert (kept / "own.npz").read_bytes() == b"new"


def test_nothing_is_thrown_away_for_nothing(clone):
    with pytest.raises(SystemExit, match="nothing was measured"):
        measurements.publish()
    assert "own.npz" in names(clone / "measurements")

"""A record says under what circumstances its numbers were measured, not when they were asked
for."""

from dataclasses import replace

from conftest import make_sae

from saecert import Certificate, certify, collect, load_subject
from saecert.measurement import circumstances
from saecert.measurement.provenance import provenance

HOOK = "blocks.1.hook_resid_post"


def test_versions_and_date_are_those_of_the_measurement(subject, corpora, monkeypatch):
    sample = corpora["certification"].take(10)
    first = collect(subject, sample, HOOK, progress=False).provenance
    assert set(first["measured"]) == {"versions", "machine", "date"}
    assert first["versions"] == first["measured"]["versions"]
    upgraded = (("torch", "99"), ("numpy", "99"))
    monkeypatch.setattr(circumstances, "_versions", lambda: upgraded)
    again = collect(subject, sample, HOOK, progress=False).provenance
    assert again == first, "nothing was measured, nothing is new"
    more = collect(subject, sample, HOOK, extra=["noise"], progress=False).provenance
    assert more["versions"]["torch"] == f"{first['versions']['torch']}, 99", "noise is new"


def test_an_sae_has_a_name_and_says_where_it_belongs(subject, corpora):
    measured = circumstances.now(subject.device)
    plain = provenance(subject, corpora["discovery"], HOOK, measured)
    assert plain["sae"] and "sae_hook_name" not in plain
    named = replace(subject)
    named.__dict__["sae_names"] = {HOOK: "release/id"}
    named.__dict__["hook_mismatches"] = {HOOK: "blocks.5.hook_mlp_out"}
    facts = provenance(named, corpora["discovery"], HOOK, measured)
    assert facts["sae"] == "release/id" and facts["sae_hook_name"] == "blocks.5.hook_mlp_out"


def test_another_hook_point_than_its_own_is_on_the_record_and_the_certificate(
    folders, corpora, tmp_path
):
    own = "blocks.0.hook_resid_post"
    make_sae(own).save_model(tmp_path / "sae")
    subject = load_subject(folders["llama"], sae={HOOK: tmp_path / "sae"}, allow_hook_mismatch=True)
    sample, discovery = corpora["certification"].take(20), corpora["discovery"].take(10)
    losses = collect(subject, sample, HOOK, discovery=discovery, progress=False)
    assert losses.provenance["hook_name"] == HOOK
    assert losses.provenance["sae_hook_name"] == own
    certify(losses).save(tmp_path / "certificate.json")
    kept = Certificate.load(tmp_path / "certificate.json")
    assert (kept.provenance["hook_name"], kept.provenance["sae_hook_name"]) == (HOOK, own)
    assert f"  THE SAE BELONGS AT {own}, by its own metadata\n" in str(kept)
    del kept.provenance["sae_hook_name"]
    assert "BELONGS" not in str(kept)


def test_the_machine_is_described_and_not_named(subject):
    machine = circumstances.now(subject.device)["machine"]
    assert set(machine) == {"processor", "cpu_capability", "device"}
    assert machine["device"] == "cpu"

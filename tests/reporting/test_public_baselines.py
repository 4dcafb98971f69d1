"""Page 20's section on the public model: from what is kept, or "not tested"."""

import numpy as np
import pytest

from saecert.reporting import measurements, public_baselines
from saecert.reporting import random_baselines as baselines
from saecert.reporting.tables import show
from saecert.subjects import listing

DELTA = 0.05


@pytest.fixture(scope="module")
def public():
    found = public_baselines.public_baselines("smollm2-135m")
    assert found is not None, "it is kept"
    return found


@pytest.fixture(scope="module")
def made(public):
    return public_baselines.certificates(public, DELTA, "dirichlet")


def test_four_saes_are_kept(public):
    assert [member.held for member in public.members] == list(baselines.HELD)
    assert len(public.arrays["clean"]) == public_baselines.N_SPLICED
    assert len(public.arrays["explained"][0]) == public_baselines.N_SEQ
    table = public_baselines.fit(public)
    assert (table["without outliers"] <= 1).all() and len(table) == 4
    assert "means" in str(show(public_baselines.scores(public), "means"))


def test_limits_enclose_their_means_and_losses_are_those_of_page_18(public, made):
    table = public_baselines.differences(public, made, DELTA, "dirichlet")
    for measure in dict.fromkeys(table.columns.get_level_values(0)):
        part = table[measure]
        assert not (part["lower"] > part["mean"]).any(), measure
        assert not (part["mean"] > part["upper"]).any(), measure
    assert "edit" not in table.columns.get_level_values(0)
    printed = public_baselines.by_measure(table)
    assert printed.shape == (len(table.columns) // 3, 9)
    for certificate, record in made.values():
        assert certificate.n_seq == public_baselines.N_SPLICED
        assert np.isfinite(certificate.sharp) and len(record) == certificate.n_seq


def test_loss_recovered_is_paired_with_the_twin(public, made):
    table = public_baselines.recovered_differences(made, public, DELTA, "dirichlet")
    means = {
        label: [
            record.at(name, public_baselines.ALPHA).mean() for name in ("zero", "full", "clean")
        ]
        for label, (_, record) in made.items()
    }
    back = {label: (zero - full) / (zero - clean) for label, (zero, full, clean) in means.items()}
    twin = public.members[0].label
    for label, row in table.iterrows():
        assert row["mean"] == pytest.approx(back[label] - back[twin])
    frozen = table.loc[public.members[1].label]
    assert frozen["upper"] < 0, "it recovers less, by limits"


def test_claims_are_about_the_public_model_or_not_tested(public, made):
    table = public_baselines.differences(public, made, DELTA, "dirichlet")
    told = public_baselines.fixed_beforehand(table)
    assert all(isinstance(x, bool) for x in told.values())
    assert all(name.startswith("public model, ") for name in told)
    absent = public_baselines.fixed_beforehand(None)
    assert list(absent) == list(told)
    assert set(absent.values()) == {public_baselines.NOT_MEASURED}
    assert set(baselines.claims_frame(absent)["holds"]) == {"not tested"}


def test_neither_kept_nor_installed_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SAECERT_MEASUREMENTS", str(tmp_path))
    monkeypatch.setattr(listing, "_module_folder", lambda module: None)
    assert public_baselines.public_baselines("smollm2-135m") is None
    assert public_baselines.NOT_MEASURED in capsys.readouterr().out
    assert public_baselines.public_baselines("") is None


def test_measuring_everything_anew_without_the_model_keeps_what_was_kept(tmp_path, monkeypatch):
    (tmp_path / "measurements").symlink_to(measurements.CLONE / "measurements")
    monkeypatch.setattr(measurements, "CLONE", tmp_path)
    monkeypatch.setattr(listing, "_module_folder", lambda module: None)
    monkeypatch.delenv("SAECERT_MEASUREMENTS", raising=False)
    monkeypatch.setenv("SAECERT_MEASURE", "1")
    assert measurements.carry_over() == ["smollm2-135m"]
    found = public_baselines.public_baselines("smollm2-135m")
    assert found is not None and len(found.members) == 4

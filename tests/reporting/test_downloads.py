"""What pages of the book offer to be kept: what is written is what the page shows, and verifies."""

import nbformat
import pytest
from checks import ROOT

from saecert import Certificate, SequenceLosses
from saecert.__main__ import main
from saecert.reporting.downloads import FIGURES, offer


def offered(stem, source):
    """The cell put into a page, and the one before it."""
    notebook = nbformat.read(ROOT / f"notebooks/{stem}.ipynb", as_version=4)
    count = len(notebook.cells)
    offer(notebook, stem, source)
    assert len(notebook.cells) == count + 1
    place = [cell.get("id") for cell in notebook.cells].index("downloads")
    return notebook.cells[place], notebook.cells[place - 1]


def test_the_certificate_of_page_02_verifies_from_the_losses_beside_it(tmp_path, capsys):
    cell, figure = offered("02_four_terms", tmp_path)
    assert figure.metadata["mystnb"]["figure"]["name"] == FIGURES["02_four_terms"]
    (kept,) = (tmp_path / "downloads").glob("*.json")
    assert f"<../downloads/{kept.name}>" in cell.source
    assert f"<../downloads/{kept.stem}.npz>" in cell.source
    assert main(["verify", str(kept)]) == 0, "it finds the losses beside the file"
    assert "verified" in capsys.readouterr().out
    certificate, losses = Certificate.load(kept), SequenceLosses.load(kept.with_suffix(".npz"))
    assert certificate.fingerprint == losses.fingerprint()
    assert (certificate.n_seq, certificate.alpha, certificate.delta) == (1000, 0.5, 0.05)


def test_page_10_offers_every_certificate_of_the_shipped_model(tmp_path):
    cell, _ = offered("10_models", tmp_path)
    kept = sorted((tmp_path / "downloads").iterdir())
    there = sorted((ROOT / "certificates").glob("docstring-6l-*.json"))
    assert [path.name for path in kept] == [path.name for path in there]
    for mine, theirs in zip(kept, there, strict=True):
        assert Certificate.load(mine) == Certificate.load(theirs)
        assert f"<../downloads/{mine.name}>" in cell.source


@pytest.mark.parametrize("stem", ["01_bound", "02_four_terms"])
def test_a_page_without_the_figure_stays_as_it_is(stem, tmp_path):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1")])
    offer(notebook, stem, tmp_path)
    assert len(notebook.cells) == 1 and not list(tmp_path.iterdir())

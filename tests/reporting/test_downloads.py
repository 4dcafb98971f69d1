"""What pages of the book offer to be kept: what stands behind their figures, and it verifies."""

import copy
import re

import nbformat
import pytest
from checks import ROOT

from saecert import Certificate, SequenceLosses
from saecert.__main__ import main
from saecert.reporting import measurements
from saecert.reporting.downloads import labelled, numbered, offer, parameters_of
from saecert.reporting.notes import KEY
from saecert.reporting.shelf import Shelf, facts_of

LINK = re.compile(r"\{download\}`([^<`]+) <\.\./downloads/([^>]+)>`")


def page(stem):
    """The committed executed page."""
    return nbformat.read(ROOT / f"notebooks/{stem}.ipynb", as_version=4)


def offered(notebook, stem, shelf):
    """What stands below each figure: the text, and its links by the file that they lead to."""
    before = len(notebook.cells)
    offer(notebook, stem, shelf)
    found = {}
    for index, cell in enumerate(notebook.cells):
        if str(cell.get("id", "")).startswith("downloads-"):
            figure = notebook.cells[index - 1].metadata["mystnb"]["figure"]["name"]
            assert cell.id == f"downloads-{figure}", "below its figure"
            assert cell.cell_type == "markdown"
            found[figure] = (cell.source, {file: text for text, file in LINK.findall(cell.source)})
    assert len(notebook.cells) == before + len(found)
    assert all((shelf.folder / file).exists() for _, links in found.values() for file in links)
    return found


def test_the_certificate_of_page_02_verifies_from_the_losses_beside_it(
    tmp_path, capsys, monkeypatch
):
    shelf = Shelf(tmp_path)
    text, links = offered(page("02_four_terms"), "02_four_terms", shelf)["fig-four-terms"]
    kept, losses = (shelf.folder / f for f in sorted(links, key=lambda name: links[name]))
    assert list(links.values()) == ["losses", "certificate"]
    assert f"`saecert verify {kept.name} {losses.name}`" in text
    monkeypatch.chdir(shelf.folder)
    assert main(["verify", kept.name, losses.name]) == 0
    assert "verified" in capsys.readouterr().out
    certificate, record = Certificate.load(kept), SequenceLosses.load(losses)
    assert certificate.fingerprint == record.fingerprint()
    assert (certificate.n_seq, certificate.alpha, certificate.delta) == (1000, 0.5, 0.05)
    stored = ROOT / "certificates"
    theirs = [Certificate.load(path) for path in stored.glob("docstring-6l-*.json")]
    assert certificate in theirs, "the one that the page printed"


def test_each_figure_of_page_06_has_what_it_stands_on_and_each_file_is_there_once(tmp_path):
    shelf = Shelf(tmp_path)
    found = offered(page("06_concepts"), "06_concepts", shelf)
    assert sorted(found) == ["fig-frontier", "fig-outside"]
    (text, links), (_, others) = found.values()
    assert links == others
    assert len(list(shelf.folder.iterdir())) == len(links) == 6
    assert all("recomputes" in said for said, _ in found.values()) and "CERTIFICATE" in text
    assert "at the parameters of this page" in text, "figures draw none of its certificates"
    losses = {file: label for file, label in links.items() if file.endswith(".npz")}
    ranks = ("frequency", "energy", "attribution")
    assert list(losses.values()) == [f"ranked by {rank}" for rank in ranks]
    assert "figure: losses (" in text and "; certificates (" in text
    for file, label in losses.items():
        record = SequenceLosses.load(shelf.folder / file)
        assert record.discovery.rule == label.split()[-1]
        (name,) = [name for name in links if name.startswith(file[:-4]) and name != file]
        assert links[name] == label
        certificate = Certificate.load(shelf.folder / name)
        assert certificate.verify(record) > 0
        assert certificate.tolerance == 0.1 and certificate.delta == 0.05, "the page's"


def test_without_a_certificate_of_the_page_there_is_one_at_its_parameters(tmp_path):
    notebook = page("02_four_terms")
    for cell in notebook.cells:
        cell.metadata.get(KEY, {}).pop("certified", None)
    cell = next(c for c in notebook.cells if "parameters" in c.metadata.get("tags", []))
    cell.source = cell.source.replace("delta = 0.05", "delta = 0.2")
    shelf = Shelf(tmp_path)
    text, links = offered(notebook, "02_four_terms", shelf)["fig-four-terms"]
    assert "at the parameters of this page" in text
    (file,) = [file for file, label in links.items() if label == "certificate"]
    certificate = Certificate.load(shelf.folder / file)
    expected = (0.2, 0.5, "dirichlet", 0.1)
    got = (certificate.delta, certificate.alpha, certificate.inequality, certificate.tolerance)
    assert got == expected
    assert certificate.pool is None, "chosen by the tolerance"


def test_losses_that_cannot_be_certified_at_the_parameters_are_offered_alone(tmp_path):
    notebook = page("02_four_terms")
    for cell in notebook.cells:
        cell.metadata.get(KEY, {}).pop("certified", None)
    cell = next(c for c in notebook.cells if "parameters" in c.metadata.get("tags", []))
    cell.source = cell.source.replace("alpha = 0.5", "alpha = 0.3")
    text, links = offered(notebook, "02_four_terms", Shelf(tmp_path))["fig-four-terms"]
    assert list(links.values()) == ["losses"] and "verify" not in text


def test_other_numbers_that_were_kept_are_offered_as_they_are(tmp_path):
    arrays = sorted(measurements.folder().glob("fidelity-docstring-6l-*.npz"))[0]
    frame = sorted(measurements.folder().glob("simulated-wealth-*.csv"))[0]
    notes = [{"kind": "arrays", "file": arrays.name, "line": 1}]
    notes.append({"kind": "frame", "file": frame.name, "line": 2})
    shelf = Shelf(tmp_path)
    found = offered(noted("a = read()\nb = read()", notes, "plot(a, b)"), "01_bound", shelf)
    _, links = found["fig"]
    assert links == {arrays.name: "fidelity", frame.name: "simulated wealth (CSV)"}
    for path in (arrays, frame):
        assert (shelf.folder / path.name).read_bytes() == path.read_bytes()
    assert not offered(noted("a = read()\nb = read()", notes, "plot(c)"), "01_bound", shelf)
    sizes = "a = len(study.read())\nb = 1"
    assert not offered(noted(sizes, notes, "plot(a, b)"), "01_bound", shelf), "only a size"


def noted(source, notes, figure):
    """A page of two cells: one that reads, and one with a figure."""
    reading = nbformat.v4.new_code_cell(source, metadata={KEY: {"read": notes}})
    drawing = nbformat.v4.new_code_cell(
        figure, metadata={"mystnb": {"figure": {"name": "fig", "caption": ""}}}
    )
    return nbformat.v4.new_notebook(cells=[reading, drawing])


def test_what_was_measured_anew_since_is_not_offered(tmp_path):
    notebook = page("02_four_terms")
    for cell in notebook.cells:
        for note in cell.metadata.get(KEY, {}).get("read", []):
            note["fingerprint"] = "0" * 16
    assert not offered(notebook, "02_four_terms", Shelf(tmp_path))
    gone = [{"kind": "arrays", "file": "gone.npz", "line": 1}]
    assert not offered(noted("a = read()", gone, "plot(a)"), "01_bound", Shelf(tmp_path))


def test_what_is_too_large_is_not_offered_and_it_is_said(tmp_path, capsys):
    shelf = Shelf(tmp_path, limit=10_000)
    assert not offered(page("02_four_terms"), "02_four_terms", shelf)
    assert not list(shelf.folder.iterdir())
    assert "not offered" in capsys.readouterr().out
    assert shelf.put("small", lambda path: path.write_bytes(bytes(9_000)))
    assert not shelf.put("next", lambda path: path.write_bytes(bytes(2_000)))
    assert shelf.put("small", lambda path: pytest.fail("written twice"))


def test_page_10_offers_every_certificate_of_the_shipped_model(tmp_path):
    shelf = Shelf(tmp_path)
    _, links = offered(page("10_models"), "10_models", shelf)["fig-models"]
    kept = sorted(shelf.folder.iterdir())
    there = sorted((ROOT / "certificates").glob("docstring-6l-*.json"))
    assert [path.name for path in kept] == [path.name for path in there] == sorted(links)
    for mine, theirs in zip(kept, there, strict=True):
        assert Certificate.load(mine) == Certificate.load(theirs)


def test_a_page_whose_notebook_says_nothing_of_what_it_read_stays_as_it_is(tmp_path):
    notebook = page("02_four_terms")
    for cell in notebook.cells:
        cell.metadata.pop(KEY, None)
    assert not offered(notebook, "02_four_terms", Shelf(tmp_path))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1")])
    assert not offered(notebook, "02_four_terms", Shelf(tmp_path))


def test_parameters_are_those_with_which_the_page_was_executed():
    notebook = page("06_concepts")
    assert parameters_of(notebook)["eps"] == [0.1, 0.25, 0.5, 1.0]
    injected = nbformat.v4.new_code_cell("delta = 0.1", metadata={"tags": ["injected-parameters"]})
    notebook.cells.insert(2, injected)
    assert parameters_of(notebook)["delta"] == 0.1


def test_several_certificates_of_the_same_losses_say_what_differs(tmp_path):
    notebook = page("02_four_terms")
    for cell in notebook.cells:
        for note in list(cell.metadata.get(KEY, {}).get("certified", [])):
            changed = {**note, "settings": {**note["settings"], "delta": 0.1}}
            cell.metadata[KEY]["certified"].append(changed)
    shelf = Shelf(tmp_path)
    text, links = offered(notebook, "02_four_terms", shelf)["fig-four-terms"]
    assert "certificates (" in text and "verify CERTIFICATE LOSSES" in text
    deltas = {Certificate.load(shelf.folder / f).delta: links[f] for f in links if "json" in f}
    assert deltas == {0.05: "delta = 0.05", 0.1: "delta = 0.1"}


def test_labels_say_what_differs_and_nothing_else():
    request = {"subject": "a", "corpus": "text", "split": "certification", "bos": None}
    places = ("blocks.0.hook_resid_post", "blocks.1.hook_resid_post")
    few = [facts_of({**request, "hook_name": place}) for place in places]
    assert labelled(few) == ["layer 0", "layer 1"]
    assert labelled(few[:1]) == [""]
    assert labelled([]) == []
    changed = {"hook_name": places[0], "corpus": "code", "bos": False}
    other = facts_of({**request, **changed})
    assert labelled([few[0], other]) == ["text, with BOS", "code, without BOS"]
    assert labelled([{"name": "x"}]) == [""]


def test_texts_that_several_have_are_numbered():
    named = [("a", "1"), ("b", "2"), ("a", "3")]
    assert numbered(named) == [("a 1", "1"), ("b", "2"), ("a 2", "3")]
    assert numbered([("", "1"), ("", "2")]) == [("1", "1"), ("2", "2")]


def test_a_certificate_that_was_made_again_is_that_of_the_figure_below_it(tmp_path):
    """Two certificates of the same losses under one name: each figure has the one drawn in it."""
    notebook = page("02_four_terms")
    made = next(cell for cell in notebook.cells if cell.metadata.get(KEY, {}).get("certified"))
    (position,) = [
        number
        for number, cell in enumerate(notebook.cells)
        if cell.metadata.get("mystnb", {}).get("figure", {}).get("name") == "fig-four-terms"
    ]
    again, figure = copy.deepcopy(made), copy.deepcopy(notebook.cells[position])
    for note in again.metadata[KEY]["certified"]:
        note["settings"] = {**note["settings"], "delta": 0.2}
    figure.metadata["mystnb"]["figure"]["name"] = "fig-again"
    figure.source = "plot(certificate)"
    notebook.cells[position + 1 : position + 1] = [again, figure]
    shelf = Shelf(tmp_path)
    found = offered(notebook, "02_four_terms", shelf)
    deltas = {}
    for name in ("fig-four-terms", "fig-again"):
        files = [file for file in found[name][1] if file.endswith(".json")]
        deltas[name] = [Certificate.load(shelf.folder / file).delta for file in files]
    assert deltas == {"fig-four-terms": [0.05], "fig-again": [0.2]}

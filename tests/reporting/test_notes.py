"""What a page reads is noted in its cells, by a real kernel, the same whenever it runs."""

import json

import nbformat
import pytest

from saecert import certify
from saecert.reporting import measurements, notes
from saecert.reporting.notes import KEY, settings_that_differ, with_notes
from saecert.reporting.runner import run_notebooks
from saecert.reporting.study import open_study

PAGE = """# %% [markdown]
# # Reading

# %% tags=["parameters"]
n_seq = 40  # sequences

# %%
from saecert import certify
from saecert.reporting.study import open_study

study = open_study(n_seq=n_seq)
print(study)

# %%
first = study.losses(
    controls=False,
)
both = [study.losses(controls=False) for _ in range(2)]
fidelity = study.measure("fidelity")

# %%
def made(delta):
    return certify(first, delta=delta, eps=())


certificates = {"wide": [made(0.2)], "usual": made(0.05)}
other = certify(first.take(slice(20)), eps=())

# %%
again = certificates["usual"]
"""
KEPT = "docstring-6l-blocks.2.hook_resid_post-docstrings-certification-"


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """The page after two runs: its notebook, and the bytes of both."""
    folder = tmp_path_factory.mktemp("pages")
    (folder / "01_reading.py").write_text(PAGE, encoding="utf-8")
    runs = []
    for out in ("one", "two"):
        run_notebooks(["01_reading"], out=folder / out, folder=folder, pages_only=True)
        runs.append((folder / out / "01_reading.ipynb").read_bytes())
    return nbformat.reads(runs[0].decode(), as_version=4), runs


def test_the_same_is_noted_whenever_it_runs(executed):
    _, (one, two) = executed
    assert one == two


def test_each_read_is_noted_once_with_its_line_and_what_part_it_was(executed):
    notebook, _ = executed
    reading = notebook.cells[3].metadata[KEY]
    assert "certified" not in reading
    first, second, arrays = reading["read"]
    assert (first["line"], second["line"], arrays["line"]) == (1, 4, 5)
    assert {key: first[key] for key in first if key != "line"} == {
        key: second[key] for key in second if key != "line"
    }
    assert first["kind"] == "losses" and first["file"].startswith(KEPT)
    assert first["n_seq"] == 40
    assert arrays["kind"] == "arrays" and arrays["file"].startswith("fidelity-" + KEPT)


def test_a_note_leads_back_to_what_was_read(executed):
    notebook, _ = executed
    note = json.loads(json.dumps(notebook.cells[3].metadata[KEY]["read"][0]))
    name, fingerprint = note.pop("file"), note.pop("fingerprint")
    parts = {key: note[key] for key in note if key not in ("kind", "line")}
    record, request = measurements.read_part(name, parts)
    asked = open_study(n_seq=40).losses(controls=False)
    assert record.fingerprint() == asked.fingerprint()
    assert record.fingerprint()[: notes.DIGITS] == fingerprint
    assert (request["n_seq"], request["controls"]) == (40, False)
    assert measurements.read_part(name, {**parts, "n_seq": 10**6}) is None
    assert measurements.read_part("none.npz", {}) is None


def test_certificates_of_what_was_read_are_noted_where_they_are_made(executed):
    notebook, _ = executed
    fingerprint = notebook.cells[3].metadata[KEY]["read"][0]["fingerprint"]
    made = notebook.cells[4].metadata[KEY]["certified"]
    assert [one["variable"] for one in made] == ["certificates"] * 2, "not that of a part"
    assert {one["fingerprint"] for one in made} == {fingerprint}
    deltas = [one["settings"].get("delta") for one in made]
    assert deltas == [0.2, None], "settings that are the default are left out"
    assert [one["variable"] for one in notebook.cells[5].metadata[KEY]["certified"]] == ["again"]


def test_other_cells_have_no_notes(executed):
    notebook, _ = executed
    assert [index for index, cell in enumerate(notebook.cells) if KEY in cell.metadata] == [
        2,
        3,
        4,
        5,
    ], "printing a study reads what it says of its text"


def test_the_settings_that_are_noted_certify_the_same():
    losses = open_study(n_seq=60).losses()
    for options in ({}, {"eps": (), "pool": losses.d_sae}, {"method": "nested", "ablations": ()}):
        made = certify(losses, **options)
        settings = json.loads(json.dumps(settings_that_differ(made)))
        assert set(settings) <= {*options, "n_seq", "ablations", "prior", "tolerance"}
        assert certify(losses, **settings) == made


def test_outside_of_a_page_nothing_is_noted(tmp_path, monkeypatch):
    monkeypatch.setenv(notes.NOTES, str(tmp_path / "notes"))
    open_study(n_seq=40).losses(controls=False)
    assert not (tmp_path / "notes").exists()


def test_notes_of_cells_that_are_not_there_are_dropped():
    cell = nbformat.v4.new_code_cell("1", execution_count=1)
    notebook = nbformat.v4.new_notebook(cells=[cell, nbformat.v4.new_markdown_cell("text")])
    line = {"cell": 1, "file": "a.npz", "kind": "arrays", "line": 1}
    with_notes(notebook, "\n".join(map(json.dumps, (line, line, {**line, "cell": 2}))))
    assert notebook.cells[0].metadata[KEY] == {"read": [{k: line[k] for k in line if k != "cell"}]}
    assert KEY not in notebook.cells[1].metadata

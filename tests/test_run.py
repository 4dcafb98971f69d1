"""The runner refuses what it does not know, writes whole files and gives the same bytes twice."""

import subprocess
import sys

import nbformat
import pytest

from saecert.__main__ import main
from saecert.run import RunError, notebook_names, notebook_parameters, parse_value, read_notebook, run_notebooks

PAGE = """# %% [markdown]
# # Doubling

# %% tags=["parameters"]
x = 2  # a number
subject = "shipped"  # whose
strict = True  # fail when the claim does not hold

# %%
print("twice", 2 * x, subject)
assert 2 * x == 4 or not strict
"""


@pytest.fixture
def folder(tmp_path):
    """A folder with two notebooks."""
    source = tmp_path / "notebooks"
    source.mkdir()
    (source / "01_double.py").write_text(PAGE, encoding="utf-8")
    (source / "02_other.py").write_text(PAGE.replace("x = 2", "y = 2; x = y"), encoding="utf-8")
    return source


def printed(path):
    """Everything that the notebook at `path` wrote to standard output."""
    return "".join(output.text for cell in nbformat.read(path, as_version=4).cells for output in cell.get("outputs", []))


def test_names_and_defaults_come_from_the_sources(folder):
    (folder / "01_double.failed.ipynb").write_text("{}", encoding="utf-8")
    assert notebook_names(folder) == ["01_double", "02_other"]
    assert notebook_parameters(read_notebook("01_double", folder)) == {"x": 2, "subject": "shipped", "strict": True}


@pytest.mark.parametrize(
    ("text", "default", "value"),
    [
        ("3", 1, 3),
        ("1e-3", 0.5, 0.001),
        ("1", 0.5, 1.0),
        ("true", False, True),
        ("[1, 2]", [0], [1, 2]),
        ("[1, 2]", (0,), (1, 2)),
        ("2024", "name", "2024"),
        ("no", "name", "no"),
        ("blocks.3.hook_resid_post", "name", "blocks.3.hook_resid_post"),
        ("null", None, None),
    ],
)
def test_values_take_the_type_of_the_default(text, default, value):
    parsed = parse_value("p", text, default)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(("text", "default"), [("many", 1), ("0.5", 1), ("true", 1), ("1", True), ("3", [1]), ("{a: [", 1.0)])
def test_values_of_another_type_are_refused(text, default):
    with pytest.raises(RunError, match=f"p takes a {type(default).__name__}"):
        parse_value("p", text, default)


def test_what_is_unknown_is_refused_with_what_is_known(folder, tmp_path):
    with pytest.raises(RunError, match="unknown notebook '03_none'; known: 01_double, 02_other"):
        run_notebooks(["03_none"], out=tmp_path / "out", folder=folder)
    with pytest.raises(RunError, match="unknown parameter z; 01_double takes: strict, subject, x"):
        run_notebooks(["01_double"], {"z": "1"}, out=tmp_path / "out", folder=folder)
    assert not (tmp_path / "out").exists()


def test_a_parameter_reaches_the_notebook_and_relaxes_its_claim(folder, tmp_path):
    (path,) = run_notebooks(["01_double"], {"x": "5", "subject": "mine"}, out=tmp_path / "out", folder=folder)
    assert path == tmp_path / "out" / "01_double.ipynb"
    assert printed(path) == "twice 10 mine\n"


def test_without_a_folder_runs_are_kept_by_subject(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("saecert.run.ROOT", tmp_path)
    (path,) = run_notebooks(["01_double"], folder=folder)
    assert path == tmp_path / "runs" / "shipped" / "01_double.ipynb"


def test_a_rerun_gives_the_same_bytes(folder, tmp_path):
    first = run_notebooks(["01_double"], out=tmp_path / "a", folder=folder)[0].read_bytes()
    assert first == run_notebooks(["01_double"], out=tmp_path / "b", folder=folder)[0].read_bytes()
    assert b"papermill" not in first


def test_a_failure_keeps_the_last_good_file_and_tells_where_it_failed(folder, tmp_path, capsys):
    (good,) = run_notebooks(["01_double"], out=tmp_path, folder=folder)
    before = good.read_bytes()
    with pytest.raises(RunError, match="1 of 1 notebooks failed"):
        run_notebooks(["01_double"], {"x": "5", "strict": "true"}, out=tmp_path, folder=folder)
    assert "AssertionError: assert 2 * x == 4 or not strict" in capsys.readouterr().out
    assert good.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["01_double.failed.ipynb", "01_double.ipynb", "notebooks"]


def test_command_line_tells_what_is_wrong(capsys):
    assert main(["run"]) == 1
    assert main(["run", "01_bound", "-p", "alpha"]) == 1
    assert main(["run", "no_such_page"]) == 1
    assert "unknown notebook 'no_such_page'" in capsys.readouterr().err


def test_help_needs_no_torch():
    code = "import sys; from saecert.__main__ import _parser; _parser(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

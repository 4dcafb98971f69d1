"""A relative path of the known text is one from where the command was given."""

import nbformat.v4 as notebooks
import pytest

from saecert.reporting.parameters import chosen_values


@pytest.mark.parametrize("name", ["corpus", "known_text"])
def test_a_relative_path_becomes_absolute(tmp_path, monkeypatch, name):
    (tmp_path / "mine.jsonl").write_text('{"text": "one"}\n')
    monkeypatch.chdir(tmp_path)
    cell = notebooks.new_code_cell(f'{name} = "docstrings"', metadata={"tags": ["parameters"]})
    page = notebooks.new_notebook(cells=[cell])
    chosen = chosen_values({"page": page}, {name: "mine.jsonl"})
    assert chosen["page"][name] == str(tmp_path / "mine.jsonl")

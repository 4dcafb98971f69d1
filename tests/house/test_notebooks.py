"""Every notebook is paired, in shape, and has outputs: without them nbval would pass it unread."""

import ast

import jupytext
import nbformat
import pytest
import yaml
from checks import ROOT, check_notebook, check_notebooks, notebook_sources

PAGE = """# %% [markdown]
# # A claim

# %% tags=["parameters"]
x = 1  # a number

# %%
print(x)
"""


def test_notebooks_are_paired_in_shape_and_have_outputs():
    assert check_notebooks() == []


def test_notebooks_are_those_of_the_book():
    parts = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))["parts"]
    files = [chapter["file"] for part in parts for chapter in part["chapters"]]
    assert [f"notebooks/{path.stem}" for path in notebook_sources()] == [
        file for file in files if file.startswith("notebooks/")
    ]


@pytest.fixture
def page(tmp_path):
    """Source of a notebook that is in order but for having only three cells."""
    source = tmp_path / "01_page.py"
    source.write_text(PAGE, encoding="utf-8")
    code = [
        nbformat.v4.new_code_cell(
            "x = 1  # a number", execution_count=1, metadata={"tags": ["parameters"]}
        )
    ]
    code.append(
        nbformat.v4.new_code_cell(
            "print(x)", execution_count=2, outputs=[nbformat.v4.new_output("stream", text="1\n")]
        )
    )
    write(
        source, nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# A claim"), *code])
    )
    return source


def write(source, notebook):
    nbformat.write(notebook, source.with_suffix(".ipynb"))


def changed(source, change):
    notebook = nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    change(notebook.cells)
    write(source, notebook)
    return [
        complaint for complaint in check_notebook(source) if "cells, not 8 to 40" not in complaint
    ]


def test_a_page_in_order_is_only_too_short(page):
    assert check_notebook(page) == ["3 cells, not 8 to 40"]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda cells: cells[2].update(source="print(x + 1)"), "differs from its .py"),
        (lambda cells: cells[1].metadata.clear(), "0 cells tagged parameters"),
        (lambda cells: cells[0].update(source="A claim"), "does not open with a title"),
        (lambda cells: cells[2].update(outputs=[]), "no stored outputs"),
        (lambda cells: cells[2].update(execution_count=7), "not run from top to bottom"),
        (lambda cells: cells[2].update(source="x\n" * 11), "11.0 source lines a cell"),
        (
            lambda cells: cells[2].outputs.append(
                nbformat.v4.new_output("error", ename="E", evalue="", traceback=[])
            ),
            "stores an error",
        ),
        (lambda cells: cells[2].outputs[0].update(text="1" * 300_000), "more than 300,000"),
    ],
)
def test_each_rule_notices_its_breach(page, change, complaint):
    assert any(complaint in text for text in changed(page, change))


def test_a_source_without_its_pair_is_noticed(page):
    page.with_suffix(".ipynb").unlink()
    assert "make notebooks" in check_notebook(page)[0]


def unseen_tables(source: str) -> list[str]:
    """Statements ``show(...)`` that nobody sees: each is not the last one of its cell."""
    cells = jupytext.reads(source, fmt="py:percent").cells
    found = []
    for cell in cells:
        tree = ast.parse(cell.source if cell.cell_type == "code" else "")
        alone = [node for node in ast.walk(tree) if isinstance(node, ast.Expr)]
        calls = [node for node in alone if isinstance(node.value, ast.Call)]
        tables = [node for node in calls if ast.unparse(node.value.func) == "show"]
        found += [ast.unparse(node) for node in tables if node is not tree.body[-1]]
    return found


def test_every_table_is_the_last_of_its_cell():
    pages = [path.read_text(encoding="utf-8") for path in notebook_sources()]
    assert sum(page.count("\nshow(") for page in pages) > 50
    assert [unseen_tables(page) for page in pages] == [[] for _ in pages]
    assert unseen_tables("# %%\nshow(a)\nprint(1)\n\n# %%\nshow(b)\n") == ["show(a)"]

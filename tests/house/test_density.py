"""The rules of density notice their breaches, with file and line; so do those for pages."""

import nbformat
import pandas as pd
import pytest
from checks import ROOT
from density import check_density, source_lines
from pages import check_code, check_limits, check_prose, printed_limits

from saecert.reporting.show import show

BODY = "    x = 1\n"
LIMITED = pd.DataFrame({"mean": [5.413], "upper": [5.413], "from": [12_345.678]}, ["SAE"])


@pytest.fixture
def clone(tmp_path):
    """A clone with nothing in it."""
    for folder in ("saecert", "notebooks", "book"):
        (tmp_path / folder).mkdir()
    return tmp_path


def test_only_code_counts_as_source_lines():
    code = '"""Two\nlines."""\n\nx = 1  # one\n# none\n\ndef f(a,\n      b):\n    "doc"\n'
    assert source_lines(code + '    return """a\nb"""\n') == 5


def test_what_is_within_the_rules_passes(clone):
    code = "def f():\n" + '    """' + "words\n" * 60 + '    """\n' + BODY * 39
    (clone / "saecert/fine.py").write_text(code, encoding="utf-8")
    assert check_density(clone) == []


@pytest.mark.parametrize(
    ("code", "complaint"),
    [
        ("x = 1\n" + "# " + "w" * 99, "saecert/dense.py:2: 101 columns, more than 100"),
        ("\ndef f():\n" + BODY * 40, "saecert/dense.py:2: f has 41 source lines, more than 40"),
        ("x = 1\n" * 351, "saecert/dense.py:1: module of 351 source lines, more than 350"),
    ],
)
def test_breaches_are_named_with_file_and_line(clone, code, complaint):
    (clone / "saecert/dense.py").write_text(code, encoding="utf-8")
    assert check_density(clone) == [complaint]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("$1\x0barepsilon$", "control character '\\x0b'"),
        ("a\ttab", "control character '\\t'"),
        ("and as {doc}`04_coverage` says", "{doc}`04_coverage` inserts a whole title"),
        ("% of them", "begins with %, which makes it a comment"),
        ("  %, but", "begins with %, which makes it a comment"),
        ("> % of them", "begins with %, which makes it a comment"),
    ],
)
def test_prose_that_would_be_wrecked_is_found(clone, line, complaint):
    (clone / "book/page.md").write_text(f"# Title\n\n{line}\n", encoding="utf-8")
    (found,) = check_prose(clone)
    assert found.startswith(f"book/page.md:3: {complaint}")


def test_a_line_of_text_that_is_lost_for_a_comment_is_found_in_the_source_of_a_page(clone):
    source = "# %% [markdown]\n# or 3\n# %, but\n\n# %%\nx = 7 % 3\n"
    (clone / "notebooks/01_page.py").write_text(source, encoding="utf-8")
    advice = "begins with %, which makes it a comment: break the line elsewhere"
    assert check_prose(clone) == [f"notebooks/01_page.py:3: {advice}"]


def test_links_with_a_text_and_links_alone_are_fine(clone):
    text = "see {doc}`the page <04_coverage>`\n- {doc}`04_coverage`\n2. {doc}`notation`.\n"
    (clone / "book/page.md").write_text(text, encoding="utf-8")
    assert check_prose(clone) == []


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_what_is_read_on_the_front_is_read_for_them_too(clone, name):
    (clone / name).write_text("# Title\n\na\x0cb\n", encoding="utf-8")
    assert check_prose(clone) == [f"{name}:3: control character '\\x0c'"]


def test_docstrings_are_read_as_their_reader_sees_them(clone):
    code = '''class A:\n    x: int\n    """$\\varepsilon$"""\n\ny = "\\v"\nz = r"""\\v"""\n'''
    (clone / "saecert/words.py").write_text(code, encoding="utf-8")
    assert check_prose(clone) == ["saecert/words.py:3: control character '\\x0b' in a docstring"]


@pytest.mark.parametrize("check", [check_prose, check_code, check_limits])
def test_nothing_of_the_repository_breaks_the_rules_for_pages(check):
    assert check(ROOT) == []


def test_the_stored_tables_hold_limits_to_compare():
    notebooks = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    held = [len(printed_limits(nbformat.read(path, as_version=4))) for path in notebooks]
    assert sum(held) > 1_000 and sum(number > 0 for number in held) > 20


def test_code_on_a_page_fits_its_column(clone):
    wide = "# " + "w" * 100 + "\nx = 1  # " + "w" * 64
    (clone / "notebooks/01_page.py").write_text(wide, encoding="utf-8")
    assert check_code(clone) == ["notebooks/01_page.py:2: 73 columns of code, more than 72"]


@pytest.mark.parametrize(
    ("code", "is_found"),
    [
        ('f"{certificate.bound:.2f}"', True),
        ("f\"{row['upper']:+.3f}\"", True),
        ('f"{upper_text(row.upper)}"', False),
        ('f"{mean:.2f}"', False),
        ('f"{bound:>9}"', False),
        ('f"{row.fixed:.3f}"', True),
        ('f"above {-threshold:.4g}"', True),
        ('f"{alarm:.1%}"', True),
        ('f"moves by at most {moved:.5f}"', True),
        ('f"at least " f"{100 * share:.0f}"', True),
        ('f"at most {upper_text(moved)}"', False),
        ('f"at most {n}"', False),
        ('f"{b.bound - a.bound:.2f} bits apart"', False),
        ('f"{bound - mean:.2f}"', True),
        ('f"{rounded_up(bound):.2f}"', False),
        ('f"{level:g} at most"', False),
    ],
)
def test_limits_in_sentences_are_not_printed_to_the_nearest(clone, code, is_found):
    (clone / "notebooks/01_page.py").write_text(f"print({code})\n", encoding="utf-8")
    assert bool(check_code(clone)) == is_found


@pytest.mark.parametrize(
    ("code", "is_found"),
    [
        ("decided(low > 0, False)", True),
        ("claims.decided(low > 0, refuted=False)", True),
        ("decided(\n    low > 0,\n    False,\n)", True),
        ("decided(low > 0, high <= 0)", False),
        ("decided(low > 0, False, NOT_SHOWN)", False),
        ("decided(low > 0, False, otherwise='not shown')", False),
    ],
)
def test_a_claim_that_nothing_could_refute_is_not_called_open_by_the_limits(clone, code, is_found):
    (clone / "notebooks/01_page.py").write_text(f"x = {code}\n", encoding="utf-8")
    assert bool(check_code(clone)) == is_found


def stored(clone, text):
    """A notebook whose only output is a table."""
    output = nbformat.v4.new_output("display_data", {"text/html": text})
    cell = nbformat.v4.new_code_cell("show(frame)", outputs=[output])
    notebook = nbformat.v4.new_notebook(cells=[cell])
    nbformat.write(notebook, clone / "notebooks/01_page.ipynb")
    return notebook


def test_stored_tables_are_compared_with_their_limits(clone):
    text = show(LIMITED)._repr_html_()
    notebook = stored(clone, text)
    assert printed_limits(notebook) == [("upper", 5.413, 5.42), ("lower", 12345.678, 12345.67)]
    assert check_limits(clone) == []
    stored(clone, text.replace(">5.42<", ">5.41<"))
    assert check_limits(clone) == ["notebooks/01_page.ipynb: upper limit 5.413 is printed as 5.41"]

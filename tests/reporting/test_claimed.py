"""Claims of other pages on another subject: read from executed pages, kept, and told."""

import os

import nbformat
import pytest

from saecert.reporting import claimed
from saecert.reporting.claimed import claims_table, claims_that_fail, keep_claims

TEN_DAYS = 864_000


@pytest.fixture(autouse=True)
def own_measurements(tmp_path, monkeypatch):
    monkeypatch.setenv("SAECERT_MEASUREMENTS", str(tmp_path / "measurements"))


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "runs"
    made.mkdir()
    return made


def write(folder, name, parameters, printed="", error=""):
    """An executed page, as a run leaves it behind."""
    cells = [nbformat.v4.new_code_cell('subject = "toy"\nn_seq = 500')]
    cells[0].metadata["tags"] = ["parameters"]
    source = "\n".join(f"{key} = {value!r}" for key, value in parameters.items())
    cells.append(nbformat.v4.new_code_cell(source))
    cells[1].metadata["tags"] = ["injected-parameters"]
    output = nbformat.v4.new_output("stream", text=printed)
    cells.append(nbformat.v4.new_code_cell("claims(...)", outputs=[output]))
    notebook = nbformat.v4.new_notebook(cells=cells)
    if error:
        notebook.metadata["saecert"] = {"error": error}
    path = folder / f"{name}.ipynb"
    nbformat.write(notebook, path)
    os.utime(path, (TEN_DAYS, TEN_DAYS))


PARAMETERS = {"subject": "other", "n_seq": 60, "strict": False, "hook_name": "last"}
PRINTED = (
    "holds          beats the bigram\n"
    "does not hold  live losses are those that are\n"
    "               kept\n"
    "not tested     deep: needs two SAEs\n"
    "undecided      wide: the limits do not tell\n"
)


def test_what_pages_printed_is_kept_and_told(folder):
    write(folder, "02_four_terms", PARAMETERS, PRINTED)
    write(folder, "18_public_model", PARAMETERS, PRINTED)
    path = keep_claims(folder)
    assert path.name == "other.json" and path.parent.name == "claims"
    table = claims_table("other")
    assert len(table) == len(claimed.PAGES)
    assert table.loc["02"].tolist() == ["1 of 3", "1", "1", "60", "1970-01-11"]
    assert table.loc["03"].tolist() == ["not run", "", "", "", ""]
    assert claims_that_fail("other") == ["02 live losses are those that are kept"]
    kept = claimed.kept_claims("other")
    assert list(kept) == ["02_four_terms"], "other pages are no part of the list"
    assert kept["02_four_terms"]["parameters"] == {"n_seq": 60, "hook_name": "last"}


def test_later_pages_are_added_and_earlier_ones_replaced(folder):
    write(folder, "02_four_terms", PARAMETERS, PRINTED)
    keep_claims(folder)
    (folder / "02_four_terms.ipynb").unlink()
    write(folder, "07_behaviour", {"subject": "other"}, "holds          closer\n")
    keep_claims(folder)
    table = claims_table("other")
    assert table.loc["02", "hold"] == "1 of 3"
    assert table.loc["07"].tolist()[:4] == ["1 of 1", "0", "0", "default"]
    write(folder, "02_four_terms", PARAMETERS, "holds          beats the bigram\n")
    keep_claims(folder)
    assert claims_table("other").loc["02", "hold"] == "1 of 1"
    assert claims_that_fail("other") == []


def test_a_page_that_stopped_holds_nothing(folder):
    write(folder, "16_limits.failed", PARAMETERS, error="cell [4] ValueError: too few")
    keep_claims(folder)
    assert claims_table("other").loc["16", "hold"] == "the page stopped"
    assert claimed.kept_claims("other")["16_limits"]["error"].endswith("too few")


def test_a_subject_of_which_nothing_was_run():
    assert set(claims_table("nobody")["hold"]) == {"not run"}
    assert claims_that_fail("nobody") == []


def test_folders_without_pages_or_with_several_subjects_are_refused(folder):
    with pytest.raises(ValueError, match="no executed page of 02_four_terms"):
        keep_claims(folder)
    write(folder, "02_four_terms", PARAMETERS, PRINTED)
    write(folder, "03_convergence", {"subject": "third"}, PRINTED)
    with pytest.raises(ValueError, match="several subjects in .*: other, third"):
        keep_claims(folder)


def test_what_is_kept_here_is_of_pages_of_the_list(monkeypatch):
    monkeypatch.delenv("SAECERT_MEASUREMENTS")
    for facts in claimed.kept_claims("smollm2-135m").values():
        assert facts["date"] and ("error" in facts or facts["claims"])
    assert set(claimed.kept_claims("smollm2-135m")) <= set(claimed.PAGES)

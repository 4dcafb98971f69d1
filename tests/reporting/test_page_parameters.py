"""Every number that a page takes is looked at before anything is loaded."""

from pathlib import Path

import jupytext
import pytest

from saecert.reporting.parameters import notebook_parameters
from saecert.reporting.settings import SettingsError, check_settings

PAGES = sorted(Path(__file__).parents[2].glob("notebooks/[0-9][0-9]_*.py"))
LISTS = ("one_over_lambda", "one_over_lambda_small", "other_l0", "expansions")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_no_page_takes_a_negative_number(page):
    defaults = notebook_parameters(jupytext.read(page))
    numbers = [name for name, value in defaults.items() if type(value) in (int, float)]
    taken = [name for name in numbers if not _refused(name, -1)]
    assert taken == []
    check_settings({name: defaults[name] for name in (*numbers, *LISTS) if name in defaults})


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("value", ["-4", "8,-16", "0", "lots", "8,,16", "1.5"])
def test_numbers_between_commas_are_looked_at_one_by_one(name, value):
    assert _refused(name, value)


def _refused(name: str, value: object) -> bool:
    try:
        check_settings({name: value})
    except SettingsError as error:
        return name in str(error)
    return False

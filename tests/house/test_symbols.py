"""A letter of `book/notation.md` that stands for two things is among those that the page names."""

import re
from collections import Counter

from checks import ROOT

NOTATION = (ROOT / "book/notation.md").read_text(encoding="utf-8")


def symbols(text):
    """Every symbol as often as it has a row: ``$k = \\lvert A \\rvert$`` is a row of ``k``."""
    counts = Counter()
    for line in text.splitlines():
        cells = re.split(r"(?<!\\)\|", line)
        if line.startswith("|") and len(cells) == 6:
            found = re.findall(r"\$([^$]+)\$", cells[2])
            counts.update({symbol.partition(" = ")[0] for symbol in found})
    return counts


def homonyms(text):
    """The letters that the introduction names."""
    named = text.partition("another meaning")[2].partition("\n## ")[0].partition('. "Code"')[0]
    return set(re.findall(r"\$([^$]+)\$", named))


def unnamed(text):
    """Symbols with two rows that are not named."""
    twice = {symbol for symbol, rows in symbols(text).items() if rows > 1}
    return sorted(twice - homonyms(text))


def test_letters_with_two_rows_are_named():
    assert len(symbols(NOTATION)) > 80
    assert unnamed(NOTATION) == []


def test_letters_that_are_named_are_in_the_table():
    letters = set(re.findall(r"\\?[A-Za-z]+", " ".join(symbols(NOTATION)).replace("_", " ")))
    assert homonyms(NOTATION) - letters == set()


def test_a_letter_with_two_rows_is_found():
    rows = "| 1 | $a$, $b$ | `x` | one |\n| 2 | $b = c$ |  | two |\n| 3 | $d$ | | $b$ |\n"
    start = 'Letters that come back with another meaning: $d$. "Code" is $b$.\n\n## Table\n\n'
    assert unnamed(start + rows) == ["b"]
    assert unnamed(start.replace("$d$.", "$d$ and $b$.") + rows) == []

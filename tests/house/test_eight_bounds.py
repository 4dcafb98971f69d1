"""The table of eight bounds of one SAE is what the kept measurements give, row by row."""

import re
from fractions import Fraction

import pytest
from checks import ROOT

from saecert import certify
from saecert.reporting.study import open_study
from saecert.statistics.rounding import nearest_text, upper_text

TEXT = (ROOT / "book/how_to_read.md").read_text(encoding="utf-8")
DISCOVERY = {"02": 0, "03": 0, "11": 200, "12": 500, "13": 500, "16": 500}
"""Discovery sequences on which each page ranks the latents; 0: all."""
JOINT = ("proxy risk", "reconstruction gap", "pool mismatch", "clipping")
"""Means that add up to that of the joint loss."""


def rows():
    """Page, n (0: all), share of delta, k, mean and bound, as they are printed."""
    table = TEXT.partition("(one-sae-eight-bounds)=")[2].partition("|---")[2]
    found = []
    for line in table.splitlines()[1:]:
        if not line.startswith("|"):
            break
        page, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        found.append((re.search(r"`(\d\d) </notebooks", page)[1], *cells[:5]))
    return found


def number(cell):
    return int(re.search(r"\d[\d,]*", cell)[0].replace(",", ""))


def test_there_are_as_many_as_the_heading_says():
    assert len(rows()) == 8 and "\n## One SAE, eight bounds\n" in TEXT
    assert [row[5] for row in rows()] == sorted(row[5] for row in rows())
    delta, d_sae = re.search(
        r"share of \$\\delta = ([\d.]+)\$ \| \$k\$ of ([\d,]+) \|", TEXT
    ).groups()
    assert (float(delta), number(d_sae)) == (0.05, 1536)


@pytest.mark.parametrize("row", rows(), ids=lambda row: "-".join(row[:4]).replace("/", " in "))
def test_each_row_is_certified_again(row):
    page, n, share, k, mean, bound = row
    wanted = 0 if n.startswith("all") else number(n)
    study = open_study("docstring-6l", n_seq=wanted, n_discovery=DISCOVERY[page])
    whole = number(k) == 1536
    losses = study.losses(pools=[] if whole else [number(k)], controls=False)
    made = certify(losses, pool=number(k), delta=0.05 * float(Fraction(share)), eps=())
    assert (made.n_seq, made.k) == (number(n), number(k))
    assert nearest_text(sum(made.means[name] for name in JOINT)) == mean
    assert upper_text(made.bound) == bound

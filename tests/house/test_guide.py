"""What guide and README say about text is what the parameters of the pages ask for."""

import re

import jupytext
import pytest
from checks import ROOT, notebook_sources

GUIDE = (ROOT / "book/certify_your_own.md").read_text(encoding="utf-8")
README = re.sub(r"\s+", " ", (ROOT / "README.md").read_text(encoding="utf-8"))
ALL = 0
DISCOVERY = 0.25
"""Share of the documents that is discovery."""
SLACK = 1.1
"""How many times the least number of documents may be said, rounded up."""


def parameters(path):
    """The source of a page's parameters."""
    cells = jupytext.read(path, fmt="py:percent").cells
    (source,) = [cell.source for cell in cells if "parameters" in cell.metadata.get("tags", [])]
    return source


SOURCES = {path.stem[:2]: path.read_text(encoding="utf-8") for path in notebook_sources()}
PARAMETERS = {path.stem[:2]: parameters(path) for path in notebook_sources()}


def asked(page):
    """Certification and discovery sequences that a page asks for; `ALL`, None for none."""
    numbers = {name: int(n) for name, n in re.findall(r"^(\w+) = (\d+)$", PARAMETERS[page], re.M)}
    chosen = [numbers.get(name) for name in ("n_discovery", "n_judging", "n_calibration")]
    discovery = next((number for number in chosen if number is not None), None)
    if page == "00":  # its n_seq is of simulated samples; latents are ranked on discovery
        return None, int(re.search(r"\bn_discovery=(\d+)", SOURCES[page])[1])
    if page == "14":  # as many without BOS, and the alarm is calibrated on discovery
        assert "2 * n_seq" in SOURCES[page] and 'split="discovery"' in SOURCES[page]
        return 2 * numbers["n_seq"], numbers["n_seq"]
    n_seq = numbers["n_seq"]
    return (n_seq + numbers.get("skip", 0) if n_seq else ALL), discovery


def number(cell):
    """The number with which a cell of the table begins."""
    words = {"all": ALL, "none": None}
    return words[cell] if cell in words else int(re.match(r"[\d,]+", cell)[0].replace(",", ""))


def rows():
    """Certification, discovery and documents, as they are said, by page."""
    table = GUIDE.partition("At their defaults the pages ask for:\n\n")[2].partition("\n\n")[0]
    found = {}
    for line in table.splitlines()[2:]:
        names, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        pages = re.findall(r"(?:^|, )(\d\d) ", names)
        assert pages, line
        found |= dict.fromkeys(pages, cells)
    return found


ROWS = rows()


def test_every_page_that_takes_text_has_a_row():
    without = set(re.findall(r"\d\d", re.search(r"^([\d ,and]+) need no text", GUIDE, re.M)[1]))
    takes = {page for page, source in PARAMETERS.items() if "corpus =" in source}
    assert without == set(PARAMETERS) - takes
    assert set(ROWS) == takes - {"10"}


@pytest.mark.parametrize("page", list(ROWS))
def test_each_row_is_what_its_page_asks_for(page):
    sample, discovery, documents = ROWS[page]
    certification, chosen = asked(page)
    assert (number(sample), number(discovery)) == (certification, chosen)
    if certification == ALL:
        assert documents.endswith("and more")
        return
    least = max((certification or 0) / (1 - DISCOVERY), (chosen or 0) / DISCOVERY)
    assert least <= number(documents) <= SLACK * least
    skipped = re.search(r"^skip = (\d+)", PARAMETERS[page], re.M)
    if "left out" in sample:
        assert f"the first {skipped[1]} are left out" in sample


def test_what_so_many_documents_are_enough_for():
    table = GUIDE.partition("| You have so many documents |")[2].partition("\n\n")[0]
    lines = [line.strip("|").split("|") for line in table.splitlines()[2:]]
    need = {page: number(cells[2]) for page, cells in ROWS.items() if asked(page)[0] != ALL}
    named = set()
    for documents, parts, said in lines:
        total = number(documents.strip())
        first, second = (number(part.strip()) for part in parts.split(", "))
        assert (first, second) == (total * DISCOVERY, total * (1 - DISCOVERY))
        pages = re.findall(r"\b\d\d\b", said)
        named |= set(pages)
        if pages:
            assert named == {page for page, least in need.items() if least <= total}
        if "defaults of all pages" in said:
            assert total == max(need.values())


def test_the_readme_says_the_same():
    most = max(number(cells[2]) for cells in ROWS.values())
    ends = f"({most * DISCOVERY:.0f} for discovery, {most * (1 - DISCOVERY):,.0f} for certification"
    assert f"**{most:,} documents** that are long enough and no repetitions {ends})" in README
    said = re.search(r"(\d+) documents \((\d+) and (\d+)\) run every page", README)
    few, *parts = said.groups()
    assert [int(part) for part in parts] == [int(few) * DISCOVERY, int(few) * (1 - DISCOVERY)]
    assert f"| {few} | {parts[0]}, {parts[1]} | every page" in GUIDE


def test_the_guide_says_which_pages_allow_a_bad_sae():
    said = re.search(r"`-p allow_bad_sae=True` pages (.*?) take it", GUIDE)[1]
    ranges = re.findall(r"(\d\d) to (\d\d)", said)
    allowed = {f"{page:02}" for a, b in ranges for page in range(int(a), int(b) + 1)}
    allowed |= set(re.findall(r"\d\d", said))
    assert allowed == {page for page, text in PARAMETERS.items() if "allow_bad_sae =" in text}

"""Every entry of the bibliography says who, what, and where one can read it."""

import re

from checks import ROOT

BIBLIOGRAPHY = (ROOT / "book/references.bib").read_text(encoding="utf-8")
ADDRESSES = {
    "url": r"https://[\w.-]+\.\w+/\S+",
    "doi": r"10\.\d{4,}/\S+",
    "eprint": r"\d{4}\.\d{4,5}|[a-z-]+/\d{7}",
}
"""Fields that become a link, with what has to be in them."""


def entries(text):
    """Fields by key of each entry, in which no value has a brace too many."""
    found = {}
    for entry in re.split(r"^@", text, flags=re.MULTILINE)[1:]:
        key = re.match(r"\w+\{([^,\s]+),", entry)[1]
        fields = re.findall(r"^\s*(\w+)\s*=\s*[{\"](.*)[}\"],?\s*$", entry, re.MULTILINE)
        assert key not in found, f"{key} is there twice"
        found[key] = {name.lower(): value for name, value in fields}
    return found


def complaints(text):
    """What entries lack."""
    found = []
    for key, fields in entries(text).items():
        found += [
            f"{key}: no {name}" for name in ("author", "title", "year") if not fields.get(name)
        ]
        clickable = [
            name
            for name, form in ADDRESSES.items()
            if re.fullmatch(form, fields.get(name, "")) is not None
        ]
        found += [] if clickable else [f"{key}: no url, doi or eprint that leads anywhere"]
    return found


def test_every_entry_has_an_author_a_title_and_an_address():
    assert (
        len(entries(BIBLIOGRAPHY)) == BIBLIOGRAPHY.count("\n@") + BIBLIOGRAPHY.startswith("@") > 25
    )
    assert complaints(BIBLIOGRAPHY) == []


def test_each_thing_that_lacks_is_found():
    entry = "@article{one,\n  author = {A, B},\n  title = {On {X}},\n  year = {2020},\n"
    entry += "  doi = {10.1000/1}\n}\n"
    assert complaints(entry) == []
    for name in ("author", "title", "year"):
        assert complaints(re.sub(rf"  {name} = .*\n", "", entry)) == [f"one: no {name}"]
    (without,) = complaints(entry.replace("10.1000/1", "to appear"))
    assert without == "one: no url, doi or eprint that leads anywhere"


def test_every_work_that_pages_cite_is_there_and_every_entry_is_cited():
    pages = [*(ROOT / "book").rglob("*.md"), *(ROOT / "notebooks").glob("[0-9][0-9]_*.py")]
    text = "\n".join(path.read_text(encoding="utf-8") for path in pages)
    groups = re.findall(r"\{cite(?::\w+)?\}`([^`]+)`", text)
    cited = {key.strip() for group in groups for key in group.split(",")}
    assert cited == set(entries(BIBLIOGRAPHY))

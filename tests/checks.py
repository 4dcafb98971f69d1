"""What `make lint` and `make book` check beyond ruff; the tests use the same functions.

python tests/checks.py lint            density of code, pages, pairing of notebooks, printed limits
python tests/checks.py offline DIR     no page of a built book fetches anything from elsewhere
python tests/checks.py accessible DIR  alt texts, labels, headings, links that lead somewhere
python tests/checks.py picture         make the pictures of README and first page anew
"""

from __future__ import annotations

import base64
import hashlib
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pages
from accessible import check_accessible, check_contrast
from density import check_density, library_lines, source_lines
from pages import check_code, check_limits, check_notebook, check_prose
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]

__all__ = ["ROOT", "check_notebook", "check_notebooks", "notebook_sources", "source_lines"]

_EXTERNAL = re.compile(r"^\s*(https?:)?//", re.IGNORECASE)
_FETCHING = {"script", "img", "iframe", "source", "video", "audio", "embed"}
_CSS_FETCH = re.compile(r"(?:url\(|@import)\s*[\"']?\s*(?:https?:)?//[^\s\"')]+", re.IGNORECASE)


def check_notebooks(root: Path = ROOT) -> list[str]:
    """Complaints about every notebook of the clone."""
    return pages.check_notebooks(root)


def notebook_sources(root: Path = ROOT) -> list[Path]:
    """The .py files of the notebooks, in the order of the book."""
    return pages.notebook_sources(root)


def headline(root: Path = ROOT) -> tuple[Path, bytes]:
    """The picture of the README and the first page, and the figure that it must be."""
    notebook = nbformat.read(root / "notebooks/02_four_terms.ipynb", as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    data = [output.get("data", {}) for cell in code for output in cell.outputs]
    (figure,) = [shown["image/png"] for shown in data if "image/png" in shown]
    return root / "book/images/four_terms.png", base64.b64decode(figure)


def check_picture(root: Path = ROOT) -> list[str]:
    """Complaint if the picture is not that of the notebook."""
    path, figure = headline(root)
    if path.exists() and path.read_bytes() == figure:
        return []
    name = path.relative_to(root)
    return [f"{name} is not the figure of 02_four_terms; run `make notebooks`"]


def front_pictures(root: Path = ROOT) -> tuple[Path, list[Path]]:
    """The table behind the first picture of README and first page, and the picture's files."""
    names = ("front_light.png", "front_dark.png")
    return root / "book/data/front.csv", [root / "book/images" / name for name in names]


def check_front(root: Path = ROOT) -> list[str]:
    """Complaint about each file of the first picture that is not of the table beside it."""
    table, pictures = front_pictures(root)
    drawn = hashlib.sha256(table.read_bytes()).hexdigest()
    return [
        f"{path.relative_to(root)} is not of {table.name}; run `make notebooks`"
        for path in pictures
        if _description(path) != drawn
    ]


def _description(picture: Path) -> str | None:
    """What the picture's file says of it."""
    with Image.open(picture) as opened:
        return opened.info.get("Description")


def draw_front(root: Path = ROOT) -> None:
    """Make table and files of the first picture from what is kept."""
    from saecert.reporting.front import front_rows, save_front

    table, (picture, _) = front_pictures(root)
    frame = front_rows()
    table.write_text(frame.to_csv(index=False), encoding="utf-8")
    save_front(frame, picture.parent)


class _Fetches(HTMLParser):
    """Collects what a page makes a browser fetch elsewhere; links to click on are not fetched."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Note the tag if it fetches."""
        values = {key: value or "" for key, value in attributes}
        target = values.get("src", "") if tag in _FETCHING else ""
        if tag == "link" and values.get("rel") != "canonical":
            target = values.get("href", "")
        if _EXTERNAL.match(target):
            self.found.append(f"<{tag}> {target}")


def check_offline(book: Path) -> list[str]:
    """Complaints about what fetches from elsewhere under `book`, and about a missing index."""
    complaints = [] if (book / "index.html").exists() else [f"no {book / 'index.html'}"]
    for page in sorted(book.rglob("*.html")):
        parser = _Fetches()
        parser.feed(page.read_text(encoding="utf-8"))
        complaints += [f"{page}: {found}" for found in parser.found]
    for sheet in sorted(book.rglob("*.css")):
        fetched = _CSS_FETCH.findall(sheet.read_text(encoding="utf-8"))
        complaints += [f"{sheet}: {found}" for found in fetched]
    return complaints


def main(arguments: list[str]) -> int:
    """Exit code: 1 if there is anything to complain about."""
    if arguments[:1] == ["offline"] and len(arguments) == 2:
        complaints = check_offline(Path(arguments[1]))
        good = "the book needs no network"
    elif arguments[:1] == ["accessible"] and len(arguments) == 2:
        complaints = check_accessible(Path(arguments[1]))
        good = "every picture has a text, every field a label, every link a target"
    elif arguments == ["picture"]:
        path, figure = headline()
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(figure)
        draw_front()
        complaints = []
        good = f"written to {path.parent}"
    elif arguments == ["lint"]:
        complaints = check_density(ROOT) + check_prose(ROOT) + check_code(ROOT)
        complaints += check_contrast((ROOT / "_static/custom.css").read_text(encoding="utf-8"))
        complaints += check_limits(ROOT) + (check_notebooks() or check_picture()) + check_front()
        lines = sum(library_lines(ROOT).values())
        good = f"{lines} source lines in saecert; {len(notebook_sources())} notebooks in order"
    else:
        raise SystemExit(__doc__)
    print("\n".join(complaints) or good)
    return int(bool(complaints))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""What `make lint` and `make book` check beyond ruff; the tests use the same functions.

python tests/checks.py lint            library size, pairing of notebooks, rules for notebooks
python tests/checks.py offline DIR     no page of a built book fetches anything from elsewhere
python tests/checks.py picture         copy the figure that the README and the book's first page show out of its notebook
"""

from __future__ import annotations

import ast
import base64
import io
import re
import sys
import tokenize
from html.parser import HTMLParser
from pathlib import Path

import jupytext
import nbformat
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[1]
MAX_LIBRARY_LINES, MAX_NOTEBOOK_LINES, CELLS = 3650, 100, range(10, 17)
_SILENT = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
    tokenize.ENCODING,
}
_EXTERNAL = re.compile(r"^\s*(https?:)?//", re.IGNORECASE)
_FETCHING = {"script", "img", "iframe", "source", "video", "audio", "embed"}
_CSS_FETCH = re.compile(r"(?:url\(|@import)\s*[\"']?\s*(?:https?:)?//[^\s\"')]+", re.IGNORECASE)


def source_lines(source: str) -> int:
    """Lines of `source` that hold code: docstrings, comments and blank lines are not counted."""
    docstrings = {
        line
        for node in ast.walk(ast.parse(source))
        if _bare_string(node)
        for line in range(node.lineno, node.end_lineno + 1)
    }
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in _SILENT:
            lines.update(range(token.start[0], token.end[0] + 1))
    return len(lines - docstrings)


def _bare_string(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def library_lines(root: Path = ROOT) -> dict[str, int]:
    """Source lines of each module of the library."""
    paths = sorted((root / "saecert").rglob("*.py"))
    return {
        path.relative_to(root).as_posix(): source_lines(path.read_text(encoding="utf-8"))
        for path in paths
    }


def check_library(root: Path = ROOT) -> list[str]:
    """Complaint if the library has outgrown its limit."""
    sizes = library_lines(root)
    total = sum(sizes.values())
    if total < MAX_LIBRARY_LINES:
        return []
    largest = ", ".join(
        f"{name} {size}" for name, size in sorted(sizes.items(), key=lambda item: -item[1])[:5]
    )
    return [
        f"saecert/ has {total} source lines, the limit is {MAX_LIBRARY_LINES}; largest: {largest}"
    ]


def notebook_sources(root: Path = ROOT) -> list[Path]:
    """The .py files of the notebooks, in the order of the book."""
    return sorted((root / "notebooks").glob("[0-9][0-9]_*.py"))


def check_notebooks(root: Path = ROOT) -> list[str]:
    """Complaints about every notebook, and about a notebook without its pair."""
    sources = notebook_sources(root)
    orphans = {
        p.stem for p in (root / "notebooks").glob("[0-9][0-9]_*.ipynb") if "." not in p.stem
    } - {p.stem for p in sources}
    complaints = [f"notebooks/{name}.ipynb has no .py beside it" for name in sorted(orphans)]
    return complaints + [
        f"notebooks/{path.stem}: {text}" for path in sources for text in check_notebook(path)
    ]


def check_notebook(source: Path) -> list[str]:
    """Complaints about one notebook: its pairing, its shape, its stored outputs."""
    executed = source.with_suffix(".ipynb")
    if not executed.exists():
        return ["no .ipynb beside the .py; `make notebooks` makes it"]
    notebook = nbformat.read(executed, as_version=4)
    paired = _pairable(jupytext.read(source, fmt="py:percent")) == _pairable(notebook)
    pairing = [] if paired else ["differs from its .py; run `make notebooks`"]
    return pairing + _shape(notebook) + _outputs(notebook)


def headline(root: Path = ROOT) -> tuple[Path, bytes]:
    """The committed picture of the README and of the first page, and the figure of the notebook that it must be."""
    notebook = nbformat.read(root / "notebooks/02_four_terms.ipynb", as_version=4)
    outputs = [
        output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs
    ]
    (figure,) = [
        output.data["image/png"] for output in outputs if "image/png" in output.get("data", {})
    ]
    return root / "book/images/four_terms.png", base64.b64decode(figure)


def check_picture(root: Path = ROOT) -> list[str]:
    """Complaint if the picture is not that of the notebook."""
    path, figure = headline(root)
    same = path.exists() and path.read_bytes() == figure
    return (
        []
        if same
        else [f"{path.relative_to(root)} is not the figure of 02_four_terms; run `make notebooks`"]
    )


def _pairable(notebook: NotebookNode) -> list[tuple]:
    return [
        (
            cell.cell_type,
            cell.source,
            cell.metadata.get("tags", []),
            cell.metadata.get("mystnb", {}),
        )
        for cell in notebook.cells
    ]


def _shape(notebook: NotebookNode) -> list[str]:
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    lines = sum(source_lines(cell.source) for cell in code)
    tagged = sum("parameters" in cell.metadata.get("tags", []) for cell in code)
    rules = {
        f"{len(notebook.cells)} cells, not {CELLS.start} to {CELLS.stop - 1}": len(notebook.cells)
        in CELLS,
        f"{lines} lines of code, more than {MAX_NOTEBOOK_LINES}": lines <= MAX_NOTEBOOK_LINES,
        f"{tagged} cells tagged parameters, not 1": tagged == 1,
        "does not open with a title": _titled(notebook.cells[0]),
    }
    return [complaint for complaint, holds in rules.items() if not holds]


def _titled(first: NotebookNode) -> bool:
    return (
        first.cell_type == "markdown"
        and re.search(r"^# \S", first.source, re.MULTILINE) is not None
    )


def _outputs(notebook: NotebookNode) -> list[str]:
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    outputs = [output for cell in code for output in cell.outputs]
    rules = {
        "has no stored outputs; run `make notebooks`": bool(outputs),
        "was not run from top to bottom": [cell.execution_count for cell in code]
        == list(range(1, len(code) + 1)),
        "stores an error": all(output.output_type != "error" for output in outputs),
    }
    return [complaint for complaint, holds in rules.items() if not holds]


class _Fetches(HTMLParser):
    """Collects what a page makes a browser fetch from another host; links to click on are not fetched."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Note the tag if it fetches."""
        values = {key: value or "" for key, value in attributes}
        followed = tag == "link" and values.get("rel") != "canonical"
        target = (
            values.get("href", "")
            if followed
            else values.get("src", "")
            if tag in _FETCHING
            else ""
        )
        if _EXTERNAL.match(target):
            self.found.append(f"<{tag}> {target}")


def check_offline(book: Path) -> list[str]:
    """Complaints about pages and style sheets under `book` that fetch from elsewhere, and about a missing index."""
    complaints = [] if (book / "index.html").exists() else [f"no {book / 'index.html'}"]
    for page in sorted(book.rglob("*.html")):
        text, parser = page.read_text(encoding="utf-8"), _Fetches()
        parser.feed(text)
        complaints += [f"{page}: {found}" for found in parser.found]
    for sheet in sorted(book.rglob("*.css")):
        complaints += [
            f"{sheet}: {found}" for found in _CSS_FETCH.findall(sheet.read_text(encoding="utf-8"))
        ]
    return complaints


def main(arguments: list[str]) -> int:
    """Exit code: 1 if there is anything to complain about."""
    if arguments[:1] == ["offline"] and len(arguments) == 2:
        complaints, good = check_offline(Path(arguments[1])), "the book needs no network"
    elif arguments == ["picture"]:
        path, figure = headline()
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(figure)
        complaints, good = [], f"written to {path}"
    elif arguments == ["lint"]:
        complaints = check_library() + (check_notebooks() or check_picture())
        good = f"library: {sum(library_lines().values())} of {MAX_LIBRARY_LINES} source lines; {len(notebook_sources())} notebooks in order"
    else:
        raise SystemExit(__doc__)
    print("\n".join(complaints) or good)
    return int(bool(complaints))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Rules for the pages of the book: notebooks, their stored outputs, and prose."""

from __future__ import annotations

import ast
import re
from html.parser import HTMLParser
from pathlib import Path

import jupytext
import nbformat
from density import source_lines
from nbformat import NotebookNode

COLUMNS = 72
CELL_LINES = 10
CELLS = range(8, 41)
BYTES = 300_000
"""Largest size of an executed notebook: a browser has to show it at once."""

_LINK = re.compile(r"\{doc\}`[^`<>]+`")
_BESIDE = re.compile(r"[\s#>*+.,;:()|-]|\d+\.")
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")
_COMMENT = re.compile(r"(# )?[\s>*-]*%(?![%\w])")
"""What MyST takes for a comment; in the source of a page a line of text begins with a sign."""
_LIMIT = re.compile(
    r"(?i)\b\w*(upper|lower|bound|limit|price|threshold|ceiling|at_most|at_least)\w*\b"
    r"|\b(low|high|least|most|fixed|alarm)\b"
)
_SAID = re.compile(r"(?i)\b(at most|at least|no more than|no less than)\s*$")


def notebook_sources(root: Path) -> list[Path]:
    """The .py files of the notebooks, in the order of the book."""
    return sorted((root / "notebooks").glob("[0-9][0-9]_*.py"))


def check_notebooks(root: Path) -> list[str]:
    """Complaints about every notebook, and about a notebook without its pair."""
    sources = notebook_sources(root)
    executed = {path.stem for path in (root / "notebooks").glob("[0-9][0-9]_*.ipynb")}
    orphans = {name for name in executed if "." not in name} - {path.stem for path in sources}
    complaints = [f"notebooks/{name}.ipynb has no .py beside it" for name in sorted(orphans)]
    for path in sources:
        complaints += [f"notebooks/{path.stem}: {text}" for text in check_notebook(path)]
    return complaints


def check_notebook(source: Path) -> list[str]:
    """Complaints about one notebook: its pairing, its shape, its stored outputs."""
    executed = source.with_suffix(".ipynb")
    if not executed.exists():
        return ["no .ipynb beside the .py; `make notebooks` makes it"]
    notebook = nbformat.read(executed, as_version=4)
    paired = _pairable(jupytext.read(source, fmt="py:percent")) == _pairable(notebook)
    pairing = [] if paired else ["differs from its .py; run `make notebooks`"]
    size = executed.stat().st_size
    large = (
        [f"{size:,} bytes, more than {BYTES:,}: fewer or smaller figures"] if size > BYTES else []
    )
    return pairing + large + _shape(notebook) + _outputs(notebook)


def check_code(root: Path) -> list[str]:
    """Lines of code on pages that are wider than the page, limits printed to the nearest, and
    claims that say they are left open where nothing was asked that could refute them."""
    complaints = []
    for path in notebook_sources(root):
        name = path.relative_to(root).as_posix()
        complaints += [f"{name}:{line}: {text}" for line, text in _code_breaches(path)]
    return complaints


def check_prose(root: Path) -> list[str]:
    """Control characters in pages and docstrings, and on pages links that insert a whole title, and
    lines that are lost for a comment."""
    front = [root / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    paths = [*front, *sorted((root / "book").rglob("*.md")), *notebook_sources(root)]
    complaints = []
    for path in sorted((root / "saecert").rglob("*.py")):
        name = path.relative_to(root).as_posix()
        found = _docstring_breaches(path.read_text(encoding="utf-8"))
        complaints += [f"{name}:{number}: {complaint}" for number, complaint in found]
    for path in (path for path in paths if path.exists()):
        name = path.relative_to(root).as_posix()
        text = path.read_bytes().decode("utf-8")
        for number, line in enumerate(text.split("\n"), start=1):
            complaints += [f"{name}:{number}: {complaint}" for complaint in _prose_breaches(line)]
    return complaints


def printed_limits(notebook: NotebookNode) -> list[tuple[str, float, float]]:
    """Every limit in the stored tables of a notebook: its side, its value, and what is printed."""
    reader = _Limits()
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            reader.feed(output.get("data", {}).get("text/html", ""))
    return reader.limits


def check_limits(root: Path) -> list[str]:
    """Stored tables in which a printed limit is on the wrong side of its value."""
    complaints = []
    for path in sorted((root / "notebooks").glob("[0-9][0-9]_*.ipynb")):
        for side, value, printed in printed_limits(nbformat.read(path, as_version=4)):
            wrong = printed < value if side == "upper" else printed > value
            if wrong:
                name = path.relative_to(root).as_posix()
                complaints.append(f"{name}: {side} limit {value!r} is printed as {printed!r}")
    return complaints


class _Limits(HTMLParser):
    """Collects cells of tables, and pieces of them, that say which limit they hold."""

    def __init__(self) -> None:
        super().__init__()
        self.limits: list[tuple[str, float, float]] = []
        self._open: tuple[str, float] | None = None

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Remember the limit that the cell holds."""
        known = dict(attributes).get("data-limit")
        if tag in ("td", "span") and known:
            side, value = known.split()
            self._open = (side, float(value))

    def handle_data(self, data: str) -> None:
        """Take what is printed of it."""
        if self._open:
            self.limits.append((*self._open, float(data.replace(",", ""))))
            self._open = None


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
    tagged = sum(_is_parameters(cell) for cell in code)
    telling = [cell for cell in code if not _is_parameters(cell) and not _is_figure(cell)]
    lines = sum(source_lines(cell.source) for cell in telling)
    mean = lines / max(1, len(telling))
    rules = {
        f"{len(notebook.cells)} cells, not {CELLS.start} to {CELLS.stop - 1}": len(notebook.cells)
        in CELLS,
        f"{mean:.1f} source lines a cell on average, more than {CELL_LINES}": mean <= CELL_LINES,
        f"{tagged} cells tagged parameters, not 1": tagged == 1,
        "does not open with a title": _titled(notebook.cells[0]),
    }
    return [complaint for complaint, holds in rules.items() if not holds]


def _is_parameters(cell: NotebookNode) -> bool:
    return "parameters" in cell.metadata.get("tags", [])


def _is_figure(cell: NotebookNode) -> bool:
    return "figure" in cell.metadata.get("mystnb", {})


def _titled(first: NotebookNode) -> bool:
    title = re.search(r"^# \S", first.source, re.MULTILINE)
    return first.cell_type == "markdown" and title is not None


def _outputs(notebook: NotebookNode) -> list[str]:
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    outputs = [output for cell in code for output in cell.outputs]
    counts = [cell.execution_count for cell in code]
    rules = {
        "has no stored outputs; run `make notebooks`": bool(outputs),
        "was not run from top to bottom": counts == list(range(1, len(code) + 1)),
        "stores an error": all(output.output_type != "error" for output in outputs),
    }
    return [complaint for complaint, holds in rules.items() if not holds]


def _code_breaches(path: Path) -> list[tuple[int, str]]:
    """Lines of a page's source and what is wrong with its code there."""
    source = path.read_text(encoding="utf-8")
    found = []
    for number, line in enumerate(source.splitlines(), start=1):
        if len(line) > COLUMNS and not line.startswith("#"):
            found.append((number, f"{len(line)} columns of code, more than {COLUMNS}"))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            advice = "is printed to the nearest: use upper_text or lower_text"
            found += [
                (value.lineno, f"{ast.unparse(value.value)} {advice}") for value in _nearest(node)
            ]
        if _never_refuted(node):
            advice = "cannot say 'does not hold': ask the opposite limit, or give NOT_SHOWN"
            found.append((node.lineno, f"{ast.unparse(node):.40} {advice}"))
    return sorted(found)


def _never_refuted(node: ast.AST) -> bool:
    """Whether it is ``decided(shown, False)`` without a reason of its own."""
    if not isinstance(node, ast.Call) or ast.unparse(node.func).split(".")[-1] != "decided":
        return False
    named = {keyword.arg: keyword.value for keyword in node.keywords}
    refuted = node.args[1] if len(node.args) > 1 else named.get("refuted")
    literal = isinstance(refuted, ast.Constant) and refuted.value is False
    return literal and len(node.args) < 3 and "otherwise" not in named


def _nearest(text: ast.JoinedStr) -> list[ast.FormattedValue]:
    """What a format such as ``.2f`` rounds although its name, or what is said before it, makes it a
    limit."""
    found = []
    said = ""
    for part in text.values:
        if isinstance(part, ast.FormattedValue):
            if _rounds(part) and (_called_limit(part.value) or _SAID.search(said)):
                found.append(part)
            said = ""
        elif isinstance(part, ast.Constant):
            said += str(part.value)
    return found


def _rounds(part: ast.FormattedValue) -> bool:
    spec = ast.unparse(part.format_spec) if part.format_spec else ""
    called = ast.unparse(part.value)
    outwards = "rounded_up" in called or "rounded_down" in called
    return re.search(r"\.\d+[efg%]", spec) is not None and not outwards


def _called_limit(value: ast.expr) -> bool:
    """Whether the name of a value says that it is a limit; what lies between two limits is none."""
    between = isinstance(value, ast.BinOp) and isinstance(value.op, ast.Sub)
    sides = [value.left, value.right] if between else [value]
    called = [_LIMIT.search(ast.unparse(side)) is not None for side in sides]
    return sum(called) == 1


def _docstring_breaches(source: str) -> list[tuple[int, str]]:
    """Control characters in the texts of a module, as its reader sees them: ``\\v`` is one."""
    found = []
    for node in ast.walk(ast.parse(source)):
        bare = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        control = _CONTROL.search(str(node.value.value)) if bare else None
        if control:
            found.append((node.lineno, f"control character {control.group()!r} in a docstring"))
    return sorted(found)


def _prose_breaches(line: str) -> list[str]:
    found = []
    control = _CONTROL.search(line)
    if control:
        found.append(f"control character {control.group()!r}")
    if _COMMENT.match(line):
        found.append("begins with %, which makes it a comment: break the line elsewhere")
    link = _LINK.search(line)
    if link and _BESIDE.sub("", line.replace(link.group(), "")):
        found.append(f"{link.group()} inserts a whole title into a sentence: give the link a text")
    return found

"""How dense code may be: columns, lines of a function and of a module, by source line."""

from __future__ import annotations

import ast
import io
import tokenize
from pathlib import Path

COLUMNS = 100
FUNCTION_LINES = 40
MODULE_LINES = 350
FOLDERS = ("saecert", "tests", "benchmarks", "book")

_SILENT = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
    tokenize.ENCODING,
}
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def source_lines(source: str) -> int:
    """Lines of `source` that hold code: docstrings, comments and blank lines are not counted."""
    return len(_code_lines(source))


def library_lines(root: Path) -> dict[str, int]:
    """Source lines of each module of the library."""
    paths = sorted((root / "saecert").rglob("*.py"))
    sizes = {path: source_lines(path.read_text(encoding="utf-8")) for path in paths}
    return {path.relative_to(root).as_posix(): size for path, size in sizes.items()}


def check_density(root: Path) -> list[str]:
    """Every breach in every Python file, as "file:line: what is too long"."""
    paths = [path for folder in FOLDERS for path in sorted((root / folder).rglob("*.py"))]
    complaints = []
    for path in paths:
        name = path.relative_to(root).as_posix()
        source = path.read_text(encoding="utf-8")
        complaints += [f"{name}:{line}: {text}" for line, text in _breaches(source)]
    return complaints


def _breaches(source: str) -> list[tuple[int, str]]:
    """Lines and complaints of one module."""
    found = []
    for number, line in enumerate(source.splitlines(), start=1):
        if len(line) > COLUMNS:
            found.append((number, f"{len(line)} columns, more than {COLUMNS}"))
    code = _code_lines(source)
    if len(code) > MODULE_LINES:
        found.append((1, f"module of {len(code)} source lines, more than {MODULE_LINES}"))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, _FUNCTIONS):
            size = len(code & set(range(node.lineno, node.end_lineno + 1)))
            if size > FUNCTION_LINES:
                text = f"{node.name} has {size} source lines, more than {FUNCTION_LINES}"
                found.append((node.lineno, text))
    return sorted(found)


def _code_lines(source: str) -> set[int]:
    """Numbers of the lines that hold code."""
    silent = {
        line
        for node in ast.walk(ast.parse(source))
        if _bare_string(node)
        for line in range(node.lineno, node.end_lineno + 1)
    }
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in _SILENT:
            lines.update(range(token.start[0], token.end[0] + 1))
    return lines - silent


def _bare_string(node: ast.AST) -> bool:
    constant = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return constant and isinstance(node.value.value, str)

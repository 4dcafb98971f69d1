"""The docstring corpus: technical English that every machine which installed saecert already has.

Documents are the docstrings of nine pinned packages, read from source with `ast` (nothing is
imported), near-duplicates removed *before* splitting, and split by a hash of ``package:qualified
name``. What is left of the same files when the docstrings are taken out is Python source: text of
another kind.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import textwrap
import warnings
from collections.abc import Callable, Iterator
from importlib import metadata, util
from pathlib import Path

from saecert.corpora.duplicates import near_duplicate_texts
from saecert.storage import atomic_path, cache_dir, progress_bar, read_kept

PACKAGES = (
    "numpy",
    "scipy",
    "pandas",
    "matplotlib",
    "networkx",
    "sympy",
    "statsmodels",
    "transformers",
    "torch",
)
"""Read in this order; their versions are pinned in pyproject.toml, so the corpus is the same
everywhere."""

SPLITS = {"train": 55, "validation": 5, "discovery": 10, "certification": 30}
"""Percent of the documents in each split."""

RECIPE = 1  # raise when anything below changes what is extracted

_GENERATED = {
    "__config__.py",
    "version.py",
    "_version.py",
}  # written by the build: differ between machines
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_DOCUMENTED = (ast.Module, ast.ClassDef, *_FUNCTIONS)


def package_versions() -> dict[str, str]:
    """Installed version of every package of the corpus, without local build tags.

    ``2.13.0+cpu`` is ``2.13.0``.
    """
    return {name: metadata.version(name).split("+")[0] for name in PACKAGES}


def split_of(key: str) -> str:
    """Split of the document named `key`, by a hash of the name alone.

    Names are like ``"package:qualified.name"``.
    """
    percent = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") % 100
    for name, share in SPLITS.items():
        if percent < share:
            return name
        percent -= share
    raise AssertionError("shares sum to 100")


def docstring_documents(progress: bool = True) -> dict[str, str]:
    """Every distinct docstring, ``{"package:qualified.name": text}``, near-duplicates removed.

    Cached under the versions of the packages. Two documents are near-duplicates when the sets of
    five-word shingles of their first 128 words have Jaccard similarity of at least 0.5; the first
    by name is kept.
    """

    def build() -> dict[str, str]:
        documents: dict[str, str] = {}
        for package in progress_bar(PACKAGES, desc="reading docstrings", disable=not progress):
            documents |= documents_under(_folder_of(package))
        return _drop_duplicates(documents, progress)

    return _kept("docstrings", build)


def documents_under(package: Path) -> dict[str, str]:
    """Docstrings of all modules below the folder of one package, ``{"package:name": text}``."""
    documents: dict[str, str] = {}
    for module, _, tree in _modules_under(package):
        _walk(tree, f"{package.name}:{module}", documents)
    return documents


def python_functions() -> dict[str, str]:
    """The longest function or method of every module, ``{"package:module": source}``; cached.

    Docstrings are cut out and comments kept; longest in lines without its docstring. One a module,
    because functions of one module share its author and its habits.
    """

    def build() -> dict[str, str]:
        sources = {}
        for package in PACKAGES:
            for module, source, tree in _modules_under(_folder_of(package)):
                functions = [node for node in ast.walk(tree) if isinstance(node, _FUNCTIONS)]
                if functions:
                    longest = max(functions, key=_n_lines)
                    sources[f"{package}:{module}"] = _without_docstrings(longest, source)
        return sources

    return _kept("functions", build)


def _n_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return function.end_lineno - function.lineno - len(_docstring_lines(function))


def _kept(name: str, build: Callable[[], dict[str, str]]) -> dict[str, str]:
    """What `build` returns, kept in the cache folder under the versions of the packages."""
    identity = json.dumps([RECIPE, package_versions()], sort_keys=True)
    path = cache_dir() / f"{name}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}.json"
    documents = read_kept(path, _read_documents)
    if documents is None:
        documents = build()
        with atomic_path(path) as partial:
            partial.write_text(json.dumps(documents), encoding="utf-8")
    return documents


def _read_documents(path: Path) -> dict[str, str]:
    documents = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(documents, dict) or not documents:
        raise ValueError("no documents in it")
    return documents


def _folder_of(package: str) -> Path:
    return Path(util.find_spec(package).origin).parent


def _modules_under(root: Path) -> Iterator[tuple[str, str, ast.Module]]:
    """Name, source and syntax tree of every module of a package, its tests left out."""
    for path in sorted(root.rglob("*.py"), key=lambda p: p.relative_to(root).as_posix()):
        relative = path.relative_to(root.parent).with_suffix("")
        if path.name in _GENERATED or {"tests", "testing"} & set(relative.parts):
            continue
        source = path.read_text(encoding="utf-8")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in other people's source
            try:
                tree = ast.parse(source)
            except SyntaxError:  # templates that only look like Python
                continue
        yield ".".join(relative.parts).removesuffix(".__init__"), source, tree


def _walk(tree: ast.Module, module: str, documents: dict[str, str]) -> None:
    """Put every docstring of a module into `documents`; the first of a name stays."""
    waiting: list[tuple[ast.AST, str]] = [(tree, module)]
    while waiting:
        node, name = waiting.pop()
        if isinstance(node, _DOCUMENTED):
            text = ast.get_docstring(node, clean=False)
            if text and text.strip():
                documents.setdefault(name, inspect.cleandoc(text))
        inside = []
        for child in ast.iter_child_nodes(node):
            own = getattr(child, "name", None) if isinstance(child, _DOCUMENTED) else None
            inside.append((child, f"{name}.{own}" if own else name))
        waiting.extend(reversed(inside))


def _docstring_lines(node: ast.AST) -> range:
    documented = isinstance(node, _DOCUMENTED) and ast.get_docstring(node, clean=False) is not None
    return range(node.body[0].lineno, node.body[0].end_lineno + 1) if documented else range(0)


def _without_docstrings(function: ast.AST, source: str) -> str:
    cut = {line for node in ast.walk(function) for line in _docstring_lines(node)}
    lines = enumerate(
        source.split("\n")[function.lineno - 1 : function.end_lineno], function.lineno
    )
    return textwrap.dedent("\n".join(line for number, line in lines if number not in cut))


def _drop_duplicates(documents: dict[str, str], progress: bool) -> dict[str, str]:
    first: dict[str, str] = {}
    for key in sorted(documents):
        first.setdefault(documents[key], key)
    keys = sorted(first.values())
    drop = near_duplicate_texts([documents[key] for key in keys], progress)
    return {key: documents[key] for key, dropped in zip(keys, drop, strict=True) if not dropped}

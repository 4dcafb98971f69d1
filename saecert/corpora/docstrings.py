"""The docstring corpus: technical English that every machine which installed saecert already has.

Documents are the docstrings of nine pinned packages, read from source with `ast` (nothing is imported),
near-duplicates removed *before* splitting, and split by a hash of ``package:qualified name``. What is left of the same files
when the docstrings are taken out is Python source: text of another kind.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import re
import textwrap
import warnings
from collections.abc import Callable, Iterator
from importlib import metadata, util
from pathlib import Path

import numpy as np
from scipy import sparse
from tqdm import tqdm

from saecert.storage import atomic_path, cache_dir

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
"""Read in this order; their versions are pinned in pyproject.toml, so the corpus is the same everywhere."""

SPLITS = {"train": 55, "validation": 5, "discovery": 10, "certification": 30}
"""Percent of the documents in each split."""

JACCARD = 0.5
SHINGLE_WORDS, SHINGLE_SPAN = 5, 128
RECIPE = 1  # raise when anything below changes what is extracted

_GENERATED = {
    "__config__.py",
    "version.py",
    "_version.py",
}  # written by the build: differ between machines
_WORD = re.compile(r"\w+|[^\w\s]+")
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_DOCUMENTED = (ast.Module, ast.ClassDef, *_FUNCTIONS)


def package_versions() -> dict[str, str]:
    """Installed version of every package of the corpus, without local build tags (``2.13.0+cpu`` -> ``2.13.0``)."""
    return {name: metadata.version(name).split("+")[0] for name in PACKAGES}


def split_of(key: str) -> str:
    """Split of the document named `key` (``"package:qualified.name"``), by a hash of the name alone."""
    percent = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") % 100
    for name, share in SPLITS.items():
        if percent < share:
            return name
        percent -= share
    raise AssertionError("shares sum to 100")


def docstring_documents(progress: bool = True) -> dict[str, str]:
    """Every distinct docstring, ``{"package:qualified.name": text}``, near-duplicates removed.

    Cached under the versions of the packages. Two documents are near-duplicates when the sets of five-word
    shingles of their first 128 words have Jaccard similarity of at least 0.5; the first by name is kept.
    """

    def build() -> dict[str, str]:
        documents: dict[str, str] = {}
        for package in tqdm(PACKAGES, desc="reading docstrings", disable=not progress):
            for module, _, tree in _modules(package):
                _walk(tree, f"{package}:{module}", documents)
        return _drop_duplicates(documents, progress)

    return _kept("docstrings", build)


def python_functions() -> dict[str, str]:
    """The longest function or method of every module, docstrings cut out and comments kept, ``{"package:module": source}``; cached.

    Longest in lines without its docstring. One a module, because functions of one module share its author and its habits.
    """

    def build() -> dict[str, str]:
        found = {}
        for package in PACKAGES:
            for module, source, tree in _modules(package):
                functions = [node for node in ast.walk(tree) if isinstance(node, _FUNCTIONS)]
                if functions:
                    longest = max(
                        functions,
                        key=lambda node: (
                            node.end_lineno - node.lineno - len(_docstring_lines(node))
                        ),
                    )
                    found[f"{package}:{module}"] = _without_docstrings(longest, source)
        return found

    return _kept("functions", build)


def _kept(name: str, build: Callable[[], dict[str, str]]) -> dict[str, str]:
    """What `build` returns, kept in the cache folder under the versions of the packages."""
    identity = json.dumps([RECIPE, package_versions()], sort_keys=True)
    path = cache_dir() / f"{name}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}.json"
    if not path.exists():
        documents = build()
        with atomic_path(path) as partial:
            partial.write_text(json.dumps(documents), encoding="utf-8")
    return json.loads(path.read_text(encoding="utf-8"))


def _modules(package: str) -> Iterator[tuple[str, str, ast.Module]]:
    """Name, source and syntax tree of every module of an installed package, its tests left out."""
    root = Path(util.find_spec(package).origin).parent
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


def _walk(node: ast.AST, name: str, found: dict[str, str]) -> None:
    if isinstance(node, _DOCUMENTED):
        text = ast.get_docstring(node, clean=False)
        if text and text.strip():
            found.setdefault(name, inspect.cleandoc(text))
    for child in ast.iter_child_nodes(node):
        own = getattr(child, "name", None) if isinstance(child, _DOCUMENTED) else None
        _walk(child, f"{name}.{own}" if own else name, found)


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
    drop = near_duplicates([documents[key] for key in keys], progress)
    return {key: documents[key] for key, dropped in zip(keys, drop, strict=True) if not dropped}


def near_duplicates(texts: list[str], progress: bool = False, chunk: int = 512) -> np.ndarray:
    """Boolean (n,): True where a text is a near-duplicate of an *earlier kept* one.

    Exact Jaccard similarity of shingle sets by sparse products, `chunk` rows at a time, so that which documents
    survive does not depend on a hash seed.
    """
    shingles = _shingle_matrix(texts)
    sizes = np.asarray(shingles.sum(axis=1)).ravel()
    transposed = shingles.T.tocsc()
    dropped = np.zeros(len(texts), dtype=bool)
    for start in tqdm(range(0, len(texts), chunk), desc="near-duplicates", disable=not progress):
        stop = min(start + chunk, len(texts))
        shared = (shingles[start:stop] @ transposed[:, :stop]).tocoo()
        rows, columns = shared.row + start, shared.col
        union = sizes[rows] + sizes[columns] - shared.data
        close = (columns < rows) & (shared.data >= JACCARD * union)
        for row, column in sorted(zip(rows[close].tolist(), columns[close].tolist(), strict=True)):
            dropped[row] |= not dropped[column]
    return dropped


def _shingle_matrix(texts: list[str]) -> sparse.csr_matrix:
    ids: dict[tuple[str, ...], int] = {}
    columns, lengths = [], []
    for text in texts:
        words = _WORD.findall(text)[:SHINGLE_SPAN]
        grams = {
            tuple(words[i : i + SHINGLE_WORDS])
            for i in range(max(1, len(words) - SHINGLE_WORDS + 1))
        }
        columns.extend(ids.setdefault(gram, len(ids)) for gram in grams)
        lengths.append(len(grams))
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    data = np.ones(len(columns), dtype=np.float32)
    return sparse.csr_matrix(
        (data, np.asarray(columns, dtype=np.int32), indptr), shape=(len(texts), max(1, len(ids)))
    )

"""Which statements of a page a figure stands on: a look at names, no code is run."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

SIZES = ("d_sae", "n_vocab", "pool_sizes", "hook_name", "hook_names")
"""Attributes that say how large something is or what it is called: nothing that was measured."""
SIZING = ("len", "common_pool")
"""Functions that return a size."""
GROWING = ("append", "extend", "insert", "update", "add", "setdefault")
"""Methods that put what they are given into what they belong to."""
_OWN = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.Lambda)
_FUNCTIONS = (ast.FunctionDef, ast.ClassDef)


@dataclass(frozen=True)
class Statement:
    """One statement of a page, with the names that it needs and changes."""

    cell: int
    """Index of its cell."""
    lines: range
    """Its lines in the cell, from 1."""
    used: frozenset[str]
    """Names that it reads."""
    changed: frozenset[str]
    """Names that it gives a value, or puts something into."""
    replaced: frozenset[str]
    """Those that keep nothing of what they were before."""


def behind(sources: Sequence[str], position: int) -> list[Statement]:
    """The statements that what the cell at `position` shows may depend on, in their order.

    Parameters
    ----------
    sources
        Code of every cell of the page; "" for one that is not code.
    position
        Index of the cell. Its own statements all count.

    Returns
    -------
    list of Statement
        The own ones, and of those before, whatever gave a value to a name that is needed. The size
        of something (``len(losses)``, ``losses.d_sae``) does not stand on its numbers.
    """
    found = [*reversed(list(_statements(sources[position], position)))]
    needed = {name for one in found for name in one.used}
    for cell in range(position - 1, -1, -1):
        for one in reversed(list(_statements(sources[cell], cell))):
            if one.changed & needed:
                found.append(one)
                needed = (needed - one.replaced) | one.used
    return found[::-1]


def _statements(source: str, cell: int) -> Iterator[Statement]:
    for node in ast.parse(source).body:
        lines = range(node.lineno, (node.end_lineno or node.lineno) + 1)
        changed = frozenset(_changed(node))
        plain = node.targets if isinstance(node, ast.Assign) else []
        given = {name for target in plain for name in _stored(target)}
        used = frozenset(_used(node))
        yield Statement(cell, lines, used, changed, frozenset(given - used))


def _stored(node: ast.AST) -> set[str]:
    """Names that are given a value somewhere in a node."""
    names = [part for part in ast.walk(node) if isinstance(part, ast.Name)]
    return {name.id for name in names if isinstance(name.ctx, ast.Store)}


def _used(node: ast.AST) -> set[str]:
    """Names that a node reads, but for those that only exist inside of it."""
    if isinstance(node, ast.Name):
        return {node.id} if isinstance(node.ctx, ast.Load) else set()
    if isinstance(node, ast.Attribute) and node.attr in SIZES:
        return set()
    if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in SIZING:
        return set()
    found = {name for child in ast.iter_child_nodes(node) for name in _used(child)}
    if isinstance(node, ast.AugAssign):
        found |= _roots(node.target)
    return found - _bound_inside(node)


def _bound_inside(node: ast.AST) -> set[str]:
    """Names that a comprehension, a lambda or a function binds for itself."""
    if not isinstance(node, (*_OWN, *_FUNCTIONS)):
        return set()
    return _stored(node) | {part.arg for part in ast.walk(node) if isinstance(part, ast.arg)}


def _changed(node: ast.AST) -> set[str]:
    """Names that a statement gives a value or puts something into."""
    if isinstance(node, _FUNCTIONS):
        return {node.name}
    if isinstance(node, _OWN):
        return set()
    if isinstance(node, ast.alias):
        return {(node.asname or node.name).split(".")[0]}
    found = {name for child in ast.iter_child_nodes(node) for name in _changed(child)}
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        found.add(node.id)
    if isinstance(node, ast.Subscript | ast.Attribute) and isinstance(node.ctx, ast.Store):
        found |= _roots(node)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        found |= _roots(node.func.value) if node.func.attr in GROWING else set()
    return found


def _roots(node: ast.AST) -> set[str]:
    """The name at the beginning of ``x``, ``x.y`` or ``x[0]``."""
    while isinstance(node, ast.Subscript | ast.Attribute):
        node = node.value
    return {node.id} if isinstance(node, ast.Name) else set()

"""Parameters of pages: what they are by default, and values given as text, checked before any
kernel starts.
"""

from __future__ import annotations

import ast
import glob
import hashlib
import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from nbformat import NotebookNode

from saecert.reporting.settings import SettingsError, check_settings

PATHS = ("subject", "second_subject", "sae", "corpus", "shifted", "known_text")
"""Parameters that may name a file or folder."""
LONGEST = 20_000
"""Characters in the value of a parameter."""
DEEPEST = 20
"""Brackets within brackets in the value of a parameter."""

_CONTEXT = ("subject", "sae")


class RunError(Exception):
    """A page that cannot be run as asked, or that failed; the message says what to do."""


def notebook_parameters(notebook: NotebookNode) -> dict[str, Any]:
    """Defaults in the cell tagged ``parameters``, by name."""
    cells = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    defaults = {}
    for cell in cells:
        for node in ast.parse(cell.source).body:
            if isinstance(node, ast.Assign):
                value = ast.literal_eval(node.value)
                defaults |= {target.id: value for target in node.targets}
    return defaults


def parse_value(name: str, text: str, default: Any) -> Any:
    """Value written as `text`, a Python, JSON or YAML literal, of the type of `default`.

    Raises
    ------
    RunError
        If it is of another type, too long or too deeply nested. An int is accepted for a float, and
        any text for a string.
    """
    if isinstance(default, str):
        return _text(text)
    value = _literal(name, text)
    if isinstance(default, float) and type(value) is int:
        value = float(value)
    if isinstance(default, tuple) and isinstance(value, list):
        value = tuple(value)
    if default is not None and type(value) is not type(default):
        kind = type(default).__name__
        shown = text if len(text) <= 60 else f"{text[:60]}..."
        raise RunError(
            f"parameter {name} takes a value of type {kind}, such as {default!r}; got {shown!r}"
        )
    return value


def chosen_values(
    notebooks: Mapping[str, NotebookNode], settings: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """Values of the parameters that `settings` gives, page by page, each checked.

    Raises
    ------
    RunError
        An unknown parameter, a value of another type, or one that cannot be.
    """
    defaults = {name: notebook_parameters(notebook) for name, notebook in notebooks.items()}
    known = {parameter for own in defaults.values() for parameter in own}
    unknown = sorted(set(settings) - known)
    if unknown:
        takes = ", ".join(sorted(known)) or "none"
        pages = ", ".join(notebooks)
        raise RunError(f"unknown parameter {', '.join(unknown)}; {pages} takes: {takes}")
    return {name: _chosen(settings, own) for name, own in defaults.items()}


def home_name(notebooks: Mapping[str, NotebookNode], settings: Mapping[str, str]) -> str:
    """Folder name for runs on a subject and its SAEs."""
    own = (notebook_parameters(notebook).get("subject") for notebook in notebooks.values())
    subject = settings.get("subject") or next(filter(None, own), "default")
    name = Path(subject).resolve().name if Path(subject).exists() else subject
    sae = settings.get("sae", "")
    if found_paths(sae):  # many folders are called saes
        digest = hashlib.sha256(os.path.abspath(sae).encode()).hexdigest()[:4]
        sae = f"{Path(sae).name}-{digest}"
    plain = [re.sub(r"[^\w.-]+", "--", part).strip("-") for part in (name, sae)]
    return "--".join(filter(None, plain))


def found_paths(value: str) -> list[str]:
    """Files and folders that `value` names or, a template such as ``saes/{layer}``, stands for."""
    if os.path.exists(value):
        return [value]
    return sorted(glob.glob(value.replace("{layer}", "*"))) if "{layer}" in value else []


def _chosen(settings: Mapping[str, str], defaults: Mapping[str, Any]) -> dict[str, Any]:
    given = {name: text for name, text in settings.items() if name in defaults}
    values = {name: parse_value(name, text, defaults[name]) for name, text in given.items()}
    context = {name: defaults[name] for name in _CONTEXT if name in defaults}
    try:
        check_settings({**context, **values} if _concerns_hooks(values) else values)
    except SettingsError as error:
        raise RunError(str(error)) from None
    for name in set(PATHS) & set(values):  # pages run in their own folder
        if found_paths(values[name]):
            values[name] = os.path.abspath(values[name])
    # the claim asserted by a page is about its defaults; anywhere else it is reported, not enforced
    if "strict" in defaults and any(value != defaults[name] for name, value in values.items()):
        values.setdefault("strict", False)
    return values


def _concerns_hooks(values: Mapping[str, Any]) -> bool:
    return any(name.startswith("hook") for name in values)


def _text(text: str) -> str:
    """Text as it is, but for quotes around it."""
    quoted = len(text) >= 2 and text[0] == text[-1] and text[0] in "'\""
    return text[1:-1] if quoted else text


def _literal(name: str, text: str) -> Any:
    if len(text) > LONGEST or _depth(text) > DEEPEST:
        raise RunError(f"parameter {name}: its value is too long or has too many brackets")
    readers: tuple[Callable[[str], Any], ...] = (ast.literal_eval, yaml.safe_load)
    for read in readers:  # in this order: YAML reads 1e-3 as a string
        with suppress(ValueError, SyntaxError, yaml.YAMLError, RecursionError, MemoryError):
            return read(text)
    return text


def _depth(text: str) -> int:
    """The most brackets, or signs, that stand open at one place of `text`."""
    depth = 0
    deepest = 0
    for character in text:
        depth += (character in "([{-+~") - (character in ")]}")
        deepest = max(deepest, depth)
    return deepest

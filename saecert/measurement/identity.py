"""What a measurement is kept under: a hash of everything that determines it, its own code included."""

from __future__ import annotations

import ast
import hashlib
import inspect
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch

from saecert.corpora.corpus import Corpus
from saecert.measurement.proxies import Proxy
from saecert.subjects.subject import Subject


def identity(
    subject: Subject, corpus: Corpus, hook_names: str | Sequence[str], *more: object
) -> str:
    """Hash of what determines a measurement of `subject` on `corpus` at one hook point or several.

    Model, SAEs, sequences, device and torch's version are part of it; `more` has the settings, and the code that measures (`code_of`).
    """
    names = [hook_names] if isinstance(hook_names, str) else list(hook_names)
    machine = (
        torch.backends.cpu.get_cpu_capability()
    )  # losses differ in the last digits between instruction sets
    where = (machine, subject.device.type, torch.__version__, corpus.bos)
    parts = [
        subject.fingerprint,
        *map(subject.sae_fingerprint, names),
        *names,
        corpus.ids.tobytes().hex(),
        *where,
        *more,
    ]
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:24]


@cache
def code_of(*sources: Any) -> str:
    """Hash of modules, classes and functions without docstrings, comments and layout: it changes when numbers may."""
    trees = [ast.parse(inspect.getsource(source)) for source in sources]
    for node in (node for tree in trees for node in ast.walk(tree)):
        if isinstance(getattr(node, "body", None), list):
            node.body = [
                line
                for line in node.body
                if not (isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant))
            ]
    return hashlib.sha256("".join(map(ast.dump, trees)).encode()).hexdigest()


def code_of_proxy(proxy: Proxy) -> str:
    """Its key, and the source of its function with that of the function around it: one edited in a notebook keeps its name."""
    try:
        outer = getattr(
            inspect.getmodule(proxy.replace),
            proxy.replace.__qualname__.split(".")[0],
            proxy.replace,
        )
        return (
            proxy.key
            + inspect.getsource(proxy.replace)
            + ("" if outer is proxy.replace else code_of(outer))
        )
    except (OSError, TypeError, AttributeError):
        return proxy.key

"""Which room may import which: a table, held against every import, late and typing ones too."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from checks import ROOT
from imported import imports

BASE = {"arguments", "storage", "untrusted"}
STATISTICS = {"statistics"} | BASE
CERTIFICATES = {"certificates", "statistics", "records"} | BASE
CORPORA = {"corpora", "subjects"} | BASE
MEASUREMENT = {"measurement", "corpora", "subjects", "records", "shards"} | BASE
DICTIONARIES = {"dictionaries", "statistics"} | MEASUREMENT

ALLOWED = {
    "storage": BASE,
    "arguments": set(),
    "untrusted": set(),
    "record_files": BASE,
    "records": {"record_files"} | BASE,
    "shards": {"records"} | BASE,
    "statistics": STATISTICS,
    "certificates": CERTIFICATES,
    "subjects": {"subjects"} | BASE,
    "corpora": CORPORA,
    "measurement": MEASUREMENT,
    "dictionaries": DICTIONARIES,
    "training": {"training"} | DICTIONARIES,
    "reporting.show": CERTIFICATES,
    "reporting.claims": {"storage"},
    "reporting.tables": {"reporting.tables", "reporting.show"} | CERTIFICATES,
    "reporting.wording": set(),
    "reporting.panels": {"reporting.wording"} | CERTIFICATES,
    "reporting.figures": {"reporting.panels", "reporting.tables"} | CERTIFICATES,
    "reporting.report": {"reporting.figures", "reporting.panels", "reporting.tables"}
    | CERTIFICATES,
    "cli": {"cli", "reporting"} | MEASUREMENT | CERTIFICATES,
    "reporting": {"reporting", "dictionaries"} | MEASUREMENT | CERTIFICATES,
}
"""Rooms, and modules with a stricter rule than their room, with what they may import."""


def place(module: str) -> str:
    """The row of the table that holds for a module, such as "statistics" or "reporting.tables"."""
    parts = module.split(".")[1:]
    two = ".".join(parts[:2])
    return two if two in ALLOWED else parts[0] if parts else ""


def breaches(root: Path) -> list[str]:
    """Every import that the table does not allow, as "file:line: room may not import module"."""
    found = []
    for path in sorted((root / "saecert").rglob("*.py")):
        module = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        room = place(module)
        if room in ("", "__main__"):  # the public names and the command line reach every room
            continue
        for line, name in imports(path):
            other = place(name)
            if other not in ALLOWED[room] and other.split(".")[0] not in ALLOWED[room]:
                found.append(f"{path.relative_to(root)}:{line}: {room} may not import {name}")
    return found


def test_no_import_goes_against_the_table():
    assert breaches(ROOT) == []


def written(text: str) -> dict[str, set[str]]:
    """The table of CONTRIBUTING.md as `ALLOWED` has it."""
    table = text.partition("| Room | may import |\n|---|---|\n")[2].partition("\n\n")[0]
    found: dict[str, set[str]] = {}
    for line in table.splitlines():
        _, rooms, cell, _ = line.split("|")
        allowed = set() if "nothing at all" in cell or "only" in cell else set(BASE)
        for part in cell.split(";"):
            names = re.findall(r"`([a-z_.]+)`", part)
            allowed |= set(names).union(*(found[name] for name in names if "may" in part))
        found |= {room: allowed - {room} for room in re.findall(r"`([a-z_.]+)`", rooms)}
    return found


def test_the_table_of_contributing_is_this_one():
    said = written((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    assert said == {room: allowed - {room} for room, allowed in ALLOWED.items()}


def test_the_table_of_contributing_is_read():
    rows = "| `a` | nothing at all |\n| `b` (no c) | only `a` |\n| `d` | `a`; `b` and what it may |"
    base = {"arguments", "storage", "untrusted"}
    said = written(f"| Room | may import |\n|---|---|\n{rows}\n\n| `e` | `a` |")
    assert said == {"a": set(), "b": {"a"}, "d": {"a", "b"} | base}


def path_changes(source: str) -> list[str]:
    """What changes where Python looks for modules: ``sys.path``, ``site``, ``PYTHONPATH``."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "sys.path":
            found.append("sys.path")
        elif isinstance(node, ast.ImportFrom) and node.module == "sys":
            found += [f"sys.{name.name}" for name in node.names if name.name == "path"]
        elif isinstance(node, ast.Attribute | ast.Name) and "addsitedir" in ast.unparse(node):
            found.append("addsitedir")
        elif isinstance(node, ast.Constant) and node.value == "PYTHONPATH":
            found.append("PYTHONPATH")
    return found


def test_nothing_changes_where_python_looks_for_modules():
    paths = [*(ROOT / "saecert").rglob("*.py"), *(ROOT / "notebooks").glob("[0-9][0-9]_*.py")]
    found = {path: path_changes(path.read_text(encoding="utf-8")) for path in paths}
    assert len(found) > 150
    assert {path: names for path, names in found.items() if names} == {}
    code = "import sys\nfrom sys import path\nsys.path.insert(0, '.')\nx = {'PYTHONPATH': '.'}\n"
    assert sorted(path_changes(code)) == ["PYTHONPATH", "sys.path", "sys.path"]


def test_bars_are_made_in_one_place():
    """A bar that is not made by `storage.progress_bar` would be stored in the page that waits."""
    made = {
        str(path.relative_to(ROOT / "saecert"))
        for path in (ROOT / "saecert").rglob("*.py")
        if "tqdm(" in path.read_text(encoding="utf-8")
    }
    assert made == {"storage.py"}


def defined_twice(source: str) -> list[str]:
    """Names that a module gives to two things: the second silently replaces the first."""
    names = []
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            names.append(statement.name)
        elif isinstance(statement, ast.Assign):
            names += [target.id for target in statement.targets if isinstance(target, ast.Name)]
    return sorted({name for name in names if names.count(name) > 1})


def test_no_module_gives_one_name_to_two_things():
    assert defined_twice("A = 1\ndef b(): pass\nA = 2\nclass b: pass\nc = 1\n") == ["A", "b"]
    modules = sorted((ROOT / "saecert").rglob("*.py"))
    twice = {path: defined_twice(path.read_text(encoding="utf-8")) for path in modules}
    assert {path: names for path, names in twice.items() if names} == {}


def test_every_room_is_in_the_table():
    rooms = {path.stem for path in (ROOT / "saecert").iterdir() if path.is_dir()}
    assert rooms - {"embedded", "__pycache__"} <= set(ALLOWED)


def test_a_breach_is_named_with_file_and_line(tmp_path):
    room = tmp_path / "saecert/statistics"
    room.mkdir(parents=True)
    (room / "late.py").write_text("def f():\n    from saecert.subjects import forward\n")
    assert breaches(tmp_path) == [
        "saecert/statistics/late.py:2: statistics may not import saecert.subjects.forward"
    ]


@pytest.mark.parametrize(
    "module",
    ["certificates.certificate", "reporting.tables", "reporting.figures", "reporting.study"],
)
def test_certificates_and_tables_need_no_torch(module):
    code = f"import sys, saecert.{module}; sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False)
    assert done.returncode == 0

"""What the type checker looks at is what the house says it looks at."""

import subprocess
import sys
import tomllib

import pytest
from checks import ROOT

SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["mypy"]
WITHOUT_TORCH = ("statistics", "certificates")


def test_rooms_without_torch_and_all_single_modules_are_checked():
    single = {
        f"saecert/{path.name}"
        for path in (ROOT / "saecert").glob("*.py")
        if path.name not in ("__init__.py", "__main__.py")
    }
    assert set(SETTINGS["files"]) == single | {f"saecert/{room}" for room in WITHOUT_TORCH}
    assert SETTINGS["strict"]


def test_nothing_in_them_is_let_through():
    for name in SETTINGS["files"]:
        place = ROOT / name
        for path in [place] if place.is_file() else place.rglob("*.py"):
            assert "type: ignore" not in path.read_text(encoding="utf-8"), path


@pytest.mark.parametrize(("body", "passes"), [("len(x)", True), ("x + 1", False)])
def test_a_wrong_type_is_a_complaint(tmp_path, body, passes):
    module = tmp_path / "module.py"
    module.write_text(f"def count(x: str) -> int:\n    return {body}\n", encoding="utf-8")
    made = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", "pyproject.toml", str(module)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (made.returncode == 0) == passes, made.stdout + made.stderr

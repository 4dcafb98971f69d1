"""Two notebooks of a few lines, for the tests of what runs pages."""

from __future__ import annotations

from pathlib import Path

import nbformat

PAGE = """# %% [markdown]
# # Doubling

# %% tags=["parameters"]
x = 2  # a number
subject = "shipped"  # whose
strict = True  # fail when the claim does not hold

# %%
print("twice", 2 * x, subject)
assert 2 * x == 4 or not strict
"""


def small_pages(home: Path) -> Path:
    """A folder in `home` with two notebooks."""
    source = home / "notebooks"
    source.mkdir()
    (source / "01_double.py").write_text(PAGE, encoding="utf-8")
    (source / "02_other.py").write_text(PAGE.replace("x = 2", "y = 0\nx = 2"), encoding="utf-8")
    return source


def printed(path: Path) -> str:
    """Everything that the notebook at `path` wrote to standard output."""
    return "".join(
        output.get("text", "")
        for cell in nbformat.read(path, as_version=4).cells
        for output in cell.get("outputs", [])
    )

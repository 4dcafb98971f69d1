"""Executed notebooks: read, freed of what differs between two runs, and why one failed."""

from __future__ import annotations

import base64
import re
from io import BytesIO
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbclient.exceptions import DeadKernelError
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError
from PIL import Image

from saecert.reporting.notes import with_notes
from saecert.reporting.parameters import RunError

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "notebooks"
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}

_LANGUAGE = {"name": "python", "pygments_lexer": "ipython3"}  # versions differ between machines
_TIMINGS = ("papermill", "execution")
PALETTE = 256
"""Colours of a stored figure: drawings need no more, and take a third of the bytes."""
_MARKER = "papermill-error-cell-tag"  # cells that papermill adds to a notebook that failed


def notebook_names(folder: Path = NOTEBOOKS) -> list[str]:
    """Names of the notebooks in `folder` (``01_bound``, ...), in the order of the book."""
    paths = [*folder.glob("*.py"), *folder.glob("*.ipynb")]
    return sorted({path.stem for path in paths if re.fullmatch(r"\d\d_\w+", path.stem)})


def page_name(name: str, folder: Path = NOTEBOOKS) -> str:
    """Name of a page by its name, number or path (``01_bound``, ``01``, ``x/01_bound.py``)."""
    stem = Path(name).stem
    numbered = [known for known in notebook_names(folder) if known.split("_")[0] == stem]
    return numbered[0] if len(numbered) == 1 else stem


def read_notebook(name: str, folder: Path = NOTEBOOKS) -> NotebookNode:
    """Notebook `name`: its .py file where there is one, since people edit that, else the .ipynb."""
    known = notebook_names(folder)
    if name not in known:
        there = ", ".join(known) or f"none in {folder}"
        raise RunError(f"unknown notebook {name!r}; known: {there}")
    source = folder / f"{name}.py"
    if source.exists():
        return jupytext.read(source, fmt="py:percent")
    return nbformat.read(folder / f"{name}.ipynb", as_version=4)


def write_tidy(executed: Path, target: Path, facts: dict[str, Any], notes: str = "") -> None:
    """Write what was executed to `target`, the same bytes whenever it ran.

    `facts` go with it, and into its cells the `notes` of what they read.
    """
    notebook = tidy(nbformat.read(executed, as_version=4))
    with_notes(notebook, notes)
    if facts:
        notebook.metadata["saecert"] = facts
    nbformat.write(notebook, target)


def tidy(notebook: NotebookNode) -> NotebookNode:
    """`notebook` without timings, versions, random cell ids, and cuts in a stream; its figures with
    a palette."""
    kernel = NotebookNode(KERNEL)
    notebook.metadata = NotebookNode(kernelspec=kernel, language_info=NotebookNode(_LANGUAGE))
    cells = [cell for cell in notebook.cells if _MARKER not in cell.metadata.get("tags", [])]
    for index, cell in enumerate(cells):
        cell.id = f"cell-{index:02d}"
        empty = [] if cell.metadata.get("tags", True) else ["tags"]
        for key in (*_TIMINGS, *empty):
            cell.metadata.pop(key, None)
        if cell.cell_type == "code":
            cell.outputs = [_with_palette(output) for output in _joined(cell.outputs)]
    notebook.cells = cells
    return notebook


def paletted(png: bytes) -> bytes:
    """The same picture with at most `PALETTE` colours, without dithering; as it was if that is no
    smaller, or if it has a palette.

    What is transparent is put on white, which is the ground of every figure.
    """
    stored = Image.open(BytesIO(png))
    if stored.mode == "P":
        return png
    drawn = stored.convert("RGBA")
    ground = Image.new("RGBA", drawn.size, "white")
    flat = Image.alpha_composite(ground, drawn).convert("RGB")
    few = flat.quantize(PALETTE, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    stream = BytesIO()
    few.save(stream, "PNG", optimize=True)
    return min(stream.getvalue(), png, key=len)


def _with_palette(output: NotebookNode) -> NotebookNode:
    data = output.get("data", {})
    if "image/png" in data:
        small = paletted(base64.b64decode(data["image/png"]))
        data["image/png"] = base64.b64encode(small).decode()
    return output


def reason(error: PapermillExecutionError | DeadKernelError) -> str:
    """Why it failed: the message, or the line of the cell for an assertion without one."""
    if isinstance(error, DeadKernelError):
        return "its kernel died, most often for want of memory"
    trace = re.sub(r"\x1b\[[\d;]*m", "", "\n".join(error.traceback))
    lines = re.findall(r"^-+> *\d+ +(.*)$", trace, re.MULTILINE)
    message = error.evalue.strip() or " ".join(lines[:1])
    return f"cell [{error.exec_count}] {error.ename}: {message}"[:300]


def _joined(outputs: list[NotebookNode]) -> list[NotebookNode]:
    joined: list[NotebookNode] = []
    for output in outputs:
        stream = joined and output.output_type == "stream" == joined[-1].output_type
        if stream and output.name == joined[-1].name:
            joined[-1].text += output.text
        else:
            joined.append(output)
    return joined

"""Run notebooks at other parameters or on another subject: papermill underneath, whole files or none."""

from __future__ import annotations

import ast
import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import papermill
import yaml
from nbclient.exceptions import DeadKernelError
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError

from saecert.storage import atomic_path

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "notebooks"

_KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
_LANGUAGE = {"name": "python", "pygments_lexer": "ipython3"}  # without the version, which differs between machines
_TIMINGS = ("papermill", "execution")


class RunError(Exception):
    """A notebook that cannot be run as asked, or that failed; the message says what to do."""


def notebook_names(folder: Path = NOTEBOOKS) -> list[str]:
    """Names of the notebooks in `folder` (``01_bound``, ...), in the order of the book."""
    paths = [*folder.glob("*.py"), *folder.glob("*.ipynb")]
    return sorted({path.stem for path in paths if re.fullmatch(r"\d\d_\w+", path.stem)})


def read_notebook(name: str, folder: Path = NOTEBOOKS) -> NotebookNode:
    """Notebook `name`: its .py file where there is one, since that is what people edit, else the .ipynb."""
    if name not in notebook_names(folder):
        raise RunError(f"unknown notebook {name!r}; known: {', '.join(notebook_names(folder)) or f'none in {folder}'}")
    source = folder / f"{name}.py"
    if source.exists():
        return jupytext.read(source, fmt="py:percent")
    return nbformat.read(folder / f"{name}.ipynb", as_version=4)


def notebook_parameters(notebook: NotebookNode) -> dict[str, Any]:
    """Defaults in the cell tagged ``parameters``, by name."""
    cells = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    statements = [node for cell in cells for node in ast.parse(cell.source).body if isinstance(node, ast.Assign)]
    return {target.id: ast.literal_eval(node.value) for node in statements for target in node.targets}


def parse_value(name: str, text: str, default: Any) -> Any:
    """Value written as `text`, a Python, JSON or YAML literal, of the type of `default`.

    Raises
    ------
    RunError
        If it is of another type. An int is accepted for a float, and any text for a string.
    """
    value = _literal(text)
    if isinstance(default, str) and not isinstance(value, str):
        value = text  # a folder called 2024, a subject called no
    if isinstance(default, float) and type(value) is int:
        value = float(value)
    if isinstance(default, tuple) and isinstance(value, list):
        value = tuple(value)
    if default is not None and type(value) is not type(default):
        raise RunError(f"parameter {name} takes a {type(default).__name__} such as {default!r}; got {text!r}")
    return value


def _literal(text: str) -> Any:
    for read in (ast.literal_eval, yaml.safe_load):  # in this order: YAML reads 1e-3 as a string
        with suppress(ValueError, SyntaxError, yaml.YAMLError):
            return read(text)
    return text


def run_notebooks(
    names: Sequence[str] = (), settings: Mapping[str, str] | None = None, *, out: str | Path | None = None, folder: Path = NOTEBOOKS
) -> list[Path]:
    """Executed notebooks, one file each in `out` (``runs/<subject>``), after checking everything asked for.

    Parameters
    ----------
    names : sequence of str
        Notebooks, by name; none means all of them.
    settings : mapping of str to str, optional
        Parameters as text. Of several notebooks, each gets those that it has.
    subject : str, optional
        Shipped subject or model folder for the parameter ``subject``.
    out, folder : path, optional
        Where the executed notebooks go, and where they are.

    Raises
    ------
    RunError
        For an unknown notebook or parameter or a value of the wrong type, before anything runs; and after
        the last notebook, if any failed. What a failed one had done is kept beside as ``<name>.failed.ipynb``.
    """
    os.environ.setdefault("SAECERT_CACHE", str(ROOT / "_build/cache"))  # what make measured is not measured again
    settings = dict(settings or {})
    notebooks = {Path(name).stem: read_notebook(Path(name).stem, folder) for name in names or notebook_names(folder)}
    values = _check(notebooks, settings)
    out = Path(out) if out else ROOT / "runs" / _slug(_subject(notebooks, settings))
    targets = {name: out / f"{name}.ipynb" for name in notebooks}
    if failed := _run_all(notebooks, values, targets, folder):
        raise RunError(f"{failed} of {len(notebooks)} notebooks failed")
    return list(targets.values())


def _run_all(notebooks: dict[str, NotebookNode], values: dict[str, dict], targets: dict[str, Path], folder: Path) -> int:
    """Number of notebooks that failed; a line of progress for each."""
    started, failed, terminal = time.monotonic(), 0, _on_terminal()
    for position, name in enumerate(notebooks, start=1):
        begun, head = time.monotonic(), f"[{position}/{len(notebooks)}] {name:<24}"
        print("" if terminal else head, end="", flush=True)  # a terminal shows a bar meanwhile
        try:
            execute(notebooks[name], values[name], targets[name], folder)
            note = _remaining(time.monotonic() - started, position, len(notebooks))
        except RunError as error:
            failed, note = failed + 1, f"  FAILED: {error}"
        print(f"{head if terminal else ''}{time.monotonic() - begun:6.1f} s{note}", flush=True)
    return failed


def _check(notebooks: dict[str, NotebookNode], settings: dict[str, str]) -> dict[str, dict[str, Any]]:
    defaults = {name: notebook_parameters(notebook) for name, notebook in notebooks.items()}
    known = {parameter for each in defaults.values() for parameter in each}
    if unknown := sorted(set(settings) - known):
        raise RunError(f"unknown parameter {', '.join(unknown)}; {', '.join(notebooks)} takes: {', '.join(sorted(known)) or 'none'}")
    return {name: _chosen(settings, each) for name, each in defaults.items()}


def _chosen(settings: dict[str, str], defaults: dict[str, Any]) -> dict[str, Any]:
    values = {key: parse_value(key, text, defaults[key]) for key, text in settings.items() if key in defaults}
    for key in {"subject", "corpus"} & set(values):  # notebooks run in their own folder
        if isinstance(values[key], str) and Path(values[key]).exists():
            values[key] = str(Path(values[key]).resolve())
    # the claim asserted by a page is about its defaults; anywhere else it is reported, not enforced
    if "strict" in defaults and any(value != defaults[key] for key, value in values.items()):
        values.setdefault("strict", False)
    return values


def execute(notebook: NotebookNode, parameters: Mapping[str, Any], target: Path, folder: Path = NOTEBOOKS) -> None:
    """Run `notebook` in `folder` and write it to `target`; a rerun gives the same bytes, a failure leaves `target` alone."""
    failed = target.with_suffix(".failed.ipynb")
    quiet = ["--IPKernelApp.log_level=50"]  # the kernel's remarks on its transport are not about the notebook
    bar = {"desc": target.stem, "leave": False, "disable": not _on_terminal()}
    notebook.metadata = NotebookNode(kernelspec=NotebookNode(_KERNEL))
    with atomic_path(target) as partial:
        nbformat.write(notebook, partial)
        try:
            papermill.execute_notebook(partial, partial, dict(parameters), cwd=folder, progress_bar=bar, extra_arguments=quiet)
        except PapermillExecutionError as error:
            partial.replace(failed)
            raise RunError(f"cell [{error.exec_count}] {error.ename}: {_reason(error)} (see {failed})") from None
        except DeadKernelError:
            raise RunError("its kernel died, most often for want of memory") from None
        nbformat.write(tidy(nbformat.read(partial, as_version=4)), partial)
    failed.unlink(missing_ok=True)


def _reason(error: PapermillExecutionError) -> str:
    """The message, or the line of the cell for an assertion without one."""
    trace = re.sub(r"\x1b\[[\d;]*m", "", "\n".join(error.traceback))
    lines = re.findall(r"^-+> *\d+ +(.*)$", trace, re.MULTILINE)
    return (error.evalue.strip() or " ".join(lines[:1]))[:300]


def tidy(notebook: NotebookNode) -> NotebookNode:
    """`notebook` without what differs between two runs: timings, versions, random cell ids, how a stream was cut up."""
    notebook.metadata = NotebookNode(kernelspec=NotebookNode(_KERNEL), language_info=NotebookNode(_LANGUAGE))
    for index, cell in enumerate(notebook.cells):
        cell.id = f"cell-{index:02d}"
        drop = [key for key in cell.metadata if key in _TIMINGS or (key == "tags" and not cell.metadata.tags)]
        for key in drop:
            del cell.metadata[key]
        if cell.cell_type == "code":
            cell.outputs = _joined(cell.outputs)
    return notebook


def _joined(outputs: list[NotebookNode]) -> list[NotebookNode]:
    joined: list[NotebookNode] = []
    for output in outputs:
        if joined and output.output_type == "stream" == joined[-1].output_type and output.name == joined[-1].name:
            joined[-1].text += output.text
        else:
            joined.append(output)
    return joined


def _remaining(elapsed: float, finished: int, total: int) -> str:
    seconds = elapsed / finished * (total - finished)
    return f"  (about {seconds:.0f} s left)" if finished < total else ""


def _on_terminal() -> bool:
    return sys.stdout.isatty() and sys.stderr.isatty()


def _subject(notebooks: dict[str, NotebookNode], settings: dict[str, str]) -> str:
    defaults = (notebook_parameters(notebook).get("subject") for notebook in notebooks.values())
    return settings.get("subject") or next(filter(None, defaults), "default")


def _slug(subject: str) -> str:
    name = Path(subject).resolve().name if Path(subject).exists() else subject
    return re.sub(r"[^\w.-]+", "--", name)

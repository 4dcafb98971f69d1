"""Run notebooks at other parameters or on another subject: papermill underneath, whole files or none."""

from __future__ import annotations

import ast
import glob
import hashlib
import io
import os
import re
import runpy
import shutil
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any

import jupytext
import nbformat
import papermill
import yaml
from nbclient.exceptions import DeadKernelError
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError

from saecert.storage import atomic_path

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "notebooks"

_KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
_LANGUAGE = {
    "name": "python",
    "pygments_lexer": "ipython3",
}  # without the version, which differs between machines
_TIMINGS = ("papermill", "execution")
_MARKER = "papermill-error-cell-tag"  # cells that papermill adds to a notebook that failed
_PATHS = ("subject", "sae", "corpus")  # parameters that may name a file or folder
_CLEAR = "\r\x1b[K"
_EVERY = {True: 1.0, False: 30.0}  # seconds between two signs of life, on a terminal and in a log
_NONE: Mapping[str, str] = MappingProxyType({})


class RunError(Exception):
    """A notebook that cannot be run as asked, or that failed; the message says what to do."""


def notebook_names(folder: Path = NOTEBOOKS) -> list[str]:
    """Names of the notebooks in `folder` (``01_bound``, ...), in the order of the book."""
    paths = [*folder.glob("*.py"), *folder.glob("*.ipynb")]
    return sorted({path.stem for path in paths if re.fullmatch(r"\d\d_\w+", path.stem)})


def read_notebook(name: str, folder: Path = NOTEBOOKS) -> NotebookNode:
    """Notebook `name`: its .py file where there is one, since that is what people edit, else the .ipynb."""
    if name not in notebook_names(folder):
        raise RunError(
            f"unknown notebook {name!r}; known: {', '.join(notebook_names(folder)) or f'none in {folder}'}"
        )
    source = folder / f"{name}.py"
    if source.exists():
        return jupytext.read(source, fmt="py:percent")
    return nbformat.read(folder / f"{name}.ipynb", as_version=4)


def notebook_parameters(notebook: NotebookNode) -> dict[str, Any]:
    """Defaults in the cell tagged ``parameters``, by name."""
    cells = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    statements = [
        node
        for cell in cells
        for node in ast.parse(cell.source).body
        if isinstance(node, ast.Assign)
    ]
    return {
        target.id: ast.literal_eval(node.value) for node in statements for target in node.targets
    }


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
        raise RunError(
            f"parameter {name} takes a {type(default).__name__} such as {default!r}; got {text!r}"
        )
    return value


def _literal(text: str) -> Any:
    for read in (ast.literal_eval, yaml.safe_load):  # in this order: YAML reads 1e-3 as a string
        with suppress(ValueError, SyntaxError, yaml.YAMLError):
            return read(text)
    return text


def run_notebooks(
    names: Sequence[str] = (),
    settings: Mapping[str, str] = _NONE,
    *,
    out: str | Path = "",
    folder: Path = NOTEBOOKS,
    force: bool = False,
) -> list[Path]:
    """Executed notebooks, one file each in `out` (``runs/<subject>``, or ``runs/<subject>--<sae>``), after checking everything asked for.

    Only without `out`: a notebook that was finished before with the same parameters, files, source and library is not run again;
    the certificates and losses that pages `saecert.storage.keep` are saved beside it; and all notebooks become a book, ``html``.

    Parameters
    ----------
    names : sequence of str
        Notebooks, by name; none means all of them.
    settings : mapping of str to str, optional
        Parameters as text. Of several notebooks, each gets those that it has.
    out, folder : path, optional
        Where the executed notebooks go, and where they are.
    force : bool
        Run again what was finished before.

    Raises
    ------
    RunError
        For an unknown notebook or parameter or a value of the wrong type, before anything runs; and after
        the last notebook, if any failed. What a failed one had done is kept beside as ``<name>.failed.ipynb``.
    """
    os.environ.setdefault(
        "SAECERT_CACHE", str(ROOT / "_build/cache")
    )  # what make measured is not measured again
    settings = dict(settings)
    notebooks = {
        Path(name).stem: read_notebook(Path(name).stem, folder)
        for name in names or notebook_names(folder)
    }
    values = _check(notebooks, settings)
    home = Path(out) if out else ROOT / "runs" / _home(notebooks, settings)
    targets = {name: home / f"{name}.ipynb" for name in notebooks}
    jobs = {name: (notebooks[name], values[name], targets[name], folder) for name in notebooks}
    stamps = {name: "" if out else _stamp(notebooks[name], values[name]) for name in notebooks}
    failed = _run_all(
        jobs,
        stamps,
        {
            name
            for name in notebooks
            if stamps[name] and _stamped(targets[name]) == stamps[name] and not force
        },
    )
    if not (
        names or out
    ):  # the prose of the book is part of the clone, and so is the code that renders it
        runpy.run_path(str(ROOT / "book/render.py"))["render"](
            home, home / "html", subject=home.name
        )
        print(f"book: {home / 'html/index.html'}")
    if failed:
        raise RunError(f"{failed} of {len(notebooks)} notebooks failed")
    return list(targets.values())


def _run_all(jobs: dict[str, tuple], stamps: dict[str, str], finished: set[str]) -> int:
    """Number of notebooks that failed; a line of progress for each."""
    started, failed, done = time.monotonic(), 0, 0
    for position, name in enumerate(jobs, start=1):
        begun, head = time.monotonic(), f"[{position}/{len(jobs)}] {name:<24}"
        if name in finished:
            print(f"{head}  finished before (--force runs it again)", flush=True)
            continue
        done += 1
        try:
            execute(*jobs[name], stamp=stamps[name], head=head)
            note = _remaining(time.monotonic() - started, done, len(jobs) - len(finished))
        except RunError as error:
            failed, note = failed + 1, f"  FAILED: {error}"
        print(f"{head}{time.monotonic() - begun:6.1f} s{note}", flush=True)
    return failed


def _stamp(notebook: NotebookNode, parameters: Mapping[str, Any]) -> str:
    """Hash of what decides the outputs: source, parameters, library, and the state of the files that parameters name."""
    cells = [(cell.cell_type, cell.source) for cell in notebook.cells]
    given = [
        Path(path)
        for key, value in parameters.items()
        if key in _PATHS and Path(value).is_absolute()
        for path in _found(value)
    ]
    files = [path for root in given for path in sorted([root, *root.rglob("*")]) if path.is_file()]
    state = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return hashlib.sha256(
        repr([cells, sorted(parameters.items()), state, _library()]).encode()
    ).hexdigest()


def _library() -> str:
    return "".join(
        path.read_text(encoding="utf-8") for path in sorted((ROOT / "saecert").rglob("*.py"))
    )


def _stamped(path: Path) -> str:
    if not path.exists() or path.with_suffix(".failed.ipynb").exists():
        return ""
    return nbformat.read(path, as_version=4).metadata.get("saecert", {}).get("stamp", "")


def _check(
    notebooks: dict[str, NotebookNode], settings: dict[str, str]
) -> dict[str, dict[str, Any]]:
    defaults = {name: notebook_parameters(notebook) for name, notebook in notebooks.items()}
    known = {parameter for each in defaults.values() for parameter in each}
    if unknown := sorted(set(settings) - known):
        raise RunError(
            f"unknown parameter {', '.join(unknown)}; {', '.join(notebooks)} takes: {', '.join(sorted(known)) or 'none'}"
        )
    return {name: _chosen(settings, each) for name, each in defaults.items()}


def _chosen(settings: dict[str, str], defaults: dict[str, Any]) -> dict[str, Any]:
    values = {
        key: parse_value(key, text, defaults[key])
        for key, text in settings.items()
        if key in defaults
    }
    for key in set(_PATHS) & set(values):  # notebooks run in their own folder
        if isinstance(values[key], str) and _found(values[key]):
            values[key] = os.path.abspath(values[key])
    # the claim asserted by a page is about its defaults; anywhere else it is reported, not enforced
    if "strict" in defaults and any(value != defaults[key] for key, value in values.items()):
        values.setdefault("strict", False)
    return values


def execute(
    notebook: NotebookNode,
    parameters: Mapping[str, Any],
    target: Path,
    folder: Path = NOTEBOOKS,
    *,
    stamp: str = "",
    head: str = "",
) -> None:
    """Run `notebook` in `folder` and write it to `target`; a rerun gives the same bytes, a failure leaves `target` alone.

    With `stamp`, which is recorded, what the notebook keeps is saved beside `target`; `head` begins the line of progress.
    """
    failed = target.with_suffix(".failed.ipynb")
    notebook.metadata = NotebookNode(kernelspec=NotebookNode(_KERNEL))
    with atomic_path(target) as partial, TemporaryDirectory() as scratch:
        nbformat.write(notebook, partial)
        bars, kept = str(Path(scratch, "bars")), str(target.parent.resolve()) if stamp else ""
        first = f"from saecert.reporting.kept import within_run; within_run({bars!r}, {kept!r})"
        # the kernel's remarks on its transport are not about the notebook
        options = ["--IPKernelApp.log_level=50", f"--IPKernelApp.exec_lines={first}"]
        try:
            with _progress(head, Path(bars)) as bar:
                papermill.execute_notebook(
                    partial,
                    partial,
                    dict(parameters),
                    cwd=folder,
                    progress_bar=bar,
                    extra_arguments=options,
                )
        except (PapermillExecutionError, DeadKernelError) as error:
            reason = _reason(error)
            _write(partial, failed, {"error": reason})
            raise RunError(f"{reason} (see {failed})") from None
        _write(partial, partial, {"parameters": dict(parameters), "stamp": stamp} if stamp else {})
    failed.unlink(missing_ok=True)


def _write(executed: Path, target: Path, facts: dict[str, Any]) -> None:
    notebook = tidy(nbformat.read(executed, as_version=4))
    notebook.metadata |= {"saecert": facts} if facts else {}
    nbformat.write(notebook, target)


@contextmanager
def _progress(head: str, bars: Path) -> Iterator[dict[str, Any]]:
    """Options of papermill's bar. Meanwhile a thread tells which cell runs and what the bar in the file `bars` says.

    On a terminal that is one line, rewritten; in a log a new line.
    """
    cells, stop, begun, terminal = (
        io.StringIO(),
        threading.Event(),
        time.monotonic(),
        _on_terminal(),
    )

    def tell() -> None:
        while not stop.wait(_EVERY[terminal]):
            inner = (
                _last(bars.read_text(encoding="utf-8", errors="replace")) if bars.exists() else ""
            )
            line = (
                f"{head}{time.monotonic() - begun:6.0f} s  cell {_last(cells.getvalue())}  {inner}"
            )
            print(
                _CLEAR + line[: shutil.get_terminal_size().columns - 1]
                if terminal
                else line + "\n",
                end="",
                flush=True,
            )

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield {"file": cells, "bar_format": "{n_fmt}/{total_fmt}", "mininterval": 0}
    finally:
        stop.set()
        thread.join()
        print(_CLEAR if terminal else "", end="")


def _last(text: str) -> str:
    """The newest state of the bar that was drawn as `text`."""
    return next(filter(None, map(str.strip, reversed(re.split(r"[\r\n]", text)))), "")


def _reason(error: PapermillExecutionError | DeadKernelError) -> str:
    """The message, or the line of the cell for an assertion without one."""
    if isinstance(error, DeadKernelError):
        return "its kernel died, most often for want of memory"
    trace = re.sub(r"\x1b\[[\d;]*m", "", "\n".join(error.traceback))
    lines = re.findall(r"^-+> *\d+ +(.*)$", trace, re.MULTILINE)
    return (
        f"cell [{error.exec_count}] {error.ename}: {error.evalue.strip() or ' '.join(lines[:1])}"[
            :300
        ]
    )


def tidy(notebook: NotebookNode) -> NotebookNode:
    """`notebook` without what differs between two runs: timings, versions, random cell ids, how a stream was cut up."""
    notebook.metadata = NotebookNode(
        kernelspec=NotebookNode(_KERNEL), language_info=NotebookNode(_LANGUAGE)
    )
    notebook.cells = [
        cell for cell in notebook.cells if _MARKER not in cell.metadata.get("tags", [])
    ]
    for index, cell in enumerate(notebook.cells):
        cell.id = f"cell-{index:02d}"
        drop = [
            key
            for key in cell.metadata
            if key in _TIMINGS or (key == "tags" and not cell.metadata.tags)
        ]
        for key in drop:
            del cell.metadata[key]
        if cell.cell_type == "code":
            cell.outputs = _joined(cell.outputs)
    return notebook


def _joined(outputs: list[NotebookNode]) -> list[NotebookNode]:
    joined: list[NotebookNode] = []
    for output in outputs:
        if (
            joined
            and output.output_type == "stream" == joined[-1].output_type
            and output.name == joined[-1].name
        ):
            joined[-1].text += output.text
        else:
            joined.append(output)
    return joined


def _remaining(elapsed: float, finished: int, total: int) -> str:
    seconds = elapsed / finished * (total - finished)
    return f"  (about {seconds:.0f} s left)" if finished < total else ""


def _on_terminal() -> bool:
    return sys.stdout.isatty() and sys.stderr.isatty()


def _found(value: str) -> list[str]:
    """Files and folders that `value` names or, a template such as ``saes/{layer}``, stands for."""
    return [value] if os.path.exists(value) else sorted(glob.glob(value.replace("{layer}", "*")))


def _home(notebooks: dict[str, NotebookNode], settings: dict[str, str]) -> str:
    defaults = (notebook_parameters(notebook).get("subject") for notebook in notebooks.values())
    subject, sae = (
        settings.get("subject") or next(filter(None, defaults), "default"),
        settings.get("sae", ""),
    )
    names = [Path(subject).resolve().name if Path(subject).exists() else subject, sae]
    if _found(sae):  # many folders are called saes
        names[1] = (
            f"{Path(sae).name}-{hashlib.sha256(os.path.abspath(sae).encode()).hexdigest()[:4]}"
        )
    return "--".join(re.sub(r"[^\w.-]+", "--", name).strip("-") for name in filter(None, names))

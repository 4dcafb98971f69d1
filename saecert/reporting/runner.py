"""Run pages at other parameters or on another subject: papermill underneath, whole files or
none.
"""

from __future__ import annotations

import hashlib
import logging
import os
import runpy
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import nbformat
import papermill
import psutil
from jupyter_core.utils import ensure_event_loop
from nbclient.exceptions import DeadKernelError
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError
from papermill.iorw import local_file_io_cwd

from saecert.reporting import kept, measurements, notes
from saecert.reporting.executed import (
    KERNEL,
    NOTEBOOKS,
    ROOT,
    notebook_names,
    page_name,
    read_notebook,
    reason,
    write_tidy,
)
from saecert.reporting.parameters import (
    PATHS,
    RunError,
    chosen_values,
    found_paths,
    home_name,
    notebook_parameters,
    parse_value,
)
from saecert.reporting.progress import Progress
from saecert.storage import BARS, atomic_path, partial_folder

__all__ = [
    "RunError",
    "execute",
    "notebook_names",
    "notebook_parameters",
    "parse_value",
    "read_notebook",
    "run_notebooks",
]

_NONE: Mapping[str, str] = MappingProxyType({})

LONGEST = (
    "23_top_afa",
    "20_random_baselines",
    "21_recovery",
    "10_models",
    "04_coverage",
    "17_amplification",
    "06_concepts",
    "24_optimality",
    "25_phenomena",
    "03_convergence",
    "26_latents",
    "11_layers",
    "08_tails",
    "16_limits",
    "12_shuffling",
    "13_random_decoder",
    "14_explosion",
)
"""Pages that take a minute or more when everything is measured, the longest first."""
KEPT_MEMORY = {"MALLOC_MMAP_THRESHOLD_": "33554432", "MALLOC_TRIM_THRESHOLD_": "1073741824"}
"""For glibc: memory that was given back is used again. From the system it would come page by page,
which takes longer than most of what arrays of some megabytes are for."""
PATIENCE = 300
"""Seconds that a kernel may take to begin, and what a cell put out to follow its end. A kernel that
dies is noticed at once; one that a busy machine holds up is not to be given up after seconds."""
_FIRST = "--IPKernelApp.exec_lines="


@dataclass(frozen=True)
class Job:
    """One page to be executed."""

    name: str
    """Of the page."""
    notebook: NotebookNode
    """Its source."""
    parameters: Mapping[str, Any]
    """Values that differ from its defaults."""
    target: Path
    """Where it goes when it is executed."""
    folder: Path
    """Where it runs."""
    stamp: str = ""
    """Hash of what decides its outputs; "" where it runs in any case."""
    keeps: bool = False
    """Whether certificates and losses are saved beside it."""

    @property
    def finished(self) -> bool:
        """Whether it was executed before, with nothing changed since."""
        return bool(self.stamp) and _stamped(self.target) == self.stamp


def run_notebooks(
    names: Sequence[str] = (),
    settings: Mapping[str, str] = _NONE,
    *,
    out: str | Path = "",
    folder: Path = NOTEBOOKS,
    force: bool = False,
    jobs: int = 0,
    pages_only: bool = False,
) -> list[Path]:
    """Executed notebooks, one file each in `out`, after checking everything asked for.

    Certificates and losses that pages keep are saved beside them. Without `out` they go to
    ``runs/<subject>`` or ``runs/<subject>--<sae>``; a notebook that was finished before with the
    same parameters, files, source and library is not run again; and all notebooks become a book,
    ``html``.

    Parameters
    ----------
    names : sequence of str
        Notebooks, by name, number or path; none means all of them.
    settings : mapping of str to str, optional
        Parameters as text. Of several notebooks, each gets those that it has.
    out, folder : path, optional
        Where the executed notebooks go, and where they are.
    force : bool
        Run again what was finished before.
    jobs : int
        Pages executed side by side. Default: two where measurements are kept and nothing is to be
        measured, else one.
    pages_only : bool
        Save no certificates and losses.

    Raises
    ------
    RunError
        For an unknown notebook or parameter or a value that cannot be, before anything runs; and
        after the last notebook, if any failed. What a failed one had done is kept beside as
        ``<name>.failed.ipynb``.
    """
    os.environ.setdefault("SAECERT_CACHE", str(ROOT / "_build/cache"))
    for name, value in KEPT_MEMORY.items():
        os.environ.setdefault(name, value)
    stems = [page_name(name, folder) for name in names] or notebook_names(folder)
    notebooks = {name: read_notebook(name, folder) for name in stems}
    values = chosen_values(notebooks, settings)
    home = Path(out).absolute() if out else ROOT / "runs" / home_name(notebooks, settings)
    _check_writable(home)
    pages = []
    for name, notebook in notebooks.items():
        stamp = "" if out else _stamp(notebook, values[name])
        target = home / f"{name}.ipynb"
        keeps = not pages_only
        pages.append(Job(name, notebook, values[name], target, folder, stamp, keeps))
    side_by_side = jobs or _default_jobs(settings)
    if side_by_side > 1:  # kernels with as many threads as cores would wait for one another
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // side_by_side)))
    failed = _run_all(pages, force, side_by_side)
    if not (names or out):
        _make_book(home)
    if failed:
        verb = "notebook" if len(pages) == 1 else "notebooks"
        raise RunError(f"{len(failed)} of {len(pages)} {verb} failed: {', '.join(failed)}")
    return [page.target for page in pages]


def execute(job: Job, progress: Progress, head: str = "") -> None:
    """Run a page and write it to its target; a rerun gives the same bytes.

    A failure leaves the target alone, and raises RunError with its reason.
    """
    failed = job.target.with_suffix(".failed.ipynb")
    job.notebook.metadata = NotebookNode(kernelspec=NotebookNode(KERNEL))
    with atomic_path(job.target) as partial, partial_folder(job.target.parent) as scratch:
        nbformat.write(job.notebook, partial)
        bars, noted = scratch / "bars", scratch / "notes"
        try:
            with progress.page(head, bars) as bar:
                options = {"progress_bar": bar}
                options |= {"extra_arguments": _kernel_options(job, bars, noted)}
                options |= {"start_timeout": PATIENCE, "iopub_timeout": PATIENCE}
                _execute_in_place(partial, job, progress, options)
        except (PapermillExecutionError, DeadKernelError) as error:
            if progress.interrupted.is_set():  # its kernel was ended, nothing failed
                raise KeyboardInterrupt from None
            why = reason(error)
            write_tidy(partial, failed, {"error": why})
            raise RunError(f"{why} (see {failed})") from None
        facts = {"parameters": dict(job.parameters), "stamp": job.stamp} if job.stamp else {}
        read = noted.read_text(encoding="utf-8") if noted.exists() else ""
        write_tidy(partial, partial, facts, read)
    failed.unlink(missing_ok=True)


def _execute_in_place(path: Path, job: Job, progress: Progress, options: Mapping[str, Any]) -> None:
    """Run the notebook at `path`; a kernel that does not start is started once more, since another
    process can take its ports between their choice and their use.
    """
    source = str(path).replace("{", "{{").replace("}", "}}")  # papermill puts parameters into paths
    # its own `cwd` changes the folder of the process, in which another kernel may be starting
    where = {"metadata": {"path": str(job.folder)}}
    for last_attempt in (False, True):
        try:
            papermill.execute_notebook(
                source, source, dict(job.parameters), resources=where, **options
            )
        except RuntimeError as error:  # jupyter_client's, from before the first cell
            if isinstance(error, DeadKernelError | PapermillExecutionError):
                raise
            if progress.interrupted.is_set():
                raise KeyboardInterrupt from None
            if last_attempt:
                raise RunError(f"its kernel did not start, twice: {error}") from None
        else:
            return


def _run_all(pages: Sequence[Job], force: bool, side_by_side: int) -> list[str]:
    """Names of the pages that failed; a line of progress for each."""
    waiting = [page for page in pages if force or not page.finished]
    started = time.monotonic()
    failed: list[str] = []
    done: list[str] = []

    def run(page: Job) -> None:
        head = _head(pages, page)
        begun = time.monotonic()
        try:
            execute(page, progress, head)
        except RunError as error:
            failed.append(page.name)
            note = f"  FAILED: {error}"
        else:
            note = ""
        done.append(page.name)
        note = note or _remaining(time.monotonic() - started, len(done), len(waiting))
        progress.say(f"{head}{time.monotonic() - begun:6.1f} s{note}")

    with Progress() as progress:
        for page in pages:
            if page not in waiting:
                again = "finished before (--force runs it again)"
                progress.say(f"{_head(pages, page)}  {again}")
        _each(run, waiting, side_by_side, progress)
    return [page.name for page in pages if page.name in failed]


def _each(
    run: Callable[[Job], None], waiting: Sequence[Job], side_by_side: int, progress: Progress
) -> None:
    """Call `run` on every page, some at a time: then the longest first, so that none of them is
    left to the end alone.
    """
    if side_by_side == 1 or len(waiting) == 1:
        for page in waiting:
            run(page)
        return
    waiting = sorted(waiting, key=_rank)
    # papermill notes from which folder it reads; of two pages the last would note the other's
    with local_file_io_cwd(), ThreadPoolExecutor(side_by_side) as pool:
        futures = [pool.submit(Context().run, _run_and_close, run, page) for page in waiting]
        try:
            for future in futures:
                future.result()
        except BaseException:
            progress.interrupted.set()
            pool.shutdown(wait=False, cancel_futures=True)
            running = [future for future in futures if not future.cancelled()]
            while wait(running, timeout=0.2).not_done:  # a kernel may be starting just now
                _end_kernels()
            raise


def _rank(page: Job) -> int:
    """Place of a page among the longest; behind them all others, in their order."""
    return LONGEST.index(page.name) if page.name in LONGEST else len(LONGEST)


def _end_kernels() -> None:
    """End the kernels of pages that are being executed: their threads would wait for them.

    What they have started ends with them, and nothing else that runs below this process.
    """
    logging.getLogger("papermill").setLevel(logging.CRITICAL)  # that they died is no news
    for child in psutil.Process().children():
        with suppress(psutil.Error):
            if any(word.startswith(_FIRST) for word in child.cmdline()):
                for process in (*child.children(recursive=True), child):
                    process.terminate()


def _run_and_close(run: Callable[[Job], None], page: Job) -> None:
    """Call `run`; the event loop that its thread needed for the kernel is closed after it."""
    try:
        run(page)
    finally:
        ensure_event_loop().close()


def _default_jobs(settings: Mapping[str, str]) -> int:
    """Two pages at a time where nothing needs to be measured: a model in memory is enough."""
    own = set(settings) & {"subject", "second_subject", "sae", "corpus", "device"}
    reads = measurements.folder().is_dir() and not measurements.measuring_anew()
    return min(2, os.cpu_count() or 1) if reads and not own else 1


def _kernel_options(job: Job, bars: Path, noted: Path) -> list[str]:
    """What a kernel is told at its start: where bars are drawn, where it is noted what is read, and
    where the page may keep things.
    """
    home = str(job.target.parent.resolve()) if job.keeps else ""
    variables = {BARS: str(bars), notes.NOTES: str(noted.resolve()), kept.RUN: home}
    first = f"{_FIRST}import os; os.environ.update({variables!r}); del os"
    # the kernel's remarks on its transport are not about the page
    return ["--IPKernelApp.log_level=50", first]


def _check_writable(home: Path) -> None:
    """Raise RunError unless a folder `home` is there, or can be made, and be written to."""
    there = next(path for path in (home, *home.resolve().parents) if path.exists())
    if not there.is_dir():
        raise RunError(f"{there} is a file: --out names a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise RunError(f"{there} cannot be written to: choose another folder with --out")
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{home} cannot be made ({error.strerror}): choose another --out") from error


def _make_book(home: Path) -> None:
    """The book of a run; its prose, and the code that renders it, are part of the clone."""
    render = runpy.run_path(str(ROOT / "book/render.py"))["render"]
    render(home, home / "html", subject=home.name)
    print(f"book: {home / 'html/index.html'}")


def _stamp(notebook: NotebookNode, parameters: Mapping[str, Any]) -> str:
    """Hash of what decides the outputs: source, parameters, library, and the files they name."""
    cells = [(cell.cell_type, cell.source) for cell in notebook.cells]
    named = [value for key, value in parameters.items() if key in PATHS]
    roots = [
        Path(path) for value in named if Path(value).is_absolute() for path in found_paths(value)
    ]
    paths = [path for root in roots for path in sorted([root, *root.rglob("*")])]
    files = [(str(path), path.stat()) for path in paths if path.is_file()]
    state = [(path, stat.st_size, stat.st_mtime_ns) for path, stat in files]
    decisive = repr([cells, sorted(parameters.items()), state, _library()])
    return hashlib.sha256(decisive.encode()).hexdigest()


def _library() -> str:
    paths = sorted((ROOT / "saecert").rglob("*.py"))
    return "".join(path.read_text(encoding="utf-8") for path in paths)


def _stamped(path: Path) -> str:
    if not path.exists() or path.with_suffix(".failed.ipynb").exists():
        return ""
    return nbformat.read(path, as_version=4).metadata.get("saecert", {}).get("stamp", "")


def _head(pages: Sequence[Job], page: Job) -> str:
    return f"[{pages.index(page) + 1}/{len(pages)}] {page.name:<24}"


def _remaining(elapsed: float, finished: int, total: int) -> str:
    seconds = elapsed / finished * (total - finished)
    return f"  (about {seconds:.0f} s left)" if finished < total else ""

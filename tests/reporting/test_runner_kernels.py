"""Kernels side by side, that do not start, and errors that nobody expects."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import papermill
import pytest
from nbformat.v4 import new_notebook
from papermill.iorw import papermill_io
from small_pages import PAGE, printed, small_pages

from saecert.reporting import progress, runner
from saecert.reporting.progress import Progress
from saecert.reporting.runner import RunError, notebook_names, run_notebooks


@pytest.fixture
def folder(tmp_path):
    """A folder with two notebooks."""
    return small_pages(tmp_path)


def test_two_pages_are_executed_side_by_side(folder, tmp_path, monkeypatch, capsys):
    meet = (
        "import time\nfrom pathlib import Path\nPath('began-{0}').touch()\n"
        "deadline = time.monotonic() + 600\n"
        "while not Path('began-{1}').exists() and time.monotonic() < deadline: time.sleep(0.05)\n"
        "assert Path('began-{1}').exists()\n"
    )
    (folder / "01_double.py").write_text(PAGE + meet.format(1, 2), encoding="utf-8")
    (folder / "02_other.py").write_text(PAGE + meet.format(2, 1), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(progress, "EVERY", {False: 3_600})  # where kernels take half a minute
    paths = run_notebooks(out="out", folder=folder, jobs=2, names=notebook_names(folder))
    assert Path.cwd() == tmp_path
    assert sorted((tmp_path / "out").iterdir()) == paths
    assert [path.name for path in paths] == ["01_double.ipynb", "02_other.ipynb"]
    lines = capsys.readouterr().out.splitlines()
    assert sorted(line[:15] for line in lines) == ["[1/2] 01_double", "[2/2] 02_other "]


def test_kernels_begin_in_the_folder_of_their_page_and_the_process_stays_in_its_own(
    folder, tmp_path, monkeypatch
):
    for name in ("01_double.py", "02_other.py"):
        (folder / name).write_text(PAGE + "import os\nprint(os.getcwd())\n", encoding="utf-8")
    gone_to = []
    change = os.chdir
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "chdir", lambda path: (gone_to.append(str(path)), change(path)))
    for jobs in (1, 2, 1):
        paths = run_notebooks(out="out", folder=folder, jobs=jobs, names=notebook_names(folder))
        assert papermill_io.get_handler("local").cwd(None) is None, "a later run would read there"
        assert [printed(path).split()[-1] for path in paths] == [str(folder)] * 2
    # a page that changes it, and changes it back, would do so while another's kernel is starting
    assert set(gone_to) <= {str(tmp_path)}


def test_side_by_side_the_longest_begin_and_alone_all_keep_their_order(monkeypatch):
    names = ["00_primer", "04_coverage", "09_published", "20_random_baselines"]
    pages = [runner.Job(name, new_notebook(), {}, Path(name), Path()) for name in names]
    begun = []
    monkeypatch.setattr(runner, "ThreadPoolExecutor", lambda _: ThreadPoolExecutor(1))
    with Progress() as progress:
        for side_by_side in (2, 1):
            runner._each(lambda page: begun.append(page.name), pages, side_by_side, progress)
    assert begun[:4] == ["20_random_baselines", "04_coverage", "00_primer", "09_published"]
    assert begun[4:] == names
    assert set(runner.LONGEST) <= set(notebook_names())


def test_kernels_side_by_side_share_the_cores_and_all_keep_their_memory(
    folder, tmp_path, monkeypatch
):
    told = "import os\nprint(os.environ['OMP_NUM_THREADS'], os.environ['MALLOC_TRIM_THRESHOLD_'])\n"
    for name in ("01_double.py", "02_other.py"):
        (folder / name).write_text(PAGE + told, encoding="utf-8")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_", raising=False)
    monkeypatch.setattr(runner.os, "cpu_count", lambda: 4)
    names = ["01_double", "02_other"]
    for path in run_notebooks(names, out=tmp_path / "out", folder=folder, jobs=2):
        assert printed(path).endswith("2 1073741824\n")


@pytest.mark.parametrize("failures", [1, 2])
def test_a_kernel_that_does_not_start_is_started_once_more(
    failures, folder, tmp_path, monkeypatch, capsys
):
    really = papermill.execute_notebook
    attempts = []

    def execute_notebook(*arguments, **options):
        attempts.append(options)
        if len(attempts) <= failures:
            raise RuntimeError("Kernel died before replying to kernel_info")
        return really(*arguments, **options)

    monkeypatch.setattr(papermill, "execute_notebook", execute_notebook)
    if failures == 1:
        (path,) = run_notebooks(["01_double"], out=tmp_path / "out", folder=folder)
        assert printed(path) == "twice 4 shipped\n"
        return
    with pytest.raises(RunError, match="failed: 01_double"):
        run_notebooks(["01_double"], out=tmp_path / "out", folder=folder)
    assert "its kernel did not start, twice: Kernel died before" in capsys.readouterr().out
    assert not list((tmp_path / "out").iterdir())


def test_a_cell_whose_end_is_told_late_is_waited_for(folder, tmp_path):
    late = "import sys\nimport time\nfrom IPython import get_ipython\n"
    late += "print('late')\nsys.stdout.flush()\n"
    # the thread that tells it is held up, as on a machine with other things to do
    late += "sys.stdout.flush_timeout = sys.stderr.flush_timeout = 0\n"
    late += "get_ipython().kernel.iopub_thread.io_loop.add_callback(time.sleep, 6)\n"
    (folder / "01_double.py").write_text(PAGE + late, encoding="utf-8")
    (path,) = run_notebooks(["01_double"], out=tmp_path / "out", folder=folder)
    assert printed(path).endswith("late\n")


def test_kernels_are_ended_and_no_other_process():
    asleep = [sys.executable, "-c", "import time; time.sleep(600)"]
    kernel = subprocess.Popen([*asleep, "--IPKernelApp.exec_lines=pass"])
    other = subprocess.Popen(asleep)
    try:
        runner._end_kernels()
        assert kernel.wait(timeout=60) == -signal.SIGTERM
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(timeout=1)
    finally:
        for process in (kernel, other):
            process.kill()
            process.wait()


def test_an_error_that_nobody_expects_ends_a_run_of_many_pages(folder, tmp_path, monkeypatch):
    for index in range(3, 9):
        (folder / f"0{index}_more.py").write_text(PAGE, encoding="utf-8")

    def broken(*_, **__):
        time.sleep(0.3)  # the others wait for their turn
        raise LookupError("nobody expects this")

    monkeypatch.setattr(runner, "execute", broken)
    names = notebook_names(folder)
    with pytest.raises(LookupError, match="nobody expects this"):
        run_notebooks(names, out=tmp_path / "out", folder=folder, jobs=2)

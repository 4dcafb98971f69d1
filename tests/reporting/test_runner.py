"""The runner refuses what cannot be, writes whole files, and does not repeat what is finished."""

import os
import re
import runpy
import shutil
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest
import yaml
from checks import ROOT
from faulty import as_a_user, begin, finish, readable_to_all
from small_pages import PAGE, printed, small_pages
from synthetic_losses import random_losses

from saecert import Certificate, SequenceLosses, certify
from saecert.reporting import progress, runner
from saecert.reporting.executed import page_name
from saecert.reporting.kept import keep
from saecert.reporting.runner import (
    RunError,
    notebook_names,
    notebook_parameters,
    parse_value,
    read_notebook,
    run_notebooks,
)


@pytest.fixture
def folder(tmp_path):
    """A folder with two notebooks."""
    return small_pages(tmp_path)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The clone in which ``runs/`` lies: here one without anything else."""
    monkeypatch.setattr(runner, "ROOT", tmp_path)
    return tmp_path / "runs" / "shipped"


def test_names_and_defaults_come_from_the_sources(folder):
    (folder / "01_double.failed.ipynb").write_text("{}", encoding="utf-8")
    assert notebook_names(folder) == ["01_double", "02_other"]
    assert notebook_parameters(read_notebook("01_double", folder)) == {
        "x": 2,
        "subject": "shipped",
        "strict": True,
    }


@pytest.mark.parametrize(
    ("text", "default", "value"),
    [
        ("3", 1, 3),
        ("1e-3", 0.5, 0.001),
        ("1", 0.5, 1.0),
        ("true", False, True),
        ("[1, 2]", [0], [1, 2]),
        ("[1, 2]", (0,), (1, 2)),
        ("2024", "name", "2024"),
        ("no", "name", "no"),
        ("blocks.3.hook_resid_post", "name", "blocks.3.hook_resid_post"),
        ("null", None, None),
    ],
)
def test_values_take_the_type_of_the_default(text, default, value):
    parsed = parse_value("p", text, default)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("text", "default"),
    [("many", 1), ("0.5", 1), ("true", 1), ("1", True), ("3", [1]), ("{a: [", 1.0)],
)
def test_values_of_another_type_are_refused(text, default):
    with pytest.raises(RunError, match=f"p takes a value of type {type(default).__name__}"):
        parse_value("p", text, default)


@pytest.mark.parametrize("name", ["01", "01_double", "01_double.py", "notebooks/01_double.ipynb"])
def test_a_page_is_found_by_its_number_name_or_path(folder, name):
    assert page_name(name, folder) == "01_double"


def test_what_is_unknown_is_refused_with_what_is_known(folder, tmp_path):
    with pytest.raises(RunError, match="unknown notebook '03'; known: 01_double, 02_other"):
        run_notebooks(["03"], out=tmp_path / "out", folder=folder)
    with pytest.raises(RunError, match="unknown notebook '03_none'; known: 01_double, 02_other"):
        run_notebooks(["03_none"], out=tmp_path / "out", folder=folder)
    with pytest.raises(RunError, match="unknown parameter z; 01_double takes: strict, subject, x"):
        run_notebooks(["01_double"], {"z": "1"}, out=tmp_path / "out", folder=folder)
    assert not (tmp_path / "out").exists()


def test_a_parameter_reaches_the_notebook_and_relaxes_its_claim(folder, tmp_path):
    (path,) = run_notebooks(
        ["01_double"], {"x": "5", "subject": "gpt2-small"}, out=tmp_path / "out", folder=folder
    )
    assert path == tmp_path / "out" / "01_double.ipynb"
    assert printed(path) == "twice 10 gpt2-small\n"


def test_without_a_folder_runs_are_kept_by_subject(folder, home):
    (path,) = run_notebooks(["01_double"], folder=folder)
    assert path == home / "01_double.ipynb"


def test_saes_from_elsewhere_are_found_from_everywhere_and_have_a_folder_of_their_own(
    folder, home, tmp_path, monkeypatch
):
    (tmp_path / "mine/saes").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    page = folder / "01_double.py"
    page.write_text(
        PAGE.replace("strict = True", 'sae = ""  # where\nstrict = True').replace(
            "subject)", "sae)"
        ),
        encoding="utf-8",
    )
    (tmp_path / "mine/saes/at_0").write_text("first weights", encoding="utf-8")
    places = {given: tmp_path / given for given in ("mine/saes", "mine/saes/at_{layer}")} | {
        "": "",
        "release/{layer}/x": "release/{layer}/x",
    }
    for given, reached in places.items():
        (path,) = run_notebooks(["01_double"], {"sae": given}, folder=folder)
        assert printed(path) == f"twice 4 {reached}\n"
        assert path.parent.parent == home.parent
    (tmp_path / "other/mine/saes").mkdir(parents=True)
    with monkeypatch.context() as there:
        there.chdir(tmp_path / "other")
        run_notebooks(["01_double"], {"sae": "mine/saes"}, folder=folder)
    assert (
        len(list(home.parent.glob("shipped--*"))) == len(places)
        and (home / "01_double.ipynb").exists()
    ), "one folder for each"
    template, runs = {"sae": "mine/saes/at_{layer}"}, []
    monkeypatch.setattr(
        runner.papermill, "execute_notebook", lambda source, *_, **__: runs.append(source)
    )
    run_notebooks(["01_double"], template, folder=folder)
    (tmp_path / "mine/saes/at_0").write_text("other weights", encoding="utf-8")
    assert not runs
    run_notebooks(["01_double"], template, folder=folder)
    assert len(runs) == 1, "the SAEs behind a template have changed"


def test_what_is_finished_is_run_again_only_if_something_changed(
    folder, home, tmp_path, monkeypatch
):
    runs = []
    monkeypatch.setattr(
        runner.papermill, "execute_notebook", lambda source, *_, **__: runs.append(source)
    )  # no kernel: seconds each
    monkeypatch.setattr(runner, "_library", lambda: "as it was")
    corpus, page = tmp_path / "mine.txt", folder / "01_double.py"
    corpus.write_text("one", encoding="utf-8")
    page.write_text(
        PAGE.replace("strict = True", 'corpus = ""  # text\nstrict = True'), encoding="utf-8"
    )

    def again(x="3", **options):
        before = len(runs)
        run_notebooks(["01_double"], {"x": x, "corpus": str(corpus)}, folder=folder, **options)
        return len(runs) > before

    assert again() and not again()
    assert again(force=True)
    assert again(x="4") and again() and not again()
    corpus.write_text("another", encoding="utf-8")
    assert again() and not again()
    page.write_text(page.read_text(encoding="utf-8") + "print('more')\n", encoding="utf-8")
    assert again() and not again()
    monkeypatch.setattr(runner, "_library", lambda: "edited")
    assert again() and not again()
    assert again(out=tmp_path / "out") and again(out=tmp_path / "out"), (
        "where the caller names a folder, everything runs"
    )
    (home / "01_double.failed.ipynb").write_text("{}", encoding="utf-8")
    assert again(), "the last run was another one, and failed"


def test_a_run_that_was_killed_goes_on_where_it_was(folder, home, tmp_path):
    slow = 'from pathlib import Path\nPath("began").touch()\nwhile not Path("go").exists(): pass\n'
    (folder / "02_other.py").write_text(PAGE + slow, encoding="utf-8")
    code = (
        "import sys; from pathlib import Path; from saecert.reporting import runner; "
        "runner.ROOT = Path(sys.argv[1]); "
        "runner.run_notebooks(folder=Path(sys.argv[2]), names=sys.argv[3:], jobs=1)"
    )
    command = [sys.executable, "-c", code]
    command += [str(tmp_path), str(folder), "01_double", "02_other"]
    killed = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    for _ in range(6000):
        if killed.poll() is not None or (folder / "began").exists():
            break
        time.sleep(0.1)
    assert (folder / "began").exists()
    killed.kill()
    killed.wait()
    first = home / "01_double.ipynb"
    before = first.stat().st_mtime_ns
    assert not (home / "02_other.ipynb").exists()
    (folder / "go").touch()
    resumed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "01_double                 finished before" in resumed
    assert first.stat().st_mtime_ns == before
    assert printed(home / "02_other.ipynb") == "twice 4 shipped\n"


def test_certificates_and_losses_are_kept_with_the_run_only(folder, home, tmp_path, monkeypatch):
    losses = random_losses()
    losses.save(tmp_path / "losses.npz")
    code = "from saecert import SequenceLosses, certify\nfrom saecert.reporting.kept import keep\n"
    code += f"losses = SequenceLosses.load({str(tmp_path / 'losses.npz')!r})\n"
    code += "for delta in (0.1, 0.05): keep(certify(losses, delta=delta), losses)\n"
    (folder / "01_double.py").write_text(PAGE + code, encoding="utf-8")
    run_notebooks(["01_double"], out=tmp_path / "bare", folder=folder, pages_only=True)
    assert not list(tmp_path.rglob("certificates")) and not list(tmp_path.rglob("losses"))
    run_notebooks(["01_double"], out=tmp_path / "out", folder=folder)
    assert len(list((tmp_path / "out/certificates").glob("*.json"))) == 2
    (kept,) = (tmp_path / "out/losses").iterdir()
    assert SequenceLosses.load(kept).fingerprint() == losses.fingerprint()
    run_notebooks(["01_double"], folder=folder)
    found = sorted((home / "certificates").glob("*.json"))
    (kept,) = (home / "losses").glob("*.npz")
    assert SequenceLosses.load(kept).fingerprint() == losses.fingerprint()
    assert {Certificate.load(path).delta for path in found} == {0.1, 0.05}
    assert all(path.name.startswith(kept.stem) for path in found)
    monkeypatch.delenv("SAECERT_RUN", raising=False)
    keep(certify(losses), losses)


@pytest.mark.parametrize(("terminal", "between"), [(True, "\r\x1b[K"), (False, "\n")])
def test_progress_shows_the_newest_state_of_both_bars(
    terminal, between, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(progress, "on_terminal", lambda: terminal)
    monkeypatch.setattr(progress, "EVERY", {terminal: 0.05})
    said, shown = progress.Progress(), threading.Semaphore(0)
    show = said._print
    monkeypatch.setattr(said, "_print", lambda states: (show(states), shown.release()))
    with said.page("[1/2] page", tmp_path / "bars") as options:
        (page,) = said._pages
        monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: page.begun))
        (tmp_path / "bars").write_text("\rmeasuring 10%\rmeasuring 50%\n\r", encoding="utf-8")
        options["file"].write("\r2/7\r3/7")
        with said:  # begun when all is there: a busy machine may hold up either thread
            assert all(shown.acquire(timeout=600) for _ in range(2))
    first, second, *_ = filter(None, capsys.readouterr().out.split(between))
    assert re.fullmatch(r"\[1/2\] page +0 s  cell 3/7  measuring 50%", first) and second == first


def test_a_long_notebook_says_that_it_is_alive(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(progress, "EVERY", {True: 0.1, False: 0.1})
    code = "import time\nfrom saecert.storage import progress_bar\n"
    code += "for _ in progress_bar(range(30), desc='measuring', disable=True): time.sleep(0.1)\n"
    (folder / "01_double.py").write_text(PAGE + code, encoding="utf-8")
    (path,) = run_notebooks(["01_double"], out=tmp_path / "out", folder=folder)
    assert re.search(
        r"\[1/1\] 01_double +\d+ s  cell 2/3  measuring: +\d+%.*<", capsys.readouterr().out
    )
    assert b"measuring:" not in path.read_bytes()


def test_a_rerun_gives_the_same_bytes(folder, tmp_path):
    first = run_notebooks(["01_double"], out=tmp_path / "a", folder=folder)[0].read_bytes()
    assert first == run_notebooks(["01_double"], out=tmp_path / "b", folder=folder)[0].read_bytes()
    assert b"papermill" not in first


def test_a_failure_keeps_the_last_good_file_and_tells_where_it_failed(folder, tmp_path, capsys):
    (good,) = run_notebooks(["01_double"], out=tmp_path, folder=folder)
    before = good.read_bytes()
    with pytest.raises(RunError, match="1 of 1 notebook failed: 01_double"):
        run_notebooks(["01_double"], {"x": "5", "strict": "true"}, out=tmp_path, folder=folder)
    assert "AssertionError: assert 2 * x == 4 or not strict" in capsys.readouterr().out
    assert good.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "01_double.failed.ipynb",
        "01_double.ipynb",
        "notebooks",
    ]


@pytest.fixture
def clone(tmp_path, folder, monkeypatch):
    """A clone with a book of one page of prose and two notebooks."""
    monkeypatch.setattr(runner, "ROOT", tmp_path)
    (tmp_path / "book").mkdir()
    (tmp_path / "book/index.md").write_text("# Doubles\n", encoding="utf-8")
    for name in ("render.py", "references.bib", "_ext"):
        (shutil.copytree if (ROOT / "book" / name).is_dir() else shutil.copy)(
            ROOT / "book" / name, tmp_path / "book" / name
        )
    shutil.copy(ROOT / "_config.yml", tmp_path)
    chapters = [{"file": "notebooks/01_double"}, {"file": "notebooks/02_other"}]
    toc = {
        "format": "jb-book",
        "root": "book/index",
        "parts": [{"caption": "Pages", "chapters": chapters}],
    }
    (tmp_path / "_toc.yml").write_text(yaml.safe_dump(toc), encoding="utf-8")
    return tmp_path


def test_all_notebooks_make_a_book_and_one_that_fails_says_so_in_it(clone, folder):
    (folder / "02_other.py").write_text(
        PAGE + 'raise ValueError("no such split")\n', encoding="utf-8"
    )
    with pytest.raises(RunError, match="1 of 2 notebooks failed: 02_other"):
        run_notebooks(settings={"subject": "gpt2-small", "x": "3"}, folder=folder)
    book = clone / "runs/gpt2-small/html"
    good, bad = (
        (book / f"notebooks/{name}.html").read_text(encoding="utf-8")
        for name in ("01_double", "02_other")
    )
    assert "saecert: gpt2-small" in good
    assert "twice 6 gpt2-small" in good
    assert "was run with" in good and "could not run" not in good
    assert "This page could not run for" in bad and "ValueError: no such split" in bad
    assert (book / "index.html").exists()
    assert sorted(path.name for path in (clone / "runs/gpt2-small").iterdir()) == [
        "01_double.ipynb",
        "02_other.failed.ipynb",
        "html",
    ]


def test_a_book_needs_every_notebook_and_stops_at_warnings_unless_it_is_of_a_run(clone, folder):
    render = runpy.run_path(str(clone / "book/render.py"))["render"]
    with pytest.raises(SystemExit, match="no executed 01_double in"):
        render(folder, clone / "html")
    run_notebooks(out=clone / "out", folder=folder)
    (clone / "book/index.md").write_text("# Doubles\n\n{doc}`nowhere`\n", encoding="utf-8")
    with pytest.raises(SystemExit, match="the book could not be made"):
        render(clone / "out", clone / "html")
    render(clone / "out", clone / "html", subject="mine")
    assert "was run with" not in (clone / "html/notebooks/01_double.html").read_text(
        encoding="utf-8"
    ), "nothing differed from the defaults"


def test_papermill_alone_runs_a_page(tmp_path):
    command = [
        sys.executable,
        "-m",
        "papermill",
        str(ROOT / "notebooks/01_bound.ipynb"),
        str(tmp_path / "out.ipynb"),
        "--no-progress-bar",
    ]
    settings = {"draws": 40, "n_seq": 20, "strict": False}
    command += [word for name, value in settings.items() for word in ("-p", name, str(value))]
    subprocess.run(
        command, check=True, capture_output=True, env=os.environ | {"PYTHONWARNINGS": "ignore"}
    )
    assert re.search("holds|does not hold", printed(tmp_path / "out.ipynb"))


def test_failed_claims_are_named(folder, tmp_path, capsys):
    claim = 'from saecert.reporting.claims import claims\nclaims(strict, {"is odd": False})\n'
    (folder / "01_double.py").write_text(PAGE + claim, encoding="utf-8")
    with pytest.raises(RunError, match="failed: 01_double"):
        run_notebooks(["01_double"], out=tmp_path / "out", folder=folder)
    assert "ClaimFailed: does not hold: is odd" in capsys.readouterr().out


def test_braces_in_the_folder_of_the_pages_are_no_parameters(folder, tmp_path):
    (path,) = run_notebooks(["01_double"], out=tmp_path / "a {b} {1}", folder=folder)
    assert path.parent.name == "a {b} {1}"
    assert path.exists()


def test_a_folder_that_cannot_be_made_is_refused_at_once(folder):
    with pytest.raises(RunError, match="cannot be made.*choose another --out"):
        run_notebooks(["01_double"], out="/proc/saecert", folder=folder)


def test_a_folder_that_cannot_be_written_is_refused_at_once():
    with readable_to_all() as home:
        folder = small_pages(home)
        out, report = home / "out", home / "report"
        out.mkdir()
        out.chmod(0o555)
        report.touch()
        report.chmod(0o666)
        action = as_a_user(lambda: run_notebooks(["01_double"], out=out, folder=folder))
        assert finish(begin(action, report)) == 1
        first = report.read_text(encoding="utf-8").splitlines()[0]
        assert first == (f"RunError: {out} cannot be written to: choose another folder with --out")

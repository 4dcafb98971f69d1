"""Shards by workers of Ray: the same record as by this process, also when a worker is killed."""

import importlib.util
import os
import signal
import sys
import time

import psutil
import pytest
from conftest import N_CTX, make_texts

from saecert.__main__ import main
from saecert.measurement.cluster import check_reachable, located, measure_on_ray
from saecert.measurement.engines import Task, measure_all
from saecert.shards import merge

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="ray is not installed: saecert[cluster]"
)
HOOK = "blocks.1.hook_resid_post"


@pytest.fixture
def task(folders, tmp_path):
    """What is measured, into a folder called by a name."""

    def named(name):
        return Task(
            folder=str(tmp_path / name),
            subject=str(folders["llama"]),
            hook_names=(HOOK,),
            corpus=make_texts(60),
            sampling={"n_ctx": N_CTX},
            settings={"progress": False, "pools": [8], "batch_size": 4},
        )

    return named


@pytest.fixture
def cluster_here(monkeypatch):
    """Ray on this machine, its workers with the library of this test."""
    ray = pytest.importorskip("ray", reason="ray is not installed: saecert[cluster]")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False, configure_logging=False)
    yield ray
    ray.shutdown()


@needs_ray
@pytest.mark.filterwarnings("default")
def test_two_workers_make_the_record_of_this_process(task, cluster_here):
    paths = measure_all(task("ray"), 4, engine="ray", workers=2)
    numbers = [int(path.name.split("-")[-3]) for path in paths]
    assert numbers == [1, 2, 3, 4], "sorted, whatever the order they came in"
    measure_all(task("local"), 1)
    assert merge(task("ray").folder).fingerprint() == merge(task("local").folder).fingerprint()


@needs_ray
@pytest.mark.filterwarnings("default")
def test_a_worker_that_is_killed_changes_nothing(task, cluster_here, tmp_path):
    """From beside: as soon as a first shard is there, one of the workers is killed."""
    process = os.fork()
    if not process:
        try:
            os._exit(0 if _killed_one(tmp_path / "ray") else 1)
        finally:
            os._exit(2)
    measure_all(task("ray"), 8, engine="ray", workers=2)
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    assert status == 0, "a worker was killed in the middle"
    measure_all(task("local"), 1)
    assert merge(task("ray").folder).fingerprint() == merge(task("local").folder).fingerprint()


def _killed_one(folder):
    for _ in range(3_000):
        if list(folder.glob("shard-*")):
            break
        time.sleep(0.1)
    for process in psutil.process_iter(["cmdline", "pid"]):
        words = " ".join(process.info["cmdline"] or ())
        if words.startswith("ray::") and "MapWorker" in words:
            os.kill(process.info["pid"], signal.SIGKILL)
            return True
    return False


@needs_ray
def test_an_address_at_which_nobody_answers_fails_in_seconds(task):
    start = time.monotonic()
    with pytest.raises(ConnectionError, match=r"no Ray cluster answers at '127.0.0.1:9' within 5"):
        measure_on_ray(task("ray"), 2, address="127.0.0.1:9")
    assert time.monotonic() - start < 60


def test_addresses_that_are_none():
    for address in ("nobody here:x", ":1", "host:"):
        with pytest.raises(ValueError, match="a Ray address is host:port or auto"):
            check_reachable(address)
    with pytest.raises(ConnectionError, match=r"no Ray cluster answers at '127.0.0.1:9'"):
        check_reachable("127.0.0.1:9")


def test_paths_are_those_of_this_process(folders, tmp_path, monkeypatch):
    """Workers may be started elsewhere."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "texts.jsonl").touch()
    (tmp_path / "saes").mkdir()
    loading = {"sae": "saes/*", "device": "cpu"}
    task = located(Task("out", "docstring-6l", corpus="texts.jsonl", loading=loading))
    assert task.folder == str(tmp_path / "out")
    assert task.subject == "docstring-6l" and task.corpus == str(tmp_path / "texts.jsonl")
    assert task.loading == {"sae": str(tmp_path / "saes/*"), "device": "cpu"}
    assert located(Task("out", str(folders["llama"]), corpus=["a text"])).corpus == ["a text"]


def test_an_engine_that_is_not_installed_says_the_extra(folders, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    arguments = ["measure", "--subject", str(folders["llama"]), "--hooks", HOOK, "--engine", "ray"]
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 1
    printed = capsys.readouterr().err
    assert "engine='ray' takes the package ray: python -m pip install 'saecert[cluster]'" in printed
    assert printed.count("\n") == 1


@needs_ray
@pytest.mark.parametrize("wrong", [{"workers": 0}, {"num_gpus": -1.0}])
def test_numbers_of_workers_that_cannot_be(task, wrong):
    with pytest.raises(ValueError, match="workers must be at least 1|num_gpus must not be"):
        measure_on_ray(task("ray"), 2, **wrong)

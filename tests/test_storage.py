"""Files arrive whole or not at all, and what is damaged or left over does not stay."""

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from saecert import storage
from saecert.storage import (
    atomic_path,
    cache_dir,
    cached_arrays,
    load_arrays,
    pack_arrays,
    read_kept,
)


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path):
    target = tmp_path / "deep" / "file.txt"
    with atomic_path(target) as partial:
        partial.write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic_path(target) as partial:
        partial.write_text("half")
        raise KeyboardInterrupt
    assert target.read_text() == "old"
    assert [path.name for path in target.parent.iterdir()] == ["file.txt"]


@pytest.mark.parametrize("moment", ["mkdir", "glob"])
def test_a_folder_that_another_process_removes_while_it_is_empty_is_made_again(
    tmp_path, monkeypatch, moment
):
    """It does so as soon as there is one: while it is made, or before it is searched."""
    folder = tmp_path / "out" / "unfinished"
    done = getattr(Path, moment)
    removals = []

    def disturbed(path, *args, **options):
        if moment == "mkdir":
            done(path, *args, **options)
        if path == folder and not removals:
            folder.rmdir()
            removals.append(1)
            raise FileNotFoundError(errno.ENOENT, "gone", str(folder))
        return None if moment == "mkdir" else done(path, *args, **options)

    monkeypatch.setattr(Path, moment, disturbed)
    with atomic_path(folder / "file.txt") as partial:
        partial.write_text("whole")
    assert removals and [path.name for path in folder.iterdir()] == ["file.txt"]


def test_cache_folder_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("SAECERT_CACHE", str(tmp_path / "here"))
    assert cache_dir() == tmp_path / "here" and cache_dir().is_dir()


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_cache_folder_that_cannot_be_made(tmp_path, monkeypatch, place):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SAECERT_CACHE", str(tmp_path / place))
    with pytest.raises(OSError, match=rf"{place} cannot be made \(.*\): set SAECERT_CACHE to a"):
        cache_dir()


def test_arrays_are_built_once():
    built = []

    def build():
        built.append(1)
        return {"x": np.arange(3)}

    for _ in range(2):
        np.testing.assert_array_equal(cached_arrays("name", "key", build)["x"], [0, 1, 2])
    assert len(built) == 1


@pytest.mark.parametrize("damage", ["empty", "truncated", "text", "another byte", "no arrays"])
def test_a_damaged_file_is_named_discarded_and_made_anew(damage):
    cached_arrays("name", "key", lambda: {"x": np.arange(1000)})
    path = next(iter(cache_dir().glob("name-*.npz")))
    content = path.read_bytes()
    middle = len(content) // 2
    other = bytes([content[middle] ^ 255])
    if damage == "no arrays":
        np.savez(path)
    else:
        contents = {
            "empty": b"",
            "truncated": content[:middle],
            "text": b"no zip",
            "another byte": content[:middle] + other + content[middle + 1 :],
        }
        path.write_bytes(contents[damage])
    with pytest.warns(UserWarning, match=f"{path.name} is damaged .*discarded, and made anew"):
        arrays = cached_arrays("name", "key", lambda: {"x": np.arange(7)})
    np.testing.assert_array_equal(arrays["x"], np.arange(7))
    np.testing.assert_array_equal(cached_arrays("name", "key", dict)["x"], np.arange(7))


def test_a_missing_file_is_no_damage(tmp_path):
    assert read_kept(tmp_path / "none.txt", lambda path: path.read_text()) is None


def test_temporary_files_of_a_killed_process_are_removed_by_the_next(tmp_path):
    code = (
        "import os, sys; from saecert.storage import atomic_path\n"
        "with atomic_path(sys.argv[1]) as partial:\n"
        "    partial.write_text('half'); os._exit(9)"
    )
    target = tmp_path / "file.txt"
    subprocess.run([sys.executable, "-c", code, str(target)], check=False)
    assert len(list(tmp_path.iterdir())) == 1
    with atomic_path(target) as partial:
        partial.write_text("whole")
    assert list(tmp_path.iterdir()) == [target]


def test_temporary_files_of_others_stay_until_they_are_old(tmp_path):
    elsewhere = tmp_path / ".saecert-partial-00000000-1-x.txt"
    elsewhere.write_text("half")
    with atomic_path(tmp_path / "a.txt") as own, atomic_path(tmp_path / "b.txt") as other:
        own.write_text("a")
        other.write_text("b")
    assert sorted(path.name for path in tmp_path.iterdir()) == [elsewhere.name, "a.txt", "b.txt"]
    os.utime(elsewhere, (time.time() - 90_000,) * 2)
    with atomic_path(tmp_path / "a.txt") as own:
        own.write_text("a")
    assert not elsewhere.exists()


def test_what_a_container_of_the_same_host_name_is_writing_stays(tmp_path, monkeypatch):
    """Its processes have numbers of their own, which need not be those of any process here."""
    with storage.partial_folder(tmp_path) as folder:
        theirs = tmp_path / folder.name.replace(f"-{os.getpid()}-", "-4194305-")
    theirs.touch()
    monkeypatch.setattr(os, "readlink", lambda path: "pid:[1]")
    with atomic_path(tmp_path / "a.txt"):
        pass
    assert theirs.exists()


def test_a_full_disk_is_said_with_the_file_and_a_hint(tmp_path):
    with (
        pytest.raises(OSError, match="disk is full: free some .*SAECERT_CACHE.*file.txt"),
        atomic_path(tmp_path / "file.txt"),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("links", [True, False])
def test_of_many_writers_the_first_wins(tmp_path, monkeypatch, links):
    def refuse(*_):
        raise PermissionError("no hard links here")

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    path = tmp_path / "file.txt"
    for text in ("first", "second"):
        with storage.atomic_path_once(path) as partial:
            partial.write_text(text)
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_for_a_while_is_gone_afterwards_and_so_is_that_of_a_killed_process(tmp_path):
    with storage.partial_folder(tmp_path) as folder:
        (folder / "file").touch()
        assert folder.parent == tmp_path
        killed = tmp_path / folder.name.replace(f"-{os.getpid()}-", "-4194305-")
        killed.mkdir()
        (killed / "file").touch()
    with storage.atomic_path(tmp_path / "file.txt"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["file.txt"]


def test_other_errors_than_a_full_disk_stay_what_they_are(tmp_path):
    for error in (RuntimeError("a bug"), ValueError("wrong"), PermissionError(13, "denied")):
        with pytest.raises(type(error), match=r"a bug|wrong|denied"), storage.room_for(tmp_path):
            raise error
    with (
        pytest.raises(OSError, match="the disk is full: free some space"),
        storage.room_for(tmp_path / "x"),
    ):
        raise RuntimeError("PytorchStreamWriter failed writing file data/0")


def test_packed_arrays_are_read_by_numpy_and_are_smaller(tmp_path):
    few = np.random.default_rng(0).integers(0, 3, (2_000, 50)).astype(np.uint8)
    arrays = {"few": few, "none": np.empty((0, 3)), "one": np.array(0.1), "text": np.array(["a"])}
    pack_arrays(tmp_path / "packed.npz", arrays)
    np.savez_compressed(tmp_path / "usual.npz", **arrays)
    packed = load_arrays(tmp_path / "packed.npz")
    assert list(packed) == list(arrays)
    for name, array in arrays.items():
        assert packed[name].dtype == array.dtype
        np.testing.assert_array_equal(packed[name], array)
    sizes = [(tmp_path / f"{name}.npz").stat().st_size for name in ("packed", "usual")]
    assert sizes[0] < sizes[1]
    with pytest.raises(ValueError, match="allow_pickle"):
        pack_arrays(tmp_path / "objects.npz", {"objects": np.array([{}])})

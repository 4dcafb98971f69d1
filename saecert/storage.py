"""Where files go, and how they get there whole: a cache folder and atomic writes."""

from __future__ import annotations

import atexit
import errno
import hashlib
import os
import platform
import shutil
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, TextIO, TypeVar

import numpy as np
import psutil
from platformdirs import user_cache_dir
from tqdm import tqdm

BARS = "SAECERT_BARS"
"""Environment variable: file to which progress bars are drawn instead of the terminal."""

_Content = TypeVar("_Content")
_PARTIAL = ".saecert-partial"
_OLD = 86_400.0  # seconds after which a temporary file of another machine is litter
_ATTEMPTS = 5  # at a folder that others may remove while it is empty
_LITTLE = 1 << 16  # bytes left on a disk that is full
_FULL = {errno.ENOSPC, errno.EDQUOT}
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, KeyError, TypeError, OSError)


def cache_dir() -> Path:
    """Folder for what can be recomputed: ``$SAECERT_CACHE``, else the user's cache folder.

    Created if missing.

    Raises
    ------
    OSError
        It is a file or cannot be made; the message says what to set.
    """
    path = Path(os.environ.get("SAECERT_CACHE") or user_cache_dir("saecert"))
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(
            f"the cache folder {path} cannot be made ({error.strerror}): set SAECERT_CACHE to a "
            "folder that can be written"
        ) from error
    return path


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Path of a temporary file in `path`'s folder that replaces `path` when the block succeeds.

    A reader never sees a half-written file, and a failed or interrupted write leaves the old one.
    What killed processes left in that folder is removed.

    Raises
    ------
    OSError
        The disk is full; the message names the file and what to do.
    """
    with _partial(Path(path), os.replace) as partial:
        yield partial


@contextmanager
def atomic_path_once(path: str | Path) -> Iterator[Path]:
    """`atomic_path` that leaves a file as it is which another process made meanwhile.

    Of many processes that write the same file the first wins, and all read the same content.
    """
    with _partial(Path(path), _keep_first) as partial:
        yield partial


def _keep_first(partial: str, path: Path) -> None:
    try:
        os.link(partial, path)
    except FileExistsError:
        return
    except OSError:  # no hard links on this file system
        if not path.exists():
            os.replace(partial, path)


@contextmanager
def _partial(path: Path, put: Callable[[str, Path], None]) -> Iterator[Path]:
    """A temporary file beside `path`, which `put` makes the file when the block succeeds."""
    with room_for(path):
        name = _temporary_file(path)
    try:
        with room_for(path):
            yield Path(name)
            os.chmod(name, 0o644)  # temporary files are private, results are not
            put(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


@contextmanager
def room_for(path: Path) -> Iterator[None]:
    """Whatever fails in the block for want of space becomes an OSError that says what to do."""
    try:
        yield
    except Exception as error:
        if not _is_full(error, path.parent):
            raise
        message = (
            "the disk is full: free some space, or set SAECERT_CACHE to a folder on another disk, "
            "and run again"
        )
        raise OSError(errno.ENOSPC, message, str(path)) from error


def _is_full(error: Exception, folder: Path) -> bool:
    """Whether a write failed for want of space; torch and safetensors say so in their own ways."""
    number = getattr(error, "errno", None)
    if number is not None:
        return number in _FULL
    said = str(error)
    failed = "No space left" in said or "failed writing" in said or "write failed" in said
    return failed or (
        isinstance(error, OSError | RuntimeError)
        and folder.exists()
        and shutil.disk_usage(folder).free < _LITTLE
    )


def _temporary_file(path: Path) -> str:
    """Name of a new empty file in the folder of `path`, which is made."""
    prefix = f"{_PARTIAL}-{_machine()}-{os.getpid()}-"
    for attempt in range(_ATTEMPTS):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            remove_litter(path.parent)
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=prefix, suffix=path.suffix)
            break
        except FileNotFoundError:  # another process removed the folder while it was empty
            if attempt == _ATTEMPTS - 1:
                raise
    os.close(handle)
    return name


def cached_arrays(
    name: str, key: str, build: Callable[[], Mapping[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """Arrays that `build` returns, kept in the cache folder under `name` and a hash of `key`.

    `key` has to hold everything that determines them. A kept file that is damaged is discarded with
    a warning, and made anew.
    """
    path = cache_dir() / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz"
    arrays = read_kept(path, load_arrays)
    if arrays is None:
        built: dict[str, Any] = dict(build())
        with atomic_path(path) as partial:
            np.savez_compressed(partial, **built)
        arrays = load_arrays(path)
    return arrays


def pack_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write an ``.npz`` file that `numpy.load` reads, packed by LZMA: an eighth smaller than
    `numpy.savez_compressed` makes it, and slower to write.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, np.asanyarray(array), allow_pickle=False)


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an ``.npz`` file, read; ValueError when it holds none."""
    with path.open("rb") as file, np.load(file) as saved:
        arrays = dict(saved)
    if not arrays:
        raise ValueError("no arrays in it")
    return arrays


def read_kept(path: Path, read: Callable[[Path], _Content]) -> _Content | None:
    """What `read` makes of a file of the cache; None when there is none or it is damaged.

    A damaged file, of which `read` raises one of the usual errors, is removed with a warning that
    names it, so that whoever asked makes it anew.
    """
    try:
        return read(path)
    except FileNotFoundError:
        return None
    except PermissionError:
        raise
    except _DAMAGE as error:
        warnings.warn(
            f"{path} is damaged ({type(error).__name__}: {error}): discarded, and made anew",
            stacklevel=3,
        )
        path.unlink(missing_ok=True)
        return None


@contextmanager
def partial_folder(parent: str | Path) -> Iterator[Path]:
    """A new folder in `parent` for what is only needed in the block; gone afterwards.

    If the process is killed, whoever writes to `parent` next removes it.
    """
    parent = Path(parent)
    prefix = f"{_PARTIAL}-{_machine()}-{os.getpid()}-"
    with room_for(parent / prefix):
        parent.mkdir(parents=True, exist_ok=True)
        remove_litter(parent)
        with tempfile.TemporaryDirectory(dir=parent, prefix=prefix) as folder:
            yield Path(folder)


def remove_litter(folder: Path) -> None:
    """Remove temporary files of processes that are gone, and old ones of other machines."""
    found: list[Path] = []
    with suppress(FileNotFoundError):  # another process removed the folder
        found.extend(folder.glob(f"{_PARTIAL}-*"))
    for path in found:
        machine, process = path.name.removeprefix(f"{_PARTIAL}-").split("-")[:2]
        try:
            if machine == _machine() and process.isdigit():
                is_litter = not psutil.pid_exists(int(process))
            else:
                is_litter = _now_in(folder) - path.stat().st_mtime > _OLD
            if is_litter and path.is_dir():
                shutil.rmtree(path)
            elif is_litter:
                path.unlink()
        except OSError:  # another process was faster, or it is not ours to remove
            continue


def _now_in(folder: Path) -> float:
    """Time by the clock that dates the files of a folder, which may be that of a server.

    The clock of this machine may be wrong, or jump; what another machine is writing just now must
    not look old.
    """
    with tempfile.TemporaryFile(dir=folder) as file:
        return os.fstat(file.fileno()).st_mtime


def _machine() -> str:
    """A short name of this machine for file names, from which the host name cannot be read.

    Containers may share a host name and not know of each other's processes: each is another one.
    """
    try:
        processes = os.readlink("/proc/self/ns/pid")
    except OSError:  # no Linux
        processes = ""
    return hashlib.sha256(f"{platform.node()}{processes}".encode()).hexdigest()[:8]


def progress_bar(*args: Any, **options: Any) -> tqdm:
    """A bar of tqdm, for every loop that may take long.

    Where ``$SAECERT_BARS`` names a file it is drawn there, even if it was switched off: a page
    shows no bar, and the run to which it belongs tells what the file says.
    """
    place = os.environ.get(BARS)
    if place:
        options = {**options, "disable": False, "file": _bars(place), "mininterval": 0.5}
    return tqdm(*args, **options)


@cache
def _bars(place: str) -> TextIO:
    """The file of bars, open until the process ends."""
    until_the_end = ExitStack()
    atexit.register(until_the_end.close)
    return until_the_end.enter_context(open(place, "w", encoding="utf-8"))

"""``saecert doctor``: what is installed, which subjects are ready, and how large the cache is."""

from __future__ import annotations

import argparse
import os
import platform
import re
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from saecert.cli.parsing import Commands, add_command

Line = tuple[str, str]
"""What is looked at, and what was found."""
_PIN = re.compile(r"^([\w.-]+)==([^;\s]+)\s*(;.*)?$")
PROBLEM = "!! "
"""How a line begins that tells what keeps saecert from working."""


def add_doctor(commands: Commands) -> None:
    """Add the command to a parser."""
    text = "say what is installed, which subjects are ready, and how large the cache is"
    command = add_command(commands, "doctor", text, "  saecert doctor\n")
    command.set_defaults(command=examine, resumes="")


def examine(options: argparse.Namespace) -> int:
    """Exit code: 1 if something that is needed is missing or broken."""
    sick = False
    for part in (installed, machine, subjects, files):
        for name, found in part():
            print(f"{name:<18} {found}".rstrip(), flush=True)
            sick |= found.startswith(PROBLEM)
    print("something is missing: see the lines with !!" if sick else "all is well")
    return int(sick)


def installed() -> Iterator[Line]:
    """Versions of saecert, Python and what saecert needs."""
    try:
        version = metadata.version("saecert")
        needs = metadata.requires("saecert") or []
    except metadata.PackageNotFoundError:
        yield "saecert", f"{PROBLEM}not installed as a package: python -m pip install ."
        return
    yield "saecert", f"{version} in {Path(__file__).parents[1]}"
    yield "Python", f"{platform.python_version()} ({sys.executable})"
    pins = [found for found in map(_PIN.match, needs) if found]
    found = {pin[1]: _version(pin[1]) for pin in pins if not pin[3]}
    wanted = {pin[1]: pin[2] for pin in pins if not pin[3]}
    for name, there in found.items():
        if there == wanted[name]:
            yield f"  {name}", there
        elif there:
            yield f"  {name}", f"{there}; measured and tested with {wanted[name]}"
        else:
            command = f"python -m pip install {name}=={wanted[name]}"
            yield f"  {name}", f"{PROBLEM}missing: {command}"
    extra = _version("gguf")
    yield "  gguf", extra or "not there: only needed for GGUF files (pip install 'saecert[gguf]')"


def machine() -> Iterator[Line]:
    """Processor, memory and accelerators."""
    import psutil

    memory = psutil.virtual_memory()
    free, total = _size(memory.available), _size(memory.total)
    yield "processor", f"{os.cpu_count()} threads, {free} of {total} memory free"
    try:
        import torch
    except Exception as error:  # whatever a broken installation raises
        yield "torch", f"{PROBLEM}cannot be imported: {_brief(error)}"
        return
    devices = ["cpu"]
    devices += [
        f"cuda:{place} ({torch.cuda.get_device_name(place)})"
        for place in range(torch.cuda.device_count())
    ]
    devices += ["mps"] if torch.backends.mps.is_available() else []
    yield "devices", ", ".join(devices)


def subjects() -> Iterator[Line]:
    """Which models can be certified here and now."""
    from saecert.subjects.listing import SHIPPED, is_installed, package_of, shipped_hooks

    yield "subjects", ""
    for name in SHIPPED:
        n_saes = len(shipped_hooks(name))
        ready = is_installed(name)
        command = "" if ready else package_of(name)["command"]
        state = f"ready, {n_saes} SAEs" if ready else f"SAEs are here, the model is not: {command}"
        yield f"  {name}", state
    try:
        from huggingface_hub import constants

        from saecert.subjects.registry import PAPER
    except Exception as error:  # whatever a broken installation raises
        yield "  of the hub", f"{PROBLEM}sae_lens cannot be imported: {_brief(error)}"
        return
    for name, published in PAPER.items():
        folder = Path(constants.HF_HUB_CACHE) / f"models--{published.repo.replace('/', '--')}"
        here = any(folder.glob("snapshots/*/*.safetensors"))
        yield f"  {name}", f"{'downloaded' if here else 'not downloaded'}: {published.repo}"
    if constants.HF_HUB_OFFLINE:
        yield "hub", "offline (HF_HUB_OFFLINE is set): only what is downloaded can be loaded"


def files() -> Iterator[Line]:
    """The cache, the text that ships, and what is kept."""
    from saecert.reporting import measurements
    from saecert.storage import cache_dir

    place = cache_dir()
    count, size = _content(place)
    why = "SAECERT_CACHE" if os.environ.get("SAECERT_CACHE") else "set SAECERT_CACHE to move it"
    yield "cache", f"{place}: {_size(size)} in {count} files ({why})"
    extracted = any(place.glob("docstrings-*.json"))
    later = "read from the installed packages at first use, about a minute"
    yield "docstrings", "read already" if extracted else later
    kept = sum(1 for _ in measurements.all_kept())
    none = "none: everything is measured here (they come with a clone)"
    yield "measurements", f"{kept} kept in {measurements.folder()}" if kept else none


def _version(package: str) -> str:
    """The version of an installed package without local tags; "" if there is none."""
    try:
        return metadata.version(package).split("+")[0]
    except metadata.PackageNotFoundError:
        return ""


def _content(folder: Path) -> tuple[int, int]:
    """How many files are below a folder, and how many bytes."""
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return len(sizes), sum(sizes)


def _size(n_bytes: int) -> str:
    """A size in megabytes or gigabytes."""
    megabytes = n_bytes / 1e6
    return f"{megabytes:.1f} MB" if megabytes < 1000 else f"{megabytes / 1000:.1f} GB"


def _brief(error: Exception) -> str:
    """The first line of an error."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]

"""Make the filter of old shingles from the wheels of old releases.

``python -m saecert.corpora.old_releases WHEEL [WHEEL ...] [--out FOLDER]``
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from saecert.corpora.docstrings import PACKAGES, documents_under
from saecert.corpora.fresh import FOLDER, UNJUDGED, ShingleFilter, shingles_of
from saecert.storage import atomic_path

BITS_PER_SHINGLE = 8
"""With `N_HASHES` hashes about 1 in 46 new shingles looks old by mistake."""
N_HASHES = 6
"""Bits that a shingle sets."""


def documents_of(wheel: Path) -> tuple[str, str, dict[str, str]]:
    """Package, version and docstrings of a wheel, duplicates and all.

    Raises
    ------
    ValueError
        No wheel, or not of a package of the docstring corpus.
    """
    package, version = wheel.name.split("-")[:2] if wheel.suffix == ".whl" else ("", "")
    if package not in PACKAGES or package == UNJUDGED:
        wanted = ", ".join(name for name in PACKAGES if name != UNJUDGED)
        raise ValueError(f"{wheel} is not a wheel of one of {wanted}")
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.startswith(f"{package}/")]
        archive.extractall(folder, [name for name in names if name.endswith(".py")])
        return package, version, documents_under(Path(folder) / package)


def write_filter(wheels: Sequence[Path], out: Path = FOLDER) -> dict[str, object]:
    """Write the filter of all shingles in the docstrings of `wheels`, and return its facts."""
    releases = {}
    shingles: set[str] = set()
    n_documents = 0
    for wheel in wheels:
        package, version, documents = documents_of(wheel)
        releases[package] = version
        n_documents += len(documents)
        for text in documents.values():
            shingles.update(shingles_of(text))
        print(f"{package} {version}: {len(documents)} documents, {len(shingles)} shingles in all")
    known = ShingleFilter.empty(8 * -(-len(shingles) * BITS_PER_SHINGLE // 8), N_HASHES)
    known.add(sorted(shingles))
    out.mkdir(parents=True, exist_ok=True)
    with atomic_path(out / "shingles.npy") as partial, partial.open("wb") as stream:
        np.save(stream, known.bits)
    facts = {
        "releases": dict(sorted(releases.items())),
        "n_documents": n_documents,
        "n_shingles": len(shingles),
        "n_hashes": N_HASHES,
        "mistaken": round(known.mistaken, 6),
        "sha256": hashlib.sha256((out / "shingles.npy").read_bytes()).hexdigest(),
    }
    with atomic_path(out / "facts.json") as partial:
        partial.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return facts


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m saecert.corpora.old_releases")
    parser.add_argument("wheels", nargs="+", type=Path, metavar="WHEEL")
    parser.add_argument("--out", type=Path, default=FOLDER)
    options = parser.parse_args(arguments)
    try:
        facts = write_filter(options.wheels, options.out)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(json.dumps(facts, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())

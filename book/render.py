"""The book, from executed notebooks and a copy of the prose: tracked files stay as they are.

    python book/render.py notebooks _build/html

`make` calls it like this, and a warning is then an error; ``python -m saecert run --all`` calls
`render` for somebody's own subject. SAECERT_REPOSITORY is where the repository lies on GitHub
(``https://github.com/owner/name``): with it, pages have buttons that open them in Colab or Binder.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
import yaml
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[1]
PROSE = ("_toc.yml", "book", "certificates", "_static")
ENTRANCE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="refresh" content="0; url=book/index.html">
<title>saecert</title>
</head>
<body><p><a href="book/index.html">saecert</a></p></body>
</html>
"""
"""What `index.html` is: the way to the first page."""


def render(executed: Path, html: Path, subject: str = "") -> None:
    """Make the folder `html` from the notebooks in `executed`, anew.

    With `subject` it is the book of a run: pages say at which parameters they ran, one that failed
    says why, and warnings do not stop it. Raises SystemExit when the book cannot be made.
    """
    html.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=html.parent, prefix=".book-") as work:
        source = Path(work)
        for name in [name for name in PROSE if (ROOT / name).exists()]:
            (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, source / name)
        config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
        config["title"] += f": {subject}" if subject else ""
        if repository := os.environ.get("SAECERT_REPOSITORY", ""):
            _launch(config, repository)
        (source / "_config.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
        (source / "notebooks").mkdir()
        offer = None if subject else downloads(source)
        for name in pages():
            notebook = page(executed, name, subject)
            with_text(notebook, name)
            if offer:
                offer(notebook, Path(name).name)
            nbformat.write(notebook, source / f"{name}.ipynb")
        _build(source, [] if subject else ["-W", "-n", "--keep-going"])
        (source / "_build/html/index.html").write_text(ENTRANCE, encoding="utf-8")
        shutil.rmtree(html, ignore_errors=True)
        shutil.move(source / "_build/html", html)


def _build(source: Path, options: list[str]) -> None:
    code = "from jupyter_book.cli.main import main; main()"
    command = [
        sys.executable,
        "-c",
        code,
        "build",
        str(source),
        "--path-output",
        str(source),
        "-q" if options else "-qq",
        *options,
    ]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        missing = (
            ""
            if find_spec("jupyter_book")
            else ": jupyter-book is missing, pip install -c constraints.txt -e '.[book]'"
        )
        raise SystemExit(f"{done.stdout}the book could not be made{missing}")


def pages() -> list[str]:
    """The notebooks of the book, in its order (``notebooks/01_bound``, ...)."""
    parts = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))["parts"]
    return [
        name
        for part in parts
        for chapter in part["chapters"]
        if (name := chapter["file"]).startswith("notebooks/")
    ]


def page(executed: Path, name: str, subject: str) -> NotebookNode:
    """The executed notebook, or what its last failed run left.

    Below the title stands a note on how it was run.
    """
    stem = Path(name).name
    found = [
        path
        for path in (executed / f"{stem}.failed.ipynb", executed / f"{stem}.ipynb")
        if path.exists()
    ]
    if not found:
        raise SystemExit(f"no executed {stem} in {executed}")
    notebook = nbformat.read(found[0], as_version=4)
    if subject and (note := _note(notebook.metadata.get("saecert", {}), subject)):
        notebook.cells.insert(1, nbformat.v4.new_markdown_cell(note, id="how-it-ran"))
    return notebook


def with_text(notebook: NotebookNode, name: str) -> None:
    """Put the text into tables of latents, of which stored notebooks hold only its places.

    Where it cannot be found, other versions of the packages being installed, say so and leave the
    tables without.
    """
    pages_of = [
        output.get("data", {}).get("text/html", "")
        for cell in notebook.cells
        for output in cell.get("outputs", [])
    ]
    if not any("saecert-latents" in shown for shown in pages_of):
        return
    from saecert.reporting.excerpts import fill

    try:
        fill(notebook)
    except (ValueError, OSError, ImportError) as error:
        print(f"{name}: no text in its tables of latents: {error}")


def downloads(source: Path) -> Callable[[NotebookNode, str], None]:
    """What offers losses and certificates below the figures of a page that stand on them."""
    from saecert.reporting.downloads import offer
    from saecert.reporting.shelf import Shelf

    return partial(offer, shelf=Shelf(source))


def _launch(config: dict, repository: str) -> None:
    """Buttons that open a notebook in Colab or Binder, where it is known where the clone lies."""
    config["repository"] = {"url": repository, "path_to_book": "", "branch": "main"}
    config["launch_buttons"] |= {
        "binderhub_url": "https://mybinder.org",
        "colab_url": "https://colab.research.google.com",
    }
    config["html"]["use_repository_button"] = True


def _note(facts: dict, subject: str) -> str:
    if "error" in facts:
        failure = f"This page could not run for `{subject}`, and stops where it failed:"
        return f"```{{warning}}\n{failure}\n\n    {facts['error']}\n```"
    changed = [
        f"`{key} = {value!r}`"
        for key, value in facts.get("parameters", {}).items()
        if key != "strict"
    ]
    if not changed:
        return ""
    claims = (
        "Title and text state what was found at the defaults; "
        "whether it holds here, the page prints."
    )
    return f"```{{note}}\nThis page was run with {', '.join(changed)}. {claims}\n```"


if __name__ == "__main__":
    render(Path(sys.argv[1]), Path(sys.argv[2]))

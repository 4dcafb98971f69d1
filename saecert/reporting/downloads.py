"""Files that pages of the book offer below a figure: certificates, and the losses behind one."""

from __future__ import annotations

from pathlib import Path

import nbformat
from nbformat import NotebookNode

from saecert.certificates.certificate import Certificate
from saecert.reporting.layers import labels_of
from saecert.reporting.models import load_certificates
from saecert.reporting.study import open_study

FIGURES = {"02_four_terms": "fig-four-terms", "10_models": "fig-models"}
"""Below which figure of a page the links stand."""
FOLDER = "downloads"
"""Where the files lie, beside the pages' folder."""


def offer(notebook: NotebookNode, stem: str, source: Path) -> None:
    """Put links to certificates below the figure of a page, and the files into the book's source.

    Other pages, and pages whose figure is not there, stay as they are.

    Parameters
    ----------
    notebook
        The executed page, changed in place.
    stem
        Its name, such as ``"02_four_terms"``.
    source
        Folder of the book's sources; files go to `FOLDER` in it.
    """
    names = [_figure_of(cell) for cell in notebook.cells]
    if FIGURES.get(stem, "") not in names:
        return
    folder = source / FOLDER
    folder.mkdir(exist_ok=True)
    certificates = {
        name: one
        for name, one in load_certificates().items()
        if one.provenance["subject"] == "docstring-6l"
    }
    text = _one(certificates, folder) if stem == "02_four_terms" else _all(certificates, folder)
    if text:
        cell = nbformat.v4.new_markdown_cell(text, id="downloads")
        notebook.cells.insert(names.index(FIGURES[stem]) + 1, cell)


def _figure_of(cell: NotebookNode) -> str:
    return cell.metadata.get("mystnb", {}).get("figure", {}).get("name", "none")


def _one(certificates: dict[str, Certificate], folder: Path) -> str:
    """The certificate that page 02 draws, and its losses; nothing if these are not kept."""
    study = open_study()
    if not study.is_kept(alphas=[0.5]):
        return ""
    losses = study.losses(alphas=[0.5])
    fingerprint = losses.fingerprint()
    found = [
        name
        for name, one in certificates.items()
        if one.fingerprint == fingerprint and one.alpha == 0.5
    ]
    if not found:
        return ""
    name = Path(found[0]).stem
    certificates[found[0]].save(folder / f"{name}.json")
    losses.save(folder / f"{name}.npz")
    return (
        f"To keep: {{download}}`the certificate <../{FOLDER}/{name}.json>` and "
        f"{{download}}`the losses behind it <../{FOLDER}/{name}.npz>`. In one folder, "
        f"`saecert verify {name}.json` recomputes every number of the first from the second."
    )


def _all(certificates: dict[str, Certificate], folder: Path) -> str:
    """A link to each certificate of the shipped model."""
    hooks = sorted({one.provenance["hook_name"] for one in certificates.values()})
    labels = dict(zip(hooks, labels_of(hooks), strict=True))
    lines = []
    for hook in hooks:
        links = []
        for name, one in certificates.items():
            if one.provenance["hook_name"] == hook:
                one.save(folder / name)
                text = f"alpha = {one.alpha:g}"
                links.append((-one.alpha, f"{{download}}`{text} <../{FOLDER}/{name}>`"))
        lines.append(f"* layer {labels[hook]}: {', '.join(link for _, link in sorted(links))}")
    return "The certificates of the shipped model, to keep:\n\n" + "\n".join(lines)

"""What pages of the book offer below their figures: the losses behind them, and certificates.

No code of a page is run. `saecert.reporting.notes` said in the executed notebook what each cell
read; `saecert.reporting.slices` says which of it a figure stands on.
"""

from __future__ import annotations

import ast
import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import nbformat
from nbformat import NotebookNode

from saecert.reporting.layers import labels_of
from saecert.reporting.models import load_certificates
from saecert.reporting.notes import KEY, default_of
from saecert.reporting.shelf import Losses, Shelf, link
from saecert.reporting.slices import Statement, behind

ALL_CERTIFICATES = {"10_models": "fig-models"}
"""Pages whose figure shows every certificate of the shipped model."""
SETTINGS = ("delta", "alpha", "inequality", "tolerance")
"""Parameters of pages that are arguments of `saecert.certify` under the same name."""


@dataclass
class Behind:
    """What one figure stands on."""

    losses: dict[str, Losses] = field(default_factory=dict)
    """Losses that were read, by the beginning of their fingerprint."""
    others: dict[str, Mapping[str, str]] = field(default_factory=dict)
    """Files of other measured, and of simulated numbers, with facts about each."""
    certificates: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    """Certificates of these losses: the beginning of a fingerprint, and settings."""
    own: bool = True
    """Whether they are those that the page made; else they are of its parameters."""


def offer(notebook: NotebookNode, stem: str, shelf: Shelf) -> None:
    """Put links below the figures of a page, and what they lead to on the shelf.

    A figure that stands on nothing that is kept has none, and neither has a page whose executed
    notebook says nothing of what it read.

    Parameters
    ----------
    notebook
        The executed page, changed in place.
    stem
        Its name, such as ``"02_four_terms"``.
    shelf
        Where the book has its files.
    """
    names = [_figure_of(cell) for cell in notebook.cells]
    texts = {}
    for position, name in enumerate(names):
        if name and name == ALL_CERTIFICATES.get(stem):
            texts[position] = _all(shelf)
        elif name:
            texts[position] = _text(_behind(notebook, position, shelf), shelf)
    for position in sorted(texts, reverse=True):
        if texts[position]:
            name = f"downloads-{names[position]}"
            text = f":::{{div}} downloads\n{texts[position]}\n:::"
            notebook.cells.insert(position + 1, nbformat.v4.new_markdown_cell(text, id=name))


def _figure_of(cell: NotebookNode) -> str:
    return cell.metadata.get("mystnb", {}).get("figure", {}).get("name", "")


def _behind(notebook: NotebookNode, position: int, shelf: Shelf) -> Behind:
    """What the figure in the cell at `position` stands on, as far as it is kept."""
    cells = notebook.cells
    if not any(KEY in cell.metadata for cell in cells):
        return Behind()
    statements = behind([c.source if c.cell_type == "code" else "" for c in cells], position)
    found = Behind()
    for note in _notes(cells, statements):
        if note["kind"] == "losses":
            losses = shelf.losses(note)
            if losses:
                found.losses[note["fingerprint"]] = losses
        elif facts := shelf.copied(note["file"]):
            found.others[note["file"]] = facts
    found.certificates = _once(_drawn(cells[: position + 1], statements, found.losses))
    if not found.certificates:
        found.own = False
        found.certificates = _at_parameters(parameters_of(notebook), found.losses)
    return found


def _drawn(
    cells: Sequence[NotebookNode], statements: Iterable[Statement], losses: Collection[str]
) -> Iterator[Mapping[str, Any]]:
    """Notes of the certificates of these losses that these statements made."""
    changed = {(one.cell, name) for one in statements for name in one.changed}
    for place, cell in enumerate(cells):
        for note in cell.metadata.get(KEY, {}).get("certified", []):
            if note["fingerprint"] in losses and (place, note["variable"]) in changed:
                yield note


def _notes(cells: Sequence[NotebookNode], statements: Iterable[Statement]) -> list[Mapping]:
    """What was noted in these statements, but for those that only say how large something is."""
    return [
        note
        for one in statements
        if one.used
        for note in cells[one.cell].metadata.get(KEY, {}).get("read", [])
        if note.get("line", 0) in one.lines
    ]


def _once(made: Iterable[Mapping[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """Losses and settings of noted certificates, each once, in the order of their losses."""
    texts = [(note["fingerprint"], json.dumps(note["settings"], sort_keys=True)) for note in made]
    return [(fingerprint, json.loads(text)) for fingerprint, text in dict.fromkeys(texts)]


def parameters_of(notebook: NotebookNode) -> dict[str, Any]:
    """The parameters with which a page was executed."""
    values = {}
    for cell in notebook.cells:
        if {"parameters", "injected-parameters"} & set(cell.metadata.get("tags", [])):
            for node in ast.parse(cell.source).body:
                if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                    values[node.targets[0].id] = ast.literal_eval(node.value)
    return values


def _at_parameters(
    parameters: Mapping[str, Any], losses: Mapping[str, Losses]
) -> list[tuple[str, dict[str, Any]]]:
    """Settings of a certificate at a page's parameters, for the losses that can have one.

    The pool is the one that the default rule chooses by the tolerance, or the whole dictionary
    where no other was measured; without discovery, which ranks latents, there is none.
    """
    made = []
    settings = {name: parameters[name] for name in SETTINGS if name in parameters}
    for fingerprint, one in losses.items():
        record = one.record
        if record.discovery is None or settings.get("alpha", 0.5) not in record.alphas:
            continue
        if len(record.pool_sizes) > 1 and record.discovery.losses is not None:
            made.append((fingerprint, settings))
        elif record.d_sae in record.pool_sizes:
            whole = {k: v for k, v in settings.items() if k != "tolerance"}
            made.append((fingerprint, {**whole, "pool": record.d_sae}))
    return made


def _text(found: Behind, shelf: Shelf) -> str:
    """The links of one figure; nothing if it stands on nothing that is kept."""
    told = labelled([one.facts for one in found.losses.values()])
    labels = dict(zip(found.losses, told, strict=True))
    losses = [(labels[key], one.file) for key, one in found.losses.items()]
    made = []
    for key, settings in found.certificates:
        label = [labels[key], *_apart(key, settings, found.certificates)]
        file = shelf.certificate(found.losses[key], settings)
        made += [(", ".join(filter(None, label)), file)] if file else []
    groups = [_links("losses", "losses", losses), _links("certificate", "certificates", made)]
    by_name: dict[str, list[tuple[str, Mapping[str, str]]]] = defaultdict(list)
    for file, facts in found.others.items():
        by_name[facts["name"]].append((file, facts))
    for name, files in by_name.items():
        own = labelled([facts for _, facts in files])
        groups.append(_links(name, name, list(zip(own, [file for file, _ in files], strict=True))))
    if not any(groups):
        return ""
    text = f"Behind this figure: {'; '.join(filter(None, groups))}."
    if len(made) == 1:
        file = found.losses[found.certificates[0][0]].file
        text += f" In one folder, `saecert verify {made[0][1]} {file}` recomputes every number"
        text += " of the certificate."
    elif made:
        text += " A certificate is named after its losses; in one folder,"
        text += " `saecert verify CERTIFICATE LOSSES` recomputes every number of it."
    if made and not found.own:
        text += " What is certified here is at the parameters of this page, each by itself."
    return text


def _links(one: str, several: str, files: Sequence[tuple[str, str]]) -> str:
    """Links to files with their labels: "losses", or "losses (layer 0, layer 1)"."""
    if len(files) == 1:
        return link(one, files[0][1])
    links = [link(label, file) for label, file in numbered(files)]
    return f"{several} ({', '.join(links)})" if links else ""


def _apart(
    key: str, settings: Mapping[str, Any], made: Sequence[tuple[str, Mapping[str, Any]]]
) -> list[str]:
    """What tells a certificate from others of the same losses, such as "pool = 1152"."""
    same = [other for fingerprint, other in made if fingerprint == key]
    names = dict.fromkeys(name for other in same for name in other)
    differ = [name for name in names if len({repr(other.get(name)) for other in same}) > 1]
    return [f"{name} = {settings.get(name, default_of(name))}" for name in differ]


def labelled(facts: Sequence[Mapping[str, str]]) -> list[str]:
    """What tells things from one another, such as "layer 2", by facts of each; "" for one alone.

    Their names do not count.
    """
    keys = [key for key in facts[0] if key != "name"] if facts else []
    differ = [key for key in keys if len({each[key] for each in facts}) > 1]
    return [", ".join(each[key] for key in differ) for each in facts]


def numbered(named: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Pairs of a text and a file; texts that several have, or that are empty, get a number."""
    texts = [text for text, _ in named]
    found = []
    for index, (text, file) in enumerate(named):
        number = str(texts[: index + 1].count(text)) if texts.count(text) > 1 or not text else ""
        found.append((" ".join(filter(None, (text, number))), file))
    return found


def _all(shelf: Shelf) -> str:
    """A link to each certificate of the shipped model."""
    certificates = {
        name: one
        for name, one in load_certificates().items()
        if one.provenance["subject"] == "docstring-6l"
    }
    hooks = sorted({one.provenance["hook_name"] for one in certificates.values()})
    labels = dict(zip(hooks, labels_of(hooks), strict=True))
    lines = []
    for hook in hooks:
        links = []
        for name, one in certificates.items():
            if one.provenance["hook_name"] == hook and shelf.put(name, one.save):
                links.append((-one.alpha, link(f"alpha = {one.alpha:g}", name)))
        lines.append(f"* layer {labels[hook]}: {', '.join(link for _, link in sorted(links))}")
    return "The certificates of the shipped model, to keep:\n\n" + "\n".join(lines)

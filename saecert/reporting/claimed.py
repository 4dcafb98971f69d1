"""Which claims of the pages hold on another subject: kept from real runs of theirs.

python -m saecert run 02_four_terms --subject smollm2-135m -p n_seq=60 -p strict=False
python -m saecert.reporting.claimed runs/smollm2-135m

The second command reads the pages that the first one executed, and keeps what their claims came to
in ``measurements/claims/<subject>.json``, with date and parameters.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
from nbformat import NotebookNode

from saecert.reporting import measurements
from saecert.reporting.claims import NOT_TESTED, UNDECIDED, read_claims
from saecert.storage import atomic_path

PAGES = (
    "02_four_terms",
    "03_convergence",
    "06_concepts",
    "07_behaviour",
    "11_layers",
    "12_shuffling",
    "13_random_decoder",
    "14_explosion",
    "15_pool_growth",
    "16_limits",
)
"""Pages whose claims were made on the subject of this book, and are tried on others."""
NOT_RUN = "not run"
_FAILED = ".failed"


def kept_claims(subject: str) -> dict[str, Any]:
    """By page: "date", "parameters" that differ from the page's own, and "claims", verdicts by
    claim; or "error", why the page stopped. Empty where none was run.
    """
    path = _path(subject)
    return json.loads(path.read_text(encoding="utf-8"))["pages"] if path.exists() else {}


def claims_table(subject: str) -> pd.DataFrame:
    """A row a page of `PAGES`: how many of its claims hold on `subject`, are undecided, or were not
    tested; n, date."""
    kept = kept_claims(subject)
    rows = {page.partition("_")[0]: _row(kept.get(page)) for page in PAGES}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("page")


def claims_that_fail(subject: str) -> list[str]:
    """Claims that do not hold on `subject`, with the numbers of their pages."""
    return [
        f"{page.partition('_')[0]} {claim}"
        for page, facts in kept_claims(subject).items()
        for claim, verdict in facts.get("claims", {}).items()
        if verdict == "does not hold"
    ]


def keep_claims(folder: Path, subject: str = "") -> Path:
    """The file in which the claims of every executed page in `folder` now are.

    Pages kept before stay unless they are in `folder`, too. `subject` is what the pages were run
    on, if they do not say so themselves.

    Raises
    ------
    ValueError
        No executed page of `PAGES` in `folder`, or pages of several subjects.
    """
    found = {}
    subjects = {subject} if subject else set()
    for path in sorted(Path(folder).glob("[0-9][0-9]_*.ipynb")):
        page = path.stem.removesuffix(_FAILED)
        if page not in PAGES:
            continue
        notebook = nbformat.read(path, as_version=4)
        parameters = _injected(notebook)
        subjects.add(str(parameters.pop("subject", subject)))
        parameters.pop("strict", None)
        found[page] = {**_outcome(notebook), "parameters": parameters, "date": _date(path)}
    if not found:
        raise ValueError(f"no executed page of {', '.join(PAGES)} in {folder}")
    if len(subjects) > 1:
        raise ValueError(f"pages of several subjects in {folder}: {', '.join(sorted(subjects))}")
    name = subjects.pop()
    pages = dict(sorted({**kept_claims(name), **found}.items()))
    path = _path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as partial:
        partial.write_text(json.dumps({"subject": name, "pages": pages}, indent=1) + "\n", "utf-8")
    return path


def _outcome(notebook: NotebookNode) -> dict[str, Any]:
    """The claims of an executed page, or why it stopped."""
    error = notebook.metadata.get("saecert", {}).get("error")
    if error:
        return {"error": error}
    printed = [
        output.get("text", "")
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
    ]
    return {"claims": read_claims("\n".join(printed))}


def _injected(notebook: NotebookNode) -> dict[str, Any]:
    """Parameters with which a page was run, without those left as they are."""
    values = {}
    for cell in notebook.cells:
        if "injected-parameters" not in cell.metadata.get("tags", []):
            continue
        for node in ast.parse(cell.source).body:
            if isinstance(node, ast.Assign):
                values |= {target.id: ast.literal_eval(node.value) for target in node.targets}
    return values


def _row(facts: Mapping[str, Any] | None) -> dict[str, Any]:
    blank = dict.fromkeys(("hold", UNDECIDED, NOT_TESTED, "n", "date"), "")
    if facts is None:
        return {**blank, "hold": NOT_RUN}
    n_seq = facts["parameters"].get("n_seq", "default")
    row = {**blank, "n": str(n_seq), "date": facts["date"]}
    if "error" in facts:
        return {**row, "hold": "the page stopped"}
    verdicts = list(facts["claims"].values())
    counts = {name: verdicts.count(name) for name in (UNDECIDED, NOT_TESTED)}
    tested = len(verdicts) - counts[NOT_TESTED]
    row |= {name: str(count) for name, count in counts.items()}
    return {**row, "hold": f"{verdicts.count('holds')} of {tested}"}


def _date(path: Path) -> str:
    """The day on which a page was executed."""
    return datetime.fromtimestamp(path.stat().st_mtime, UTC).date().isoformat()


def _path(subject: str) -> Path:
    return measurements.folder() / "claims" / f"{subject}.json"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m saecert.reporting.claimed FOLDER-OF-EXECUTED-PAGES")
    sys.stdout.write(f"{keep_claims(Path(sys.argv[1]))}\n")

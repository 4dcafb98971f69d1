"""What it costs to ignore that documents come in groups (page 04), one cell at a time.

Records that were measured before groups were recorded have hashes of their documents; the names
behind these are those of the docstring corpus, so that its groups can be told without measuring.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from saecert.records import SequenceLosses
from saecert.reporting.experiments import measured_quantities
from saecert.statistics.coverage import coverage_table
from saecert.statistics.finite import finite_upper
from saecert.statistics.groups import design_effect, intraclass_correlation
from saecert.statistics.inequalities import dirichlet_upper
from saecert.statistics.populations import clustered, listed, one_of_each

Rows = list[dict[str, Any]]

GROUPINGS = ("package", "module")
"""What a docstring is grouped by: the package, or the file of the package, that it is from."""

DESIGNS = {
    "sequence": "new {by}s, every sequence counted",
    "group": "new {by}s, one sequence of each",
}
"""How a bound is applied where groups are drawn anew."""


def docstring_groups(losses: SequenceLosses, by: str) -> np.ndarray:
    """Label of the group of each sequence of a record on the docstring corpus.

    From the hashes of its documents and the corpus on this machine (cached; minutes if it is not).

    Raises
    ------
    ValueError
        An unknown grouping, or documents that are not on this machine.
    """
    from saecert.corpora.docstrings import docstring_documents, python_functions

    if by not in GROUPINGS:
        raise ValueError(f"unknown grouping '{by}'; there are {', '.join(GROUPINGS)}")
    names = {_hash(key): key for key in docstring_documents(progress=False)}
    documents = [] if losses.documents is None else losses.documents.tolist()
    if not documents or any(document not in names for document in documents):
        raise ValueError("groups can be told for docstrings of the pinned package versions only")
    keys = [names[document] for document in documents]
    if by == "package":
        return np.array([key.partition(":")[0] for key in keys])
    modules = set(python_functions())
    return np.array([_module(key, modules) for key in keys])


def group_facts(losses: SequenceLosses, *, by: str, alpha: float, tolerance: float) -> Rows:
    """One row: how many groups there are, and how much alike v_A is within them.

    Columns: groups, n_seq, largest (sequences in the largest group), intraclass_correlation and
    design_effect, both estimates.
    """
    groups = docstring_groups(losses, by)
    values = measured_quantities(losses, alpha, tolerance)["v_A (T1)"].values[0]
    sizes = np.unique(groups, return_counts=True)[1]
    row = {"groups": len(sizes), "n_seq": len(values), "largest": int(sizes.max())}
    row |= {
        "intraclass_correlation": intraclass_correlation(values, groups),
        "design_effect": design_effect(values, groups),
    }
    return [row]


def misses_of_groups(
    losses: SequenceLosses,
    *,
    by: str,
    unit: str,
    n: int,
    alpha: float,
    tolerance: float,
    **settings: Any,
) -> Rows:
    """Miss rates of the default bound on v_A where whole groups are drawn anew.

    `unit` is a key of `DESIGNS`: "sequence" takes `n` sequences of the groups drawn for
    independent, "group" takes one of each, as many as there are groups. The truth is the mean over
    all sequences, or over groups. Other settings as for
    `saecert.reporting.experiments.misses_made_up`.
    """
    groups = docstring_groups(losses, by)
    case = measured_quantities(losses, alpha, tolerance)["v_A (T1)"]
    design = {"sequence": clustered, "group": one_of_each}[unit]
    label = DESIGNS[unit].format(by=by)
    made = [design(label, case.values[0], groups, case.lo, case.hi)]
    size = n if unit == "sequence" else len(np.unique(groups))
    default = {"dirichlet": dirichlet_upper}
    rows = coverage_table(default, [size], populations=made, progress=False, **settings)
    return [{"label": label, **row} for row in rows]


def misses_on_the_list(
    losses: SequenceLosses, *, n: int, alpha: float, tolerance: float, **settings: Any
) -> Rows:
    """Miss rates and mean widths of betting on v_A where the record is a list that is drawn from.

    Without replacement; the truth is the mean of the list. Column "inequality": "betting, of the
    list" (`saecert.statistics.finite`) and "betting", as if the draws were independent; "width" is
    the mean excess over the sample mean, in bits, of the first 20 samples.
    """
    case = measured_quantities(losses, alpha, tolerance)["v_A (T1)"]
    made = listed("measured v_A", case.values[0], case.lo, case.hi)
    tested = {
        "betting, of the list": finite_upper("betting", case.values.shape[1]),
        "betting": finite_upper("betting", 10**12),
    }
    rows = coverage_table(tested, [n], populations=[made], progress=False, **settings)
    x = made.draw(np.random.default_rng([settings["seed"], n]), 20, n).x[:, 0]
    nats = -np.log(settings["delta"])
    for row in rows:
        limits = tested[row["inequality"]](x, case.lo, case.hi, nats)
        row["width"] = float((limits - x.mean(axis=1)).mean())
    return [{"label": f"{n} of the list", **row} for row in rows]


def _hash(key: str) -> int:
    """Hash of a document as a record has it."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")


def _module(key: str, modules: set[str]) -> str:
    """The longest beginning of a dotted name that is a module; without its last part if none is."""
    name = key
    while name and name not in modules:
        name = name.rpartition(".")[0]
    return name or key.rpartition(".")[0] or key

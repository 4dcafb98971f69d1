"""Kept measurements, measured again: a few sequences of each, or a few cells of a simulation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from saecert.measurement.named import parse
from saecert.records import SequenceLosses
from saecert.reporting import measurements, simulations
from saecert.reporting.measurements import Kept
from saecert.reporting.quantities import MEASURABLE
from saecert.reporting.study import Study, open_study

if TYPE_CHECKING:
    from saecert.corpora.corpus import Corpus
    from saecert.measurement.proxies import Proxy
    from saecert.measurement.survey import Survey


def changes_of_losses(
    kept: Sequence[Kept], rng: np.random.Generator, count: int = 3
) -> dict[str, float]:
    """Largest change of a loss, in bits a sequence, by file: random sequences measured again.

    The rankings and the means of activations that proxies are built from are surveyed once for all
    files on the same discovery text.
    """
    shared: dict[Any, Any] = {}
    changes = {}
    for file in kept:
        record = measurements.load_record(file)
        rows = np.sort(rng.choice(len(record), min(count, len(record)), replace=False))
        again = _measured_again(file, record, rows, shared)
        changes[file.path.name] = largest_change(record.take(rows), again)
    return changes


def changes_of_arrays(
    kept: Sequence[Kept], rng: np.random.Generator, count: int = 3
) -> dict[str, float]:
    """Largest change of a value by file of named arrays with a row a sequence: random ones again.

    A value that is a number in one of the two alone has changed infinitely.
    """
    shared: dict[Any, Any] = {}
    changes = {}
    for file in kept:
        rows = np.sort(rng.choice(file.facts["n_seq"], count, replace=False))
        held, again = _arrays_again(file, shared, rows)
        changes[file.path.name] = max(_change(held[name][rows], again[name]) for name in held)
    return changes


def shares_changed(kept: Sequence[Kept]) -> dict[str, dict[str, float]]:
    """Shares of the entries of each array that differ, by file: all of it measured again.

    Whole numbers and texts differ unless they are the same, other numbers by more than a hundredth,
    or a thousandth of the largest in the array: another processor rounds otherwise.
    """
    shared: dict[Any, Any] = {}
    shares = {}
    for file in kept:
        held, again = _arrays_again(file, shared, None)
        both = set(held) | set(again)
        one = {name: _share_changed(held.get(name), again.get(name)) for name in sorted(both)}
        shares[file.path.name] = one
    return shares


def changes_of_frame(
    kept: Kept, rng: np.random.Generator, count: int = 1, among: Sequence[int] | None = None
) -> tuple[pd.DataFrame, pd.DataFrame] | None:
    """Rows of random cells of a kept simulation as kept, and made again; None if a page made it.

    `among` are the numbers of the cells that may be taken, all if not said. ValueError if it stands
    on losses that are not kept.
    """
    request = kept.request
    build = simulations.function_named(request["build"])
    if build is None:
        return None
    cells = request["cells"]
    among = range(len(cells)) if among is None else among
    chosen = rng.choice(list(among), min(count, len(among)), replace=False).tolist()
    frame = measurements.read_frame(kept.path)
    rows = frame[frame[simulations.CELL].isin(chosen)].reset_index(drop=True)
    losses = losses_behind(kept) if request["losses"] else None
    made = simulations.make_cells(build, request["settings"], cells, sorted(chosen), losses)
    # a column that only other cells have is empty here
    rows = rows.dropna(axis=1, how="all")
    again = measurements.as_kept_frame(made).dropna(axis=1, how="all")
    if set(again.columns) == set(rows.columns):
        again = again[rows.columns]
    return rows, again


def losses_behind(kept: Kept) -> SequenceLosses:
    """The kept losses that a simulation was made from; ValueError if none are the same."""
    about = kept.facts["losses"]
    keys = ("subject", "hook_name", "corpus", "split")
    for file in measurements.all_kept("losses"):
        if all(file.request[key] == about[key] for key in keys):
            for parts in ({}, {"controls": False, "extra": []}):
                part = measurements.read_part(file.path.name, parts)
                if part is not None and simulations.numbers_of(part[0]) == kept.request["losses"]:
                    return part[0]
    raise ValueError(f"{kept.path.name} stands on losses that are not kept: make it again")


def largest_change(record: SequenceLosses, again: SequenceLosses) -> float:
    """Largest difference between two records of the same sequences, in bits or as a share.

    Of the losses of all predictors that both have, and of total variation and disagreement.
    """
    changes = [0.0]
    for table in ("loss", "raw", "total_variation", "top1_disagreement"):
        held = getattr(record, table)
        measured = getattr(again, table)
        both = set(held) & set(measured)
        changes += [_change(held[name], measured[name]) for name in both]
    return max(changes)


def some_of(corpus: Corpus, rows: np.ndarray) -> Corpus:
    """A corpus of some of the sequences."""
    keys = tuple(corpus.keys[row] for row in rows)
    return replace(corpus, tokens=corpus.tokens[rows], keys=keys)


def _measured_again(
    file: Kept, record: SequenceLosses, rows: np.ndarray, shared: dict[Any, Any]
) -> SequenceLosses:
    from saecert.measurement.sweep import sweep

    request = file.request
    hook_name = request["hook_name"]
    study = _study(request, shared)
    chosen = {hook_name: _proxies(study, request, record, shared)}
    corpus = some_of(study.sample, rows)
    options = {"alphas": tuple(record.alphas), "progress": False}
    return sweep(study.subject, corpus, chosen, **options)[hook_name]


def _proxies(
    study: Study, request: Mapping[str, Any], record: SequenceLosses, shared: dict[Any, Any]
) -> list[Proxy]:
    """Everything that was measured for a record, built again from what discovery says."""
    from saecert.measurement import proxies
    from saecert.measurement.catalogue import Surroundings, build

    hook_name = request["hook_name"]
    made = [proxies.full()]
    surveyed = None
    if record.discovery is not None:
        surveyed = _survey(study, hook_name, shared)
        order = record.discovery.order
        sizes = [size for size in record.pool_sizes if size != record.d_sae]
        made += [proxies.pool(order[:size], record.d_sae) for size in sizes]
    if request["controls"]:
        made += [] if surveyed is None else [proxies.mean_ablation(surveyed.mean)]
        made.append(proxies.zero_ablation())
    where = Surroundings(study.subject, hook_name, study.discovery, surveyed)
    return [*made, *(build(parse(proxy), where) for proxy in request["extra"])]


def _survey(study: Study, hook_name: str, shared: dict[Any, Any]) -> Survey:
    """The survey of one SAE; all SAEs of the subject are surveyed in the same run."""
    from saecert.measurement.survey import survey_layers

    discovery = study.discovery
    assert discovery is not None
    key = ("survey", discovery.ids.tobytes())
    if key not in shared:
        shared[key] = survey_layers(study.subject, discovery, study.hook_names, progress=False)
    return shared[key][hook_name]


def _study(request: Mapping[str, Any], shared: dict[Any, Any]) -> Study:
    """The study to which a request belongs; all studies of a subject share model and text."""
    names = ("corpus", "split", "n_ctx", "bos", "skip", "n_seq")
    settings = {name: request[name] for name in names}
    settings["n_discovery"] = request.get("n_discovery", 0)
    settings["exempt_bos"] = request.get("exempt_bos", True)
    settings["cut"] = request.get("cut", 0)
    subject = request["subject"]
    if subject not in shared:
        shared[subject] = open_study(subject)
    return shared[subject].beside(**settings, allow_bad_sae=True)


def _text(study: Study, request: Mapping[str, Any]) -> Corpus:
    return study.beside(split=request["split"], n_seq=request["n_seq"]).sample


def _arrays_again(
    file: Kept, shared: dict[Any, Any], rows: np.ndarray | None
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The arrays of a file as they are kept, and measured again, on some sequences or on all."""
    request = file.request
    study = _study(request, shared)
    corpus = _text(study, request)
    corpus = corpus if rows is None else some_of(corpus, rows)
    held = measurements.find_arrays(request)
    assert held is not None
    measurable = MEASURABLE[request["quantity"]]
    hook_name = request["hook_name"]
    beside = {"discovery": study.discovery} if measurable.chosen_on_discovery else {}
    settings = {**request["settings"], **beside, "progress": False}
    again = measurable.measure(study.subject, corpus, [hook_name], settings)[hook_name]
    return held, measurements.rounded_arrays(again)


def _change(held: np.ndarray, again: np.ndarray) -> float:
    held, again = (np.asarray(array, dtype=float) for array in (held, again))
    if held.shape != again.shape:
        return np.inf
    difference = np.where(np.isnan(held) & np.isnan(again), 0.0, np.abs(held - again))
    return float(np.nan_to_num(difference, nan=np.inf).max(initial=0.0))


def _share_changed(held: np.ndarray | None, again: np.ndarray | None) -> float:
    """Share of the entries of an array that differ; 1 if it has another shape, or is not there."""
    if held is None or again is None or held.shape != again.shape:
        return 1.0
    if held.dtype.kind != "f":
        return float((held != again).mean()) if held.size else 0.0
    scale = np.nanmax(np.abs(held), initial=0.0)
    same = np.isclose(again, held, rtol=1e-2, atol=1e-3 * scale + 1e-4, equal_nan=True)
    return float(1 - same.mean()) if held.size else 0.0

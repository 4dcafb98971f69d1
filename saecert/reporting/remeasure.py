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
    """Largest change of a value by file of named arrays, random sequences measured again.

    Arrays that are no values of single sequences are measured whole.
    """
    shared: dict[Any, Any] = {}
    changes = {}
    for file in kept:
        request = file.request
        study = _study(request, shared)
        corpus = _text(study, request)
        measurable = MEASURABLE[request["quantity"]]
        held = measurements.find_arrays(request)
        assert held is not None
        if measurable.by_sequence:
            rows = np.sort(rng.choice(file.facts["n_seq"], count, replace=False))
            corpus = some_of(corpus, rows)
            held = {name: array[rows] for name, array in held.items()}
        hook_name = request["hook_name"]
        beside = {"discovery": study.discovery} if measurable.chosen_on_discovery else {}
        settings = {**request["settings"], **beside, "progress": False}
        again = measurable.measure(study.subject, corpus, [hook_name], settings)[hook_name]
        changes[file.path.name] = max(_change(held[name], again[name]) for name in held)
    return changes


def changes_of_frame(
    kept: Kept, rng: np.random.Generator, count: int = 1
) -> tuple[pd.DataFrame, pd.DataFrame] | None:
    """Rows of random cells of a kept simulation as kept, and made again; None if a page made it."""
    request = kept.request
    build = simulations.function_named(request["build"])
    if build is None or request["losses"]:
        return None
    cells = request["cells"]
    chosen = rng.choice(len(cells), min(count, len(cells)), replace=False).tolist()
    frame = measurements.read_frame(kept.path)
    rows = frame[frame[simulations.CELL].isin(chosen)].reset_index(drop=True)
    made = simulations.make_cells(build, request["settings"], cells, sorted(chosen))
    # a column that only other cells have is empty here
    rows = rows.dropna(axis=1, how="all")
    again = measurements.as_kept_frame(made).dropna(axis=1, how="all")
    if set(again.columns) == set(rows.columns):
        again = again[rows.columns]
    return rows, again


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


def _change(held: np.ndarray, again: np.ndarray) -> float:
    difference = np.abs(np.asarray(held, dtype=float) - np.asarray(again, dtype=float))
    return float(difference.max())

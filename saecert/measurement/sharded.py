"""Measuring one shard of a sample into a folder that many processes share."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from saecert.corpora.corpus import Corpus
from saecert.measurement.circumstances import now
from saecert.measurement.collect import Beforehand, Choices, Part, beforehand, chosen, measured
from saecert.measurement.identity import MEASUREMENT_VERSION, sequences_digest
from saecert.measurement.loop import checked_batch_size
from saecert.measurement.provenance import about_corpus, about_subject
from saecert.measurement.ranking import Survey
from saecert.records import SequenceLosses
from saecert.shards import UNFINISHED, Plan, Shard, begin, read_shard, shard_path, tidy
from saecert.storage import atomic_path_once
from saecert.subjects.subject import Subject
from saecert.untrusted import Archive, parse_json

_NUMBERS = ("n_tokens", "n_seq", "sq_error")
_ARRAYS = tuple(field.name for field in fields(Survey) if field.name not in _NUMBERS)


def measure_shard(
    subject: Subject,
    corpus: Corpus,
    hook_names: Sequence[str],
    shard: Shard | None,
    folder: str | Path,
    *,
    discovery: Corpus | None = None,
    batch_size: int | None = None,
    progress: bool = True,
    **settings: Any,
) -> list[Path]:
    """Files of one shard of `corpus` in `folder`, one a hook point; `saecert.shards.merge` joins
    them.

    Any number of processes may measure into one folder, on one machine or on many, and the same
    shard twice: files appear whole, and are the same whoever wrote them. A finished shard is
    recognised and returned at once; an interrupted one goes on from its last checkpoint. What is
    fixed on discovery is measured by whoever comes first, and read by all others: to have it done
    only once, run ``shard=None`` before the others.

    Parameters
    ----------
    subject, corpus
        The model with its SAEs, and the *whole* certification sample.
    hook_names
        Hook points, measured together.
    shard
        Which part. None: only what is fixed on discovery.
    folder
        Folder of shards, made if missing.
    discovery, batch_size, progress, settings
        As for `saecert.collect`: `pools`, `controls`, `extra` (by name), `rank`, `alphas`,
        `allow_bad_sae`.

    Raises
    ------
    ValueError
        What `saecert.collect` refuses, a shard of fewer than two sequences, and a folder that was
        begun with another subject, corpus, setting or version.
    OSError
        The folder cannot be written.
    """
    folder = Path(folder)
    choices = chosen(subject, hook_names, discovery=discovery, **settings)
    choices.check(corpus)
    rows = (0, 0) if shard is None else shard.rows(len(corpus))
    plan = begin(folder, Plan(_facts(choices, corpus, settings), corpus.ids))
    running = {"batch_size": checked_batch_size(subject, batch_size), "progress": progress}
    if shard is None:
        known = _known(choices, corpus, running, folder)
        return [_survey_path(folder, name) for name in known.checks]
    paths = {name: shard_path(folder, name, shard) for name in choices.hook_names}
    todo = [name for name, path in paths.items() if not _finished(path, plan)]
    if todo:
        rest = replace(choices, hook_names=tuple(todo))
        _measure(rest, corpus, running, folder, (shard, rows, plan.digest))
    _clear(_checkpoints(folder, shard))  # a process killed after its shard was whole leaves some
    tidy(folder)
    return list(paths.values())


def _finished(path: Path, plan: Plan) -> bool:
    """Whether a shard is there and whole; ValueError where it is whole, but of something else."""
    if not path.exists():
        return False
    try:
        read_shard(path, plan)
    except ValueError as error:
        if "damaged" not in str(error) and "whole losses file" not in str(error):
            raise
        return False
    return True


def _measure(
    choices: Choices,
    corpus: Corpus,
    running: Mapping[str, Any],
    folder: Path,
    task: tuple[Shard, tuple[int, int], str],
) -> None:
    """Measure a shard at all hook points of `choices`, and write it."""
    shard, rows, plan = task
    known = _known(choices, corpus, running, folder)
    part = Part(*rows, _checkpoints(folder, shard))
    losses = measured(choices, corpus, running, known, part)
    proxies = choices.all_proxies(known.surveys)
    for name, record in losses.items():
        about = {
            "number": shard.number,
            "of": shard.of,
            "plan": plan,
            "proxies": {proxy.name: proxy.key for proxy in proxies[name]},
        }
        facts = record.provenance | {"shard": about}
        replace(record, provenance=facts).save(shard_path(folder, name, shard))


def _checkpoints(folder: Path, shard: Shard) -> Path:
    """Folder of what is known of a shard before it is whole."""
    return folder / UNFINISHED / f"{shard.number}-of-{shard.of}"


def _clear(place: Path) -> None:
    """Remove checkpoints, but not what another process is just writing."""
    with suppress(FileNotFoundError):  # another process cleared up, and removed the folder
        for path in list(place.glob("[!.]*.npz")):
            path.unlink(missing_ok=True)


def _facts(choices: Choices, corpus: Corpus, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that shards of one folder have in common, as plain JSON."""
    subject = choices.subject
    circumstances = now(subject.device)
    discovery = choices.discovery
    about = about_corpus(corpus)
    return {
        **about_subject(subject),
        **{name: about[name] for name in ("corpus", "split", "corpus_sha256", "n_ctx", "bos")},
        "discovery": None if discovery is None else sequences_digest(discovery),
        "pools": None if choices.pools is None else list(choices.pools),
        "controls": choices.controls,
        "extra": [str(proxy) for proxy in settings.get("extra", ())],
        "rank": choices.rank,
        "alphas": list(choices.alphas),
        "allow_bad_sae": choices.allow_bad_sae,
        "device": subject.device.type,
        "versions": circumstances["versions"],
        "measurement_version": MEASUREMENT_VERSION,
    }


def _known(
    choices: Choices, corpus: Corpus, running: Mapping[str, Any], folder: Path
) -> Beforehand:
    """What was fixed on discovery, measured where the folder does not have it.

    It is read back in any case: of many processes the first to finish decides for all.
    """
    todo = [name for name in choices.hook_names if not _survey_path(folder, name).exists()]
    if todo:
        fixed = beforehand(replace(choices, hook_names=tuple(todo)), corpus, running)
        for name in todo:
            _write_known(folder, name, fixed, choices.subject.sae_fingerprint(name))
    parts = {name: _read_known(folder, name, choices) for name in choices.hook_names}
    return Beforehand(
        checks={name: checks for name, (checks, _, _) in parts.items()},
        surveys={name: survey for name, (_, survey, _) in parts.items() if survey is not None},
        tried={name: losses for name, (_, _, losses) in parts.items() if losses is not None},
    )


def _survey_path(folder: Path, hook_name: str) -> Path:
    return folder / f"survey-{hook_name}.npz"


def _tried_path(folder: Path, hook_name: str) -> Path:
    return folder / f"tried-{hook_name}.npz"


def _write_known(folder: Path, hook_name: str, known: Beforehand, sae: str) -> None:
    """Write what is known at a hook point, unless another process did."""
    if hook_name in known.tried:  # first: where there is a survey, there are the pools tried
        with atomic_path_once(_tried_path(folder, hook_name)) as partial:
            known.tried[hook_name].save(partial)
    survey = known.surveys.get(hook_name)
    header = {"check": known.checks[hook_name], "sae_sha256": sae, "numbers": None}
    arrays = {}
    if survey is not None:
        header["numbers"] = {name: getattr(survey, name) for name in _NUMBERS}
        present = {name: getattr(survey, name) for name in _ARRAYS}
        arrays = {name: array for name, array in present.items() if array is not None}
    with atomic_path_once(_survey_path(folder, hook_name)) as partial, partial.open("wb") as stream:
        np.savez_compressed(stream, header=np.array(json.dumps(header)), **arrays)


def _read_known(
    folder: Path, hook_name: str, choices: Choices
) -> tuple[dict[str, Any], Survey | None, SequenceLosses | None]:
    """Check of the SAE, survey and losses on discovery that a folder has for a hook point.

    ValueError where the file is damaged or of another SAE.
    """
    path = _survey_path(folder, hook_name)
    try:
        archive = Archive(path, {"header", *_ARRAYS}.__contains__, required="header")
        arrays = archive.read()
        header = parse_json(str(arrays.pop("header")))
        check, numbers, sae = (header[name] for name in ("check", "numbers", "sae_sha256"))
        survey = None if numbers is None else Survey(**numbers, **arrays)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error}): delete it and go on") from error
    if sae != choices.subject.sae_fingerprint(hook_name):
        raise ValueError(f"{folder} was begun with another SAE at {hook_name}: give another folder")
    if survey is None:
        return check, None, None
    return check, survey, SequenceLosses.load(_tried_path(folder, hook_name))

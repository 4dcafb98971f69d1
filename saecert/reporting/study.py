"""A study: one subject, its SAEs and one text, with everything that a page measures on them.

Nothing is loaded before it is needed. What is kept under ``measurements/`` is read without torch;
anything else is measured, through the cache folder.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, overload

import pandas as pd

from saecert.records import SequenceLosses
from saecert.reporting import kept, measurements, requests, simulations
from saecert.reporting.quantities import MEASURABLE, Arrays
from saecert.reporting.requests import Request
from saecert.reporting.settings import (
    ALL,
    ENDLESS,
    PLACES,
    SettingsError,
    check_settings,
    hook_list,
    listed_hooks,
)
from saecert.reporting.shortage import fewer, passed_over, too_few

if TYPE_CHECKING:
    from saecert.corpora.corpus import Corpus
    from saecert.subjects.subject import Subject

WIDTH = 72
"""Columns of a page."""


@dataclass(frozen=True)
class Study:
    """One subject and one text; made by `open_study`, which says what the fields mean."""

    settings: Mapping[str, Any]
    """What was asked for, by the names of `open_study`."""
    notes: list[str] = field(default_factory=list)
    """What differs from what was asked for, as it was printed; studies beside it add theirs."""
    _shared: dict[Any, Any] = field(default_factory=dict, repr=False)

    # -- what is studied

    @cached_property
    def hook_names(self) -> tuple[str, ...]:
        """Hook points of this study: those asked for, else all that have an SAE."""
        asked = hook_list(self.settings["hook_name"])
        words = (*PLACES, ALL)
        if asked and not any(name in words for name in asked):
            return asked
        there = self._all_hooks()
        if not asked or ALL in asked:
            return there
        return tuple(dict.fromkeys(_at(name, there) for name in asked))

    @property
    def hook_name(self) -> str:
        """The hook point of this study: the first one asked for, else the middle one."""
        asked = hook_list(self.settings["hook_name"])
        return self.hook_names[0] if asked and ALL not in asked else _at("middle", self.hook_names)

    @cached_property
    def subject(self) -> Subject:
        """The language model with its SAEs, loaded now if it was not."""
        from saecert.subjects.loading import load_subject

        key = ("subject", self._wanted_hooks())
        if key not in self._shared:
            sae = self.settings["sae"] or None
            device = self.settings["device"]
            name = self.settings["subject"]
            hooks = self._wanted_hooks()
            self._shared[key] = load_subject(name, sae=sae, hooks=hooks, device=device)
        return self._shared[key]

    @cached_property
    def sample(self) -> Corpus:
        """The sequences that statements are about, loaded now if they were not.

        Where a text is too short for those to be passed over as well, fewer of them are.
        """
        skip = self.settings["skip"]
        asked = self.settings["n_seq"]
        split = self.settings["split"]
        corpus = self._text(split, skip + asked if asked else 0, "n_seq")
        if not skip:
            return corpus
        passed = skip if not asked else min(skip, max(0, len(corpus) - asked))
        if len(corpus) < passed + 2:
            source = self.settings["corpus"]
            raise SettingsError(too_few(corpus, source, "skip", passed + 2, len(corpus)))
        if passed < skip:
            self._note(passed_over(self.settings, passed, len(corpus)))
        return corpus.part(passed, len(corpus))

    @cached_property
    def discovery(self) -> Corpus | None:
        """The sequences on which everything was chosen; None for a study without any."""
        asked = self.settings["n_discovery"]
        return None if asked is None else self._text("discovery", asked, "n_discovery")

    def beside(self, **changes: Any) -> Study:
        """A study of the same subject with other settings; the model is loaded once for both."""
        settings = {**self.settings, **changes}
        check_settings(_given(settings))
        return Study(settings, self.notes, self._shared)

    # -- what is measured

    @overload
    def losses(self, *, hook_names: None = None, **options: Any) -> SequenceLosses: ...
    @overload
    def losses(self, *, hook_names: Sequence[str], **options: Any) -> dict[str, SequenceLosses]: ...
    def losses(
        self,
        *,
        pools: Sequence[int] | None = None,
        controls: bool = True,
        extra: Sequence[Any] = (),
        rank: str = "frequency",
        alphas: Sequence[float] = (),
        hook_names: Sequence[str] | None = None,
        live: bool = False,
    ) -> SequenceLosses | dict[str, SequenceLosses]:
        """Losses of the model and its proxies; by hook point if `hook_names` are given.

        Parameters
        ----------
        pools, controls, extra, rank
            As for `saecert.collect`. Proxies given by name, such as "pca(48)", can be kept.
        alphas
            Smoothing weights besides 0.5 and 0.01.
        hook_names
            Hook points, such as `Study.hook_names`; all of them from one run of the model.
        live
            Measure (or read from the cache folder) even what is kept.

        Raises
        ------
        ValueError
            As for `saecert.collect`; also for a kept measurement whose SAE failed the check and was
            not allowed.
        """
        check_settings({"rank": rank, **({"pools": list(pools)} if pools else {})})
        names = [self.hook_name] if hook_names is None else list(hook_names)
        options = requests.losses_options(pools, controls, extra, rank, alphas)
        keepable = self._keepable(extra)
        asked = {name: self._losses_request(name, options) for name in names if keepable}
        records = {} if live else self._find(asked)
        missing = [name for name in names if name not in records]
        if missing:
            records |= self._collect(missing, options, asked)
        for record in records.values():
            self._check_sae(record)
            self._say_how_many(record)
        return records[names[0]] if hook_names is None else {name: records[name] for name in names}

    def is_kept(self, **options: Any) -> bool:
        """Whether `losses`, asked with the same `options`, are kept, so that none is measured."""
        if not self._keepable(options.get("extra", ())):
            return False
        asked = self._losses_request(self.hook_name, requests.losses_options(**options))
        return measurements.find_losses(asked) is not None

    def measure(
        self,
        quantity: str,
        *,
        hook_names: Sequence[str] | None = None,
        split: str = "",
        live: bool = False,
        **settings: Any,
    ) -> Any:
        """Named arrays of a quantity such as "survey"; by hook point if `hook_names` are given.

        `saecert.reporting.quantities` says what each has; `split` is "certification" or
        "discovery", as the quantity has it if not said; `settings` go to the function that
        measures.
        """
        if quantity not in MEASURABLE:
            raise SettingsError(f"unknown quantity '{quantity}'; there are {', '.join(MEASURABLE)}")
        names = [self.hook_name] if hook_names is None else list(hook_names)
        split = split or MEASURABLE[quantity].split
        kept_names = names if self._keepable(()) else []
        asked = {name: self._arrays_request(quantity, name, split, settings) for name in kept_names}
        found = {} if live else self._find_arrays(asked)
        missing = [name for name in names if name not in found]
        if missing:
            found |= self._measure(quantity, missing, split, settings, asked)
        return found[names[0]] if hook_names is None else {name: found[name] for name in names}

    def simulated(
        self,
        name: str,
        settings: Mapping[str, Any],
        build: Callable[..., Any],
        *,
        cells: Sequence[Mapping[str, Any]] = ({},),
        losses: SequenceLosses | None = None,
    ) -> pd.DataFrame:
        """The frame of a simulation, kept or made now: see `reporting.simulations`."""
        return simulations.simulated(name, settings, build, cells=cells, losses=losses)

    # -- what is said and kept

    def needs(self, least: int, parameter: str = "n_seq") -> None:
        """Nothing, if there are at least so many sequences; else an error says what it takes.

        `parameter` is the page's name for their number, such as "n_calibration"; with "n_discovery"
        the discovery split is meant.
        """
        corpus = self.discovery if parameter == "n_discovery" else self.sample
        have = 0 if corpus is None else len(corpus)
        if have < least:
            raise SettingsError(too_few(corpus, self.settings["corpus"], parameter, least, have))

    def keep(self, certificate: Any, losses: SequenceLosses) -> None:
        """Save a certificate and its losses beside the pages of a run; elsewhere do nothing."""
        kept.keep(certificate, losses)

    def __str__(self) -> str:
        """Subject, hook points and how many sequences of which population."""
        facts = self._facts()
        name = facts["subject"]
        sae = f", SAE {self.settings['sae']}" if self.settings["sae"] else ""
        asked = hook_list(self.settings["hook_name"])
        places = self.hook_names if asked else (self.hook_name,)
        lines = [f"{name} at {', '.join(places)}{sae}"]
        lines.append(f"{facts['n_seq']} sequences of {facts['n_ctx']} tokens")
        if facts["n_discovery"]:
            lines[-1] += f"; {facts['n_discovery']} discovery sequences"
        return "\n".join(map(wrapped, (*lines, f"population: {facts['population']}")))

    # -- how it is found

    def _keepable(self, extra: Sequence[Any]) -> bool:
        keys = ("subject", "sae", "corpus", "device")
        return requests.can_be_kept(*(str(self.settings[key]) for key in keys), extra)

    def _all_hooks(self) -> tuple[str, ...]:
        listed = listed_hooks(str(self.settings["subject"]), str(self.settings["sae"]))
        return listed or self.subject.hook_names

    def _wanted_hooks(self) -> tuple[str, ...] | None:
        asked = hook_list(self.settings["hook_name"])
        if not asked or any(name in (*PLACES, ALL) for name in asked):
            return None
        return asked

    def _text(self, split: str, n_seq: int, parameter: str) -> Corpus:
        """The first `n_seq` sequences of a split, fewer if there are fewer, all for 0."""
        from saecert.corpora.loading import load_corpus

        source = self.settings["corpus"]
        options = {"n_ctx": self.settings["n_ctx"] or None, "bos": self.settings["bos"]}
        options["column"] = self.settings["column"]
        endless = source in ENDLESS
        key = ("text", source, split, n_seq if endless else 0, *options.values())
        if key not in self._shared:
            if endless and not n_seq:
                raise SettingsError(
                    f"'{source}' has no end: {parameter} must say how many sequences"
                )
            options |= {"split": split, "n_seq": n_seq if endless else None}
            self._shared[key] = load_corpus(source, self.subject, **options)
        corpus = replace(self._shared[key], exempt_bos=self.settings["exempt_bos"])
        if self.settings["cut"]:
            corpus = corpus.cut(self.settings["cut"])
        if len(corpus) < 2:
            raise SettingsError(too_few(corpus, source, parameter, 2, len(corpus)))
        return corpus.take(n_seq) if 0 < n_seq < len(corpus) else corpus

    def _sample_request(self, split: str, skip: int) -> Request:
        subject = str(self.settings["subject"])
        corpus = str(self.settings["corpus"])
        shape = (self.settings["n_ctx"], self.settings["bos"], skip)
        request = requests.sample_request(subject, corpus, split, *shape)
        unusual = {"exempt_bos": False} if not self.settings["exempt_bos"] else {}
        unusual |= {"cut": self.settings["cut"]} if self.settings["cut"] else {}
        return {**request, **unusual}

    def _losses_request(self, hook_name: str, options: Mapping[str, Any]) -> Request:
        sample = self._sample_request(self.settings["split"], self.settings["skip"])
        sizes = {key: self.settings[key] for key in ("n_seq", "n_discovery")}
        sae = requests.sae_request(str(self.settings["subject"]), hook_name)
        return {"quantity": "losses", **sample, **sae, **options, **sizes}

    def _arrays_request(
        self, quantity: str, hook_name: str, split: str, settings: Mapping[str, Any]
    ) -> Request:
        own = split == self.settings["split"]
        asked = self.settings["n_discovery" if split == "discovery" and not own else "n_seq"]
        sample = self._sample_request(split, self.settings["skip"] if own else 0)
        sample |= {name: self.settings[name] for name in MEASURABLE[quantity].sizes}
        sae = requests.sae_request(str(self.settings["subject"]), hook_name)
        return {"quantity": quantity, **sample, **sae, "settings": dict(settings), "n_seq": asked}

    def _find(self, asked: Mapping[str, Request]) -> dict[str, SequenceLosses]:
        found = {name: measurements.find_losses(request) for name, request in asked.items()}
        return {name: record for name, record in found.items() if record is not None}

    def _find_arrays(self, asked: Mapping[str, Request]) -> dict[str, Arrays]:
        found = {name: measurements.find_arrays(request) for name, request in asked.items()}
        return {name: arrays for name, arrays in found.items() if arrays is not None}

    def _collect(
        self, names: Sequence[str], options: Mapping[str, Any], asked: Mapping[str, Request]
    ) -> dict[str, SequenceLosses]:
        """Records measured now or read from the cache folder; kept if all is measured anew."""
        from saecert.measurement.collect import collect_layers

        options = {**options, "allow_bad_sae": self.settings["allow_bad_sae"]}
        options |= {"discovery": self.discovery, "progress": sys.stderr.isatty()}
        records = collect_layers(self.subject, self.sample, names, **options)
        if not asked:
            return records
        records = {name: measurements.as_kept(record) for name, record in records.items()}
        if measurements.measuring_anew():
            n_discovery = 0 if self.discovery is None else len(self.discovery)
            for name, record in records.items():
                measurements.save_losses(asked[name], record, n_discovery)
        return records

    def _measure(
        self,
        quantity: str,
        names: Sequence[str],
        split: str,
        settings: Mapping[str, Any],
        asked: Mapping[str, Request],
    ) -> dict[str, Arrays]:
        measurable = MEASURABLE[quantity]
        corpus = self.sample if split == self.settings["split"] else self.discovery
        if corpus is None:
            raise SettingsError(
                f"'{quantity}' is measured on discovery: n_discovery must not be None"
            )
        beside = {"discovery": self.discovery} if measurable.chosen_on_discovery else {}
        running = {**settings, **beside, "progress": sys.stderr.isatty()}
        found = measurable.measure(self.subject, corpus, names, running)
        if not asked:
            return found
        found = {name: measurements.rounded_arrays(arrays) for name, arrays in found.items()}
        if measurements.measuring_anew():
            for name, arrays in found.items():
                measurements.save_arrays(asked[name], arrays, measurable.by_sequence)
        return found

    def _check_sae(self, record: SequenceLosses) -> None:
        problem = record.provenance.get("sae_check", {}).get("problem", "")
        if problem and not self.settings["allow_bad_sae"]:
            raise ValueError(problem)

    def _say_how_many(self, record: SequenceLosses) -> None:
        """Note once that there are fewer sequences than were asked for."""
        self._shared["facts", id(self)] = record
        asked = self.settings["n_seq"]
        if asked > len(record):
            self._note(fewer(self.settings, "n_seq", asked, len(record)))
        discovery = record.discovery
        asked = self.settings["n_discovery"]
        if discovery is not None and asked and asked > discovery.n_seq:
            self._note(fewer(self.settings, "n_discovery", asked, discovery.n_seq))

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)
            print(wrapped(text))

    def _facts(self) -> dict[str, Any]:
        """What `print` says, from losses that were asked for, else from the text itself."""
        record = self._shared.get(("facts", id(self)))
        if record is None and self._keepable(()):
            record = self._any_kept()
        if record is not None:
            facts = {key: record.provenance[key] for key in ("subject", "n_ctx", "population")}
            n_discovery = 0 if record.discovery is None else record.discovery.n_seq
            return {**facts, "n_seq": len(record), "n_discovery": n_discovery}
        sample = self.sample
        n_discovery = 0 if self.discovery is None else len(self.discovery)
        facts = {"n_ctx": sample.n_ctx, "population": sample.population, "n_seq": len(sample)}
        return {"subject": self.subject.name, "n_discovery": n_discovery, **facts}

    def _any_kept(self) -> SequenceLosses | None:
        """A kept record on the same text, whatever was measured on it."""
        shape: dict[str, Any] = {"pools": [], "controls": False, "extra": [], "alphas": []}
        ranks = ("frequency", "energy", "attribution")
        for rank in ranks:
            request = self._losses_request(self.hook_name, {**shape, "rank": rank})
            record = measurements.find_losses(request)
            if record is not None:
                return record
        return None


def open_study(
    subject: str = "docstring-6l",
    sae: str = "",
    corpus: str = "docstrings",
    hook_name: str | Sequence[str] = "",
    n_seq: int = 1000,
    n_discovery: int | None = 0,
    device: str = "cpu",
    allow_bad_sae: bool = False,
    *,
    split: str = "certification",
    n_ctx: int = 0,
    bos: bool | None = None,
    skip: int = 0,
    exempt_bos: bool = True,
    cut: int = 0,
    column: str = "text",
) -> Study:
    """A `Study` of one subject on one text, after a look at the settings; nothing is loaded yet.

    Parameters
    ----------
    subject, sae, corpus
        As for `saecert.load_subject` and `saecert.load_corpus`; "" for `sae` means where the
        subject's own SAEs are.
    hook_name
        Hook point, or several separated by commas or in a list. "" means all that have an SAE, the
        middle one first; the words "first", "middle", "last" and "all" are understood.
    n_seq, n_discovery
        Certification sequences, and discovery sequences on which everything is chosen; 0 takes all
        there are, and if there are fewer than asked for, those are taken and it is said.
        ``n_discovery=None`` is a study without discovery.
    device, allow_bad_sae
        Where the model runs, and whether SAEs that fail the check are measured.
    split
        Split of the sample.
    n_ctx, bos, skip
        Tokens a sequence (0: the default), whether BOS comes first (None: as the subject does),
        sequences left out at the beginning.
    exempt_bos
        Whether BOS keeps its native activation. SAEs are usually not trained on it.
    cut
        Tokens that are left of each sequence after it was chosen; 0 leaves all.
    column
        Where JSON objects and tables of a user's own text hold it.

    Raises
    ------
    SettingsError
        A setting that cannot be, in well under a second.

    Examples
    --------
    >>> study = open_study("docstring-6l", n_seq=500)
    >>> study.hook_name, len(study.hook_names)
    ('blocks.2.hook_resid_post', 6)
    """
    settings = {
        "subject": subject,
        "sae": sae,
        "corpus": corpus,
        "hook_name": hook_name,
        "n_seq": n_seq,
        "n_discovery": n_discovery,
        "device": device,
        "allow_bad_sae": allow_bad_sae,
        "split": split,
        "n_ctx": n_ctx,
        "bos": bos,
        "skip": skip,
        "exempt_bos": exempt_bos,
        "cut": cut,
        "column": column,
    }
    check_settings(_given(settings))
    return Study(settings)


def simulated(
    name: str,
    settings: Mapping[str, Any],
    build: Callable[..., Any],
    *,
    cells: Sequence[Mapping[str, Any]] = ({},),
) -> pd.DataFrame:
    """`saecert.reporting.simulations.simulated`, for pages that study no subject."""
    return simulations.simulated(name, settings, build, cells=cells)


def wrapped(text: str) -> str:
    """`text` in lines of at most `WIDTH` columns, the later ones indented."""
    return textwrap.fill(text, WIDTH, subsequent_indent="  ", break_long_words=False)


def _given(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that have a value to be checked."""
    return {name: value for name, value in settings.items() if value is not None}


def _at(word: str, hook_names: Sequence[str]) -> str:
    """The hook point that a word such as "middle" means; a name means itself."""
    middle = (len(hook_names) - 1) // 2
    index = {"first": 0, "middle": middle, "last": -1}.get(word)
    return word if index is None else hook_names[index]

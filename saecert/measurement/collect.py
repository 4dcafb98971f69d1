"""`collect`: measure a language model and its proxies on a corpus, at one hook point or at
several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, UInt64

from saecert.arguments import (
    Check,
    checked,
    kind,
    names,
    number,
    optional,
    several,
    text,
    truth,
    whole,
)
from saecert.corpora.corpus import Corpus
from saecert.corpora.duplicates import near_duplicates
from saecert.measurement import proxies
from saecert.measurement.catalogue import Surroundings, build
from saecert.measurement.identity import MEASUREMENT_VERSION, sequences_digest
from saecert.measurement.loop import CPU_BATCH, checked_batch_size
from saecert.measurement.named import Spec, parse
from saecert.measurement.provenance import about_corpus, overlap
from saecert.measurement.proxies import Proxy
from saecert.measurement.references import with_references
from saecert.measurement.saecheck import check_sae
from saecert.measurement.survey import (
    N_ATTRIBUTION,
    Survey,
    attribution,
    check_ranking,
    survey_layers,
)
from saecert.measurement.sweep import check_proxies, rows_alone, sweep
from saecert.records import Discovery, SequenceLosses, smoothed_support
from saecert.storage import cached_arrays
from saecert.subjects.subject import Subject

POOL_SHARES = (1 / 8, 1 / 4, 1 / 2, 3 / 4)
"""Default pools, as shares of the dictionary."""
N_DISCOVERY = 500
"""Discovery sequences on which pools are tried (the survey of the latents uses them all)."""


def _proxies(name: str, value: Any) -> list[Any]:
    listed = [value] if isinstance(value, str | Proxy) else value
    return several(kind("the name of a proxy or a Proxy", str, Proxy))(name, listed)


_CORPUS = kind("a corpus, such as load_corpus makes", Corpus)
_ARGUMENTS: dict[str, Check] = {
    "subject": kind("a subject, such as load_subject makes", Subject),
    "corpus": _CORPUS,
    "hook_name": optional(text),
    "hook_names": optional(names),
    "discovery": optional(_CORPUS),
    "pools": optional(several(whole)),
    "controls": truth,
    "extra": _proxies,
    "rank": text,
    "alphas": several(number),
    "batch_size": optional(whole),
    "allow_bad_sae": truth,
    "progress": truth,
}


@checked(_ARGUMENTS)
def collect(
    subject: Subject,
    corpus: Corpus,
    hook_name: str | None = None,
    *,
    discovery: Corpus | None = None,
    pools: Sequence[int] | None = None,
    controls: bool = True,
    extra: Sequence[Proxy | str] = (),
    rank: str = "frequency",
    alphas: Sequence[float] = (0.5, 0.01),
    batch_size: int | None = None,
    allow_bad_sae: bool = False,
    progress: bool = True,
) -> SequenceLosses:
    """Losses of the LM and of every proxy on every sequence of `corpus`, ready for `certify`.

    The clean LM runs once per batch, what comes after the hook point once more per proxy; the clean
    predictions are made once and every proxy is scored against them. Cost in block forwards per
    token: ``L + n_proxies * L_after`` with L blocks in the LM and L_after behind the hook point
    (all L of them unless it is on the residual stream), and one unembedding each, and a look at
    four sequences first. Memory grows neither with the number of sequences nor with batch times
    vocabulary.

    Results are kept in the cache folder, each proxy's at each hook point by itself, under a hash of
    everything that determines them: an interrupted call (Ctrl-C) keeps what it measured and the
    same call goes on from there; a finished one returns at once; another proxy costs only itself,
    another alpha nothing.

    Parameters
    ----------
    subject, corpus
        The LM with its SAEs, and the certification sample.
    hook_name
        Hook point of the SAE to certify. Default: the middle one.
    discovery
        Another split of the same population, on which latents are ranked, pools tried and
        references fitted. Without it only the full SAE and zero ablation are measured, and there is
        nothing to choose a pool by. What it shares with the sample is marked in `overlap`.
    pools
        Sizes of the nested concept pools. Default: an eighth, a quarter, half and three quarters of
        the dictionary.
    controls
        Also measure mean and zero ablation of the hook point.
    extra
        More proxies: by name, such as "noise", "pca(48)" or "pooled(shuffled_latents, 1152)"
        (`saecert.measurement.named` has them all), or as a `saecert.measurement.proxies.Proxy`,
        which needs a key unless the library made it.
    rank
        What latents are ranked by on the discovery split, most first: "frequency" (tokens on which
        each is active), "energy" (sum of squared activation times decoder norm) or "attribution"
        (first-order effect of removing it on the loss, measured on the first 200 sequences).
    alphas
        Smoothing weights in (0, 1) at which losses are recorded; costs nothing.
    batch_size
        Sequences per forward pass, 16 on a CPU and 64 on a GPU if not said; halved when a GPU's
        memory is too small. Does not change the results. A few sequences are measured once more on
        their own: ``provenance["batch_dependence"]`` is the largest change of a smoothed loss in
        bits.
    allow_bad_sae
        Measure an SAE that fails `saecert.measurement.saecheck.check_sae` on the first sequences of
        `discovery` (of `corpus` without it); what was found is recorded either way, in
        ``provenance["sae_check"]``.

    Raises
    ------
    ValueError
        Before anything is measured: unknown hook point, ranking or name of a proxy, alpha outside
        (0, 1), pool larger than the dictionary, batch_size below 1, two proxies of one name, a
        proxy without a key. Then: SAE that explains less than 0.3 of the variance, or with not
        about as many active latents as its release lists, SAE of another width than the activation,
        or losses that are not finite (names sequence and proxy).
    """
    hook_name = subject.middle_hook if hook_name is None else hook_name
    losses = collect_layers(
        subject,
        corpus,
        [hook_name],
        discovery=discovery,
        pools=pools,
        controls=controls,
        extra=extra,
        rank=rank,
        alphas=alphas,
        batch_size=batch_size,
        allow_bad_sae=allow_bad_sae,
        progress=progress,
    )
    return losses[hook_name]


@checked(_ARGUMENTS)
def collect_layers(
    subject: Subject,
    corpus: Corpus,
    hook_names: Sequence[str] | None = None,
    *,
    discovery: Corpus | None = None,
    pools: Sequence[int] | None = None,
    controls: bool = True,
    extra: Sequence[Proxy | str] = (),
    rank: str = "frequency",
    alphas: Sequence[float] = (0.5, 0.01),
    batch_size: int | None = None,
    allow_bad_sae: bool = False,
    progress: bool = True,
) -> dict[str, SequenceLosses]:
    """`collect` at several hook points (default: all that have an SAE) with the shared work done
    once; losses by hook name.

    The clean LM runs once per batch, and its predictions are shared by all hook points. Cost in
    block forwards per token: ``L + n_proxies * sum(L_after)``, the sum over the hook points;
    `collect` at each of them in turn costs ``(n_hooks - 1) * L`` more. The survey of the latents
    costs ``L_last`` per discovery token, the blocks up to the last hook point. Each record is the
    one that `collect` returns, kept in the same files: what one has measured the other finds. Other
    parameters and errors are those of `collect`; sizes of pools, `rank` and `extra` apply to every
    hook point.
    """
    choices = chosen(
        subject,
        hook_names,
        discovery=discovery,
        pools=pools,
        controls=controls,
        extra=extra,
        rank=rank,
        alphas=alphas,
        allow_bad_sae=allow_bad_sae,
    )
    choices.check(corpus)
    running = {"batch_size": checked_batch_size(subject, batch_size), "progress": progress}
    return measured(choices, corpus, running, beforehand(choices, corpus, running))


@checked(_ARGUMENTS)
def chosen(
    subject: Subject,
    hook_names: Sequence[str] | None = None,
    *,
    discovery: Corpus | None = None,
    pools: Sequence[int] | None = None,
    controls: bool = True,
    extra: Sequence[Proxy | str] = (),
    rank: str = "frequency",
    alphas: Sequence[float] = (0.5, 0.01),
    allow_bad_sae: bool = False,
) -> Choices:
    """What `collect_layers` measures at these settings, which are explained there."""
    hook_names = subject.hook_names if hook_names is None else hook_names
    return Choices(
        subject,
        tuple(dict.fromkeys(hook_names)),
        discovery,
        pools,
        controls,
        tuple(parse(proxy) if isinstance(proxy, str) else proxy for proxy in extra),
        rank,
        tuple(map(float, alphas)),
        allow_bad_sae,
    )


@dataclass(frozen=True)
class Choices:
    """What is to be measured where."""

    subject: Subject
    hook_names: tuple[str, ...]
    discovery: Corpus | None
    pools: Sequence[int] | None
    controls: bool
    extra: tuple[Proxy | Spec, ...]
    rank: str
    alphas: tuple[float, ...]
    allow_bad_sae: bool

    def check(self, corpus: Corpus) -> None:
        """Raise ValueError for whatever is wrong, before anything is measured."""
        check_ranking(self.rank)
        if len(corpus) < 2:
            raise ValueError(f"{len(corpus)} sequence(s) to measure: a record needs at least 2")
        if not self.hook_names:
            there = ", ".join(self.subject.saes) or "none"
            raise ValueError(f"no hook point given; there are SAEs at {there}")
        for hook_name in self.hook_names:
            self.subject.check_hook(hook_name)
            self.subject.sae_at(hook_name)
            self._check_names(hook_name)
        if not self.alphas:
            raise ValueError("no alpha given: losses are derived at one smoothing weight at least")
        for alpha in self.alphas:
            smoothed_support(alpha, self.subject.d_vocab)

    def sae_checks(self, corpus: Corpus) -> dict[str, dict[str, Any]]:
        """What the SAEs do on the first sequences of discovery, else of `corpus`, by hook name."""
        text = corpus if self.discovery is None else self.discovery
        return {
            name: check_sae(self.subject, text, name, allow_bad_sae=self.allow_bad_sae)
            for name in self.hook_names
        }

    def surveys(self, **settings: Any) -> dict[str, Survey]:
        """Surveys on the discovery split by hook name, with attributions where latents are ranked
        by them."""
        if self.discovery is None:
            return {}
        surveys = survey_layers(self.subject, self.discovery, self.hook_names, **settings)
        if self.rank != "attribution":
            return surveys
        some = self.discovery.take(min(N_ATTRIBUTION, len(self.discovery)))
        return {
            name: replace(surveyed, attribution=attribution(self.subject, some, name, **settings))
            for name, surveyed in surveys.items()
        }

    def all_proxies(self, surveys: Mapping[str, Survey]) -> dict[str, list[Proxy]]:
        """Everything to measure on the certification sample, by hook name."""
        pooled = self.pooled_proxies(surveys)
        return {
            name: [
                *pooled[name],
                *self._dense(surveys.get(name)),
                *self._named(name, surveys.get(name)),
            ]
            for name in self.hook_names
        }

    def pooled_proxies(self, surveys: Mapping[str, Survey]) -> dict[str, list[Proxy]]:
        """The full SAE, and with a survey its pools, by hook name."""
        return {name: self._pooled(name, surveys.get(name)) for name in self.hook_names}

    def sizes(self, hook_name: str) -> list[int]:
        """Sizes of the pools at a hook point, the whole dictionary left out; ValueError for one
        that does not fit."""
        d_sae = self.subject.sae_at(hook_name).cfg.d_sae
        sizes = self.pools
        if sizes is None:
            sizes = [round(share * d_sae) for share in POOL_SHARES]
        for k in sizes:
            if not 0 < k <= d_sae:
                raise ValueError(
                    f"a pool of {k} latents does not fit a dictionary of {d_sae}: "
                    f"sizes go from 1 to {d_sae}"
                )
        return sorted(set(sizes) - {d_sae})

    def _pooled(self, hook_name: str, surveyed: Survey | None) -> list[Proxy]:
        if surveyed is None:
            return [proxies.full()]
        d_sae = self.subject.sae_at(hook_name).cfg.d_sae
        order = surveyed.ranking(self.rank)
        sizes = self.sizes(hook_name)
        return [proxies.full(), *(proxies.pool(order[:k], d_sae) for k in sizes)]

    def _dense(self, surveyed: Survey | None) -> list[Proxy]:
        if not self.controls:
            return []
        mean = [] if surveyed is None else [proxies.mean_ablation(surveyed.mean)]
        return [*mean, proxies.zero_ablation()]

    def _named(self, hook_name: str, surveyed: Survey | None) -> list[Proxy]:
        where = Surroundings(self.subject, hook_name, self.discovery, surveyed)
        return [build(spec, where) if isinstance(spec, Spec) else spec for spec in self.extra]

    def _check_names(self, hook_name: str) -> None:
        """Raise ValueError for two proxies of one name, one without a key, one that cannot be
        built."""
        taken = [proxies.full()]
        if self.discovery is not None:
            taken += [Proxy(f"pool_{k}", abs, "size") for k in self.sizes(hook_name)]
        if self.controls:
            taken += [Proxy(name, abs, "dense") for name in self._dense_names()]
        for proxy in self.extra:
            if isinstance(proxy, Spec) and proxy.needs_discovery and self.discovery is None:
                raise ValueError(f"'{proxy}' is built from the discovery split: give discovery=")
            taken.append(Proxy(proxy.name, abs, "named") if isinstance(proxy, Spec) else proxy)
        check_proxies(taken)

    def _dense_names(self) -> list[str]:
        return ["zero"] if self.discovery is None else ["mean", "zero"]


@dataclass(frozen=True)
class Beforehand:
    """What is fixed on discovery, and known of the SAEs, before the sample is measured."""

    checks: dict[str, dict[str, Any]]
    """What `check_sae` found, by hook name."""
    surveys: dict[str, Survey]
    """Surveys of the latents by hook name; none without a discovery split."""
    tried: dict[str, SequenceLosses]
    """Losses of the pools on the first discovery sequences, by hook name."""


def beforehand(choices: Choices, corpus: Corpus, running: Mapping[str, Any]) -> Beforehand:
    """What is known before `corpus` is measured, which looks at its first sequences at most."""
    checks = choices.sae_checks(corpus)
    surveys = choices.surveys(**running | {"batch_size": min(running["batch_size"], CPU_BATCH)})
    if choices.discovery is None:
        return Beforehand(checks, surveys, {})
    some = choices.discovery.take(min(N_DISCOVERY, len(choices.discovery)))
    pooled = choices.pooled_proxies(surveys)
    tried = sweep(choices.subject, some, pooled, alphas=choices.alphas, **running)
    return Beforehand(checks, surveys, tried)


def measured(
    choices: Choices,
    corpus: Corpus,
    running: Mapping[str, Any],
    known: Beforehand,
    part: Part | None = None,
) -> dict[str, SequenceLosses]:
    """Records of what was chosen, by hook name: of all of `corpus`, or of a part of it.

    The record of a part says of the corpus what that of the whole says.
    """
    part = Part(0, len(corpus)) if part is None else part
    piece = corpus.part(part.start, part.stop)
    proxies_of = choices.all_proxies(known.surveys)
    losses = sweep(
        choices.subject,
        piece,
        proxies_of,
        alphas=choices.alphas,
        folder=part.folder,
        alone=part.inside(rows_alone(len(corpus))),
        **running,
    )
    similar = _similar(corpus)[part.start : part.stop]
    about = about_corpus(corpus)
    for name, record in losses.items():
        facts = record.provenance | about | {"sae_check": known.checks[name]}
        losses[name] = replace(record, similar=similar, groups=piece.group_ids, provenance=facts)
    discovery = choices.discovery
    if discovery is None:
        return losses
    for name, record in losses.items():
        surveyed, tried = known.surveys[name], known.tried[name]
        losses[name] = _with_discovery(record, piece, discovery, choices.rank, surveyed, tried)
    return with_references(losses, choices.subject, piece, discovery)


@dataclass(frozen=True)
class Part:
    """Some sequences of a corpus, one after the other, and where they are kept meanwhile."""

    start: int
    """Row of the first."""
    stop: int
    """Row after the last."""
    folder: Path | None = None
    """Folder for checkpoints; None: the cache folder."""

    def inside(self, rows: Int[np.ndarray, "n"]) -> Int[np.ndarray, "n_inside"]:
        """Those of `rows` that are in the part, counted from its start."""
        return rows[(rows >= self.start) & (rows < self.stop)] - self.start


def _with_discovery(
    record: SequenceLosses,
    corpus: Corpus,
    discovery: Corpus,
    rank: str,
    surveyed: Survey,
    tried: SequenceLosses,
) -> SequenceLosses:
    """The record with what was fixed beforehand on the discovery split."""
    order = surveyed.ranking(rank)
    facts = {"l0": surveyed.l0, "explained_variance": 1 - surveyed.fvu, "silent": surveyed.silent}
    return replace(
        record,
        discovery=Discovery(rank, order, surveyed.sequence_count, surveyed.n_seq, tried),
        overlap=overlap(corpus, discovery),
        provenance=record.provenance | facts,
    )


def _similar(corpus: Corpus) -> UInt64[np.ndarray, "n_seq"]:
    """The first sequence that each one resembles; kept in the cache folder."""
    key = f"{sequences_digest(corpus)} {MEASUREMENT_VERSION}"
    arrays = cached_arrays(
        "similar", key, lambda: {"ids": near_duplicates(corpus.tokens, corpus.ids)}
    )
    return arrays["ids"]

"""Losses of a model and of its proxies on a corpus: measured once a proxy, derived at any alpha."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Int

from saecert.corpora.corpus import Corpus
from saecert.measurement.batch import CLEAN, measure_losses
from saecert.measurement.circumstances import merged
from saecert.measurement.loop import Measurement, Part, measure_parts
from saecert.measurement.provenance import document_hashes, provenance
from saecert.measurement.proxies import Proxy
from saecert.measurement.scoring import raw_bits, sequence_bits
from saecert.records import SequenceLosses
from saecert.subjects.subject import Subject

N_ALONE = 4
"""Sequences measured once more in a batch of their own (assumption A3)."""


def sweep(
    subject: Subject,
    corpus: Corpus,
    chosen: Mapping[str, Sequence[Proxy]],
    *,
    alphas: tuple[float, ...],
    batch_size: int | None = None,
    progress: bool = True,
    folder: Path | None = None,
    alone: Int[np.ndarray, "n_alone"] | None = None,
) -> dict[str, SequenceLosses]:
    """Losses of the LM and of the proxies `chosen` at each hook point; `collect` without its
    choices.

    Kept for each hook point and proxy: another proxy or another alpha costs only itself.

    Parameters
    ----------
    subject, corpus
        The model with its SAEs, and the sequences.
    chosen
        By hook name, the proxies to measure there.
    alphas
        Smoothing weights in (0, 1) at which losses are derived.
    batch_size, progress
        As in `saecert.measurement.loop.run`.
    folder
        Where measurements are kept. Default: the cache folder.
    alone
        Rows measured once more in a batch of their own. Default: `rows_alone`.

    Raises
    ------
    ValueError
        Two proxies of one name at a hook point, a proxy without a key, or losses that are not
        finite.
    """
    for proxies in chosen.values():
        check_proxies(proxies)
    plan = _Plan(chosen)
    title = f"{' '.join(chosen)} x{1 + sum(map(len, chosen.values()))}"
    run = partial(measure_parts, subject, title=title, progress=progress, folder=folder)
    together = run(corpus, plan.parts(), plan.measure(), batch_size=batch_size)
    rows = rows_alone(len(corpus)) if alone is None else alone
    again = {}
    if len(rows):
        keys = tuple(corpus.keys[row] for row in rows)
        few = replace(corpus, tokens=corpus.tokens[rows], keys=keys)
        again = run(few, plan.parts("alone"), plan.measure("alone"), batch_size=1)
    losses = {}
    for hook_name in chosen:
        record = _record(subject, corpus, plan, hook_name, alphas, together)
        change = _largest_change(record, again, hook_name, rows)
        facts = record.provenance | {"batch_dependence": round(change, 6)}
        losses[hook_name] = replace(record, provenance=facts)
    return losses


def rows_alone(n_seq: int) -> Int[np.ndarray, "n_alone"]:
    """Rows of a sample of `n_seq` sequences that are measured once more on their own."""
    return np.unique(np.linspace(0, n_seq - 1, N_ALONE).astype(int))


def check_proxies(proxies: Sequence[Proxy]) -> None:
    """Raise ValueError for two proxies of one name, and for a proxy without a key.

    Losses are kept under name and key. A function is not enough to tell two proxies apart: it may
    close over anything.
    """
    names = ["clean", *(proxy.name for proxy in proxies)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"two proxies have the same name: {', '.join(twice)}")
    for proxy in proxies:
        if not proxy.key:
            raise ValueError(
                f"the proxy '{proxy.name}' has no key, and its losses are kept under one: give it "
                "a key, a text that changes whenever its function or a value it uses does"
            )


@dataclass(frozen=True)
class _Plan:
    """Which parts a sweep measures: the model, at each hook point its latents and every proxy."""

    chosen: Mapping[str, Sequence[Proxy]]

    def clean(self, what: str = "") -> Part:
        return replace(CLEAN, key=what)

    def latents(self, hook_name: str) -> Part:
        return Part(hook_name, "latents", "")

    def proxies(self, hook_name: str, what: str = "") -> dict[Part, Proxy]:
        return {
            Part(hook_name, proxy.name, f"{proxy.key} {what}".strip()): proxy
            for proxy in self.chosen[hook_name]
        }

    def parts(self, what: str = "") -> list[Part]:
        """All parts; measured alone, those without latents, which no batch changes."""
        parts = [self.clean(what)]
        for hook_name in self.chosen:
            parts += [] if what else [self.latents(hook_name)]
            parts += self.proxies(hook_name, what)
        return parts

    def measure(self, what: str = "") -> partial:
        """The function of one batch."""
        proxies = {}
        for hook_name in self.chosen:
            proxies |= self.proxies(hook_name, what)
        return partial(measure_losses, proxies=proxies)


def _record(
    subject: Subject,
    corpus: Corpus,
    plan: _Plan,
    hook_name: str,
    alphas: tuple[float, ...],
    measurements: Mapping[Part, Measurement],
) -> SequenceLosses:
    """The record of one hook point: losses at all alphas, derived from what is kept."""
    proxies = {part.name: measurements[part] for part in plan.proxies(hook_name)}
    predictors = {"clean": measurements[plan.clean()]} | proxies
    latents = measurements[plan.latents(hook_name)]
    several = [*predictors.values(), latents]
    measured = merged([times for part in several for times in part.circumstances])
    return SequenceLosses(
        alphas=alphas,
        n_vocab=subject.d_vocab,
        **_loss_tables(predictors, alphas, subject.d_vocab),
        **_behaviour_tables(proxies),
        **_outside_tables(proxies),
        active=latents.rows["active"],
        d_sae=subject.sae_at(hook_name).cfg.d_sae,
        l0=latents.rows["l0"],
        ids=corpus.ids,
        documents=document_hashes(corpus),
        provenance=provenance(subject, corpus, hook_name, measured),
    )


_Tables = dict[str, dict[str, np.ndarray]]
"""Fields of a record, each an array by predictor."""


def _loss_tables(
    predictors: Mapping[str, Measurement], alphas: tuple[float, ...], n_vocab: int
) -> _Tables:
    loss = {}
    raw = {}
    for name, measurement in predictors.items():
        probability = measurement.rows["probability"]
        loss[name] = np.stack([sequence_bits(probability, alpha, n_vocab) for alpha in alphas])
        raw[name] = raw_bits(probability)
    return {"loss": loss, "raw": raw}


def _behaviour_tables(proxies: Mapping[str, Measurement]) -> _Tables:
    variation = {name: part.rows["total_variation"].clip(0, 1) for name, part in proxies.items()}
    disagreement = {name: part.rows["top1_disagreement"] for name, part in proxies.items()}
    return {"total_variation": variation, "top1_disagreement": disagreement}


def _outside_tables(proxies: Mapping[str, Measurement]) -> _Tables:
    shares = {
        name: part.rows["outside"].clip(0, 1)
        for name, part in proxies.items()
        if "outside" in part.rows
    }
    return {
        "outside_firings": {name: values[:, 0] for name, values in shares.items()},
        "outside_energy": {name: values[:, 1] for name, values in shares.items()},
    }


def _largest_change(
    record: SequenceLosses,
    alone: Mapping[Part, Measurement],
    hook_name: str,
    rows: Int[np.ndarray, "n_alone"],
) -> float:
    """Largest change of a smoothed loss at a hook point when its sequence is measured alone."""
    changes = [0.0]
    for part, measurement in alone.items():
        if part.hook_name not in ("", hook_name):
            continue
        for index, alpha in enumerate(record.alphas):
            bits = sequence_bits(measurement.rows["probability"], alpha, record.n_vocab)
            changes.append(np.abs(bits - record.loss[part.name][index, rows]).max())
    return float(max(changes))

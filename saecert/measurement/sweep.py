"""Losses of a model and of its proxies on a corpus: measured once a proxy, derived at any alpha."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from saecert.corpora.corpus import Corpus
from saecert.measurement.batch import CLEAN, measure_losses
from saecert.measurement.circumstances import merged
from saecert.measurement.loop import Measurement, Part, measure_parts
from saecert.measurement.provenance import document_hashes, provenance
from saecert.measurement.proxies import Proxy
from saecert.measurement.scoring import raw_bits, sequence_bits
from saecert.records import SequenceLosses
from saecert.subjects.loading import Subject

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
    run = partial(measure_parts, subject, title=title, progress=progress)
    kept = run(corpus, plan.parts(), plan.measure(), batch_size=batch_size)
    rows = np.unique(np.linspace(0, len(corpus) - 1, N_ALONE).astype(int))
    few = replace(corpus, tokens=corpus.tokens[rows], keys=tuple(corpus.keys[row] for row in rows))
    alone = run(few, plan.parts("alone"), plan.measure("alone"), batch_size=1) if N_ALONE else {}
    return {
        hook_name: _record(subject, corpus, plan, hook_name, alphas, kept, alone, rows)
        for hook_name in chosen
    }


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
    kept: Mapping[Part, Measurement],
    alone: Mapping[Part, Measurement],
    rows: np.ndarray,
) -> SequenceLosses:
    proxies = plan.proxies(hook_name)
    by_name = {"clean": kept[plan.clean()]} | {part.name: kept[part] for part in proxies}
    probability = {name: one.rows["probability"] for name, one in by_name.items()}
    n_vocab = subject.d_vocab
    loss = {
        name: np.stack([sequence_bits(values, alpha, n_vocab) for alpha in alphas])
        for name, values in probability.items()
    }
    again = {
        part.name: one.rows["probability"]
        for part, one in alone.items()
        if part.name == "clean" or part.hook_name == hook_name
    }
    changes = [
        np.abs(sequence_bits(values, alpha, n_vocab) - loss[name][index, rows]).max()
        for name, values in again.items()
        for index, alpha in enumerate(alphas)
    ]
    latents = kept[plan.latents(hook_name)]
    measured = merged([x for one in (*by_name.values(), latents) for x in one.circumstances])
    facts = provenance(subject, corpus, hook_name, measured)
    by_pool = {
        name: one.rows["outside"].clip(0, 1)
        for name, one in by_name.items()
        if "outside" in one.rows
    }
    tables = {
        table: {name: by_name[name].rows[table] for name in by_name if name != "clean"}
        for table in ("total_variation", "top1_disagreement")
    }
    tables["total_variation"] = {
        name: values.clip(0, 1) for name, values in tables["total_variation"].items()
    }
    return SequenceLosses(
        alphas=alphas,
        n_vocab=n_vocab,
        loss=loss,
        raw={name: raw_bits(values) for name, values in probability.items()},
        **tables,
        outside_firings={name: shares[:, 0] for name, shares in by_pool.items()},
        outside_energy={name: shares[:, 1] for name, shares in by_pool.items()},
        active=latents.rows["active"],
        d_sae=subject.sae_at(hook_name).cfg.d_sae,
        l0=latents.rows["l0"],
        ids=corpus.ids,
        documents=document_hashes(corpus),
        provenance=facts | {"batch_dependence": round(float(max(changes, default=0.0)), 6)},
    )

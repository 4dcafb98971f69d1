"""Losses and KL of a model with its SAE spliced in, in several ways at once.

One clean run serves all hook points and all ways. A shorter context costs nothing: predictions look
back only and an SAE reads one token at a time, so what a sequence cut short would give is the
beginning of what the whole one gives.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from saecert.corpora.corpus import Corpus
from saecert.dictionaries.protocols import (
    AT_BOS,
    EXEMPT,
    KL,
    LOST,
    MODEL,
    N_VOCAB,
    POOL,
    SAE,
    SMOOTHED_KL,
    Protocol,
    Splice,
    array_name,
)
from saecert.measurement.batch import site_at
from saecert.measurement.identity import digest
from saecert.measurement.loop import Batch, Part, Values, measure_parts
from saecert.measurement.proxies import largest_codes
from saecert.measurement.scoring import CHUNK_BYTES, GPU_CHUNK_BYTES, smoothed_bits
from saecert.measurement.site import Site
from saecert.measurement.survey import survey_layers
from saecert.records import smoothed_support
from saecert.subjects.forward import clean_run, final_residual, logits_of
from saecert.subjects.subject import Subject

BATCH = 4
"""Sequences in a batch if not said: large models are slow, and a batch is what a stop may lose."""
MIN_ROWS = 64
"""Fewer rows than these make slow products."""

_AT = " @ "

Residual = Float[Tensor, "batch pos d_model"]
ByPosition = Float[Tensor, "batch targets"]


class _Plan(NamedTuple):
    """What is measured of each batch."""

    clean: Part
    """The model alone."""
    splices: Mapping[Part, Splice]
    kept: Mapping[str, Float[Tensor, "d_sae"]]
    """1 for the latents in the pool, by hook point; nothing for the whole dictionary."""
    contexts: Sequence[int]
    alpha: float


def spliced(
    subject: Subject,
    corpus: Corpus,
    hook_names: Sequence[str] | None = None,
    *,
    splices: Sequence[tuple[int, str]] = ((0, EXEMPT),),
    contexts: Sequence[int] = (),
    pool: int = 0,
    alpha: float = 0.5,
    discovery: Corpus | None = None,
    batch_size: int = BATCH,
    progress: bool = True,
) -> dict[str, dict[str, Float[np.ndarray, "n_seq"]]]:
    """Losses and KL of each sequence, by hook point and name: ``{hook_name: {name: values}}``.

    Names are those of `saecert.dictionaries.protocols.array_name`, for every way in `splices` and
    every length in `contexts`. "model", "SAE" and "pool" are smoothed losses in bits per token; the
    pooled proxy's latents are masked before the largest are taken. "KL" and "smoothed KL" are those
    of the SAE proxy's predictions from the model's in bits. All are means over every position that
    predicts a token within the context; "n_vocab" stands beside them. Kept in the cache folder, a
    file for each hook point and way.

    Parameters
    ----------
    subject, corpus
        The model with its SAEs, and the sequences.
    hook_names
        Hook points; all that have an SAE if not said.
    splices
        Pairs of the most active latents at a token (0: all), and of what is done at BOS, one of
        `saecert.dictionaries.protocols.AT_BOS`.
    contexts
        Tokens that are looked at, BOS included; the whole sequences if none are named.
    pool
        Size of the pool, the latents that are active on most tokens of `discovery`; 0 for the whole
        dictionary.
    alpha
        Smoothing weight in (0, 1).
    discovery
        Text on which latents are ranked, where there is a pool.
    batch_size, progress
        As in `saecert.measurement.loop.run`.

    Raises
    ------
    ValueError
        Fewer than 0 latents, an unknown word for BOS or one where no BOS is, a corpus that says
        itself that BOS is replaced, a context of less than 2 tokens or more than there are, a pool
        larger than the dictionary or without `discovery`, alpha outside (0, 1), a hook point
        without an SAE.
    """
    hooks = tuple(dict.fromkeys(hook_names or subject.hook_names))
    ways = list(dict.fromkeys(Splice(int(n), str(bos)) for n, bos in splices))
    lengths = sorted(set(map(int, contexts)) or {corpus.n_ctx})
    _check(corpus, ways, lengths)
    smoothed_support(alpha, subject.d_vocab)
    running = {"batch_size": batch_size, "progress": progress}
    kept = _pools(subject, hooks, pool, discovery, running)
    plan = _planned(hooks, ways, lengths, kept, alpha)
    measure = partial(_measure, plan=plan)
    parts = [plan.clean, *plan.splices]
    title = f"spliced x{len(ways)}"
    found = measure_parts(subject, corpus, parts, measure, title=title, **running)
    sizes = np.full(len(corpus), float(subject.d_vocab))
    values: dict[str, dict[str, np.ndarray]] = {hook: {N_VOCAB: sizes} for hook in hooks}
    for part, way in plan.splices.items():
        arrays = {**found[plan.clean].arrays, **found[part].arrays}
        for name, array in arrays.items():
            what, _, length = name.rpartition(_AT)
            values[part.hook_name][array_name(what, Protocol(way, int(length)))] = array
    return values


def replaced(
    site: Site, splice: Splice, kept: Float[Tensor, "d_sae"] | None = None
) -> Float[Tensor, "batch pos d_in"]:
    """What stands at the hook point; with `kept`, latents outside a pool are zeroed first."""
    codes = site.latents if kept is None else site.latents * kept.to(site.latents)
    if splice.n_active:
        codes = largest_codes(codes, splice.n_active)
    if splice.bos == EXEMPT:
        return site.splice(site.decode(codes))
    if splice.bos == LOST:
        codes = torch.cat([torch.zeros_like(codes[:, :1]), codes[:, 1:]], dim=1)
    return site.decode(codes).to(site.acts)


@torch.no_grad()
def scores(
    model: TransformerBridge,
    tokens: Int[Tensor, "batch pos"],
    clean: Residual,
    proxies: Sequence[Residual],
    pooled: Sequence[Residual],
    alpha: float,
) -> tuple[ByPosition, Float[Tensor, "proxies 3 batch targets"], list[ByPosition]]:
    """What each prediction is worth, from what the unembedding reads.

    Probability of the next token by the model; the same, KL and smoothed KL in bits by each of
    `proxies`; the probability alone by each of `pooled`. A chunk of positions at a time: no tensor
    of all positions and the whole vocabulary is made.
    """
    shape = tokens[:, 1:].shape
    targets = tokens[:, 1:].flatten()
    flat = [residual[:, :-1].flatten(0, 1) for residual in (clean, *proxies, *pooled)]
    out = torch.zeros(len(flat), 3, len(targets), device=targets.device)
    step = _n_rows(model, targets)
    for start in range(0, len(targets), step):
        rows = slice(start, start + step)
        log_p = _log_softmax(model, flat[0][rows])
        out[0, 0, rows] = _chosen(log_p, targets[rows])
        p = log_p.exp()
        smoothed = _smoothed(p, alpha)
        log_smoothed = smoothed.log()
        for index, residual in enumerate(flat[1:], start=1):
            log_q = _log_softmax(model, residual[rows])
            out[index, 0, rows] = _chosen(log_q, targets[rows])
            if index > len(proxies):
                continue
            log_smoothed_q = _smoothed(log_q.exp(), alpha).log_()
            out[index, 1, rows] = _bits(p, log_p - log_q)
            out[index, 2, rows] = _bits(smoothed, log_smoothed - log_smoothed_q)
    # rounding may leave a divergence of nothing just below it
    values = out.clamp_min_(0).unflatten(-1, shape)
    n = 1 + len(proxies)
    return values[0, 0], values[1:n], [*values[n:, 0]]


def _measure(
    subject: Subject, batch: Batch, parts: Sequence[Part], plan: _Plan
) -> dict[Part, Values]:
    """Losses and divergences of one batch, for the model alone and every way at a hook point."""
    model = subject.model
    hook_names = list(dict.fromkeys(part.hook_name for part in parts if part.hook_name))
    acts, clean = clean_run(model, batch.tokens, hook_names)
    values: dict[Part, Values] = {}
    proxies: list[Residual] = []
    pooled: list[Residual] = []
    spliced_parts = [part for hook in hook_names for part in parts if part.hook_name == hook]
    for hook_name in hook_names:
        site = site_at(subject, batch, hook_name, acts.pop(hook_name))
        finish = partial(final_residual, model, batch.tokens, hook_name)
        for part in (part for part in spliced_parts if part.hook_name == hook_name):
            way = plan.splices[part]
            proxies.append(finish(replaced(site, way)))
            if hook_name in plan.kept:
                pooled.append(finish(replaced(site, way, plan.kept[hook_name])))
    probability, by_proxy, by_pool = scores(model, batch.tokens, clean, proxies, pooled, plan.alpha)
    summary = partial(_by_context, plan=plan, n_vocab=subject.d_vocab)
    if plan.clean in parts:
        values[plan.clean] = summary({MODEL: probability})
    for index, part in enumerate(spliced_parts):
        names = dict(zip((SAE, KL, SMOOTHED_KL), by_proxy[index], strict=True))
        names[POOL] = by_pool[index] if by_pool else names[SAE]
        values[part] = summary(names)
    return values


def _by_context(by_name: Mapping[str, ByPosition], plan: _Plan, n_vocab: int) -> Values:
    """Means over the positions of each context; of probabilities, those of their smoothed loss."""
    found = {}
    for name, values in by_name.items():
        bits = values.double().cpu().numpy()
        if name not in (KL, SMOOTHED_KL):
            bits = smoothed_bits(bits, plan.alpha, n_vocab)
        for length in plan.contexts:
            found[f"{name}{_AT}{length}"] = bits[:, : length - 1].mean(axis=1)
    return found


def _planned(
    hook_names: Sequence[str],
    ways: Sequence[Splice],
    contexts: Sequence[int],
    kept: Mapping[str, Float[Tensor, "d_sae"]],
    alpha: float,
) -> _Plan:
    """What is kept in which file."""
    shape = (tuple(contexts), float(alpha))
    splices = {}
    for hook_name in hook_names:
        pool = kept[hook_name].numpy().tobytes().hex() if hook_name in kept else ""
        for way in ways:
            key = digest(*shape, way, pool)
            splices[Part(hook_name, f"spliced, {way}", key)] = way
    return _Plan(Part("", "spliced, model", digest(*shape)), splices, kept, contexts, alpha)


def _pools(
    subject: Subject,
    hook_names: Sequence[str],
    size: int,
    discovery: Corpus | None,
    running: Mapping[str, Any],
) -> dict[str, Float[Tensor, "d_sae"]]:
    """The latents that are active on most tokens of `discovery`, by hook point."""
    if not size:
        return {}
    if discovery is None:
        raise ValueError(f"a pool of {size} latents is chosen on the discovery split: give one")
    for hook_name in hook_names:
        d_sae = subject.sae_at(hook_name).cfg.d_sae
        if not 0 < size <= d_sae:
            raise ValueError(f"a pool of {size} latents does not fit a dictionary of {d_sae}")
    surveys = survey_layers(subject, discovery, hook_names, **running)
    return {
        hook_name: _indicator(found.ranking("frequency")[:size], len(found.token_count))
        for hook_name, found in surveys.items()
    }


def _indicator(latents: Int[np.ndarray, "k"], d_sae: int) -> Float[Tensor, "d_sae"]:
    kept = torch.zeros(d_sae)
    kept[torch.from_numpy(latents.astype(np.int64))] = 1.0
    return kept


def _check(corpus: Corpus, ways: Sequence[Splice], contexts: Sequence[int]) -> None:
    """Raise ValueError for what cannot be measured on `corpus`."""
    if corpus.bos and not corpus.exempt_bos:
        raise ValueError("what is done at BOS is part of splices=: leave exempt_bos at True")
    for way in ways:
        if way.n_active < 0:
            raise ValueError(f"at least 0 active latents (0: all) must stay, got {way.n_active}")
        if way.bos not in AT_BOS:
            raise ValueError(f"unknown '{way.bos}' at BOS; there are {', '.join(AT_BOS)}")
        if way.bos != EXEMPT and not corpus.bos:
            raise ValueError(f"BOS cannot be {way.bos}: the sequences do not begin with one")
    for length in contexts:
        if not 2 <= length <= corpus.n_ctx:
            raise ValueError(
                f"a context of {length} tokens: sequences have {corpus.n_ctx}, and a prediction "
                "takes 2"
            )


def _n_rows(model: TransformerBridge, targets: Int[Tensor, "rows"]) -> int:
    size = GPU_CHUNK_BYTES if targets.is_cuda else CHUNK_BYTES
    d_vocab = len(model.original_model.get_output_embeddings().weight)
    return max(MIN_ROWS, size // (4 * d_vocab))


def _log_softmax(
    model: TransformerBridge, residual: Float[Tensor, "rows d_model"]
) -> Float[Tensor, "rows d_vocab"]:
    return logits_of(model, residual).float().log_softmax(dim=1)


def _smoothed(p: Float[Tensor, "rows d_vocab"], alpha: float) -> Float[Tensor, "rows d_vocab"]:
    return p.mul(1 - alpha).add_(alpha / p.shape[1])


def _chosen(
    log_p: Float[Tensor, "rows d_vocab"], targets: Int[Tensor, "rows"]
) -> Float[Tensor, "rows"]:
    """Probability of each target."""
    return log_p.gather(1, targets[:, None])[:, 0].exp()


def _bits(
    weights: Float[Tensor, "rows d_vocab"], nats: Float[Tensor, "rows d_vocab"]
) -> Float[Tensor, "rows"]:
    """Means of `nats`, one a row, in bits."""
    return torch.linalg.vecdot(weights, nats) / math.log(2)

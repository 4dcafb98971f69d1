"""KL divergence of a proxy's smoothed predictions from the model's, in each sequence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from saecert.corpora.corpus import Corpus
from saecert.measurement.batch import site_at
from saecert.measurement.catalogue import Surroundings, build
from saecert.measurement.loop import Batch, Part, Values, measure_parts
from saecert.measurement.named import parse
from saecert.measurement.proxies import Proxy
from saecert.measurement.scoring import CHUNK_BYTES, GPU_CHUNK_BYTES, MIN_ROWS
from saecert.measurement.survey import survey_layers
from saecert.records import smoothed_support
from saecert.subjects.forward import clean_run, final_residual, logits_of
from saecert.subjects.subject import Subject

BITS = "bits"
"""Name of the array in a file."""


def divergence(
    subject: Subject,
    corpus: Corpus,
    hook_names: Sequence[str] | None = None,
    *,
    proxies: Sequence[str] = ("full",),
    alphas: Sequence[float] = (0.5,),
    discovery: Corpus | None = None,
    batch_size: int | None = None,
    progress: bool = True,
) -> dict[str, dict[str, Float[np.ndarray, "n_seq n_alpha"]]]:
    """KL(f || g_A) of smoothed predictions, bits per token: ``{hook_name: {proxy: values}}``.

    Both distributions over the next token are smoothed, ``(1 - alpha) p + alpha / V``, at every
    position from which a token is predicted; a value is the mean over those of one sequence, one
    column for each of `alphas`. It lies between 0 and
    `saecert.certificates.divergence.divergence_range`.

    One run of the model serves all hook points, what comes after one runs once more for each proxy
    there. Kept in the cache folder, a file for each proxy.

    Parameters
    ----------
    subject, corpus
        The model with its SAEs, and the sequences.
    hook_names
        Hook points with an SAE; all of them if not said.
    proxies
        By name, as `saecert.measurement.named` has them: "full", "pool(768)", "zero".
    alphas
        Smoothing weights in (0, 1).
    discovery
        Text on which latents are ranked and activations averaged, where a proxy needs it.
    batch_size, progress
        As in `saecert.measurement.loop.run`.

    Raises
    ------
    ValueError
        An alpha outside (0, 1), no proxy of a name, one that needs `discovery` without it, a hook
        point without an SAE.
    """
    hooks = tuple(dict.fromkeys(hook_names or subject.hook_names))
    weights = tuple(map(float, alphas))
    for alpha in weights:
        smoothed_support(alpha, subject.d_vocab)
    running = {"batch_size": batch_size, "progress": progress}
    chosen = _chosen(subject, hooks, proxies, weights, discovery, running)
    measure = partial(_measure, chosen=chosen, alphas=weights)
    title = f"divergence x{len(chosen)}"
    found = measure_parts(subject, corpus, list(chosen), measure, title=title, **running)
    values: dict[str, dict[str, np.ndarray]] = {hook: {} for hook in hooks}
    for part, proxy in chosen.items():
        values[part.hook_name][proxy.name] = found[part].arrays[BITS]
    return values


@torch.no_grad()
def smoothed_divergences(
    model: TransformerBridge,
    clean: Float[Tensor, "batch pos d_model"],
    residuals: Mapping[str, Float[Tensor, "batch pos d_model"]],
    alphas: Sequence[float],
) -> dict[str, Float[Tensor, "batch n_alpha"]]:
    """Mean over positions of KL(clean || proxy) of smoothed predictions in bits, by proxy.

    From what the unembedding reads; the last position predicts nothing and is left out. A chunk of
    positions at a time: no tensor of all positions and the whole vocabulary is made.
    """
    reference = clean[:, :-1].flatten(0, 1)
    flat = {name: residual[:, :-1].flatten(0, 1) for name, residual in residuals.items()}
    out = torch.empty(len(flat), len(alphas), len(reference), device=clean.device)
    for part in _chunks(model, reference):
        p = _probabilities(model, reference[part])
        smoothed = [_smoothed(p, alpha) for alpha in alphas]
        logs = [probability.log2() for probability in smoothed]
        for row, residual in enumerate(flat.values()):
            q = _probabilities(model, residual[part])
            for column, alpha in enumerate(alphas):
                ratio = logs[column] - _smoothed(q, alpha).log2_()
                out[row, column, part] = ratio.mul_(smoothed[column]).sum(dim=1)
    # rounding may leave a divergence of nothing just below it
    means = out.double().clamp_min(0).view(len(flat), len(alphas), len(clean), -1).mean(dim=-1)
    return {name: means[row].T for row, name in enumerate(flat)}


def _chosen(
    subject: Subject,
    hook_names: Sequence[str],
    proxies: Sequence[str],
    alphas: tuple[float, ...],
    discovery: Corpus | None,
    running: Mapping[str, object],
) -> dict[Part, Proxy]:
    """What is kept in which file, and the proxy that is measured for it."""
    specs = [parse(name) for name in proxies]
    needed = discovery is not None and any(spec.needs_discovery for spec in specs)
    surveys = survey_layers(subject, discovery, hook_names, **running) if needed else {}
    chosen = {}
    for hook_name in hook_names:
        where = Surroundings(subject, hook_name, discovery, surveys.get(hook_name))
        for spec in specs:
            proxy = build(spec, where)
            part = Part(hook_name, f"divergence {proxy.name}", f"{proxy.key} {alphas}")
            chosen[part] = proxy
    return chosen


def _measure(
    subject: Subject,
    batch: Batch,
    parts: Sequence[Part],
    chosen: Mapping[Part, Proxy],
    alphas: Sequence[float],
) -> dict[Part, Values]:
    """Divergences of one batch, by proxy and hook point."""
    hook_names = list(dict.fromkeys(part.hook_name for part in parts))
    acts, clean = clean_run(subject.model, batch.tokens, hook_names)
    values: dict[Part, Values] = {}
    for hook_name in hook_names:
        site = site_at(subject, batch, hook_name, acts.pop(hook_name))
        here = {part.name: part for part in parts if part.hook_name == hook_name}
        residuals = {}
        for name, part in here.items():
            spliced = site.splice(chosen[part].replace(site))
            residuals[name] = final_residual(subject.model, batch.tokens, hook_name, spliced)
        found = smoothed_divergences(subject.model, clean, residuals, alphas)
        values |= {part: {BITS: found[name]} for name, part in here.items()}
    return values


def _chunks(model: TransformerBridge, rows: Float[Tensor, "rows d_model"]) -> list[slice]:
    """Rows whose probabilities are made together."""
    d_vocab = len(model.original_model.get_output_embeddings().weight)
    size = GPU_CHUNK_BYTES if rows.is_cuda else CHUNK_BYTES
    step = max(MIN_ROWS, size // (4 * d_vocab))
    return [slice(start, start + step) for start in range(0, len(rows), step)]


def _probabilities(
    model: TransformerBridge, residual: Float[Tensor, "rows d_model"]
) -> Float[Tensor, "rows d_vocab"]:
    return torch.softmax(logits_of(model, residual), dim=1, dtype=torch.float32)


def _smoothed(p: Float[Tensor, "rows d_vocab"], alpha: float) -> Float[Tensor, "rows d_vocab"]:
    return p.mul(1 - alpha).add_(alpha / p.shape[1])

"""Latents to look at: where each is strongest, what it writes, and what removing it costs.

Those that move the loss most on discovery, of the SAE and of an untrained one of the same shape
(`saecert.dictionaries.untrained`). Of the text nothing is kept but numbers of sequences and
positions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from saecert.corpora.corpus import Corpus
from saecert.dictionaries.quantities import KINDS, RANDOM, TRAINED
from saecert.dictionaries.untrained import untrained
from saecert.measurement.batch import site_at
from saecert.measurement.identity import digest
from saecert.measurement.loop import Batch, Quantity, Values, run
from saecert.measurement.scoring import score, sequence_bits
from saecert.measurement.site import Site
from saecert.measurement.survey import N_ATTRIBUTION, Survey, attribution, survey
from saecert.subjects import forward
from saecert.subjects.subject import Subject

BEFORE = 12
"""Tokens shown before the one at which a latent is strongest."""
AFTER = 5
"""Tokens shown after it."""
STRONGEST = 20
"""Sequences in which a latent is strongest that its tokens are counted in."""
NAMED = 3
"""Most frequent tokens there that are named."""

Arrays = dict[str, Shaped[np.ndarray, "..."]]


class Chosen(NamedTuple):
    """Latents of one SAE that move the loss most, and how much that is."""

    subject: Subject
    """With the SAE whose latents they are."""
    latents: Int[np.ndarray, "count"]
    """The one that moves it most first."""
    share: Float[np.ndarray, "count"]
    """Of all attribution."""
    firing: Float[np.ndarray, "count"]
    """Share of discovery positions at which each is active."""


def strongest(
    subject: Subject,
    corpus: Corpus,
    hook_names: Sequence[str] | None = None,
    *,
    n_latents: int = 20,
    n_places: int = 6,
    n_tokens: int = 5,
    seed: int = 0,
    batch_size: int | None = None,
    progress: bool = True,
) -> dict[str, Arrays]:
    """Latents that move the loss most, with the places where each is strongest, by hook point.

    For each kind of `KINDS`, "trained" for the SAE and "random" for an untrained one:

    * "<kind> latents", by attribution on the first 200 sequences of `corpus`, the discovery split,
      with their "<kind> share" of it, and "<kind> firing", the share of positions at which each is
      active
    * "<kind> places", sequence and position where it is strongest, in `n_places` sequences, -1 if
      it fires in fewer, with "<kind> ids", the first 53 bits of each sequence's hash, "<kind>
      peaks", the activations, and "<kind> windows", shares of them at the `BEFORE` positions
      before, its own and the `AFTER` behind
    * "<kind> tokens", the most frequent ones in its `STRONGEST` sequences, and "<kind> same", the
      share of these with the first of them
    * "<kind> promoted" and "<kind> suppressed", the `n_tokens` whose logits its decoder row raises
      and lowers most (`logit_effect`), "" at hook points of another width than the residual stream

    Beside them "first", the first position that counts.

    ValueError for numbers below 1, or a hook point without an SAE.
    """
    for name, value in {"n_latents": n_latents, "n_places": n_places, "n_tokens": n_tokens}.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    running = {"batch_size": batch_size, "progress": progress}
    found = {}
    for hook_name in hook_names or subject.hook_names:
        arrays: Arrays = {"first": np.asarray(corpus.first)}
        for kind, chosen in chosen_latents(
            subject, corpus, hook_name, n_latents, seed, running
        ).items():
            values = _looked_at(chosen, corpus, hook_name, running)
            values = _shown(values, corpus, chosen.subject, n_places)
            values |= _words(chosen, hook_name, n_tokens)
            values |= {"latents": chosen.latents, "share": chosen.share, "firing": chosen.firing}
            arrays |= {f"{kind} {name}": array for name, array in values.items()}
        found[hook_name] = arrays
    return found


def removed(
    subject: Subject,
    corpus: Corpus,
    hook_names: Sequence[str] | None = None,
    *,
    discovery: Corpus,
    n_latents: int = 20,
    alpha: float = 0.5,
    seed: int = 0,
    batch_size: int | None = None,
    progress: bool = True,
) -> dict[str, dict[str, Float[np.ndarray, "n_seq ..."]]]:
    """What each of the latents of `strongest` is worth in every sequence, by hook point.

    For each kind of `KINDS`: "<kind> cost", a column a latent, the smoothed loss in bits per token
    with the latent set to zero at every position in the reconstruction, less that with the whole
    reconstruction; "<kind> full", the latter; and "model", the smoothed loss of the model. Where a
    latent is silent the cost is 0. Latents are chosen on `discovery`.
    """
    running = {"batch_size": batch_size, "progress": progress}
    found = {}
    for hook_name in hook_names or subject.hook_names:
        arrays: dict[str, np.ndarray] = {}
        for kind, chosen in chosen_latents(
            subject, discovery, hook_name, n_latents, seed, running
        ).items():
            measure = partial(_costs, latents=chosen.latents, alpha=alpha)
            key = digest(chosen.latents.tolist(), alpha)
            quantity = Quantity("removed", key, measure, (hook_name,))
            values = run(chosen.subject, corpus, quantity, **running)[hook_name]
            arrays |= {f"{kind} {name}": values[name] for name in ("cost", "full")}
            arrays |= {"model": values["model"]} if kind == TRAINED else {}
        found[hook_name] = arrays
    return found


def chosen_latents(
    subject: Subject,
    discovery: Corpus,
    hook_name: str,
    n_latents: int,
    seed: int,
    running: Mapping[str, Any],
) -> dict[str, Chosen]:
    """The `n_latents` of most attribution, of the SAE and of an untrained one with the same mean
    number of active latents, by kind."""
    surveyed = survey(subject, discovery, hook_name, **running)
    k = max(1, round(surveyed.l0))
    other = untrained(subject, discovery, hook_name, k=k, mean=surveyed.mean, seed=seed)
    surveys = {TRAINED: (subject, surveyed)}
    surveys[RANDOM] = (other, survey(other, discovery, hook_name, **running))
    return {kind: _most(*surveys[kind], discovery, hook_name, n_latents, running) for kind in KINDS}


@torch.no_grad()
def logit_effect(
    subject: Subject, hook_name: str, latents: Int[np.ndarray, "count"]
) -> Float[Tensor, "count d_vocab"] | None:
    """Logits that the decoder row of each latent adds, if it were all that is read: through the
    final norm and the unembedding, less what these make of nothing, and less the mean over the
    vocabulary, which moves no prediction. None where the SAE has another width than the residual
    stream.

    Blocks in between are left out, and so are those after the hook point.
    """
    model = subject.model
    atoms = subject.sae_at(hook_name).W_dec[torch.from_numpy(np.ascontiguousarray(latents))]
    if atoms.shape[1] != model.cfg.d_model:
        return None
    weights = model.original_model.get_output_embeddings().weight
    rows = torch.cat([torch.zeros_like(atoms[:1]), atoms]).to(weights)
    logits = forward.logits_of(model, forward.lens(model, rows[None])[0]).float()
    effect = logits[1:] - logits[:1]
    return effect - effect.mean(dim=1, keepdim=True)


def _most(
    subject: Subject,
    surveyed: Survey,
    discovery: Corpus,
    hook_name: str,
    n_latents: int,
    running: Mapping[str, Any],
) -> Chosen:
    some = discovery.take(min(N_ATTRIBUTION, len(discovery)))
    moved = attribution(subject, some, hook_name, **running)
    latents = np.argsort(-moved, kind="stable")[:n_latents]
    firing = surveyed.token_count[latents] / surveyed.n_tokens
    return Chosen(subject, latents, moved[latents] / moved.sum(), firing)


def _looked_at(
    chosen: Chosen, corpus: Corpus, hook_name: str, running: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    measure = partial(_peaks, latents=chosen.latents)
    quantity = Quantity("strongest", digest(chosen.latents.tolist()), measure, (hook_name,))
    return run(chosen.subject, corpus, quantity, **running)[hook_name]


def _peaks(
    subject: Subject, batch: Batch, hook_names: Sequence[str], latents: Int[np.ndarray, "count"]
) -> dict[str, Values]:
    """Where each latent is strongest in each sequence, how strong, and how strong around."""
    acts = forward.native_acts_at(subject.model, batch.tokens, hook_names)
    found: dict[str, Values] = {}
    for name in hook_names:
        site = site_at(subject, batch, name, acts[name])
        codes = site.latents[..., torch.from_numpy(latents).to(site.acts.device)].clone()
        codes[:, : batch.first] = 0
        peak, place = codes.max(dim=1)
        padded = torch.nn.functional.pad(codes, (0, 0, BEFORE, AFTER))
        offsets = torch.arange(BEFORE + 1 + AFTER, device=codes.device)
        rows = place[:, None] + offsets[:, None]
        windows = padded.gather(1, rows).transpose(1, 2)
        shares = windows / peak.clamp_min(torch.finfo(peak.dtype).tiny)[..., None]
        found[name] = {"peak": peak, "place": place, "window": shares}
    return found


def _shown(
    values: Mapping[str, np.ndarray], corpus: Corpus, subject: Subject, n_places: int
) -> Arrays:
    """The strongest places of each latent, and the tokens at them."""
    order = np.argsort(-values["peak"], axis=0, kind="stable")
    rows = order[:n_places].T
    columns = np.arange(len(rows))[:, None]
    peaks = values["peak"][rows, columns]
    fires = peaks > 0
    position = values["place"][rows, columns]
    places = np.where(fires[..., None], np.stack([rows, position], axis=-1), -1)
    ids = np.where(fires, (corpus.ids >> np.uint64(11)).astype(np.int64)[rows], 0)
    windows = np.where(fires[..., None], values["window"][rows, columns], 0)
    named = [_named(column, values, corpus, subject) for column in range(len(rows))]
    return {
        "places": places.astype(np.int64),
        "ids": ids,
        "peaks": peaks.astype(np.float64),
        "windows": windows.astype(np.float64),
        "tokens": np.array([tokens for tokens, _ in named], dtype=np.str_),
        "same": np.array([same for _, same in named]),
    }


def _named(
    column: int, values: Mapping[str, np.ndarray], corpus: Corpus, subject: Subject
) -> tuple[list[str], float]:
    """The most frequent tokens where a latent is strongest, and the share of the first of them."""
    peaks = values["peak"][:, column]
    rows = np.argsort(-peaks, kind="stable")[:STRONGEST]
    rows = rows[peaks[rows] > 0]
    here = corpus.tokens[rows, values["place"][rows, column]]
    tokens, counts = np.unique(here, return_counts=True)
    most = np.argsort(-counts, kind="stable")[:NAMED]
    names = [subject.tokenizer.decode([int(token)]) for token in tokens[most]]
    same = float(counts.max() / len(rows)) if len(rows) else 0.0
    return names + [""] * (NAMED - len(names)), same


def _words(chosen: Chosen, hook_name: str, n_tokens: int) -> Arrays:
    """The tokens that each latent promotes and suppresses."""
    effect = logit_effect(chosen.subject, hook_name, chosen.latents)
    if effect is None:
        empty = np.full((len(chosen.latents), n_tokens), "")
        return {"promoted": empty, "suppressed": empty}
    decode = chosen.subject.tokenizer.decode
    known = effect[:, : len(chosen.subject.tokenizer)]
    found = {}
    for name, signed in {"promoted": known, "suppressed": -known}.items():
        ids = signed.topk(min(n_tokens, signed.shape[1])).indices.tolist()
        found[name] = np.array([[decode([i]) for i in row] for row in ids], dtype=np.str_)
    return found


def _costs(
    subject: Subject,
    batch: Batch,
    hook_names: Sequence[str],
    latents: Int[np.ndarray, "count"],
    alpha: float,
) -> dict[str, Values]:
    """Losses of one batch: of the model, with the reconstruction, and without each latent."""
    acts, clean = forward.clean_run(subject.model, batch.tokens, hook_names)
    found: dict[str, Values] = {}
    for name in hook_names:
        site = site_at(subject, batch, name, acts[name])
        full = _loss(subject, batch.tokens, name, site, site.recons, alpha)
        costs = np.zeros((len(batch.tokens), len(latents)))
        for column, latent in enumerate(latents.tolist()):
            fires = (site.latents[:, batch.first :, latent] != 0).any(dim=1)
            if fires.any():
                rows = np.flatnonzero(fires.cpu().numpy())
                part = Site(site.acts[fires], site.sae, batch.ids[rows], batch.first)
                codes = site.latents[fires].clone()
                codes[..., latent] = 0
                args = (batch.tokens[fires], name, part, part.decode(codes), alpha)
                costs[rows, column] = _loss(subject, *args) - full[rows]
        model = _bits(subject, batch.tokens, clean, alpha)
        found[name] = {"cost": costs, "full": full, "model": model}
    return found


def _loss(
    subject: Subject,
    tokens: Int[Tensor, "batch pos"],
    hook_name: str,
    site: Site,
    replaced: Float[Tensor, "batch pos d_in"],
    alpha: float,
) -> Float[np.ndarray, "batch"]:
    residual = forward.final_residual(subject.model, tokens, hook_name, site.splice(replaced))
    return _bits(subject, tokens, residual, alpha)


def _bits(
    subject: Subject,
    tokens: Int[Tensor, "batch pos"],
    residual: Float[Tensor, "batch pos d_model"],
    alpha: float,
) -> Float[np.ndarray, "batch"]:
    probability = score(subject.model, {"clean": residual}, tokens)["clean"][0]
    return sequence_bits(probability, alpha, subject.d_vocab)

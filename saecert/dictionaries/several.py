"""Several SAEs at one hook point, measured on one clean run: norms, losses, active latents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from jaxtyping import Float, Int
from sae_lens import SAE
from torch import Tensor

from saecert.corpora.corpus import Corpus
from saecert.dictionaries.norms import drawn_tokens, norms_at, rows_of, truths_of, unsmoothed_bits
from saecert.dictionaries.quantities import SPLICE_COSTS
from saecert.measurement.batch import site_at
from saecert.measurement.identity import digest
from saecert.measurement.loop import Batch, Quantity, Total, Values, run
from saecert.measurement.proxies import pool, zero_ablation
from saecert.measurement.scoring import score, sequence_bits
from saecert.measurement.site import Site
from saecert.subjects.forward import clean_run, final_residual
from saecert.subjects.subject import Subject

Rows = dict[str, Float[np.ndarray, "..."]]


@dataclass(frozen=True)
class Candidate:
    """One of the SAEs, and the pool that stands beside its whole dictionary."""

    sae: SAE
    """Reads and writes activations at the hook point."""
    pool: Int[np.ndarray, "k"]
    """Latents that the pooled proxy keeps."""

    @property
    def kept(self) -> Float[Tensor, "d_sae"]:
        """1 for each latent of the pool; ValueError for a latent that there is not."""
        kept = pool(self.pool, self.sae.cfg.d_sae).kept
        assert kept is not None
        return kept


def measure_several(
    subject: Subject,
    corpus: Corpus,
    hook_name: str,
    candidates: Sequence[Candidate],
    *,
    alpha: float,
    seed: int = 0,
    batch_size: int | None = None,
    progress: bool = True,
) -> tuple[list[Rows], Rows]:
    """What `saecert.dictionaries.norms.norms` measures, and losses: of each SAE, and of none.

    Of each SAE, rows by sequence as `norms` has them, and the smoothed losses (bits per token)
    "full" and "pool" of its two proxies; "l0 counts", tokens by number of active latents, without
    BOS. Of the model alone the losses "clean" and "zero", the activation replaced by zero. The
    model runs once for all of them, and what is after the hook point twice for each. Kept in the
    cache folder.

    Parameters
    ----------
    subject, corpus
        The model, whose own SAEs play no part, and the sequences.
    hook_name
        Hook point.
    candidates
        SAEs with their pools.
    alpha
        Smoothing weight of the losses.
    seed
        Of the tokens drawn from each sequence.
    batch_size, progress
        As for `saecert.measurement.loop.run`.

    Raises
    ------
    ValueError
        No SAE at all, and what `norms` refuses.
    """
    if not candidates:
        raise ValueError("there is no SAE to measure: give one or more")
    alone = [replace(subject, saes={hook_name: each.sae}) for each in candidates]
    pools = [np.sort(each.pool).tolist() for each in candidates]
    key = digest(alpha, seed, pools, *(each.sae_fingerprint(hook_name) for each in alone))
    truths = [truths_of(each.sae) for each in candidates]
    measure = partial(_measure, subjects=alone, candidates=candidates, alpha=alpha, seed=seed)
    quantity = Quantity("several SAEs", key, measure, [hook_name])
    options = {"batch_size": batch_size, "progress": progress}
    values = run(alone[0], corpus, quantity, **options)[hook_name]
    own: list[Rows] = []
    for number, facts in enumerate(truths):
        rows = {key: np.full(len(corpus), value) for key, value in facts.items()}
        mark = _mark(number)
        found = {name.removeprefix(mark): x for name, x in values.items() if name.startswith(mark)}
        own.append(rows | found)
    return own, {name: values[name] for name in ("clean", "zero")}


def _mark(number: int) -> str:
    """What the names of one SAE's arrays begin with."""
    return f"{number}: "


def _measure(
    _subject: Subject,
    batch: Batch,
    hook_names: Sequence[str],
    subjects: Sequence[Subject],
    candidates: Sequence[Candidate],
    alpha: float,
    seed: int,
) -> Mapping[str, Values]:
    """Everything about one batch."""
    hook_name = hook_names[0]
    model = subjects[0].model
    acts, clean = clean_run(model, batch.tokens, hook_names)
    forward = partial(final_residual, model, batch.tokens, hook_name)
    residuals = {"clean": clean}
    said = []
    for number, each in enumerate(candidates):
        site = site_at(subjects[number], batch, hook_name, acts[hook_name])
        said.append((norms_at(site), _counts(site)))
        proxies = {"full": site.recons, "pool": site.decode_only(each.kept)}
        for way, recons in proxies.items():
            residuals[_mark(number) + way] = forward(site.splice(recons))
        if not number:
            residuals["zero"] = forward(site.splice(zero_ablation().replace(site)))
    scores = score(model, residuals, batch.tokens)
    values = {
        name: sequence_bits(scored[0].astype(np.float32), alpha, subjects[0].d_vocab)
        for name, scored in scores.items()
    }
    chosen = drawn_tokens(batch, seed)
    clean_bits = unsmoothed_bits(scores["clean"][0])
    for number, (tokens, counts) in enumerate(said):
        full = scores[f"{_mark(number)}full"]
        costs = (unsmoothed_bits(full[0]) - clean_bits, full[1])
        for name, x in zip(SPLICE_COSTS, costs, strict=True):
            tokens[name] = x[:, batch.first :]
        rows = rows_of(tokens, chosen, candidates[number].sae.cfg.d_sae)
        values |= {_mark(number) + name: x for name, x in rows.items()}
        values[f"{_mark(number)}l0 counts"] = Total(counts)
    return {hook_name: values}


def _counts(site: Site) -> Int[np.ndarray, "one_more"]:
    """Tokens by number of active latents, BOS left out."""
    l0 = (site.latents[:, site.first :] != 0).sum(dim=-1).flatten()
    return np.bincount(l0.cpu().numpy(), minlength=site.latents.shape[-1] + 1)

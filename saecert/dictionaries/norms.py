"""Norms of activations and codes on a corpus, and what the splice costs at the same tokens."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Int
from sae_lens import SAE, BatchTopKTrainingSAE
from torch import Tensor

from saecert.corpora.corpus import Corpus
from saecert.dictionaries.quantities import (
    BANDS,
    COHERENCE,
    COHERENCE_WITH_BIAS,
    PREDICTORS,
    SIZES,
    SPLICE_COSTS,
    outside_name,
    tau_name,
    token_name,
)
from saecert.dictionaries.quasi_orthogonality import coherence, quasi_orthogonality
from saecert.measurement.batch import site_at
from saecert.measurement.identity import digest
from saecert.measurement.loop import Batch, Quantity, Values, run
from saecert.measurement.scoring import score, smoothed_bits
from saecert.measurement.site import Site
from saecert.statistics.rank import kendall_tau
from saecert.subjects.forward import clean_run, final_residual
from saecert.subjects.subject import Subject
from saecert.subjects.top_afa import TopAFASAE

TOKENS = 2
"""Tokens of each sequence whose values are kept one by one."""
ADDITIVE = (*Site.linear, BatchTopKTrainingSAE, TopAFASAE)
"""SAEs that decode by adding up atoms and a bias."""


def norms(
    subject: Subject,
    corpus: Corpus,
    hook_names: Sequence[str] | None = None,
    *,
    seed: int = 0,
    batch_size: int | None = None,
    progress: bool = True,
) -> dict[str, dict[str, Float[np.ndarray, "..."]]]:
    """Norms, coherence and cost of splicing on every sequence: ``{hook_name: {name: rows}}``.

    Over the tokens of a sequence that are spliced and have a next one in it. Rows are sequences:

    * means over tokens: "norm_z", "ratio" of ``norm_f`` to ``norm_z``, "nmse" (each token's counts
      as at most 1), "l0", "loss_increase" (bits of the next token, by the spliced model less by the
      model), "total_variation" of the two predictions
    * `outside_name`: share of tokens with ``eps_lbo (h - 1)`` above each of `BANDS`
    * "largest eps_lbo", "largest eps_identity"
    * `tau_name`: Kendall's tau over tokens of each of `PREDICTORS` with each of `SPLICE_COSTS`
    * `token_name` of "norm_z", "norm_f", "nmse", "eps_identity", "loss_increase",
      "total_variation": values at `TOKENS` tokens drawn at random, a column each
    * `COHERENCE`, `COHERENCE_WITH_BIAS` and `SIZES`, the same in all rows

    What `quasi_orthogonality` says is said of the activation as the SAE reads it. A clean run
    serves all hook points, each takes one run more. Kept in the cache folder.

    Parameters
    ----------
    subject, corpus
        The model with its SAEs, and the sequences.
    hook_names
        Hook points; by default every one that has an SAE.
    seed
        Of the choice of tokens, which is keyed by sequence.
    batch_size, progress
        As for `saecert.measurement.loop.run`.

    Raises
    ------
    ValueError
        A hook point without an SAE, an SAE that does not decode by adding atoms, or what
        `quasi_orthogonality` refuses.
    """
    names = tuple(hook_names or subject.hook_names)
    truths = {name: truths_of(subject.sae_at(name)) for name in names}
    measure = partial(_norms, seed=seed)
    quantity = Quantity("norms", digest(seed, TOKENS), measure, names)
    values = run(subject, corpus, quantity, batch_size=batch_size, progress=progress)
    return {
        name: values[name] | {key: np.full(len(corpus), x) for key, x in truths[name].items()}
        for name in names
    }


def atoms_of(sae: SAE) -> tuple[Float[Tensor, "d_sae d_in"], Float[Tensor, "d_in"]]:
    """Atoms and bias that an SAE's codes are multiplied with and added to.

    Of unit length where the SAE divides by the norms of its decoder's rows. ValueError for an SAE
    that does not decode in this way.
    """
    if not isinstance(sae, ADDITIVE):
        raise ValueError(
            f"SAEs of the kind '{sae.cfg.architecture()}' are not known to decode by adding up "
            "atoms and a bias: nothing can be told from their norms"
        )
    if getattr(sae.cfg, "rescale_acts_by_decoder_norm", False):
        return sae.W_dec / sae.W_dec.norm(dim=1, keepdim=True), sae.b_dec
    return sae.W_dec, sae.b_dec


def truths_of(sae: SAE) -> dict[str, float]:
    """What is the same for every sequence."""
    atoms, bias = atoms_of(sae)
    values = dict(zip(SIZES, map(float, atoms.shape), strict=True))
    values[COHERENCE] = coherence(atoms).value
    values[COHERENCE_WITH_BIAS] = coherence(atoms, bias).value
    return values


def _norms(
    subject: Subject, batch: Batch, hook_names: Sequence[str], seed: int
) -> dict[str, Values]:
    """Everything about one batch."""
    acts, clean = clean_run(subject.model, batch.tokens, hook_names)
    residuals = {"clean": clean}
    found = {}
    for name in hook_names:
        site = site_at(subject, batch, name, acts.pop(name))
        found[name] = norms_at(site)
        spliced = site.splice(site.recons)
        residuals[name] = final_residual(subject.model, batch.tokens, name, spliced)
    scores = score(subject.model, residuals, batch.tokens)
    bits = {name: unsmoothed_bits(scored[0]) for name, scored in scores.items()}
    chosen = drawn_tokens(batch, seed)
    values: dict[str, Values] = {}
    for name in hook_names:
        costs = (bits[name] - bits["clean"], scores[name][1])
        found[name] |= {
            cost: x[:, batch.first :] for cost, x in zip(SPLICE_COSTS, costs, strict=True)
        }
        values[name] = rows_of(found[name], chosen, subject.sae_at(name).cfg.d_sae)
    return values


def norms_at(site: Site) -> dict[str, Float[np.ndarray, "batch tokens"]]:
    """What `quasi_orthogonality` says of each token, and how many latents are active at it."""
    read = site.sae.run_time_activation_norm_fn_in(site.read)
    part = slice(site.first, -1)
    latents = site.latents[:, part]
    found = quasi_orthogonality(read[:, part], latents, *atoms_of(site.sae))
    found["l0"] = (latents != 0).sum(dim=-1).double()
    return {name: values.cpu().numpy() for name, values in found.items()}


def rows_of(
    tokens: dict[str, Float[np.ndarray, "batch tokens"]],
    chosen: Int[np.ndarray, "batch some"],
    d_sae: int,
) -> Values:
    """Rows by sequence of what is known of each token."""
    ratio = tokens["norm_f"] / tokens["norm_z"]
    tokens["norm_deviation"] = np.abs(ratio - 1)
    means = {name: tokens[name] for name in ("norm_z", "l0", *SPLICE_COSTS)}
    means |= {"ratio": ratio, "nmse": np.minimum(tokens["nmse"], 1.0)}
    rows = {name: values.mean(axis=1) for name, values in means.items()}
    scaled = tokens["eps_lbo"] * (d_sae - 1)
    rows |= {outside_name(band): (scaled > band).mean(axis=1) for band in BANDS}
    rows |= {f"largest {name}": tokens[name].max(axis=1) for name in ("eps_lbo", "eps_identity")}
    for cost in SPLICE_COSTS:
        rows |= {tau_name(x, cost): kendall_tau(tokens[x], tokens[cost]) for x in PREDICTORS}
    for name in ("norm_z", "norm_f", "nmse", "eps_identity", *SPLICE_COSTS):
        rows[token_name(name)] = np.take_along_axis(tokens[name], chosen, axis=1)
    return {name: torch.from_numpy(np.asarray(values)) for name, values in rows.items()}


def drawn_tokens(batch: Batch, seed: int) -> Int[np.ndarray, "batch some"]:
    """`TOKENS` different tokens of each sequence, counted from the first one that is spliced."""
    n_tokens = batch.tokens.shape[1] - 1 - batch.first
    if n_tokens < TOKENS:
        raise ValueError(f"sequences of {batch.tokens.shape[1]} tokens are too short")
    rows = []
    for ident in batch.ids:
        hashed = hashlib.sha256(f"tokens {seed} {ident}".encode()).digest()
        rng = np.random.default_rng(int.from_bytes(hashed[:8], "big"))
        rows.append(rng.permutation(n_tokens)[:TOKENS])
    return np.array(rows)


def unsmoothed_bits(probability: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Bits of each prediction, finite where single precision has rounded its probability to 0."""
    return smoothed_bits(np.maximum(probability, np.finfo(np.float32).tiny), 0.0, 1)

"""Is this the SAE of this place? A look at a few sequences before anything is measured with it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from sae_lens import SAE
from torch import Tensor

from saecert.corpora.corpus import Corpus
from saecert.measurement.batch import site_at
from saecert.measurement.loop import Batch, Quantity, Total, Values, run
from saecert.measurement.quality import OUTLIER_FACTOR, explained_text, explained_variance
from saecert.subjects.forward import hook_layer, native_acts_at
from saecert.subjects.subject import Subject

MIN_EXPLAINED = 0.3
"""Least share of the variance that an SAE must explain where it belongs."""
L0_FACTOR = 3
"""How far the number of active latents may be from what the SAE's release lists."""
SCALES = tuple(2 ** (half / 2) for half in range(-12, 13))
"""Rescalings of the activation that are tried on an SAE that does not fit."""


@dataclass(frozen=True)
class Trial:
    """A way of giving an SAE something to read: another place, a rescaled or a centred
    activation."""

    hook_name: str
    """Where the activation is from."""
    scale: float = 1.0
    """What it is multiplied by; the reconstruction is divided by it."""
    centred: bool = False
    """Whether its mean over coordinates is taken off."""

    def advice(self) -> str:
        """What an SAE that fits best this way seems to want."""
        if self.centred:
            return "on centred activations: load the model with center_writing_weights=True"
        if self.scale == 1.0:
            return f"at '{self.hook_name}': was it trained there?"
        scale = f"{self.scale:.3g}"
        return (
            f"on activations times about {scale}: sae.fold_activation_norm_scaling_factor({scale})"
        )


@dataclass(frozen=True)
class Fit:
    """How well an SAE does on what it was given."""

    explained: float
    """Explained variance, pooled over all tokens: this is what is judged."""
    l0: float
    """Mean number of active latents."""
    norm: float
    """Mean norm of what it was given."""
    without_outliers: float
    """Explained variance, pooled over the tokens whose norm is at most `OUTLIER_FACTOR` times the
    median norm: this is what fits are compared by."""
    outlier_share: float
    """Share of the other tokens, in [0, 1]."""

    def told(self) -> str:
        """Both explained variances in words, and the number of active latents."""
        shares = (self.explained, self.without_outliers, self.outlier_share)
        explained = explained_text(*shares, 2, " of the variance")
        return f"{explained}, with {self.l0:.3g} active latents"


def check_sae(
    subject: Subject, corpus: Corpus, hook_name: str, *, n_seq: int = 4, allow_bad_sae: bool = False
) -> dict[str, Any]:
    """What the SAE at `hook_name` does on the first `n_seq` sequences of `corpus`, for the record.

    Explained variance, 1 - E||x - x_hat||^2 / E||x - E x||^2 pooled over all tokens but BOS, must
    lie in [0.3, 1], and the mean number of active latents within a factor 3 of what the release
    lists, if it lists one. A few outlier tokens, of huge norm, can hold most of the variance: so it
    is also told without the tokens above 8 times the median norm, and fits are compared by that.

    An SAE that fails is also tried in all other layers, and on rescaled and on centred activations,
    and the message names what fits best: the usual mistakes are an index that counts from 1, an
    activation scaling that was not folded in, and writing weights that were not centred. It may
    also be the text: an SAE can fail on text unlike what it was trained on.

    Returns ``explained_variance`` (all tokens), ``explained_variance_without_outliers``,
    ``outlier_share``, ``l0``, ``listed_l0`` (or None), ``best_at``, the hook point up to two layers
    away that the SAE explains best without outliers, ``n_seq``, and ``problem``, which is None if
    all is well. An SAE one layer away from its place often passes, since neighbouring layers are
    alike: only ``best_at`` shows it, and it is no proof. Kept in the cache folder.

    Raises
    ------
    ValueError
        If the SAE fails and `allow_bad_sae` is not set (with it, the diagnosis is returned as
        ``problem``), or is of another width than the activation.
    """
    some = corpus.take(min(n_seq, len(corpus)))
    metadata = subject.sae_at(hook_name).cfg.metadata
    listed = float(subject.listed.get(hook_name, {}).get("l0") or metadata.l0 or 0) or None
    here = Trial(hook_name)
    around = [Trial(name) for name in _layers_around(subject, hook_name)]
    fits = _fits(subject, some, hook_name, around)
    fit_here = fits[here]
    facts = {
        "explained_variance": round(fit_here.explained, 4),
        "explained_variance_without_outliers": round(fit_here.without_outliers, 4),
        "outlier_share": round(fit_here.outlier_share, 6),
        "l0": round(fit_here.l0, 2),
        "listed_l0": listed,
        "best_at": max(around, key=lambda trial: fits[trial].without_outliers).hook_name,
        "n_seq": len(some),
    }
    if acceptable(fit_here, listed):
        return facts | {"problem": None}
    del fits[here]
    far = [Trial(name) for name in _all_layers(subject, hook_name) if Trial(name) not in around]
    fits |= _fits(subject, some, hook_name, far)
    # what "expected_average_only_in" of sae_lens means
    usual = subject.sae_at(hook_name).cfg.d_in ** 0.5 / fit_here.norm
    fits |= _fits(
        subject, some, hook_name, [Trial(hook_name, centred=True), Trial(hook_name, usual)]
    )
    if not any(acceptable(fit, listed) for fit in fits.values()):
        fits |= _fits(
            subject, some, hook_name, [Trial(hook_name, scale) for scale in SCALES if scale != 1]
        )
    problem = _problem(hook_name, fit_here, listed, len(some), fits)
    if not allow_bad_sae:
        raise ValueError(problem)
    return facts | {"problem": problem}


@torch.no_grad()
def fit(sae: SAE, acts: Float[Tensor, "seq pos d_in"], trial: Trial | None = None) -> Fit:
    """How well an SAE does on activations, or had it been built for them as `trial` changes
    them."""
    return _fit(_sums(sae, acts, trial or Trial("")))


def acceptable(fit: Fit, listed: float | None) -> bool:
    """Whether an SAE may be measured: enough variance explained, and about as many active latents
    as listed."""
    as_listed = not listed or listed / L0_FACTOR <= fit.l0 <= listed * L0_FACTOR
    return MIN_EXPLAINED <= fit.explained <= 1 and as_listed


def _problem(
    hook_name: str, fit_here: Fit, listed: float | None, n_seq: int, fits: dict[Trial, Fit]
) -> str:
    best = max(fits, key=lambda trial: _order(fits[trial], listed))
    fit_there = fits[best]
    better = f"It fits best {best.advice()} (explains {fit_there.told()}). Or the text"
    if not acceptable(fit_there, listed):
        better = (
            "No other layer, rescaling or centring helps: another model's SAE, another "
            "processing of the weights, half-trained, or the text"
        )
    listing = (
        f" (its release lists {listed:.3g}; a factor {L0_FACTOR} is let pass)" if listed else ""
    )
    return (
        f"the SAE at '{hook_name}' explains {fit_here.told()}{listing}, on {n_seq} sequences, BOS "
        f"left out; at least {MIN_EXPLAINED} over all tokens is asked for. {better} is unlike what "
        "it was trained on. allow_bad_sae=True measures it all the same, and records this"
    )


def _order(fit: Fit, listed: float | None) -> tuple[bool, float]:
    """What is larger for a better fit; outliers decide nothing between two that may be measured."""
    return acceptable(fit, listed), fit.without_outliers


def _fits(
    subject: Subject, corpus: Corpus, hook_name: str, trials: Sequence[Trial]
) -> dict[Trial, Fit]:
    """How well the SAE at `hook_name` does in each trial, on all of `corpus`."""
    if not trials:  # all layers of a shallow model were tried before
        return {}

    def measure(subject: Subject, batch: Batch, hook_names: Sequence[str]) -> dict[str, Values]:
        names = list(dict.fromkeys([hook_name, *(trial.hook_name for trial in trials)]))
        acts = native_acts_at(subject.model, batch.tokens, names)
        sae = site_at(subject, batch, hook_name, acts[hook_name]).sae
        sums = [_sums(sae, acts[trial.hook_name][:, batch.first :], trial) for trial in trials]
        return {
            hook_name: {
                f"{index} {name}": Total(value)
                for index, trial_sums in enumerate(sums)
                for name, value in trial_sums.items()
            }
        }

    key = f"outliers {OUTLIER_FACTOR} {list(trials)!r}"
    quantity = Quantity("saecheck", key, measure, (hook_name,))
    totals = run(subject, corpus, quantity, batch_size=len(corpus), progress=False)[hook_name]
    return {
        trial: _fit({name: totals[f"{index} {name}"] for name in _SUMS})
        for index, trial in enumerate(trials)
    }


_MOMENTS = ("error", "tokens", "sum", "squares")
_SUMS = ("active", "norm", *(f"{of} {name}" for of in ("all", "usual") for name in _MOMENTS))
"""What is added up over the tokens to make a `Fit`: over all of them, and without outliers."""


def _sums(sae: SAE, acts: Float[Tensor, "batch pos d_in"], trial: Trial) -> dict[str, Tensor]:
    """What `Fit` is made of, added up over the tokens of a batch."""
    if trial.centred:
        acts = acts - acts.mean(dim=-1, keepdim=True)
    errors = []
    n_active = torch.zeros((), dtype=torch.int64)
    for sequence in acts:  # one at a time: the latents of a wide SAE are large
        latents = sae.encode(sequence * trial.scale)
        recons = sae.decode(latents).double() / trial.scale
        errors.append((sequence.double() - recons).square().sum(dim=-1))
        n_active += (latents != 0).sum().cpu()
    flat = acts.flatten(0, 1).double()
    error = torch.cat(errors)
    norms = flat.norm(dim=-1)
    usual = norms <= OUTLIER_FACTOR * norms.median()
    moments = {"all": _moments(flat, error), "usual": _moments(flat[usual], error[usual])}
    named = {f"{of} {name}": x for of, sums in moments.items() for name, x in sums.items()}
    return {"active": n_active, "norm": norms.sum(), **named}


def _moments(
    acts: Float[Tensor, "n d_in"], error: Float[Tensor, "n"]
) -> dict[str, Float[Tensor, "..."]]:
    """Sums over some tokens from which their explained variance follows."""
    sums = (error.sum(), torch.tensor(len(acts)), acts.sum(dim=0), acts.square().sum())
    return dict(zip(_MOMENTS, sums, strict=True))


def _fit(sums: Mapping[str, Any]) -> Fit:
    n_tokens = float(sums["all tokens"])
    return Fit(
        explained=_explained(sums, "all"),
        l0=float(sums["active"]) / n_tokens,
        norm=float(sums["norm"]) / n_tokens,
        without_outliers=_explained(sums, "usual"),
        outlier_share=1 - float(sums["usual tokens"]) / n_tokens,
    )


def _explained(sums: Mapping[str, Any], of: str) -> float:
    """Explained variance over the tokens whose sums these are."""
    error, n_tokens, total, squares = (sums[f"{of} {name}"] for name in _MOMENTS)
    spread = float(squares) - float((total**2).sum()) / float(n_tokens)
    return explained_variance(float(error), spread)


def _all_layers(subject: Subject, hook_name: str) -> list[str]:
    """The same hook point in every layer."""
    layers = range(subject.n_layers)
    return [re.sub(r"\d+", str(layer), hook_name, count=1) for layer in layers]


def _layers_around(subject: Subject, hook_name: str) -> list[str]:
    """The same hook point in this layer and up to two layers before and after."""
    layer = hook_layer(hook_name)
    return _all_layers(subject, hook_name)[max(layer - 2, 0) : layer + 3]

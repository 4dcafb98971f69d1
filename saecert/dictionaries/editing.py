"""Causal editing: latents are swapped between two contexts; does the prediction follow?

In the spirit of RAVEL. A *context* is a sequence up to a position; its *attributes* are classes of
the token that the model predicts there: is it made of word characters ("identifier"), does it begin
with a space ("spaced")? They are read as log-odds: the logarithm of the probability of the class
over that of the rest. Two contexts with opposite values of both attributes make a pair, each the
base once and the source once. The base takes over the source's values of a few latents at its last
position, and keeps its own of all others and the SAE's error:
``h + dec(swapped codes) - dec(codes)``. Earlier positions stay as they are.

**Cause** is the share of the way from base to source that the edited attribute goes, **isolate**
one less the share that the other goes, in either direction; both in [0, 1]. An SAE without active
latents changes nothing: cause 0, isolate 1. One that swaps everything has cause 1, isolate 0. Half
the sum is 1/2 in both cases; only latents that carry one attribute without the other exceed it.

Classes of the vocabulary are what a model of a few million parameters surely predicts; names, facts
or the package of a text are not, so no edit of them could be judged by its predictions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt64
from sae_lens import SAE
from scipy import sparse
from torch import Tensor

from saecert.measurement.site import Site, atom_norms
from saecert.subjects.forward import final_residual, logits_of
from saecert.subjects.subject import Subject

WIDTH = 48
"""Tokens of a sequence that contexts are taken from, BOS included."""
EARLIEST = 8
"""First position that ends a context."""
MARGIN = 1.0
"""Least absolute log-odds (nats) of both attributes in a context."""
SIZES = (8, 64, 512)
"""How many latents an edit may swap: the best on discovery is taken."""
BATCH = 32
"""Contexts run at once."""

Odds = Float[np.ndarray, "n 2"]
"""Log-odds of `CLASSES_OF_TOKENS`, nats."""
Acts = Float[np.ndarray, "n d_in"]


@dataclass(frozen=True)
class Contexts:
    """Contexts in pairs: rows 0 and 1 are one, rows 2 and 3 the next, and so on."""

    tokens: Int[np.ndarray, "n width"]
    """Token ids; what comes after the position does not matter."""
    positions: Int[np.ndarray, "n"]
    """Where each context ends."""
    acts: Float[np.ndarray, "n width d_in"]
    """Native activations at the hook point."""
    odds: Odds
    """What the model predicts there."""

    @property
    def at(self) -> Acts:
        """Activations at the ends of the contexts."""
        return self.acts[np.arange(len(self.acts)), self.positions]

    @property
    def sources(self) -> Int[np.ndarray, "n"]:
        """Row of the source of each context: the other of its pair."""
        return np.arange(len(self.positions)) ^ 1


@dataclass(frozen=True)
class Guide:
    """What latents are picked by, on discovery; nothing in it depends on an SAE."""

    rows: Int[np.ndarray, "n_pos"]
    """Positions that count, as rows of codes."""
    odds: Float[np.ndarray, "n_pos 2"]
    """What the model predicts there."""
    slopes: Float[np.ndarray, "2 d_in"]
    """Mean gradient of both log-odds by the activation, over the ends of contexts."""


def log_odds(
    logits: Float[Tensor, "n d_vocab"], classes: Bool[Tensor, "n_classes d_vocab"]
) -> Float[Tensor, "n n_classes"]:
    """Log of the probability of each class over that of the rest, nats; gradients flow."""
    found = []
    for inside in classes:
        part = logits[:, inside].logsumexp(dim=1) - logits[:, ~inside].logsumexp(dim=1)
        found.append(part)
    return torch.stack(found, dim=1)


def paired_positions(
    odds: Float[np.ndarray, "n_seq width 2"], ids: UInt64[np.ndarray, "n_seq"], seed: int
) -> Int[np.ndarray, "n_pairs 2 2"]:
    """Sequence and position of both contexts of each pair.

    The i-th pair is from sequences 2 i and 2 i + 1, so pairs share no sequence. Among the four
    combinations of attributes one is drawn for which the first sequence has a context with it, and
    the second one with the opposite; then a position of each. Pairs without are left out. The draw
    depends on `seed` and the sequences alone.
    """
    n_seq, width, _ = odds.shape
    clear = (np.abs(odds) >= MARGIN).all(axis=2)
    clear[:, : min(EARLIEST, width)] = False
    kinds = np.where(clear, 2 * (odds[..., 0] > 0) + (odds[..., 1] > 0), -1)
    found = []
    for row in range(0, n_seq - 1, 2):
        rng = np.random.default_rng([seed, int(ids[row])])
        fit = [k for k in range(4) if (kinds[row] == k).any() and (kinds[row + 1] == 3 - k).any()]
        if not fit:
            continue
        kind = fit[rng.integers(len(fit))]
        places = [np.flatnonzero(kinds[row] == kind), np.flatnonzero(kinds[row + 1] == 3 - kind)]
        found.append([(row + i, rng.choice(place)) for i, place in enumerate(places)])
    return np.array(found, dtype=np.int64).reshape(-1, 2, 2)


@dataclass(frozen=True)
class Readout:
    """Reads what a model predicts when the activation at a hook point is replaced."""

    subject: Subject
    """The model."""
    hook_name: str
    """Where activations are replaced."""
    classes: Bool[np.ndarray, "2 d_vocab"]
    """`CLASSES_OF_TOKENS` as sets of tokens."""

    @torch.no_grad()
    def odds(self, contexts: Contexts, replaced: Acts | None = None) -> Odds:
        """Log-odds with `replaced` as the activations at the ends of the contexts."""
        order = np.argsort(contexts.positions, kind="stable")  # a chunk is run up to its last end
        found = np.empty((len(order), 2))
        for part in _chunks(len(order)):
            rows = order[part]
            new = None if replaced is None else torch.from_numpy(replaced[rows])
            found[rows] = self._odds(contexts, rows, new).double().cpu().numpy()
        return found

    def slopes(self, contexts: Contexts) -> Float[np.ndarray, "n 2 d_in"]:
        """Gradient of both log-odds by the activation at the end of each context."""
        found = []
        for rows in _chunks(len(contexts.tokens)):
            at = torch.from_numpy(contexts.at[rows]).to(self.subject.device).requires_grad_()
            with torch.enable_grad():
                totals = self._odds(contexts, rows, at).sum(dim=0)
                parts = [torch.autograd.grad(x, at, retain_graph=True)[0] for x in totals]
            found.append(torch.stack(parts, dim=1).cpu().numpy())
        return np.concatenate(found)

    def _odds(
        self,
        contexts: Contexts,
        rows: slice | Int[np.ndarray, "n"],
        replaced: Float[Tensor, "n d_in"] | None,
    ) -> Float[Tensor, "n 2"]:
        device = self.subject.device
        model = self.subject.model
        width = int(contexts.positions[rows].max()) + 1
        tokens = torch.from_numpy(contexts.tokens[rows, :width].astype(np.int64)).to(device)
        acts = torch.from_numpy(contexts.acts[rows, :width]).to(device)
        ends = torch.from_numpy(contexts.positions[rows]).to(device)
        each = torch.arange(len(ends), device=device)
        if replaced is not None:
            acts = acts.index_put((each, ends), replaced.to(acts))
        residual = final_residual(model, tokens, self.hook_name, acts)[each, ends]
        classes = torch.from_numpy(self.classes).to(device)
        return log_odds(logits_of(model, residual).float(), classes)


def contexts_at(
    readout: Readout,
    tokens: Int[np.ndarray, "n width"],
    positions: Int[np.ndarray, "n"],
    acts: Float[np.ndarray, "n width d_in"],
) -> Contexts:
    """Contexts with what the model predicts in them."""
    bare = Contexts(tokens, positions, acts, np.zeros((len(tokens), 2)))
    return replace(bare, odds=readout.odds(bare))


@torch.no_grad()
def swapped(sae: SAE, base: Acts, source: Acts, latents: Int[np.ndarray, "k"]) -> Acts:
    """The base's activations with the source's values of some latents, and its own of all else."""
    both = [torch.from_numpy(acts)[:, None].to(sae.W_dec) for acts in (source, base)]
    chosen = torch.from_numpy(np.ascontiguousarray(latents))
    values = sae.encode(both[0])[..., chosen]
    # the base comes last: an SAE that rescales what it reads undoes the last scale it saw
    site = Site(both[1], sae, np.zeros(len(base), dtype=np.uint64))
    codes = site.latents.clone()
    codes[..., chosen] = values
    change = site.decode(codes) - site.decode(site.latents)
    return (both[1] + change)[:, 0].float().cpu().numpy()


def scores(before: Odds, after: Odds, sources: Odds, attribute: int) -> Float[np.ndarray, "n 2"]:
    """Cause and isolate of each edit of the `attribute`-th class.

    `before` and `after` are odds of the base, `sources` those of the source.

    >>> base, source = np.array([[-2.0, 1.0]]), np.array([[2.0, -1.0]])
    >>> scores(base, np.array([[1.0, 0.5]]), source, 0)
    array([[0.75, 0.75]])
    """
    way = sources - before
    moved = (after - before) / np.where(way == 0, 1, way)
    cause = moved[:, attribute].clip(0, 1)
    isolate = 1 - np.abs(moved[:, 1 - attribute]).clip(0, 1)
    return np.stack([cause, isolate], axis=1)


@torch.no_grad()
def ranking(
    sae: SAE, codes: sparse.csr_array, guide: Guide, attribute: int
) -> Int[np.ndarray, "d_sae"]:
    """Latents by what swapping each does on average, to first order: the best first.

    A latent's mean activation with the attribute less that without, times the slope of the
    attribute along its atom: what it adds to the difference in log-odds. Of that is taken off what
    it may do to the other attribute: the sum of both means times the absolute slope of the other.
    `codes` has a row a position of discovery.
    """
    with_it = guide.odds[:, attribute] > 0
    parts = [codes[guide.rows[with_it == value]].mean(axis=0) for value in (True, False)]
    means = [np.asarray(part, dtype=np.float64).ravel() for part in parts]
    atoms = sae.W_dec / sae.W_dec.norm(dim=1, keepdim=True).clamp_min(1e-30)
    written = (atoms * atom_norms(sae)[:, None]).double().cpu().numpy() @ guide.slopes.T
    wanted = (means[0] - means[1]) * written[:, attribute]
    unwanted = (abs(means[0]) + abs(means[1])) * np.abs(written[:, 1 - attribute])
    return np.argsort(unwanted - wanted, kind="stable")


def picked(
    readout: Readout,
    sae: SAE,
    contexts: Contexts,
    order: Int[np.ndarray, "d_sae"],
    attribute: int,
    sizes: Sequence[int] = SIZES,
) -> Int[np.ndarray, "k"]:
    """The latents that an edit of an attribute swaps: the first of `order`, the best of `sizes`.

    The best has the largest mean of cause and isolate on these contexts, which are those of
    discovery; `order` is that of `ranking`. Sizes beyond the dictionary count as all of it.
    """
    fit = sorted({min(size, len(order)) for size in sizes})
    means = [edited(readout, sae, contexts, attribute, order[:size]).mean() for size in fit]
    return order[: fit[int(np.argmax(means))]]


def edited(
    readout: Readout, sae: SAE, contexts: Contexts, attribute: int, latents: Int[np.ndarray, "k"]
) -> Float[np.ndarray, "n_pairs 2"]:
    """Cause and isolate of each pair, averaged over its two directions."""
    new = swapped(sae, contexts.at, contexts.at[contexts.sources], latents)
    after = readout.odds(contexts, new)
    found = scores(contexts.odds, after, contexts.odds[contexts.sources], attribute)
    return found.reshape(-1, 2, 2).mean(axis=1)


def _chunks(n: int) -> list[slice]:
    return [slice(start, start + BATCH) for start in range(0, n, BATCH)]

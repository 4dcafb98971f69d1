"""Local fidelity: how far an SAE's reconstruction is from the activation at its own hook point."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from saecert.corpora.corpus import Corpus
from saecert.dictionaries.quantities import FIDELITY
from saecert.measurement import quality
from saecert.measurement.batch import site_at
from saecert.measurement.loop import Batch, Quantity, Values, run
from saecert.subjects import forward
from saecert.subjects.subject import Subject


def fidelity(
    native: Float[Tensor, "seq pos d_in"], recons: Float[Tensor, "seq pos d_in"]
) -> Float[Tensor, "3 seq"]:
    """Three numbers a sequence, bounded so that their means have limits: the rows of `FIDELITY`.

    Explained variance is 1 - sum ||x - x_hat||^2 / sum ||x - mean x||^2 with sums and mean over the
    positions of the sequence, 0 where it is negative. Cosine similarity of x and x_hat, and
    relative error ||x - x_hat|| / ||x||, are means over positions; a relative error counts as at
    most 1, what replacing x by zero costs.
    """
    native = native.double()
    recons = recons.double()
    explained = quality.explained_by_sequence(native, recons)
    cosine = quality.cosine_by_sequence(native, recons)
    relative = quality.relative_error(native, recons).clamp_max(1).mean(dim=1)
    return torch.stack([explained, cosine, relative])


def local_fidelity(
    subject: Subject,
    corpus: Corpus,
    hook_names: Sequence[str] | None = None,
    *,
    batch_size: int | None = None,
    progress: bool = True,
) -> dict[str, dict[str, Float[np.ndarray, "n_seq"]]]:
    """`fidelity` of the SAEs on every sequence, BOS left out: ``{hook_name: {quantity: values}}``.

    One run of the blocks up to the last hook point serves all of them (default: every one that has
    an SAE). Kept in the cache folder. ValueError for a hook point without an SAE.
    """
    quantity = Quantity("fidelity", "", _fidelity, tuple(hook_names or subject.hook_names))
    values = run(subject, corpus, quantity, batch_size=batch_size, progress=progress)
    return {
        hook_name: {name: values[hook_name][name] for name in FIDELITY}
        for hook_name in quantity.hook_names
    }


def _fidelity(subject: Subject, batch: Batch, hook_names: Sequence[str]) -> dict[str, Values]:
    """Fidelity of every sequence of one batch."""
    acts = forward.native_acts_at(subject.model, batch.tokens, hook_names)
    values = {}
    for hook_name in hook_names:
        site = site_at(subject, batch, hook_name, acts[hook_name])
        numbers = fidelity(site.acts[:, batch.first :], site.recons[:, batch.first :])
        values[hook_name] = dict(zip(FIDELITY, numbers, strict=True))
    return values

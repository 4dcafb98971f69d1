"""Local fidelity: how far an SAE's reconstruction is from the activation at its own hook point."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from saecert.corpora.corpus import Corpus
from saecert.dictionaries.quantities import FIDELITY
from saecert.measurement.identity import code_of, identity
from saecert.measurement.proxies import Site
from saecert.storage import cached_arrays
from saecert.subjects import forward
from saecert.subjects.loading import Subject


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
    tiny = torch.finfo(torch.float64).tiny
    error = (native - recons).norm(dim=-1)
    spread = (native - native.mean(dim=1, keepdim=True)).square().sum(dim=(1, 2))
    unexplained = error.square().sum(dim=1) / spread.clamp_min(tiny)
    cosine = torch.nn.functional.cosine_similarity(native, recons, dim=-1).clamp(-1, 1)
    relative = (error / native.norm(dim=-1).clamp_min(tiny)).clamp_max(1)
    return torch.stack([1 - unexplained.clamp_max(1), cosine.mean(dim=1), relative.mean(dim=1)])


def local_fidelity(
    subject: Subject,
    corpus: Corpus,
    hook_names: Sequence[str] | None = None,
    *,
    batch_size: int = 16,
    progress: bool = True,
) -> dict[str, dict[str, Float[np.ndarray, "n_seq"]]]:
    """`fidelity` of the SAEs on every sequence, BOS left out: ``{hook_name: {quantity: values}}``.

    One run of the blocks up to the last hook point serves all of them (default: every one that has
    an SAE). Kept in the cache folder.
    """
    saes = {name: subject.sae_at(name) for name in hook_names or subject.hook_names}
    ids, first = corpus.ids, int(corpus.bos)

    @torch.no_grad()
    def build() -> dict[str, np.ndarray]:
        found = {name: np.empty((len(FIDELITY), len(corpus))) for name in saes}
        for rows, tokens in corpus.batches(
            batch_size, subject.device, f"fidelity {corpus.split}", progress
        ):
            for name, acts in forward.native_acts_at(subject.model, tokens, list(saes)).items():
                recons = Site(acts, saes[name], ids[rows]).recons
                found[name][:, rows] = fidelity(acts[:, first:], recons[:, first:]).cpu().numpy()
        return found

    key = identity(subject, corpus, list(saes), code_of(forward, Site, fidelity, local_fidelity))
    return {
        name: dict(zip(FIDELITY, values, strict=True))
        for name, values in cached_arrays("fidelity", key, build).items()
    }

"""What else could raise an alarm on unusual text: the rivals of counting active latents."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from saecert.corpora.corpus import Corpus
from saecert.dictionaries.quantities import RIVALS
from saecert.measurement.loop import Batch, Quantity, Values, run
from saecert.measurement.quality import relative_error
from saecert.subjects import forward
from saecert.subjects.subject import Subject


def rivals(
    subject: Subject,
    corpus: Corpus,
    hook_name: str,
    *,
    batch_size: int | None = None,
    progress: bool = False,
) -> dict[str, Float[np.ndarray, "n_seq"]]:
    """ "SAE error" and "low confidence" of every sequence, larger when stranger.

    SAE error is ``||x - x_hat||^2 / ||x||^2`` at the hook point, averaged over the positions behind
    BOS; low confidence is minus the largest next-token probability, averaged over all positions
    (Hendrycks & Gimpel 2017). One run of the LM; kept in the cache folder. ValueError for a hook
    point without an SAE.
    """
    quantity = Quantity("rivals", "", _rivals, (hook_name,))
    scores = run(subject, corpus, quantity, batch_size=batch_size, progress=progress)
    return {name: scores[hook_name][name] for name in RIVALS}


def _rivals(subject: Subject, batch: Batch, hook_names: Sequence[str]) -> dict[str, Values]:
    """Both scores of every sequence of one batch."""
    acts, last = forward.clean_run(subject.model, batch.tokens, hook_names)
    confidence = torch.stack([_confidence(subject, residual) for residual in last])
    scores = {}
    for hook_name in hook_names:
        sae = subject.sae_at(hook_name)
        recons = sae.decode(sae.encode(acts[hook_name]))
        error = relative_error(acts[hook_name], recons)[:, batch.first :].square().mean(dim=1)
        scores[hook_name] = {"SAE error": error.double(), "low confidence": -confidence.double()}
    return scores


def _confidence(subject: Subject, residual: Float[Tensor, "pos d_model"]) -> Float[Tensor, ""]:
    """Largest next-token probability, averaged over the positions of one sequence."""
    logits = forward.logits_of(subject.model, residual)
    return logits.float().softmax(dim=-1).amax(dim=-1).mean()

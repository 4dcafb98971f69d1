"""What else could raise an alarm on unusual text: the rivals of counting active latents."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float

from saecert.corpora.corpus import Corpus
from saecert.measurement.identity import code_of, identity
from saecert.storage import cached_arrays
from saecert.subjects import forward
from saecert.subjects.loading import Subject


def rivals(
    subject: Subject, corpus: Corpus, hook_name: str
) -> dict[str, Float[np.ndarray, "n_seq"]]:
    """ "SAE error" and "low confidence" of every sequence, larger when stranger. Cached.

    SAE error is ``||x - x_hat||^2 / ||x||^2`` at the hook point, averaged over spliced positions;
    low confidence is minus the largest next-token probability, averaged over all positions
    (Hendrycks & Gimpel 2017).
    """
    sae = subject.sae_at(hook_name)

    def build() -> dict[str, np.ndarray]:
        error, top = [], []
        for _, tokens in corpus.batches(16, subject.device, "rivals", False):
            acts = forward.native_acts(subject.model, tokens, hook_name)
            with torch.no_grad():
                lost = (acts - sae.decode(sae.encode(acts))).square().sum(-1) / acts.square().sum(
                    -1
                )
                final = forward.final_residual(subject.model, tokens, hook_name, acts)
                top += [
                    forward.logits_of(subject.model, x).float().softmax(-1).amax(-1).mean().item()
                    for x in final
                ]
            error += lost[:, int(corpus.bos) :].mean(dim=1).tolist()
        return {"SAE error": np.array(error), "low confidence": -np.array(top)}

    return cached_arrays(
        "rivals", identity(subject, corpus, hook_name, code_of(forward, rivals)), build
    )

"""What competes with the monitor, against the whole cache of activations."""

import numpy as np
import torch

from saecert.dictionaries.rivals import rivals


def test_rivals_by_hand(subject, corpora):
    sample = corpora["certification"].take(20)
    hook = subject.middle_hook
    scores = rivals(subject, sample, hook)
    logits, cache = subject.model.run_with_cache(torch.from_numpy(sample.tokens.astype(np.int64)))
    acts = cache[hook][:, 1:]
    sae = subject.sae_at(hook)
    error = (acts - sae.decode(sae.encode(acts))).square().sum(-1) / acts.square().sum(-1)
    np.testing.assert_allclose(scores["SAE error"], error.mean(1).numpy(), rtol=1e-4)
    np.testing.assert_allclose(
        scores["low confidence"], -logits.softmax(-1).amax(-1).mean(1).numpy(), rtol=1e-4
    )

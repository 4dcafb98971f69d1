"""L0 and purity of mixed latents against the whole codes."""

import numpy as np
import torch
from scipy.linalg import hadamard

from saecert.dictionaries.mixing import mixing
from saecert.measurement.survey import survey


def test_mixing_by_hand(subject, corpora):
    sample = corpora["discovery"].take(20)
    hook = subject.middle_hook
    found = mixing(subject, sample, hook, blocks=[1, 4], batch_size=7)
    order = survey(subject, sample, hook, progress=False).ranking()
    _, cache = subject.model.run_with_cache(torch.from_numpy(sample.tokens.astype(np.int64)))
    codes = subject.sae_at(hook).encode(cache[hook])[:, 1:].flatten(0, 1).detach().numpy()
    codes = codes[:, order]
    rotation = np.kron(np.eye(codes.shape[1] // 4), hadamard(4) / 2)
    mixed = codes @ rotation
    expected = [(codes != 0).sum(axis=1).mean(), (np.abs(mixed) > 1e-6).sum(axis=1).mean()]
    np.testing.assert_allclose(found["l0"], expected, rtol=1e-3)
    active = (codes != 0).reshape(len(codes), -1, 4)
    fired = active.any(axis=2).sum(axis=0)
    purity = active.sum(axis=0).max(axis=1)[fired > 0] / fired[fired > 0]
    np.testing.assert_allclose(found["purity"], [1, purity.mean()], rtol=1e-3)
    assert found["l0"][1] > found["l0"][0]


def test_batches_and_cache_change_nothing(subject, corpora, tmp_path, monkeypatch):
    sample = corpora["discovery"].take(10)
    hook = subject.middle_hook
    first = mixing(subject, sample, hook, blocks=[2], batch_size=10)
    again = mixing(subject, sample, hook, blocks=[2])
    monkeypatch.setenv("SAECERT_CACHE", str(tmp_path / "other"))
    alone = mixing(subject, sample, hook, blocks=[2], batch_size=1)
    for found in (again, alone):
        np.testing.assert_array_equal(found["purity"], first["purity"])
        np.testing.assert_allclose(found["l0"], first["l0"], rtol=1e-3)

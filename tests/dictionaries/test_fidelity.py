"""Local fidelity against hand-worked values, and against the whole cache of activations."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import identity_sae

from saecert.dictionaries.fidelity import FIDELITY, fidelity, local_fidelity
from saecert.measurement.collect import collect_layers
from saecert.measurement.proxies import noise
from saecert.subjects import forward

HOOKS = [f"blocks.{layer}.hook_resid_post" for layer in (0, 1)]


def test_fidelity_by_hand():
    native = torch.tensor([[[3.0, 4.0], [-3.0, -4.0]]])  # mean 0: the spread is 50
    recons = torch.tensor([[[3.0, 0.0], [0.0, 0.0]]])  # errors 4 and 5, cosines 0.6 and 0
    explained, cosine, relative = fidelity(native, recons).tolist()
    assert explained == [pytest.approx(1 - 41 / 50)]
    assert cosine == [pytest.approx(0.3)]
    assert relative == [pytest.approx((0.8 + 1) / 2)]


def test_a_reconstruction_worse_than_nothing_counts_as_nothing():
    native = torch.tensor(
        [[[1.0, 0.0], [0.0, 1.0]], [[1.0, 1.0], [1.0, 1.0]]]
    )  # the second one does not vary
    explained, cosine, relative = fidelity(native, -9 * native).tolist()
    assert (explained, cosine, relative) == ([0.0, 0.0], pytest.approx([-1.0, -1.0]), [1.0, 1.0])
    assert fidelity(native, native).tolist() == [[1.0, 1.0], pytest.approx([1.0, 1.0]), [0.0, 0.0]]
    silent = torch.zeros(1, 2, 2)
    assert fidelity(silent, silent).tolist() == [[1.0], [0.0], [0.0]]


@pytest.mark.parametrize("scale", [1e-3, 7.0, 1e3])
@pytest.mark.parametrize("size", [0.0, 0.1, 1.0, 3.0])
def test_fidelity_is_bounded_and_knows_no_scale(size, scale):
    native, error = torch.randn(2, 30, 5, 4, generator=torch.Generator().manual_seed(0)).double()
    numbers = fidelity(native, native + size * error)
    for values, (lo, hi) in zip(numbers, FIDELITY.values(), strict=True):
        assert lo <= values.min() and values.max() <= hi
    np.testing.assert_allclose(
        fidelity(scale * native, scale * (native + size * error)), numbers, atol=1e-9
    )


def test_local_fidelity_is_that_of_the_reconstructions_at_any_batch_size(
    subject, corpora, tmp_path, monkeypatch
):
    corpus = corpora["certification"].take(10)
    _, cache = subject.model.run_with_cache(torch.from_numpy(corpus.tokens.astype(np.int64)))
    measured = local_fidelity(subject, corpus, batch_size=3, progress=False)
    assert list(measured) == HOOKS
    for hook, values in measured.items():
        expected = fidelity(cache[hook][:, 1:], subject.sae_at(hook)(cache[hook])[:, 1:])
        np.testing.assert_allclose(list(values.values()), expected, atol=1e-6)
    monkeypatch.setattr(forward, "native_acts_at", None)  # measured already: nothing is run
    again = local_fidelity(subject, corpus, HOOKS, progress=False)
    np.testing.assert_array_equal(again[HOOKS[1]]["cosine"], measured[HOOKS[1]]["cosine"])


def test_an_exact_sae_has_no_error_and_its_noise_no_effect(subject, corpora):
    corpus = corpora["certification"].take(6)
    hook = HOOKS[1]
    exact = replace(subject, saes={hook: identity_sae(hook).requires_grad_(False)})
    values = local_fidelity(exact, corpus, progress=False)[hook]
    np.testing.assert_allclose(values["relative error"], 0, atol=1e-6)
    np.testing.assert_allclose(values["explained variance"], 1, atol=1e-6)
    losses = collect_layers(
        exact, corpus, [hook], extra=[noise(0)], controls=False, progress=False
    )[hook]
    np.testing.assert_allclose(losses.at("noise", 0.5), losses.at("clean", 0.5), atol=1e-4)

"""SAEs measured side by side, against the same measured one by one."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import D_SAE, identity_sae

from saecert.dictionaries.norms import norms
from saecert.dictionaries.several import Candidate, measure_several
from saecert.measurement.proxies import full, pool, zero_ablation
from saecert.measurement.sweep import sweep

HOOK = "blocks.0.hook_resid_post"
ALPHA = 0.25
POOL = np.arange(0, D_SAE, 3)


@pytest.fixture(scope="module")
def sample(corpora):
    return corpora["certification"].take(20)


@pytest.fixture(scope="module")
def candidates(subject):
    other = identity_sae(HOOK)
    return [Candidate(subject.sae_at(HOOK), POOL), Candidate(other, np.arange(3))]


@pytest.fixture
def measured(subject, sample, candidates):
    options = {"alpha": ALPHA, "seed": 3, "progress": False, "batch_size": 8}
    return measure_several(subject, sample, HOOK, candidates, **options)


def test_norms_are_those_of_each_sae_alone(subject, sample, candidates, measured):
    for found, each in zip(measured[0], candidates, strict=True):
        alone = replace(subject, saes={HOOK: each.sae})
        expected = norms(alone, sample, [HOOK], seed=3, progress=False)[HOOK]
        for name, values in expected.items():
            np.testing.assert_allclose(found[name], values, rtol=1e-4, atol=2e-5, err_msg=name)


def test_losses_are_those_of_a_sweep(subject, sample, candidates, measured):
    own, model = measured
    for found, each in zip(own, candidates, strict=True):
        alone = replace(subject, saes={HOOK: each.sae})
        proxies = [full(), pool(each.pool, each.sae.cfg.d_sae), zero_ablation()]
        options = {"alphas": (ALPHA,), "progress": False}
        record = sweep(alone, sample, {HOOK: proxies}, **options)[HOOK]
        losses = {name: record.at(name, ALPHA) for name in record.loss}
        expected = {"full": losses["full"], "pool": losses[f"pool_{len(each.pool)}"]}
        for name, values in expected.items():
            np.testing.assert_allclose(found[name], values, atol=1e-5, err_msg=name)
        for name, values in model.items():
            np.testing.assert_allclose(values, losses[name], atol=1e-5, err_msg=name)
        counts = np.bincount(record.l0[:, sample.first :].ravel(), minlength=record.d_sae + 1)
        assert found["l0 counts"].tolist() == counts.tolist()


def test_what_was_measured_is_found_again(subject, sample, candidates, measured, monkeypatch):
    monkeypatch.setattr("saecert.dictionaries.several.clean_run", lambda *_: 1 / 0)
    options = {"alpha": ALPHA, "seed": 3, "progress": False}
    own, model = measure_several(subject, sample, HOOK, candidates, **options)
    np.testing.assert_array_equal(model["clean"], measured[1]["clean"])
    np.testing.assert_array_equal(own[1]["full"], measured[0][1]["full"])


def test_no_sae_and_no_such_latent(subject, sample, candidates):
    with pytest.raises(ValueError, match="there is no SAE to measure"):
        measure_several(subject, sample, HOOK, [], alpha=ALPHA)
    outside = [Candidate(candidates[0].sae, np.array([D_SAE]))]
    with pytest.raises(ValueError, match=f"latent {D_SAE} is outside the dictionary"):
        measure_several(subject, sample, HOOK, outside, alpha=ALPHA, progress=False)

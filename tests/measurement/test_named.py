"""Proxies by name are read without torch, and become what the functions of the library make."""

import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from checks import ROOT
from conftest import D_MODEL, D_SAE

from saecert import collect
from saecert.measurement import controls, proxies
from saecert.measurement.catalogue import Surroundings, build
from saecert.measurement.named import KINDS, parse
from saecert.measurement.survey import survey

HOOK = "blocks.1.hook_resid_post"

EXAMPLES = {
    "full": "full",
    "zero": "zero",
    "mean": "mean",
    "noise": "noise",
    "noise(seed=1)": "noise_seed_1",
    "pca(5)": "pca_5",
    "pool(9)": "pool_9",
    "pool(9, rank='energy')": "pool_9",
    "shuffled_latents": "shuffled_latents",
    "permuted_dictionary(0)": "permuted_dictionary",
    "shuffled_positions()": "shuffled_positions",
    "donor_codes(n=8)": "donor_codes",
    "random_decoder": "random_decoder",
    "random_decoder(match_norm=True)": "random_decoder_matched",
    "mixed(4)": "mixed_4",
    "random_encoder(6)": "random_6",
    "top(3)": "top_3",
    "pooled(top(3), 20)": "top_3 pool_20",
    "pooled(shuffled_latents(seed=2), 20)": "shuffled_latents_seed_2 pool_20",
    "pooled(mixed(4), 20)": "mixed_4 pool_20",
    "pooled(full, 20, rank='attribution')": "full pool_20",
}


@pytest.fixture
def where(subject, corpora):
    surveyed = survey(subject, corpora["discovery"], HOOK, progress=False)
    return Surroundings(subject, HOOK, corpora["discovery"], surveyed)


@pytest.fixture
def site(where):
    acts = torch.randn(2, 20, D_MODEL, generator=torch.Generator().manual_seed(0)) * 2
    ids = np.arange(2, dtype=np.uint64)
    return proxies.Site(acts, where.subject.sae_at(HOOK), ids, first=1)


def test_every_kind_has_an_example():
    assert {parse(text).kind for text in EXAMPLES} == set(KINDS)


@pytest.mark.parametrize(("text", "name"), EXAMPLES.items())
def test_a_name_becomes_a_proxy_with_a_key_of_its_own(where, site, text, name):
    spec = parse(text)
    proxy = build(spec, where)
    assert spec.name == proxy.name == name
    assert parse(str(spec)) == spec, "the full name is a name"
    assert proxy.key and proxy.replace(site).shape == site.acts.shape
    assert build(spec, where).key == proxy.key, "what is written down can be made again"


def test_names_make_what_the_functions_make(where, site):
    surveyed = where.survey
    pool = proxies.pool(surveyed.ranking()[:20], D_SAE)
    made = {
        "mean": proxies.mean_ablation(surveyed.mean),
        "noise(3)": proxies.noise(3),
        "pca(5)": proxies.pca(surveyed.mean, surveyed.components(5)),
        "permuted_dictionary": proxies.permuted_dictionary(D_SAE),
        "random_decoder(match_norm=True)": proxies.random_decoder(D_SAE, D_MODEL, match_norm=True),
        "donor_codes(8)": proxies.donor_codes(where.subject, where.discovery.take(8), HOOK),
        "pool(20)": pool,
        "pooled(shuffled_positions, 20)": controls.pooled(proxies.shuffled_positions(), pool),
    }
    for text, expected in made.items():
        proxy = build(parse(text), where)
        assert proxy.key == expected.key, text
        torch.testing.assert_close(proxy.replace(site), expected.replace(site), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nois", "no proxy is called 'nois'; there are full, zero, mean, noise, pca"),
        ("pca", "'pca' does not say k: it is pca(k)"),
        ("pca(1, 2)", "it is pca(k)"),
        ("pca(n=4)", "it is pca(k), not n"),
        ("pca(k=4, k=5)", "it is pca(k), each once"),
        ("pca(4, k=5)", "it is pca(k), not k"),
        ("pca('4')", "k is a whole number"),
        ("pca(-4)", "k is a whole number"),
        ("noise(seed=True)", "seed is a whole number"),
        ("random_decoder(match_norm=1)", "match_norm is True or False"),
        ("full(1)", "full has no settings"),
        ("pooled(20, 20)", "no proxy is called"),
        ("pooled(__import__('os'), 20)", "no proxy is called '__import__'"),
        ("a b", "'a b' is not the name of a proxy; there are"),
        ("", "is not the name of a proxy"),
        ("(" * 5000, "is not the name of a proxy"),
        ("noise(**{})", "it is noise(seed=0), not None"),
    ],
)
def test_a_name_that_is_none_says_what_there_is(text, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        parse(text)


def test_reading_names_needs_no_torch():
    modules = ("named", "ranking", "stand_in", "version")
    imports = ", ".join(f"saecert.measurement.{module}" for module in modules)
    code = f"import sys, {imports}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_collect_measures_what_is_named(subject, corpora):
    sample = corpora["certification"].take(12)
    extra = ["noise", "pca(5)", "pooled(mixed(4), 20)", "mixed(4)"]
    settings = {"discovery": corpora["discovery"], "pools": [20], "progress": False}
    record = collect(subject, sample, HOOK, extra=extra, **settings)
    assert {"noise", "pca_5", "mixed_4", "mixed_4 pool_20"} <= set(record.loss)
    by_hand = collect(subject, sample, HOOK, extra=[proxies.noise()], **settings)
    np.testing.assert_array_equal(record.loss["noise"], by_hand.loss["noise"])
    np.testing.assert_allclose(record.loss["mixed_4"], record.loss["full"], atol=1e-5)
    np.testing.assert_allclose(record.loss["mixed_4 pool_20"], record.loss["pool_20"], atol=1e-5)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["pca(5)"], "'pca(k=5)' is built from the discovery split: give discovery="),
        (["noise", "noise"], "two proxies have the same name: noise"),
        (["full"], "two proxies have the same name: full"),
        (["sparsity"], "no proxy is called 'sparsity'"),
    ],
)
def test_names_are_checked_before_anything_is_measured(subject, corpora, extra, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        collect(subject, corpora["certification"], HOOK, extra=extra, progress=False)


def test_a_pool_that_does_not_fit_is_refused(where):
    with pytest.raises(ValueError, match="a pool of 65 latents does not fit a dictionary of 64"):
        build(parse("pooled(noise, 65)"), where)
    with pytest.raises(ValueError, match="is built from the discovery split"):
        build(parse("mean"), replace(where, survey=None))

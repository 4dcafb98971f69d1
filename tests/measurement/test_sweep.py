"""Each proxy is measured once, whatever the batching and the hook points measured with it."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from conftest import D_MODEL, D_SAE, N_LAYERS
from sae_lens import BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig

from saecert import collect, collect_layers
from saecert.measurement import batch, sweep
from saecert.measurement.proxies import Proxy, noise
from saecert.measurement.survey import survey_layers
from saecert.storage import cache_dir
from saecert.subjects.forward import n_skippable

HOOK = "blocks.1.hook_resid_post"


@pytest.fixture
def record(subject, corpora):
    return collect(
        subject, corpora["certification"], HOOK, discovery=corpora["discovery"], progress=False
    )


def test_losses_do_not_depend_on_batch_size(subject, corpora, tmp_path, monkeypatch):
    monkeypatch.setenv("SAECERT_CACHE", str(tmp_path / "other"))
    settings = {
        "discovery": corpora["discovery"].take(10),
        "pools": [8],
        "rank": "attribution",
        "progress": False,
    }
    single = collect(subject, corpora["certification"].take(20), HOOK, batch_size=1, **settings)
    monkeypatch.setenv("SAECERT_CACHE", str(tmp_path / "another"))
    many = collect(subject, corpora["certification"].take(20), HOOK, batch_size=32, **settings)
    for name, values in many.loss.items():
        np.testing.assert_allclose(single.loss[name], values, atol=1e-5, err_msg=name)
    np.testing.assert_allclose(
        single.outside_energy["pool_8"], many.outside_energy["pool_8"], atol=1e-6
    )
    np.testing.assert_array_equal(single.l0, many.l0)


def test_bos_is_replaced_only_where_it_is_not_exempt(subject, corpora):
    corpus = corpora["certification"].take(8)
    replaced = replace(corpus, exempt_bos=False)
    assert corpus.bos and (corpus.first, replaced.first) == (1, 0)
    exempt = collect(subject, corpus, HOOK, progress=False)
    every = collect(subject, replaced, HOOK, progress=False)
    np.testing.assert_array_equal(every.loss["clean"], exempt.loss["clean"])
    assert (every.loss["zero"] != exempt.loss["zero"]).any()
    assert every.provenance["bos_replaced"] and "bos_replaced" not in exempt.provenance
    tokens = torch.from_numpy(corpus.tokens.astype(np.int64))
    with torch.no_grad():
        wiped = subject.model.run_with_hooks(
            tokens, fwd_hooks=[(HOOK, lambda acts, hook: torch.zeros_like(acts))]
        )
    bits = -wiped[:, :-1].log_softmax(-1).gather(-1, tokens[:, 1:, None])[..., 0] / np.log(2)
    np.testing.assert_allclose(every.raw["zero"], bits.mean(dim=1).numpy(), atol=1e-4)


def test_an_interrupted_run_keeps_what_it_measured_and_goes_on(subject, corpora, monkeypatch):
    corpus = corpora["certification"].take(60)
    seen = []

    def fail_once(site):
        seen.append(len(site.ids))
        if len(seen) == 3:
            raise KeyboardInterrupt
        return site.recons

    proxy = Proxy("slow", fail_once, "slow")
    with pytest.raises(KeyboardInterrupt):
        collect(subject, corpus, HOOK, extra=[proxy], batch_size=10, progress=False)
    resumed = collect(subject, corpus, HOOK, extra=[proxy], batch_size=10, progress=False)
    assert seen == [10] * 7 + [1] * 4, (
        "twenty sequences were kept, the interrupted batch and the rest measured, and four alone"
    )
    np.testing.assert_allclose(resumed.loss["slow"], resumed.loss["full"], atol=1e-6)
    collect(subject, corpus, HOOK, extra=[proxy], batch_size=10, progress=False)
    assert len(seen) == 11, "a finished run returns at once"


def test_a_batch_that_does_not_fit_is_halved(subject, corpora):
    corpus = corpora["certification"].take(20)
    seen = []

    def heavy(site, most=3):
        seen.append(len(site.ids))
        if len(site.ids) > most:
            raise torch.OutOfMemoryError("out of memory")
        return site.recons

    halved = collect(
        subject, corpus, HOOK, extra=[Proxy("heavy", heavy, "heavy")], batch_size=8, progress=False
    )
    assert seen[:3] == [8, 4, 2] and set(seen[3:]) == {1, 2}, "two at a time, and a few alone"
    np.testing.assert_allclose(halved.loss["heavy"], halved.loss["full"], atol=1e-6)
    with pytest.raises(MemoryError, match="not one sequence fits"):
        collect(
            subject,
            corpus,
            HOOK,
            extra=[Proxy("heavier", lambda site: heavy(site, 0), "heavier")],
            progress=False,
        )


def scaled(factor):
    return lambda site: site.recons * factor


class Scaled:
    def __call__(self, site):
        return site.recons


@pytest.mark.parametrize(
    "function", [scaled(2), partial(torch.mul, 2), Scaled(), lambda site: site.recons]
)
def test_a_proxy_without_a_key_is_refused_before_anything_is_measured(subject, corpora, function):
    with pytest.raises(ValueError, match="the proxy 'mine' has no key.*give it a key"):
        collect(subject, corpora["certification"], HOOK, extra=[Proxy("mine", function)])
    assert not list(cache_dir().iterdir())


def test_a_proxy_with_another_key_is_measured_again(subject, corpora):
    corpus = corpora["certification"].take(10)
    settings = {"controls": False, "progress": False}
    first = collect(subject, corpus, HOOK, extra=[Proxy("mine", scaled(1), "1")], **settings)
    edited = collect(subject, corpus, HOOK, extra=[Proxy("mine", scaled(0), "0")], **settings)
    assert np.abs(first.loss["mine"] - edited.loss["mine"]).max() > 1e-3


def test_losses_that_depend_on_the_batch_are_noticed(subject, corpora, record):
    sample = corpora["certification"].take(20)
    assert (
        record.provenance["batch_dependence"] <= 1e-5
        and record.provenance["batch_threshold"] is False
    )
    shared = Proxy("shared", lambda site: site.acts - site.acts.mean(dim=0), "shared")
    measured = collect(subject, sample, HOOK, extra=[shared], progress=False)
    assert measured.provenance["batch_dependence"] > 0.01
    assert (
        collect(subject, sample, HOOK, extra=[shared], progress=False).provenance
        == measured.provenance
    ), "kept with the losses"
    torch.manual_seed(0)
    unfixed = BatchTopKTrainingSAE(
        BatchTopKTrainingSAEConfig(d_in=D_MODEL, d_sae=D_SAE, k=4)
    ).requires_grad_(False)
    measured = collect(
        replace(subject, saes={HOOK: unfixed}), sample, allow_bad_sae=True, progress=False
    )
    assert (
        measured.provenance["batch_threshold"] is True
        and measured.provenance["batch_dependence"] > 1e-3
    )


@pytest.fixture
def ran(subject):
    """A list that grows by the number of sequences with each block that runs."""
    seen = []
    hooks = [
        block.mlp.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
        for block in subject.model.original_model.model.layers
    ]
    yield seen
    for hook in hooks:
        hook.remove()


def test_cost_in_block_forwards_is_the_one_stated(subject, corpora, ran, monkeypatch):
    sample = corpora["certification"].take(20)
    names = subject.hook_names
    monkeypatch.setattr(sweep, "N_ALONE", 0)
    subject.model(torch.from_numpy(sample.tokens.astype(np.int64)))
    assert sum(ran) == N_LAYERS * 20, "every block is counted"
    look = N_LAYERS * 4  # four sequences, as far as two layers behind the hook point
    behind = {name: N_LAYERS - n_skippable(name) for name in names}
    ran.clear()
    collect_layers(subject, sample, extra=[noise()], batch_size=7, progress=False)
    assert sum(ran) == (N_LAYERS + 3 * sum(behind.values())) * 20 + 2 * look, "full, zero and noise"
    ran.clear()
    collect(subject, sample.take(19), names[0], batch_size=7, progress=False)
    assert sum(ran) == (N_LAYERS + 2 * behind[names[0]]) * 19, "the look was kept"
    ran.clear()
    surveys = survey_layers(subject, corpora["discovery"], names, batch_size=7, progress=False)
    assert len(surveys) == 2 and sum(ran) == 2 * len(corpora["discovery"]), (
        "blocks up to the last hook point"
    )


def test_another_proxy_pool_or_alpha_costs_only_itself(subject, corpora, ran):
    sample = corpora["certification"].take(20)
    settings = {"discovery": corpora["discovery"], "progress": False}
    behind = N_LAYERS - n_skippable(HOOK)
    first = collect(subject, sample, HOOK, pools=[8], **settings)
    ran.clear()
    other = collect(subject, sample, HOOK, pools=[8], alphas=(0.1, 0.5), **settings)
    assert not ran, "alphas are derived"
    np.testing.assert_array_equal(other.loss["full"][1], first.loss["full"][0])
    n_alone = 4
    more = collect(subject, sample, HOOK, pools=[8], extra=["noise"], **settings)
    assert sum(ran) == (N_LAYERS + behind) * (20 + n_alone), "the model once, noise once"
    np.testing.assert_array_equal(more.loss["full"], first.loss["full"])
    ran.clear()
    collect(subject, sample, HOOK, pools=[8, 16], extra=["noise"], **settings)
    n_tried = len(corpora["discovery"])
    assert sum(ran) == (N_LAYERS + behind) * (20 + n_alone + n_tried + n_alone), "one pool"


def same(first, second):
    """Whether two records are the same, bit for bit."""
    return first.fingerprint() == second.fingerprint()


def test_layers_together_are_the_layers_one_by_one_and_share_their_files(
    subject, corpora, ran, tmp_path, monkeypatch
):
    sample = corpora["certification"].take(30)
    settings = {
        "discovery": corpora["discovery"],
        "extra": [noise()],
        "rank": "energy",
        "batch_size": 8,
        "progress": False,
    }
    together = collect_layers(subject, sample, **settings)
    assert tuple(together) == subject.hook_names
    ran.clear()
    assert all(
        same(collect(subject, sample, hook_name, **settings), record)
        for hook_name, record in together.items()
    )
    assert not ran, "measured together, found alone"
    monkeypatch.setenv("SAECERT_CACHE", str(tmp_path / "other"))
    alone = {
        hook_name: collect(subject, sample, hook_name, **settings)
        for hook_name in subject.hook_names
    }
    ran.clear()
    assert all(
        same(record, alone[hook_name])
        for hook_name, record in collect_layers(subject, sample, **settings).items()
    )
    assert not ran, "measured alone, found together"
    assert all(same(record, alone[hook_name]) for hook_name, record in together.items())


def test_layers_are_resumed_each_from_where_it_was(subject, corpora):
    sample = corpora["certification"].take(40)
    seen = []

    def fail_once(site):
        seen.append(len(site.ids))
        if len(seen) == 4:
            raise KeyboardInterrupt
        return site.recons

    settings = {"extra": [Proxy("slow", fail_once, "slow")], "batch_size": 10, "progress": False}
    with pytest.raises(KeyboardInterrupt):
        collect_layers(subject, sample, **settings)
    alone = collect(subject, sample, subject.hook_names[1], **settings)
    assert seen[4:] == [10] * 3 + [1] * 4, "one batch of this hook point was kept"
    both = collect_layers(subject, sample, **settings)
    assert seen[11:] == [10] * 3 + [1] * 4, "only the other hook point was measured"
    assert same(both[subject.hook_names[1]], alone)


def test_final_residuals_scored_in_several_groups_change_nothing(
    subject, corpora, tmp_path, monkeypatch
):
    sample = corpora["certification"].take(20)
    whole = collect_layers(subject, sample, progress=False)
    monkeypatch.setattr(batch, "HELD_BYTES", 0)
    monkeypatch.setenv("SAECERT_CACHE", str(tmp_path / "other"))
    assert all(
        same(record, whole[hook_name])
        for hook_name, record in collect_layers(subject, sample, progress=False).items()
    )


def test_a_damaged_file_is_named_and_measured_again(subject, corpora):
    sample = corpora["certification"].take(10)
    whole = collect(subject, sample, HOOK, progress=False)
    path = next(cache_dir().glob("full-*.npz"))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.warns(UserWarning, match=f"{path.name} is damaged"):
        again = collect(subject, sample, HOOK, progress=False)
    assert same(again, whole)


def test_not_finite_losses_name_sequence_and_proxy(subject, corpora):
    broken = Proxy("broken", lambda site: site.acts * float("nan"), "broken")
    with pytest.raises(ValueError, match=r"'broken' on sequence 0 is not finite"):
        collect(subject, corpora["certification"], HOOK, extra=[broken], progress=False)

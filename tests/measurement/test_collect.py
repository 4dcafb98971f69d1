"""What `collect` measures is what a plain computation gives, whatever the batching, and nothing is
lost when it stops."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from conftest import D_MODEL, D_SAE, N_CTX, N_LAYERS, identity_sae, make_model, make_sae, make_texts
from sae_lens import BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig

from saecert import collect, collect_layers, load_corpus, load_subject
from saecert.corpora.duplicates import near_duplicates
from saecert.measurement import batch, sweep
from saecert.measurement.proxies import Proxy, full, noise, pool
from saecert.measurement.scoring import score, smoothed_bits
from saecert.measurement.survey import survey_layers
from saecert.storage import cache_dir
from saecert.subjects.forward import n_skippable

HOOK = "blocks.1.hook_resid_post"


def plain_bits(model, tokens, hooks=None):
    """Raw bits per token by Hugging Face alone, one sequence at a time."""
    bits = []
    for row in torch.from_numpy(tokens.astype(np.int64)):
        log_probs = model(row[None]).logits[0, :-1].log_softmax(-1)
        bits.append(-log_probs.gather(1, row[1:, None]).mean().item() / np.log(2))
    return np.array(bits)


@pytest.fixture
def record(subject, corpora):
    return collect(
        subject, corpora["certification"], HOOK, discovery=corpora["discovery"], progress=False
    )


def test_clean_loss_is_that_of_hugging_face_and_the_support_holds(record, corpora):
    np.testing.assert_allclose(
        record.raw["clean"],
        plain_bits(make_model("llama"), corpora["certification"].tokens),
        atol=1e-5,
    )
    assert set(record.loss) == {
        "clean",
        "full",
        "pool_8",
        "pool_16",
        "pool_32",
        "pool_48",
        "mean",
        "zero",
        "unigram",
        "bigram",
    }
    assert record.pool_sizes == (8, 16, 32, 48, 64)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma"])
def test_identity_sae_reproduces_the_clean_loss(folders, family):
    subject = load_subject(folders[family], sae=identity_sae(HOOK))
    corpus = load_corpus(make_texts(12), subject, n_ctx=N_CTX)
    measured = collect(subject, corpus, progress=False)
    np.testing.assert_allclose(measured.loss["full"], measured.loss["clean"], atol=1e-6)
    assert (
        measured.total_variation["full"].max() < 1e-5
        and measured.top1_disagreement["full"].max() == 0
    )


def test_zero_ablation_equals_a_manual_computation(record, subject, corpora):
    tokens = torch.from_numpy(corpora["certification"].tokens[:4].astype(np.int64))

    def ablate(acts, hook):
        return torch.cat(
            [acts[:, :1], torch.zeros_like(acts[:, 1:])], dim=1
        )  # BOS is never spliced

    logits = subject.model.run_with_hooks(tokens, fwd_hooks=[(HOOK, ablate)])
    probability = logits[:, :-1].softmax(-1).gather(2, tokens[:, 1:, None])[..., 0].double().numpy()
    np.testing.assert_allclose(
        record.loss["zero"][0, :4], smoothed_bits(probability, 0.5, 320).mean(axis=1), atol=1e-6
    )


def test_bfloat16_weights_give_about_the_same_losses(folders, subject, corpora):
    sample = corpora["certification"].take(20)
    half = load_subject(folders["llama"], dtype=torch.bfloat16)
    settings = {"discovery": corpora["discovery"], "pools": [16], "progress": False}
    measured = collect(half, sample, HOOK, **settings)
    exact = collect(subject, sample, HOOK, **settings)
    assert (
        measured.provenance["dtype"] == "bfloat16" and measured.provenance["batch_dependence"] < 0.1
    )
    for name, bits in measured.loss.items():
        assert np.abs(bits - exact.loss[name]).max() < 0.3, name
    assert 0 < np.abs(measured.at("full", 0.5) - exact.at("full", 0.5)).mean() < 0.05, (
        "other weights, not other losses"
    )


def test_bfloat16_logits_have_probabilities_in_float32(folders):
    half = load_subject(folders["llama"], dtype=torch.bfloat16)
    residual = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(1)).bfloat16()
    other = residual + 0.3
    tokens = torch.randint(2, 300, (2, 5), generator=torch.Generator().manual_seed(2))
    p = half.model.original_model.get_output_embeddings()(residual)[:, :-1].float().softmax(-1)
    q = half.model.original_model.get_output_embeddings()(other)[:, :-1].float().softmax(-1)
    probability, variation, _ = score(half.model, {"clean": residual, "x": other}, tokens)["x"]
    np.testing.assert_allclose(
        probability, q.gather(2, tokens[:, 1:, None])[..., 0].numpy(), rtol=1e-5
    )
    np.testing.assert_allclose(variation, ((p - q).abs().sum(-1) / 2).numpy(), atol=1e-6)


def test_losses_do_not_depend_on_batch_size(subject, corpora, tmp_path, monkeypatch):
    monkeypatch.setenv("SAECERT_CACHE", str(tmp_path / "other"))
    settings = {
        "discovery": corpora["discovery"].take(10),
        "pools": [8],
        "rank": "attribution",
        "progress": False,
    }
    one = collect(subject, corpora["certification"].take(20), HOOK, batch_size=1, **settings)
    monkeypatch.setenv("SAECERT_CACHE", str(tmp_path / "another"))
    many = collect(subject, corpora["certification"].take(20), HOOK, batch_size=32, **settings)
    for name, values in many.loss.items():
        np.testing.assert_allclose(one.loss[name], values, atol=1e-5, err_msg=name)
    np.testing.assert_allclose(
        one.outside_energy["pool_8"], many.outside_energy["pool_8"], atol=1e-6
    )
    np.testing.assert_array_equal(one.l0, many.l0)


def test_total_variation_and_top1_by_hand(subject):
    residual = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(1))
    other = residual + 0.3
    tokens = torch.randint(2, 300, (2, 5), generator=torch.Generator().manual_seed(2))
    head = subject.model.original_model.get_output_embeddings()
    p = head(residual)[:, :-1].softmax(-1)
    q = head(other)[:, :-1].softmax(-1)
    probability, variation, disagree = score(
        subject.model, {"clean": residual, "x": other}, tokens
    )["x"]
    np.testing.assert_allclose(
        probability, q.gather(2, tokens[:, 1:, None])[..., 0].numpy(), rtol=1e-5
    )
    np.testing.assert_allclose(variation, ((p - q).abs().sum(-1) / 2).numpy(), atol=1e-6)
    np.testing.assert_array_equal(disagree, (p.argmax(-1) != q.argmax(-1)).numpy())
    uniform = score(subject.model, {"clean": residual, "x": torch.zeros_like(residual)}, tokens)[
        "x"
    ]
    assert (uniform[2] == 1).all(), "a predictor that prefers nothing does not agree"


def test_scoring_in_chunks_changes_nothing(subject, monkeypatch):
    residual = torch.randn(4, 9, 16, generator=torch.Generator().manual_seed(3))
    tokens = torch.full((4, 9), 7)
    whole = score(subject.model, {"clean": residual, "x": residual * 2}, tokens)
    monkeypatch.setattr("saecert.measurement.scoring.CHUNK_BYTES", 1)
    monkeypatch.setattr("saecert.measurement.scoring.MIN_ROWS", 5)
    for name, values in score(
        subject.model, {"clean": residual, "x": residual * 2}, tokens
    ).items():
        np.testing.assert_allclose(values, whole[name], atol=1e-6)


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


def test_activity_and_l0_match_the_encoder(record, subject, corpora):
    tokens = torch.from_numpy(corpora["certification"].tokens.astype(np.int64))
    _, cache = subject.model.run_with_cache(tokens)
    on = subject.sae_at(HOOK).encode(cache[HOOK])[:, 1:] > 0
    np.testing.assert_array_equal(record.l0[:, 1:], on.sum(-1).numpy())
    np.testing.assert_array_equal(record.activity(), on.any(1).numpy())
    assert (record.l0[:, 0] == 0).all()


def test_not_finite_losses_name_sequence_and_proxy(subject, corpora):
    broken = Proxy("broken", lambda site: site.acts * float("nan"), "broken")
    with pytest.raises(ValueError, match=r"'broken' on sequence 0 is not finite"):
        collect(subject, corpora["certification"], HOOK, extra=[broken], progress=False)


def test_bad_arguments(subject, corpora, folders):
    sample = corpora["certification"]
    with pytest.raises(ValueError, match=r"no hook point 'blocks.9.hook_resid_post'.*3 layers"):
        collect(subject, sample, "blocks.9.hook_resid_post")
    with pytest.raises(
        ValueError, match="no SAE at 'blocks.2.hook_resid_post'.*there are SAEs at blocks.0"
    ):
        collect(subject, sample, "blocks.2.hook_resid_post")
    with pytest.raises(ValueError, match="alpha must lie strictly"):
        collect(subject, sample, HOOK, alphas=(1.0,))
    with pytest.raises(
        ValueError, match="unknown ranking 'size'; there are frequency, energy, attribution"
    ):
        collect(subject, sample, HOOK, rank="size")
    with pytest.raises(ValueError, match=r"no hook point given; there are SAEs at blocks.0"):
        collect_layers(subject, sample, [])
    with pytest.raises(ValueError, match="pool of 65 latents does not fit a dictionary of 64"):
        collect(subject, sample, HOOK, discovery=corpora["discovery"], pools=[65], progress=False)
    with pytest.raises(ValueError, match="same name: full"):
        collect(subject, sample, HOOK, extra=[full()])
    wide = load_subject(
        folders["llama"], sae={"blocks.0.mlp.hook_post": make_sae("blocks.0.mlp.hook_post")}
    )
    with pytest.raises(ValueError, match="d_in=16 but the activation there has width 32"):
        collect(wide, sample, progress=False)


def test_pool_of_every_latent_is_the_full_sae(subject, corpora):
    everything = Proxy("all", pool(np.arange(D_SAE), D_SAE).replace, "all")
    measured = collect(subject, corpora["certification"], HOOK, extra=[everything], progress=False)
    np.testing.assert_allclose(measured.loss["all"], measured.loss["full"], atol=1e-6)


def test_what_a_pool_leaves_out_by_hand(subject, corpora):
    sae = make_sae(HOOK).requires_grad_(False)
    sae.W_dec *= torch.linspace(0.2, 3, D_SAE)[:, None]
    sample = corpora["certification"].take(20)
    settings = {"discovery": corpora["discovery"], "pools": [8, 48], "progress": False}
    settings["allow_bad_sae"] = True
    record = collect(replace(subject, saes={HOOK: sae}), sample, **settings)
    _, cache = subject.model.run_with_cache(torch.from_numpy(sample.tokens.astype(np.int64)))
    latents = sae.encode(cache[HOOK])[:, 1:]
    energy = (latents[..., None] * sae.W_dec).square().sum(-1)
    assert set(record.outside_firings) == set(record.outside_energy) == {"pool_8", "pool_48"}
    for k in (8, 48):
        outside = torch.from_numpy(record.discovery.order[k:].copy())
        for found, values in (
            (record.outside_firings, (latents > 0).float()),
            (record.outside_energy, energy),
        ):
            np.testing.assert_allclose(
                found[f"pool_{k}"],
                (values[..., outside].sum((1, 2)) / values.sum((1, 2))).numpy(),
                atol=1e-5,
            )
    silent = make_sae(HOOK).requires_grad_(False)
    silent.threshold.fill_(1e6)
    measured = collect(replace(subject, saes={HOOK: silent}), sample, **settings)
    assert (measured.outside_firings["pool_8"] == 0).all() and (
        measured.outside_energy["pool_8"] == 0
    ).all()


@pytest.mark.parametrize("rank", ["frequency", "energy", "attribution"])
def test_the_rule_orders_the_pools_and_is_recorded(subject, corpora, rank):
    sample = corpora["certification"].take(20)
    settings = {"discovery": corpora["discovery"], "pools": [16], "progress": False}
    first = collect(subject, sample, HOOK, rank="frequency", **settings)
    measured = collect(subject, sample, HOOK, rank=rank, **settings)
    kept = pool(measured.discovery.order[:16], D_SAE)
    expected = collect(
        subject, sample, HOOK, extra=[replace(kept, name="expected")], progress=False
    )
    assert measured.discovery.rule == rank
    np.testing.assert_allclose(measured.loss["pool_16"], expected.loss["expected"], atol=1e-6)
    if rank != "frequency":
        assert np.abs(measured.loss["pool_16"] - first.loss["pool_16"]).max() > 1e-3, (
            "other pools, other files"
        )


def test_documents_near_duplicates_and_overlap_are_recorded(subject, corpora):
    sample = corpora["certification"]
    discovery = corpora["discovery"]
    shared = replace(discovery, tokens=np.concatenate([discovery.tokens[:-1], sample.tokens[3:4]]))
    shared = replace(shared, keys=(*discovery.keys[:-2], sample.keys[7], "another name"))
    measured = collect(subject, sample, HOOK, discovery=shared, progress=False)
    assert np.flatnonzero(measured.overlap).tolist() == [3, 7], "one sequence, one document"
    np.testing.assert_array_equal(measured.similar, near_duplicates(sample.tokens, sample.ids))
    assert len(np.unique(measured.documents)) == len(sample) == len(measured.documents)
    assert collect(subject, sample, HOOK, progress=False).overlap is None


def test_an_sae_that_does_not_fit_is_refused_unless_told(subject, corpora):
    sae = make_sae(HOOK).requires_grad_(False)
    sae.W_dec *= -1
    wrong = replace(subject, saes={HOOK: sae})
    sample = corpora["certification"].take(20)
    with pytest.raises(ValueError, match="of the variance .* is asked for"):
        collect(wrong, sample, progress=False)
    measured = collect(wrong, sample, allow_bad_sae=True, progress=False).provenance["sae_check"]
    assert measured["explained_variance"] < 0 and "allow_bad_sae=True" in measured["problem"]
    assert collect(subject, sample, HOOK, progress=False).provenance["sae_check"]["problem"] is None


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
    found = survey_layers(subject, corpora["discovery"], names, batch_size=7, progress=False)
    assert len(found) == 2 and sum(ran) == 2 * len(corpora["discovery"]), (
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


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": -1}, "batch_size must be at least 1, got -1"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"alphas": ()}, "no alpha given"),
        ({"alphas": (0.5, 2.0)}, "alpha must lie strictly"),
        ({"rank": "size"}, "unknown ranking 'size'"),
        ({"pools": [0]}, "a pool of 0 latents does not fit"),
        ({"pools": [65]}, "a pool of 65 latents does not fit"),
        ({"extra": ["nothing"]}, "no proxy is called 'nothing'"),
    ],
)
def test_settings_are_checked_before_anything_is_measured(subject, corpora, ran, settings, message):
    with pytest.raises(ValueError, match=message):
        collect(subject, corpora["certification"], discovery=corpora["discovery"], **settings)
    assert not ran


def test_one_sequence_is_too_few_before_anything_is_measured(subject, corpora, ran):
    with pytest.raises(ValueError, match="1 sequence.* a record needs at least 2"):
        collect(subject, corpora["certification"].part(0, 1))
    assert not ran


def test_a_damaged_file_is_named_and_measured_again(subject, corpora):
    sample = corpora["certification"].take(10)
    whole = collect(subject, sample, HOOK, progress=False)
    path = next(cache_dir().glob("full-*.npz"))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.warns(UserWarning, match=f"{path.name} is damaged"):
        again = collect(subject, sample, HOOK, progress=False)
    assert same(again, whole)


def same(one, other):
    """Whether two records are the same, bit for bit."""
    return one.fingerprint() == other.fingerprint()


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
    one = collect(subject, sample, subject.hook_names[1], **settings)
    assert seen[4:] == [10] * 3 + [1] * 4, "one batch of this hook point was kept"
    both = collect_layers(subject, sample, **settings)
    assert seen[11:] == [10] * 3 + [1] * 4, "only the other hook point was measured"
    assert same(both[subject.hook_names[1]], one)


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

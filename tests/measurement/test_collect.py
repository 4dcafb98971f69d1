"""What `collect` measures is what a plain computation gives, and what it was asked to measure."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import D_SAE, N_CTX, identity_sae, make_model, make_sae, make_texts

from saecert import collect, collect_layers, load_corpus, load_subject
from saecert.corpora.duplicates import near_duplicates
from saecert.measurement.proxies import Proxy, full, pool
from saecert.measurement.scoring import smoothed_bits

HOOK = "blocks.1.hook_resid_post"


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


def test_activity_and_l0_match_the_encoder(record, subject, corpora):
    tokens = torch.from_numpy(corpora["certification"].tokens.astype(np.int64))
    _, cache = subject.model.run_with_cache(tokens)
    on = subject.sae_at(HOOK).encode(cache[HOOK])[:, 1:] > 0
    np.testing.assert_array_equal(record.l0[:, 1:], on.sum(-1).numpy())
    np.testing.assert_array_equal(record.activity(), on.any(1).numpy())
    assert (record.l0[:, 0] == 0).all()


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
        for shares, values in (
            (record.outside_firings, (latents > 0).float()),
            (record.outside_energy, energy),
        ):
            np.testing.assert_allclose(
                shares[f"pool_{k}"],
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
    chosen = pool(measured.discovery.order[:16], D_SAE)
    expected = collect(
        subject, sample, HOOK, extra=[replace(chosen, name="expected")], progress=False
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

"""What `collect` measures is what a plain computation gives, whatever the batching, and nothing is lost when it stops."""

import numpy as np
import pytest
import torch
from conftest import D_SAE, N_CTX, identity_sae, make_model, make_sae, make_texts

from saecert import collect, load_corpus, load_subject, losses
from saecert.proxies import Proxy, pool
from saecert.scoring import score, smoothed_bits

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
    return collect(subject, corpora["certification"], HOOK, discovery=corpora["discovery"], progress=False)


def test_clean_loss_is_that_of_hugging_face_and_the_support_holds(record, corpora):
    np.testing.assert_allclose(record.raw["clean"], plain_bits(make_model("llama"), corpora["certification"].tokens), atol=1e-5)
    assert set(record.loss) == {"clean", "full", "pool_8", "pool_16", "pool_32", "pool_48", "mean", "zero", "unigram", "bigram"}
    assert record.pool_sizes == (8, 16, 32, 48, 64)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma"])
def test_identity_sae_reproduces_the_clean_loss(folders, family):
    subject = load_subject(folders[family], sae=identity_sae(HOOK))
    corpus = load_corpus(make_texts(12), subject, n_ctx=N_CTX)
    measured = collect(subject, corpus, progress=False)
    np.testing.assert_allclose(measured.loss["full"], measured.loss["clean"], atol=1e-6)
    assert measured.total_variation["full"].max() < 1e-5 and measured.top1_disagreement["full"].max() == 0


def test_zero_ablation_equals_a_manual_computation(record, subject, corpora):
    tokens = torch.from_numpy(corpora["certification"].tokens[:4].astype(np.int64))

    def ablate(acts, hook):
        return torch.cat([acts[:, :1], torch.zeros_like(acts[:, 1:])], dim=1)  # BOS is never spliced

    logits = subject.model.run_with_hooks(tokens, fwd_hooks=[(HOOK, ablate)])
    probability = logits[:, :-1].softmax(-1).gather(2, tokens[:, 1:, None])[..., 0].double().numpy()
    np.testing.assert_allclose(record.loss["zero"][0, :4], smoothed_bits(probability, 0.5, 320).mean(axis=1), atol=1e-6)


def test_losses_do_not_depend_on_batch_size(subject, corpora, record, tmp_path, monkeypatch):
    monkeypatch.setenv("SAECERT_CACHE", str(tmp_path / "other"))
    one = collect(subject, corpora["certification"], HOOK, discovery=corpora["discovery"], batch_size=1, progress=False)
    for name, values in record.loss.items():
        np.testing.assert_allclose(one.loss[name], values, atol=1e-5, err_msg=name)
    np.testing.assert_array_equal(one.l0, record.l0)


def test_total_variation_and_top1_by_hand(subject):
    residual = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(1))
    other, tokens = residual + 0.3, torch.randint(2, 300, (2, 5), generator=torch.Generator().manual_seed(2))
    head = subject.model.original_model.get_output_embeddings()
    p, q = head(residual)[:, :-1].softmax(-1), head(other)[:, :-1].softmax(-1)
    probability, variation, disagree = score(subject.model, {"clean": residual, "x": other}, tokens)["x"]
    np.testing.assert_allclose(probability, q.gather(2, tokens[:, 1:, None])[..., 0].numpy(), rtol=1e-5)
    np.testing.assert_allclose(variation, ((p - q).abs().sum(-1) / 2).numpy(), atol=1e-6)
    np.testing.assert_array_equal(disagree, (p.argmax(-1) != q.argmax(-1)).numpy())


def test_scoring_in_chunks_changes_nothing(subject, monkeypatch):
    residual, tokens = torch.randn(4, 9, 16, generator=torch.Generator().manual_seed(3)), torch.full((4, 9), 7)
    whole = score(subject.model, {"clean": residual, "x": residual * 2}, tokens)
    monkeypatch.setattr("saecert.scoring.CHUNK_BYTES", 1)
    monkeypatch.setattr("saecert.scoring.MIN_ROWS", 5)
    for name, values in score(subject.model, {"clean": residual, "x": residual * 2}, tokens).items():
        np.testing.assert_allclose(values, whole[name], atol=1e-6)


def test_an_interrupted_run_keeps_what_it_measured_and_goes_on(subject, corpora, monkeypatch):
    corpus, seen = corpora["certification"].take(60), []

    def fail_once(site):
        seen.append(len(site.ids))
        if len(seen) == 3:
            raise KeyboardInterrupt
        return site.recons

    proxy = Proxy("slow", fail_once)
    with pytest.raises(KeyboardInterrupt):
        collect(subject, corpus, HOOK, extra=[proxy], batch_size=10, progress=False)
    resumed = collect(subject, corpus, HOOK, extra=[proxy], batch_size=10, progress=False)
    assert seen == [10] * 7, "twenty sequences were kept, the interrupted batch and the rest measured"
    np.testing.assert_allclose(resumed.loss["slow"], resumed.loss["full"], atol=1e-6)
    collect(subject, corpus, HOOK, extra=[proxy], batch_size=10, progress=False)
    assert len(seen) == 7, "a finished run returns at once"


def test_a_proxy_edited_under_the_same_name_is_measured_again(subject, corpora):
    corpus = corpora["certification"].take(10)
    first = collect(subject, corpus, HOOK, extra=[Proxy("mine", lambda site: site.recons)], progress=False)
    edited = collect(subject, corpus, HOOK, extra=[Proxy("mine", lambda site: site.recons * 0)], progress=False)
    assert np.abs(first.loss["mine"] - edited.loss["mine"]).max() > 1e-3


def test_activity_and_l0_match_the_encoder(record, subject, corpora):
    tokens = torch.from_numpy(corpora["certification"].tokens.astype(np.int64))
    _, cache = subject.model.run_with_cache(tokens)
    on = subject.sae_at(HOOK).encode(cache[HOOK])[:, 1:] > 0
    np.testing.assert_array_equal(record.l0[:, 1:], on.sum(-1).numpy())
    np.testing.assert_array_equal(record.activity(), on.any(1).numpy())
    assert (record.l0[:, 0] == 0).all()


def test_not_finite_losses_name_sequence_and_proxy(subject, corpora):
    broken = Proxy("broken", lambda site: site.acts * float("nan"))
    with pytest.raises(ValueError, match=r"'broken' on sequence 0 is not finite"):
        collect(subject, corpora["certification"], HOOK, extra=[broken], progress=False)


def test_bad_arguments(subject, corpora, folders):
    sample = corpora["certification"]
    with pytest.raises(ValueError, match=r"no hook point 'blocks.9.hook_resid_post'.*3 layers"):
        collect(subject, sample, "blocks.9.hook_resid_post")
    with pytest.raises(ValueError, match="no SAE at 'blocks.2.hook_resid_post'.*there are SAEs at blocks.0"):
        collect(subject, sample, "blocks.2.hook_resid_post")
    with pytest.raises(ValueError, match="alpha must lie strictly"):
        collect(subject, sample, HOOK, alphas=(1.0,))
    with pytest.raises(ValueError, match="share documents or sequences"):
        collect(subject, sample, HOOK, discovery=sample)
    with pytest.raises(ValueError, match="pool of 65 latents does not fit a dictionary of 64"):
        collect(subject, sample, HOOK, discovery=corpora["discovery"], pools=[65], progress=False)
    with pytest.raises(ValueError, match="same name: full"):
        collect(subject, sample, HOOK, extra=[losses.proxies.full()])
    wide = load_subject(folders["llama"], sae={"blocks.0.mlp.hook_post": make_sae("blocks.0.mlp.hook_post")})
    with pytest.raises(ValueError, match="d_in=16 but the activation there has width 32"):
        collect(wide, sample, progress=False)


def test_pool_of_every_latent_is_the_full_sae(subject, corpora):
    everything = Proxy("all", pool(np.arange(D_SAE), D_SAE).replace)
    measured = collect(subject, corpora["certification"], HOOK, extra=[everything], progress=False)
    np.testing.assert_allclose(measured.loss["all"], measured.loss["full"], atol=1e-6)

"""Activations that can be replaced, tried at loading; SAEs of the vectors of all heads."""

import pytest
import torch
from conftest import D_MODEL, N_CTX, identity_sae, make_model, make_sae, make_texts, make_tokenizer
from sae_lens import SAE, StandardSAE, StandardSAEConfig

from saecert import collect, load_corpus, load_subject
from saecert.subjects import checks
from saecert.subjects.forward import native_acts

HOOK = "blocks.1.hook_resid_post"
HEADS = "blocks.1.attn.hook_z"
TOKENS = torch.randint(2, 300, (2, 12), generator=torch.Generator().manual_seed(0))


def test_one_hook_point_of_each_kind_is_tried(subject, monkeypatch):
    tried = []
    real = checks.final_residual

    def noted(model, tokens, hook, acts):
        tried.append(hook)
        return real(model, tokens, hook, acts)

    monkeypatch.setattr(checks, "final_residual", noted)
    names = [f"blocks.{i}.{of}" for i in range(3) for of in ("hook_resid_post", "hook_mlp_out")]
    checks.check_splices("it", subject.model, names)
    assert sorted(tried) == ["blocks.2.hook_mlp_out", "blocks.2.hook_resid_post"]
    tried.clear()
    checks.check_splices("it", subject.model, [])
    assert not tried


def test_an_activation_put_back_changes_nothing(subject, monkeypatch):
    real = checks.final_residual

    def first_sequence(model, tokens, hook, acts):
        return real(model, tokens, hook, acts[:1].expand_as(acts))

    monkeypatch.setattr(checks, "final_residual", first_sequence)
    with pytest.raises(
        ValueError, match=f"'{HOOK}', put back as it is, changes the model's logits"
    ):
        checks.check_splices("it", subject.model, [HOOK])


@pytest.mark.parametrize(
    ("hook", "reason"),
    [
        ("blocks.1.attn.hook_pattern", "for each position that an SAE could replace"),
        ("blocks.1.attn.hook_attn_scores", "for each position that an SAE could replace"),
        ("blocks.1.hook_mlp_in", "hook_mlp_in"),
    ],
)
def test_a_hook_point_without_an_activation_of_each_position(folders, hook, reason):
    with pytest.raises(ValueError, match=reason):
        load_subject(folders["llama"], sae={hook: make_sae(hook)})


def test_an_activation_that_nothing_reads(tmp_path):
    model = make_model("gpt2")
    model.transformer.h[1].attn.c_proj.weight.data.zero_()
    model.save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=f"another activation at '{HEADS}' changes no logit"):
        load_subject(tmp_path, sae={HEADS: make_sae(HEADS)})


def of_heads(**settings) -> SAE:
    """An SAE of sae_lens as it makes them at hook_z: exact, a latent for each sign."""
    sae = StandardSAE(
        StandardSAEConfig(d_in=D_MODEL, d_sae=2 * D_MODEL, reshape_activations="hook_z", **settings)
    )
    exact = identity_sae(HEADS)
    with torch.no_grad():
        sae.W_enc.copy_(exact.W_enc)
        sae.W_dec.copy_(exact.W_dec)
    sae.cfg.metadata.hook_name = HEADS
    return sae


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_an_sae_of_all_heads_is_measured(folders, tmp_path, family):
    of_heads().save_model(tmp_path)
    subject = load_subject(folders[family], sae=tmp_path)
    acts = native_acts(subject.model, TOKENS, HEADS)
    assert acts.shape == (*TOKENS.shape, D_MODEL)
    torch.testing.assert_close(subject.sae_at(HEADS)(acts), acts)
    seen = []
    subject.model.run_with_hooks(TOKENS, fwd_hooks=[(HEADS, lambda z, hook: seen.append(z))])
    torch.testing.assert_close(of_heads()(seen[0]).flatten(2), acts, msg="as sae_lens reads it")
    texts = make_texts(120)
    sample, discovery = (
        load_corpus(texts, subject, split=split, n_ctx=N_CTX)
        for split in ("certification", "discovery")
    )
    losses = collect(subject, sample, discovery=discovery)
    torch.testing.assert_close(
        torch.from_numpy(losses.raw["full"]),
        torch.from_numpy(losses.raw["clean"]),
        atol=1e-5,
        rtol=1e-5,
    )
    assert losses.l0.max() <= D_MODEL, "one latent for each coordinate that is not 0"
    assert not (losses.raw["mean"] == losses.raw["clean"]).all()
    assert losses.provenance["sae_check"]["explained_variance"] > 0.999
    assert 0 <= losses.provenance["sae_check"]["outlier_share"] < 1


def test_an_sae_of_one_head_is_refused(folders, tmp_path):
    sae = make_sae(HEADS, d_in=D_MODEL // 2)
    sae.cfg.metadata.hook_head_index = 1
    sae.save_model(tmp_path)
    with pytest.raises(ValueError, match="an SAE of head 1 alone") as caught:
        load_subject(folders["llama"], sae=tmp_path)
    assert str(tmp_path / "cfg.json") in str(caught.value)

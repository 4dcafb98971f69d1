"""Loading: the same path for every folder, and errors that say what to do."""

import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from conftest import D_MODEL, identity_sae, make_model, make_sae, make_tokenizer
from sae_lens import (
    SAE,
    BatchTopKTrainingSAE,
    BatchTopKTrainingSAEConfig,
    TopKSAE,
    TopKSAEConfig,
    TrainingSAE,
)
from sae_lens.registry import SAE_CLASS_REGISTRY, SAE_TRAINING_CLASS_REGISTRY
from transformers import AutoConfig, AutoModelForCausalLM, GPT2Config, GraniteConfig

from saecert import load_subject
from saecert.subjects import checks, loading
from saecert.subjects.forward import final_residual, native_acts
from saecert.subjects.saes import places
from saecert.subjects.subject import CENTERED, UNPROCESSED

HOOK = "blocks.1.hook_resid_post"
NO_SAES = {
    "transcoder",
    "skip_transcoder",
    "jumprelu_transcoder",
    "jumprelu_skip_transcoder",
    "temporal",
}
# its rule leaves out codes too small to change a norm in float32; it has tests of its own
INEXACT = {"top_afa"}
KINDS = sorted(set(SAE_CLASS_REGISTRY) - NO_SAES - INEXACT)
TOKENS = torch.randint(2, 300, (2, 12), generator=torch.Generator().manual_seed(0))


def exact_sae(kind: str, **settings) -> SAE:
    """An SAE of one architecture that reconstructs exactly: a latent for each sign of each
    coordinate (AbsTopK: for both)."""
    wanted = {
        "topk": {"k": D_MODEL},
        "abstopk": {"k": D_MODEL},
        "matching_pursuit": {"residual_threshold": 0.0},
    }.get(kind, {})
    sae = SAE.from_dict(
        {"architecture": kind, "d_in": D_MODEL, "d_sae": 2 * D_MODEL, **wanted, **settings}
    )
    one = torch.eye(D_MODEL)
    both = torch.cat([one, 0 * one if kind == "abstopk" else -one])
    with torch.no_grad():
        for parameter in sae.parameters():
            parameter.zero_()
        sae.W_dec.copy_(both)
        if kind != "matching_pursuit":  # its encoder is its decoder
            sae.W_enc.copy_(both.T)
    sae.cfg.metadata.hook_name = HOOK
    return sae


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma"])
def test_logits_equal_hugging_face(folders, family):
    torch.testing.assert_close(
        load_subject(folders[family]).model(TOKENS),
        make_model(family)(TOKENS).logits,
        atol=2e-5,
        rtol=1e-4,
    )


def test_logits_made_in_an_unknown_way_are_refused(folders, tmp_path):
    granite = GraniteConfig.from_pretrained(
        folders["llama"], logits_scaling=4.0, num_hidden_layers=1
    )
    AutoModelForCausalLM.from_config(granite).save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(
        ValueError, match="scales or shifts them in a way that saecert does not know"
    ):
        load_subject(tmp_path, sae=make_sae("blocks.0.hook_resid_post"))


def test_a_context_of_a_few_tokens(tmp_path):
    config = GPT2Config(
        n_embd=D_MODEL,
        n_layer=1,
        n_head=2,
        n_positions=4,
        vocab_size=320,
        bos_token_id=0,
        eos_token_id=0,
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    assert load_subject(tmp_path, sae=make_sae("blocks.0.hook_resid_post")).n_ctx == 4


def test_atoms_lie_one_after_the_other_in_memory(folders):
    sae = make_sae(HOOK)
    sae.W_dec.data = sae.W_dec.data.T.contiguous().T
    assert load_subject(folders["llama"], sae=sae).sae_at(HOOK).W_dec.is_contiguous()


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma"])
def test_every_architecture_through_the_same_loader(folders, tmp_path, family):
    places = {
        f"blocks.{number // 2}.hook_resid_{('pre', 'post')[number % 2]}": tmp_path / kind
        for number, kind in enumerate(KINDS)
    }
    for folder in places.values():
        exact_sae(folder.name).save_model(folder)
    subject = load_subject(folders[family], sae=places, allow_hook_mismatch=True)
    for hook, sae in subject.saes.items():
        acts = native_acts(subject.model, TOKENS, hook)
        assert sae.cfg.architecture() == places[hook].name
        torch.testing.assert_close(sae(acts), acts, atol=1e-5, rtol=1e-5)
        clean, spliced = (
            final_residual(subject.model, TOKENS, hook, value)
            for value in (acts, sae.decode(sae.encode(acts)))
        )
        torch.testing.assert_close(spliced, clean, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(
            sae.encode(acts)[1:],
            sae.encode(acts[1:]),
            msg="codes do not depend on the rest of the batch",
        )


@pytest.mark.parametrize("norm", ["layer_norm", "constant_norm_rescale"])
def test_one_encoding_can_be_decoded_for_several_proxies(folders, norm):
    sae = load_subject(
        folders["llama"], sae=exact_sae("standard", normalize_activations=norm)
    ).sae_at(HOOK)
    acts = 3 * torch.randn(2, 4, D_MODEL, generator=torch.Generator().manual_seed(0)) + 1
    latents = sae.encode(acts)
    torch.testing.assert_close(sae.decode(latents), sae.decode(latents))
    torch.testing.assert_close(sae.decode(latents), acts, atol=1e-3, rtol=1e-3)


def test_saes_come_from_folders_templates_objects_and_mappings(folders, tmp_path):
    folder = folders["llama"]
    assert load_subject(folder).hook_names == ("blocks.0.hook_resid_post", HOOK)
    assert load_subject(
        folder, sae=f"{folder}/saes/blocks.{{layer}}.hook_resid_post"
    ).hook_names == ("blocks.0.hook_resid_post", HOOK)
    assert load_subject(folder, sae=folder / f"saes/{HOOK}").hook_names == (HOOK,)
    assert load_subject(folder, sae=make_sae(HOOK)).hook_names == (HOOK,)
    assert load_subject(folder, sae={"blocks.2.hook_resid_pre": make_sae("")}).hook_names == (
        "blocks.2.hook_resid_pre",
    )
    assert load_subject(
        folder, sae={"blocks.2.hook_resid_pre": folder / f"saes/{HOOK}"}
    ).hook_names == ("blocks.2.hook_resid_pre",)


def test_only_the_hook_points_asked_for(folders):
    folder = folders["llama"]
    assert load_subject(folder, hooks=[HOOK]).hook_names == (HOOK,)
    assert load_subject(
        folder, sae=f"{folder}/saes/blocks.{{layer}}.hook_resid_post", hooks=[HOOK]
    ).hook_names == (HOOK,)
    assert load_subject(
        folder, sae={HOOK: make_sae(""), "nowhere": "not looked at"}, hooks=[HOOK]
    ).hook_names == (HOOK,)
    with pytest.raises(
        ValueError,
        match=r"no SAE for hooks=\['blocks.2.hook_resid_post'\]; found SAEs at "
        "blocks.0.hook_resid_post, blocks.1.hook_resid_post",
    ):
        load_subject(folder, hooks=["blocks.2.hook_resid_post"])


def test_two_saes_at_one_hook_point(folders, tmp_path):
    for name in ("a", "b"):
        make_sae(HOOK).save_model(tmp_path / "saes" / name)
    with pytest.raises(ValueError, match=f"b is a second SAE at '{HOOK}': name the one to load"):
        load_subject(folders["llama"], sae=tmp_path / "saes/*")


def test_forward_of_a_loaded_sae_is_decode_of_encode(subject):
    acts = torch.randn(5, D_MODEL, generator=torch.Generator().manual_seed(0))
    sae = subject.sae_at(HOOK)
    torch.testing.assert_close(sae(acts), sae.decode(sae.encode(acts)))
    assert not any(p.requires_grad for p in subject.model.parameters()) and not any(
        p.requires_grad for p in sae.parameters()
    )


def test_half_precision_weights_are_computed_with_in_float32(folders, tmp_path):
    folder = tmp_path / "half"
    shutil.copytree(folders["llama"], folder)
    make_model("llama").half().save_pretrained(folder)
    assert {p.dtype for p in load_subject(folder).model.original_model.parameters()} == {
        torch.float32
    }


def test_fingerprints_change_with_the_weights(folders, subject):
    other = load_subject(folders["llama"])
    assert other.fingerprint == subject.fingerprint and other.sae_fingerprint(
        HOOK
    ) == subject.sae_fingerprint(HOOK)
    other.saes[HOOK].W_dec.data[0, 0] += 1
    next(other.model.original_model.parameters()).data.flatten()[0] += 1
    fresh = type(other)(**{name: getattr(other, name) for name in other.__dataclass_fields__})
    assert fresh.fingerprint != subject.fingerprint and fresh.sae_fingerprint(
        HOOK
    ) != subject.sae_fingerprint(HOOK)


def test_fingerprint_tells_configurations_apart(subject):
    def top(k):
        sae = TopKSAE(TopKSAEConfig(d_in=D_MODEL, d_sae=8, k=k))
        sae.load_state_dict(
            {name: torch.ones_like(value) for name, value in sae.state_dict().items()}
        )
        return replace(subject, saes={HOOK: sae})

    assert (
        top(2).sae_fingerprint(HOOK) == top(2).sae_fingerprint(HOOK) != top(4).sae_fingerprint(HOOK)
    )


def training_sae(kind: str, **settings) -> TrainingSAE:
    sae = TrainingSAE.from_dict(
        {"architecture": kind, "d_in": D_MODEL, "d_sae": 32, "l0_coefficient": 1.0, **settings}
    )
    sae.cfg.metadata.hook_name = HOOK
    return sae


@pytest.mark.parametrize(
    "kind", sorted(set(SAE_TRAINING_CLASS_REGISTRY) - {"batchtopk", "matryoshka_batchtopk"})
)
def test_an_sae_in_training_is_loaded_as_what_would_be_saved(folders, tmp_path, kind):
    settings = {
        "topk": {"k": 4, "use_sparse_activations": True},
        "abstopk": {"k": 4},
        "matching_pursuit": {"decoder_init_norm": 1.0},
    }
    sae = training_sae(kind, **settings.get(kind, {}))
    sae.save_inference_model(tmp_path / "sae")
    given, saved = (
        load_subject(folders["llama"], sae=sae),
        load_subject(folders["llama"], sae=tmp_path / "sae"),
    )
    assert not isinstance(given.sae_at(HOOK), TrainingSAE) and given.sae_fingerprint(
        HOOK
    ) == saved.sae_fingerprint(HOOK)


def test_a_batch_topk_in_training_is_left_as_it_is(folders):
    sae = BatchTopKTrainingSAE(BatchTopKTrainingSAEConfig(d_in=D_MODEL, d_sae=8, k=2))
    assert load_subject(folders["llama"], sae={HOOK: sae}).sae_at(HOOK) is sae and not any(
        p.requires_grad for p in sae.parameters()
    )


def test_what_has_no_latents_of_one_activation_is_refused(folders):
    for kind, reason in (("transcoder", "writes elsewhere"), ("temporal", "looks back")):
        shape = {
            "d_in": D_MODEL,
            "d_sae": 32,
            "d_out": D_MODEL,
            "n_heads": 2,
            "bottleneck_factor": 1,
            "apply_b_dec_to_input": False,
        }
        odd = SAE.from_dict({"architecture": kind, **shape})
        with pytest.raises(ValueError, match=f"a {kind} is no SAE of one activation: it {reason}"):
            load_subject(folders["llama"], sae={HOOK: odd})


def test_centred_writing_weights_as_the_sae_says_or_as_asked(folders):
    def subject(family="gpt2", centred=True, **settings):
        sae = identity_sae(HOOK)
        sae.cfg.metadata.model_from_pretrained_kwargs = {"center_writing_weights": centred}
        return load_subject(folders[family], sae=sae, **settings)

    plain = subject(centred=False)
    for made, done in (
        (subject(), True),
        (subject(centred=False, center_writing_weights=True), True),
        (plain, False),
    ):
        acts = native_acts(made.model, TOKENS, HOOK)
        assert (
            made.processing == (CENTERED if done else UNPROCESSED)
            and bool(acts.mean(dim=-1).abs().max() < 1e-6) == done
        )
        torch.testing.assert_close(
            made.model(TOKENS).log_softmax(-1),
            plain.model(TOKENS).log_softmax(-1),
            atol=2e-5,
            rtol=1e-4,
        )
        suffix = made.model.original_model.get_output_embeddings()(
            final_residual(made.model, TOKENS, HOOK, acts)
        )
        torch.testing.assert_close(suffix, made.model(TOKENS), atol=2e-5, rtol=1e-4)
    assert subject().fingerprint != plain.fingerprint
    assert subject("llama").processing == UNPROCESSED, "RMSNorm does not take the mean out"
    with pytest.raises(ValueError, match="has no LayerNorm to take the mean out"):
        subject("llama", center_writing_weights=True)
    one, other = identity_sae(HOOK), identity_sae("blocks.0.hook_resid_post")
    one.cfg.metadata.model_from_pretrained_kwargs = {"center_writing_weights": True}
    with pytest.raises(
        ValueError,
        match="some of the SAEs were trained with centred writing weights, others without",
    ):
        load_subject(folders["gpt2"], sae={HOOK: one, "blocks.0.hook_resid_post": other})


def test_weights_that_are_not_finite_are_named(folders, tmp_path):
    folder, model = tmp_path / "nan", make_model("llama")
    shutil.copytree(folders["llama"], folder)
    model.model.layers[1].mlp.up_proj.weight.data[3, 4] = float("nan")
    model.save_pretrained(folder)
    with pytest.raises(
        ValueError, match=r"the weights of 'nan' are not finite: model.layers.1.mlp.up_proj.weight"
    ):
        load_subject(folder)
    sae = make_sae(HOOK)
    sae.b_dec.data[0] = float("inf")
    with pytest.raises(ValueError, match=f"the weights of 'SAE at {HOOK}' are not finite: b_dec"):
        load_subject(folders["llama"], sae=sae)


def test_too_little_memory_is_said_before_loading(folders, monkeypatch):
    monkeypatch.setattr(checks.psutil, "virtual_memory", lambda: SimpleNamespace(available=30_000))
    monkeypatch.setattr(
        loading.TransformerBridge,
        "boot_transformers",
        lambda *args, **kwargs: pytest.fail("loaded all the same"),
    )
    with pytest.raises(
        MemoryError,
        match="'llama' in float32 needs 0.0 GB, 0.0 for the model and 0.0 for 2 SAEs, and cpu has "
        "0.0 GB free",
    ):
        load_subject(folders["llama"])
    monkeypatch.setattr(checks.psutil, "virtual_memory", lambda: SimpleNamespace(available=24e9))
    config = AutoConfig.for_model(
        "llama",
        vocab_size=128_256,
        hidden_size=4096,
        intermediate_size=14_336,
        num_hidden_layers=32,
    )
    config.num_key_value_heads = 8
    wide = [
        2 * 4096 * 131_072
    ] * 31  # what Llama-3-8B and its SAEs take: 8.03e9 numbers and 31 times 1.07e9
    with pytest.raises(
        MemoryError,
        match="in bfloat16 needs 82.6 GB, 16.1 for the model and 66.6 for 31 SAEs, and cpu has "
        "24.0 GB free",
    ):
        checks.check_memory("llama-3-8b", config, wide, "cpu", torch.bfloat16)
    checks.check_memory("llama-3-8b", config, wide[:1], "cpu", torch.bfloat16)


@pytest.mark.parametrize("missing", ["cfg.json", "sae_weights.safetensors"])
def test_sae_folder_without_an_expected_file(folders, tmp_path, missing):
    make_sae(HOOK).save_model(tmp_path / "sae")
    (tmp_path / "sae" / missing).unlink()
    with pytest.raises(FileNotFoundError, match=missing):
        load_subject(folders["llama"], sae=tmp_path / "sae")


def test_sae_that_does_not_fit_the_model(folders):
    with pytest.raises(ValueError, match="d_in=8 but the model's residual stream has 16"):
        load_subject(folders["llama"], sae=make_sae(HOOK, d_in=8))
    with pytest.raises(ValueError, match="no hook point 'blocks.7.hook_resid_post'"):
        load_subject(folders["llama"], sae=make_sae("blocks.7.hook_resid_post"))
    with pytest.raises(ValueError, match="does not say its hook point"):
        load_subject(folders["llama"], sae=make_sae(""))
    with pytest.raises(
        FileNotFoundError, match="no SAE matches 'nowhere/{layer}': give a folder, 'release'"
    ):
        load_subject(folders["llama"], sae="nowhere/{layer}")


def test_folders_of_saes_are_in_the_order_of_the_layers(tmp_path):
    for layer in (10, 2, 0):
        (tmp_path / f"blocks.{layer}.hook_resid_post").mkdir()
    found = [place.name for _, place in places(tmp_path / "*", 12, None)]
    assert found == [f"blocks.{layer}.hook_resid_post" for layer in (0, 2, 10)]


@pytest.mark.parametrize("name", ["pythia", "gpt2", "llama-7b"])
def test_a_folder_named_as_another_model_is_the_folder(folders, tmp_path, monkeypatch, name):
    shutil.copytree(folders["gpt2"], tmp_path / name)
    monkeypatch.chdir(tmp_path)
    by_name = load_subject(name)
    assert by_name.fingerprint == load_subject(folders["gpt2"]).fingerprint
    assert by_name.source == "local folder"

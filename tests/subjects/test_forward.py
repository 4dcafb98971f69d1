"""The suffix run is the whole run, on seven architectures, and leaves no trace."""

from pathlib import Path

import pytest
import torch
from conftest import D_MODEL, N_CTX, N_LAYERS, make_model, make_sae, make_tokenizer
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    FalconConfig,
    GPTJConfig,
    GPTNeoConfig,
    PretrainedConfig,
)

from saecert import load_subject
from saecert.subjects import forward
from saecert.subjects.forward import (
    clean_run,
    final_residual,
    hook_layer,
    logits_of,
    n_skippable,
    native_acts,
    native_acts_at,
)

HOOK = "blocks.1.hook_resid_post"
SHAPE = {"vocab_size": 320, "bos_token_id": 0, "eos_token_id": 0, "initializer_range": 0.3}
GPTJ = {"n_embd": D_MODEL, "n_layer": N_LAYERS, "n_head": 2, "n_positions": 32, "rotary_dim": 4}
NEO = {"attention_types": [[["global", "local", "global"], 1]], "num_layers": N_LAYERS}
DEEP = {"hidden_size": D_MODEL, "num_hidden_layers": N_LAYERS, "num_attention_heads": 2}
IN_TUPLES: dict[str, PretrainedConfig] = {
    "gptj": GPTJConfig(**GPTJ, **SHAPE, tie_word_embeddings=False),
    "falcon": FalconConfig(**DEEP, **SHAPE, alibi=False),
    "bloom": BloomConfig(hidden_size=D_MODEL, n_layer=N_LAYERS, n_head=2, **SHAPE),
    "gptneo": GPTNeoConfig(hidden_size=D_MODEL, num_heads=2, window_size=8, **NEO, **SHAPE),
}
"""Families whose blocks return a tuple, of which their models take the first."""


def in_tuples(family: str) -> torch.nn.Module:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(IN_TUPLES[family]).eval()


def save(family: str, folder: Path) -> Path:
    in_tuples(family).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=["llama", "gpt2", "gemma", *IN_TUPLES])
def pair(request, folders, tmp_path_factory):
    family = request.param
    if family not in IN_TUPLES:
        return load_subject(folders[family]), make_model(family)
    folder = save(family, tmp_path_factory.mktemp(family))
    return load_subject(folder, sae=make_sae(HOOK)), in_tuples(family)


@pytest.fixture(scope="module")
def tokens():
    return torch.randint(2, 300, (3, N_CTX), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "hook_name",
    [
        "blocks.0.hook_resid_pre",
        "blocks.1.hook_resid_post",
        "blocks.2.hook_resid_post",
        "blocks.1.hook_mlp_out",
        "blocks.1.attn.hook_z",
    ],
)
def test_native_activation_put_back_gives_the_logits_of_hugging_face(pair, tokens, hook_name):
    subject, reference = pair
    acts = native_acts(subject.model, tokens, hook_name)
    logits = logits_of(
        subject.model, final_residual(subject.model, tokens, hook_name, acts).flatten(0, 1)
    )
    torch.testing.assert_close(logits, reference(tokens).logits.flatten(0, 1), atol=2e-5, rtol=1e-4)


def test_suffix_run_equals_a_full_hooked_forward(pair, tokens):
    subject, _ = pair
    hook_name = "blocks.1.hook_resid_post"
    spliced = native_acts(subject.model, tokens, hook_name) + 0.5
    suffix = logits_of(
        subject.model, final_residual(subject.model, tokens, hook_name, spliced).flatten(0, 1)
    )
    full = subject.model.run_with_hooks(tokens, fwd_hooks=[(hook_name, lambda acts, hook: spliced)])
    torch.testing.assert_close(suffix, full.flatten(0, 1), atol=2e-5, rtol=1e-4)


def test_vectors_of_heads_are_one_vector(pair, tokens):
    subject, _ = pair
    seen = []
    output = subject.model.blocks[1].attn.o._original_component
    handle = output.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    before = subject.model(tokens)
    handle.remove()
    acts = native_acts(subject.model, tokens, "blocks.1.attn.hook_z")
    torch.testing.assert_close(acts, seen[0].view_as(acts))
    residual = final_residual(subject.model, tokens, "blocks.1.attn.hook_z", 2 * acts)
    handle = output.register_forward_pre_hook(lambda module, args: (2 * args[0],))
    doubled = subject.model(tokens)
    handle.remove()
    assert (doubled - before).abs().max() > 0.01
    torch.testing.assert_close(
        logits_of(subject.model, residual.flatten(0, 1)),
        doubled.flatten(0, 1),
        atol=2e-5,
        rtol=1e-4,
    )


def test_one_clean_run_gives_the_activations_at_all_hook_points_and_the_end(pair, tokens):
    subject, reference = pair
    names = [
        "blocks.0.hook_resid_pre",
        "blocks.1.hook_mlp_out",
        "blocks.1.hook_resid_post",
        "blocks.2.hook_resid_post",
    ]
    acts, residual = clean_run(subject.model, tokens, names)
    torch.testing.assert_close(
        logits_of(subject.model, residual.flatten(0, 1)),
        reference(tokens).logits.flatten(0, 1),
        atol=2e-5,
        rtol=1e-4,
    )
    for name, found in native_acts_at(subject.model, tokens, names).items():
        assert torch.equal(found, acts[name]) and torch.equal(
            found, native_acts(subject.model, tokens, name)
        )


def test_soft_cap_on_the_logits(pair, monkeypatch):
    model, rows = pair[0].model, torch.randn(5, 16, generator=torch.Generator().manual_seed(0))
    expected = 2 * torch.tanh(logits_of(model, rows) / 2)
    assert (expected - logits_of(model, rows)).abs().max() > 0.1
    monkeypatch.setattr(model.original_model.config, "final_logit_softcapping", 2.0, raising=False)
    room = torch.empty_like(expected)
    assert logits_of(model, rows, out=room) is room
    for logits in (room, logits_of(model, rows.requires_grad_())):
        torch.testing.assert_close(logits, expected)
    logits.sum().backward()
    slopes = (1 - (expected / 2).square()) @ model.original_model.get_output_embeddings().weight
    torch.testing.assert_close(rows.grad, slopes, rtol=1e-4, atol=1e-5)


def test_a_hook_that_would_not_run_is_refused(pair, tokens):
    with pytest.raises(ValueError, match="hook_mlp_in"):
        final_residual(pair[0].model, tokens, "blocks.1.hook_mlp_in", torch.zeros(3, N_CTX, 16))


def test_gradients_flow_through_the_suffix(pair, tokens):
    subject, _ = pair
    hook_name = "blocks.1.hook_resid_post"
    acts = native_acts(subject.model, tokens, hook_name)
    half = [acts.clone().requires_grad_() for _ in range(2)]
    logits_of(
        subject.model, final_residual(subject.model, tokens, hook_name, half[0]).flatten(0, 1)
    ).square().mean().backward()
    subject.model.run_with_hooks(
        tokens, fwd_hooks=[(hook_name, lambda _, hook: half[1])]
    ).square().mean().backward()
    assert half[0].grad.abs().max() > 0
    torch.testing.assert_close(half[0].grad, half[1].grad, rtol=1e-3, atol=1e-6)


def test_blocks_and_hooks_are_restored_after_an_exception(pair, tokens):
    subject, _ = pair
    before = subject.model(tokens)
    with pytest.raises(RuntimeError):
        final_residual(subject.model, tokens, "blocks.1.hook_resid_post", torch.zeros(3, N_CTX, 5))
    assert all(
        "forward" not in subject.model.blocks[i]._original_component.__dict__
        for i in range(subject.n_layers)
    )
    torch.testing.assert_close(subject.model(tokens), before)


def test_what_a_model_makes_of_a_skipped_block_is_tried_at_loading(tmp_path, monkeypatch):
    monkeypatch.setattr(
        forward, "_pass_on", lambda n_returned, hidden_states, *_, **__: hidden_states
    )
    for family in ("gptj", "gptneo"):
        folder = save(family, tmp_path / family)
        with pytest.raises(ValueError, match=f"activation of '{family}' at '{HOOK}'") as caught:
            load_subject(folder, sae=make_sae(HOOK))
        assert len(str(caught.value).splitlines()) == 1


def test_only_the_residual_stream_lets_blocks_be_skipped():
    assert [
        n_skippable(f"blocks.2.{name}")
        for name in ("hook_resid_pre", "hook_resid_post", "hook_mlp_out", "attn.hook_z")
    ] == [2, 3, 0, 0]
    assert hook_layer("blocks.11.hook_resid_pre") == 11
    with pytest.raises(ValueError, match="expected blocks"):
        hook_layer("hook_embed")

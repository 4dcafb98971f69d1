"""SAEs of sparsify: what the loader makes of a folder computes what sparsify's published forward
pass does."""

import json

import pytest
import torch
from conftest import D_MODEL
from safetensors.torch import save_file

from saecert import load_subject
from saecert.subjects.forward import native_acts
from saecert.subjects.sparsify import hook_name, load_sparsify

D_SAE, K = 4 * D_MODEL, 5


def weights(d_sae: int = D_SAE) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = {
        "encoder.weight": (d_sae, D_MODEL),
        "encoder.bias": (d_sae,),
        "W_dec": (d_sae, D_MODEL),
        "b_dec": (D_MODEL,),
    }
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def save(folder, state=None, **settings):
    """A folder as sparsify's `save_to_disk` writes it."""
    folder.mkdir(parents=True)
    save_file(weights() if state is None else state, folder / "sae.safetensors")
    cfg = {
        "activation": "topk",
        "expansion_factor": 4,
        "normalize_decoder": True,
        "num_latents": 0,
        "k": K,
        "multi_topk": False,
    }
    cfg |= {"skip_connection": False, "transcode": False, "d_in": D_MODEL}
    (folder / "cfg.json").write_text(
        json.dumps({name: value for name, value in (cfg | settings).items() if value is not None})
    )
    return folder


def published_forward(state, k, x):
    """The forward pass of sparsify, one activation at a time and a sum over the chosen latents."""
    out = []
    for one in x:
        pre = torch.nn.functional.relu(
            torch.nn.functional.linear(
                one - state["b_dec"], state["encoder.weight"], state["encoder.bias"]
            )
        )
        top_acts, top_indices = pre.topk(k)
        out.append(
            sum(
                act * state["W_dec"][index]
                for act, index in zip(top_acts, top_indices, strict=True)
            )
            + state["b_dec"]
        )
    return torch.stack(out)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"num_latents": D_SAE, "expansion_factor": 32},
        {"num_latents": None, "activation": None},
        {"multi_topk": True},
    ],
    ids=[
        "num_latents 0",
        "num_latents given",
        "num_latents missing, as in 2024",
        "multi_topk is a loss",
    ],
)
def test_the_published_forward(tmp_path, settings):
    sae = load_sparsify(save(tmp_path / "layers.1", **settings))
    x = 2 * torch.randn(7, D_MODEL, generator=torch.Generator().manual_seed(1)) + weights()["b_dec"]
    torch.testing.assert_close(sae(x), published_forward(weights(), K, x), atol=1e-5, rtol=1e-5)
    assert ((sae.encode(x) != 0).sum(-1) == K).all() and sae.cfg.d_sae == D_SAE


def test_fewer_than_k_latents_are_active_where_fewer_are_positive(tmp_path):
    state = weights() | {"encoder.bias": torch.full((D_SAE,), -8.0)}
    sae, x = (
        load_sparsify(save(tmp_path / "layers.1", state)),
        torch.randn(7, D_MODEL, generator=torch.Generator().manual_seed(1)),
    )
    torch.testing.assert_close(sae(x), published_forward(state, K, x), atol=1e-5, rtol=1e-5)
    assert ((sae.encode(x) != 0).sum(-1) < K).any()


def test_half_precision_is_converted(tmp_path):
    folder = save(
        tmp_path / "layers.1", {name: tensor.bfloat16() for name, tensor in weights().items()}
    )
    assert {tensor.dtype for tensor in load_sparsify(folder).state_dict().values()} == {
        torch.float32
    }
    assert {
        tensor.dtype for tensor in load_sparsify(folder, dtype=torch.bfloat16).state_dict().values()
    } == {torch.bfloat16}


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"transcode": True}, "transcode"),
        ({"skip_connection": True}, "skip_connection"),
        ({"signed": True}, "signed"),
        ({"activation": "groupmax"}, "activation=groupmax"),
    ],
)
def test_what_is_no_topk_sae_is_refused(tmp_path, settings, named):
    with pytest.raises(ValueError, match=f"not a plain TopK SAE of sparsify: {named}"):
        load_sparsify(save(tmp_path / "layers.1", **settings))


def test_other_tensors_and_shapes_are_refused(tmp_path):
    with pytest.raises(ValueError, match="not a plain TopK SAE of sparsify: W_skip"):
        load_sparsify(save(tmp_path / "skip", weights() | {"W_skip": torch.eye(D_MODEL)}))
    with pytest.raises(
        ValueError, match=r"holds a decoder of shape \(64, 16\), cfg.json says \(512, 16\)"
    ):
        load_sparsify(save(tmp_path / "wide", expansion_factor=32))


@pytest.mark.parametrize(
    ("folder", "hook"),
    [
        ("layers.5", "blocks.5.hook_resid_post"),
        ("layer_5", "blocks.5.hook_resid_post"),
        ("model.layers.12", "blocks.12.hook_resid_post"),
        ("transformer.h.3", "blocks.3.hook_resid_post"),
        ("layers.5.mlp", "blocks.5.hook_mlp_out"),
        ("layers.0.attention", "blocks.0.hook_attn_out"),
        ("embed_tokens", None),
        ("layers.5.mlp.act", None),
    ],
)
def test_the_folder_says_the_hook_point(folder, hook):
    assert hook_name(folder) == hook


@pytest.mark.parametrize(
    ("family", "module"),
    [("llama", "layers.1"), ("llama", "layers.1.mlp"), ("gpt2", "h.1"), ("gpt2", "h.1.attn")],
)
def test_it_is_the_output_of_the_module_that_the_folder_is_named_after(
    folders, tmp_path, family, module
):
    subject = load_subject(folders[family], sae=save(tmp_path / module))
    tokens, seen = torch.randint(2, 300, (2, 12), generator=torch.Generator().manual_seed(0)), []
    path = module.replace(".mlp", "._original_component.mlp").replace(
        ".attn", "._original_component.attn"
    )
    handle = subject.model.original_model.base_model.get_submodule(path).register_forward_hook(
        lambda m, i, out: seen.append(out)
    )
    subject.model(tokens)
    handle.remove()
    output = seen[0][0] if isinstance(seen[0], tuple) else seen[0]
    torch.testing.assert_close(native_acts(subject.model, tokens, subject.hook_names[0]), output)


def test_every_layer_that_exists(folders, tmp_path):
    for layer in (0, 2):
        save(tmp_path / f"layers.{layer}")
    subject = load_subject(folders["llama"], sae=tmp_path / "layers.{layer}")
    assert subject.hook_names == ("blocks.0.hook_resid_post", "blocks.2.hook_resid_post")
    assert subject.sae_at("blocks.2.hook_resid_post").cfg.architecture() == "topk"

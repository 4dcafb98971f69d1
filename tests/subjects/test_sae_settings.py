"""Settings of models and SAEs that cannot be meant: file and field are named in a line."""

import json
import shutil

import pytest
from conftest import D_MODEL, make_sae
from sae_lens import TopKSAE, TopKSAEConfig
from safetensors.torch import save_file

from saecert import load_subject

HOOK = "blocks.1.hook_resid_post"


def topk() -> TopKSAE:
    sae = TopKSAE(TopKSAEConfig(d_in=D_MODEL, d_sae=128, k=4))
    sae.cfg.metadata.hook_name = HOOK
    return sae


def changed(path, **settings):
    """A JSON file with other settings; None takes one away."""
    kept = json.loads(path.read_text()) | settings
    path.write_text(json.dumps({key: value for key, value in kept.items() if value is not None}))


def refusal(*args, **settings) -> str:
    with pytest.raises(ValueError, match=".") as caught:
        load_subject(*args, **settings)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


@pytest.mark.parametrize("k", [3.5, 4.0, -1, 0, True, "4"])
def test_k_is_a_number_of_latents(folders, tmp_path, k):
    topk().save_model(tmp_path)
    changed(tmp_path / "cfg.json", k=k)
    message = refusal(folders["llama"], sae=tmp_path)
    assert f"{tmp_path / 'cfg.json'}: k, the number of active latents" in message
    assert f"at least 1, not {k!r}" in message


def test_k_of_an_sae_given(folders):
    sae = topk()
    sae.cfg.k = 3.5
    assert refusal(folders["llama"], sae=sae).startswith("the SAE given: k,")


@pytest.mark.parametrize("more", [{}, {"architecture": "standard", "activation_fn_str": "topk"}])
def test_k_is_not_guessed(folders, tmp_path, more):
    topk().save_model(tmp_path)
    changed(tmp_path / "cfg.json", k=None, **more)
    message = refusal(folders["llama"], sae=tmp_path)
    assert message.startswith(f"{tmp_path / 'cfg.json'} does not say k, the number of active")


def test_k_as_older_versions_of_sae_lens_wrote_it(folders, tmp_path):
    topk().save_model(tmp_path)
    path = tmp_path / "cfg.json"
    old = {"hook_name": HOOK, "activation_fn_str": "topk", "activation_fn_kwargs": {"k": 5}}
    changed(path, k=None, metadata=None, architecture="standard", **old)
    assert load_subject(folders["llama"], sae=tmp_path).sae_at(HOOK).cfg.k == 5


def test_k_of_sparsify_is_not_guessed(folders, tmp_path):
    folder = tmp_path / "layers.1"
    folder.mkdir()
    sae = topk()
    state = {
        "encoder.weight": sae.W_enc.data.T.contiguous(),
        "encoder.bias": sae.b_enc.data,
        "W_dec": sae.W_dec.data,
        "b_dec": sae.b_dec.data,
    }
    save_file(state, folder / "sae.safetensors")
    (folder / "cfg.json").write_text(json.dumps({"d_in": D_MODEL, "num_latents": 128}))
    assert "does not say k" in refusal(folders["llama"], sae=folder)
    changed(folder / "cfg.json", k=4)
    assert load_subject(folders["llama"], sae=folder).sae_at(HOOK).cfg.k == 4


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("normalize_activations", "bogus", "normalize_activations must be none"),
        ("reshape_activations", "hook_z", f"hook_name is '{HOOK}': correct the one"),
    ],
)
def test_the_file_of_a_wrong_setting_is_named(folders, tmp_path, field, value, named):
    make_sae(HOOK).save_model(tmp_path)
    changed(tmp_path / "cfg.json", **{field: value})
    message = refusal(folders["llama"], sae=tmp_path)
    assert message.startswith(f"{tmp_path / 'cfg.json'}: ")
    assert named in message and value in message


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("hidden_act", "silly", "(hidden_act is 'silly'): correct it"),
        ("num_attention_heads", 3, "attention heads"),
    ],
)
def test_a_wrong_setting_of_a_model_is_named(folders, tmp_path, field, value, named):
    folder = tmp_path / "model"
    shutil.copytree(folders["llama"], folder)
    changed(folder / "config.json", head_dim=None, **{field: value})
    message = refusal(folder)
    assert "config.json" in message and "model" in message
    assert named in message and "correct it" in message


def test_double_precision_is_refused_at_loading(folders):
    message = refusal(folders["llama"], dtype="float64")
    assert message.startswith("dtype='float64' is no number type that models are measured in")

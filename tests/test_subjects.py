"""Loading: the same path for every folder, and errors that say what to do."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from conftest import D_MODEL, make_model, make_sae, make_tokenizer
from sae_lens import BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig, TopKSAE, TopKSAEConfig

from saecert import load_subject

HOOK = "blocks.1.hook_resid_post"


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma"])
def test_logits_equal_hugging_face(folders, family):
    tokens = torch.randint(2, 300, (2, 12), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(load_subject(folders[family]).model(tokens), make_model(family)(tokens).logits, atol=2e-5, rtol=1e-4)


def test_saes_come_from_folders_templates_objects_and_mappings(folders, tmp_path):
    folder = folders["llama"]
    assert load_subject(folder).hook_names == ("blocks.0.hook_resid_post", HOOK)
    assert load_subject(folder, sae=f"{folder}/saes/blocks.{{layer}}.hook_resid_post").hook_names == ("blocks.0.hook_resid_post", HOOK)
    assert load_subject(folder, sae=folder / f"saes/{HOOK}").hook_names == (HOOK,)
    assert load_subject(folder, sae=make_sae(HOOK)).hook_names == (HOOK,)
    assert load_subject(folder, sae={"blocks.2.hook_resid_pre": make_sae("")}).hook_names == ("blocks.2.hook_resid_pre",)


def test_forward_of_a_loaded_sae_is_decode_of_encode(subject):
    acts = torch.randn(5, D_MODEL, generator=torch.Generator().manual_seed(0))
    sae = subject.sae_at(HOOK)
    torch.testing.assert_close(sae(acts), sae.decode(sae.encode(acts)))
    assert not any(p.requires_grad for p in subject.model.parameters()) and not any(p.requires_grad for p in sae.parameters())


def test_half_precision_weights_are_computed_with_in_float32(folders, tmp_path):
    folder = tmp_path / "half"
    shutil.copytree(folders["llama"], folder)
    make_model("llama").half().save_pretrained(folder)
    assert {p.dtype for p in load_subject(folder).model.original_model.parameters()} == {torch.float32}


def test_fingerprints_change_with_the_weights(folders, subject):
    other = load_subject(folders["llama"])
    assert other.fingerprint == subject.fingerprint and other.sae_fingerprint(HOOK) == subject.sae_fingerprint(HOOK)
    other.saes[HOOK].W_dec.data[0, 0] += 1
    next(other.model.original_model.parameters()).data.flatten()[0] += 1
    fresh = type(other)(**{name: getattr(other, name) for name in other.__dataclass_fields__})
    assert fresh.fingerprint != subject.fingerprint and fresh.sae_fingerprint(HOOK) != subject.sae_fingerprint(HOOK)


def test_fingerprint_tells_configurations_apart(subject):
    def top(k):
        sae = TopKSAE(TopKSAEConfig(d_in=D_MODEL, d_sae=8, k=k))
        sae.load_state_dict({name: torch.ones_like(value) for name, value in sae.state_dict().items()})
        return replace(subject, saes={HOOK: sae})

    assert top(2).sae_fingerprint(HOOK) == top(2).sae_fingerprint(HOOK) != top(4).sae_fingerprint(HOOK)


def test_training_saes_are_refused(folders):
    sae = BatchTopKTrainingSAE(BatchTopKTrainingSAEConfig(d_in=D_MODEL, d_sae=8, k=2))
    with pytest.raises(ValueError, match="made for training: save it with save_inference_model"):
        load_subject(folders["llama"], sae={HOOK: sae})


def test_unknown_subject_lists_what_ships():
    with pytest.raises(ValueError, match="unknown subject 'gpt-9'.*docstring-6l"):
        load_subject("gpt-9")


@pytest.mark.parametrize("missing", ["config.json", "tokenizer_config.json", "*.safetensors"])
def test_folder_without_an_expected_file(folders, tmp_path, missing):
    folder = tmp_path / "broken"
    shutil.copytree(folders["llama"], folder)
    for path in folder.glob(missing):
        path.unlink()
    with pytest.raises(FileNotFoundError, match=missing.replace("*", r"\*")):
        load_subject(folder)


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
    with pytest.raises(FileNotFoundError, match="no folder matches"):
        load_subject(folders["llama"], sae="nowhere/{layer}")


def test_tokenizer_larger_than_the_vocabulary(folders, tmp_path):
    folder = tmp_path / "large"
    shutil.copytree(folders["llama"], folder)
    tokenizer = make_tokenizer()
    tokenizer.add_tokens([f"<extra{i}>" for i in range(50)])
    tokenizer.save_pretrained(folder)
    with pytest.raises(ValueError, match="has 350 tokens but the model's vocabulary only 320"):
        load_subject(folder)


def test_a_subject_without_bos_must_say_so(folders, tmp_path):
    folder = tmp_path / "nobos"
    shutil.copytree(folders["llama"], folder)
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "bos_token"}))
    assert load_subject(folder).bos is False
    with pytest.raises(ValueError, match="load the subject with bos=False"):
        load_subject(folder, bos=True)

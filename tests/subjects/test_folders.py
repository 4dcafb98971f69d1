"""Model folders that are not what they say: refused, in a line that names what is wrong."""

import json
import shutil

import pytest
import torch
from conftest import make_model, make_sae, make_texts, make_tokenizer
from sae_lens import TopKSAE, TopKSAEConfig
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from saecert import load_subject
from saecert.subjects.folders import read_tokenizer
from saecert.subjects.listing import SHIPPED

HOOK = "blocks.1.hook_resid_post"
UP = "model.layers.1.mlp.up_proj.weight"


@pytest.fixture
def folder(folders, tmp_path):
    """A copy of the tiny Llama's folder, to be damaged."""
    copy = tmp_path / "model"
    shutil.copytree(folders["llama"], copy)
    return copy


def change_config(folder, **settings):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def change_weights(folder, without=(), **extra):
    path = folder / "model.safetensors"
    state = {name: tensor for name, tensor in load_file(path).items() if name not in without}
    save_file(state | extra, path, metadata={"format": "pt"})


def refusal(folder, **options):
    """The message with which loading is refused: an error of the usual kinds, in two lines."""
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        load_subject(folder, **options)
    message = str(caught.value)
    assert message.count("\n") <= 1
    return message


def test_missing_tensors_are_named_and_never_made_up(folder):
    change_weights(folder, without=[UP, "model.norm.weight"])
    message = refusal(folder)
    assert f"2 missing: {UP}, model.norm.weight" in message and "3 layers" in message


def test_unexpected_tensors_are_named(folder):
    change_weights(folder, extra=torch.ones(3))
    assert "1 unexpected: extra" in refusal(folder)


def test_a_configuration_of_more_layers_than_the_file_has(folder):
    change_config(folder, num_hidden_layers=6)
    assert "27 missing: model.layers.3." in refusal(folder)


def test_a_configuration_of_fewer_layers_than_the_file_has(folder):
    change_config(folder, num_hidden_layers=2)
    assert "9 unexpected: model.layers.2." in refusal(folder)


def test_a_wrong_vocabulary_size_names_the_tensors(folder):
    change_config(folder, vocab_size=400)
    message = refusal(folder)
    assert "2 of another shape: lm_head.weight ([320, 16] in the file, [400, 16]" in message


@pytest.mark.parametrize("model_type", ["gpt2", "mistral", "qwen2", "gemma"])
def test_another_type_of_model(folder, model_type):
    change_config(folder, model_type=model_type)
    message = refusal(folder)
    assert f"model_type is '{model_type}', and LlamaForCausalLM is of type 'llama'" in message
    change_config(folder, architectures=None)
    assert "does not say for which class its weights were made" in refusal(folder)


def test_buffers_tied_embeddings_and_files_in_parts_are_fine(folder, tmp_path):
    change_weights(folder, **{"model.rotary_emb.inv_freq": torch.ones(4)})
    load_subject(folder)
    change_config(folder, tie_word_embeddings=True)
    change_weights(folder, without=["lm_head.weight"])
    load_subject(folder)
    parts = tmp_path / "parts"
    shutil.copytree(folder, parts, ignore=shutil.ignore_patterns("model.safetensors"))
    make_model("llama").save_pretrained(parts, max_shard_size="20KB")
    load_subject(parts)
    next(iter(sorted(parts.glob("*.safetensors")))).unlink()
    assert "lacks a part of the weights" in refusal(parts)


def test_weights_saved_by_torch(folder):
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin")
    load_subject(folder)
    torch.save({key: state[key] for key in state if key != UP}, folder / "pytorch_model.bin")
    assert f"1 missing: {UP}" in refusal(folder)
    (folder / "pytorch_model.bin").write_bytes(b"damaged")
    assert "cannot be read" in refusal(folder)


@pytest.mark.parametrize("kept", [0, 5, 1000, -10])
def test_damaged_weights(folder, kept):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    assert "model.safetensors is damaged" in refusal(folder)


@pytest.mark.parametrize("content", ["{", "[1]", "{}", '{"model_type": "no such"}'])
def test_damaged_configuration(folder, content):
    (folder / "config.json").write_text(content)
    assert "config.json in" in refusal(folder)


def test_damaged_tokenizer(folder):
    (folder / "tokenizer.json").write_text("{")
    assert "the tokenizer files in" in refusal(folder)


def test_code_in_a_model_folder_never_runs(folder, monkeypatch, tmp_path):
    monkeypatch.setattr("builtins.input", lambda *given: pytest.fail("asked on standard input"))
    ran = tmp_path / "ran"
    (folder / "own.py").write_text(f"open({str(ran)!r}, 'w')\nclass Own: pass\n")
    code = {"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Own"}
    change_config(folder, auto_map=code)
    load_subject(folder)  # transformers knows this type of model: its own class is used
    change_config(folder, model_type="own", architectures=["Own"])
    message = refusal(folder)
    assert "needs Python code of its own (auto_map" in message
    assert "trust_remote_code" not in message and not ran.exists()


def test_code_in_a_tokenizer_never_runs(folder, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *given: pytest.fail("asked on standard input"))
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    own = {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": ["own.Own", "own.Own"]}}
    path.write_text(json.dumps(settings | own))
    message = refusal(folder)
    assert "needs Python code of its own (auto_map" in message
    assert "trust_remote_code" not in message


def test_the_root_of_the_disk_is_no_model():
    assert "has no config.json" in refusal("/")


def test_a_folder_without_saes(folder):
    shutil.rmtree(folder / "saes")
    assert f"no SAEs under {folder / 'saes'}: pass sae=..." in refusal(folder)


def test_an_sae_belongs_where_its_metadata_says(folders, tmp_path):
    make_sae(HOOK).save_model(tmp_path / "sae")
    other = "blocks.0.hook_resid_post"
    message = refusal(folders["llama"], sae={other: tmp_path / "sae"})
    assert f"belongs at '{HOOK}', not at '{other}'" in message
    assert "allow_hook_mismatch=True" in message
    subject = load_subject(
        folders["llama"], sae={other: tmp_path / "sae"}, allow_hook_mismatch=True
    )
    assert subject.hook_mismatches == {other: HOOK}
    same_place = "blocks.2.hook_resid_pre"
    subject = load_subject(folders["llama"], sae={same_place: tmp_path / "sae"})
    assert subject.hook_mismatches == {}


def test_saes_at_one_hook_point_have_names_of_their_own(folders, subject, tmp_path):
    assert subject.sae_names[HOOK] == f"saes/{HOOK}"
    names = set()
    for run in ("first", "second"):
        make_sae(HOOK).save_model(tmp_path / run / "sae")
        names.add(load_subject(folders["llama"], sae=tmp_path / run / "sae").sae_names[HOOK])
    for scale in (1.0, 2.0):
        given = make_sae(HOOK)
        given.W_dec.data *= scale
        names.add(load_subject(folders["llama"], sae=given).sae_names[HOOK])
    assert len(names) == 4
    assert any(name.startswith(".../") and name.endswith("/first/sae") for name in names)
    assert all("sae" in name or name.startswith("jumprelu given, ") for name in names)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("{", "cfg.json is not JSON"),
        ("[]", "cfg.json holds no settings of an SAE but a list"),
        ("{}", "cfg.json and the weights beside it do not make an SAE"),
        ('{"architecture": "jumprelu", "d_in": 16}', "do not make an SAE"),
        ('{"architecture": "jumprelu", "d_in": 16, "d_sae": 63}', "do not fit it: W_dec has"),
    ],
)
def test_an_sae_with_a_damaged_configuration(folders, tmp_path, content, named):
    make_sae(HOOK).save_model(tmp_path)
    (tmp_path / "cfg.json").write_text(content)
    assert named in refusal(folders["llama"], sae={HOOK: tmp_path})
    assert named in refusal(folders["llama"], sae={HOOK: str(tmp_path)})


def test_an_sae_of_more_active_latents_than_it_has(folders, tmp_path):
    sae = TopKSAE(TopKSAEConfig(d_in=16, d_sae=64, k=4))
    sae.cfg.metadata.hook_name = HOOK
    sae.save_model(tmp_path / "own")
    load_subject(folders["llama"], sae=tmp_path / "own")
    path = tmp_path / "own/cfg.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"k": 65}))
    message = refusal(folders["llama"], sae=tmp_path / "own")
    assert "an SAE cannot have 65 active latents of 64: k > d_sae in" in message
    assert str(path) in message


def test_a_device_that_is_not_here_is_said_before_anything_is_loaded(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for device in ("cuda", "cuda:1", torch.device("cuda")):
        assert refusal("no such folder", device=device) == "no CUDA device here: device='cpu'"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert "no device 'cuda:1' here" in refusal("no such folder", device="cuda:1")


def test_an_sae_with_damaged_weights(folders, tmp_path):
    make_sae(HOOK).save_model(tmp_path)
    path = tmp_path / "sae_weights.safetensors"
    path.write_bytes(path.read_bytes()[:-7])
    assert "sae_weights.safetensors is damaged" in refusal(folders["llama"], sae=tmp_path)


def test_a_template_with_another_field(folders):
    message = refusal(folders["llama"], sae="saes/{layer}/{block}")
    assert "sae='saes/{layer}/{block}' cannot be filled in" in message
    assert "only {layer} is known" in message
    assert "only {layer} is filled in" in refusal(folders["llama"], sae="saes/{block}")


def test_hook_points_are_checked_before_anything_is_loaded(folders, monkeypatch):
    monkeypatch.setattr(
        "saecert.subjects.loading.TransformerBridge.boot_transformers",
        lambda *given, **options: pytest.fail("loaded all the same"),
    )
    message = refusal(folders["llama"], hooks=["blocks.2.hook_resid_post"])
    assert f"found SAEs at blocks.0.hook_resid_post, {HOOK}" in message
    message = refusal(folders["llama"], hooks=["blocks.9.hook_resid_post"])
    assert "no hook point 'blocks.9.hook_resid_post': the model has 3 layers" in message
    message = refusal(folders["llama"], sae={HOOK: make_sae(HOOK)}, hooks=["blocks.0.hook_mlp_out"])
    assert "no SAE for hooks=['blocks.0.hook_mlp_out']" in message


def test_a_tokenizer_saved_elsewhere_is_read_alike(folder, subject):
    make_tokenizer().save_pretrained(folder)
    assert load_subject(folder).tokenizer.get_vocab() == subject.tokenizer.get_vocab()


def digits_tokenizer():
    """A byte-level BPE in which digits merge, as Qwen's pre-tokenizer would not let them."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=310,
        special_tokens=["<|bos|>", "<|pad|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator([*make_texts(50), *["20481 20481"] * 500], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, bos_token="<|bos|>", eos_token="<|bos|>", pad_token="<|pad|>"
    )


def save_qwen(folder):
    """A tiny Qwen2 with a tokenizer of its own."""
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1}
    config = Qwen2Config(vocab_size=320, max_position_embeddings=32, **shape, **heads)
    Qwen2ForCausalLM(config).save_pretrained(folder)
    tokenizer = digits_tokenizer()
    tokenizer.save_pretrained(folder)
    return tokenizer


def test_a_tokenizer_is_the_one_in_the_folder_whatever_the_model_is_called(tmp_path):
    own = save_qwen(tmp_path)
    text = "number 20481 and it isn't 20481"
    guessed = AutoTokenizer.from_pretrained(tmp_path)
    assert guessed(text)["input_ids"] != own(text)["input_ids"]
    sae = {HOOK: make_sae(HOOK)}
    subject = load_subject(tmp_path, sae=sae)
    for read in (subject.tokenizer, subject.model.tokenizer):
        assert read.get_vocab() == own.get_vocab()
        assert read(text, add_special_tokens=False)["input_ids"] == own(text)["input_ids"]
    assert subject.tokenizer.special_tokens_map == own.special_tokens_map


def test_a_tokenizer_that_cannot_be_read_as_it_is_stored(tmp_path, monkeypatch):
    save_qwen(tmp_path)
    guessed = AutoTokenizer.from_pretrained(tmp_path)
    monkeypatch.setattr(
        "saecert.subjects.folders.PreTrainedTokenizerFast.from_pretrained",
        lambda *given, **options: guessed,
    )
    message = refusal(tmp_path, sae={HOOK: make_sae(HOOK)})
    assert "tokenizer.json and Qwen2Tokenizer, which transformers makes of it" in message


def test_other_tokenizers_stay_what_transformers_makes_of_them(folders):
    for folder in [*folders.values(), SHIPPED["docstring-6l"]]:
        made = AutoTokenizer.from_pretrained(folder)
        read = read_tokenizer(folder)
        assert type(read) is type(made) and read.get_vocab() == made.get_vocab()
        for text in make_texts(5):
            assert read(text)["input_ids"] == made(text)["input_ids"]


def test_a_token_that_only_the_tokenizers_settings_name(folder):
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"pad_token": "<|own|>"}))
    assert load_subject(folder).tokenizer.pad_token == "<|own|>"


def test_a_tokenizer_without_a_vocabulary(folder):
    (folder / "tokenizer.json").unlink()
    assert "has no tokenizer.json (the tokenizer's vocabulary" in refusal(folder)


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
    path.write_text(
        json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "bos_token"})
    )
    assert load_subject(folder).bos is False
    with pytest.raises(ValueError, match="load the subject with bos=False"):
        load_subject(folder, bos=True)


@pytest.fixture
def misplaced(folders, tmp_path):
    """An SAE that says of itself that it is at a layer which the model does not have."""
    make_sae("blocks.9.hook_resid_post").save_model(tmp_path / "sae")
    return folders["llama"], tmp_path / "sae"


@pytest.mark.parametrize("hooks", [None, [HOOK], ["blocks.9.hook_resid_post"]])
def test_advice_on_an_sae_at_a_layer_that_is_not_there_does_not_go_in_a_circle(misplaced, hooks):
    """Whatever hook point is asked for, what is advised can be done, and then it is loaded."""
    model, sae = misplaced
    message = refusal(model, sae=sae, hooks=hooks)
    assert f"stands as hook_name in '{sae / 'cfg.json'}': name the right one there" in message
    assert "pass hooks=" not in message and "with hooks=" not in message
    assert "{hook point: SAE}, and allow_hook_mismatch=True" in message
    assert load_subject(model, sae={HOOK: sae}, allow_hook_mismatch=True).hook_names == (HOOK,)
    settings = (sae / "cfg.json").read_text(encoding="utf-8")
    (sae / "cfg.json").write_text(settings.replace("blocks.9.hook_resid_post", HOOK))
    assert load_subject(model, sae=sae, hooks=[HOOK]).hook_names == (HOOK,)


def test_another_sae_beside_one_that_is_misplaced_is_offered(folders, tmp_path):
    for layer in (1, 9):
        make_sae(f"blocks.{layer}.hook_resid_post").save_model(tmp_path / str(layer))
    message = refusal(folders["llama"], sae=tmp_path / "*")
    assert f"or load another SAE, with hooks=['{HOOK}']" in message
    assert load_subject(folders["llama"], sae=tmp_path / "*", hooks=[HOOK]).hook_names == (HOOK,)


def test_an_sae_object_that_names_no_hook_point_of_a_block_says_where(folders):
    message = refusal(folders["llama"], sae=make_sae("resid9"))
    assert "'resid9' is not inside a block" in message
    assert "'resid9' stands in cfg.metadata.hook_name of the SAE given" in message

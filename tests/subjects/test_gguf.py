"""A GGUF file is a subject like its converted folder; what cannot be read is refused in a line."""

import json
import shutil
import subprocess
import sys
from types import SimpleNamespace

import gguf
import numpy as np
import pytest
import torch
from checks import ROOT
from conftest import make_sae, make_texts, make_tokenizer
from gguf.quants import dequantize, quantize
from transformers import LlamaConfig, LlamaForCausalLM

from saecert import load_corpus, load_subject
from saecert.certificates.summary import source
from saecert.measurement.circumstances import now
from saecert.measurement.provenance import provenance
from saecert.reporting.requests import can_be_kept, sae_request
from saecert.subjects import checks, listing, loading
from saecert.subjects import gguf as reading
from saecert.subjects.listing import (
    SHIPPED,
    file_hash,
    is_installed,
    package_of,
    packaged_file,
    shipped_files,
    shipped_hooks,
)

HOOK = "blocks.1.hook_resid_post"
WIDTH, N_HEADS = 32, 2
TYPES = gguf.GGMLQuantizationType
NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    **{f"self_attn.{x}_proj": f"attn_{x}" for x in "qkv"},
    "self_attn.o_proj": "attn_output",
    **{f"mlp.{x}_proj": f"ffn_{x}" for x in ("gate", "up", "down")},
}


def gguf_name(name):
    """Name of a tensor of Llama in a GGUF file."""
    stem = name.removesuffix(".weight")
    if not stem.startswith("model.layers."):
        return f"{NAMES[stem]}.weight"
    layer, _, rest = stem.removeprefix("model.layers.").partition(".")
    return f"blk.{layer}.{NAMES[rest]}.weight"


def interleaved(weights):
    """Rows of a query or key projection in the order of a GGUF file."""
    halves = weights.reshape(N_HEADS, 2, len(weights) // N_HEADS // 2, -1)
    return halves.swapaxes(1, 2).reshape(weights.shape)


def ordered(weights):
    """What `interleaved` undoes."""
    pairs = weights.reshape(N_HEADS, len(weights) // N_HEADS // 2, 2, -1)
    return pairs.swapaxes(1, 2).reshape(weights.shape)


def tiny_llama():
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=300,
            hidden_size=WIDTH,
            intermediate_size=64,
            num_hidden_layers=3,
            num_attention_heads=N_HEADS,
            num_key_value_heads=N_HEADS,
            max_position_embeddings=64,
            rms_norm_eps=2.0**-17,
            bos_token_id=0,
            eos_token_id=0,
            pad_token_id=1,
            _model_name_or_path="tiny",
        )
    ).eval()
    for name, weights in model.named_parameters():
        if "norm" not in name:
            weights.data *= 15  # sharp enough that its predictions differ from uniform
    return model


def settings_of(writer, config):
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10_000.0)
    writer.add_vocab_size(config.vocab_size)


def tokenizer_of(writer):
    stored = json.loads(make_tokenizer().backend_tokenizer.to_str())
    vocabulary = sorted(stored["model"]["vocab"], key=stored["model"]["vocab"].get)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(vocabulary)
    kinds = [3 if token.startswith("<|") else 1 for token in vocabulary]
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(pair) for pair in stored["model"]["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    writer.add_pad_token_id(1)


def stored_as(name):
    """Matrices in two quantisations, the rest as it is."""
    if "norm" in name:
        return TYPES.F32
    return TYPES.Q8_0 if "mlp" in name else TYPES.Q4_1


def write(path, architecture="llama", tokenizer=True, without=(), extra=None):
    """A tiny GGUF file, and the model whose weights are those in it, multiplied out."""
    model = tiny_llama()
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name("tiny")
    settings_of(writer, model.config)
    if tokenizer:
        tokenizer_of(writer)
    state = model.state_dict()
    for name, tensor in state.items():
        turned = any(part in name for part in ("q_proj", "k_proj"))
        values = interleaved(tensor.numpy()) if turned else tensor.numpy()
        kind = stored_as(name)
        packed = values if kind == TYPES.F32 else quantize(values, kind)
        if name not in without:
            writer.add_tensor(gguf_name(name), packed, raw_dtype=kind)
        exact = packed if kind == TYPES.F32 else dequantize(packed, kind)
        state[name] = torch.from_numpy((ordered(exact) if turned else exact).copy())
    for name, values in (extra or {}).items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    model.load_state_dict(state)
    return model


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with a GGUF file and an SAE, and the same model as a folder of transformers."""
    home = tmp_path_factory.mktemp("gguf")
    (home / "one").mkdir()
    model = write(home / "one/tiny.gguf")
    model.save_pretrained(home / "converted")
    make_tokenizer().save_pretrained(home / "converted")
    for folder in ("one", "converted"):
        make_sae(HOOK, d_in=WIDTH).save_model(home / folder / "saes" / HOOK)
    return home


def refusal(model, kind=ValueError, **options):
    """The message with which loading is refused, of one line."""
    with pytest.raises(kind) as caught:
        load_subject(model, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_it_is_the_subject_of_the_converted_folder(files):
    converted = load_subject(files / "converted")
    for place in (files / "one", files / "one/tiny.gguf"):
        subject = load_subject(place)
        assert subject.fingerprint == converted.fingerprint
        assert subject.hook_names == (HOOK,)
        assert subject.sae_fingerprint(HOOK) == converted.sae_fingerprint(HOOK)
    assert load_subject(files / "one").name == "one" and subject.name == "tiny"
    texts = make_texts(60)
    both = [load_corpus(texts, each, split="discovery", n_ctx=24) for each in (subject, converted)]
    np.testing.assert_array_equal(both[0].tokens, both[1].tokens)
    assert both[0].bos and (both[0].tokens[:, 0] == 0).all()
    tokens = torch.from_numpy(both[0].tokens[:2].astype(np.int64))
    assert torch.equal(subject.model(tokens), converted.model(tokens))


def test_the_record_says_that_the_model_is_quantised(files):
    subject = load_subject(files / "one")
    corpus = load_corpus(make_texts(60), subject, split="discovery", n_ctx=24)
    facts = provenance(subject, corpus, HOOK, now(subject.device))
    assert facts["source"] == "GGUF file tiny.gguf" and facts["dtype"] == "float32"
    assert facts["quantisation"] == "14 Q4_1, 9 Q8_0, 7 F32"
    assert source(facts).startswith(f"one, quantised (14 Q4_1, 9 Q8_0, 7 F32) at {HOOK}")


def test_a_second_load_reads_the_description_from_the_cache(files, monkeypatch):
    first = load_subject(files / "one")
    monkeypatch.setattr(reading, "_read_header", lambda file: pytest.fail("read again"))
    assert load_subject(files / "one").fingerprint == first.fingerprint


def test_a_description_is_whole_while_another_process_writes_it(files, monkeypatch):
    drop, others = reading._drop_invented, []

    def interrupted(path, n_tokens):
        """The other process is faster; what it reads from stays as it is."""
        if not others:
            others.append(None)
            others[0] = reading.describe(files / "one/tiny.gguf")
            tokenizer = others[0].folder / "tokenizer.json"
            others.append(tokenizer.stat().st_ino)
            assert tokenizer != path
        drop(path, n_tokens)

    monkeypatch.setattr(reading, "_drop_invented", interrupted)
    mine = reading.describe(files / "one/tiny.gguf")
    assert mine == others[0]
    assert (mine.folder / "tokenizer.json").stat().st_ino == others[1]
    assert [path.name for path in mine.folder.parent.iterdir()] == [mine.folder.name]


def test_the_reader_is_missing(files, monkeypatch):
    monkeypatch.setitem(sys.modules, "gguf", None)
    message = refusal(files / "one", ImportError)
    assert "python -m pip install gguf==0.19.0" in message


def test_several_files_in_a_folder(files, tmp_path):
    for name in ("a.gguf", "b.gguf"):
        shutil.copy(files / "one/tiny.gguf", tmp_path / name)
    message = refusal(tmp_path)
    assert "holds 2 GGUF files" in message and "a.gguf" in message


def test_an_architecture_that_transformers_does_not_read(tmp_path):
    write(tmp_path / "x.gguf", architecture="rwkv6")
    assert "of architecture 'rwkv6'" in refusal(tmp_path)


def test_no_tokenizer_inside(tmp_path):
    write(tmp_path / "x.gguf", tokenizer=False)
    assert "no tokenizer inside" in refusal(tmp_path)


@pytest.mark.parametrize("share", [0.05, 0.5, 0.99])
def test_a_file_cut_short(files, tmp_path, share):
    whole = (files / "one/tiny.gguf").read_bytes()
    (tmp_path / "x.gguf").write_bytes(whole[: int(share * len(whole))])
    assert "damaged or cut short" in refusal(tmp_path)


def test_a_file_of_another_kind(tmp_path):
    (tmp_path / "x.gguf").write_bytes(b"PK" * 100)
    assert "is no GGUF file" in refusal(tmp_path)


def test_missing_and_unread_tensors(tmp_path):
    name = "model.layers.1.mlp.up_proj.weight"
    write(tmp_path / "x.gguf", without=[name])
    assert f"1 missing: {name}" in refusal(tmp_path / "x.gguf", sae=make_sae(HOOK, d_in=WIDTH))
    write(tmp_path / "y.gguf", extra={"rope_freqs.weight": np.ones(8, np.float32)})
    message = refusal(tmp_path / "y.gguf", sae=make_sae(HOOK, d_in=WIDTH))
    assert "it would not be the model in the file" in message


def test_too_little_memory_is_said_before_loading(files, monkeypatch):
    monkeypatch.setattr(checks.psutil, "virtual_memory", lambda: SimpleNamespace(available=30_000))
    monkeypatch.setattr(loading, "load_model", lambda *_: pytest.fail("loaded all the same"))
    assert "needs 0.0 GB" in refusal(files / "one", MemoryError)


def test_a_revision_is_for_the_hub(files):
    assert "is for models on the hub" in refusal(files / "one", revision="main")


@pytest.fixture
def packaged(files, tmp_path, monkeypatch):
    """A shipped subject whose model is in another package: its name and the file there."""
    for remembered in (listing.package_of, listing.shipped_files, listing.shipped_hooks):
        remembered.cache_clear()
    listing._sae_folders.cache_clear()
    (tmp_path / "site/tiny_model").mkdir(parents=True)
    (tmp_path / "site/tiny_model/__init__.py").write_text("raise RuntimeError('imported')\n")
    file = shutil.copy(files / "one/tiny.gguf", tmp_path / "site/tiny_model/tiny.gguf")
    shutil.copytree(files / "one/saes", tmp_path / "home/saes")
    place = package_of("smollm2-135m") | {
        "package": "tiny_model",
        "file": "tiny.gguf",
        "sha256": file_hash(files / "one/tiny.gguf"),
    }
    (tmp_path / "home/model.json").write_text(json.dumps(place))
    monkeypatch.setitem(SHIPPED, "packaged", tmp_path / "home")
    monkeypatch.syspath_prepend(tmp_path / "site")
    return "packaged", file


def test_a_subject_whose_model_is_in_a_package(files, packaged):
    name, _ = packaged
    assert is_installed(name)
    subject = load_subject(name)
    assert subject.name == name and subject.hook_names == (HOOK,)
    assert subject.fingerprint == load_subject(files / "converted").fingerprint
    assert subject.pretraining.startswith("2T tokens")


def test_a_package_with_another_file(packaged):
    name, file = packaged
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert "is damaged or of another version of tiny_model" in refusal(name)


def test_what_determines_a_measurement_is_known_without_the_package(packaged):
    name, file = packaged
    home = SHIPPED[name]
    before = shipped_files(name, HOOK)
    assert before["tiny.gguf"] == json.loads((home / "model.json").read_text())["sha256"]
    assert shipped_hooks(name) == (HOOK,)
    asked = sae_request(name, HOOK)
    shipped_files.cache_clear()
    file.unlink()
    assert sae_request(name, HOOK) == asked
    assert shipped_files(name, HOOK) == before and f"saes/{HOOK}/cfg.json" in before
    assert can_be_kept(name, "", "docstrings", "cpu", ())
    code = (
        "import sys; from saecert.reporting.requests import sae_request; "
        "from saecert.subjects.listing import package_of; package_of('smollm2-135m'); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=ROOT).returncode == 0


def test_a_package_that_is_not_installed(packaged, monkeypatch):
    name, file = packaged
    file.unlink()
    message = refusal(name, FileNotFoundError)
    assert "package tiny_model, which is not installed: make smollm2" in message


@pytest.mark.skipif(not is_installed("smollm2-135m"), reason="make smollm2 has not been run")
def test_the_public_model_is_the_one_that_was_measured():
    assert packaged_file("smollm2-135m") is not None
    subject = load_subject("smollm2-135m", sae={})
    assert subject.fingerprint == package_of("smollm2-135m")["fingerprint"]
    assert subject.quantisation == "210 Q4_1, 61 F32, 1 Q8_0"

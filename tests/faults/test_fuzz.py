"""Loaders on files that chance made of good ones: what comes out is an error that is documented, in
seconds, or something that was read."""

from __future__ import annotations

import json
import signal
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from checks import ROOT
from conftest import make_sae, make_texts, make_tokenizer
from faulty import times
from safetensors.torch import save_file

from saecert.corpora.sources import read_texts
from saecert.subjects import gguf as gguf_reading
from saecert.subjects.folders import read_config, read_tokenizer, tensor_sizes
from saecert.subjects.saes import load_saes

hypothesis = pytest.importorskip("hypothesis", reason="pip install hypothesis (extra test)")
hypothesis.configuration.set_hypothesis_home_dir(ROOT / "_build/hypothesis")
st = hypothesis.strategies

pytestmark = pytest.mark.faults
DOCUMENTED = (ValueError, FileNotFoundError, MemoryError)
SECONDS = 20
HOOK = "blocks.1.hook_resid_post"


def settings(short: int, long: int) -> hypothesis.settings:
    """How many files are made; the same ones every time."""
    return hypothesis.settings(
        max_examples=times(short, long),
        deadline=None,
        derandomize=True,
        database=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )


class TooLong(BaseException):
    """A loader that takes longer than it may."""


@contextmanager
def alarm(seconds: int) -> Iterator[None]:
    def ring(*_: object) -> None:
        raise TooLong(f"longer than {seconds} s")

    # of the processor, not by the clock: other processes may hold it up
    before = signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def outcome(load: Callable[[], Any]) -> str:
    """How reading went: "read", or the documented error; anything else fails the test."""
    with warnings.catch_warnings(), alarm(SECONDS):
        warnings.simplefilter("ignore")
        try:
            load()
        except DOCUMENTED as error:
            caught = error
        else:
            return "read"
    assert str(caught).strip(), f"{type(caught).__name__} says nothing"
    assert len(str(caught)) < 4_000, "an error of a line or two"
    return type(caught).__name__


# Bytes: some are changed, taken out or put in, or the end is missing

CHANGES = st.lists(
    st.tuples(
        st.sampled_from(("set", "cut", "put", "end")),
        st.floats(0, 1, allow_nan=False),
        st.binary(min_size=1, max_size=9),
    ),
    min_size=1,
    max_size=4,
)


def changed(data: bytes, changes: list[tuple[str, float, bytes]], most: int = 10**9) -> bytes:
    """`data` with changes in its first `most` bytes."""
    for how, share, new in changes:
        at = int(share * (min(len(data), most) - 1)) if data else 0
        end = at if how == "put" else at + len(new)
        data = (
            data[:at] if how == "end" else data[:at] + (b"" if how == "cut" else new) + data[end:]
        )
    return data


# JSON: one value anywhere becomes another

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(("topk", "jumprelu", "standard", "gated", "Llama", "BPE", "float16", "cuda")),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)


def nodes(tree: Any) -> Iterator[tuple[Any, Any]]:
    keys = list(tree) if isinstance(tree, dict) else range(len(tree))
    for key in keys:
        yield tree, key
        if isinstance(tree[key], dict | list):
            yield from nodes(tree[key])


def other_json(text: str, share: float, value: Any, drop: bool) -> str:
    """A JSON text in which one value is another one, or missing."""
    tree = json.loads(text)
    places = list(nodes(tree))
    # the first nodes are rarely those of a long list: half of all go to the top level
    top = list(tree) if isinstance(tree, dict) else []
    if top and share < 0.5:
        parent, key = tree, top[int(2 * share * len(top))]
    else:
        parent, key = places[int(share * (len(places) - 1))]
    if drop:
        del parent[key]
    else:
        parent[key] = value
    return json.dumps(tree)


VALUES = st.tuples(st.floats(0, 0.999, allow_nan=False), JSON, st.booleans())


def told(capsys, title: str, tried: Counter) -> None:
    with capsys.disabled():
        print(f"\n{title}: {dict(tried)}")


def test_safetensors(tmp_path, capsys):
    good = tmp_path / "good.safetensors"
    save_file({"a": torch.zeros(3, 4), "b": torch.ones(2)}, good)
    data = good.read_bytes()
    path = tmp_path / "file.safetensors"
    tried = Counter()

    @settings(60, 2_000)
    @hypothesis.given(CHANGES)
    def fuzz(changes):
        path.write_bytes(changed(data, changes))
        tried[outcome(lambda: tensor_sizes(path))] += 1

    fuzz()
    told(capsys, "safetensors", tried)
    assert tried["ValueError"] > tried["read"]


def sparsify_folder(folder: Path) -> None:
    folder.mkdir()
    save_file(
        {
            "encoder.weight": torch.randn(16, 8),
            "encoder.bias": torch.zeros(16),
            "W_dec": torch.randn(16, 8),
            "b_dec": torch.zeros(8),
        },
        folder / "sae.safetensors",
    )
    about = {"d_in": 8, "num_latents": 16, "expansion_factor": 2, "k": 2, "activation": "topk"}
    more = {"normalize_decoder": True, "multi_topk": False, "signed": False, "transcode": False}
    (folder / "cfg.json").write_text(json.dumps(about | more), encoding="utf-8")


def sae_lens_folder(folder: Path) -> None:
    make_sae(HOOK).save_model(folder)


@pytest.mark.parametrize("make", [sparsify_folder, sae_lens_folder])
def test_saes(make, tmp_path, capsys):
    folder = tmp_path / "layers.1"
    make(folder)
    config = folder / "cfg.json"
    weights = next(folder.glob("*.safetensors"))
    text, data = config.read_text(encoding="utf-8"), weights.read_bytes()
    tried = Counter()

    def load() -> None:
        load_saes([(None, folder)], None, "cpu", torch.float32, tmp_path)

    assert outcome(load) == "read"

    @settings(40, 1_000)
    @hypothesis.given(VALUES)
    def fuzz_config(values):
        config.write_text(other_json(text, *values), encoding="utf-8")
        tried[outcome(load)] += 1

    @settings(20, 500)
    @hypothesis.given(CHANGES, st.booleans())
    def fuzz_bytes(changes, in_weights):
        config.write_bytes(text.encode() if in_weights else changed(text.encode(), changes))
        weights.write_bytes(changed(data, changes, 600) if in_weights else data)
        tried[outcome(load)] += 1

    fuzz_config()
    fuzz_bytes()
    told(capsys, make.__name__, tried)
    assert tried["ValueError"]


def test_tokenizers_and_configurations(folders, tmp_path, capsys):
    tried = Counter()
    folder = tmp_path / "model"
    make_tokenizer().save_pretrained(folder)
    names = sorted(path.name for path in folder.glob("*.json"))
    stored = {name: (folder / name).read_text(encoding="utf-8") for name in names}
    stored["config.json"] = (folders["llama"] / "config.json").read_text(encoding="utf-8")

    def load() -> None:
        read_config(folder)
        read_tokenizer(folder)

    @settings(40, 1_500)
    @hypothesis.given(st.sampled_from(sorted(stored)), CHANGES, st.booleans(), VALUES)
    def fuzz(name, changes, in_bytes, values):
        for other, text in stored.items():
            (folder / other).write_text(text, encoding="utf-8")
        new = changed(stored[name].encode(), changes)
        if not in_bytes:
            new = other_json(stored[name], *values).encode()
        (folder / name).write_bytes(new)
        tried[f"{outcome(load)} {name}"] += 1

    fuzz()
    told(capsys, "tokenizer and configuration", tried)
    assert any(key.startswith("ValueError") for key in tried)


def test_jsonl(tmp_path, capsys):
    path = tmp_path / "texts.jsonl"
    lines = [json.dumps({"text": text, "group": "a"}) for text in make_texts(3)]
    data = "\n".join(lines).encode()
    tried = Counter()

    def load() -> None:
        read_texts(path, "text", "group")

    @settings(60, 2_000)
    @hypothesis.given(CHANGES, st.booleans(), JSON)
    def fuzz(changes, in_bytes, value):
        row = json.dumps({"text": value, "group": value}).encode()
        path.write_bytes(changed(data, changes) if in_bytes else data + b"\n" + row)
        tried[outcome(load)] += 1

    fuzz()
    told(capsys, "jsonl", tried)
    assert tried["ValueError"]


def gguf_bytes(path: Path) -> bytes:
    """A tiny GGUF file with a tokenizer, and tensors that are few and small."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(32)
    writer.add_embedding_length(8)
    writer.add_block_count(1)
    writer.add_feed_forward_length(16)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    stored = json.loads(make_tokenizer().backend_tokenizer.to_str())
    vocabulary = sorted(stored["model"]["vocab"], key=stored["model"]["vocab"].get)
    writer.add_vocab_size(len(vocabulary))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(vocabulary)
    writer.add_token_types([1] * len(vocabulary))
    writer.add_token_merges([" ".join(pair) for pair in stored["model"]["merges"]])
    writer.add_bos_token_id(0)
    writer.add_tensor("token_embd.weight", np.zeros((len(vocabulary), 8), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.read_bytes()


def test_gguf(tmp_path, capsys):
    data = gguf_bytes(tmp_path / "good.gguf")
    (tmp_path / "one").mkdir()
    path = tmp_path / "one/file.gguf"
    tried = Counter()

    def load() -> None:
        gguf_reading.describe(path)

    path.write_bytes(data)
    assert outcome(load) == "read"

    @settings(24, 500)
    @hypothesis.given(CHANGES, st.sampled_from((24, 700, 10**9)))
    def fuzz(changes, most):
        path.write_bytes(changed(data, changes, most))
        tried[outcome(load)] += 1

    fuzz()
    told(capsys, "GGUF", tried)
    assert tried["ValueError"]

"""Cached activations: which tokens, of several hook points, and what an interruption leaves."""

import numpy as np
import pytest
import torch
from conftest import N_CTX, make_texts

from saecert.corpora.tokenize import windows
from saecert.training import activations
from saecert.training.activations import cache_activations, shuffled_batches

HOOKS = ["blocks.0.hook_resid_post", "blocks.1.hook_mlp_out"]


@pytest.fixture(scope="module")
def text(subject):
    """Windows of a few dozen documents, most of the last ones padded."""
    return windows(make_texts(30), subject.tokenizer, n_ctx=N_CTX)


@pytest.fixture(scope="module")
def expected(subject, text):
    """Every activation of every window, without BOS and padding."""
    tokens, lengths = text
    rows = {hook: [] for hook in HOOKS}
    for window, length in zip(tokens, lengths, strict=True):
        ids = torch.from_numpy(window[None, :length].astype(np.int64))
        _, cache = subject.model.run_with_cache(ids)
        for hook in HOOKS:
            rows[hook].append(cache[hook][0, 1:].numpy())
    return {hook: np.concatenate(parts) for hook, parts in rows.items()}


def nearest(acts, expected):
    """Row of the expected activation that is like each one, and how far it is."""
    acts = np.asarray(acts, dtype=np.float32)
    distances = np.abs(acts[:, None] - expected[None]).max(axis=2)
    return distances.argmin(axis=1), distances.min(axis=1)


@pytest.mark.parametrize("shard_tokens", [None, 200])
def test_bos_and_padding_are_left_out_at_every_hook_point(
    subject, text, expected, tmp_path, shard_tokens
):
    tokens, lengths = text
    acts = cache_activations(
        subject, tokens, lengths, HOOKS, 10**9, tmp_path, shard_tokens=shard_tokens, progress=False
    )
    for hook in HOOKS:
        assert acts[hook].shape == expected[hook].shape and acts[hook].dtype == np.float16
        assert nearest(acts[hook], expected[hook])[1].max() < 0.02
        np.testing.assert_allclose(
            acts[hook].mean(axis=0, dtype=float), expected[hook].mean(axis=0), atol=1e-3
        )
    rows, _ = nearest(acts[HOOKS[0]][:100], expected[HOOKS[0]])
    other = expected[HOOKS[1]][rows]
    np.testing.assert_allclose(acts[HOOKS[1]][:100].astype(float), other, atol=0.02)
    assert (np.diff(rows) == 1).mean() < 0.2, "neighbours in the text are none in the file"


def test_as_many_tokens_as_asked_for_and_a_window_more_at_most(subject, text, tmp_path):
    acts = cache_activations(subject, *text, HOOKS[:1], 150, tmp_path, progress=False)
    assert 150 <= len(acts[HOOKS[0]]) < 150 + N_CTX


def test_an_interrupted_pass_goes_on_behind_its_last_shard(subject, text, tmp_path, monkeypatch):
    settings = {"shard_tokens": 200, "batch_size": 4, "progress": False}
    straight = cache_activations(subject, *text, HOOKS, 900, tmp_path / "a", **settings)
    runs = []
    read = activations.native_acts_at

    def interrupted(*arguments):
        runs.append(1)
        if len(runs) == 7:
            raise KeyboardInterrupt
        return read(*arguments)

    monkeypatch.setattr(activations, "native_acts_at", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cache_activations(subject, *text, HOOKS, 900, tmp_path / "b", **settings)
    resumed = cache_activations(subject, *text, HOOKS, 900, tmp_path / "b", **settings)
    n_runs = len(runs)
    for hook in HOOKS:
        np.testing.assert_array_equal(resumed[hook], straight[hook])
    cache_activations(subject, *text, HOOKS, 900, tmp_path / "b", **settings)
    assert len(runs) == n_runs, "what is finished is reused"
    cache_activations(subject, *text, HOOKS, 900, tmp_path / "b", seed=1, **settings)
    assert len(runs) > n_runs, "another seed is another cache"


def test_a_model_of_transformers_gives_the_residual_stream(subject, folders, text, tmp_path):
    from transformers import LlamaForCausalLM

    model = LlamaForCausalLM.from_pretrained(folders["llama"]).eval()
    hooks = ["blocks.2.hook_resid_post"]  # the last: not what output_hidden_states has
    bare = cache_activations(model, *text, hooks, 300, tmp_path / "a", progress=False)
    bridged = cache_activations(subject, *text, hooks, 300, tmp_path / "b", progress=False)
    np.testing.assert_allclose(
        bare[hooks[0]].astype(float), bridged[hooks[0]].astype(float), atol=0.02
    )
    with pytest.raises(ValueError, match="can only be read from a Subject"):
        cache_activations(model, *text, HOOKS[1:], 300, tmp_path / "c", progress=False)


def test_bfloat16_is_near(subject, text, tmp_path):
    exact = cache_activations(subject, *text, HOOKS[:1], 300, tmp_path / "a", progress=False)
    near = cache_activations(
        subject, *text, HOOKS[:1], 300, tmp_path / "b", torch.bfloat16, progress=False
    )
    difference = exact[HOOKS[0]].astype(float) - near[HOOKS[0]].astype(float)
    scale = np.abs(exact[HOOKS[0]].astype(float)).mean()
    assert 0 < np.abs(difference).mean() < 0.03 * scale


def test_what_cannot_be_cached(subject, text, tmp_path, monkeypatch):
    tokens, lengths = text
    with pytest.raises(ValueError, match="0 activations asked of"):
        cache_activations(subject, *text, HOOKS, 0, tmp_path)
    with pytest.raises(ValueError, match="asked of 0 tokens of text"):
        cache_activations(subject, tokens[:0], lengths[:0], HOOKS, 10, tmp_path)
    monkeypatch.setattr(activations, "HALF_MAX", 0.1)
    with pytest.raises(ValueError, match="not finite in half precision"):
        cache_activations(subject, *text, HOOKS, 100, tmp_path, progress=False)
    monkeypatch.undo()
    monkeypatch.setattr(activations.shutil, "disk_usage", lambda _: type("", (), {"free": 10})())
    with pytest.raises(OSError, match=r"the activations take .* GB and .* free"):
        cache_activations(subject, *text, HOOKS, 100, tmp_path, progress=False)


def test_batches_cover_the_activations_and_can_start_anywhere():
    acts = np.arange(31, dtype=np.float16)[:, None]
    batches = shuffled_batches(acts, 3, seed=0)
    first = [next(batches)[:, 0].tolist() for _ in range(22)]
    for epoch in (first[:10], first[10:20]):
        assert sorted(np.concatenate(epoch).tolist()) == list(range(30))
    assert first[:10] != first[10:20]
    later = shuffled_batches(acts, 3, seed=0, start=15)
    assert [next(later)[:, 0].tolist() for _ in range(7)] == first[15:]
    with pytest.raises(ValueError, match="31 activations do not fill a batch of 32"):
        next(shuffled_batches(acts, 32, seed=0))

"""The benchmark's ways of measuring agree with `collect`, and its floor counts what `collect`
multiplies."""

import numpy as np
import pytest
import torch
from conftest import D_MODEL, D_SAE, N_LAYERS, make_texts
from transformers import GPT2Config

from benchmarks import throughput
from saecert import collect, load_corpus, load_subject

HOOKS = ["blocks.0.hook_resid_pre", "blocks.1.hook_resid_pre"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A model as the benchmark makes it, only small."""
    shape = GPT2Config(
        vocab_size=300, n_embd=16, n_layer=3, n_head=2, n_positions=24, initializer_range=0.3
    )
    return load_subject(
        throughput.save_random(
            tmp_path_factory.mktemp("made") / "tiny", shape, HOOKS, 64, reach=1.0
        )
    )


def test_the_published_way_agrees_with_collect(subject, corpora):
    sample = corpora["certification"].take(6)
    hook_name = subject.middle_hook
    proxies = throughput.six_proxies(subject, sample, hook_name)
    ours = collect(subject, sample, extra=proxies[1:5], progress=False)
    [timed] = throughput.swept(subject, sample, [hook_name], proxies, 4)
    slow = throughput.published(subject, sample, hook_name, proxies)
    assert len(slow) == throughput.N_PROXIES
    for name, bits in slow.items():
        np.testing.assert_allclose(ours.loss[name][0], bits, atol=1e-5, err_msg=name)
        np.testing.assert_allclose(timed.loss[name][0], bits, atol=1e-5, err_msg=name)


def test_run_evals_agrees_with_collect(folders):
    subject = load_subject(
        folders["llama"], bos=False
    )  # it counts no targets behind BOS, collect does
    sample = load_corpus(make_texts(30), subject, n_ctx=24).take(6)
    ours = collect(subject, sample, progress=False)
    theirs = throughput.evaluated(subject, sample, subject.middle_hook, 4)
    for name, key in (
        ("clean", "ce_loss_without_sae"),
        ("full", "ce_loss_with_sae"),
        ("zero", "ce_loss_with_ablation"),
    ):
        assert theirs[key] == pytest.approx(ours.raw[name].mean() * np.log(2), abs=1e-5)


def test_the_floor_counts_the_products_by_hand(subject):
    counts = throughput.products(subject, [subject.middle_hook], 6, 2, 24)
    behind = N_LAYERS + 6 * 2  # the hook point is behind the first of three blocks
    assert counts[1, 48, D_MODEL, 32] == 2 * behind and counts[1, 48, 32, D_MODEL] == behind, (
        "gate and up, down"
    )
    assert counts[1, 48, D_MODEL, D_MODEL] == 4 * behind
    assert counts[4, 24, 8, 24] == counts[4, 24, 24, 8] == behind, "two sequences of two heads"
    assert counts[1, 48, D_MODEL, D_SAE] == counts[1, 48, D_SAE, D_MODEL] == 1
    assert counts[1, 46, D_MODEL, subject.d_vocab] == 7
    assert throughput.product_seconds((4, 24, 8, 24)) > 0


def test_every_way_is_timed_and_tabled(made, tmp_path):
    tokens = torch.from_numpy(
        load_corpus("random-tokens", made, n_seq=9, n_ctx=24).tokens.astype(np.int64)
    )
    _, cache = made.model.run_with_cache(tokens)
    l0 = (made.sae_at(HOOKS[1]).encode(cache[HOOKS[1]]) != 0).float().sum(-1).mean()
    assert 1 < l0 < 32, "its SAEs are sparse, not silent"
    with throughput.unshared(tmp_path / "cache"):
        sample = load_corpus("random-tokens", made, n_seq=9, n_ctx=24)
        speeds = throughput.compare(made, sample, rounds=1, batch_size=3, n_published=2)
    assert speeds.difference < 1e-5 and min(vars(speeds).values()) >= 0
    lines = throughput.table(throughput.Speeds(6.0, 18.0, 4.0, 3.0, 60.0, 45.0, 0.0), 12, 10)
    assert [line.split()[-4:] for line in lines[2:4]] == [
        ["3.00", "times", "as", "fast"],
        ["2.00", "times", "as", "fast"],
    ]
    assert (
        lines[4].endswith("50% of it")
        and "3.00 times" in lines[6]
        and lines[7].endswith("75% of it")
    )


def test_memory_is_that_of_a_few_rows_of_logits(tmp_path):
    shape = GPT2Config(vocab_size=20_000, n_embd=16, n_layer=2, n_head=2, n_positions=128)
    folder = throughput.save_random(tmp_path / "model", shape, HOOKS[:1], 64)
    assert 0 < throughput.peak_megabytes(str(folder), 32, 1) < 150, (
        "logits of all 32 sequences would take 328 MB"
    )

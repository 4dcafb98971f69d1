"""The code that trained the shipped subject: it learns, resumes where it stopped, and saves what it trained."""

import numpy as np
import pytest
import torch
from conftest import make_texts
from sae_lens import SAE

from saecert.corpora.tokenize import windows
from saecert.training import language_model
from saecert.training import sae as autoencoders


@pytest.fixture
def small(monkeypatch):
    """The real code on generated text, a few hundred windows of it."""
    texts = {"train": make_texts(300), "validation": make_texts(40, seed=1)}
    monkeypatch.setattr(language_model, "split_texts", texts.get)
    monkeypatch.setattr(autoencoders, "split_texts", texts.get)
    monkeypatch.setattr(language_model, "CHECKPOINT_EVERY", 2)
    monkeypatch.setattr(language_model, "BATCH", 8)


def test_training_resumes_and_learns(small, tmp_path, monkeypatch):
    taken, step = [], language_model._step

    def interrupted(*arguments):
        taken.append(1)
        if len(taken) == 7:
            raise KeyboardInterrupt
        return step(*arguments)

    monkeypatch.setattr(language_model, "_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        language_model.train(tmp_path, n_tokens=6_000)
    language_model.train(tmp_path, n_tokens=6_000)
    saved = language_model.json.loads((tmp_path / "model/trained.json").read_text())
    assert saved["step"] == len(taken) - 1, "six steps were kept, the seventh was interrupted"
    assert saved["validation_bits"] < 11, "an untrained model loses 12 bits"
    before = len(taken)
    language_model.train(tmp_path, n_tokens=6_000)
    assert len(taken) == before, "a trained model is not trained again"


def test_batches_are_seeded_and_cover_the_windows():
    lengths = np.random.default_rng(0).integers(2, 128, 1000)
    rows = np.concatenate(language_model.batches(lengths, 0))
    assert len(set(rows.tolist())) == len(rows) > 1000 - language_model.BATCH
    assert [b.tolist() for b in language_model.batches(lengths, 0)] == [
        b.tolist() for b in language_model.batches(lengths, 0)
    ]
    assert rows.tolist() != np.concatenate(language_model.batches(lengths, 1)).tolist()


def test_activations_leave_out_bos_and_padding(small, tmp_path):
    tokenizer = language_model.train_tokenizer(language_model.split_texts("train"))
    model = language_model.new_model(tokenizer).eval()
    maps = autoencoders.cache_activations(model, tokenizer, "validation", 10**9, tmp_path)
    tokens, lengths = windows(language_model.split_texts("validation"), tokenizer, n_ctx=128)
    assert len(maps) == 6 and len(maps[0]) == (lengths - 1).sum()
    with torch.no_grad():
        states = model.model(
            torch.from_numpy(tokens[:1].astype(np.int64)), output_hidden_states=True
        ).hidden_states
    expected = states[3][0, 1 : lengths[0]].numpy()  # after block 2
    distance = (
        np.abs(np.asarray(maps[2], dtype=np.float32)[None] - expected[:, None])
        .max(axis=2)
        .min(axis=1)
    )
    assert distance.max() < 2e-3, "every position of the first window is in the map"


def test_sae_is_saved_at_its_target_sparsity(tmp_path, monkeypatch):
    monkeypatch.setattr(autoencoders, "BATCH", 256)
    monkeypatch.setattr(autoencoders, "SCHEDULE", ((204_800, 1e-3, 4),) * 6)
    rng = np.random.default_rng(0)
    codes = rng.exponential(size=(30_000, 40)) * (rng.random((30_000, 40)) < 0.1)
    acts = (codes @ rng.normal(size=(40, 16)) + 1).astype(np.float16)
    autoencoders.train_sae(acts, acts[:6_000], 2, tmp_path / "sae")
    sae = SAE.load_from_disk(tmp_path / "sae", dtype="float32")
    x = torch.from_numpy(acts[6_000:].astype(np.float32))
    assert (
        sae.cfg.architecture() == "jumprelu"
        and sae.cfg.metadata.hook_name == "blocks.2.hook_resid_post"
    )
    assert (sae.encode(x) > 0).float().sum(-1).mean().item() == pytest.approx(4, abs=0.2)
    assert ((x - sae(x)).square().sum() / (x - x.mean(0)).square().sum()).item() < 0.6

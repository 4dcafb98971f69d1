"""Probabilities, total variation and agreement are what a plain computation gives."""

import numpy as np
import torch

from saecert import load_subject
from saecert.measurement.scoring import score

HOOK = "blocks.1.hook_resid_post"


def test_bfloat16_logits_have_probabilities_in_float32(folders):
    half = load_subject(folders["llama"], dtype=torch.bfloat16)
    residual = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(1)).bfloat16()
    other = residual + 0.3
    tokens = torch.randint(2, 300, (2, 5), generator=torch.Generator().manual_seed(2))
    p = half.model.original_model.get_output_embeddings()(residual)[:, :-1].float().softmax(-1)
    q = half.model.original_model.get_output_embeddings()(other)[:, :-1].float().softmax(-1)
    probability, variation, _ = score(half.model, {"clean": residual, "x": other}, tokens)["x"]
    np.testing.assert_allclose(
        probability, q.gather(2, tokens[:, 1:, None])[..., 0].numpy(), rtol=1e-5
    )
    np.testing.assert_allclose(variation, ((p - q).abs().sum(-1) / 2).numpy(), atol=1e-6)


def test_total_variation_and_top1_by_hand(subject):
    residual = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(1))
    other = residual + 0.3
    tokens = torch.randint(2, 300, (2, 5), generator=torch.Generator().manual_seed(2))
    head = subject.model.original_model.get_output_embeddings()
    p = head(residual)[:, :-1].softmax(-1)
    q = head(other)[:, :-1].softmax(-1)
    probability, variation, disagree = score(
        subject.model, {"clean": residual, "x": other}, tokens
    )["x"]
    np.testing.assert_allclose(
        probability, q.gather(2, tokens[:, 1:, None])[..., 0].numpy(), rtol=1e-5
    )
    np.testing.assert_allclose(variation, ((p - q).abs().sum(-1) / 2).numpy(), atol=1e-6)
    np.testing.assert_array_equal(disagree, (p.argmax(-1) != q.argmax(-1)).numpy())
    uniform = score(subject.model, {"clean": residual, "x": torch.zeros_like(residual)}, tokens)[
        "x"
    ]
    assert (uniform[2] == 1).all(), "a predictor that prefers nothing does not agree"


def test_scoring_in_chunks_changes_nothing(subject, monkeypatch):
    residual = torch.randn(4, 9, 16, generator=torch.Generator().manual_seed(3))
    tokens = torch.full((4, 9), 7)
    whole = score(subject.model, {"clean": residual, "x": residual * 2}, tokens)
    monkeypatch.setattr("saecert.measurement.scoring.CHUNK_BYTES", 1)
    monkeypatch.setattr("saecert.measurement.scoring.MIN_ROWS", 5)
    for name, values in score(
        subject.model, {"clean": residual, "x": residual * 2}, tokens
    ).items():
        np.testing.assert_allclose(values, whole[name], atol=1e-6)

"""Tiny subjects made on the spot, saved and loaded for real.

Three architectures, a tokenizer, and SAEs with random weights.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from sae_lens import JumpReLUSAE, JumpReLUSAEConfig
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GemmaConfig,
    GemmaForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from saecert import load_corpus, load_subject
from saecert.measurement import circumstances

WORDS = (
    "the bound of a frozen model holds for every sequence that was drawn from one population "
    "and not seen before it"
).split()
D_MODEL = 16
D_SAE = 64
N_LAYERS = 3
N_CTX = 24


def make_texts(n: int, seed: int = 0) -> list[str]:
    """`n` different documents of 40 words."""
    rng = random.Random(seed)
    return [
        " ".join(rng.choice(WORDS) for _ in range(40)) + f" number {seed} {i}" for i in range(n)
    ]


def make_tokenizer(vocab_size: int = 300) -> PreTrainedTokenizerFast:
    """Byte-level BPE with BOS and padding."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=["<|bos|>", "<|pad|>"],
        initial_alphabet=alphabet,
        show_progress=False,
    )
    bpe.train_from_iterator(make_texts(50), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, bos_token="<|bos|>", eos_token="<|bos|>", pad_token="<|pad|>"
    )


def make_model(family: str) -> torch.nn.Module:
    """A random model of one family, sharp enough that its predictions differ from uniform."""
    torch.manual_seed(0)
    shape = {
        "vocab_size": 320,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "pad_token_id": 1,
        "initializer_range": 0.3,
    }
    deep = {
        "hidden_size": D_MODEL,
        "intermediate_size": 32,
        "num_hidden_layers": N_LAYERS,
        "num_attention_heads": 2,
        "max_position_embeddings": 32,
    }
    if family == "gpt2":
        return GPT2LMHeadModel(
            GPT2Config(n_embd=D_MODEL, n_layer=N_LAYERS, n_head=2, n_positions=32, **shape)
        ).eval()
    if family == "gemma":
        return GemmaForCausalLM(
            GemmaConfig(num_key_value_heads=1, head_dim=8, **deep, **shape)
        ).eval()
    return LlamaForCausalLM(LlamaConfig(**deep, **shape)).eval()


def make_sae(hook_name: str, d_in: int = D_MODEL, d_sae: int = D_SAE) -> JumpReLUSAE:
    """A JumpReLU SAE with a few active latents a token.

    These are of an orthonormal basis in both signs; the others are rarely active.
    """
    generator = torch.Generator().manual_seed(len(hook_name))
    sae = JumpReLUSAE(JumpReLUSAEConfig(d_in=d_in, d_sae=d_sae))
    basis = torch.linalg.qr(torch.randn(d_in, d_in, generator=generator)).Q
    rare = torch.nn.functional.normalize(torch.randn(d_sae, d_in, generator=generator), dim=1)
    directions = torch.cat([basis, -basis, rare])[:d_sae]
    reach = torch.full((d_sae,), 0.3)
    reach[: 2 * d_in] = 1.0
    with torch.no_grad():
        sae.W_enc.copy_(directions.T * reach)
        sae.W_dec.copy_(directions)
        sae.threshold.fill_(1.0)
    sae.cfg.metadata.hook_name = hook_name
    return sae


def identity_sae(hook_name: str, d_in: int = D_MODEL) -> JumpReLUSAE:
    """An SAE that reconstructs exactly: one latent for each sign of each coordinate."""
    sae = JumpReLUSAE(JumpReLUSAEConfig(d_in=d_in, d_sae=2 * d_in))
    both = torch.cat([torch.eye(d_in), -torch.eye(d_in)])
    with torch.no_grad():
        sae.W_enc.copy_(both.T)
        sae.W_dec.copy_(both)
        sae.threshold.fill_(0.0)
    sae.cfg.metadata.hook_name = hook_name
    return sae


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What cells of pages put out may come late on a busy machine: nbval gives up after 5 s."""
    for item in items:
        if hasattr(item, "output_timeout"):
            item.output_timeout = 300


@pytest.fixture(scope="session", autouse=True)
def one_day() -> Iterator[None]:
    """Records that are compared were measured on the same day, also where midnight is between."""
    today = datetime.now(UTC)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(circumstances, "datetime", SimpleNamespace(now=lambda zone: today))
        yield


@pytest.fixture(autouse=True)
def own_environment() -> Iterator[None]:
    """What a run of pages tells its kernels by the environment is not told to other tests."""
    before = dict(os.environ)
    yield
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture(autouse=True)
def own_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Nothing that a test measures outlives it.

    Tests marked `shared_cache` read the shipped corpus from the cache that is kept.
    """
    if "shared_cache" not in request.keywords:
        monkeypatch.setenv("SAECERT_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders in Hugging Face format, one a family, each with an SAE at two hook points."""
    made = {}
    for family in ("llama", "gpt2", "gemma"):
        made[family] = folder = tmp_path_factory.mktemp("subjects") / family
        make_model(family).save_pretrained(folder)
        make_tokenizer().save_pretrained(folder)
        for layer in (0, 1):
            make_sae(f"blocks.{layer}.hook_resid_post").save_model(
                folder / f"saes/blocks.{layer}.hook_resid_post"
            )
    return made


@pytest.fixture(scope="session")
def subject(folders):
    """The tiny Llama."""
    return load_subject(folders["llama"])


@pytest.fixture(scope="session")
def spelled(subject):
    """The same with a tokenizer that decodes: spaces are spaces."""
    tokenizer = make_tokenizer()
    tokenizer.backend_tokenizer.decoder = decoders.ByteLevel()
    return replace(subject, tokenizer=tokenizer)


@pytest.fixture(scope="session")
def corpora(subject):
    """Discovery and certification splits of generated text."""
    texts = make_texts(120)
    return {
        split: load_corpus(texts, subject, split=split, n_ctx=N_CTX)
        for split in ("discovery", "certification")
    }


@pytest.fixture(scope="session")
def shipped():
    """The subject that comes with the package."""
    return load_subject("docstring-6l")

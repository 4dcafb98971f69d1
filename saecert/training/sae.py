"""Train one SAE per layer of `docstring-6l` with sae_lens, calibrate its threshold, and keep it in half precision."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from sae_lens import (
    SAE,
    BatchTopKTrainingSAE,
    BatchTopKTrainingSAEConfig,
    LoggingConfig,
    SAETrainer,
)
from sae_lens.config import SAETrainerConfig
from tqdm import tqdm
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from saecert.corpora.tokenize import windows
from saecert.training.language_model import N_CTX, split_texts

WIDTH, SEED, BATCH = 8, 0, 512
N_CACHED = 2_000_000
"""Activations kept of each layer; seen more than once by the layers that train on more."""
SCHEDULE = ((2_000_000, 2e-3, 24),) * 4 + ((8_000_000, 4e-3, 26),) * 2
"""By layer: activations seen, peak learning rate, mean active latents. The last two are harder to reconstruct."""
DEAD_WINDOW = 80
"""Steps without firing after which a latent gets the auxiliary loss: 41k tokens, under the 100k on which silence is counted."""


@torch.no_grad()
def cache_activations(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    split: str,
    n_tokens: int,
    folder: Path,
) -> list[np.ndarray]:
    """Residual streams after every block on `n_tokens` tokens of windows of a split, BOS and padding left out, in random order.

    One float16 file (n_tokens, d_model) a layer under `folder`, returned as memory maps; finished ones are reused.
    """
    folder.mkdir(parents=True, exist_ok=True)
    n_layers, d_model = model.config.num_hidden_layers, model.config.hidden_size
    paths, done = (
        [folder / f"{split}-{layer}.npy" for layer in range(n_layers)],
        folder / f"{split}.json",
    )
    if done.exists():
        return [np.load(path, mmap_mode="r") for path in paths]
    tokens, lengths = windows(split_texts(split), tokenizer, n_ctx=N_CTX)
    rng = np.random.default_rng(SEED)
    order = rng.permutation(len(tokens))
    order = order[: 1 + np.searchsorted(np.cumsum(lengths[order] - 1), n_tokens)]
    order = order[
        np.argsort(lengths[order], kind="stable")
    ]  # like lengths together: little padding is computed
    n_tokens = int((lengths[order] - 1).sum())
    places = rng.permutation(n_tokens)
    layers = np.empty(
        (n_layers, n_tokens, d_model), np.float16
    )  # in memory: random writes to a file would be flushed over and over
    start = 0
    for part in tqdm(
        np.array_split(order, -(-len(order) // 64)), desc=f"{split} activations", mininterval=5
    ):
        width = int(lengths[part].max())
        kept = torch.from_numpy(
            (np.arange(width) >= 1) & (np.arange(width) < lengths[part][:, None])
        )
        # hooks on the blocks: hidden_states would give the last layer after the final norm
        states = block_outputs(model, torch.from_numpy(tokens[part, :width].astype(np.int64)))
        where = places[start : start + int(kept.sum())]
        for acts, out in zip(states, layers, strict=True):
            out[where] = acts[kept].half().numpy()
        start += len(where)
    for path, out in zip(paths, layers, strict=True):
        np.save(path, out)
    done.write_text(json.dumps({"n_tokens": n_tokens}))
    return [np.load(path, mmap_mode="r") for path in paths]


def block_outputs(model: LlamaForCausalLM, ids: torch.Tensor) -> list[torch.Tensor]:
    """Residual stream after each block, (batch, pos, d_model)."""
    states: list[torch.Tensor] = []
    handles = [
        block.register_forward_hook(
            lambda _m, _i, out: states.append(out[0] if isinstance(out, tuple) else out)
        )
        for block in model.model.layers
    ]
    try:
        model.model(ids, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return states


def train_sae(acts: np.ndarray, held_out: np.ndarray, layer: int, out: Path) -> None:
    """Train a BatchTopK SAE on `acts`, set its inference threshold on `held_out`, save it to `out` as JumpReLU in float16."""
    torch.manual_seed(SEED + layer)
    d_in, (n_samples, peak, k) = acts.shape[1], SCHEDULE[layer]
    settings = BatchTopKTrainingSAEConfig(
        d_in=d_in,
        d_sae=WIDTH * d_in,
        k=k,
        apply_b_dec_to_input=True,
        normalize_activations="expected_average_only_in",
        topk_threshold_lr=0.02,
    )
    settings.metadata.hook_name = f"blocks.{layer}.hook_resid_post"
    settings.metadata.model_name = "docstring-6l"
    sae = BatchTopKTrainingSAE.from_dict(settings.to_dict())
    with torch.no_grad():
        sae.b_dec.zero_()
    trainer = SAETrainer(
        cfg=SAETrainerConfig(
            total_training_samples=n_samples,
            train_batch_size_samples=BATCH,
            lr=peak,
            lr_end=peak / 10,
            lr_warm_up_steps=200,
            lr_decay_steps=n_samples // BATCH // 3,
            dead_feature_window=DEAD_WINDOW,
            n_batches_for_norm_estimate=20,
            logger=LoggingConfig(log_to_wandb=False),
        ),
        sae=sae,
        data_provider=_batches(acts),
    )
    trained = trainer.fit()
    with (
        tempfile.TemporaryDirectory() as work
    ):  # sae_lens turns BatchTopK into JumpReLU on the way to disk
        trained.save_inference_model(work)
        inference = SAE.load_from_disk(work)
    _set_threshold(inference, torch.from_numpy(held_out[:50_000].astype(np.float32)), k)
    inference.cfg.dtype = "float16"
    inference.half().save_model(out)


def _batches(acts: np.ndarray) -> Iterator[torch.Tensor]:
    epoch = 0
    while True:
        starts = np.random.default_rng([SEED, epoch]).permutation(len(acts) // BATCH) * BATCH
        for start in starts:
            yield torch.from_numpy(acts[start : start + BATCH].astype(np.float32))
        epoch += 1


@torch.no_grad()
def _set_threshold(sae: SAE, acts: torch.Tensor, k: int) -> None:
    """One threshold for all latents, at which `k` of them are active on average: the running one that training leaves is too slow."""
    sae.threshold.fill_(0.0)
    values = torch.cat([sae.encode(part).flatten() for part in acts.split(5_000)])
    sae.threshold.fill_(values.topk(k * len(acts)).values[-1].item())


def train_all(work: Path, out: Path) -> None:
    """SAEs of all layers of the model in ``work/model``, written to ``out/saes``; layers already there are kept."""
    model = LlamaForCausalLM.from_pretrained(work / "model", dtype=torch.float32).eval()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(work / "model")
    train = cache_activations(model, tokenizer, "train", N_CACHED, work / "activations")
    held_out = cache_activations(model, tokenizer, "validation", 200_000, work / "activations")
    for layer in range(model.config.num_hidden_layers):
        target = out / f"saes/blocks.{layer}.hook_resid_post"
        if not (target / "sae_weights.safetensors").exists():
            train_sae(train[layer], held_out[layer], layer, target)

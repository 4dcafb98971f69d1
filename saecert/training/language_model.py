"""Train a tokenizer and a small Llama on the train docstrings, resumably."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from saecert.corpora.docstrings import docstring_documents, split_of
from saecert.corpora.tokenize import windows
from saecert.storage import atomic_path, progress_bar, room_for
from saecert.training.recipes import LanguageModelRecipe

BOS = "<|bos|>"
PAD = "<|pad|>"
POOLED_BATCHES = 50
"""Batches' worth of windows that are sorted by length together."""

Tokens = Int[np.ndarray, "n_windows n_ctx"]
Lengths = Int[np.ndarray, "n_windows"]
HeldOut = tuple[Int[np.ndarray, "n_held_out n_ctx"], Int[np.ndarray, "n_held_out"]]


def train_tokenizer(texts: Sequence[str], recipe: LanguageModelRecipe) -> PreTrainedTokenizerFast:
    """Byte-level BPE fitted on `texts`: the train split and nothing else."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=recipe.d_vocab,
        special_tokens=[BOS, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=BOS,
        eos_token=BOS,
        pad_token=PAD,
        model_max_length=recipe.n_ctx,
        clean_up_tokenization_spaces=False,
    )


def split_texts(split: str) -> list[str]:
    """Documents of one split of the docstring corpus, in the order of their names."""
    documents = docstring_documents()
    return [documents[key] for key in sorted(documents) if split_of(key) == split]


def batches(
    lengths: Lengths, epoch: int, recipe: LanguageModelRecipe
) -> list[Int[np.ndarray, "batch"]]:
    """Rows of each batch of one epoch, windows of like length together: little padding is computed.

    Windows left over when the batches are full wait for the next epoch. ValueError when there are
    too few for one.
    """
    size = recipe.batch_size
    if len(lengths) < size:
        raise ValueError(f"{len(lengths)} windows do not fill a batch of {size}: give more text")
    rng = np.random.default_rng([recipe.seed, epoch])
    order = rng.permutation(len(lengths))
    pools = np.array_split(order, max(1, len(order) // (POOLED_BATCHES * size)))
    sorted_pools = [pool[np.argsort(lengths[pool], kind="stable")] for pool in pools]
    order = np.concatenate(sorted_pools)
    starts = range(0, len(order) - size + 1, size)
    in_order = [order[start : start + size] for start in starts]
    return [in_order[i] for i in rng.permutation(len(in_order))]


def new_model(tokenizer: PreTrainedTokenizerFast, recipe: LanguageModelRecipe) -> LlamaForCausalLM:
    """The untrained model, seeded."""
    torch.manual_seed(recipe.seed)
    config = LlamaConfig(
        vocab_size=recipe.d_vocab,
        hidden_size=recipe.d_model,
        intermediate_size=recipe.d_mlp,
        num_hidden_layers=recipe.n_layers,
        num_attention_heads=recipe.n_heads,
        max_position_embeddings=recipe.n_ctx,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def new_optimizer(model: LlamaForCausalLM, recipe: LanguageModelRecipe) -> torch.optim.AdamW:
    """AdamW with weight decay on matrices only."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim == 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.95))


def batch_loss(model: LlamaForCausalLM, tokens: Tokens, lengths: Lengths) -> Float[Tensor, ""]:
    """Mean cross-entropy in nats per token over the unpadded targets of a batch of windows."""
    longest = int(lengths.max())
    ids = torch.from_numpy(tokens[:, :longest].astype(np.int64))
    padding = torch.arange(1, longest) >= torch.from_numpy(lengths)[:, None]
    targets = ids[:, 1:].masked_fill(padding, -100)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(ids[:, :-1]).logits
    return torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten())


def learning_rate(progress: float, step: int, recipe: LanguageModelRecipe) -> float:
    """Linear warm-up, then a cosine to 2 % of the peak; `progress` is the share of tokens seen."""
    warm_up = min(1.0, (step + 1) / recipe.warm_up_steps)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return recipe.learning_rate * warm_up * (0.02 + 0.98 * cosine)


def train(work: Path, recipe: LanguageModelRecipe) -> None:
    """Write tokenizer and trained model to ``work/model``.

    Continues from ``work/checkpoint.pt`` after an interruption; a model that is there is kept.
    """
    out = work / "model"
    if (out / "trained.json").exists():
        return
    tokenizer = train_tokenizer(split_texts("train"), recipe)
    with room_for(out):
        tokenizer.save_pretrained(out)
    tokens, lengths = windows(split_texts("train"), tokenizer, n_ctx=recipe.n_ctx)
    held_out_texts = split_texts("validation")[: recipe.n_validation]
    held_out = windows(held_out_texts, tokenizer, n_ctx=recipe.n_ctx)
    training = _Training(new_model(tokenizer, recipe), recipe, work / "checkpoint.pt")
    training.fit(tokens, lengths, held_out)
    model = training.model
    with room_for(out):
        model.half().save_pretrained(out)
    bits = validation_bits(model.float(), *held_out, batch_size=recipe.batch_size)
    with atomic_path(out / "trained.json") as partial:
        partial.write_text(json.dumps(training.state | {"validation_bits": bits}))


class _Training:
    """A model on its way, and how far it is."""

    def __init__(self, model: LlamaForCausalLM, recipe: LanguageModelRecipe, path: Path) -> None:
        self.model = model
        self.recipe = recipe
        self.path = path
        self.optimizer = new_optimizer(model, recipe)
        self.state = {"epoch": 0, "batch": 0, "step": 0, "seen": 0}
        self.plans: dict[int, list[np.ndarray]] = {}
        if path.exists():
            saved = torch.load(path, weights_only=True)
            model.load_state_dict(saved["model"])
            self.optimizer.load_state_dict(saved["optimizer"])
            self.state = saved["state"]

    def fit(self, tokens: Tokens, lengths: Lengths, held_out: HeldOut) -> None:
        """Train until the recipe's number of tokens was seen."""
        recipe = self.recipe
        bar = progress_bar(
            total=recipe.n_tokens,
            initial=self.state["seen"],
            unit="tok",
            unit_scale=True,
            desc="language model",
            mininterval=5,
        )
        with bar:
            while self.state["seen"] < recipe.n_tokens:
                rows = self._next_rows(lengths)
                loss = self.step(tokens[rows], lengths[rows])
                bar.update(int(lengths[rows].sum()) - len(rows))
                bar.set_postfix(bits=f"{loss / math.log(2):.3f}", refresh=False)
                if self.state["step"] % recipe.checkpoint_steps == 0:
                    self._save()
                if self.state["step"] % recipe.validation_steps == 0:
                    bits = validation_bits(self.model, *held_out, batch_size=recipe.batch_size)
                    bar.write(f"step {self.state['step']}: validation {bits:.4f} bits per token")

    def step(self, tokens: Tokens, lengths: Lengths) -> float:
        """One step of the optimizer; the loss before it, in nats per token."""
        progress = self.state["seen"] / self.recipe.n_tokens
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(progress, self.state["step"], self.recipe)
        loss = batch_loss(self.model, tokens, lengths)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.state["batch"] += 1
        self.state["step"] += 1
        self.state["seen"] += int(lengths.sum()) - len(lengths)
        return loss.item()

    def _next_rows(self, lengths: Lengths) -> Int[np.ndarray, "batch"]:
        if self.state["batch"] >= len(self._plan(lengths)):
            self.state["epoch"] += 1
            self.state["batch"] = 0
        return self._plan(lengths)[self.state["batch"]]

    def _plan(self, lengths: Lengths) -> list[Int[np.ndarray, "batch"]]:
        epoch = self.state["epoch"]
        if epoch not in self.plans:
            self.plans = {epoch: batches(lengths, epoch, self.recipe)}
        return self.plans[epoch]

    def _save(self) -> None:
        parts = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "state": self.state,
        }
        with atomic_path(self.path) as partial:
            torch.save(parts, partial)


@torch.no_grad()
def validation_bits(
    model: LlamaForCausalLM, tokens: Tokens, lengths: Lengths, *, batch_size: int = 32
) -> float:
    """Raw bits per token over windows of validation text."""
    nats = 0.0
    for start in range(0, len(tokens), batch_size):
        rows = slice(start, start + batch_size)
        n_targets = float((lengths[rows] - 1).sum())
        nats += batch_loss(model, tokens[rows], lengths[rows]).item() * n_targets
    return nats / float((lengths - 1).sum()) / math.log(2)

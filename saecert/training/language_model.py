"""Train the tokenizer and the six-layer Llama of `docstring-6l` on the train split, resumably."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from tqdm import tqdm
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from saecert.corpora.docstrings import docstring_documents, split_of
from saecert.corpora.tokenize import windows
from saecert.storage import atomic_path

N_CTX, D_VOCAB, SEED = 128, 4096, 0
BOS, PAD = "<|bos|>", "<|pad|>"
BATCH, N_TOKENS, PEAK_LR, WARMUP = 32, 16_000_000, 3e-3, 200
CHECKPOINT_EVERY, VALIDATE_EVERY = 100, 1000


def train_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """Byte-level BPE of 4,096 tokens fitted on `texts` (the train split and nothing else)."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=D_VOCAB,
            special_tokens=[BOS, PAD],
            initial_alphabet=alphabet,
            show_progress=False,
        ),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=BOS,
        eos_token=BOS,
        pad_token=PAD,
        model_max_length=N_CTX,
        clean_up_tokenization_spaces=False,
    )


def split_texts(split: str) -> list[str]:
    """Documents of one split of the docstring corpus, in the order of their names."""
    documents = docstring_documents()
    return [documents[key] for key in sorted(documents) if split_of(key) == split]


def batches(lengths: np.ndarray, epoch: int) -> list[np.ndarray]:
    """Rows of each batch of one epoch: windows of like length together, so that little padding is computed."""
    rng = np.random.default_rng([SEED, epoch])
    order = rng.permutation(len(lengths))
    pools = np.array_split(order, max(1, len(order) // (50 * BATCH)))
    order = np.concatenate([pool[np.argsort(lengths[pool], kind="stable")] for pool in pools])
    cut = [order[i : i + BATCH] for i in range(0, len(order) - BATCH + 1, BATCH)]
    return [cut[i] for i in rng.permutation(len(cut))]


def new_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """The untrained model, seeded."""
    torch.manual_seed(SEED)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=D_VOCAB,
            hidden_size=192,
            intermediate_size=512,
            num_hidden_layers=6,
            num_attention_heads=6,
            max_position_embeddings=N_CTX,
            tie_word_embeddings=True,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def batch_loss(model: LlamaForCausalLM, tokens: np.ndarray, lengths: np.ndarray) -> torch.Tensor:
    """Mean cross-entropy in nats per token over the unpadded targets of a batch of windows."""
    longest = int(lengths.max())
    ids = torch.from_numpy(tokens[:, :longest].astype(np.int64))
    targets = ids[:, 1:].masked_fill(
        torch.arange(1, longest) >= torch.from_numpy(lengths)[:, None], -100
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(ids[:, :-1]).logits
    return torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten())


def learning_rate(progress: float, step: int) -> float:
    """Linear warm-up, then a cosine to 2 % of the peak; `progress` in [0, 1] is the share of tokens seen."""
    return (
        PEAK_LR
        * min(1.0, (step + 1) / WARMUP)
        * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))
    )


def train(work: Path, n_tokens: int = N_TOKENS) -> None:
    """Write tokenizer and trained model to ``work/model``; continue from ``work/checkpoint.pt`` after an interruption."""
    out = work / "model"
    if (out / "trained.json").exists():
        return
    tokenizer = train_tokenizer(split_texts("train"))
    tokenizer.save_pretrained(out)
    tokens, lengths = windows(split_texts("train"), tokenizer, n_ctx=N_CTX)
    held_out = windows(split_texts("validation")[:600], tokenizer, n_ctx=N_CTX)
    model, state = new_model(tokenizer), {"epoch": 0, "batch": 0, "step": 0, "seen": 0}
    groups = [
        {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": 0.1},
        {"params": [p for p in model.parameters() if p.ndim == 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=PEAK_LR, betas=(0.9, 0.95))
    checkpoint = work / "checkpoint.pt"
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(saved["model"]), optimizer.load_state_dict(saved["optimizer"])
        state = saved["state"]
    with tqdm(
        total=n_tokens,
        initial=state["seen"],
        unit="tok",
        unit_scale=True,
        desc="language model",
        mininterval=5,
    ) as bar:
        while state["seen"] < n_tokens:
            plan = batches(lengths, state["epoch"])
            for rows in plan[state["batch"] :]:
                loss = _step(model, optimizer, tokens[rows], lengths[rows], state, n_tokens)
                (
                    bar.update(int(lengths[rows].sum()) - len(rows)),
                    bar.set_postfix(bits=f"{loss / math.log(2):.3f}", refresh=False),
                )
                if state["step"] % CHECKPOINT_EVERY == 0:
                    with atomic_path(checkpoint) as partial:
                        torch.save(
                            {
                                "model": model.state_dict(),
                                "optimizer": optimizer.state_dict(),
                                "state": state,
                            },
                            partial,
                        )
                if state["step"] % VALIDATE_EVERY == 0:
                    tqdm.write(
                        f"step {state['step']}: validation {validation_bits(model, *held_out):.4f} bits per token"
                    )
                if state["seen"] >= n_tokens:
                    break
            else:
                state["epoch"], state["batch"] = state["epoch"] + 1, 0
    model.half().save_pretrained(out)
    (out / "trained.json").write_text(
        json.dumps(state | {"validation_bits": validation_bits(model.float(), *held_out)})
    )


def _step(model, optimizer, tokens, lengths, state, n_tokens) -> float:
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(state["seen"] / n_tokens, state["step"])
    loss = batch_loss(model, tokens, lengths)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    state["batch"] += 1
    state["step"] += 1
    state["seen"] += int(lengths.sum()) - len(lengths)
    return loss.item()


@torch.no_grad()
def validation_bits(model: LlamaForCausalLM, tokens: np.ndarray, lengths: np.ndarray) -> float:
    """Raw bits per token over the windows of the validation split."""
    total = 0.0
    for i in range(0, len(tokens), BATCH):
        part = lengths[i : i + BATCH]
        total += batch_loss(model, tokens[i : i + BATCH], part).item() * float((part - 1).sum())
    return total / float((lengths - 1).sum()) / math.log(2)

"""What certifying one of the paper's models takes: operations counted, hours and memory estimated.

The count needs torch, which is imported when it is made; the estimates are arithmetic on its frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import pandas as pd

N_PROXIES = 7
"""Proxies that the four terms take: the SAE, four pools, and two ablations."""
N_DISCOVERY_PROXIES = 5
"""Proxies on discovery sequences: the SAE and four pools."""
N_DISCOVERY = 500
"""Discovery sequences on which they run."""
OVERHEAD = 3e9
"""Bytes beside the weights of the model and of one SAE, at most."""

_COUNTED_TOKENS = 128
_STUDIED = {"gpt2-small": "blocks.6.hook_resid_pre", "gemma-2b": "blocks.12.hook_resid_post"}
"""Hook points that the predecessor of the paper studied; the middle one for other models."""
_SHAPE = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "vocab_size",
)
_GEMMA = (2048, 16_384, 18, 8, 1, 256_000)
_LLAMA = (4096, 14_336, 32, 32, 8, 128_256)


@dataclass(frozen=True)
class Weights:
    """Weights that multiply something at a token, and what torch counts for one."""

    total: int
    """Of the model."""
    blocks: int
    """In its blocks."""
    unembedding: int
    """In its unembedding."""
    d_in: int
    """Width of the residual stream."""
    n_layers: int
    """Number of blocks."""
    counted: float
    """Floating-point operations a token, as torch counts them."""


def counted_operations(model: str) -> list[dict[str, Any]]:
    """One row on one of the paper's models: its weights, its SAE, and operations a token.

    Columns: "weights", "P_blocks", "P_unembed", "P_SAE" (2 d_in m, encoder and decoder), "counted"
    (operations a token, by torch, on a model of the real dimensions that has shapes but no
    numbers), "per weight" (those over twice the weights that multiply something), "hook_name",
    "behind" (share of the blocks behind it), "bytes" (of one weight).
    """
    from saecert.subjects.forward import hook_layer
    from saecert.subjects.registry import PAPER

    published = PAPER[model]
    weights = weights_of(model.split("-")[0])
    hook_names = list(published.saes)
    hook_name = _STUDIED.get(model, hook_names[(len(hook_names) - 1) // 2])
    before = hook_layer(hook_name) + hook_name.endswith("post")
    row = {
        "weights": weights.total,
        "P_blocks": weights.blocks,
        "P_unembed": weights.unembedding,
        "P_SAE": 2 * weights.d_in * published.d_sae,
        "counted": weights.counted,
        "per weight": weights.counted / (2 * (weights.blocks + weights.unembedding)),
        "hook_name": hook_name,
        "behind": 1 - before / weights.n_layers,
        "bytes": published.dtype.itemsize,
    }
    return [row]


def counted_table(counted: pd.DataFrame) -> pd.DataFrame:
    """The frame of `counted_operations` by model, as it is printed: billions, and percent."""
    billions = counted.set_index("model")[["P_blocks", "P_unembed", "P_SAE", "counted"]] / 1e9
    beyond = 100 * (counted.set_index("model")["per weight"] - 1)
    weights = [("weights (billions)", part) for part in ("blocks", "unembedding", "SAE")]
    names = [*weights, ("operations a token", "billions")]
    table = billions.set_axis(pd.MultiIndex.from_tuples(names), axis=1)
    table["operations a token", "beyond two a weight (%)"] = beyond
    return table


def operations(row: pd.Series, n_proxies: int) -> float:
    """Floating-point operations a token of `saecert.collect` with so many proxies.

    2 [(1 + n_p theta) P_blocks + (1 + n_p) P_unembed + P_SAE]: two for each weight that takes part.
    The model runs once, what is behind the hook point (a share theta of the blocks) and the
    unembedding once more for each proxy, encoder and decoder once. `row` is that of
    `counted_operations`.
    """
    blocks = (1 + n_proxies * row["behind"]) * row["P_blocks"]
    return 2 * (blocks + (1 + n_proxies) * row["P_unembed"] + row["P_SAE"])


def estimates(counted: pd.DataFrame, n_seq: int, rate: float) -> pd.DataFrame:
    """Memory in GB and hours that a certificate of each model takes: arithmetic, not measured.

    Parameters
    ----------
    counted
        Rows of `counted_operations`, and the column "model".
    n_seq
        Certification sequences of 128 tokens. Ranking the latents reads a third as many more, all
        of the discovery split, up to the hook point.
    rate
        Floating-point operations a second.
    """
    rows = []
    for _, row in counted.iterrows():
        ranking = 2 * ((1 - row["behind"]) * row["P_blocks"] + row["P_SAE"])
        total = n_seq * operations(row, N_PROXIES)
        total += N_DISCOVERY * operations(row, N_DISCOVERY_PROXIES)
        total += n_seq / 3 * ranking
        memory = (row["weights"] + row["P_SAE"]) * row["bytes"] + OVERHEAD
        hours = _COUNTED_TOKENS * total / rate / 3600
        rows.append({"model": row["model"], "memory (GB)": memory / 1e9, "hours": hours})
    return pd.DataFrame(rows)


def per_shard(counted: pd.DataFrame, n_seq: int, n_shards: int, rate: float) -> pd.DataFrame:
    """Memory in GB and hours of one shard of each model, and hours of what is fixed on discovery.

    The same arithmetic as `estimates`: the certification sequences are divided among the shards,
    and the discovery split is measured once for all. ValueError for no shards.
    """
    if n_shards < 1:
        raise ValueError(f"n_shards must be at least 1, got {n_shards}")
    whole = estimates(counted, n_seq, rate)
    measured = [
        _COUNTED_TOKENS * n_seq * operations(row, N_PROXIES) / rate / 3600
        for _, row in counted.iterrows()
    ]
    return pd.DataFrame(
        {
            "model": whole["model"],
            "memory (GB)": whole["memory (GB)"],
            "hours a shard": [hours / n_shards for hours in measured],
            "hours beforehand": whole["hours"] - measured,
        }
    )


@cache
def weights_of(family: str) -> Weights:
    """Weights and counted operations of "gpt2", "gemma" (2B) or "llama" (8B); takes torch."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import AutoModelForCausalLM

    config = _config(family)
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        model = AutoModelForCausalLM.from_config(config)
        model(torch.zeros(1, _COUNTED_TOKENS, dtype=torch.long))
    total = sum(parameter.numel() for parameter in model.parameters())
    unembedding = config.vocab_size * config.hidden_size
    # looking up an embedding of its own multiplies nothing
    looked_up = 0 if config.tie_word_embeddings else unembedding
    blocks = total - unembedding - looked_up
    counted = counter.get_total_flops() / _COUNTED_TOKENS
    shape = (config.hidden_size, config.num_hidden_layers)
    return Weights(total, blocks, unembedding, *shape, counted)


def _config(family: str) -> Any:
    """The configuration of a family, with the dimensions of its ``config.json``."""
    from transformers import GemmaConfig, GPT2Config, LlamaConfig

    if family == "gpt2":
        return GPT2Config()
    if family == "gemma":
        return GemmaConfig(**dict(zip(_SHAPE, _GEMMA, strict=True)), head_dim=256)
    return LlamaConfig(**dict(zip(_SHAPE, _LLAMA, strict=True)))

"""Checks of a model before and after loading: memory, finite weights, how its logits are made."""

from __future__ import annotations

from collections.abc import Iterable
from math import isfinite

import psutil
import torch
from transformer_lens.model_bridge import TransformerBridge
from transformers import AutoModelForCausalLM, PretrainedConfig

from saecert.subjects.forward import clean_run, logits_of

_TOLERANCE = 0.02  # of the largest logit


def check_device(device: str | torch.device) -> None:
    """Raise ValueError for no device, or a CUDA device that is not here."""
    try:
        asked = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"device takes 'cpu', 'cuda' or 'cuda:0', got {device!r:.60}") from error
    if asked.type != "cuda":
        return
    if not torch.cuda.is_available():
        raise ValueError("no CUDA device here: device='cpu'")
    count = torch.cuda.device_count()
    if (asked.index or 0) >= count:
        raise ValueError(f"no device '{asked}' here: there are {count} CUDA devices, from 0 on")


def check_memory(
    name: str,
    config: PretrainedConfig,
    sae_sizes: list[int],
    device: str | torch.device,
    dtype: torch.dtype,
    sae_dtype: torch.dtype | None = None,
) -> None:
    """Raise MemoryError if the model and SAEs of so many numbers would not fit on the device; SAEs
    are of the model's number type unless said."""
    with torch.device("meta"):
        empty = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    n_model = sum(parameter.numel() for parameter in empty.parameters())
    for_model = n_model * dtype.itemsize / 1e9
    for_saes = sum(sae_sizes) * (sae_dtype or dtype).itemsize / 1e9
    if torch.device(device).type == "cuda":
        free = torch.cuda.mem_get_info(device)[0] / 1e9
    else:
        free = psutil.virtual_memory().available / 1e9
    if for_model + for_saes > free:
        raise MemoryError(
            f"'{name}' in {str(dtype).removeprefix('torch.')} needs {for_model + for_saes:.1f} GB, "
            f"{for_model:.1f} for the model and {for_saes:.1f} for {len(sae_sizes)} SAEs, and "
            f"{device} has {free:.1f} GB free: load fewer SAEs (hooks=[...]), halve it "
            "(dtype=torch.bfloat16), or use another device"
        )


def check_finite(name: str, tensors: Iterable[tuple[str, torch.Tensor]]) -> None:
    """Raise ValueError naming the first tensor that holds NaN or infinity."""
    for key, tensor in tensors:
        if tensor.numel() and not all(map(isfinite, torch.aminmax(tensor.detach()))):
            key = key.replace("._original_component", "")
            raise ValueError(f"the weights of '{name}' are not finite: {key}")


@torch.no_grad()
def check_logits(name: str, model: TransformerBridge) -> None:
    """Raise ValueError if logits are made of the final residual in a way unknown to `logits_of`."""
    n_tokens = min(8, model.cfg.d_vocab, model.cfg.n_ctx)
    tokens = torch.arange(n_tokens, device=next(model.parameters()).device)[None]
    residual = clean_run(model, tokens, [])[1][0]
    made = logits_of(model, residual).float()
    expected = model.original_model(tokens).logits[0].float()
    difference = (made - expected).abs().max()
    if difference > _TOLERANCE * expected.abs().max():
        raise ValueError(
            f"the logits of '{name}' are not its unembedding of the final residual (they differ by "
            f"up to {difference:.2g}): it scales or shifts them in a way that saecert does not "
            "know, and cannot be measured yet"
        )

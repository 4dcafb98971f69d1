"""In which number types a model and its SAEs run, and what the record says about that."""

from __future__ import annotations

from dataclasses import dataclass

import torch

NATIVE = ("avx512_bf16", "amx_bf16")
"""Instructions that multiply bfloat16 numbers; without one of them a CPU converts back and forth,
which takes longer than float32."""
_TYPES = (torch.float32, torch.bfloat16, torch.float16)
HALF = (
    "weights and activations of the model in bfloat16, softmax and losses in float32: what is "
    "stated is about this model"
)
ROUNDED = (
    "weights rounded to bfloat16, computed in float32, since this CPU does not multiply bfloat16: "
    "what is stated is about this model"
)


@dataclass(frozen=True)
class Precision:
    """Number types of a subject."""

    model: torch.dtype
    """Of weights and activations."""
    saes: torch.dtype
    """Of the SAEs, which read activations converted to it."""
    rounded: bool = False
    """Whether the weights are rounded to bfloat16, `model` being float32."""

    def processing(self, before: str) -> str:
        """What was done to the weights: `before`, and what is not float32 about them."""
        if self.rounded:
            return f"{before}; {ROUNDED}"
        return f"{before}; {HALF}" if self.model == torch.bfloat16 else before

    @torch.no_grad()
    def apply(self, model: torch.nn.Module) -> None:
        """Round the weights of a float32 model where that is asked for."""
        if self.rounded:
            for parameter in model.parameters():
                parameter.copy_(parameter.bfloat16())


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether products in bfloat16 are faster than in float32: every CUDA device counts, a CPU
    by what it can do (`torch.cpu.get_capabilities`), so that one machine always decides alike."""
    if device.type != "cpu":
        return True
    present = torch.cpu.get_capabilities()
    return torch.backends.mkldnn.is_available() and any(map(present.get, NATIVE))


def chosen(
    dtype: str | torch.dtype | None, device: str | torch.device, published: torch.dtype
) -> Precision:
    """Number types for what was asked of `load_subject`; nothing asked is as `published`.

    bfloat16 on a CPU leaves the SAEs in float32 (3 % of the time, and latents are decided as
    published); on one that does not multiply bfloat16 the weights are rounded and everything is
    computed in float32. ValueError for another type than float32, bfloat16 or float16.

    >>> chosen("float32", "cpu", torch.bfloat16).model
    torch.float32
    """
    if dtype is None:
        return Precision(published, published)
    asked = _number_type(dtype)
    place = torch.device(device)
    if asked != torch.bfloat16 or place.type != "cpu":
        return Precision(asked, asked)
    if multiplies_bfloat16(place):
        return Precision(asked, torch.float32)
    return Precision(torch.float32, torch.float32, rounded=True)


def _number_type(dtype: str | torch.dtype) -> torch.dtype:
    asked = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if asked not in _TYPES:
        raise ValueError(
            f"dtype={dtype!r} is no number type that models are measured in: "
            "'float32', 'bfloat16' or 'float16'"
        )
    return asked

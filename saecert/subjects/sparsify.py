"""SAEs in the format of EleutherAI's sparsify (formerly sae), as an SAE of sae_lens."""

from __future__ import annotations

import json
import re
from pathlib import Path

import torch
from sae_lens import TopKSAE, TopKSAEConfig
from sae_lens.saes.sae import SAEMetadata
from safetensors.torch import load_file

WEIGHTS = "sae.safetensors"
_TENSORS = {"encoder.weight", "encoder.bias", "W_dec", "b_dec"}
# Settings that change what the coder computes and have no counterpart in a TopK SAE.
# `normalize_decoder` and `multi_topk` only concern training: the weights are stored normalised, and
# the forward pass reads neither.
_UNSUPPORTED = (
    "transcode",
    "skip_connection",
    "signed",
    "embed_skip",
    "gram_lookup",
    "normalize_io",
    "post_encoder_scale",
)
_SITES = {
    "": "hook_resid_post",
    "mlp": "hook_mlp_out",
    "attention": "hook_attn_out",
    "attn": "hook_attn_out",
    "self_attn": "hook_attn_out",
}


def load_sparsify(
    folder: str | Path, device: str = "cpu", dtype: torch.dtype = torch.float32
) -> TopKSAE:
    r"""The SAE in `folder`, which holds ``cfg.json`` and ``sae.safetensors``.

    Its forward pass, published in ``sparsify/sparse_coder.py`` of the package eai-sparsify, is
    :math:`\hat x = W_{dec}^T\, \mathrm{TopK}_k(\mathrm{ReLU}(W_{enc}(x - b_{dec}) + b_{enc})) +
    b_{dec}` with :math:`W_{dec}` of shape (num_latents, d_in), stored as it is used.
    ``num_latents`` that is 0 or missing stands for ``expansion_factor * d_in``.

    Raises
    ------
    ValueError
        A setting that a TopK SAE does not have (transcoder, skip connection, GroupMax, signed ...),
        tensors other than the four of that formula, or of other shapes than the configuration says.
    """
    folder = Path(folder)
    cfg = json.loads((folder / "cfg.json").read_text())
    odd = [name for name in _UNSUPPORTED if cfg.get(name)]
    if cfg.get("activation", "topk") != "topk":
        odd.append(f"activation={cfg['activation']}")
    state = load_file(folder / WEIGHTS, device=device)
    if odd or set(state) != _TENSORS:
        odd = odd or sorted(set(state) ^ _TENSORS)
        raise ValueError(f"{folder} is not a plain TopK SAE of sparsify: {', '.join(odd)}")
    d_in = cfg["d_in"]
    d_sae = cfg.get("num_latents") or cfg["expansion_factor"] * d_in
    shape = tuple(state["W_dec"].shape)
    if shape != (d_sae, d_in) or tuple(state["encoder.weight"].shape) != shape:
        raise ValueError(
            f"{folder / WEIGHTS} holds a decoder of shape {shape}, cfg.json says ({d_sae}, {d_in})"
        )
    metadata = SAEMetadata(hook_name=hook_name(folder.name))
    sae = TopKSAE(
        TopKSAEConfig(
            d_in=d_in,
            d_sae=d_sae,
            k=cfg["k"],
            device="meta",
            apply_b_dec_to_input=True,
            metadata=metadata,
        )
    )
    names = {
        "W_enc": state["encoder.weight"].T,
        "b_enc": state["encoder.bias"],
        "W_dec": state["W_dec"],
        "b_dec": state["b_dec"],
    }
    sae.load_state_dict(names, assign=True)
    return sae.to(device=device, dtype=dtype)


def hook_name(folder: str) -> str | None:
    """Hook point of an SAE whose folder has this name, or None if the name does not say it.

    sparsify hooks the output of the module that the folder is named after, layers counted from 0:
    ``layers.5`` is the residual stream after block 5 (EleutherAI/sparsify issue 16;
    ``get_submodule`` in ``trainer.py``).
    """
    match = re.fullmatch(r"(?:\w+\.)*?(?:layers?|h)[._](\d+)(?:\.(\w+))?", folder)
    site = _SITES.get(match[2] or "") if match else None
    return site and f"blocks.{match[1]}.{site}"

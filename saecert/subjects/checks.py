"""Checks of a model before and after loading: memory, finite weights, how its logits are made, and
whether activations can be replaced."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isfinite

import psutil
import torch
from transformer_lens.model_bridge import TransformerBridge
from transformers import AutoModelForCausalLM, PretrainedConfig

from saecert.subjects.forward import clean_run, final_residual, logits_of, n_skippable, shapes_at

_TOLERANCE = 0.02  # of the largest logit
_N_TOKENS = 8


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
    n_model = sum(parameter.numel() for parameter in _empty(name, config).parameters())
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


def _empty(name: str, config: PretrainedConfig) -> torch.nn.Module:
    """The model without numbers; ValueError for settings of which none can be made."""
    try:
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except Exception as error:  # whatever odd settings lead to
        asked = error.args[0] if error.args else None
        fields = [
            f"{key} is {value!r:.60}"
            for key, value in config.to_dict().items()
            if isinstance(value, str) and value == asked
        ]
        said = f"{' '.join(str(error).split()) or 'no message':.300}"
        wrong = ", ".join(fields) or f"{type(error).__name__}: {said}"
        raise ValueError(
            f"no model can be made of the config.json of '{name}' ({wrong}): correct it; it is the "
            "one that the model was saved with"
        ) from error


def check_finite(name: str, tensors: Iterable[tuple[str, torch.Tensor]]) -> None:
    """Raise ValueError naming the first tensor that holds NaN or infinity."""
    for key, tensor in tensors:
        if tensor.numel() and not all(map(isfinite, torch.aminmax(tensor.detach()))):
            key = key.replace("._original_component", "")
            raise ValueError(f"the weights of '{name}' are not finite: {key}")


@torch.no_grad()
def check_logits(name: str, model: TransformerBridge) -> None:
    """Raise ValueError if logits are made of the final residual in a way unknown to `logits_of`."""
    tokens = _few_tokens(model)[None]
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


def _few_tokens(model: TransformerBridge) -> torch.Tensor:
    n_tokens = min(_N_TOKENS, model.cfg.d_vocab, model.cfg.n_ctx)
    return torch.arange(n_tokens, device=next(model.parameters()).device)


@torch.no_grad()
def check_splices(name: str, model: TransformerBridge, hook_names: Sequence[str]) -> None:
    """Raise ValueError unless activations at these hook points can be replaced.

    The model's own activation, put back, has to leave its logits as they are, and another one has
    to change them. Tried on three short sequences, once for each kind of hook point, in that block
    from which on the fewest run again.
    """
    tokens = _few_tokens(model)
    tokens = torch.stack([tokens, tokens.flip(0), tokens])
    shapes = shapes_at(model, tokens, hook_names) if hook_names else {}
    for hook in hook_names:
        shape = shapes.get(hook, ())
        if len(shape) < 3 or shape[:2] != tokens.shape:
            raise ValueError(
                f"'{name}' has no activation at '{hook}' for each position that an SAE could "
                "replace: name another hook point"
            )
    acts, residual = clean_run(model, tokens, hook_names)
    by_skipped = sorted(hook_names, key=n_skippable)
    tried = {n_skippable(hook) > 0 or hook.split(".", 2)[2]: hook for hook in by_skipped}
    clean = logits_of(model, residual.flatten(0, 1)).unflatten(0, tokens.shape).float()
    for hook in tried.values():
        _check_splice(name, model, tokens, hook, acts[hook], clean)


def _check_splice(
    name: str,
    model: TransformerBridge,
    tokens: torch.Tensor,
    hook: str,
    acts: torch.Tensor,
    clean: torch.Tensor,
) -> None:
    """`check_splices` at one hook point, whose activation is replaced in the last sequence."""
    other = torch.linspace(-1, 1, acts.shape[-1]).to(acts) * (1 + acts.abs().max())
    spliced = torch.cat([acts[:-1], other.expand_as(acts[-1:])])
    try:
        residual = final_residual(model, tokens, hook, spliced)
        logits = logits_of(model, residual.flatten(0, 1)).unflatten(0, tokens.shape).float()
    except Exception as error:  # whatever a model makes of what it does not expect
        raise ValueError(
            f"the activation of '{name}' at '{hook}' cannot be replaced ({type(error).__name__}: "
            f"{' '.join(str(error).split()):.200}): name another hook point, and please report it"
        ) from error
    difference = (logits - clean).abs().amax(dim=(1, 2))
    if difference[:-1].max() > _TOLERANCE * clean.abs().max():
        raise ValueError(
            f"the activation of '{name}' at '{hook}', put back as it is, changes the model's "
            f"logits by up to {difference[:-1].max():.2g}: name another hook point, and please "
            "report it"
        )
    if difference[-1] == 0:
        raise ValueError(
            f"another activation at '{hook}' changes no logit of '{name}': nothing reads it there, "
            "and a certificate would say nothing; name another hook point"
        )

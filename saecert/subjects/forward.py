"""Run a frozen LM up to a hook point once, and from there on as often as needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from saecert.subjects.products import affine

_LAST = "unembed.hook_in"


def hook_layer(hook_name: str) -> int:
    """Index of the block that holds the hook point; ValueError for one outside the blocks."""
    parts = hook_name.split(".")
    if len(parts) < 3 or parts[0] != "blocks" or not parts[1].isdigit():
        raise ValueError(f"'{hook_name}' is not inside a block: expected blocks.<layer>.<hook>")
    return int(parts[1])


def n_skippable(hook_name: str) -> int:
    """How many blocks need not run again once the activation at the hook point is known.

    The residual stream carries everything, so all blocks before it; any other hook point is only
    one path of several: none.
    """
    layer = hook_layer(hook_name)
    return {"hook_resid_pre": layer, "hook_resid_post": layer + 1}.get(
        hook_name.split(".", 2)[2], 0
    )


def native_acts(
    model: TransformerBridge, tokens: Int[Tensor, "batch pos"], hook_name: str
) -> Float[Tensor, "batch pos d_in"]:
    """The LM's own activations at the hook point; blocks after it are not run.

    Of a hook point that holds a vector for each head, such as ``attn.hook_z``, one vector after the
    other.
    """
    return native_acts_at(model, tokens, [hook_name])[hook_name]


@torch.no_grad()
def native_acts_at(
    model: TransformerBridge, tokens: Int[Tensor, "batch pos"], hook_names: Sequence[str]
) -> dict[str, Float[Tensor, "batch pos _"]]:
    """The LM's own activations at several hook points, in one run.

    Blocks after the last of them are not run.
    """
    seen, keeping = _keeping(hook_names)
    model.run_with_hooks(
        tokens, stop_at_layer=max(map(hook_layer, hook_names)) + 1, fwd_hooks=keeping
    )
    return seen


@torch.no_grad()
def shapes_at(
    model: TransformerBridge, tokens: Int[Tensor, "batch pos"], hook_names: Sequence[str]
) -> dict[str, tuple[int, ...]]:
    """Shapes of what the hook points hold, whatever that is; those that never run are missing."""
    shapes: dict[str, tuple[int, ...]] = {}

    def keep(acts: Tensor, hook: object, name: str) -> None:
        shapes[name] = tuple(acts.shape)

    hooks = [(name, partial(keep, name=name)) for name in hook_names]
    model.run_with_hooks(
        tokens, stop_at_layer=max(map(hook_layer, hook_names)) + 1, fwd_hooks=hooks
    )
    return shapes


@torch.no_grad()
def clean_run(
    model: TransformerBridge, tokens: Int[Tensor, "batch pos"], hook_names: Sequence[str]
) -> tuple[dict[str, Float[Tensor, "batch pos _"]], Float[Tensor, "batch pos d_model"]]:
    """The LM's own activations at the hook points, and what its unembedding reads.

    One run of the whole LM, in which no logits are made.
    """
    seen, keeping = _keeping([*hook_names, _LAST])
    _run(model, tokens, keeping)
    last = seen.pop(_LAST)
    return seen, last


def final_residual(
    model: TransformerBridge,
    tokens: Int[Tensor, "batch pos"],
    hook_name: str,
    acts: Float[Tensor, "batch pos d_in"],
) -> Float[Tensor, "batch pos d_model"]:
    """What the unembedding would read if the activation at the hook point were `acts`.

    Gradients flow through it.
    """
    seen, keeping = _keeping([_LAST])
    with _skipping(model, n_skippable(hook_name)):
        _run(model, tokens, [(hook_name, partial(_put, hook_name, acts)), *keeping])
    return seen[_LAST]


@torch.no_grad()
def spliced_run(
    model: TransformerBridge,
    tokens: Int[Tensor, "batch pos"],
    hook_name: str,
    acts: Float[Tensor, "batch pos d_in"],
    hook_names: Sequence[str],
) -> tuple[dict[str, Float[Tensor, "batch pos _"]], Float[Tensor, "batch pos d_model"]]:
    """`clean_run` with the activation at `hook_name` being `acts`.

    Of the `hook_names` only those that come after it are seen as they are.
    """
    seen, keeping = _keeping([*hook_names, _LAST])
    with _skipping(model, n_skippable(hook_name)):
        _run(model, tokens, [(hook_name, partial(_put, hook_name, acts)), *keeping])
    last = seen.pop(_LAST)
    return seen, last


def lens(
    model: TransformerBridge, residual: Float[Tensor, "*rows d_model"]
) -> Float[Tensor, "*rows d_model"]:
    """What the unembedding would read if the residual stream ended here: through the final norm."""
    return model.ln_final(residual)


def logits_of(
    model: TransformerBridge,
    residual: Float[Tensor, "rows d_model"],
    out: Float[Tensor, "rows d_vocab"] | None = None,
) -> Float[Tensor, "rows d_vocab"]:
    """Logits of some positions, including the soft cap that Gemma 2 puts on them.

    `out` is memory to make them in.
    """
    head = model.original_model.get_output_embeddings()
    logits = affine(residual, head.weight, head.bias, out)
    cap = getattr(model.original_model.config, "final_logit_softcapping", None)
    return torch.mul(logits.div_(cap).tanh_(), cap, out=out) if cap else logits


_Hooks = list[tuple[str, Callable[..., Tensor | None]]]


def _run(model: TransformerBridge, tokens: Int[Tensor, "batch pos"], hooks: _Hooks) -> None:
    # run_with_hooks looks all names up twice for each hook: a tenth of the time of a small model
    points = model.hook_dict
    level = model.context_level + 1
    try:
        for name, hook in hooks:
            model.check_hooks_to_add(name)
            points[name].add_hook(hook, level=level)
        model(tokens)
    finally:
        for name, _ in hooks:
            points[name].remove_hooks(level=level)


def _keeping(hook_names: Sequence[str]) -> tuple[dict[str, Tensor], _Hooks]:
    """A dictionary, and the hooks that fill it.

    The hook before the unembedding passes on no sequence: logits are made elsewhere, and those of
    one position would cost the copying of the whole unembedding.
    """
    seen: dict[str, Tensor] = {}

    def keep(acts: Tensor, hook: object, name: str) -> Tensor | None:
        kept = acts.flatten(2) if acts.ndim > 3 else acts
        seen[name] = kept.clone() if _is_branch(name) else kept
        return acts[:0] if name == _LAST else None

    return seen, [(name, partial(keep, name=name)) for name in hook_names]


def _put(
    hook_name: str, acts: Float[Tensor, "batch pos d_in"], native: Tensor, hook: object
) -> Tensor:
    """`acts` as the hook point holds them: with an axis of heads where it has one."""
    whole = acts.unflatten(-1, native.shape[2:]) if native.ndim > 3 else acts
    return whole.clone() if _is_branch(hook_name) else whole


def _is_branch(hook_name: str) -> bool:
    """Whether the activation is added to another later, which Falcon does in its own memory."""
    return hook_name != _LAST and ".hook_resid_" not in hook_name


@contextmanager
def _skipping(model: TransformerBridge, n_blocks: int) -> Iterator[None]:
    # An instance attribute shadows the class's forward and is removed again; assigning on the
    # bridge's own block would leave the model broken, and looping over the blocks by hand would
    # lose the rotary embedding.
    blocks = [model.blocks[i]._original_component for i in range(n_blocks)]
    if any(block not in _n_returned for block in blocks):
        _ask(model)
    for block in blocks:
        block.__dict__["forward"] = partial(_pass_on, _n_returned[block])
    try:
        yield
    finally:
        for block in blocks:
            block.__dict__.pop("forward", None)


_n_returned: WeakKeyDictionary[torch.nn.Module, int] = WeakKeyDictionary()
"""How many things a block returns in a tuple, 0 for a tensor alone: what its model expects."""


@torch.no_grad()
def _ask(model: TransformerBridge) -> None:
    """Note what each block returns, on one token."""

    def note(block: torch.nn.Module, args: object, returned: object) -> None:
        _n_returned[block] = len(returned) if isinstance(returned, tuple) else 0

    blocks = [block._original_component for block in model.blocks]
    handles = [block.register_forward_hook(note) for block in blocks]
    device = next(model.original_model.parameters()).device
    try:
        _run(model, torch.zeros(1, 1, dtype=torch.long, device=device), _keeping([_LAST])[1])
    finally:
        for handle in handles:
            handle.remove()


def _pass_on(
    n_returned: int, hidden_states: Tensor, *args: object, **kwargs: object
) -> Tensor | tuple[Tensor | None, ...]:
    return (hidden_states, *[None] * (n_returned - 1)) if n_returned else hidden_states

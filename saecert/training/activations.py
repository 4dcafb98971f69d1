"""Activations of several hook points on many tokens, kept on disk in random order."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from tqdm import tqdm
from transformers import PreTrainedModel

from saecert.storage import atomic_path, progress_bar
from saecert.subjects.forward import hook_layer, native_acts_at
from saecert.subjects.subject import Subject

HALF_MAX = float(np.finfo(np.float16).max)
"""Largest number that half precision holds."""

Lengths = Int[np.ndarray, "n_windows"]


@dataclass(frozen=True)
class _Shard:
    """Windows that are run, mixed and written together."""

    rows: Int[np.ndarray, "n_rows"]
    """Windows, those of like length together."""
    places: Int[np.ndarray, "n_tokens"]
    """Where each of their tokens goes, within the shard."""
    start: int
    """Activations before this shard."""


def cache_activations(
    model: Subject | PreTrainedModel,
    tokens: Int[np.ndarray, "n_windows n_ctx"],
    lengths: Lengths,
    hook_names: Sequence[str],
    n_tokens: int,
    folder: Path,
    dtype: torch.dtype = torch.float32,
    *,
    name: str = "train",
    bos: bool = True,
    seed: int = 0,
    shard_tokens: int | None = None,
    batch_size: int = 64,
    progress: bool = True,
) -> dict[str, np.ndarray]:
    """Activations at every hook point on about `n_tokens` tokens, in random order, by hook name.

    Memory maps of one float16 file (n, d_in) for each hook point under `folder`. One run of the
    blocks up to the last hook point serves all of them; BOS and padding are left out. An
    interrupted call goes on behind the last shard that it finished, and what is finished is reused.

    Parameters
    ----------
    model
        A subject, or a model of transformers with blocks under ``model.model.layers``, of which
        only the residual stream after a block can be had.
    tokens, lengths
        Windows, padded on the right, and the number of tokens in each.
    hook_names
        Hook points.
    n_tokens
        Windows are drawn until they hold this many tokens, or there are no more.
    folder
        Where the files go.
    dtype
        `torch.bfloat16` runs the model under autocast, which is faster on most machines.
    name
        Beginning of the files' names.
    bos
        Whether the first token of each window is BOS, to be left out.
    seed
        Of the choice and order of windows and tokens.
    shard_tokens
        Tokens are mixed with others of the same shard, of about this many, held in memory at once.
        Default: all in one.
    batch_size
        Windows a run.
    progress
        Show a bar.

    Raises
    ------
    ValueError
        No tokens, an unknown hook point, activations that are not finite in half precision.
    OSError
        The disk has not enough space; says how much is needed.
    """
    first = int(bos)
    counts = lengths - first
    shards = _shards(counts, n_tokens, shard_tokens, np.random.default_rng(seed))
    store = _Store(folder, name, hook_names, sum(len(shard.places) for shard in shards))
    settings = (list(hook_names), n_tokens, str(dtype), bos, seed, shard_tokens, batch_size)
    done = store.open(_key(model, tokens, lengths, settings))
    n_done = sum(len(shard.places) for shard in shards[:done])
    with _bar(name, n_done, store.n_tokens, progress) as bar:
        for number, shard in enumerate(shards[done:], done + 1):
            acts: dict[str, np.ndarray] = {}
            start = 0
            for rows in np.array_split(shard.rows, -(-len(shard.rows) // batch_size)):
                values = _run(model, tokens[rows], lengths[rows], hook_names, first, dtype)
                n_new = int(counts[rows].sum())
                _put(acts, values, shard.places[start : start + n_new], len(shard.places))
                start += n_new
                bar.update(n_new)
            store.write(acts, shard.start, number)
    return store.maps()


def _bar(name: str, n_done: int, n_tokens: int, progress: bool) -> tqdm:
    return progress_bar(
        total=n_tokens,
        initial=n_done,
        desc=f"{name} activations",
        unit="tok",
        unit_scale=True,
        mininterval=5,
        disable=not progress or n_done == n_tokens,
    )


def _shards(
    counts: Lengths, n_tokens: int, shard_tokens: int | None, rng: np.random.Generator
) -> list[_Shard]:
    """Which windows are run together, and where their tokens go."""
    if n_tokens < 1 or not counts.sum():
        raise ValueError(f"{n_tokens} activations asked of {int(counts.sum())} tokens of text")
    order = rng.permutation(len(counts))
    n_windows = 1 + np.searchsorted(np.cumsum(counts[order]), n_tokens)
    order = order[:n_windows]
    ends = np.cumsum(counts[order])
    size = ends[-1] if shard_tokens is None else shard_tokens
    numbers = (ends - 1) // size
    shards = []
    start = 0
    for number in np.unique(numbers):
        rows = order[numbers == number]
        rows = rows[np.argsort(counts[rows], kind="stable")]
        places = rng.permutation(int(counts[rows].sum()))
        shards.append(_Shard(rows, places, start))
        start += len(places)
    return shards


@torch.no_grad()
def _run(
    model: Subject | PreTrainedModel,
    tokens: Int[np.ndarray, "batch n_ctx"],
    lengths: Int[np.ndarray, "batch"],
    hook_names: Sequence[str],
    first: int,
    dtype: torch.dtype,
) -> dict[str, Float[Tensor, "n_new d_in"]]:
    """Activations of one batch of windows, row after row, without BOS and padding."""
    width = int(lengths.max())
    positions = np.arange(width)
    wanted = (positions >= first) & (positions < lengths[:, None])
    ids = torch.from_numpy(tokens[:, :width].astype(np.int64))
    device = model.device
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        if isinstance(model, Subject):
            acts = native_acts_at(model.model, ids.to(device), hook_names)
        else:
            acts = block_outputs(model, ids.to(device), hook_names)
    return {name: acts[name].cpu()[torch.from_numpy(wanted)] for name in hook_names}


def block_outputs(
    model: PreTrainedModel, ids: Int[Tensor, "batch pos"], hook_names: Sequence[str]
) -> dict[str, Float[Tensor, "batch pos d_model"]]:
    """Residual stream after some blocks of a transformers model; blocks are hooked, not their sum.

    `output_hidden_states` would give the last one after the final norm. ValueError for hook points
    other than "blocks.<layer>.hook_resid_post".
    """
    states: dict[str, Tensor] = {}

    def keeper(name: str):
        def keep(_block: object, _inputs: object, out: Tensor | tuple) -> None:
            states[name] = out[0] if isinstance(out, tuple) else out

        return keep

    handles = []
    try:
        for name in hook_names:
            if not name.endswith(".hook_resid_post"):
                raise ValueError(f"'{name}' can only be read from a Subject")
            block = model.model.layers[hook_layer(name)]
            handles.append(block.register_forward_hook(keeper(name)))
        model.model(ids, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return states


def _put(
    acts: dict[str, np.ndarray],
    values: dict[str, Float[Tensor, "n_new d_in"]],
    places: Int[np.ndarray, "n_new"],
    n_tokens: int,
) -> None:
    """Write the values of one batch to their places in the arrays of the shard."""
    for name, new in values.items():
        if not new.isfinite().all() or new.abs().max() > HALF_MAX:
            raise ValueError(
                f"activations at '{name}' are not finite in half precision (beyond {HALF_MAX:,.0f} "
                "or NaN): they cannot be cached, try an earlier hook point or another dtype"
            )
        if name not in acts:
            acts[name] = np.empty((n_tokens, new.shape[1]), np.float16)
        acts[name][places] = new.half().numpy()


class _Store:
    """Files of activations, filled shard after shard, and a note of how many are done."""

    def __init__(self, folder: Path, name: str, hook_names: Sequence[str], n_tokens: int) -> None:
        self.paths = {hook: folder / f"{name}-{hook}.npy" for hook in hook_names}
        self.note = folder / f"{name}.json"
        self.n_tokens = n_tokens
        self.key = ""

    def open(self, key: str) -> int:
        """How many shards are there; 0 when what is there is of another model, text or setting."""
        self.key = key
        self.note.parent.mkdir(parents=True, exist_ok=True)
        if not self.note.exists():
            return 0
        facts = json.loads(self.note.read_text())
        return facts["shards"] if facts["key"] == key else 0

    def write(self, acts: dict[str, np.ndarray], start: int, n_shards: int) -> None:
        """Put the activations of one shard behind `start` others, then note that it is done."""
        if n_shards == 1:
            self._create(acts)
        for hook, values in acts.items():
            offset = np.load(self.paths[hook], mmap_mode="r").offset
            # a full disk is an error of this write, and would kill the process in a memory map
            with self.paths[hook].open("r+b") as stream:
                stream.seek(offset + start * values.itemsize * values.shape[1])
                stream.write(values.tobytes())
        with atomic_path(self.note) as partial:
            partial.write_text(json.dumps({"key": self.key, "shards": n_shards}))

    def maps(self) -> dict[str, np.ndarray]:
        return {hook: np.load(path, mmap_mode="r") for hook, path in self.paths.items()}

    def _create(self, acts: dict[str, np.ndarray]) -> None:
        self.note.unlink(missing_ok=True)
        for path in self.paths.values():
            path.unlink(missing_ok=True)
        widths = {hook: values.shape[1] for hook, values in acts.items()}
        needed = 2 * self.n_tokens * sum(widths.values())
        free = shutil.disk_usage(self.note.parent).free
        if needed > free:
            raise OSError(
                f"the activations take {needed / 1e9:.1f} GB and {self.note.parent} has "
                f"{free / 1e9:.1f} GB free: fewer tokens or hook points, or another folder"
            )
        for hook, path in self.paths.items():
            shape = (self.n_tokens, widths[hook])
            np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)


def _key(
    model: Subject | PreTrainedModel,
    tokens: Int[np.ndarray, "n_windows n_ctx"],
    lengths: Lengths,
    settings: tuple[object, ...],
) -> str:
    """Hash of what determines the activations: one number a tensor stands for a bare model."""
    digest = hashlib.sha256(json.dumps(settings).encode())
    if isinstance(model, Subject):
        digest.update(model.fingerprint.encode())
    else:
        for weights in model.parameters():
            digest.update(str(weights.double().sum().item()).encode())
    digest.update(np.ascontiguousarray(tokens).tobytes())
    digest.update(np.ascontiguousarray(lengths).tobytes())
    return digest.hexdigest()


def shuffled_batches(
    acts: Float[np.ndarray, "n d_in"], batch_size: int, seed: int, start: int = 0
) -> Iterator[Float[Tensor, "batch_size d_in"]]:
    """Batches of neighbouring activations in random order, epoch after epoch, from the `start`-th.

    ValueError when there are fewer activations than one batch.
    """
    per_epoch = len(acts) // batch_size
    if per_epoch == 0:
        raise ValueError(f"{len(acts)} activations do not fill a batch of {batch_size}")
    epoch, skipped = divmod(start, per_epoch)
    while True:
        order = np.random.default_rng([seed, epoch]).permutation(per_epoch)
        for number in order[skipped:]:
            rows = slice(number * batch_size, (number + 1) * batch_size)
            yield torch.from_numpy(acts[rows].astype(np.float32))
        epoch += 1
        skipped = 0

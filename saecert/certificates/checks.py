"""What a certificate assumes about its sample, checked as far as a record of losses can tell, and near-duplicates found."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from saecert.records import SequenceLosses

CHECKS = {
    "duplicates": "sequences that repeat another one: keep each document once, unless they were drawn with replacement on purpose",
    "near_duplicates": "sequences that resemble another one without repeating it: keep the first of each cluster in `similar`",
    "same_document": "further windows of a document that has given one already: keep one of each document",
    "overlap": "sequences that are in the discovery split too, or whose document is: drop them from the sample",
    "pool_from_sample": "sequences on which pool, ranking or prior was chosen: choose on other text, or pay (in_sample, uniform, eps=())",
    "batch_threshold": "SAE whose threshold depends on the batch (BatchTopK): load it with the threshold fixed in its training",
    "batch_dependence": "bits by which losses change with the rest of the batch: find the scale, threshold or noise that it shares",
}
"""Every check of an assumption: what it counts, and what to do if that is not 0. Where it cannot be checked, its value is None."""

TOLERANCE = 1e-4
"""Bits per token up to which a change with the rest of the batch is float32 rounding."""

_CHUNK = 512


def checked_sample(
    losses: SequenceLosses,
    n_seq: int | None,
    seed: int,
    allow: Sequence[str],
    *,
    discovery: bool = True,
) -> tuple[SequenceLosses, dict[str, int | float | None], list[str]]:
    """The first `n_seq` sequences in an order fixed by `seed`, what `CHECKS` found on them, and which findings were let through.

    The relative order of two sequences is the same at every `n_seq`. `discovery` says whether a pool, a ranking or a prior counts as
    fixed on the discovery split.

    Raises
    ------
    ValueError
        `n_seq` below 2 or beyond what was measured, a name in `allow` that is no check, or a finding that `allow` does not name.
    """
    n, allow = len(losses) if n_seq is None else n_seq, [allow] if isinstance(allow, str) else allow
    if not 2 <= n <= len(losses):
        raise ValueError(
            f"n_seq must lie between 2 and the {len(losses)} sequences measured, got {n}"
        )
    if unknown := set(allow) - set(CHECKS):
        raise ValueError(
            f"allow names no such check: {', '.join(sorted(unknown))}; there are {', '.join(CHECKS)}"
        )
    sample = losses.take(np.argsort(np.random.default_rng(seed).random(n)))
    found = _found(sample) | {
        "pool_from_sample": _pool_from_sample(losses, sample) if discovery else 0
    }
    fired = [
        name
        for name in CHECKS
        if not (found[name] or 0) <= (TOLERANCE if name == "batch_dependence" else 0)
    ]  # NaN fires
    if refused := [name for name in fired if name not in allow]:
        lines = "".join(
            f"{name} = {found[name]:g} in {n} sequences, {CHECKS[name]}\n" for name in refused
        )
        raise ValueError(
            f"{lines}to certify all the same, pass allow=({', '.join(map(repr, fired))},): it is recorded in the file"
        )
    return sample, {name: found[name] for name in CHECKS}, fired


def _found(sample: SequenceLosses) -> dict[str, int | float | None]:
    """Every check but the one that needs the whole record. Exact repeats count as duplicates and as nothing else."""
    distinct = np.unique(sample.ids, return_index=True)[1]
    shared = {"near_duplicates": sample.similar, "same_document": sample.documents}
    threshold, dependence = (
        sample.provenance.get(name) for name in ("batch_threshold", "batch_dependence")
    )
    return {
        "duplicates": len(sample) - len(distinct),
        **{
            name: None if keys is None else len(distinct) - len(np.unique(keys[distinct]))
            for name, keys in shared.items()
        },
        "overlap": None if sample.overlap is None else int(sample.overlap.sum()),
        "batch_threshold": None if threshold is None else int(bool(threshold)),
        "batch_dependence": None if dependence is None else float(dependence),
    }


def _pool_from_sample(losses: SequenceLosses, sample: SequenceLosses) -> int | None:
    fixed, counts = losses.discovery, np.zeros(losses.d_sae, np.int64)
    if fixed is None:
        return None
    if fixed.n_seq == len(losses):  # the same latents, equally often: the same text
        for start in range(0, len(losses), _CHUNK):
            counts += np.unpackbits(
                losses.active[start : start + _CHUNK], axis=1, count=losses.d_sae
            ).sum(axis=0, dtype=np.int64)
        if np.array_equal(counts, fixed.n_active):
            return len(sample)
    return None if fixed.losses is None else int(np.isin(sample.ids, fixed.losses.ids).sum())

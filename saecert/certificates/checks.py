"""What a certificate assumes about its sample, checked as far as a record of losses can tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from saecert.records import SequenceLosses
from saecert.statistics.groups import design_effect, intraclass_correlation

Findings = dict[str, int | float | None]

CHECKS = {
    "duplicates": "sequences that repeat another one: keep each document once, "
    "unless they were drawn with replacement on purpose",
    "near_duplicates": "sequences that resemble another one without repeating it: "
    "keep the first of each cluster in `similar`",
    "same_document": "further windows of a document that has given one already: "
    "keep one of each document",
    "overlap": "sequences that are in the discovery split too, or whose document is: "
    "drop them from the sample",
    "pool_from_sample": "sequences on which pool, ranking or prior was chosen: "
    "choose on other text, or pay (in_sample, uniform, eps=()), or drop them from the sample",
    "batch_threshold": "SAE whose threshold depends on the batch (BatchTopK): "
    "load it with the threshold fixed in its training",
    "batch_dependence": "bits by which losses change with the rest of the batch: "
    "find the scale, threshold or noise that it shares",
}
"""Every check of an assumption: what it counts, and what to do if that is not 0.

Where it cannot be checked, its value is None."""

ONE_EACH = {"duplicates": "ids", "near_duplicates": "similar", "same_document": "documents"}
"""Checks of sequences of which one each is to be kept, and the array that says which are alike."""

TOLERANCE = 1e-4
"""Bits per token up to which a change with the rest of the batch is float32 rounding."""

SHORT = 18
"""Tokens in a window up to which near-duplicates cannot be told: they are recognised by runs of 5
tokens, and one that differs in the middle changes 5 of the s = n - 4 runs of a window. The Jaccard
similarity (s - 5) / (s + 5) that is left reaches 1/2 from s = 15 on, which is n = 19. Below that
`saecert.corpora.duplicates` notes the same, by `INERT_BELOW`."""

REPORTED = {
    "n_groups": "groups among the sequences",
    "intraclass_correlation": "estimated share of the variance of v_A between groups",
    "design_effect": "estimated variance of the mean of v_A over new groups, in units of that over "
    "new sequences",
}
"""What is found besides where groups are known: nothing of it is refused."""

UNITS = {
    "sequence": "a sequence: statements are about new sequences of the population",
    "group": "one random sequence of each group: statements are about new groups",
}
"""What is taken for independent."""

SHARED = "shared_groups"
BY_GROUP = {
    SHARED: "groups that are in the discovery split too: "
    "split by group, as load_corpus does with group_column"
}
"""The same, checked besides where the unit is a group."""

LARGE = ("active", "l0")
"""Arrays of a record that are asked of all sequences together, never one by one."""
_CHUNK = 512


def short_windows(provenance: Mapping[str, Any]) -> bool:
    """Whether the windows of a record are too short for its near-duplicates to be found."""
    n_ctx = provenance.get("n_ctx")
    return isinstance(n_ctx, int) and n_ctx <= SHORT


def check_names(allow: str | Sequence[str]) -> list[str]:
    """The checks that `allow` names; ValueError for a name that is none."""
    names = [allow] if isinstance(allow, str) else list(allow)
    every = CHECKS | BY_GROUP
    if unknown := set(names) - set(every):
        raise ValueError(
            f"allow names no such check: {', '.join(sorted(unknown))}; there are {', '.join(every)}"
        )
    return names


def checked_sample(
    losses: SequenceLosses,
    n_seq: int | None,
    seed: int,
    allow: Sequence[str],
    *,
    discovery: bool = True,
    unit: str = "sequence",
) -> tuple[SequenceLosses, Findings, list[str]]:
    """The first `n_seq` sequences in an order fixed by `seed`, what `CHECKS` found, what passed.

    The relative order of two sequences is the same at every `n_seq`. `discovery` says whether a
    pool, a ranking or a prior counts as fixed on the discovery split. `unit` is a key of `UNITS`:
    with "group", `n_seq` counts groups, and one sequence of each is used (`one_per_group`).

    Raises
    ------
    ValueError
        An unknown unit, or groups that the record does not have.
        `n_seq` below 2 or beyond what was measured, a name in `allow` that is no check, or a
        finding that `allow` does not name.
    """
    record = losses
    if unit not in UNITS:
        raise ValueError(f"unknown unit '{unit}'; there are {', '.join(UNITS)}")
    if unit == "group":
        losses = one_per_group(losses, seed)
    n = len(losses) if n_seq is None else n_seq
    allowed = check_names(allow)
    if not 2 <= n <= len(losses):
        raise ValueError(
            f"n_seq must lie between 2 and the {len(losses)} {unit}s measured, got {n}"
        )
    sample = _in_order(losses, np.argsort(np.random.default_rng(seed).random(n)))
    findings = _findings(sample)
    findings["pool_from_sample"] = _pool_from_sample(record, sample) if discovery else 0
    checks = CHECKS | (BY_GROUP if unit == "group" else {})
    if SHARED in checks:
        findings[SHARED] = _shared_groups(sample) if discovery else 0
    fired = [name for name in checks if _fires(name, findings[name])]
    if refused := [name for name in fired if name not in allowed]:
        lines = [
            f"{name} = {findings[name]:g} in {n} sequences, {checks[name]}{_call(name, record)}"
            for name in refused
        ]
        names = ", ".join(map(repr, fired))
        lines.append(f"to certify all the same, pass allow=({names},): it is recorded in the file")
        raise ValueError(";\n".join(lines))
    return sample, {name: findings[name] for name in checks}, fired


def _call(name: str, record: SequenceLosses) -> str:
    """The call that leaves a record without what a check found, if there is one."""
    if name in ONE_EACH:
        rows = f"np.unique(losses.{ONE_EACH[name]}, return_index=True)[1]"
        n_left = len(np.unique(getattr(record, ONE_EACH[name])))
    elif name == "overlap" and record.overlap is not None:
        rows, n_left = "~losses.overlap", int((~record.overlap).sum())
    elif name == "pool_from_sample":
        rows, n_left = _not_chosen_on(record)
    else:
        return ""
    return f" (losses.take({rows}))" if n_left >= 2 else ""


def _not_chosen_on(record: SequenceLosses) -> tuple[str, int]:
    """Rows on which no pool was chosen, as an expression, and how many these are.

    No expression where the pool was chosen on the record itself: a part of it would be that sample.
    """
    fixed = record.discovery
    if fixed is None or fixed.losses is None or _pool_from_sample(record, record) == len(record):
        return "", 0
    seen = np.isin(record.ids, fixed.losses.ids)
    if record.overlap is not None and not (seen & ~record.overlap).any():
        return "~losses.overlap", int((~record.overlap).sum())
    return "~np.isin(losses.ids, losses.discovery.losses.ids)", int((~seen).sum())


def _in_order(losses: SequenceLosses, rows: np.ndarray) -> SequenceLosses:
    """The first sequences of a record in the order `rows`.

    Which latents were active, and how many, is only asked of all sequences together: these two
    arrays, by far the largest, keep their order instead of being copied.
    """
    tables: dict[str, Any] = {
        table: {name: values[..., rows] for name, values in content.items()}
        for table, content in losses.tables().items()
    }
    arrays = {name: values for name, values in losses.rows().items() if name not in LARGE}
    in_order: dict[str, Any] = {name: values[rows] for name, values in arrays.items()}
    first: dict[str, Any] = {name: getattr(losses, name)[: len(rows)] for name in LARGE}
    return replace(losses, **tables, **in_order, **first)


def one_per_group(losses: SequenceLosses, seed: int) -> SequenceLosses:
    """One sequence of each group, drawn at random by `seed`, the groups in random order.

    If groups are i.i.d., each with its sequences, then so are these sequences, whatever the
    dependence within a group. A group that gave no sequence to the record cannot be drawn: the
    population is that of groups that would give it at least one.

    Raises
    ------
    ValueError
        The record has no groups, or fewer than two.
    """
    if losses.groups is None:
        raise ValueError(
            "unit='group' needs to know the group of every sequence: load the corpus with "
            "group_column=..., or set the record's `groups`"
        )
    rng = np.random.default_rng([seed, 1])
    order = rng.permutation(len(losses))
    first = np.unique(losses.groups[order], return_index=True)[1]
    if len(first) < 2:
        raise ValueError(f"unit='group' needs at least 2 groups, the record has {len(first)}")
    return losses.take(order[rng.permutation(first)])


def _shared_groups(sample: SequenceLosses) -> int | None:
    """Groups of the sample that gave a sequence to discovery: no new groups to what was chosen."""
    seen = None if sample.discovery is None else sample.discovery.losses
    if sample.groups is None or seen is None or seen.groups is None:
        return None
    return len(np.intersect1d(sample.groups, seen.groups))


def group_findings(sample: SequenceLosses, joint: np.ndarray) -> Findings:
    """How much alike the sequences of a group are, for the joint loss of each sequence.

    "intraclass_correlation" and "design_effect" (`saecert.statistics.groups`), estimates that are
    reported and never refused; empty where groups are not known or nothing can be said. They
    change nothing for statements about the list of documents. For new groups, `unit` is "group".
    """
    if sample.groups is None:
        return {}
    estimates = {
        "intraclass_correlation": intraclass_correlation(joint, sample.groups),
        "design_effect": design_effect(joint, sample.groups),
    }
    if not all(map(np.isfinite, estimates.values())):
        return {}
    return {"n_groups": len(np.unique(sample.groups)), **estimates}


def _fires(name: str, finding: int | float | None) -> bool:
    limit = TOLERANCE if name == "batch_dependence" else 0
    return finding is not None and not finding <= limit  # NaN fires


def _findings(sample: SequenceLosses) -> Findings:
    """Every check but the one that needs the whole record.

    Exact repeats count as duplicates and as nothing else.
    """
    distinct = np.unique(sample.ids, return_index=True)[1]
    threshold = sample.provenance.get("batch_threshold")
    dependence = sample.provenance.get("batch_dependence")
    near = _repeats(sample.similar, distinct)
    return {
        "duplicates": len(sample) - len(distinct),
        "near_duplicates": None if near == 0 and short_windows(sample.provenance) else near,
        "same_document": _repeats(sample.documents, distinct),
        "overlap": None if sample.overlap is None else int(sample.overlap.sum()),
        "batch_threshold": None if threshold is None else int(bool(threshold)),
        "batch_dependence": None if dependence is None else float(dependence),
    }


def _repeats(keys: np.ndarray | None, distinct: np.ndarray) -> int | None:
    """How many of the distinct sequences share their key with an earlier one."""
    return None if keys is None else len(distinct) - len(np.unique(keys[distinct]))


def _pool_from_sample(losses: SequenceLosses, sample: SequenceLosses) -> int | None:
    fixed = losses.discovery
    if fixed is None:
        return None
    if fixed.n_seq == len(losses) and np.array_equal(_counts(losses), fixed.n_active):
        return len(sample)  # the same latents, equally often: the same text
    return None if fixed.losses is None else int(np.isin(sample.ids, fixed.losses.ids).sum())


def _counts(losses: SequenceLosses) -> np.ndarray:
    """Sequences in which each latent was active."""
    counts = np.zeros(losses.d_sae, np.int64)
    for start in range(0, len(losses), _CHUNK):
        rows = losses.active[start : start + _CHUNK]
        counts += np.unpackbits(rows, axis=1, count=losses.d_sae).sum(axis=0, dtype=np.int64)
    return counts

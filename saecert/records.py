"""What a sweep leaves behind: one number per sequence and proxy, and where they come from."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8, UInt64

from saecert.record_files import FORMAT, INNER, ROWS, TABLES, WITH_GROUPS, damaged, read_record
from saecert.storage import atomic_path
from saecert.untrusted import printable

# float32 log-probabilities may overshoot the support by rounding; anything more is an error
_DUST = 1e-6


def smoothed_support(alpha: float, n_vocab: int) -> tuple[float, float]:
    """Smallest and largest possible smoothed loss in bits per token, ``(lo, hi)``.

    For ``-log2((1 - alpha) q + alpha / V)`` with q in [0, 1] (Lotfi et al. 2024). `alpha` in (0,
    1), `n_vocab` >= 2.

    >>> lo, hi = smoothed_support(0.5, 50257)
    >>> round(hi, 3), round(hi - lo, 3)
    (16.617, 15.617)
    """
    if not 0 < alpha < 1:
        raise ValueError(
            f"alpha must lie strictly between 0 and 1, got {alpha}: "
            "0 leaves the loss unbounded, 1 ignores the model"
        )
    if n_vocab < 2:
        raise ValueError(f"n_vocab must be at least 2, got {n_vocab}")
    return -math.log2(1 - alpha + alpha / n_vocab), math.log2(n_vocab / alpha)


@dataclass(frozen=True)
class Discovery:
    """What was fixed before the certification sample was looked at, all of it measured on the
    discovery split.
    """

    rule: str
    """How latents were ranked: "frequency" (share of tokens on which a latent is active)."""
    order: Int[np.ndarray, "d_sae"]
    """Latents from first to last in rank; the pool of size k is ``order[:k]``."""
    n_active: Int[np.ndarray, "d_sae"]
    """Number of discovery sequences in which each latent was active at least once."""
    n_seq: int
    """Discovery sequences counted in `n_active`."""
    losses: SequenceLosses | None = None
    """Every proxy measured on (a part of) the discovery split: chooses k, sets nothing else."""

    def __post_init__(self) -> None:
        order = np.sort(self.order)
        if not np.array_equal(order, np.arange(len(order))):
            raise ValueError("the ranking of the discovery split does not name every latent once")
        if self.n_seq < 1 or self.n_active.min() < 0 or self.n_active.max() > self.n_seq:
            raise ValueError(
                f"n_active of the discovery split leaves 0 to its {self.n_seq} sequences"
            )


@dataclass(frozen=True, repr=False)
class SequenceLosses:
    """Losses of a frozen LM and of its proxies on a sample of sequences.

    Rows of all arrays are the same sequences.
    """

    alphas: tuple[float, ...]
    """Smoothing weights at which losses were recorded, first axis of `loss`."""
    n_vocab: int
    """Vocabulary size V of the model (its logits' width)."""
    loss: dict[str, Float[np.ndarray, "n_alpha n_seq"]]
    """Smoothed bits per token by predictor: "clean" (the LM), "full", "pool_<k>", "mean", "zero",
    references ("unigram", ...).
    """
    raw: dict[str, Float[np.ndarray, "n_seq"]]
    """Bits per token without smoothing: unbounded, reported, never certified."""
    total_variation: dict[str, Float[np.ndarray, "n_seq"]]
    """Mean total variation distance in [0, 1] between next-token distributions of LM and proxy."""
    top1_disagreement: dict[str, Float[np.ndarray, "n_seq"]]
    """Share of positions in [0, 1] at which LM and proxy disagree on the most likely token."""
    outside_firings: dict[str, Float[np.ndarray, "n_seq"]]
    """By pool ("pool_<k>"): share in [0, 1] of each sequence's firings (latent active at a
    position) outside the pool; 0 without any.
    """
    outside_energy: dict[str, Float[np.ndarray, "n_seq"]]
    """By pool: share in [0, 1] of each sequence's activation energy (activation times decoder norm,
    squared) outside the pool.
    """
    active: UInt8[np.ndarray, "n_seq bytes"]
    """Which latents were active anywhere in each sequence, packed by `numpy.packbits`."""
    d_sae: int
    """Number of latents."""
    l0: Int[np.ndarray, "n_seq n_ctx"]
    """Active latents at each position; 0 where nothing was spliced (BOS, padding)."""
    ids: UInt64[np.ndarray, "n_seq"]
    """Hash of each sequence's tokens."""
    documents: UInt64[np.ndarray, "n_seq"] | None = None
    """Hash of the document behind each sequence; None when not known."""
    similar: UInt64[np.ndarray, "n_seq"] | None = None
    """Equal for near-duplicates: the id of the first sequence that each one resembles, its own if
    none; None when not looked for.
    """
    groups: UInt64[np.ndarray, "n_seq"] | None = None
    """Hash of the group behind each sequence (package, author, ...); None when not known."""
    overlap: Bool[np.ndarray, "n_seq"] | None = None
    """Whether the sequence or its document is in the discovery split, too; None when not looked
    for.
    """
    reference_support: dict[str, tuple[tuple[float, float], ...]] = field(default_factory=dict)
    """Smallest and largest smoothed loss each reference predictor can have, read off its fitted
    table: one pair per alpha.
    """
    discovery: Discovery | None = None
    """What was fixed beforehand; None when the sweep had no discovery corpus."""
    provenance: dict[str, Any] = field(default_factory=dict)
    """Hashes of subject, SAE and corpus, hook point, seed, dtype, versions, documents dropped:
    plain JSON values. Two of them are checked by `certify`: "batch_threshold", whether the SAE's
    threshold depends on the batch, and "batch_dependence", the largest change of a loss in bits per
    token when its sequence is measured alone.
    """

    def __post_init__(self) -> None:
        n_seq = len(self.ids)
        if n_seq < 2:
            raise ValueError(
                f"{n_seq} sequence(s) measured: a certificate needs at least 2, "
                "give a larger corpus"
            )
        if self.groups is not None and self.groups.shape != (n_seq,):
            raise ValueError(
                f"groups of shape {self.groups.shape} for {n_seq} sequences: "
                "give one for each, in their order"
            )
        self._check_latents()
        for alpha in self.alphas:
            smoothed_support(alpha, self.n_vocab)
        for name, values in self.loss.items():
            self._check(name, values)
        for table in TABLES[1:]:
            for name, values in getattr(self, table).items():
                if values.shape != (n_seq,) or not np.isfinite(values).all():
                    raise ValueError(
                        f"{table} of '{name}': expected {n_seq} finite values, "
                        f"one per sequence, got shape {values.shape}"
                    )
                if table != "raw" and (values.min() < -_DUST or values.max() > 1 + _DUST):
                    raise ValueError(
                        f"{table} of '{name}' leaves [0, 1]: "
                        f"it goes from {values.min():.6g} to {values.max():.6g}"
                    )

    def _check_latents(self) -> None:
        """ValueError for numbers of latents that no dictionary of `d_sae` has."""
        packed = (len(self.ids), -(-self.d_sae // 8))
        if self.active.shape != packed:
            raise ValueError(
                f"active has shape {self.active.shape}, expected {packed} for {self.d_sae} latents"
            )
        if self.discovery is not None and len(self.discovery.order) != self.d_sae:
            raise ValueError(f"the discovery split does not rank {self.d_sae} latents")
        for name in {name for table in TABLES for name in getattr(self, table)}:
            size = name.removeprefix("pool_")
            if size != name and not _is_count(size, self.d_sae):
                raise ValueError(f"'{name:.40}' is no pool of 1 to {self.d_sae} latents")

    def _check(self, name: str, values: np.ndarray) -> None:
        if values.shape != (len(self.alphas), len(self.ids)):
            raise ValueError(
                f"loss '{name}' has shape {values.shape}, "
                f"expected {(len(self.alphas), len(self.ids))} (alphas, sequences)"
            )
        bad = ~np.isfinite(values).all(axis=0)
        if bad.any():
            raise ValueError(
                f"loss of '{name}' is not finite on sequence {int(np.argmax(bad))}: "
                "NaN or infinite weights or activations?"
            )
        for row, alpha in zip(values, self.alphas, strict=True):
            lo, hi = smoothed_support(alpha, self.n_vocab)
            if row.min() < lo - _DUST or row.max() > hi + _DUST:
                worst = int(np.argmax(np.maximum(lo - row, row - hi)))
                raise ValueError(
                    f"loss of '{name}' on sequence {worst} is {row[worst]:.6g} bits, "
                    f"outside its support [{lo:.6g}, {hi:.6g}]"
                )

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        source = (self.provenance.get(name) for name in ("subject", "hook_name", "sae"))
        about = ", ".join(printable(str(part)) for part in source if part)
        alphas = ", ".join(f"{alpha:g}" for alpha in self.alphas)
        discovery = "" if self.discovery is None else ", with discovery"
        return (
            f"SequenceLosses({about or 'no provenance'}: {len(self)} sequences, alpha {alphas}, "
            f"{len(self.loss)} predictors, {self.d_sae} latents{discovery})"
        )

    @property
    def pool_sizes(self) -> tuple[int, ...]:
        """Sizes k of the measured pools, ascending; the full dictionary last, if measured."""
        sizes = {int(name.removeprefix("pool_")) for name in self.loss if name.startswith("pool_")}
        return tuple(sorted(sizes | ({self.d_sae} if "full" in self.loss else set())))

    def at(self, name: str, alpha: float) -> Float[np.ndarray, "n_seq"]:
        """Smoothed losses of one predictor in bits per token, in float64, clipped to their support.

        "pool_<d_sae>" means "full". Raises KeyError or ValueError for what was not measured.
        """
        name = "full" if name == f"pool_{self.d_sae}" else name
        if name not in self.loss:
            raise KeyError(f"'{name}' was not measured; there are {', '.join(self.loss)}")
        if alpha not in self.alphas:
            raise ValueError(
                f"losses were recorded at alpha in {self.alphas}, not {alpha}: "
                f"collect again with alphas=({alpha},)"
            )
        losses = np.asarray(self.loss[name][self.alphas.index(alpha)], np.float64)
        return np.clip(losses, *smoothed_support(alpha, self.n_vocab))

    def activity(self) -> Bool[np.ndarray, "n_seq d_sae"]:
        """Which latents were active anywhere in each sequence, unpacked."""
        return np.unpackbits(self.active, axis=1, count=self.d_sae).astype(bool)

    def take(
        self, rows: Int[np.ndarray, "n"] | Bool[np.ndarray, "n_seq"] | slice
    ) -> SequenceLosses:
        """The same record on some of its sequences: by number, repetition allowed (resampling), by
        one truth value each (``losses.take(~losses.overlap)``), or by a slice."""
        tables: dict[str, Any] = {
            name: {key: value[..., rows] for key, value in getattr(self, name).items()}
            for name in TABLES
        }
        per_row: dict[str, Any] = {
            name: None if (value := getattr(self, name)) is None else value[rows] for name in ROWS
        }
        return replace(self, **tables, **per_row)

    def tables(self) -> dict[str, dict[str, np.ndarray]]:
        """The tables of numbers by predictor, each with sequences on its last axis."""
        return {name: getattr(self, name) for name in TABLES}

    def rows(self) -> dict[str, np.ndarray]:
        """The arrays with a row for each sequence that are known."""
        return {name: value for name in ROWS if (value := getattr(self, name)) is not None}

    def fingerprint(self) -> str:
        """SHA-256 of every array and of the provenance: what a certificate was computed from."""
        digest = hashlib.sha256(json.dumps(_header(self), sort_keys=True).encode())
        for name, array in sorted(_arrays(self).items()):
            digest.update(name.encode() + str((array.shape, array.dtype.str)).encode())
            # as it lies in memory: a copy would double a large record
            digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        return digest.hexdigest()

    def save(self, path: str | Path) -> None:
        """Write one ``.npz`` file, whole or not at all."""
        arrays: dict[str, Any] = {"header": np.array(json.dumps(_header(self)))} | _arrays(self)
        with atomic_path(path) as partial, partial.open("wb") as stream:
            np.savez_compressed(stream, **arrays)

    @classmethod
    def load(cls, path: str | Path) -> SequenceLosses:
        """The record in a file written by `save`, which may come from anybody.

        Raises
        ------
        ValueError
            The file is not one of these, is truncated, edited or of a later format; the message
            begins with the path. Nothing that no record has is unpacked.
        """
        header, arrays = read_record(path)
        try:
            return _rebuild(header, arrays)
        except Exception as error:  # whatever a forged file leads to
            raise damaged(path, error) from error


def _is_count(text: str, most: int) -> bool:
    """Whether a text is a number from 1 to `most`, written in the one way that it is written."""
    short = text.isascii() and text.isdecimal() and len(text) <= len(str(most))
    return short and text[0] != "0" and int(text) <= most


def _header(record: SequenceLosses) -> dict[str, Any]:
    discovery = record.discovery
    return {
        "format": FORMAT if record.groups is None else WITH_GROUPS,
        "alphas": list(record.alphas),
        "n_vocab": record.n_vocab,
        "d_sae": record.d_sae,
        "reference_support": {
            name: [list(pair) for pair in pairs] for name, pairs in record.reference_support.items()
        },
        "provenance": record.provenance,
        "discovery": None
        if discovery is None
        else {"rule": discovery.rule, "n_seq": discovery.n_seq},
        "discovery_losses": None
        if discovery is None or discovery.losses is None
        else _header(discovery.losses),
    }


def _arrays(record: SequenceLosses) -> dict[str, np.ndarray]:
    arrays = {
        f"{table}/{name}": values
        for table in TABLES
        for name, values in getattr(record, table).items()
    }
    arrays |= {name: value for name in ROWS if (value := getattr(record, name)) is not None}
    if record.discovery is not None:
        arrays |= {
            "discovery/order": record.discovery.order,
            "discovery/n_active": record.discovery.n_active,
        }
        if record.discovery.losses is not None:
            arrays |= {
                f"{INNER}{name}": values
                for name, values in _arrays(record.discovery.losses).items()
            }
    return arrays


def _rebuild(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> SequenceLosses:
    tables: dict[str, Any] = {table: {} for table in TABLES}
    for name, values in arrays.items():
        table, _, key = name.partition("/")
        if table in tables:
            tables[table][key] = values
    discovery = None
    if header["discovery"] is not None:
        inner = {
            name.removeprefix(INNER): values
            for name, values in arrays.items()
            if name.startswith(INNER)
        }
        nested = _rebuild(header["discovery_losses"], inner) if header["discovery_losses"] else None
        discovery = Discovery(
            **header["discovery"],
            order=arrays["discovery/order"],
            n_active=arrays["discovery/n_active"],
            losses=nested,
        )
    rows: dict[str, Any] = {name: arrays.get(name) for name in ROWS}
    return SequenceLosses(
        alphas=tuple(header["alphas"]),
        n_vocab=header["n_vocab"],
        d_sae=header["d_sae"],
        reference_support={
            name: tuple(tuple(pair) for pair in pairs)
            for name, pairs in header["reference_support"].items()
        },
        provenance=header["provenance"],
        discovery=discovery,
        **rows,
        **tables,
    )

"""One measurement: its rows and totals so far, in a file that is whole or not there."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from saecert.measurement import circumstances
from saecert.measurement.circumstances import Circumstances
from saecert.storage import atomic_path

_FORMAT = 1


@dataclass(frozen=True)
class Total:
    """An array of one batch that is added up over the batches instead of being put row after
    row."""

    values: Tensor | np.ndarray
    """Of the same shape in every batch; float64 or integers, for sums over many batches."""


Values = Mapping[str, Tensor | np.ndarray | Total]
"""What a function of one batch returns for one hook point: arrays with a row a sequence, and
totals."""


@dataclass
class Measurement:
    """What is known of one part: the rows measured so far, the totals over them, and when."""

    path: Path
    """The file it is kept in."""
    n_seq: int
    """Sequences to measure."""
    rows: dict[str, np.ndarray] = field(default_factory=dict)
    """Arrays with a row for each sequence."""
    counted: tuple[int, dict[str, np.ndarray]] = (0, {})
    """Sequences measured, and arrays added up over them: one value, so that no interrupt parts
    them."""
    circumstances: list[Circumstances] = field(default_factory=list)
    """Versions, machine and date: as they were when measured, more than one after an
    interruption."""
    saved: int = 0
    """Sequences in the file."""

    @property
    def done(self) -> int:
        """Sequences measured."""
        return self.counted[0]

    @property
    def totals(self) -> dict[str, np.ndarray]:
        """Arrays added up over the sequences."""
        return self.counted[1]

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """Rows and totals by name."""
        return self.rows | self.totals

    @property
    def measured(self) -> Circumstances:
        """Versions, machine and date as they were when this was measured."""
        return circumstances.merged(self.circumstances)

    def add(self, values: Values, n_new: int) -> None:
        """Take in what was measured of the next `n_new` sequences."""
        stop = self.done + n_new
        totals = {}
        for name, value in values.items():
            if isinstance(value, Total):
                array = _array(value.values)
                before = self.totals[name] if self.done else np.zeros_like(array)
                totals[name] = np.asarray(before + array)
                continue
            array = _array(value)
            if len(array) != n_new:
                raise ValueError(f"'{name}' has {len(array)} rows for {n_new} sequences")
            if not self.done:
                self.rows[name] = np.empty((self.n_seq, *array.shape[1:]), array.dtype)
            self.rows[name][self.done : stop] = array
        self.counted = (stop, totals)

    def save(self) -> None:
        """Write what there is, whole or not at all; nothing if the file has it already."""
        if self.saved == self.done:
            return
        facts = {"format": _FORMAT, "done": self.done, "circumstances": self.circumstances}
        arrays = {f"rows/{name}": array[: self.done] for name, array in self.rows.items()}
        arrays |= {f"totals/{name}": array for name, array in self.totals.items()}
        with atomic_path(self.path) as partial:
            np.savez(partial, facts=np.array(json.dumps(facts)), **arrays)
        self.saved = self.done

    def load(self) -> None:
        """Read the file, if there is one; one that is damaged is named, and thrown away."""
        if not self.path.exists():
            return
        try:
            self._read()
        except FileNotFoundError:  # another process finished meanwhile, and cleared up
            self.rows = {}
        except Exception as error:  # zipfile, zlib and json raise types of their own
            self.rows = {}
            self.circumstances = []
            self.path.unlink(missing_ok=True)
            warnings.warn(
                f"{self.path} is damaged ({error!r}): thrown away and measured again", stacklevel=2
            )
        self.saved = self.done

    def _read(self) -> None:
        with self.path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            arrays = dict(archive)
        facts = json.loads(str(arrays.pop("facts")))
        done = facts["done"]
        if facts["format"] != _FORMAT or not 0 < done <= self.n_seq or not arrays:
            raise ValueError("not a measurement of these sequences")
        circumstances.merged(facts["circumstances"])
        totals = {}
        for name, array in arrays.items():
            kind, _, key = name.partition("/")
            if kind == "totals":
                totals[key] = array
                continue
            if len(array) != done:
                raise ValueError(f"{len(array)} rows of {key} for {done} sequences")
            self.rows[key] = array
            if done < self.n_seq:
                self.rows[key] = np.empty((self.n_seq, *array.shape[1:]), array.dtype)
                self.rows[key][:done] = array
        self.counted = (done, totals)
        self.circumstances = facts["circumstances"]


def _array(values: Tensor | np.ndarray) -> np.ndarray:
    if not isinstance(values, Tensor):
        return np.asarray(values)
    values = values.detach().cpu()
    return (values.float() if values.dtype == torch.bfloat16 else values).numpy()

"""Tables as they are printed: numbers right-aligned, limits rounded by what their column means.

A column, or a row, whose name says that it is an upper limit ("upper", "at most", "to", "high",
"bound", "price") is rounded up, a lower one ("lower", "at least", "from", "low") down, everything
else to the nearest. In HTML every limit carries its value in ``data-limit``, so that a test can
compare what is printed with it. A column of counts is printed without decimals: one in which every
number is whole and one is 2 or more, unless it holds limits or percentages.
"""

from __future__ import annotations

import html
import math
import numbers
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from saecert.statistics.rounding import (
    lower_text,
    nearest_text,
    rounded_down,
    rounded_up,
    upper_text,
)

WIDTH = 72
"""Columns of a page; wider tables are printed in pieces, one below the other."""
UPPER = (
    "upper",
    "bound",
    "sharp",
    "sharp bound",
    "price",
    "to",
    "high",
    "at most",
    "share of uniform",
)
"""Words that say that a column has upper limits."""
LOWER = ("lower", "from", "low", "at least", "below uniform")
"""Words that say that a column has lower limits."""
SIGNIFICANT = ("tightness", "nats", "selection nats", "alpha", "delta", "eps")
"""Columns that are printed with significant digits instead of decimals."""
SETTINGS = ("alpha", "delta", "eps")
"""Those of them that were chosen, not measured: printed without zeros at the end."""
NO_LIMITS = ("mean", *SETTINGS)
"""Columns that hold no limits, whatever their row is called."""

_TEXT: dict[str, Callable[..., str]] = {"upper": upper_text, "lower": lower_text, "": nearest_text}


@dataclass(frozen=True)
class Cell:
    """One printed value."""

    text: str
    """What is printed."""
    limit: str = ""
    """"upper" or "lower" for a limit, else ""."""
    value: float = math.nan
    """A limit's value before it was rounded."""
    numeric: bool = False
    """Whether it is aligned on the right."""


@dataclass(frozen=True)
class Printed:
    """A table ready for print: HTML in a notebook, text elsewhere; made by `show`."""

    head: tuple[tuple[str, ...], ...]
    """Column names, from the top level of the columns to the lowest."""
    rows: tuple[tuple[Cell, ...], ...]
    """Cells, the index first."""
    n_index: int
    """How many of the columns are the index."""
    caption: str
    """A sentence above the table."""
    note: str
    """A sentence below it: n, delta, k."""
    fold: bool = False
    """Whether a page shows the caption alone until a reader opens it."""

    def __str__(self) -> str:
        """Text of at most `WIDTH` columns where the table can be cut into pieces that narrow."""
        parts = [_filled(self.caption)] if self.caption else []
        parts += [self._block(columns) for columns in self._pieces()]
        parts += [_filled(self.note)] if self.note else []
        return "\n\n".join(parts)

    def __repr__(self) -> str:
        """As `str`, or the caption alone of what is folded: a notebook stores it beside HTML."""
        return f"Table: {self.caption}" if self.fold else str(self)

    def _repr_html_(self) -> str:
        """The table with its caption, as the book shows it."""
        caption = f"<caption>{html.escape(self.caption)}</caption>" if self.caption else ""
        head = "".join(self._head_html(level) for level in range(len(self.head)))
        body = "".join(f"<tr>{self._row_html(row)}</tr>\n" for row in self.rows)
        note = f'<p class="note">{html.escape(self.note)}</p>' if self.note else ""
        table = f'<table class="dataframe saecert">{caption}\n<thead>{head}</thead>\n'
        whole = f"<div>{table}<tbody>{body}</tbody></table>{note}</div>"
        if not self.fold:
            return whole
        summary = html.escape(f"Table: {self.caption}")
        return f"<details><summary>{summary}</summary>{whole}</details>"

    def _head_html(self, level: int) -> str:
        names = self.head[level]
        lowest = level == len(self.head) - 1
        starts = [place for place, name in enumerate(names) if lowest or name or place == 0]
        cells = []
        for start, stop in zip(starts, [*starts[1:], len(names)], strict=True):
            wide = stop - start > 1
            span = f' colspan="{stop - start}"' if wide else ""
            style = ' style="text-align: center"' if wide else self._align(start)
            cells.append(f"<th{span}{style}>{html.escape(names[start])}</th>")
        return f"<tr>{''.join(cells)}</tr>"

    def _row_html(self, row: Sequence[Cell]) -> str:
        tags = ["th" if column < self.n_index else "td" for column in range(len(row))]
        pairs = zip(row, tags, range(len(row)), strict=True)
        return "".join(
            f"<{tag}{self._align(column)}{_marked(cell)}>{html.escape(cell.text)}</{tag}>"
            for cell, tag, column in pairs
        )

    def _align(self, column: int) -> str:
        side = "right" if self._numeric(column) else "left"
        return f' style="text-align: {side}"'

    def _numeric(self, column: int) -> bool:
        cells = [row[column] for row in self.rows if row[column].text]
        return bool(cells) and all(cell.numeric for cell in cells)

    def _widths(self) -> list[int]:
        columns = range(len(self.head[0]))
        texts = ([*self._names(column), *self._column(column)] for column in columns)
        return [max(map(len, column)) for column in texts]

    def _names(self, column: int) -> list[str]:
        return [names[column] for names in self.head]

    def _column(self, column: int) -> list[str]:
        return [row[column].text for row in self.rows]

    def _pieces(self) -> list[list[int]]:
        """Columns of each piece: the index, and as many others as fit."""
        widths = self._widths()
        index = list(range(self.n_index))
        pieces = [index]
        for column in range(self.n_index, len(widths)):
            longer = [*pieces[-1], column]
            fits = sum(widths[place] + 2 for place in longer) - 2 <= WIDTH
            if fits or len(pieces[-1]) == self.n_index:
                pieces[-1] = longer
            else:
                pieces.append([*index, column])
        return pieces

    def _block(self, columns: Sequence[int]) -> str:
        widths = self._widths()
        lines = [[names[column] for column in columns] for names in self.head]
        lines += [[row[column].text for column in columns] for row in self.rows]
        padded = (
            "  ".join(
                text.rjust(widths[column]) if self._numeric(column) else text.ljust(widths[column])
                for text, column in zip(line, columns, strict=True)
            )
            for line in lines
        )
        return "\n".join(line.rstrip() for line in padded)


def show(
    frame: pd.DataFrame,
    caption: str = "",
    *,
    note: str = "",
    decimals: int | Mapping[str, int] = 2,
    significant: int | Iterable[str] = SIGNIFICANT,
    upper: Iterable[str | int] = (),
    lower: Iterable[str | int] = (),
    nearest: Iterable[str | int] = (),
    fold: bool = False,
) -> Printed:
    """A frame ready for print, with every limit rounded to the safe side.

    Parameters
    ----------
    frame
        One row a line. An index without a name that only counts rows is left out.
    caption, note
        Sentences above and below: what the table shows; n, delta and k (see
        `saecert.reporting.tables.footing`).
    decimals
        Digits after the point; or these by the name of a column, or of the group that it is in, and
        under "" those of all others (default 2).
    significant
        Columns printed with three significant digits instead; or how many digits all numbers have.
    upper, lower
        More columns that hold upper or lower limits, where their names do not say so.
    nearest
        Columns and rows that hold no limits, although their names say so.
    fold
        Whether a page shows the caption alone until a reader opens it: for long tables that stand
        behind a shorter one.

    Examples
    --------
    >>> print(show(pd.DataFrame({"mean": [5.413], "upper": [5.413]}, ["SAE"])))
         mean  upper
    SAE  5.41   5.42
    """
    plain = isinstance(frame.index, pd.RangeIndex) and frame.index.name is None
    shown = frame if plain else _with_index(frame)
    n_index = 0 if plain else frame.index.nlevels
    sides = {str(name): "upper" for name in upper} | {str(name): "lower" for name in lower}
    no_limits = {str(name): "" for name in nearest}
    sides |= no_limits
    by_row = [_side(name, no_limits) for name in frame.index] if not plain else [""] * len(frame)
    columns = []
    for place in range(shown.shape[1]):
        name = shown.columns[place]
        side = "" if place < n_index else _side(name, sides)
        digits = _digits(name, decimals, significant)
        column = shown.iloc[:, place]
        if not side and _are_counts(name, column, by_row):
            column = column.astype("Int64")
        values = zip(column, by_row, strict=True)
        index = place < n_index
        setting = name in SETTINGS or (index and digits == {"significant": 3})
        last = name[-1] if isinstance(name, tuple) else name
        never = index or last in NO_LIMITS
        columns.append(
            [_cell(value, "" if never else side or row, digits, setting) for value, row in values]
        )
    head = _levels(shown.columns, n_index)
    rows = _without_repeats([tuple(row) for row in zip(*columns, strict=True)], n_index)
    return Printed(head, rows, n_index, caption, note, fold)


def rounded(frame: pd.DataFrame, significant: Iterable[str] = SIGNIFICANT) -> pd.DataFrame:
    """A copy with numbers rounded as `show` prints them: 2 decimals, or 3 significant digits.

    Examples
    --------
    >>> rounded(pd.DataFrame({"at most": [5.413]}))["at most"].tolist()
    [5.42]
    """
    turn = {"upper": rounded_up, "lower": rounded_down, "": _nearest}
    printed = frame.copy()
    for place, name in enumerate(frame.columns):
        if not pd.api.types.is_float_dtype(frame.dtypes.iloc[place]):
            continue
        digits = _digits(name, 2, tuple(significant))
        change = turn[_side(name, {})]
        values = [change(value, **digits) for value in frame.iloc[:, place]]
        printed.isetitem(place, values)
    return printed


def side_of(name: object) -> str:
    """ "upper" or "lower" for the name of a column of limits, "" for others."""
    return _side(name, {})


def _nearest(value: float, **digits: int) -> float:
    return float(nearest_text(value, **digits))


def _side(name: object, known: dict[str, str]) -> str:
    """Which way a column is rounded; of several levels the lowest that says something decides."""
    for level in reversed(name if isinstance(name, tuple) else (name,)):
        text = str(level)
        if text in known:
            return known[text]
        if level in NO_LIMITS or re.search(r", mean( \(.*\))?$", text):
            return ""
        words = re.sub(r"\(.*?\)", "", text.lower()).replace("_", " ").replace(",", " ").strip()
        side = _of_words(words)
        if side:
            return side
    return ""


def _of_words(words: str) -> str:
    """The side that the last telling word names."""
    places = {"upper": -1, "lower": -1}
    for side, known in (("upper", UPPER), ("lower", LOWER)):
        for word in known:
            end = "$" if word in ("to", "from", "high", "low") else r"\b"
            found = [match.end() for match in re.finditer(rf"\b{word}{end}", words)]
            places[side] = max([places[side], *found])
    if places["upper"] == places["lower"]:
        return ""
    return max(places, key=lambda side: places[side])


def _digits(
    name: object, decimals: int | Mapping[str, int], significant: int | Iterable[str]
) -> dict[str, int]:
    if isinstance(significant, int):
        return {"significant": significant}
    levels = name if isinstance(name, tuple) else (name,)
    chosen = set(significant)
    if name in chosen or levels[-1] in chosen:
        return {"significant": 3}
    if not isinstance(decimals, Mapping):
        return {"decimals": decimals}
    named = [decimals[str(level)] for level in reversed(levels) if str(level) in decimals]
    return {"decimals": [*named, decimals.get("", 2)][0]}


def _are_counts(name: object, column: pd.Series, by_row: Sequence[str]) -> bool:
    """Whether a column of floats holds counts and nothing else."""
    if not pd.api.types.is_float_dtype(column) or any(by_row) or "(%)" in str(name):
        return False
    known = column.dropna()
    return bool((known % 1 == 0).all() and (known.abs() >= 2).any())


def _cell(value: Any, side: str, digits: dict[str, int], setting: bool = False) -> Cell:
    """How one value is printed."""
    if value is None or value is pd.NA or value is pd.NaT:
        return Cell("")
    if isinstance(value, bool) or str(type(value).__name__) == "bool_":
        return Cell("yes" if value else "no")
    if isinstance(value, numbers.Integral):
        return Cell(f"{value:,}" if abs(value) >= 10_000 else str(value), numeric=True)
    if not isinstance(value, numbers.Real):
        return Cell(str(value))
    number = float(value)
    if math.isnan(number):
        return Cell("", numeric=True)
    text = f"{number:.3g}" if setting else _TEXT[side](number, **digits)
    if text.isdigit() and len(text) > 4:
        text = f"{int(text):,}"
    return Cell(text, side, number if side else math.nan, numeric=True)


def _with_index(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with its index as its first columns, named as the index is."""
    names = [name or "" for name in frame.index.names]
    levels = [pd.Series(frame.index.get_level_values(i), frame.index) for i in range(len(names))]
    parts = pd.concat(levels, axis=1)
    height = frame.columns.nlevels
    if height > 1:
        tops = [("",) * (height - 1) + (str(name),) for name in names]
        parts.columns = pd.MultiIndex.from_tuples(tops)
    else:
        parts.columns = pd.Index(names)
    parts.index = frame.index
    return pd.concat([parts, frame], axis=1)


def _levels(columns: pd.Index, n_index: int) -> tuple[tuple[str, ...], ...]:
    """Names by level; of equal neighbours above the lowest level only the first is printed."""
    levels = []
    for level in range(columns.nlevels):
        names = [str(name) for name in columns.get_level_values(level)]
        lowest = level == columns.nlevels - 1
        levels.append(tuple(names) if lowest else tuple(_first_of_runs(names, n_index)))
    return tuple(levels)


def _first_of_runs(names: list[str], start: int) -> list[str]:
    pairs = enumerate(names)
    return ["" if place > start and name == names[place - 1] else name for place, name in pairs]


def _without_repeats(rows: list[tuple[Cell, ...]], n_index: int) -> tuple[tuple[Cell, ...], ...]:
    """The rows with outer levels of the index printed once for a group."""
    printed = []
    above: tuple[Cell, ...] = ()
    for row in rows:
        same = 0
        while same < n_index - 1 and above and row[same].text == above[same].text:
            same += 1
        printed.append((*(Cell("", numeric=cell.numeric) for cell in row[:same]), *row[same:]))
        above = row
    return tuple(printed)


def _marked(cell: Cell) -> str:
    return f' data-limit="{cell.limit} {cell.value!r}"' if cell.limit else ""


def _filled(text: str) -> str:
    return textwrap.fill(text, WIDTH, break_long_words=False)

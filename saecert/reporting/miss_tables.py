"""How often bounds miss, as tables in words: what pages 01 and 04 print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from saecert.reporting.wording import in_words


def worst_rates(frame: pd.DataFrame, rows: Mapping[str, str], columns: str) -> pd.DataFrame:
    """Largest miss rate in percent, by columns of a frame of `coverage_table`, in words.

    Parameters
    ----------
    frame
        As `saecert.statistics.coverage.coverage_table` makes it.
    rows
        Its columns by which the table has rows (in the order of the frame), and their names.
    columns
        That by which it has columns.
    """
    rates = {"values": "miss_rate", "aggfunc": "max", "sort": False}
    table = 100 * frame.pivot_table(index=list(rows), columns=columns, **rates)
    return in_words(table).rename_axis(index=list(rows.values()))


def miss_table(frame: pd.DataFrame, label: str, names: Sequence[str] = ()) -> pd.DataFrame:
    """One row a cell: its miss rate in percent with 99 % limits, and the verdict, in words.

    Parameters
    ----------
    frame
        As `saecert.statistics.coverage.coverage_table` makes it, with a column "label".
    label
        What the labels are called in the head of the table.
    names
        More columns of the frame, behind the label.
    """
    shown = in_words(frame[["label", *names, "n", "draws"]]).rename(columns={"label": label})
    shown["misses (%)"] = 100 * frame["miss_rate"]
    shown["from"] = 100 * frame["ci_low"]
    shown["to"] = 100 * frame["ci_high"]
    return shown.assign(verdict=frame["verdict"])


def without_misses(table: pd.DataFrame) -> str:
    """Which names of each level of an index have no miss in any row, as one sentence.

    `table` is that of `worst_rates`, by several rows.
    """
    missed = table.max(axis=1) > 0
    names: list[str] = []
    for level in table.index.names:
        often = missed.groupby(level=level, sort=False).any()
        names += [str(name) for name in often.index[~often]]
    return f"no miss at all: {', '.join(names) or 'none'}"


def group_table(frame: pd.DataFrame) -> pd.DataFrame:
    """How much alike groups are, in words: the rows of `group_facts`, one a grouping."""
    words = {str(name): str(name).replace("_", " ") for name in frame}
    words |= {"by": "grouped by", "n_seq": "sequences", "largest": "largest group"}
    return frame.rename(columns=words).set_index("grouped by")


def group_verdicts(frame: pd.DataFrame) -> tuple[bool, bool]:
    """Whether ignoring packages is rejected at every size, and one sequence of each group passes.

    `frame` has the rows of `saecert.reporting.simulations_groups.misses_of_groups`.
    """
    packages = frame[(frame["by"] == "package") & (frame["unit"] == "sequence")]
    ignored = bool((packages["verdict"] == "rejected").all())
    one_each = frame[frame["unit"] == "group"]
    return ignored, bool((one_each["verdict"] == "valid").all())

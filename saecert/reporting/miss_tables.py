"""How often bounds miss, as tables in words: what pages 01 and 04 print."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from saecert.reporting.wording import in_words


def worst_rates(frame: pd.DataFrame, rows: str | Sequence[str], columns: str) -> pd.DataFrame:
    """Largest miss rate in percent, by columns of a frame of `coverage_table`, in words.

    Parameters
    ----------
    frame
        As `saecert.statistics.coverage.coverage_table` makes it.
    rows, columns
        Its columns by which the table has rows and columns, in the order of the frame.
    """
    rates = {"values": "miss_rate", "aggfunc": "max", "sort": False}
    return in_words(100 * frame.pivot_table(index=rows, columns=columns, **rates))


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

"""Latents as a table in the page: to search, to sort, and to guess which of them were trained.

A table of plain HTML, complete without a script. How often a latent fires and what its removal
costs would give the answer away, so they are folded with it. A short script beside the table sorts,
filters, keeps the score of guesses and shades tokens by activation, from JSON in the page. Nothing
is fetched.
The JSON holds numbers of sequences and positions, and no text of the corpus:
`saecert.reporting.excerpts` reads that again when a page or a book is made.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from saecert.dictionaries.latent_limits import CAP
from saecert.dictionaries.quantities import KINDS, RANDOM, TRAINED
from saecert.statistics.rounding import lower_text, nearest_text, upper_text

Texts = Sequence[Sequence[Sequence[str]]]
"""Tokens of every place of every row."""

BEFORE = 12
"""Tokens before the marked one, as `saecert.dictionaries.latents` measures."""
MARKER = "saecert-latents"
"""Class of the JSON in a page."""
MISSING = (
    "The text is not stored with this page. It is read again from the installed packages when the "
    "book is made, or with -p show_text=True."
)
HEADS = {
    "number": "no.",
    "tokens": "strongest at",
    "up": "promotes",
    "down": "suppresses",
    "which": "which?",
}
"""Columns: key and heading."""
NAMES = {TRAINED: "trained", RANDOM: "untrained"}
"""What a reader calls the kinds."""
TEXT_COLUMNS = ("tokens", "up", "down")
DECIMALS = 4
_PAYLOAD = re.compile(
    rf'<script type="application/json" class="{MARKER}">(.*?)</script>', re.DOTALL
)
_HERE = Path(__file__).parent
_VISIBLE = {code: chr(0x2400 + code) for code in range(32)} | {9: "⇥", 10: "⏎", 127: "␡"}


@dataclass(frozen=True)
class LatentTable:
    """Latents ready for the page; made by `latent_table`."""

    payload: Mapping[str, Any]
    """"source", the settings of the study; "first", the first position that is shown; "rows", what
    is printed; "places", for every row sequence, position, hash, peak activation and percentages of
    it around."""
    texts: Texts | None = None
    """Tokens at the places; None leaves them out."""

    def __repr__(self) -> str:
        count = len(self.payload["rows"])
        return f"{count} latents of {self.payload['source']['subject']}, as HTML"

    def _repr_html_(self) -> str:
        """The table, its JSON, its style and its script."""
        data = json.dumps({**self.payload, "texts": self.texts}, separators=(",", ":"))
        pieces = [
            '<div class="latents">',
            f"<style>{_file('browser.css')}</style>",
            _table(self.payload, self.texts),
            f'<script type="application/json" class="{MARKER}">{_inside(data)}</script>',
            f"<script>{_file('browser.js')}</script>",
            "</div>",
        ]
        return "\n".join(pieces)


def latent_table(
    source: Mapping[str, Any],
    strongest: Mapping[str, np.ndarray],
    limits: pd.DataFrame,
    seed: int = 0,
    texts: Texts | None = None,
) -> LatentTable:
    """Latents of the trained and of the untrained SAE in one random order.

    Parameters
    ----------
    source
        Settings of `saecert.reporting.study.open_study` under which the text is found again.
    strongest
        What "strongest" measures at a hook point.
    limits
        What `saecert.dictionaries.latent_limits.removal_limits` says of the same latents.
    seed
        Of the order.
    texts
        Tokens at the places, see `saecert.reporting.excerpts.texts_of`.
    """
    order = np.random.default_rng(seed).permutation(len(limits))
    rows = []
    places = []
    for number, place in enumerate(order, start=1):
        row = limits.iloc[int(place)]
        rank = int(row["rank"]) - 1
        values = {
            name.removeprefix(f"{row['kind']} "): array[rank]
            for name, array in strongest.items()
            if name.startswith(f"{row['kind']} ")
        }
        cost = {name: float(row[name]) for name in ("lower", "mean", "upper", "whole")}
        rows.append({"number": number, "kind": str(row["kind"]), **_described(values), **cost})
        places.append(_places(values))
    first = int(strongest["first"])
    payload = {"source": dict(source), "first": first, "rows": rows, "places": places}
    return LatentTable(payload, texts)


def payload_of(page: str) -> dict[str, Any] | None:
    """The JSON in the HTML of a `LatentTable`, None if there is none."""
    found = _PAYLOAD.search(page)
    return json.loads(found.group(1)) if found else None


def with_texts(page: str, texts: Texts) -> str:
    """The HTML of a `LatentTable` with the text at its places; ValueError if it is none."""
    payload = payload_of(page)
    if payload is None:
        raise ValueError("this HTML holds no latents: it is not the output of latent_table")
    payload.pop("texts")
    return LatentTable(payload, texts)._repr_html_()


def readable(token: str) -> str:
    """A token with what cannot be seen made visible.

    >>> readable(chr(10) + "    x" + chr(16))
    '⏎    x␐'
    """
    return token.translate(_VISIBLE)


def _described(values: Mapping[str, np.ndarray]) -> dict[str, Any]:
    names = {"tokens": "tokens", "up": "promoted", "down": "suppressed"}
    words = {key: [str(x) for x in values[name] if str(x)] for key, name in names.items()}
    numbers = {name: float(values[name]) for name in ("share", "firing", "same")}
    return {"latent": int(values["latents"]), **words, **numbers}


def _places(values: Mapping[str, np.ndarray]) -> list[list[Any]]:
    """Sequence, position, hash, peak and percentages of it around, of each place that there is."""
    rows = zip(values["places"], values["ids"], values["peaks"], values["windows"], strict=True)
    return [
        [int(place[0]), int(place[1]), int(ident), round(float(peak), 3), _percent(window)]
        for place, ident, peak, window in rows
        if place[0] >= 0
    ]


def _percent(window: np.ndarray) -> list[int]:
    return [int(share) for share in np.rint(100 * np.clip(window, 0, 1))]


def _table(payload: Mapping[str, Any], texts: Texts | None) -> str:
    head = "".join(
        f'<th scope="col" role="columnheader" data-key="{key}"{_right(key == "number")}>{text}</th>'
        for key, text in HEADS.items()
    )
    caption = (
        "Latents of the SAE and of an untrained one, in random order. A guess shows how often the "
        "latent fires and what its removal costs, in bits per token: the sample mean, and the mean "
        f"and its limits if a sequence counts for {CAP:g} bits at most, which hold together for "
        "all."
    )
    note = "" if texts is not None else f'<p class="note">{html.escape(MISSING)}</p>'
    groups = []
    for place, row in enumerate(payload["rows"]):
        tokens = None if texts is None else texts[place]
        here = [_start(where, payload["first"]) for where in payload["places"][place]]
        groups.append(_group(row, here, tokens))
    body = "\n".join(groups)
    table = f'<table role="table"><caption>{caption}</caption><thead role="rowgroup">'
    return f'{table}<tr role="row">{head}</tr></thead>\n{body}\n</table>{note}'


def _group(
    row: Mapping[str, Any], own: Sequence[int], tokens: Sequence[Sequence[str]] | None
) -> str:
    """One latent: a row of tokens, and below it the text in which it is strongest."""
    cells = [f'<th scope="row" role="rowheader">{row["number"]}</th>']
    for key in TEXT_COLUMNS:
        words = ", ".join(f"<code>{html.escape(readable(word))}</code>" for word in row[key])
        cells.append(f'<td role="cell" data-label="{HEADS[key]}">{words or "–"}</td>')
    cells.append(
        f'<td role="cell" data-label="which"><details class="which"><summary>reveal'
        f"</summary>{_answer(row)}</details></td>"
    )
    line = f'<tr role="row">{"".join(cells)}</tr>'
    shown = _excerpts(row["number"], own, tokens) if tokens is not None else ""
    return f'<tbody role="rowgroup" data-kind="{row["kind"]}">{line}{shown}</tbody>'


def _answer(row: Mapping[str, Any]) -> str:
    """Which kind a latent is of, and the numbers that tell; limits with their values."""
    share, firing = (nearest_text(100 * row[key], 1) for key in ("share", "firing"))
    whole, mean = (nearest_text(row[key], DECIMALS) for key in ("whole", "mean"))
    low, high = (
        f'<span data-limit="{key} {row[key]!r}">{text(row[key], DECIMALS)}</span>'
        for key, text in (("lower", lower_text), ("upper", upper_text))
    )
    return (
        f"<b>{NAMES[row['kind']]}</b>, latent {row['latent']}: fires at {firing} % of positions, "
        f"has {share} % of all attribution; removing it costs {whole} in the sample, "
        f"{mean} with sequences cut off at {CAP:g} bits: {low} to {high}"
    )


def _excerpts(number: int, own: Sequence[int], tokens: Sequence[Sequence[str]]) -> str:
    pairs = zip(tokens, own, strict=True)
    items = "".join(f"<li>{_marked(words, place)}</li>" for words, place in pairs)
    summary = f"text where no. {number} is strongest"
    cell = f'<td role="cell" colspan="{len(HEADS)}"><details><summary>{summary}</summary>'
    return f'<tr role="row" class="places">{cell}<ol>{items}</ol></details></td></tr>'


def _start(place: Sequence[Any], first: int) -> int:
    """Where the marked token stands among those shown: fewer come before it near the beginning."""
    return min(int(place[1]) - first, BEFORE)


def _marked(words: Sequence[str], own: int) -> str:
    """Tokens in a line, that at which the latent is strongest marked."""
    safe = [html.escape(readable(word)) for word in words]
    return f"{''.join(safe[:own])}<mark>{safe[own]}</mark>{''.join(safe[own + 1 :])}"


def _right(right: bool) -> str:
    return ' class="n"' if right else ""


def _file(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8").strip()


def _inside(data: str) -> str:
    """JSON that may stand inside a script element, whatever its strings say."""
    return data.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def shares_of_kinds(strongest: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """What the latents shown are like, medians by kind: share of all attribution together, firing,
    and the share of their strongest places that have one token."""
    rows = {
        NAMES[kind]: {
            "share of attribution": float(strongest[f"{kind} share"].sum()),
            "fires, median": float(np.median(strongest[f"{kind} firing"])),
            "same token, median": float(np.median(strongest[f"{kind} same"])),
        }
        for kind in KINDS
    }
    return pd.DataFrame(rows).T

"""A text whose tokens are coloured by a number of bits: to be read, not only to be seen."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float

from saecert.reporting.browser import readable
from saecert.statistics.rounding import nearest_text

STEPS = (0.1, 0.5, 1.0)
"""Bits at which the colour gets stronger."""
NAMED = 5
"""Tokens of most bits that the text alternative names."""
STYLE = """
.coloured p.text { line-height: 2; }
.coloured .s0, .coloured .s1, .coloured .s2, .coloured .s3 { white-space: pre-wrap; }
.coloured .s1 { background: rgb(230 130 0 / 18%); border-bottom: 1px solid currentcolor; }
.coloured .s2 { background: rgb(230 130 0 / 34%); border-bottom: 2px solid currentcolor; }
.coloured .s3 { background: rgb(230 130 0 / 52%); border-bottom: 4px double currentcolor; }
.coloured ul.legend { display: flex; flex-wrap: wrap; gap: 0.25rem 1.25rem; list-style: none;
  margin: 0.5rem 0; padding: 0; }
.coloured ul.legend span { padding: 0 0.3em; }
.coloured summary { cursor: pointer; }
.coloured td, .coloured th { padding: 0.1rem 0.6rem; text-align: right; white-space: pre-wrap; }
"""


@dataclass(frozen=True)
class ColouredText:
    """Tokens with a number of bits each, for the page; made by `coloured`."""

    tokens: tuple[str, ...]
    """In their order."""
    bits: Float[np.ndarray, "tokens"]
    """What they are coloured by, at least 0."""
    columns: tuple[tuple[str, Float[np.ndarray, "tokens"]], ...]
    """Names and values that stand beside it in the table."""
    quantity: str
    """What the bits are, in words."""

    def __repr__(self) -> str:
        return f"{len(self.tokens)} tokens coloured by {self.quantity}; {self._largest()}"

    def _repr_html_(self) -> str:
        """Text, legend, the largest in words, and a table of all that opens on a click."""
        pairs = zip(self.tokens, self._steps(), strict=True)
        text = "".join(f'<span class="s{step}">{_safe(token)}</span>' for token, step in pairs)
        return "\n".join(
            [
                f'<div class="coloured"><style>{STYLE}</style>',
                self._legend(),
                f'<p class="text">{text}</p>',
                f'<p class="note">{_safe(self._largest())}</p>',
                self._table(),
                "</div>",
            ]
        )

    def _steps(self) -> list[int]:
        """How strong the colour of each token is, 0 to 3."""
        return [int(step) for step in np.searchsorted(STEPS, self.bits, side="right")]

    def _legend(self) -> str:
        names = [f"below {STEPS[0]:g}"]
        names += [f"{low:g} to {high:g}" for low, high in pairwise(STEPS)]
        names += [f"{STEPS[-1]:g} or more"]
        items = "".join(
            f'<li><span class="s{step}">{name} bits</span></li>' for step, name in enumerate(names)
        )
        label = _safe(f"Legend: {self.quantity}")
        return f'<ul class="legend" aria-label="{label}">{items}</ul>'

    def _largest(self) -> str:
        order = np.argsort(-self.bits, kind="stable")[:NAMED]
        named = [f"“{self.tokens[i].strip()}” {nearest_text(self.bits[i], 1)}" for i in order]
        return f"Largest, in bits: {', '.join(named)}."

    def _table(self) -> str:
        heads = ("token", *(name for name, _ in self.columns), self.quantity)
        values = [*(column for _, column in self.columns), self.bits]
        head = "".join(f'<th scope="col">{_safe(name)}</th>' for name in heads)
        rows = []
        for place, token in enumerate(self.tokens):
            cells = "".join(f"<td>{nearest_text(column[place], 2)}</td>" for column in values)
            rows.append(f'<tr><th scope="row">{_safe(readable(token))}</th>{cells}</tr>')
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
        return f"<details><summary>all tokens, in bits</summary>{table}</details>"


def coloured(
    tokens: Sequence[str],
    first: Float[np.ndarray, "a"],
    second: Float[np.ndarray, "b"],
    names: tuple[str, str],
) -> ColouredText:
    """Tokens coloured by how far apart two losses are at each, whichever is the larger one.

    Colour has four steps, at `STEPS`; a line below a token says the same without colour. ValueError
    unless there is one loss of each kind for each token.

    Examples
    --------
    >>> coloured(["a", " b"], np.array([1.0, 2.0]), np.array([1.0, 4.5]), ("model", "pool"))
    2 tokens coloured by |model - pool|; Largest, in bits: “b” 2.5, “a” 0.0.
    """
    if not len(tokens) == len(first) == len(second):
        raise ValueError(
            f"{len(tokens)} tokens with {len(first)} and {len(second)} losses: one each is needed"
        )
    columns = ((names[0], np.asarray(first)), (names[1], np.asarray(second)))
    bits = np.abs(columns[0][1] - columns[1][1])
    return ColouredText(tuple(map(str, tokens)), bits, columns, f"|{names[0]} - {names[1]}|")


def _safe(text: str) -> str:
    return html.escape(text)

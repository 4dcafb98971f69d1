"""Sphinx extension: punctuation stays with the formula or the code that it closes.

A browser may begin a line between a formula and the comma behind it. Both are put into one span
that no line ends in (``.kept-together`` in the style sheet), with an opening bracket before them.
A formula that may be as wide as a phone is of the class ``long`` besides: it shrinks to what its
comma leaves, and scrolls. Names in code get places to break at: behind an underscore, a dot, a
slash or an ampersand; an option of a command keeps its hyphens.
"""

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

GLYPHS = 24
"""Longest formula that is not ``long``: so many are less than two thirds of a phone's column."""

_CLOSING = re.compile(r"(?:[.,;:!?%)\]}\u2026\u2019\u201d'\"/\u2010-\u2014-]+|(?:th|s)\b)+")
_OPENING = re.compile(r"[(\[{\u2018\u201c'\"]+$")
_CODE = re.compile(r'(<code class="[^"]*\bliteral\b[^"]*">)(.*?)(</code>)', re.DOTALL)
_TEXT = re.compile(r"(?<=>)[^<]+")
_BREAK = re.compile(r"(?<=\w)([._/]|::|&amp;)(?=[^\W\d])")
_OPTION = re.compile(r"(?<![\w-])--?[A-Za-z][\w-]*")
_WHOLE = r'<span class="kept-together">\g<0></span>'


class KeptTogether(SphinxPostTransform):
    """Wrap formulas and code with the punctuation directly before and behind them."""

    default_priority = 900
    formats = ("html",)

    def run(self, **options: Any) -> None:
        """Look at every formula and every piece of code of the page."""
        for node in list(self.document.findall(_is_held)):
            hold(node)


def hold(node: nodes.Element) -> None:
    """Put the node into a span with the punctuation that touches it, if any does."""
    before, behind = _neighbour(node, -1), _neighbour(node, 1)
    opening = _OPENING.search(before) if before else None
    closing = _CLOSING.match(behind) if behind else None
    if not (opening or closing):
        return
    kept = nodes.inline(classes=["kept-together", *(["long"] if _is_long(node) else [])])
    parent, place = node.parent, node.parent.index(node)
    first, last = place, place + 1
    pieces: list[nodes.Node] = []
    if opening:
        first -= 1
        pieces += [nodes.Text(before[: opening.start()])] if opening.start() else []
        kept += nodes.Text(opening[0])
    kept += node
    pieces.append(kept)
    if closing:
        last += 1
        kept += nodes.Text(closing[0])
        pieces += [nodes.Text(behind[closing.end() :])] if closing.end() < len(behind) else []
    parent[first:last] = pieces


def glyphs(source: str) -> int:
    r"""About how many glyphs a formula has side by side.

    >>> glyphs(r"\hat{\mu}_{x} + 1")
    5
    """
    bare = re.sub(r"\\(?:text|mathrm|operatorname|mathbf|mathcal|mathbb)\b", "", source)
    return len(re.sub(r"[{}^_\s&\\]", "", re.sub(r"\\(?:[A-Za-z]+|.)", "m", bare)))


def with_breaks(body: str) -> str:
    """A page in which a line may end inside of code, at places that leave words whole."""

    def broken(found: re.Match[str]) -> str:
        inside = _TEXT.sub(lambda text: _OPTION.sub(_WHOLE, text[0]), found[2])
        inside = _TEXT.sub(lambda text: _BREAK.sub(r"\1<wbr>", text[0]), inside)
        return found[1] + inside + found[3]

    return _CODE.sub(broken, body)


def setup(app: Sphinx) -> dict[str, bool]:
    """Transform every page, and look at it again when it is about to be written."""
    app.add_post_transform(KeptTogether)
    app.connect("html-page-context", _break, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _break(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    context["body"] = with_breaks(context.get("body", ""))


def _is_held(node: nodes.Node) -> bool:
    code = isinstance(node, nodes.literal) and not isinstance(node.parent, nodes.reference)
    return code or isinstance(node, nodes.math)


def _is_long(node: nodes.Node) -> bool:
    return isinstance(node, nodes.math) and glyphs(node.astext()) > GLYPHS


def _neighbour(node: nodes.Element, step: int) -> str:
    """The text directly beside a node, "" if something else is."""
    place = node.parent.index(node) + step
    beside = node.parent[place] if 0 <= place < len(node.parent) else None
    return str(beside) if isinstance(beside, nodes.Text) else ""

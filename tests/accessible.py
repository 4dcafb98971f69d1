"""Whether a built book can be read without seeing or pointing, and whether its links lead anywhere.

What can be told from the files alone; a browser is asked by `tests/house/test_in_a_browser.py`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

Attributes = dict[str, str]

LEAST_CONTRAST = 4.5
"""What WCAG 2.2 asks of text, level AA."""
GROUNDS = {"light": "#ffffff", "dark": "#14181e"}
"""Colour of the page in the theme, by mode."""

KNOWN = {("search.html", "id 'search-input' is there twice")}
"""What the theme does, page and complaint: its field for searching is there twice on that page."""

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_NAMES = ("aria-label", "aria-labelledby", "title")
_UNLABELLED = ("hidden", "submit", "button", "image", "reset")
_FIELDS = ("input", "select", "textarea")
_VOID = set("area base br col embed hr img input link meta source track wbr".split())


class Page(HTMLParser):
    """What a page says about itself: ids, links, pictures, fields, headings, names of controls."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.unnamed: list[str] = []
        self.headings: list[int] = []
        self.fields: list[tuple[str, str]] = []
        self.labels: set[str] = set()
        self.language = ""
        self.title = ""
        self._open: list[tuple[str, Attributes, list[str]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Note what the tag brings."""
        given = {name: value or "" for name, value in attributes}
        inside = [name for name, *_ in self._open]
        if "id" in given:
            self.ids.append(given["id"])
        self.links += [given[key] for key in ("href", "src") if key in given and tag != "base"]
        if tag == "html":
            self.language = given.get("lang", "")
        if tag == "img":
            self._picture(given)
        if tag == "label" and "for" in given:
            self.labels.add(given["for"])
        if tag in _FIELDS and given.get("type") not in _UNLABELLED:
            named = "label" in inside or any(given.get(name) for name in _NAMES)
            if not named:
                self.fields.append((f"<{tag} id={given.get('id', '')!r}>", given.get("id", "")))
        if re.fullmatch("h[1-6]", tag) and "article" in inside:
            self.headings.append(int(tag[1]))
        if tag not in _VOID:
            self._open.append((tag, given, []))

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """A tag that closes itself, as SVG has them, holds nothing."""
        self.handle_starttag(tag, attributes)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        """Close the innermost tag of this name, and what was left open in it."""
        places = [place for place, (name, *_) in enumerate(self._open) if name == tag]
        for name, given, text in reversed(self._open[places[-1] :] if places else []):
            self._close(name, given, "".join(text).strip())
        if places:
            del self._open[places[-1] :]

    def handle_data(self, data: str) -> None:
        """Text belongs to everything that is open."""
        for _, _, text in self._open:
            text.append(data)

    def _picture(self, given: Attributes) -> None:
        if "alt" not in given:
            self.unnamed.append(f"<img src={given.get('src', '')[:60]!r}> has no alt text")
        for _, _, text in self._open:  # the picture's text names the link that it is in
            text.append(given.get("alt", ""))

    def _close(self, tag: str, given: Attributes, text: str) -> None:
        if tag == "title" and not self.title:
            self.title = text
        control = tag in ("button", "summary") or (tag == "a" and "href" in given)
        hidden = given.get("aria-hidden") == "true"
        if control and not hidden and not text and not any(given.get(name) for name in _NAMES):
            self.unnamed.append(
                f"<{tag} {given.get('href', given.get('class', ''))!r}> has no name"
            )


def check_accessible(book: Path) -> list[str]:
    """Complaints about every page of a built book, each with the page at fault."""
    book = book.resolve()
    texts = {path: path.read_text(encoding="utf-8") for path in sorted(book.rglob("*.html"))}
    pages = {path: Page(text) for path, text in texts.items() if "_static" not in path.parts}
    complaints = []
    for path, page in pages.items():
        found = [*_breaches(page), *_controls(texts[path]), *_dead_links(path, page, book, pages)]
        name = path.relative_to(book).as_posix()
        unknown = [complaint for complaint in found if (name, complaint) not in KNOWN]
        complaints += [f"{name}: {complaint}" for complaint in unknown]
    return complaints


def _breaches(page: Page) -> list[str]:
    twice = sorted(name for name, count in Counter(page.ids).items() if count > 1)
    found = [f"id {name!r} is there twice" for name in twice]
    found += page.unnamed
    found += [f"{field} has no label" for field, name in page.fields if name not in page.labels]
    found += [] if page.language else ["<html> says no language"]
    found += [] if page.title else ["has no title"]
    for above, below in zip(page.headings, page.headings[1:], strict=False):
        if below > above + 1:
            found.append(f"heading of level {below} right below one of level {above}")
    return found


def _controls(text: str) -> list[str]:
    return [f"control character {found!r}" for found in sorted(set(_CONTROL.findall(text)))]


def _dead_links(path: Path, page: Page, book: Path, pages: dict[Path, Page]) -> Iterable[str]:
    for link in sorted(set(page.links)):
        parts = urlsplit(link)
        if parts.scheme or parts.netloc or not (parts.path or parts.fragment):
            continue
        target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
        if target.is_dir():
            target = target / "index.html"
        if not target.exists() or not target.is_relative_to(book):
            yield f"dead link {link!r}"
        elif parts.fragment and target.suffix == ".html":
            known = pages.get(target)
            if known is not None and unquote(parts.fragment) not in known.ids:
                yield f"dead link {link!r}: no such place on that page"


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two colours such as "#0158a0", 1 to 21 (WCAG 2.2, definition).

    >>> round(contrast("#000000", "#ffffff"), 2)
    21.0
    """
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def check_contrast(sheet: str) -> list[str]:
    """Own colours of a style sheet that are too close to the page, by the mode they are for."""
    complaints = []
    for mode, ground in GROUNDS.items():
        rule = rf'html\[data-theme="{mode}"\]\s*\{{([^}}]*--saecert[^}}]*)\}}'
        colours = [pair for body in re.findall(rule, sheet) for pair in _colours(body)]
        if not colours:
            complaints.append(f"no own colours for {mode} pages")
        for name, colour in colours:
            ratio = contrast(colour, ground)
            if ratio < LEAST_CONTRAST:
                complaints.append(f"{name} {colour} on {mode} {ground}: contrast {ratio:.2f}")
    return complaints


def _colours(body: str) -> list[tuple[str, str]]:
    return re.findall(r"(--saecert-[\w-]+):\s*(#[0-9a-fA-F]{6})\b", body)


def _luminance(colour: str) -> float:
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

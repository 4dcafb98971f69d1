"""Sphinx extension: old links to places on the page of the API still lead to them.

It was one page, ``book/api.html#saecert.certify``; now each room has its own. The page of the API
brings a table of what is where, and a script that goes on to the page of the place asked for.
"""

import json
from collections.abc import Iterable
from typing import Any

from sphinx.application import Sphinx

PAGE = "book/api"
SCRIPT = """(() => {
const pages = %s;
const asked = decodeURIComponent(location.hash.slice(1));
const home = (name) => Object.keys(pages).find((page) => pages[page].includes(name));
let name = asked.replace(/^module-/, "");
while (name && !home(name)) name = name.replace(/\\.?[^.]*$/, "");
if (name) location.replace(`${home(name)}.html#${asked}`);
})();"""
"""What goes on: members are where their class is, and classes where their module is."""


def places(objects: Iterable[tuple[Any, ...]]) -> dict[str, list[str]]:
    """Names of functions, classes and modules, by the page of a room that they are on.

    `objects` are those of Sphinx's domain of Python.
    """
    found: dict[str, list[str]] = {}
    for name, _, kind, page, *_ in objects:
        if page.startswith(f"{PAGE}/") and kind not in ("attribute", "method", "property"):
            found.setdefault(page.removeprefix("book/"), []).append(name)
    return {page: sorted(names) for page, names in sorted(found.items())}


def setup(app: Sphinx) -> dict[str, bool]:
    """Look at the page of the API when it is about to be written."""
    app.connect("html-page-context", _lead_on)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _lead_on(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    if page == PAGE:
        objects = app.env.get_domain("py").get_objects()
        where = json.dumps(places(objects), separators=(",", ":"))
        app.add_js_file(None, body=SCRIPT % where)

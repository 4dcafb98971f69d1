"""Sphinx extension: pages without what makes them invalid, and that no setting turns off.

Every proof has the same id. The script of thebe, which no page uses, is there twice, and the second
one is an error in the browser's console. An entry of the references has a role that is none any
more, and is no item of the list that it stands in. What unfolds a chapter in the sidebar has no
name.
"""

from collections.abc import Callable
from typing import Any

from sphinx.application import Sphinx

WRONG = {
    ' id="proof"': "",
    ' id="proof-content"': "",
    ' role="doc-biblioentry"': ' role="listitem"',
}
"""What stands in pages, and what should."""


def setup(app: Sphinx) -> dict[str, bool]:
    """Look at each page when it is about to be written."""
    app.connect("html-page-context", _mend, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _mend(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    for wrong, right in WRONG.items():
        context["body"] = context.get("body", "").replace(wrong, right)
    scripts = context.get("script_files", [])
    context["script_files"] = [script for script in scripts if not _of_thebe(script)]

    if make := context.get("generate_toctree_html"):
        context["generate_toctree_html"] = _with_names(make)


def _with_names(make: Callable[..., Any]) -> Callable[..., Any]:
    """What makes the sidebar, its folds named by the chapters that they unfold."""

    def named(*args: Any, **options: Any) -> Any:
        made = make(*args, **options)
        for fold in made.find_all("summary") if hasattr(made, "find_all") else []:
            link = fold.find_parent("li").find("a")
            if link is not None and not fold.get_text(strip=True):
                fold["aria-label"] = f"{link.get_text(strip=True)}: pages below"
        return made

    return named


def _of_thebe(script: Any) -> bool:
    name = str(getattr(script, "filename", script) or "")
    body = str(getattr(script, "attributes", {}).get("body") or "")
    return "thebe" in name or "THEBE_JS_URL" in body

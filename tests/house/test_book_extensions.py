"""Extensions of the book: punctuation that stays, names that break at their joints, old links."""

import importlib.util
import re

import pytest
from checks import ROOT

nodes = pytest.importorskip("docutils.nodes", reason="the book's packages are an extra")
pytest.importorskip("sphinx", reason="the book's packages are an extra")


def extension(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "book/_ext" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


kept_together = extension("kept_together")
moved_places = extension("moved_places")


def paragraph(before, node, behind):
    made = nodes.paragraph()
    for part in (before, node, behind):
        if part:
            made += nodes.Text(part) if isinstance(part, str) else part
    return made


@pytest.mark.parametrize("kind", [nodes.math, nodes.literal])
@pytest.mark.parametrize(
    ("before", "behind", "kept", "left"),
    [
        ("at most ", ", with", "x,", ["at most ", " with"]),
        ("at most (", "), and", "(x),", ["at most ", " and"]),
        ("", ".", "x.", []),
        ("the ", "-th one", "x-th", ["the ", " one"]),
        ("a ", "-sparse code", "x-", ["a ", "sparse code"]),
        ("the ", "th one", "xth", ["the ", " one"]),
        ("a “", "” is", "“x”", ["a ", " is"]),
        ("of ", "; (see", "x;", ["of ", " (see"]),
    ],
)
def test_punctuation_is_kept_with_what_it_touches(kind, before, behind, kept, left):
    made = paragraph(before, kind("x", "x"), behind)
    text = made.astext()
    kept_together.hold(made.next_node(kind))
    (span,) = made.findall(nodes.inline)
    assert span["classes"] == ["kept-together"]
    assert span.astext() == kept
    assert [str(child) for child in made.children if isinstance(child, nodes.Text)] == left
    assert made.astext() == text
    assert all(child.parent is made for child in made.children)


@pytest.mark.parametrize(("before", "behind"), [("", ""), ("of ", " and"), ("of ", "soft")])
def test_what_touches_no_punctuation_stays_as_it_is(before, behind):
    made = paragraph(before, nodes.math("x", "x"), behind)
    kept_together.hold(made.next_node(nodes.math))
    assert not list(made.findall(nodes.inline))


def test_neighbours_that_share_their_punctuation_are_all_kept():
    made = paragraph("of ", nodes.math("a", "a"), "/")
    made += nodes.math("b", "b")
    made += nodes.Text(", where")
    for node in list(made.findall(nodes.math)):
        kept_together.hold(node)
    assert [span.astext() for span in made.findall(nodes.inline)] == ["a/", "b,"]
    assert made.astext() == "of a/b, where"


def test_a_formula_as_wide_as_a_phone_may_shrink():
    source = r"\min\{\ell_{g_A} + |\ell_f - \ell_g| + |\ell_g - \ell_{g_A}|, \mathrm{hi}\}"
    made = paragraph("", nodes.math(source, source), ".")
    kept_together.hold(made.next_node(nodes.math))
    (span,) = made.findall(nodes.inline)
    assert span["classes"] == ["kept-together", "long"]
    sheet = (ROOT / "_static/custom.css").read_text(encoding="utf-8")
    for rule in (".kept-together", ".kept-together.long", ".kept-together code"):
        assert f"\n.bd-content {rule} {{\n" in sheet


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("x", 1),
        (r"\hat{\mu}_{x} + 1", 5),
        (r"\operatorname{dec}(h)", 6),
        (r"\lvert a \rvert", 3),
        (r"\{0, 1\}", 5),
    ],
)
def test_glyphs_are_counted_as_they_are_seen(source, count):
    assert kept_together.glyphs(source) == count


@pytest.mark.parametrize(
    ("name", "pieces"),
    [
        ("hook_resid_post", ["hook_", "resid_", "post"]),
        ("saecert.shards.merge", ["saecert.", "shards.", "merge"]),
        (
            "faults/test_kills.py::test_measure",
            ["faults/", "test_", "kills.", "py::", "test_", "measure"],
        ),
        ("load_subject(...)", ["load_", "subject(...)"]),
        ("means[&quot;gap&quot;]", ["means[&quot;gap&quot;]"]),
        ("0.05", ["0.05"]),
        ("_private", ["_private"]),
        ("a=en&amp;b=v1", ["a=en&amp;", "b=v1"]),
        ("n--1", ["n--1"]),
    ],
)
def test_names_in_code_break_at_their_joints(name, pieces):
    code = '<td><code class="docutils literal notranslate"><span class="pre">{}</span></code></td>'
    around = f'<p class="a_b">a_b</p>{code}<p>a_b</p>'
    assert kept_together.with_breaks(around.format(name)) == around.format("<wbr>".join(pieces))


@pytest.mark.parametrize("option", ["--pages-only", "-p"])
def test_an_option_keeps_its_hyphens(option):
    code = '<code class="docutils literal notranslate"><span class="pre">{}</span></code>'
    kept = code.format(f'<span class="kept-together">{option}</span>')
    assert kept_together.with_breaks(code.format(option)) == kept


def test_old_places_are_found_on_the_page_of_their_room():
    objects = [
        ("saecert.certify", "certify", "function", "book/api/certificates", "saecert.certify", 1),
        ("saecert.shards", "shards", "module", "book/api/records", "module-saecert.shards", 0),
        ("saecert.shards.Shard", "Shard", "class", "book/api/records", "saecert.shards.Shard", 1),
        (
            "saecert.shards.Shard.n",
            "n",
            "attribute",
            "book/api/records",
            "saecert.shards.Shard.n",
            1,
        ),
        ("other", "other", "function", "book/scale_out", "other", 1),
    ]
    assert moved_places.places(objects) == {
        "api/certificates": ["saecert.certify"],
        "api/records": ["saecert.shards", "saecert.shards.Shard"],
    }


def test_every_page_of_the_api_is_on_its_first_one():
    first = (ROOT / "book/api.md").read_text(encoding="utf-8")
    linked = re.findall(r"\{doc\}`[^`<]+ <api/(\w+)>`", first)
    assert sorted(linked) == sorted(path.stem for path in (ROOT / "book/api").glob("*.md"))

"""What every page has in common: its opening, its end, its place in the sidebar, its parameters."""

import ast
import re

import jupytext
import pytest
import yaml
from checks import ROOT, notebook_sources

PAGES = notebook_sources()
UNFOLDED = 18
"""Most lines of a cell of code that is not folded: what is longer is read by whoever opens it."""
SIDEBAR = 25
"""Most characters of a title in the sidebar."""
DIFFERS = {
    "cap": "what is capped differs",
    "corpus": "00 and 14 use it for one thing only",
    "delta": "09 gives the value that the paper prints",
    "draws": "of the page, of each population, of a cell",
    "eps": "08 counts shares as well",
    "hooks": "those that are trained at are listed",
    "n_public": "24 sets two numbers at once",
    "n_samples": "who sees them differs",
    "n_seq": "simulated, estimated, or of several texts",
    "orders": "what is put in order differs",
    "public": "24 takes SAEs of others, 23 trains its own",
    "seed": "what is random differs",
    "show_text": "25 keeps the text out of the book, 26 not",
    "sizes": "samples and resamples",
    "skip": "19 looked at them before",
    "subject": "00 and 10 use it for one thing only",
    "usual_l0": "of all SAEs, or of some besides others",
}
"""Parameters that mean another thing on another page, and why."""


def cells(path):
    return jupytext.read(path, fmt="py:percent").cells


def tags(cell):
    return set(cell.metadata.get("tags", []))


def page_complaints(name, made):
    """What the cells of a page called `name`, such as 02_four_terms, have out of place."""
    text = [cell.source for cell in made if cell.cell_type == "markdown"]
    first = text[0] if made[0].cell_type == "markdown" else ""
    headings = re.findall(r"^#+ .*$", "\n".join(text), re.MULTILINE)
    last = made[-1].source if made[-1].cell_type == "markdown" else ""
    exercise = re.search(r"^## Exercises?\n+(?!#)\S", last, re.MULTILINE)
    long = [
        cell.source.splitlines()[0]
        for cell in made
        if cell.cell_type == "code"
        and not tags(cell) & {"hide-input", "hide-cell", "parameters"}
        and len(cell.source.splitlines()) > UNFOLDED
    ]
    rules = {
        f"does not open with '# {name[:2]} · ...'": headings[:1]
        and re.fullmatch(rf"# {name[:2]} · \S.*", headings[0]),
        "another heading of level 1": sum(line.startswith("# ") for line in headings) == 1,
        "no **Question.** in the first cell": re.search(r"^\*\*Question\.\*\* \S", first, re.M),
        "does not end with '## Exercise'": exercise and headings[-1].startswith("## Exercise"),
        f"unfolded code of more than {UNFOLDED} lines: {', '.join(long)}": not long,
    }
    return [complaint for complaint, holds in rules.items() if not holds]


def comments(source):
    """The comment above each parameter; one that stands for two is that of both."""
    found = {}
    above, before = [], ""
    for line in source.splitlines():
        if line.startswith("#"):
            above.append(line.lstrip("# "))
        elif assigned := re.match(r"(\w+) = ", line):
            before = " ".join(above) or before
            found[assigned[1]] = before
            above = []
    return found


def set_names(tree):
    """Names that code sets where it stands; those in functions and comprehensions are their own."""
    own = (ast.FunctionDef, ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
    names = {tree.id} if isinstance(tree, ast.Name) and isinstance(tree.ctx, ast.Store) else set()
    inside = [node for node in ast.iter_child_nodes(tree) if not isinstance(node, own)]
    return names.union(*map(set_names, inside))


def set_again(made):
    """Parameters of a page that its code sets to something else, so that they are not used."""
    sources = {True: "", False: ""}
    for cell in (cell for cell in made if cell.cell_type == "code"):
        sources["parameters" in tags(cell)] += f"{cell.source}\n"
    return set_names(ast.parse(sources[True])) & set_names(ast.parse(sources[False]))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_page_uses_the_parameters_that_it_names(path):
    assert set_again(cells(path)) == set()


def test_a_parameter_that_is_set_again_is_noticed():
    head = '# %% tags=["parameters"]\nshare = 0.75\nseed = 0\n\n# %%\n'
    for code, found in {
        "for share in (0.1, 0.2):\n    print(share)": {"share"},
        "share, seed = 1, 2": {"share", "seed"},
        "x = [share for share in (0.1, 0.2)]": set(),
        "def f(share):\n    seed = share\n    return seed": set(),
    }.items():
        assert set_again(jupytext.reads(head + code, fmt="py:percent").cells) == found


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_every_page_has_the_same_shape(path):
    assert page_complaints(path.stem, cells(path)) == []


PAGE = """# %% [markdown]
# # 07 · A claim
#
# **Question.** What?

# %%
x = 1

# %% tags=["hide-input"]
{long}
# %% [markdown]
# ## Exercise
#
# Try it.
"""


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("# # 07", "# # 08", "does not open with '# 07 · ...'"),
        (" · A", ": A", "does not open with '# 07 · ...'"),
        ("**Question.** What", "What", "no **Question.** in the first cell"),
        ("## Exercise", "# Exercise", "another heading of level 1"),
        ("# ## Exercise", "# ## The end", "does not end with '## Exercise'"),
        ("# Try it.", "# ## More", "does not end with '## Exercise'"),
        ("x = 1", "x = 1\n" * (UNFOLDED + 1), "unfolded code of more than"),
    ],
)
def test_each_rule_notices_its_breach(old, new, complaint):
    page = PAGE.format(long="y = 2\n" * 40)
    assert page_complaints("07_page", jupytext.reads(page, fmt="py:percent").cells) == []
    assert old in page
    broken = jupytext.reads(page.replace(old, new, 1), fmt="py:percent").cells
    assert any(text.startswith(complaint) for text in page_complaints("07_page", broken))


def test_titles_in_the_sidebar_are_short_and_numbered():
    parts = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))["parts"]
    chapters = [chapter for part in parts for chapter in part["chapters"]]
    titles = {one["file"].partition("/")[2]: one.get("title", "") for one in chapters}
    for path in PAGES:
        title = titles[path.stem]
        assert re.fullmatch(rf"{path.stem[:2]} \S.*", title) and len(title) <= SIDEBAR, title


def test_a_parameter_has_the_same_comment_on_all_pages():
    said = {}
    for path in PAGES:
        (source,) = [cell.source for cell in cells(path) if "parameters" in tags(cell)]
        for name, comment in comments(source).items():
            said.setdefault(name, {}).setdefault(comment, []).append(path.stem[:2])
    assert all(comment for ways in said.values() for comment in ways), "parameter without comment"
    several = {name: ways for name, ways in said.items() if len(ways) > 1}
    assert {name: ways for name, ways in several.items() if name not in DIFFERS} == {}
    assert set(DIFFERS) <= set(said), "DIFFERS names a parameter that no page has"


def test_comments_of_parameters_are_read():
    source = "# one,\n# of two\na = 1\nb = [\n    2,\n]\n# three\nc = ''\nc += 'x'\n"
    assert comments(source) == {"a": "one, of two", "b": "one, of two", "c": "three"}

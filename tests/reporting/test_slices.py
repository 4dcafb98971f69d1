"""What a figure stands on, by the names in the code of a page."""

import pytest

from saecert.reporting.slices import behind


def lines(*cells):
    """The lines, cell by cell, that what the last cell shows depends on."""
    found = behind(cells, len(cells) - 1)
    return [(one.cell, cells[one.cell].splitlines()[one.lines[0] - 1]) for one in found]


def test_what_gives_a_value_to_a_needed_name_counts_and_nothing_else():
    assert lines("a = read()\nb = other()", "", "c = a + 1\nd = b", "plot(c)") == [
        (0, "a = read()"),
        (2, "c = a + 1"),
        (3, "plot(c)"),
    ]


@pytest.mark.parametrize(
    "grown",
    [
        "found['x'] = b",
        "found[0].x = b",
        "found |= b",
        "found.append(b)",
        "for x in b: found.update(x)",
        "if b: found[1] = 2",
    ],
)
def test_what_is_put_into_a_needed_name_counts_beside_its_first_value(grown):
    assert [line for _, line in lines("b = read()", "found = {}", grown, "plot(found)")] == [
        "b = read()",
        "found = {}",
        grown,
        "plot(found)",
    ]


def test_a_value_that_was_replaced_no_longer_counts():
    assert lines("a = read()", "a = other()", "plot(a)") == [(1, "a = other()"), (2, "plot(a)")]
    assert len(lines("a = read()", "a = double(a)", "plot(a)")) == 3
    assert len(lines("a = read()", "if later: a = other()", "plot(a)")) == 3
    assert lines("a, b = read()\na = 1", "plot(a, b)")[0] == (0, "a, b = read()")


def test_names_that_only_exist_inside_a_comprehension_or_function_do_not_count():
    inside = ("c = [x for x in b]", "c = sum(map(lambda x: x, b))", "def c(x): return x + b")
    for statement in inside:
        told = [line for _, line in lines("x = read()", "b = other()", statement, "plot(c)")]
        assert told == ["b = other()", statement, "plot(c)"]


def test_sizes_and_names_stand_on_no_measured_number():
    cells = (
        "a = read()",
        "n = len(a)\nk = a.d_sae + common_pool(a)\nplaces = a.hook_names",
        "plot(n, k, places)",
    )
    assert (0, "a = read()") not in lines(*cells)
    assert (0, "a = read()") in lines(*cells[:2], "plot(n, a.loss)")


def test_statements_of_the_figure_all_count_and_later_ones_do_not():
    found = behind(["a = 1", "print('seen')\nplot(a)", "a = 2"], 1)
    assert [(one.cell, one.lines[0]) for one in found] == [(0, 1), (1, 1), (1, 2)]


def test_imports_and_unpacked_loops_give_values():
    assert (0, "from x import plot as draw") in lines("from x import plot as draw", "draw(1)")
    assert (1, "for k, v in a.items(): pass") in lines(
        "a = read()", "for k, v in a.items(): pass", "plot(v)"
    )

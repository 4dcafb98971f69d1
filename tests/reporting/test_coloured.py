"""A text coloured by bits: classes, legend, and the same in words and numbers."""

import numpy as np
import pytest

from saecert.reporting.coloured import STEPS, coloured

NAMES = ("model", "pool")


@pytest.fixture
def text():
    tokens = ["A", " <b>", " limit", "\n", " end"]
    model = np.array([1.0, 2.0, 3.0, 1.0, 2.0])
    pool = np.array([1.0, 2.2, 2.4, 4.5, 3.0])
    return coloured(tokens, model, pool, NAMES)


def test_every_token_has_the_colour_of_its_difference(text):
    np.testing.assert_allclose(text.bits, [0, 0.2, 0.6, 3.5, 1.0])
    page = text._repr_html_()
    classes = ["s0", "s1", "s2", "s3", "s3"]
    body = page.split('<p class="text">')[1].split("</p>")[0]
    assert [part[:2] for part in body.split('class="')[1:]] == classes
    assert "&lt;b&gt;" in body and "<b>" not in body


def test_legend_and_words_say_the_same_without_colour(text):
    page = text._repr_html_()
    legend = page.split('<ul class="legend"')[1].split("</ul>")[0]
    assert legend.count("<li>") == len(STEPS) + 1
    assert "0.5 to 1 bits" in legend and "1 or more bits" in legend
    assert "“” 3.5, “end” 1.0, “limit” 0.6" in page  # a line break has no letters
    rows = page.split("<tbody>")[1].count("<tr>")
    assert rows == 5
    assert "4px double" in page  # the strongest has a line of its own


def test_as_many_losses_as_tokens():
    with pytest.raises(ValueError, match="2 tokens with 2 and 3 losses"):
        coloured(["a", "b"], np.zeros(2), np.zeros(3), NAMES)

"""Sliders of pages: their numbers are those of certificates, and nothing needs a mouse."""

import json
import math
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from synthetic_losses import random_losses

from saecert import certify
from saecert.reporting.sliders import bound_grid, bound_sliders, layer_sliders

DELTAS = (0.2, 0.05, 0.001)
SIZES = (3, 20, 60)


def drawn(sliders):
    return json.loads(re.search(r"<script[^>]*>(.*)</script>", sliders._repr_html_()).group(1))


@pytest.mark.parametrize("inequality", ["dirichlet", "betting", "hoeffding"])
def test_random_points_of_the_grid_are_those_certificates(inequality):
    losses = random_losses()
    grids = bound_grid(losses, SIZES, DELTAS, inequality=inequality, seed=3)
    rng = np.random.default_rng(0)
    for _ in range(8):
        at = tuple(int(rng.integers(size)) for size in grids["bound"].shape)
        alpha, pool, delta, n = at
        settings = {"alpha": losses.alphas[alpha], "pool": losses.pool_sizes[pool], "seed": 3}
        settings |= {"delta": DELTAS[delta], "n_seq": SIZES[n], "inequality": inequality}
        made = certify(losses, **settings)
        assert grids["bound"][at] == pytest.approx(made.bound, abs=1e-9)
        assert grids["sharp"][at] == pytest.approx(made.sharp, abs=1e-9)


def test_a_finite_list_has_the_bounds_of_its_own_certificates():
    losses = random_losses()
    settings = {"inequality": "betting", "population_size": 100}
    grids = bound_grid(losses, [60], [0.05], **settings)
    made = certify(losses, pool=losses.pool_sizes[0], **settings)
    assert grids["sharp"][0, 0, 0, 0] == pytest.approx(made.sharp, abs=1e-9)


def test_what_the_page_carries_is_rounded_up_and_in_the_order_of_the_sliders():
    losses = random_losses()
    sliders = bound_sliders(losses, SIZES, delta=0.07, pool=8)
    spec = drawn(sliders)
    deltas = [float(text) for text in spec["controls"][2]["texts"]]
    assert deltas == sorted(deltas, reverse=True)
    assert deltas[spec["controls"][2]["start"]] == 0.07
    assert spec["controls"][1]["texts"][spec["controls"][1]["start"]] == "8"
    grids = bound_grid(losses, SIZES, deltas)
    for series, name in zip(spec["series"], ("bound", "sharp"), strict=True):
        carried = np.array(series["values"])
        exact = grids[name].ravel()
        assert (carried >= exact).all()
        assert (carried - exact < 0.01 + 1e-9).all()
    assert spec["line"]["value"] <= math.log2(losses.n_vocab)


def test_a_delta_is_never_printed_smaller_than_it_is():
    delta = 0.0123412345
    control = drawn(bound_sliders(random_losses(), SIZES, delta=delta, pool=8))["controls"][2]
    shown = control["texts"][control["start"]]
    assert shown == "0.0124"
    assert control["texts"][:2] == ["0.2", "0.1"] and control["texts"][-1] == "0.001"


class Tags(HTMLParser):
    """Start tags with their attributes."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


def test_every_slider_has_a_label_and_none_that_cannot_be_moved_is_shown():
    losses = random_losses()
    tags = Tags(bound_sliders(losses, SIZES, delta=0.05, pool=8)._repr_html_()).found
    inputs = [attributes for tag, attributes in tags if tag == "input"]
    labels = [attributes["for"] for tag, attributes in tags if tag == "label"]
    assert len(losses.alphas) == 1
    assert [slider["id"] for slider in inputs] == labels
    assert len(set(labels)) == len(labels) == 3
    assert all(slider["type"] == "range" and slider["aria-valuetext"] for slider in inputs)
    assert "hidden" in tags[0][1], "without the script nothing is shown"


def limits(lower, mean, upper):
    return pd.DataFrame({"lower": lower, "mean": mean, "upper": upper})


def test_a_layer_is_told_by_limits_rounded_outwards():
    tables = {
        "gap": ("bits", limits([np.nan, np.nan], [0.123, 0.2], [0.2411, 0.3])),
        "<cosine>": ("", limits([0.913, 0.5], [0.95, 0.6], [0.9711, np.inf])),
    }
    sliders = layer_sliders(tables, ["0", "1"], "n = 5")
    gap, cosine = drawn(sliders)["rows"]
    assert gap["texts"][0] == "0.12, at most 0.25 bits"
    assert gap["lower"] == [None, None] and gap["upper"] == [0.25, 0.3]
    assert cosine["texts"][0] == "0.95, from 0.91 to 0.98"
    assert cosine["lower"][0] == 0.91 and cosine["upper"] == [0.98, None]
    assert cosine["name"] == "<cosine>" and "<cosine>" not in sliders._repr_html_()
    assert "layer" in repr(sliders)


def test_bad_settings_are_named():
    losses = random_losses()
    with pytest.raises(ValueError, match="deltas must lie strictly between 0 and 1, got"):
        bound_grid(losses, SIZES, [0.05, 1.0])
    with pytest.raises(ValueError, match="unknown inequality 'best'"):
        bound_grid(losses, SIZES, [0.05], inequality="best")
    with pytest.raises(ValueError, match="n_seq must lie between 2"):
        bound_grid(losses, [1], [0.05])

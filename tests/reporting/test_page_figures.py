"""Every figure of a page is drawn from tidy frames, also where there is little to draw."""

from itertools import product

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from saecert.reporting import figures
from saecert.reporting.panels import WIDTH, broken

mpl.use("Agg")

LIMITS = {"lower": 0.2, "mean": 0.3, "upper": 0.4}


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def curve(sizes, labels=("T1: fixed pool", "T2: nested pools")):
    rows = [
        {"label": label, "n_seq": n, "bound": 4 + 20 / n, "valid": True}
        for label, n in product(labels, sizes)
    ]
    return pd.DataFrame(rows)


def misses(labels):
    row = {"miss_rate": 0.04, "ci_low": 0.03, "ci_high": 0.06, "delta": 0.05}
    names = ("dirichlet", "betting")
    rows = [row | {"population": p, "inequality": i} for p, i in product(labels, names)]
    return pd.DataFrame(rows)


def coverage(few):
    labels = ["coins"] if few else ["coins", "a population with a rather long name, of each"]
    return figures.plot_coverage(
        {"known": misses(labels), "wrong": misses(labels)}, narrow=["known"]
    )


def four_terms(few):
    frame = pd.DataFrame({"label": ["a"], "term": ["proxy risk"], "bits": [4.0]})
    return figures.plot_four_terms(frame, {} if few else {"uniform": 12.0, "bigram": 7.1})


def price_of_choosing(few):
    frames = [curve([3] if few else [3, 10, 100]).assign(alpha=alpha) for alpha in (0.5, 0.01)]
    return figures.plot_price_of_choosing(pd.concat(frames[:1] if few else frames), 12.0)


def wealth(few):
    frame = pd.DataFrame({"order": [0, 0, 1, 1], "n_seq": [1, 2, 1, 2], "log10_wealth": 0.5})
    return figures.plot_wealth(frame[frame["order"] == 0] if few else frame, 0.05)


def tightness(few):
    rows = product([20] if few else [20, 100, 2500], ["dirichlet", "hoeffding"])
    frame = pd.DataFrame(rows, columns=["n", "inequality"]).assign(tightness=1.1)
    other = frame.rename(columns={"inequality": "quantity"})
    floor = pd.DataFrame({"n": [] if few else [20, 2500], "tightness": [] if few else 0.7})
    return figures.plot_tightness(frame, other, floor, 1.1)


def frontier_frame(few):
    sizes = [1536] if few else [192, 384, 1536]
    frame = pd.DataFrame(product(["frequency", "energy"], sizes), columns=["ranking", "k"])
    for name in ("pool_gap", "price", "outside_firings", "outside_energy"):
        frame[name] = 0.0 if few else 10 / frame["k"]
        frame[f"{name}_upper"] = frame[name] + 0.01
    return frame


def frontier(few):
    return figures.plot_frontier(frontier_frame(few), "energy", [] if few else [0.1, 0.5], 1536)


def outside(few):
    frame = frontier_frame(few)
    if few:
        frame = frame.assign(outside_firings=None, outside_energy=None)
    return figures.plot_outside(frame[frame["ranking"] == "energy"], 1536)


def behaviour(few):
    hooks = ["blocks.2.hook_resid_post"] if few else ["blocks.2", "blocks.5"]
    quantities = ["total variation", "top-1 disagreement"]
    rows = product(quantities, hooks, ["full SAE", "0.5 of latents", "mean ablation"])
    frame = pd.DataFrame(rows, columns=["quantity", "hook", "proxy"]).assign(**LIMITS)
    return figures.plot_behaviour(frame)


def differences(few):
    names = ["gap (bits)"] if few else ["gap (bits)", "total variation", "top-1 disagreement"]
    return figures.plot_differences(pd.DataFrame({"quantity": names}).assign(**LIMITS))


def models(few):
    frame = pd.DataFrame({"label": ["docstring-6l blocks.2.hook_resid_post"], "alpha": [0.5]})
    reported = pd.DataFrame(
        {"label": ["gpt2-small, as printed"] * 2, "share of uniform": [0.9, 0.6]}
    )
    missing = [] if few else ["llama-3-8b"]
    label = {"label": ["gpt2-small, published means"], "share of uniform": [0.5]}
    published = pd.DataFrame(label).head(0 if few else 1)
    shares = frame.assign(**{"share of uniform": 0.45})
    return figures.plot_models(shares, reported, missing, published)


def layers(few):
    panels = ["certificate", "local fidelity", "downstream"]
    rows = product(panels, ["v_A", "gap"], [2] if few else range(24))
    frame = pd.DataFrame(rows, columns=["panel", "quantity", "layer"])
    return figures.plot_layers(frame.assign(unit="bits", **LIMITS), ["certificate"])


def shuffling(few):
    labels = ["real SAE"] if few else ["real SAE", "latents within a token", "positions"]
    frame = pd.DataFrame({"label": labels, "term": "proxy risk", "bits": 4.0})
    values = np.full((5, len(labels)), 2.0)
    gaps = pd.DataFrame(values, columns=labels) + (0 if few else np.arange(5)[:, None])
    return figures.plot_shuffling(frame, gaps, {"bigram": 7.0}, 9.0)


def floors(few):
    labels = ["SAE"] if few else ["SAE", "random decoder, norm matched", "PCA, FVU: 112 components"]
    frame = pd.DataFrame({"label": labels}).assign(**LIMITS, unclipped=0.5)
    return figures.plot_floors(frame, 12.0)


def bounds(few):
    return figures.plot_bounds(curve([500] if few else [20, 100, 500], ["SAE", "PCA"]), 12.0)


def monitor(few):
    kinds = ["usual text", "shifted text", "random tokens, no BOS"]
    rows = [
        {"kind": kind, "score": 32.0 if few else x}
        for kind in kinds
        for x in np.linspace(20, 40, 9)
    ]
    names = ["active latents", "SAE error"]
    roc = pd.DataFrame(product(names, [0, 0.5, 1]), columns=["score", "false_alarms"])
    alarms = pd.DataFrame(product(kinds, names), columns=["kind", "score"]).assign(**LIMITS)
    steps = roc.assign(detected=roc["false_alarms"])
    return figures.plot_monitor(pd.DataFrame(rows), steps, alarms, 33.0, 0.05)


def growth(few):
    labels = ["0.resid_post"] if few else [f"{layer}.resid_post" for layer in range(6)]
    rows = product(labels, [1] if few else [1, 10, 100])
    lines = pd.DataFrame(rows, columns=["label", "n"])
    lines = lines.assign(pool=300, estimate=3.0, fresh=3.1, low=0.0 if few else 2.0, high=4.0)
    needed = pd.DataFrame(product(labels, [0.9, 0.99]), columns=["label", "mass"])
    return figures.plot_growth(lines, needed.assign(estimate=9, fresh=10, low=8, high=12))


def denser_codes(few):
    codes = pd.DataFrame({"family": ["SAE, then mixed"], "l0": [30.0], "bound": [5.0]})
    more = pd.DataFrame(
        {"family": ["random encoder"] * 2, "l0": [30.0, 480.0], "bound": [6.0, 5.0]}
    )
    return figures.plot_denser_codes(
        codes if few else pd.concat([codes, more]), curve([2, 50]), 12.0
    )


FIGURES = [
    coverage,
    four_terms,
    price_of_choosing,
    tightness,
    bounds,
    frontier,
    outside,
    behaviour,
    differences,
    models,
    layers,
    shuffling,
    floors,
    monitor,
    growth,
    denser_codes,
]


@pytest.mark.parametrize("few", [False, True], ids=["whole", "degenerate"])
@pytest.mark.parametrize("draw", FIGURES, ids=lambda draw: draw.__name__)
def test_figures_fit_a_page(draw, few):
    fig = draw(few)
    fig.canvas.draw()
    assert fig.get_figwidth() == WIDTH
    for ax in fig.axes:
        assert ax.get_subplotspec().get_gridspec().ncols <= 2
    drawn = fig.get_tightbbox(fig.canvas.get_renderer())  # inches
    assert drawn.x0 > -0.01
    assert drawn.x1 < WIDTH + 0.01


def test_colours_of_texts_are_not_those_of_scores():
    texts, curves, _ = monitor(False).axes
    lines = {line.get_label(): line for line in texts.get_lines()}
    scores = {to_hex(line.get_color()) for line in curves.get_lines()[:2]}
    kinds = ["usual text", "shifted text", "random tokens, no BOS"]
    colours = [to_hex(lines[kind].get_color()) for kind in kinds]
    assert len({*colours, *scores}) == 5
    assert lines["random tokens, no BOS"].get_linestyle() == "--"
    assert lines["shifted text"].get_linestyle() == "-"


def test_long_names_are_broken_between_words():
    assert broken("random decoder, norm matched").splitlines() == [
        "random decoder, norm",
        "matched",
    ]
    assert broken("SAE") == "SAE"

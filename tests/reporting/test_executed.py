"""Executed notebooks are stored small: figures have a palette."""

import base64
from io import BytesIO

import nbformat
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from saecert.reporting.executed import PALETTE, paletted, tidy


def drawn() -> bytes:
    figure = Figure(figsize=(6, 4))
    axes = figure.add_subplot()
    for slope in range(1, 9):
        axes.plot(np.linspace(0, 1, 50) ** slope, marker="o", label=f"slope {slope}")
    axes.legend()
    stream = BytesIO()
    figure.savefig(stream, format="png")
    return stream.getvalue()


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(png)).convert("RGB"), dtype=int)


def test_a_drawing_looks_the_same_and_takes_half():
    png = drawn()
    small = paletted(png)
    assert len(small) < len(png) / 2
    assert len(Image.open(BytesIO(small)).getcolors()) <= PALETTE
    apart = np.abs(pixels(small) - pixels(png)).max(axis=2)
    assert apart.mean() < 1 and (apart > 40).mean() < 1e-3
    assert paletted(small) == small, "nothing is lost the second time"


def test_what_is_transparent_is_white_and_a_small_picture_stays():
    stream = BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (40, 40, 4), dtype=np.uint8)
    noise[..., 3] = 0
    Image.fromarray(noise).save(stream, "PNG")
    assert (pixels(paletted(stream.getvalue())) == 255).all()
    tiny = BytesIO()
    Image.new("1", (1, 1)).save(tiny, "PNG", optimize=True)
    assert paletted(tiny.getvalue()) == tiny.getvalue()


def test_notebooks_are_stored_with_it():
    data = {"image/png": base64.b64encode(drawn()).decode(), "text/plain": "a figure"}
    output = nbformat.v4.new_output("display_data", data=dict(data))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("x", outputs=[output])])
    (kept,) = tidy(notebook).cells[0].outputs
    assert base64.b64decode(kept.data["image/png"]) == paletted(drawn())
    assert kept.data["text/plain"] == "a figure"

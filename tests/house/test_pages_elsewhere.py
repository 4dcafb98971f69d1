"""Pages on a subject that they were not written for: one TopK SAE, and a few short texts.

Four of them in `make test`, the fifth where `SAECERT_FAULTS` is "long".
"""

from __future__ import annotations

import html
import json
import re

import nbformat
import pytest
import torch
from conftest import D_MODEL, D_SAE, make_model, make_texts, make_tokenizer
from faulty import LONG
from sae_lens import TopKSAE, TopKSAEConfig

from saecert.reporting.claims import read_claims
from saecert.reporting.runner import run_notebooks

pytestmark = pytest.mark.faults
HOOK = "blocks.1.hook_resid_post"
K = 10
NEEDS_TWO = {
    "07_behaviour": {"all quantities name the same SAE: needs two SAEs"},
    "11_layers": {
        f"{name} is larger at the last than at the first: needs two hook points"
        for name in (
            "v_A",
            "reconstruction gap",
            "relative error",
            "amplification",
            "amplification of random error",
        )
    },
    "14_explosion": {
        "no score contradicts the promise for this calibration",
        "the count finds random tokens: the score is constant",
        "the SAE's error beats the count on shifted text: the score is constant",
    },
    "15_pool_growth": {"the last two layers need the most: needs three hook points"},
    "16_limits": set(),
}
"""Claims of each page that cannot be tested here, and why."""
SHORT = ("07_behaviour", "11_layers", "14_explosion", "15_pool_growth")
PAGES = tuple(NEEDS_TWO) if LONG else SHORT
SMALL = {"n_seq": "60", "n_calibration": "8", "draws": "200"}
SMALLER = {"n_seq": "60", "n_aliased": "20", "copies": "4", "strict": "false"}


def make_topk_sae() -> TopKSAE:
    """A TopK SAE, whose tokens all have as many active latents."""
    generator = torch.Generator().manual_seed(0)
    sae = TopKSAE(TopKSAEConfig(d_in=D_MODEL, d_sae=D_SAE, k=K))
    basis = torch.linalg.qr(torch.randn(D_MODEL, D_MODEL, generator=generator)).Q
    rare = torch.randn(D_SAE - 2 * D_MODEL, D_MODEL, generator=generator)
    directions = torch.cat([basis, -basis, torch.nn.functional.normalize(rare, dim=1)])
    reach = torch.full((D_SAE,), 0.3)
    reach[: 2 * D_MODEL] = 1.0
    with torch.no_grad():
        sae.W_enc.copy_(directions.T * reach)
        sae.W_dec.copy_(directions)
    sae.cfg.metadata.hook_name = HOOK
    return sae


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """The executed pages, by name."""
    home = tmp_path_factory.mktemp("elsewhere")
    make_model("llama").save_pretrained(home / "model")
    make_tokenizer().save_pretrained(home / "model")
    make_topk_sae().save_model(home / f"model/saes/{HOOK}")
    for name, seed in (("texts", 0), ("others", 1)):
        lines = [json.dumps({"text": text}) for text in make_texts(120, seed)]
        (home / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    places = {"subject": home / "model", "corpus": home / "texts.jsonl"}
    places["shifted"] = home / "others.jsonl"
    given = {name: str(path) for name, path in places.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAECERT_CACHE", str(home / "cache"))
        pages = [name for name in PAGES if name != "16_limits"]
        settings = {**given, **SMALL, "strict": "true"}
        paths = run_notebooks(pages, settings, out=home / "out", jobs=2)
        if "16_limits" in PAGES:  # what this model predicts is too bad to be certified at all
            del given["shifted"]
            paths += run_notebooks(["16_limits"], given | SMALLER, out=home / "out")
    return {path.stem: nbformat.read(path, as_version=4) for path in paths}


def outputs(notebook):
    """Everything that the cells of a page put out."""
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def streams(notebook, name) -> str:
    """What a page wrote to a stream."""
    found = [output for output in outputs(notebook) if output.output_type == "stream"]
    return "".join(output.text for output in found if output.name == name)


def tables(notebook) -> str:
    """What a page shows as HTML, without scripts, styles and tags."""
    shown = [output.get("data", {}).get("text/html", "") for output in outputs(notebook)]
    visible = re.sub(r"<(script|style)\b.*?</\1>", " ", " ".join(shown), flags=re.DOTALL)
    return re.sub(r"<[^>]*>", " ", visible)


def not_tested(notebook) -> set[str]:
    """Claims that were not tested, each with its reason."""
    flat = re.sub(r"\n {15}", " ", streams(notebook, "stdout"))
    return set(re.findall(r"^not tested {5}(.*)$", flat, flags=re.MULTILINE))


@pytest.mark.parametrize("name", PAGES)
def test_a_page_says_what_it_cannot_test(executed, name):
    assert not_tested(executed[name]) == NEEDS_TWO[name]
    verdicts = set(read_claims(streams(executed[name], "stdout")).values())
    assert verdicts, "a page ends with its claims"


@pytest.mark.parametrize("name", PAGES)
def test_no_page_prints_a_number_that_is_none_or_a_warning(executed, name):
    assert streams(executed[name], "stderr") == ""
    assert "nan" not in re.findall(r"\w+", tables(executed[name]).lower())
    assert "nan" not in re.findall(r"\w+", streams(executed[name], "stdout").lower())


def test_a_constant_count_has_no_threshold(executed):
    said = streams(executed["14_explosion"], "stdout")
    assert "the same for every sequence: active latents\n" in said
    assert "active latents: alarm if" not in said
    assert "not tested: the score is constant\n" in said
    assert f"{K:.1f} / 0.0 / {K}" in tables(executed["14_explosion"])


def test_an_sae_is_not_compared_with_itself(executed):
    said = streams(executed["07_behaviour"], "stdout")
    assert said.count("one SAE: nothing to compare\n") == 3
    assert "one SAE: no figure\n" in said


def test_a_limit_beyond_all_sequences_is_none(executed):
    said = streams(executed["15_pool_growth"], "stdout")
    assert "sequences for 99 %: no limit\n" in said
    assert "estimates within the limits: 2 of 3\n" in said
    assert "> 8 to > 8" in html.unescape(tables(executed["15_pool_growth"]))
    assert read_claims(said)["estimates lie within the limits"] == "undecided"

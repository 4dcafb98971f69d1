"""What README and front page quote is what the kept measurements and certificates give."""

import json
import re
from functools import cache

import nbformat
import pytest
from checks import ROOT

from saecert import certify
from saecert.certificates.certificate import Certificate
from saecert.measurement.stand_in import as_sae
from saecert.reporting.published import restated
from saecert.reporting.study import open_study
from saecert.statistics.rounding import nearest_text, upper_text

DELTA = 0.05
POOL = 1152
BLOCK = 64
SHUFFLED = "permuted_dictionary(seed=0)"
SHARES = {"A real SAE": 8, "Its codes, shuffled": 5, "Its latents, scrambled": 8}
"""Among how many bounds page 16, 12 or 16 divides its delta."""
ROWS = {"A real SAE": "a real SAE", "Its codes, shuffled": "its codes, shuffled"} | {
    "Its latents, scrambled": "its latents, scrambled"
}
CERTIFICATE = "docstring-6l-blocks.2.hook_resid_post-2902cccc-8664.json"
INDEX = (ROOT / "book/index.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")


@cache
def study():
    return open_study("docstring-6l", corpus="docstrings", n_seq=500, n_discovery=500)


@cache
def recomputed():
    """By card: bound, sharp bound and number of active latents, as texts."""
    mixed = f"mixed({BLOCK})"
    mixtures = [mixed, f"pooled({mixed}, {POOL})"]
    shuffled = [SHUFFLED, f"pooled({SHUFFLED}, {POOL})"]
    options = {"pools": [POOL], "controls": False}
    losses = study().losses(extra=mixtures, alphas=[0.5, 1e-6], **options)
    others = study().losses(extra=shuffled, alphas=[0.5], **options)
    records = [losses, as_sae(others, "permuted_dictionary"), as_sae(losses, f"mixed_{BLOCK}")]
    own, *_, denser = study().measure("mixing", blocks=[1, 2, 8, BLOCK])["l0"]
    texts = {}
    for (name, among), record, l0 in zip(SHARES.items(), records, [own, own, denser], strict=True):
        made = certify(record, pool=POOL, delta=DELTA / among, eps=())
        limits = upper_text(made.bound), upper_text(made.sharp)
        texts[name] = (*limits, nearest_text(l0, 1))
    return texts


def outputs(page):
    """Everything that a page printed, as one text without markup."""
    notebook = nbformat.read(ROOT / f"notebooks/{page}.ipynb", as_version=4)
    made = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    html = [output.get("data", {}).get("text/html", "") for output in made]
    printed = [output.get("text", "") for output in made]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", " ".join(html + printed)))


@pytest.mark.parametrize("name", list(SHARES))
def test_each_card_has_the_numbers_of_its_certificate(name):
    (card,) = re.findall(rf"grid-item-card\}} {name}\n(.*?)\n:::\n", INDEX, re.DOTALL)
    bound, sharp, l0 = recomputed()[name]
    assert re.findall(r"\d+\.\d+", card) == [bound, sharp, l0]


@pytest.mark.parametrize("name", list(SHARES))
def test_the_readme_has_the_same_numbers(name):
    (row,) = re.findall(rf"^\| {ROWS[name]} \|(.*)$", README, re.MULTILINE)
    assert re.findall(r"\d+\.\d+", row) == list(recomputed()[name])


def test_the_pages_that_the_cards_lead_to_print_these_bounds():
    limits, shuffled = outputs("16_limits"), outputs("12_shuffling")
    own, _, l0 = recomputed()["A real SAE"]
    mixed, _, denser = recomputed()["Its latents, scrambled"]
    assert re.search(rf"SAE (\d\.\d\d ){{4}}{own} bigram", limits)
    assert re.search(rf"blocks of {BLOCK} (\d\.\d\d ){{4}}{mixed} bigram", limits)
    assert f"multiplies L0 by up to {float(denser) / float(l0):.1f}" in limits
    assert re.search(rf"dictionary .*? {recomputed()['Its codes, shuffled'][0]} ", shuffled)


def test_the_limits_with_and_without_an_sae_are_those_of_the_certificate():
    made = Certificate.load(ROOT / "certificates" / CERTIFICATE)
    limits = [upper_text(made.direct), upper_text(made.sharp), upper_text(made.bound)]
    price = upper_text(made.price)
    index = re.sub(r"\s+", " ", INDEX)
    readme = re.sub(r"\s+", " ", README)
    direct, sharp, bound = limits
    assert f"{{term}}`direct bound` is {direct} bits, the {{term}}`sharp bound` {sharp}" in index
    assert f"{{term}}`four terms` {bound}." in index
    assert f"at most {price} bits more than the model" in index
    assert f"({direct} bits on 1,000 documents, where the sharp bound is {sharp})" in readme
    assert f"(at most {price} bits)" in readme
    assert made.n_seq == 1000
    assert made.delta == DELTA


@pytest.mark.parametrize("page", ["09_published", "18_public_model"])
def test_bounds_of_the_paper_are_quoted_alike(page):
    printed = outputs(page)
    for row in restated("models").itertuples():
        for bound in (row.printed_fixed, row.printed_direct):
            assert f" {nearest_text(bound, 3)} " in printed


def test_size_of_the_model_and_the_public_model_are_those_of_card_and_page():
    card = json.loads((ROOT / "saecert/embedded/docstring-6l/card.json").read_text())
    assert f"{card['parameters']:,} parameters" in INDEX
    printed = outputs("18_public_model")
    best = re.search(r"best sharp bound: (\d+\.\d+) bits", printed).group(1)
    uniform = re.search(r"uniform: risk (\d+\.\d+) in", printed).group(1)
    index = re.sub(r"\s+", " ", INDEX)
    assert f"SmolLM2-135M is {best} bits, and guessing uniformly would lose {uniform}" in index

"""Certificates by depth, and what old text is easier by."""

from dataclasses import replace

import numpy as np
import pytest
from synthetic_losses import ALPHA, HI, LO, make_losses, random_losses

from saecert import certify
from saecert.corpora.hashes import label_hash
from saecert.reporting import public
from saecert.reporting.claims import NOT_SHOWN, Undecided

HOOKS = ("blocks.3.hook_resid_post", "blocks.9.hook_resid_post")


@pytest.fixture
def certificates():
    records = [random_losses(200, seed) for seed in (0, 1)]
    made = [certify(record, pool=8, alpha=ALPHA, eps=()) for record in records]
    return dict(zip(HOOKS, made, strict=True))


def test_bounds_and_terms_by_layer(certificates):
    bounds = public.bounds_by_layer(certificates)
    assert list(bounds.index) == ["3", "9"]
    first = certificates[HOOKS[0]]
    assert bounds.loc["3", "sharp"] == first.sharp <= bounds.loc["3", "bound"]
    assert bounds.loc["3", "share of uniform"] == pytest.approx(first.sharp / 12)
    terms = public.terms_by_layer(certificates)
    assert terms.loc["9", "proxy risk"] == certificates[HOOKS[1]].means["proxy risk"]


def test_published_rows_stand_beside_and_are_marked(certificates):
    beside = public.beside_published(certificates)
    published = beside[beside.index.str.endswith("as printed")]
    assert len(published) == 3 and len(beside) == 5
    assert (beside["bound / log2 V"] == beside["bound"] / beside["log2 V"]).all()
    assert published.loc["llama-3-8b, as printed", "bound"] == pytest.approx(7.91890896)


def test_the_whole_sae_by_layer():
    rng = np.random.default_rng(0)
    clean = rng.uniform(3, 4, 400)
    record = make_losses(clean, clean + rng.uniform(0, 0.2, 400))
    loss = record.loss | {"zero": record.loss["clean"] + 4}
    object.__setattr__(record, "loss", loss)
    settings = {"alpha": ALPHA, "delta": 0.05, "inequality": "dirichlet"}
    row = public.fidelity_by_layer({HOOKS[0]: record}, **settings).loc["3"]
    assert row["loss recovered"] == pytest.approx(1 - 0.1 / 4, abs=0.005)
    assert row["loss recovered, at least"] < row["loss recovered"]
    assert 0.17 < row["0.9 quantile of the gap, bits, at most"] < 0.2
    assert row["texts with a gap up to 0.5 bits, at least"] > 0.99


@pytest.mark.parametrize(
    ("old", "fresh", "n", "verdict"),
    [(4.0, 6.0, 400, True), (6.0, 4.0, 400, False), (4.9, 5.1, 20, "open")],
)
def test_that_old_text_is_easier_holds_or_does_not_only_where_limits_tell(
    certificates, old, fresh, n, verdict
):
    rng = np.random.default_rng(0)
    losses = [mean + rng.uniform(-0.1, 0.1, n) for mean in (old, fresh)]
    texts = [make_losses(x, references={"bigram": (x, (LO, HI))}) for x in losses]
    moved = public.contamination(*texts, alpha=ALPHA, delta=0.05, inequality="dirichlet")
    found = public.claimed(certificates, moved)
    easier = found["the old texts are easier for it than the fresh ones"]
    assert isinstance(easier, Undecided) if verdict == "open" else easier is verdict


def test_a_certificate_that_beats_nothing_refutes_nothing(certificates):
    claim = "every depth is certified better than a reference"
    assert public.claimed(certificates, None)[claim] is True
    rng = np.random.default_rng(0)
    bad = certify(make_losses(rng.uniform(11, HI, 20)), pool=16, alpha=ALPHA, eps=())
    assert bad.verdict is None
    found = public.claimed({**certificates, "blocks.15.hook_resid_post": bad}, None)
    assert isinstance(found[claim], Undecided) and found[claim] == NOT_SHOWN
    assert found["the old texts are easier for it than the fresh ones"] == "no known text"


def test_what_old_text_is_easier_by_beyond_the_bigram():
    rng = np.random.default_rng(1)

    def record(model, n):
        bigram = rng.uniform(5, 6, n)
        losses = bigram + model + rng.normal(0, 0.1, n)
        return make_losses(losses, references={"bigram": (bigram, (LO, HI))})

    moved = public.contamination(
        record(-2, 3_000), record(-1, 3_000), alpha=ALPHA, delta=0.05, inequality="dirichlet"
    )
    assert moved.loc["beyond the bigram", "difference"] == pytest.approx(-1, abs=0.02)
    assert moved.loc["beyond the bigram", "upper"] < 0
    assert moved.loc["bigram", "lower"] < 0 < moved.loc["bigram", "upper"]
    assert (moved["lower"] < moved["difference"]).all()
    assert (moved["difference"] < moved["upper"]).all()


def test_means_by_package_are_those_of_its_texts():
    bare = [random_losses(60, seed) for seed in (0, 1)]
    assert public.by_group(*bare, ALPHA).empty, "no groups, nothing to tell"
    labels = np.array([label_hash(label) for label in ("scipy", "pandas", "mine")], dtype=np.uint64)
    rows = (np.arange(60) % 2, np.arange(60) % 3)
    old, fresh = (
        replace(record, groups=labels[row]) for record, row in zip(bare, rows, strict=True)
    )
    found = public.by_group(old, fresh, ALPHA)
    assert set(found.index) == {"pandas", "scipy"}, "only packages that are known by name"
    assert list(found["fresh texts"]) == [20, 20] and list(found["old texts"]) == [30, 30]
    assert found.loc["pandas", "old"] == pytest.approx(old.at("clean", ALPHA)[1::2].mean())
    assert found.loc["pandas", "fresh"] == pytest.approx(fresh.at("clean", ALPHA)[1::3].mean())

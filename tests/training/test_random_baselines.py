"""Page 20's SAEs: what is trained and kept of them, and what is said of them."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import D_MODEL, N_CTX, make_model, make_texts

from saecert import collect, load_corpus, load_subject
from saecert.reporting import random_baselines as reporting
from saecert.reporting.quantities import MEASURABLE
from saecert.reporting.tables import show
from saecert.training.baseline_plan import Plan

HOOK = "blocks.0.hook_resid_post"
PLAN = Plan(
    l0=4,
    other_l0=(2,),
    sweep_hook=HOOK,
    shares=(0.0, 0.5, 1.0),
    n_spliced=20,
    n_discovery=40,
    n_cached=600,
    n_samples=1_280,
    expansion=4,
    batch_size=64,
)
SURER = 8.0
"""By how much the logits of the tiny model are larger here."""
SETTINGS = {"alpha": 0.5, "delta": 0.05, "inequality": "dirichlet"}


@pytest.fixture(scope="module")
def decided(folders, spelled, tmp_path_factory):
    """The tiny Llama, made surer of the kind of the next token: edits need opposite predictions."""
    folder = tmp_path_factory.mktemp("subjects") / "decided"
    shutil.copytree(folders["llama"], folder)
    model = make_model("llama")
    with torch.no_grad():
        model.lm_head.weight.mul_(SURER)
    model.save_pretrained(folder)
    return replace(load_subject(folder), tokenizer=spelled.tokenizer)


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """A file of documents, one a line: words as code, and as prose."""
    path = tmp_path_factory.mktemp("text") / "text.txt"
    lines = [f"{'>>> ' if i % 2 else ''}{x}" for i, x in enumerate(make_texts(300))]
    path.write_text("\n".join(lines))
    return path


@pytest.fixture(scope="module")
def corpus(decided, text):
    return load_corpus(text, decided, split="certification", n_ctx=N_CTX).take(30)


@pytest.fixture(scope="module")
def settings(text):
    listed = {"other_l0": list(PLAN.other_l0), "shares": [0, 0.5, 1]}  # as JSON may have them
    return {**vars(PLAN), **listed, "source": str(text), "build": reporting.BUILD}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def arrays(decided, corpus, settings, cache):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAECERT_CACHE", cache)
        measure = MEASURABLE["built"].measure
        return measure(decided, corpus, [HOOK], settings | {"progress": False})[HOOK]


@pytest.fixture(scope="module")
def found(decided, arrays):
    return reporting.members(arrays, 0.5, decided.d_vocab)


@pytest.fixture(scope="module")
def width(decided):
    return reporting.loss_width(0.5, decided.d_vocab)


def test_every_kind_has_its_twin_and_one_hook_point_other_numbers():
    here = PLAN.recipes(HOOK)
    elsewhere = PLAN.recipes("blocks.1.hook_resid_post")
    assert len(elsewhere) == PLAN.n_main() == 16 and len(here) == 20
    assert list(here)[:16] == list(elsewhere)
    for recipe in here.values():
        twin = replace(recipe, frozen="")
        assert twin in here.values(), "same start, order and steps"
    assert PLAN.looks() == (0, 10, 20)
    assert list(PLAN.watched(HOOK)) == [
        "batchtopk-4-isotropic-trained",
        "batchtopk-4-isotropic-soft-decoder",
    ]
    assert PLAN.watched("blocks.1.hook_resid_post") == {}


def test_arrays_are_of_every_sae_and_small(arrays):
    for name in ("full", "pool", "total_variation", "disagreement", "l0"):
        assert arrays[name].shape == (20, 20), name
        assert arrays[name].dtype == np.float16
    assert arrays["explained"].shape == (20, 30)
    assert arrays["clean"].shape == arrays["zero"].shape == (20,)
    assert int(arrays["pool size"]) == 3 * D_MODEL
    judged = [name for name in arrays if name.startswith("judged ")]
    assert len(judged) >= 2 + 4 + 1
    assert all(len(arrays[name]) == 16 for name in judged)
    assert arrays["training explained"].shape == (2, 3, 30)
    assert arrays["training full"].shape == (2, 3, 20)


def test_what_is_held_stays_near_its_start(found):
    cosine = {m.label: m.values["cosine"] for m in found}
    for member in found:
        mean, lowest, *_ = cosine[member.label]
        if member.held == "frozen decoder":
            assert lowest > 0.999
        elif member.held == "soft decoder":
            assert lowest > 0.799
        else:
            assert mean < 1
    trained = [cosine[m.label][0] for m in found if m.held == "trained"]
    soft = [cosine[m.label][0] for m in found if m.held == "soft decoder"]
    assert min(soft) >= min(trained)


def test_the_last_look_is_the_sae_and_the_first_its_start(arrays, found):
    for number, held in enumerate(("trained", "soft decoder")):
        member = next(m for m in found if m.held == held)
        for name in ("explained", "full"):
            last = arrays[f"training {name}"][number, -1].astype(float)
            values = member.values[name] - (member.values["clean"] if name == "full" else 0)
            np.testing.assert_allclose(last, values, atol=2e-2)
        first = arrays["training cosine"][number, 0]
        assert first == pytest.approx(1, abs=2e-3)


def test_the_rest_is_of_the_same_saes(decided, corpus, settings, arrays, cache, monkeypatch):
    monkeypatch.setenv("SAECERT_CACHE", cache)
    measure = MEASURABLE["built"].measure
    asked = settings | {"build": reporting.BESIDES, "progress": False}
    rest = measure(decided, corpus, [HOOK], asked)[HOOK]
    np.testing.assert_array_equal(rest["with outliers"], arrays["pooled"][:16])
    assert float(rest["outlier share"]) == 0
    np.testing.assert_array_equal(rest["without outliers"], rest["with outliers"])
    assert not any(name.startswith("judged") for name in rest), "text without packages"


def test_one_kind_without_edits(decided, corpus, settings, cache, monkeypatch):
    monkeypatch.setenv("SAECERT_CACHE", cache)
    few = {"kinds": [["topk", "isotropic"]], "edits": False, "autocast": True}
    few |= {"other_l0": [], "sweep_hook": "", "shares": [], "pool_share": 1.0}
    measure = MEASURABLE["built"].measure
    found = measure(decided, corpus, [HOOK], settings | few | {"progress": False})[HOOK]
    members = reporting.members(found, 0.5, decided.d_vocab)
    assert [m.label for m in members] == [f"TopK, {held}, isotropic" for held in reporting.HELD]
    np.testing.assert_array_equal(found["pool"], found["full"])
    assert int(found["pool size"]) == found["d_sae"][0]
    assert reporting.scores_of(members) == ("probe 1", "probe 5", "detection")
    width = reporting.loss_width(0.5, decided.d_vocab)
    table = reporting.all_differences(members, 0.05, "dirichlet", width)
    assert "edit" not in table.columns.get_level_values(0)
    assert list(reporting.floors(members, found).columns) == ["probe 1", "probe 5", "detection"]
    told = reporting.claims_frame(reporting.fixed_beforehand({HOOK: table}))
    assert set(told["holds"]) <= {"yes", "no"} and len(told) == 3


def test_labels_and_twins(found):
    assert found[0].label == "BatchTopK, trained, isotropic"
    assert found[5].label == "BatchTopK, frozen decoder, covariance"
    assert found[16].label == "BatchTopK 2, trained, isotropic"
    assert {m.kind for m in reporting.main_set(found)} == {"BatchTopK", "TopK", "JumpReLU"}
    pairs = reporting.twins(found)
    assert len(pairs) == 15
    for baseline, twin in pairs:
        assert twin.held == "trained" and baseline.held != "trained"
        assert (twin.kind, twin.asked, twin.start) == (
            baseline.kind,
            baseline.asked,
            baseline.start,
        )
    assert len(reporting.sweep_set(found)) == 8


def test_tables_and_records(decided, text, corpus, arrays, found, width):
    chosen = reporting.main_set(found)
    discovery = load_corpus(text, decided, split="discovery", n_ctx=N_CTX).take(10)
    options = {"discovery": discovery, "allow_bad_sae": True, "progress": False}
    native = collect(decided, corpus, hook_name=HOOK, **options)
    made = reporting.certificates_of(native, arrays, chosen, SETTINGS)
    for member in chosen:
        certificate, _ = made[member.label]
        gap = reporting.values_of(member, "gap", width)[0].mean()
        assert certificate.means["reconstruction gap"] == pytest.approx(gap, abs=2e-3)
        assert certificate.k == 3 * D_MODEL
    table = reporting.means(chosen, width)
    assert table.loc["TopK, trained, isotropic", reporting.ACTIVE] <= 4
    assert reporting.POOLED in str(show(table, "means"))
    low = reporting.floors(chosen, arrays)
    assert low.loc["dead SAE", "probe 1"] == pytest.approx(0.5, abs=0.02)
    assert low.loc["dead SAE", "edit"] == pytest.approx(0.5, abs=0.02)
    assert ((low >= 0) & (low <= 1)).all(axis=None)
    moved = dict(arrays) | {"clean": arrays["clean"] + 1}
    with pytest.raises(ValueError, match="measured on other sequences"):
        reporting.certificates_of(native, moved, chosen, SETTINGS)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"pool_share": 0.0}, "pool_share lies in"),
        ({"shares": (0.5, 1.5)}, r"shares of a training lie in \[0, 1\]"),
        ({"other_l0": (4,)}, "names l0=4 again"),
    ],
    ids=["no pool", "beyond the end", "twice"],
)
def test_plans_that_cannot_be(changes, says):
    with pytest.raises(ValueError, match=says):
        replace(PLAN, **changes)

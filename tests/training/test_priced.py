"""A standard SAE and BatchTopK, judged by the objective."""

import numpy as np
import pytest

from saecert.reporting import optimality
from saecert.reporting.quantities import MEASURABLE
from saecert.training import compared
from saecert.training.priced import Plan, priced
from saecert.training.recipes import STANDARD
from saecert.training.sae import price_of
from saecert.training.text import Windows

HOOK = "blocks.0.hook_resid_post"
PLAN = Plan(
    l1_coefficient=2.0,
    n_cached=3_000,
    n_samples=12_800,
    n_discovery=150,
    expansion=2,
    batch_size=64,
    per_sequence=2,
)


@pytest.fixture
def measured(subject, corpora, monkeypatch):
    corpus = corpora["discovery"]
    windows = Windows(corpus.tokens, np.full(len(corpus), corpus.n_ctx), bos=True)
    monkeypatch.setattr(compared, "training_text", lambda *_, **__: (windows, windows))
    sample = corpora["certification"].take(20)
    settings = vars(PLAN) | {"build": optimality.PRICED, "progress": False}
    arrays = MEASURABLE["built"].measure(subject, sample, [HOOK], settings)[HOOK]
    acts, _ = compared.activations(subject, [HOOK], PLAN.n_cached, PLAN.seed)[HOOK]
    return arrays, acts


def test_both_are_judged_the_standard_one_at_its_own_price(measured):
    arrays, acts = measured
    own = optimality.own_case(arrays)
    standard, other = own.values()
    price = price_of(acts, PLAN.recipe(STANDARD, 1))
    assert float(standard["lambda"]) == pytest.approx(price)
    assert float(other["lambda"]) != pytest.approx(price)
    for values in own.values():
        assert values["encoder"].shape == (20,)
        assert (values["encoder"] >= values["optimal"] - 1e-3).all()
        assert (values["optimal"] >= values["floor"] - 1e-3).all()
    limits = optimality.errors_by_layer(own, 0.2, "dirichlet")
    assert len(limits["encoder's error"]) == 2
    table = optimality.own_case_table(own, 0.2, "dirichlet")
    assert table.index.tolist() == list(own)
    assert table.loc[next(iter(own)), (optimality.IMPLIED, "weighted mean")] == pytest.approx(
        float(standard["implied lambda"]) / price
    )
    difference = optimality.encoder_difference(own, 0.2, "dirichlet")
    assert difference["lower"] <= difference["mean"] <= difference["upper"]
    assert priced.__name__ in optimality.PRICED

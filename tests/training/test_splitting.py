"""SAEs of several sizes, trained, and what is kept of their latents."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import D_MODEL

from saecert.dictionaries import phenomena_limits
from saecert.reporting import optimality
from saecert.reporting.quantities import MEASURABLE
from saecert.reporting.tables import show
from saecert.training import compared
from saecert.training.splitting import SHOWN, Plan, splitting
from saecert.training.text import Windows

HOOK = "blocks.0.hook_resid_post"
PLAN = Plan(
    expansions=(1, 2, 4), l0=3, n_cached=3_000, n_samples=6_400, batch_size=64, per_sequence=8
)


@pytest.fixture
def measured(subject, corpora, monkeypatch):
    corpus = corpora["discovery"]
    windows = Windows(corpus.tokens, np.full(len(corpus), corpus.n_ctx), bos=True)
    monkeypatch.setattr(compared, "training_text", lambda *_, **__: (windows, windows))
    sample = corpora["certification"].take(60)
    settings = vars(PLAN) | {"expansions": list(PLAN.expansions)}
    settings |= {"build": optimality.SPLITTING, "progress": False}
    return MEASURABLE["built"].measure(subject, sample, [HOOK], settings)[HOOK]


def test_sizes_steps_and_sequences(measured):
    assert measured["d_sae"].tolist() == [D_MODEL, 2 * D_MODEL, 4 * D_MODEL]
    assert (measured["l0"] < 6).all() and (measured["nmse"] > 0).all()
    assert measured["inside"].shape == measured["inside by chance"].shape == (2, 60)
    assert measured["example words"].shape == (2, 1 + SHOWN)
    for name in ("kept", "split"):
        assert (measured[name] <= measured["parents"]).all()
    assert (measured["children"] >= 2 * measured["split"]).all()
    there = np.isfinite(measured["inside"].astype(float)).any(axis=1)
    assert (there <= (measured["split"] > 0)).all()
    table = optimality.splits_table(measured)
    first = f"{D_MODEL} to {2 * D_MODEL}"
    assert table.index.tolist() == [first, f"{2 * D_MODEL} to {4 * D_MODEL}"]
    assert "split" in str(show(table, "a table"))
    lines = optimality.split_examples(measured, table.index)
    assert [line.partition(":")[0] for line in lines] == table.index.tolist()
    limits = phenomena_limits.inside(measured, 0.2, "dirichlet")
    assert len(limits) == 2


def test_plans_that_cannot_be():
    for expansions in [(1,), (2, 1), (1, 1)]:
        with pytest.raises(ValueError, match="two sizes or more, the smallest first"):
            replace(PLAN, expansions=expansions)
    assert splitting.__name__ in optimality.SPLITTING

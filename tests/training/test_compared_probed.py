"""SAEs of page 23 that are probed as well: what is kept of probes, and tables of it."""

import numpy as np
import pandas as pd
import pytest
from conftest import N_CTX, make_texts
from scipy import sparse

from saecert import load_corpus
from saecert.dictionaries.probed import Labelled, can_be_probed, labelled, probed
from saecert.dictionaries.quantities import RANDOM_LATENTS, probe_name
from saecert.reporting import top_afa
from saecert.reporting import top_afa_tables as tables
from saecert.reporting.claims import Undecided
from saecert.reporting.quantities import MEASURABLE
from saecert.training import compared as module
from saecert.training.compared import Plan
from saecert.training.text import Windows

HOOK = "blocks.0.hook_resid_post"
PLAN = Plan(lambdas=(0.05,), usual_l0=0, n_cached=600, n_samples=1_280, expansion=4, batch_size=64)


@pytest.fixture
def text(tmp_path):
    """A file of documents, one a line: words as code, and as prose."""
    path = tmp_path / "text.txt"
    lines = [f"{'>>> ' if i % 2 else ''}{x}" for i, x in enumerate(make_texts(200))]
    path.write_text("\n".join(lines))
    return path


@pytest.fixture
def settings(text, spelled, monkeypatch):
    """Settings of a measurement; the text is where the docstrings would be."""
    corpus = load_corpus(text, spelled, split="discovery", n_ctx=N_CTX)
    windows = Windows(corpus.tokens, np.full(len(corpus), corpus.n_ctx), bos=spelled.bos)
    monkeypatch.setattr(module, "training_text", lambda *_, **__: (windows, windows))
    own = {"lambdas": list(PLAN.lambdas), "source": str(text), "n_discovery": 30}
    return {**vars(PLAN), **own, "build": tables.BUILD, "progress": False}


def measure(subject, corpus, settings):
    return MEASURABLE["built"].measure(subject, corpus, [HOOK], settings)[HOOK]


def test_matched_saes_are_probed_on_the_same_units(spelled, text, settings):
    corpus = load_corpus(text, spelled, split="certification", n_ctx=N_CTX).take(30)
    arrays = measure(spelled, corpus, settings)
    assert arrays["kind"].tolist() == [2, 1, 0], "no others than the matched ones"
    found = top_afa.members(arrays)
    label = "example"
    for k in (1, 5):
        values = arrays[probe_name(k, label)]
        assert values.shape[0] == 3 and values.dtype == np.float16
        assert ((values >= 0) & (values <= 1)).all()
        assert arrays[probe_name(k, label, RANDOM_LATENTS)].shape == (3,)
    table = tables.scores(found)
    assert table.index.tolist() == [member.label for member in found]
    names = [probe_name(1, x) for x in ("example", "code", "identifier")]
    own = np.mean([arrays[name][1].astype(float).mean() for name in names if name in arrays])
    assert table.loc[found[1].label, ("probe 1", tables.BEST)] == pytest.approx(own)
    limits = tables.differences(found, 0.05, "dirichlet")
    assert limits.index.tolist() == [(found[0].label, m.label) for m in found[1:]]
    mean = table.loc[found[0].label, ("probe 5", tables.BEST)]
    mean -= table.loc[found[2].label, ("probe 5", tables.BEST)]
    assert limits.iloc[1]["probe 5", "mean"] == pytest.approx(mean)
    assert tables.untold(limits)
    assert not tables.untold(limits + 2)


def test_a_share_that_is_not_shown_to_be_most_is_undecided():
    """Shares have no upper limits, so that nothing here could show the contrary."""
    columns = [(name, "at least") for name in (top_afa.LARGER_NMSE, top_afa.LARGER_GAP)]
    rows = pd.DataFrame([[0.9, 0.51], [0.8, 0.49]], columns=pd.MultiIndex.from_tuples(columns))
    assert tables.on_most_texts(rows, top_afa.LARGER_NMSE) is True
    both = tables.on_most_texts(rows, top_afa.LARGER_NMSE, top_afa.LARGER_GAP)
    assert isinstance(both, Undecided) and "not shown" in both


def test_texts_without_a_label_of_two_values_cannot_be_probed(spelled, text):
    corpus = load_corpus(text, spelled, split="certification", n_ctx=N_CTX).take(12)
    texts = labelled(spelled, HOOK, [corpus, corpus])
    assert can_be_probed(texts)
    bare = [Labelled(text.corpus, text.acts, {}, {}) for text in texts]
    assert not can_be_probed(bare)
    codes = [sparse.csr_array((12 * N_CTX, 5))] * 2
    with pytest.raises(ValueError, match="labels of one class cannot be probed"):
        probed(bare, codes)


def test_probes_are_fitted_on_two_sequences_or_more(spelled, text, settings):
    corpus = load_corpus(text, spelled, split="certification", n_ctx=N_CTX).take(12)
    with pytest.raises(ValueError, match="n_discovery=1: probes are fitted on two sequences"):
        measure(spelled, corpus, settings | {"n_discovery": 1})

"""Groups of documents: packages of docstrings, a column of the user's own file."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from conftest import N_CTX, make_texts

from saecert import collect, load_corpus

TEXTS = make_texts(40)
SITES = [f"site {n // 5}" for n in range(40)]
FRAME = pd.DataFrame({"text": TEXTS, "site": SITES})


def site_of(corpus, subject):
    """The site that each sequence should have, by its text."""
    known = {
        tuple(subject.tokenizer(t, add_special_tokens=False)["input_ids"]): s
        for t, s in zip(TEXTS, SITES, strict=True)
    }
    body = corpus.tokens[:, int(corpus.bos) :].tolist()
    return [next(s for ids, s in known.items() if list(ids[: len(row)]) == row) for row in body]


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_a_column_of_the_file_is_the_group_whatever_is_dropped(subject, tmp_path, kind):
    path = tmp_path / f"texts.{kind}"
    if kind == "jsonl":
        FRAME.to_json(path, orient="records", lines=True)
    elif kind == "csv":
        FRAME.to_csv(path, index=False)
    else:
        FRAME.to_parquet(path)
    corpus = load_corpus(path, subject, n_ctx=N_CTX, group_column="site")
    assert list(corpus.groups) == site_of(corpus, subject)
    some = corpus.take(5)
    assert some.groups == corpus.groups[:5]
    ids = corpus.group_ids
    same = ids[:, None] == ids
    labels = np.array(corpus.groups)
    np.testing.assert_array_equal(same, labels[:, None] == labels)
    assert load_corpus(path, subject, n_ctx=N_CTX).groups == ()
    assert load_corpus(path, subject, n_ctx=N_CTX).group_ids is None


def test_groups_reach_the_record(subject, tmp_path):
    path = tmp_path / "texts.jsonl"
    FRAME.to_json(path, orient="records", lines=True)
    corpus = load_corpus(path, subject, n_ctx=N_CTX, group_column="site", n_seq=12)
    record = collect(subject, corpus, controls=False, progress=False)
    np.testing.assert_array_equal(record.groups, corpus.group_ids)


def test_bad_groups_are_refused_with_file_and_line(subject, tmp_path):
    path = tmp_path / "texts.jsonl"
    rows = FRAME.to_dict("records")
    for bad in ({"text": TEXTS[3]}, {"text": TEXTS[3], "site": None}, {"text": "x", "site": [1]}):
        lines = [json.dumps(row) for row in [*rows[:3], bad, *rows[4:]]]
        path.write_text("\n".join(lines))
        with pytest.raises(ValueError, match="texts.jsonl, line 4: no group under 'site'"):
            load_corpus(path, subject, n_ctx=N_CTX, group_column="site")
    with pytest.raises(ValueError, match="document 1: no group under 'site'"):
        load_corpus(TEXTS, subject, n_ctx=N_CTX, group_column="site")
    with pytest.raises(ValueError, match="'random-tokens' has no columns"):
        load_corpus("random-tokens", subject, n_seq=5, group_column="site")
    corpus = load_corpus(TEXTS, subject, n_ctx=N_CTX)
    with pytest.raises(ValueError, match=f"1 group labels for {len(corpus)} sequences"):
        replace(corpus, groups=("a",)).group_ids  # noqa: B018 (a property that refuses)

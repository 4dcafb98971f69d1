"""Documents to sequences: splits, lengths, drift, and text that cannot be used."""

import ast
import hashlib
import json
import re
import textwrap
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import N_CTX, make_texts

from saecert import Corpus, load_corpus
from saecert.corpora import docstrings
from saecert.corpora.docstrings import SPLITS, split_of
from saecert.corpora.duplicates import near_duplicate_texts
from saecert.corpora.hashes import second_hash
from saecert.corpora.tokenize import windows


def test_splits_share_no_document_and_every_sequence_starts_with_bos(corpora, subject):
    discovery, sample = corpora["discovery"], corpora["certification"]
    assert not set(discovery.keys) & set(sample.keys)
    assert len(discovery) + len(sample) == 120 and sample.tokens.shape[1] == N_CTX
    assert (sample.tokens[:, 0] == subject.tokenizer.bos_token_id).all()
    assert len(set(sample.ids.tolist())) == len(sample)


def test_order_and_split_do_not_depend_on_the_order_of_the_file(subject):
    texts = make_texts(40)
    one, other = (
        load_corpus(given, subject, n_ctx=N_CTX) for given in (texts, texts[::-1] + texts[:3])
    )
    np.testing.assert_array_equal(one.tokens, other.tokens)


def test_short_documents_are_dropped_and_counted(subject):
    corpus = load_corpus([*make_texts(30), "too short", "much too short"], subject, n_ctx=N_CTX)
    discovery = load_corpus(
        [*make_texts(30), "too short", "much too short"], subject, split="discovery", n_ctx=N_CTX
    )
    assert corpus.n_too_short + discovery.n_too_short == 2
    assert "at least 23 tokens" in corpus.population


def test_certification_keeps_the_first_of_each_group_of_near_duplicates(subject):
    texts = make_texts(30)
    copies = [
        text.replace("number 0", "number 1") for text in texts
    ]  # the same window but for its last words
    options = {"n_ctx": N_CTX, "shared": "keep"}
    splits = {
        split: load_corpus(texts + copies, subject, split=split, **options)
        for split in ("discovery", "certification")
    }
    everything = load_corpus(texts + copies, subject, near_duplicates="keep", **options)
    assert (
        len(splits["discovery"]) + len(everything) == 60
        and splits["discovery"].n_similar == everything.n_similar == 0
    )
    sample = splits["certification"]
    first = [
        row
        for row, tokens in enumerate(everything.tokens)
        if tokens.tolist() not in everything.tokens[:row].tolist()
    ]
    assert set(sample.keys) == {everything.keys[row] for row in first}
    rows = [everything.keys.index(key) for key in sample.keys]
    np.testing.assert_array_equal(sample.tokens, everything.tokens[rows])
    assert list(sample.keys) == sorted(sample.keys, key=second_hash) != sorted(sample.keys)
    assert sample.n_similar == len(everything) - len(first) > 0
    assert "near-duplicates" in sample.population and "near-duplicates" not in everything.population
    np.testing.assert_array_equal(sample.take(5).tokens, sample.tokens[:5])


def test_prefixes_of_survivors_are_random_subsets():
    """400 documents and 100 groups of 5 that resemble each other: groups are 20 % of the survivors,
    early or late."""
    generator = np.random.default_rng(0)
    singles = generator.integers(1_000_000, size=(400, 40))
    groups = np.repeat(generator.integers(1_000_000, size=(100, 40)), 5, axis=0)
    groups[:, -1] = np.arange(500)
    tokens = np.concatenate([singles, groups]).astype(np.int32)
    in_group = np.arange(900) >= 400
    shares = []
    for repeat in range(10):
        names = [f"{repeat}:{row}" for row in range(900)]
        order = sorted(range(900), key=lambda row: hashlib.sha256(names[row].encode()).digest())
        keys = tuple(names[row] for row in order)
        corpus = Corpus("texts", "certification", tokens[order], keys, False, 0, "")
        survivors = corpus.without_similar()
        assert len(survivors) == 500 and survivors.n_similar == 400
        shares.append(np.mean([in_group[int(key.split(":")[1])] for key in survivors.keys[:100]]))
    standard_error = (0.2 * 0.8 / 100 * 0.8 / 10) ** 0.5  # of a mean of 10, without replacement
    assert abs(np.mean(shares) - 0.2) < 3 * standard_error


def test_parts_of_a_corpus_are_slices(corpora):
    corpus = corpora["certification"]
    part = corpus.part(3, 7)
    np.testing.assert_array_equal(part.tokens, corpus.tokens[3:7])
    assert part.keys == corpus.keys[3:7] and part.ids.tolist() == corpus.ids[3:7].tolist()
    for start, stop in ((-1, 2), (4, 4), (0, 9999)):
        with pytest.raises(
            ValueError,
            match=f"sequences {start} to {stop - 1} asked of the certification .*has {len(corpus)}",
        ):
            corpus.part(start, stop)


def test_a_cut_corpus_says_what_its_documents_had_to_have(corpora):
    corpus = corpora["certification"]
    cut = corpus.cut(6).cut(5)
    np.testing.assert_array_equal(cut.tokens, corpus.tokens[:, :5])
    assert cut.keys == corpus.keys
    assert f"at least {N_CTX - 1} tokens, cut to 4" in cut.population
    assert "cut to that length" in corpus.population
    for wrong in (2, N_CTX + 1):
        with pytest.raises(ValueError, match="can be cut to 3 or more"):
            corpus.cut(wrong)


def test_every_kind_of_file_gives_the_same_sequences(subject, tmp_path):
    texts = make_texts(30)
    table = pd.DataFrame({"other": range(30), "body": texts})
    (tmp_path / "a [1].txt").write_text("\n".join(texts))
    (tmp_path / "a.jsonl").write_text(
        "\n\n".join(json.dumps({"body": text}) for text in texts) + '\n{"body": null}\n'
    )
    table.to_csv(tmp_path / "a.csv")
    table.to_parquet(tmp_path / "a.parquet")
    expected = load_corpus(texts, subject, n_ctx=N_CTX).tokens
    np.testing.assert_array_equal(
        load_corpus(tmp_path / "a [1].txt", subject, n_ctx=N_CTX).tokens, expected
    )
    for name in ("a.jsonl", "a.csv", "a.parquet"):
        np.testing.assert_array_equal(
            load_corpus(str(tmp_path / name), subject, n_ctx=N_CTX, column="body").tokens, expected
        )


def test_text_that_cannot_be_used(subject, tmp_path):
    def load(name, content, **options):
        (tmp_path / name).write_bytes(content)
        return load_corpus(tmp_path / name, subject, **options)

    with pytest.raises(FileNotFoundError, match="no text at"):
        load_corpus(tmp_path / "missing.txt", subject)
    with pytest.raises(ValueError, match="'empty.txt' holds no text"):
        load("empty.txt", b"\n \n")
    with pytest.raises(ValueError, match="holds no text"):
        load("nothing.jsonl", b"")
    with pytest.raises(
        ValueError,
        match=r"latin.txt cannot be read as text .*byte 0xe9 in position 2.*text to UTF-8",
    ):
        load("latin.txt", b"ol\xe9 ")
    with pytest.raises(
        ValueError, match="bad.parquet cannot be read as parquet .*repair or convert"
    ):
        load("bad.parquet", b"text")
    with pytest.raises(ValueError, match="bad.jsonl, line 3: not JSON"):
        load("bad.jsonl", b'{"text": "x"}\n\n{text')
    with pytest.raises(ValueError, match="line 1: no text under 'text' .it has body"):
        load("column.jsonl", b'{"body": "x"}')
    with pytest.raises(ValueError, match="line 1: no text under 'text' .it has int"):
        load("number.jsonl", b"3")
    with pytest.raises(ValueError, match="line 1: no text under 'body' .it has text, n"):
        load("column.csv", b"text,n\na,1\n", column="body")
    with pytest.raises(
        ValueError, match="no document in the certification split.*has 31 tokens.*lower n_ctx"
    ):
        load("short.txt", b"one two\nthree four", n_ctx=32)


def test_hub_datasets_are_streamed_up_to_a_number_of_documents_at_one_commit(subject, monkeypatch):
    asked, texts = [], make_texts(40)

    def stream(path, **options):
        asked.append((path, options))
        return ({"body": text} for text in texts)

    def info(api, name, revision, timeout):
        return SimpleNamespace(sha=f"commit-of-{revision}")

    monkeypatch.setattr("datasets.load_dataset", stream)
    monkeypatch.setattr("saecert.corpora.sources.HfApi.dataset_info", info)
    source = "hf:org/name?config=en&split=validation&revision=v2&documents=30"
    corpus = load_corpus(source, subject, n_ctx=N_CTX, column="body")
    np.testing.assert_array_equal(
        corpus.tokens, load_corpus(texts[:30], subject, n_ctx=N_CTX).tokens
    )
    load_corpus(source, subject, split="discovery", n_ctx=8, column="body")
    assert len(asked) == 1, "both splits from one stream"
    (path, options) = asked[0]
    assert (path, options["name"], options["split"], options["revision"]) == (
        "org/name",
        "en",
        "validation",
        "commit-of-v2",
    )
    assert options["streaming"] is True
    assert "its first 30 at commit commit-of-v2" in corpus.population
    with pytest.raises(ValueError, match="line 1: no text under 'text' .it has body"):
        load_corpus("hf:org/name", subject)
    with pytest.raises(
        ValueError,
        match="unknown option 'lang' in 'hf:org/name.lang=en'; there are config, split, revision, "
        "documents",
    ):
        load_corpus("hf:org/name?lang=en", subject)


def test_a_hub_that_cannot_be_reached(subject, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        ValueError, match="cannot read 'hf:org/far' from the hub .*unset HF_HUB_OFFLINE.*HF_TOKEN"
    ):
        load_corpus("hf:org/far", subject)


def test_functions_lose_their_docstrings_and_keep_their_comments():
    source = textwrap.dedent(
        '''
        class A:
            """Of the class."""

            def f(self, x):
                """Of the method.

                Two paragraphs.
                """
                # a comment
                def g():
                    "Of the inner function."
                    return """no docstring"""
                return x + g()
        '''
    )
    function = ast.parse(source).body[0].body[1]
    assert docstrings._without_docstrings(function, source).splitlines() == [
        "def f(self, x):",
        "    # a comment",
        "    def g():",
        '        return """no docstring"""',
        "    return x + g()",
    ]


def test_python_source_is_the_longest_function_of_each_module(subject, monkeypatch):
    monkeypatch.setattr(docstrings, "PACKAGES", ("networkx",))
    functions = docstrings.python_functions()
    assert "def local_bridges(" in functions["networkx:networkx.algorithms.bridges"]
    assert len(functions) > 200 and all("def " in text for text in functions.values())
    assert not any(re.search(r':\n\s+r?"""', text) for text in functions.values())
    splits = [
        load_corpus("python-source", subject, split=split, n_ctx=N_CTX)
        for split in ("discovery", "certification")
    ]
    assert not set(splits[0].keys) & set(splits[1].keys) and splits[1].n_similar > 0
    dropped = splits[1].n_similar + splits[1].n_shared + sum(part.n_too_short for part in splits)
    assert sum(map(len, splits)) + dropped == len(set(functions.values()))


def test_random_tokens_are_uniform_and_more_of_them_begin_with_the_same(subject):
    few, many = (load_corpus("random-tokens", subject, n_seq=n, n_ctx=N_CTX) for n in (5, 400))
    np.testing.assert_array_equal(few.tokens, many.tokens[:5])
    assert (
        many.tokens[:, 0] == subject.tokenizer.bos_token_id
    ).all() and many.population.startswith("sequences of 23 tokens, each drawn")
    counts = np.bincount(many.tokens[:, 1:].ravel(), minlength=len(subject.tokenizer))
    special = subject.tokenizer.all_special_ids
    assert counts[special].sum() == 0
    rest, n = np.delete(counts, special), 400 * (N_CTX - 1)
    chi_square = ((rest - n / len(rest)) ** 2 / (n / len(rest))).sum()
    assert abs(chi_square - len(rest)) < 4 * np.sqrt(2 * len(rest))


def test_random_tokens_of_other_splits_and_seeds_differ_and_bos_may_be_left_out(subject):
    options = {"n_seq": 6, "n_ctx": N_CTX}
    variants = [{}, {"split": "discovery"}, {"seed": 1}]
    drawn = [load_corpus("random-tokens", subject, **options, **variant) for variant in variants]
    assert (
        len({corpus.tokens.tobytes() for corpus in drawn})
        == len({key for corpus in drawn for key in corpus.keys}) // 6
        == 3
    )
    bare = load_corpus("random-tokens", subject, bos=False, **options)
    assert bare.tokens.shape == (6, N_CTX) and bare.bos is False
    assert (
        subject.tokenizer.bos_token_id not in bare.tokens
        and "sequences of 24 tokens" in bare.population
    )


def test_model_samples_follow_the_model(subject):
    corpus = load_corpus("model-samples", subject, n_seq=300, n_ctx=N_CTX)
    tokens = torch.from_numpy(corpus.tokens.astype(np.int64))
    with torch.no_grad():
        log_p = subject.model.original_model(tokens).logits[:, :-1].double().log_softmax(dim=-1)
    surprise = -log_p.gather(2, tokens[:, 1:, None])[..., 0] + (log_p.exp() * log_p).sum(
        dim=-1
    )  # mean 0 given the tokens before
    z = surprise.mean(dim=1)
    assert abs(z.mean()) < 4 * z.std() / len(z) ** 0.5
    first = log_p[0, 0].exp()
    share = (tokens[:, 1] == first.argmax()).double().mean()
    assert abs(share - first.max()) < 4 * (first.max() * (1 - first.max()) / 300) ** 0.5
    assert "drawn from the model itself" in corpus.population


def test_more_model_samples_begin_with_the_same(subject):
    few, many = (load_corpus("model-samples", subject, n_seq=n, n_ctx=8) for n in (5, 40))
    np.testing.assert_array_equal(few.tokens, many.tokens[:5])
    assert len(set(many.ids.tolist())) > 35
    other = load_corpus("model-samples", subject, n_seq=5, n_ctx=8, split="discovery")
    assert (other.tokens != few.tokens).any(axis=1).sum() >= 4


def test_sources_without_end(subject):
    with pytest.raises(ValueError, match="'random-tokens' has no end: say with n_seq="):
        load_corpus("random-tokens", subject)
    with pytest.raises(ValueError, match="unknown split 'train'"):
        load_corpus("model-samples", subject, n_seq=5, split="train")
    with pytest.raises(ValueError, match="model samples need bos=True"):
        load_corpus("model-samples", subject, n_seq=5, bos=False)


def test_bad_arguments(subject, corpora):
    with pytest.raises(
        ValueError, match="unknown split 'test'; there are discovery, certification"
    ):
        load_corpus(make_texts(5), subject, split="test")
    with pytest.raises(ValueError, match="context of 32 tokens, got 64"):
        load_corpus(make_texts(5), subject, n_ctx=64)
    with pytest.raises(ValueError, match="near_duplicates takes 'drop' or 'keep', got 'some'"):
        load_corpus(make_texts(5), subject, near_duplicates="some")
    with pytest.raises(ValueError, match="shared takes 'drop' or 'keep', got 'some'"):
        load_corpus(make_texts(5), subject, shared="some")
    with pytest.raises(ValueError, match="n_seq=1 asked.*at least 2"):
        corpora["certification"].take(1)
    with pytest.raises(ValueError, match="n_seq=9999 asked"):
        load_corpus(make_texts(30), subject, n_ctx=N_CTX, n_seq=9999)


def test_windows_cover_every_token_once(subject):
    texts = make_texts(3)
    tokens, lengths = windows(texts, subject.tokenizer, n_ctx=16)
    kept = np.concatenate([row[1:length] for row, length in zip(tokens, lengths, strict=True)])
    assert kept.tolist() == [
        token
        for ids in subject.tokenizer(texts, add_special_tokens=False)["input_ids"]
        for token in ids
    ]
    assert (tokens[:, 0] == subject.tokenizer.bos_token_id).all()


def test_near_duplicates_keep_the_first():
    words = [f"w{i}" for i in range(60)]
    texts = [
        " ".join(words),
        " ".join([*words[:50], "other", *words[51:]]),
        " ".join(words[::-1]),
        " ".join(words[:30]),
    ]
    assert near_duplicate_texts(texts).tolist() == [False, True, False, False]
    assert near_duplicate_texts(texts[::-1]).tolist() == [False, False, False, True]
    assert near_duplicate_texts(["short", "short", "other"]).tolist() == [False, True, False]


def test_shares_of_the_splits():
    names = [split_of(f"package:name{i}") for i in range(20_000)]
    for name, percent in SPLITS.items():
        assert names.count(name) / 200 == pytest.approx(percent, abs=1.5)


@pytest.mark.shared_cache
def test_another_corpus_is_refused_unless_allowed(shipped):
    drifted = replace(shipped, card={"corpus": {"text_hash": "0" * 64}})
    with pytest.raises(
        ValueError, match="not those 'docstring-6l' was trained on.*allow_corpus_drift=True"
    ):
        load_corpus("docstrings", drifted)
    assert "not those" in load_corpus("docstrings", drifted, allow_corpus_drift=True).notes[0]
    assert load_corpus("docstrings", shipped).notes == ()

"""Files of every kind: read by their inner suffix, or refused with file and line."""

import bz2
import gzip
import json
import lzma

import numpy as np
import pandas as pd
import pyarrow
import pytest
from conftest import N_CTX, make_texts

from saecert import load_corpus

TEXTS = make_texts(30)
LINES = "\n".join(json.dumps({"text": text}) for text in TEXTS).encode()
ARRAY = json.dumps([{"text": text} for text in TEXTS], indent=1).encode()
PACKERS = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": lambda content: pyarrow.compress(content, codec="zstd", asbytes=True),
}


@pytest.fixture(scope="module")
def expected(subject):
    return load_corpus(TEXTS, subject, n_ctx=N_CTX).tokens


def refusal(path, subject):
    """The message with which a file is refused, on one or two lines."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (what it says is returned)
        load_corpus(path, subject, n_ctx=N_CTX)
    message = str(caught.value)
    assert message.count("\n") <= 1 and path.name in message
    return message


@pytest.mark.parametrize("name", ["a.jsonl", "a.JSONL", "a.ndjson", "a.json", "a.Json"])
def test_json_lines_and_arrays_are_documents(subject, expected, tmp_path, name):
    path = tmp_path / name
    for content in [LINES, ARRAY] if name[2:].lower() == "json" else [LINES]:
        path.write_bytes(content)
        np.testing.assert_array_equal(load_corpus(path, subject, n_ctx=N_CTX).tokens, expected)


def test_an_array_of_strings_is_documents(subject, expected, tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(TEXTS))
    np.testing.assert_array_equal(load_corpus(path, subject, n_ctx=N_CTX).tokens, expected)


@pytest.mark.parametrize("packing", PACKERS)
@pytest.mark.parametrize("kind", ["txt", "jsonl", "json", "csv"])
def test_compressed_files(subject, expected, tmp_path, kind, packing):
    plain = {
        "txt": "\n".join(TEXTS).encode(),
        "jsonl": LINES,
        "json": ARRAY,
        "csv": pd.DataFrame({"text": TEXTS}).to_csv().encode(),
    }
    path = tmp_path / f"a.{kind}.{packing.upper()}"
    path.write_bytes(PACKERS[packing](plain[kind]))
    np.testing.assert_array_equal(load_corpus(path, subject, n_ctx=N_CTX).tokens, expected)


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.json"])
def test_a_byte_order_mark_is_dropped(subject, expected, tmp_path, name):
    contents = {"a.txt": "\n".join(TEXTS).encode(), "a.jsonl": LINES, "a.json": ARRAY}
    path = tmp_path / name
    path.write_bytes(b"\xef\xbb\xbf" + contents[name])
    corpus = load_corpus(path, subject, n_ctx=N_CTX)
    np.testing.assert_array_equal(corpus.tokens, expected)


@pytest.mark.parametrize("packing", PACKERS)
def test_a_truncated_file_is_named_with_its_line(subject, tmp_path, packing):
    path = tmp_path / f"a.jsonl.{packing}"
    content = b"\n".join(b'{"text": "%d"}' % number for number in range(100_000))
    path.write_bytes(PACKERS[packing](content)[:-2000])
    message = refusal(path, subject)
    assert f"line {message.split('line ')[1].split(':')[0]}: damaged or truncated" in message


def test_compression_that_is_none(subject, tmp_path):
    for packing in PACKERS:
        path = tmp_path / f"a.csv.{packing}"
        path.write_bytes(b"text\na b c\n")
        assert "damaged or truncated" in refusal(path, subject)


@pytest.mark.parametrize("name", ["a.pdf", "a.bin", "a.docx", "a.zip", "a.tar.gz"])
def test_files_of_another_kind_are_refused(subject, tmp_path, name):
    path = tmp_path / name
    path.write_text("\n".join(TEXTS))
    assert "is of a kind that is not read" in refusal(path, subject)


def test_what_only_looks_like_text(subject, tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"one\ntwo\0")
    assert "line 2: a zero byte" in refusal(path, subject)
    path.write_bytes(b"%PDF-1.4 and so on")
    assert "is a PDF" in refusal(path, subject)
    path.write_bytes(b"one\ntwo\nthr\xe9e")
    assert "line 3: 'utf-8' codec can't decode" in refusal(path, subject)


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        ("a.jsonl", '{"text": "a"}\n{"text": 5}', "line 2, 'text': 5 is of type int, not text"),
        ("a.jsonl", '{"text": "a"}\n\n{"text": "b\\ud800"}', "line 3, 'text': half a character"),
        ("a.jsonl", '{"text": ["a"]}', "line 1, 'text': ['a'] is of type list, not text"),
        ("a.jsonl", "[" * 100_000, "line 1: not JSON"),
        ("a.json", '["a", 7]', "element 2: no text under 'text' (it has int)"),
        ("a.json", '["a", "b\\udfff"]', "element 2: half a character"),
        ("a.json", '{\n"text": "a"\n}', "holds a dict: expected an array of documents"),
        ("a.json", "[1,\n2,", "line 2: not JSON"),
        ("a.json", "[" * 100_000, "not JSON"),
    ],
)
def test_what_is_no_text_is_named_with_its_place(subject, tmp_path, name, content, named):
    path = tmp_path / name
    path.write_text(content)
    assert named in refusal(path, subject)


def test_strings_that_are_none(subject):
    with pytest.raises(ValueError, match="texts given, document 1: half a character .*position 1"):
        load_corpus(["a\ud800"], subject)

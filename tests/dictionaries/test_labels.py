"""Labels that the text itself gives: worked cases."""

from dataclasses import replace

import numpy as np
import pytest

from saecert.corpora.corpus import Corpus
from saecert.dictionaries.labels import (
    class_of_pieces,
    classes_of,
    code_lines,
    commonest_package,
    packages_of_both,
    pieces_of,
    sequence_labels,
    token_labels,
)

PIECES = ["<bos>", "Add", "s", " two", ".", "\n", "\n\n", ">>>", " f", "(1)", "3", "Parameters"]
PIECES += ["----------", " :", "\n    "]


def corpus_of(*rows, groups=()):
    """Sequences of tokens of `PIECES`, of equal length, BOS in front."""
    tokens = np.array([[0, *row] for row in rows], dtype=np.int32)
    keys = tuple(map(str, range(len(rows))))
    return Corpus("made up", "discovery", tokens, keys, True, 0, "", groups=groups)


def test_a_doctest_is_code_up_to_the_blank_line():
    lines = ["Adds.", ">>> f(1)", "3", "", "As said."]
    assert code_lines(lines) == [False, True, True, False, False]
    assert code_lines([">>> for x in y:", "...     f(x)", "Text"]) == [True, True, True]


def test_fenced_and_literal_blocks_are_code():
    fenced = ["Use:", "```python", "f(1)", "", "g(2)", "```", "Done."]
    assert code_lines(fenced) == [False, True, True, False, True, True, False]
    literal = ["As in::", "", "    f(1)", "    g(2)", "", "    h(3)", "Done.", "    indented"]
    assert code_lines(literal) == [False, False, True, True, False, True, False, False]


def test_tokens_of_code_and_of_prose():
    row = [1, 2, 3, 4, 5, 7, 8, 9, 5, 10, 6, 1]  # Adds two.\n>>> f(1)\n3\n\nAdd
    found = token_labels(corpus_of(row), PIECES)
    assert found["code"][0].tolist() == [-1, 0, 0, 0, 0, -1, 1, 1, 1, -1, 1, -1, 0]
    # is the next one word characters? " two" is, ".", line ends, prompts and numbers are not
    assert found["identifier"][0].tolist() == [-1, 1, 1, 0, 0, 0, 1, 0, 0, 0, 0, 1, -1]


def test_what_a_sequence_shows():
    numpy_style = [11, 5, 12, 5, 1, 13]
    heading_only = [11, 3, 12, 5, 1, 13]
    with_example = [1, 4, 6, 7, 8, 9]
    corpus = corpus_of(numpy_style, heading_only, with_example, groups=("a", "b", "b"))
    found = sequence_labels(corpus, PIECES, "b")
    assert found["parameters"].tolist() == [True, False, False]
    assert found["example"].tolist() == [False, False, True]
    assert found["package"].tolist() == [False, True, True]
    assert "package" not in sequence_labels(replace(corpus, groups=()), PIECES, "")


def test_the_commonest_package_is_the_first_of_several():
    corpus = corpus_of([1], [1], [1], groups=("b", "a", "c"))
    assert commonest_package(corpus) == "a"
    assert commonest_package(replace(corpus, groups=("b", "a", "b"))) == "b"
    assert commonest_package(replace(corpus, groups=())) == ""


def test_classes_of_the_vocabulary():
    assert class_of_pieces([" the", "ing", " 3", "\n", "", "_x"], "identifier").tolist() == [
        True, True, False, False, False, True
    ]  # fmt: skip
    spaced = class_of_pieces([" the", "ing", " 3", "\n", ""], "spaced")
    assert spaced.tolist() == [True, False, True, True, False]
    with pytest.raises(ValueError, match=r"no class of tokens is called 'noun'; there are ident"):
        class_of_pieces(["a"], "noun")
    assert classes_of([" the", "3"]).tolist() == [[True, False], [True, False]]
    with pytest.raises(ValueError, match="0 of 2 tokens of the vocabulary are 'spaced'"):
        classes_of(["the", "3"])


def test_pieces_put_together_are_the_text(spelled):
    text = "the bound of a frozen model"
    pieces = pieces_of(spelled.tokenizer, spelled.d_vocab)
    ids = spelled.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert "".join(pieces[i] for i in ids) == text
    assert len(pieces) == spelled.d_vocab and pieces[-1] == ""


def test_packages_are_those_with_enough_texts_in_both():
    def texts(**counts):
        groups = tuple(name for name, n in counts.items() for _ in range(n))
        return corpus_of(*[[1]] * len(groups), groups=groups)

    discovery = texts(scipy=3, numpy=4, sympy=2)
    assert packages_of_both(discovery, texts(numpy=2, scipy=2, pandas=5), 2) == ["numpy", "scipy"]
    assert packages_of_both(discovery, texts(numpy=1, scipy=3), 2) == ["scipy"]
    assert packages_of_both(discovery, texts(scipy=3), 2) == [], "nothing to tell it from"
    assert packages_of_both(discovery, corpus_of([1]), 2) == []
    assert packages_of_both(corpus_of([1]), discovery, 2) == []

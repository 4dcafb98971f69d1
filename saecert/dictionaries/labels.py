"""Labels of sequences and tokens that need no people and no network: read off the text itself."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int8
from transformers import PreTrainedTokenizerBase

from saecert.corpora.corpus import Corpus
from saecert.dictionaries.quantities import CLASSES_OF_TOKENS, LABELS_OF_SEQUENCES, LABELS_OF_TOKENS

PACKAGE, PARAMETERS, EXAMPLE = LABELS_OF_SEQUENCES
CODE, IDENTIFIER = LABELS_OF_TOKENS
SPACED = CLASSES_OF_TOKENS[1]
LEAST = 10
"""Sequences of a package, in either text, for it to be told from the others."""

_PARAMETERS = re.compile(r"^[ \t]*(Parameters|Args|Arguments)[ \t]*(:|\n[ \t]*-{3,})", re.MULTILINE)
_PROMPT = re.compile(r"[ \t]*(>>>|\.\.\. |\.\.\.$)")
_FENCE = re.compile(r"[ \t]*```")
_LITERAL = re.compile(r"(::|^[ \t]*\.\. code-block::.*)[ \t]*$")

TokenLabels = Int8[np.ndarray, "n_seq n_ctx"]
"""1 and 0; -1 where the label is not defined."""


def pieces_of(tokenizer: PreTrainedTokenizerBase, d_vocab: int) -> list[str]:
    """Text of every token inside a text; "" for ids that the tokenizer does not have."""
    known = min(len(tokenizer), d_vocab)
    options = {"clean_up_tokenization_spaces": False}
    # behind another token: some tokenizers drop a space at the beginning
    before = tokenizer("a", add_special_tokens=False)["input_ids"][-1:]
    start = len(tokenizer.decode(before, **options))
    found = [tokenizer.decode([*before, token], **options)[start:] for token in range(known)]
    return found + [""] * (d_vocab - known)


def class_of_pieces(pieces: Sequence[str], name: str) -> Bool[np.ndarray, "d_vocab"]:
    """Which tokens of a vocabulary belong to one of `CLASSES_OF_TOKENS`.

    "identifier": without the spaces before it, the token is a Python identifier (so words are, and
    numbers, punctuation and line ends are not). "spaced": it begins with a space or a line end.
    ValueError for another name.
    """
    if name == IDENTIFIER:
        return np.array([piece.lstrip(" ").isidentifier() for piece in pieces], dtype=bool)
    if name == SPACED:
        return np.array([piece[:1].isspace() for piece in pieces], dtype=bool)
    raise ValueError(
        f"no class of tokens is called '{name}'; there are {', '.join(CLASSES_OF_TOKENS)}"
    )


def classes_of(pieces: Sequence[str]) -> Bool[np.ndarray, "2 d_vocab"]:
    """`CLASSES_OF_TOKENS` as sets of tokens; ValueError where one has no tokens, or all."""
    classes = np.stack([class_of_pieces(pieces, name) for name in CLASSES_OF_TOKENS])
    for name, members in zip(CLASSES_OF_TOKENS, classes, strict=True):
        if members.all() or not members.any():
            raise ValueError(
                f"{members.sum()} of {len(members)} tokens of the vocabulary are '{name}': there "
                "is nothing to tell apart, is the tokenizer the model's?"
            )
    return classes


def commonest_package(corpus: Corpus) -> str:
    """The group that most sequences are from, the first by name of several; "" without groups."""
    counts = Counter(corpus.groups)
    return min(counts, key=lambda name: (-counts[name], name)) if counts else ""


def packages_of_both(discovery: Corpus, sample: Corpus, least: int = LEAST) -> list[str]:
    """Groups with `least` sequences or more in either text, by name; [] without groups.

    A group that is all of a text is none: there is nothing to tell it from.
    """
    texts = (discovery, sample)
    counts = [Counter(corpus.groups) for corpus in texts]
    return sorted(
        name
        for name in counts[0]
        if all(
            least <= count[name] < len(corpus) for count, corpus in zip(counts, texts, strict=True)
        )
    )


def sequence_labels(
    corpus: Corpus, pieces: Sequence[str], package: str
) -> dict[str, Bool[np.ndarray, "n_seq"]]:
    """`LABELS_OF_SEQUENCES` by name, read off the tokens; "package" only where groups are known.

    "parameters" means a heading of numpy's or Google's style, "example" a doctest prompt.
    """
    texts = ["".join(pieces[token] for token in row) for row in corpus.tokens[:, int(corpus.bos) :]]
    found = {
        PARAMETERS: np.array([bool(_PARAMETERS.search(text)) for text in texts], dtype=bool),
        EXAMPLE: np.array([">>>" in text for text in texts], dtype=bool),
    }
    if corpus.groups:
        found[PACKAGE] = np.array([group == package for group in corpus.groups], dtype=bool)
    return {name: found[name] for name in LABELS_OF_SEQUENCES if name in found}


def token_labels(corpus: Corpus, pieces: Sequence[str]) -> dict[str, TokenLabels]:
    """`LABELS_OF_TOKENS` by name, of every position; BOS, blank tokens and the last have none.

    "code" says whether the token begins in a line of code (`code_lines`); "identifier" whether the
    token that comes next is one (`class_of_pieces`).
    """
    first = int(corpus.bos)
    code = np.full(corpus.tokens.shape, -1, dtype=np.int8)
    for row, tokens in enumerate(corpus.tokens[:, first:]):
        code[row, first:] = _code_of([pieces[token] for token in tokens])
    following = np.full(corpus.tokens.shape, -1, dtype=np.int8)
    following[:, first:-1] = class_of_pieces(pieces, IDENTIFIER)[corpus.tokens[:, first + 1 :]]
    return {CODE: code, IDENTIFIER: following}


def code_lines(lines: Sequence[str]) -> list[bool]:
    """Which lines of a docstring are code: a doctest with its output, a fenced or a literal block.

    A doctest ends at a blank line, a fenced block at the next fence, a literal block (after a line
    that ends in ``::``) at the first line that is not indented further. Fences count as code, blank
    lines as prose.

    >>> code_lines(["Adds.", "", ">>> add(1, 2)", "3", "", "So it does."])
    [False, False, True, True, False, False]
    """
    found = []
    kind = ""
    indent = 0
    for line in lines:
        blank = not line.strip()
        width = len(line) - len(line.lstrip())
        if kind == "fence":
            kind = "" if _FENCE.match(line) else kind
            found.append(not blank)
            continue
        if _FENCE.match(line):
            kind = "fence"
        elif _PROMPT.match(line):
            kind = "doctest"
        elif (kind == "doctest" and blank) or (kind == "literal" and not blank and width <= indent):
            kind = ""
        found.append(bool(kind) and not blank)
        if not kind and _LITERAL.search(line):
            kind = "literal"
            indent = width
    return found


def _code_of(texts: Sequence[str]) -> Int8[np.ndarray, "n_tokens"]:
    """The label "code" of tokens that stand one after the other."""
    lines = "".join(texts).split("\n")
    is_code = code_lines(lines)
    ends = np.cumsum([len(line) + 1 for line in lines])
    starts = np.cumsum([0, *map(len, texts)])[:-1]
    # a token such as " \nfoo" is about what follows the line end
    inside = np.array([len(text) - len(text.lstrip()) for text in texts], dtype=np.int64)
    of_line = np.searchsorted(ends, starts + inside, side="right")
    labels = np.array([is_code[min(line, len(lines) - 1)] for line in of_line], dtype=np.int8)
    labels[[not text.strip() for text in texts]] = -1
    return labels

"""Near-duplicates, found exactly: among sequences of tokens and among texts.

Both are sets of shingles, and two resemble each other when the Jaccard similarity of their sets is
at least `JACCARD`. Similarities come from sparse products of one block of rows with another, so
memory grows linearly with the number of sets even when all resemble each other, and the answer
depends on neither a seed nor the machine.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Int, UInt64

from saecert.storage import progress_bar

if TYPE_CHECKING:
    from scipy import sparse

JACCARD = 0.5
"""Similarity from which on two sets are near-duplicates."""
SHINGLE = 5
"""Tokens, or words, in a shingle."""
WORDS = 128
"""Words of a text that are looked at."""
INERT_BELOW = 19
"""Windows of fewer tokens have so few shingles that one different token in the middle hides a
repeat: it changes 5 of the s = n - 4, and (s - 5) / (s + 5) reaches `JACCARD` from s = 15 on."""

_BLOCK = 1024  # rows compared with as many at a time
_WORD = re.compile(r"\w+|[^\w\s]+")


def near_duplicates(
    tokens: Int[np.ndarray, "n_seq n_ctx"], ids: UInt64[np.ndarray, "n_seq"]
) -> UInt64[np.ndarray, "n_seq"]:
    """For each sequence the id of the first one that it resembles, its own if none.

    This is what `SequenceLosses.similar` holds. Two sequences resemble each other when the sets of
    their 5-token shingles have a Jaccard similarity of at least 0.5, or when a chain of such pairs
    links them, so sequences of different clusters never do. Give the window that is measured, all
    of it: n_ctx at least 1, rows in the order in which the first of a cluster is to be kept. 5,000
    sequences of 128 tokens take about a second.

    Examples
    --------
    >>> tokens = np.array([[1, 2, 3, 4, 5, 6], [7, 7, 7, 7, 7, 7], [1, 2, 3, 4, 5, 6]])
    >>> near_duplicates(tokens, np.array([10, 11, 12], dtype=np.uint64)).tolist()
    [10, 11, 10]
    """
    shingles = _token_shingles(tokens)
    clusters = np.arange(len(tokens))
    is_leader = np.ones(len(tokens), dtype=bool)
    for rows, leaders in _close_to_leaders(shingles, is_leader, progress=False):
        clusters = _merged(clusters, rows, leaders)
    for left, right in _close_to_followers(shingles, is_leader, clusters):
        clusters = _merged(clusters, left, right)
    _, first, inverse = np.unique(clusters, return_index=True, return_inverse=True)
    return ids[first[inverse]]


def near_duplicate_texts(texts: list[str], progress: bool = False) -> Bool[np.ndarray, "n_texts"]:
    """True where a text is a near-duplicate of an *earlier kept* one.

    Shingles are five words long and taken from the first 128 words.

    Examples
    --------
    >>> near_duplicate_texts(["one two three", "four five", "one two three"]).tolist()
    [False, False, True]
    """
    is_leader = np.ones(len(texts), dtype=bool)
    for _ in _close_to_leaders(_word_shingles(texts), is_leader, progress):
        pass
    return ~is_leader


def words_of(text: str) -> list[str]:
    """Words of a text, runs of punctuation among them.

    Examples
    --------
    >>> words_of("x, or y")
    ['x', ',', 'or', 'y']
    """
    return _WORD.findall(text)


def filter_note(n_ctx: int) -> str | None:
    """What a reader must know of the filter for windows of `n_ctx` tokens; None from 19 on.

    Examples
    --------
    >>> filter_note(128) is None
    True
    """
    if n_ctx >= INERT_BELOW:
        return None
    return (
        f"windows of {n_ctx} tokens are too short for the near-duplicate filter (shingles of "
        f"{SHINGLE} tokens): repeats that differ in a token in the middle are still in the sample"
    )


def _close_to_leaders(
    shingles: sparse.csr_array, is_leader: Bool[np.ndarray, "n"], progress: bool
) -> Iterator[tuple[Int[np.ndarray, "pairs"], Int[np.ndarray, "pairs"]]]:
    """Pairs of a row and an earlier leader that it resembles.

    A leader is a row that resembles no earlier leader; `is_leader`, all True at first, is set to
    False for the others on the way. No two leaders resemble each other.
    """
    n = len(is_leader)
    blocks: list[tuple[np.ndarray, sparse.csr_array]] = []
    for start in progress_bar(range(0, n, _BLOCK), desc="near-duplicates", disable=not progress):
        rows = np.arange(start, min(start + _BLOCK, n))
        block = shingles[rows]
        for leaders, of_leaders in blocks:
            left, right = _close(block, of_leaders)
            is_leader[rows[left]] = False
            yield rows[left], leaders[right]
        followers, leaders = _led_within(block, is_leader[rows])
        is_leader[rows[followers]] = False
        yield rows[followers], rows[leaders]
        kept = is_leader[rows]
        blocks.append((rows[kept], block[kept]))


def _led_within(
    block: sparse.csr_array, may_lead: Bool[np.ndarray, "rows"]
) -> tuple[Int[np.ndarray, "pairs"], Int[np.ndarray, "pairs"]]:
    """Pairs of a row and an earlier leader of the same block that it resembles.

    Rows that `may_lead` is False for resemble a leader of an earlier block.
    """
    leads = may_lead.copy()
    later, earlier = _close(block, block)
    order = np.lexsort((later, earlier))
    later = later[order]
    earlier = earlier[order]
    starts = np.searchsorted(earlier, np.arange(len(leads) + 1))
    is_pair = np.zeros(len(later), dtype=bool)
    for row in range(len(leads)):
        if leads[row]:
            pairs = slice(starts[row], starts[row + 1])
            is_pair[pairs] = later[pairs] > row
            leads[later[pairs][is_pair[pairs]]] = False
    return later[is_pair], earlier[is_pair]


def _close_to_followers(
    shingles: sparse.csr_array, is_leader: Bool[np.ndarray, "n"], clusters: Int[np.ndarray, "n"]
) -> Iterator[tuple[Int[np.ndarray, "pairs"], Int[np.ndarray, "pairs"]]]:
    """Pairs of a row that is no leader and any other that it resembles.

    Rows go in the order of their clusters, and blocks that lie in one cluster are not compared:
    where all resemble each other there is nothing left to do.
    """
    order = np.argsort(clusters, kind="stable")
    followers = order[~is_leader[order]]
    for start in range(0, len(followers), _BLOCK):
        rows = followers[start : start + _BLOCK]
        block = shingles[rows]
        for other in range(0, len(order), _BLOCK):
            columns = order[other : other + _BLOCK]
            ends = clusters[[rows[0], rows[-1], columns[0], columns[-1]]]
            if len(np.unique(ends)) == 1:
                continue
            left, right = _close(block, shingles[columns])
            yield rows[left], columns[right]


def _close(
    left: sparse.csr_array, right: sparse.csr_array
) -> tuple[Int[np.ndarray, "pairs"], Int[np.ndarray, "pairs"]]:
    """Row numbers of the pairs with a similarity of at least `JACCARD`."""
    shared = (left @ right.T).tocoo()
    n_left = np.diff(left.indptr)
    n_right = np.diff(right.indptr)
    rows, columns = shared.coords
    union = n_left[rows] + n_right[columns] - shared.data
    close = shared.data >= JACCARD * union
    return rows[close].astype(np.int64), columns[close].astype(np.int64)


def _merged(
    clusters: Int[np.ndarray, "n"], left: Int[np.ndarray, "pairs"], right: Int[np.ndarray, "pairs"]
) -> Int[np.ndarray, "n"]:
    """Cluster numbers after the clusters of each pair have become one."""
    from scipy import sparse  # only who looks for near-duplicates pays for its import
    from scipy.sparse.csgraph import connected_components

    differ = clusters[left] != clusters[right]
    if not differ.any():
        return clusters
    ends = (clusters[left[differ]], clusters[right[differ]])
    links = sparse.coo_array((np.ones(int(differ.sum()), bool), ends), shape=(len(clusters),) * 2)
    return connected_components(links, directed=False)[1].astype(np.int64)[clusters]


def _token_shingles(tokens: Int[np.ndarray, "n_seq n_ctx"]) -> sparse.csr_array:
    """Which sequence has which shingle, as ones in a matrix."""
    letters = np.unique(tokens, return_inverse=True)[1].reshape(tokens.shape)
    codes = letters
    for i in range(
        1, min(SHINGLE, tokens.shape[1])
    ):  # shingles by number, a token longer each time
        codes = codes[:, :-1] * (letters.max() + 1) + letters[:, i:]
        codes = np.unique(codes, return_inverse=True)[1].reshape(codes.shape)
    indptr = np.arange(len(codes) + 1) * codes.shape[1]
    return _incidence(codes.ravel(), indptr, int(codes.max()) + 1)


def _word_shingles(texts: list[str]) -> sparse.csr_array:
    """Which text has which shingle, as ones in a matrix."""
    numbers: dict[tuple[str, ...], int] = {}
    columns: list[int] = []
    lengths: list[int] = []
    for text in texts:
        words = words_of(text)[:WORDS]
        starts = range(max(1, len(words) - SHINGLE + 1))
        grams = {tuple(words[start : start + SHINGLE]) for start in starts}
        columns.extend(numbers.setdefault(gram, len(numbers)) for gram in grams)
        lengths.append(len(grams))
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return _incidence(np.asarray(columns, dtype=np.int64), indptr, max(1, len(numbers)))


def _incidence(
    columns: Int[np.ndarray, "entries"], indptr: Int[np.ndarray, "_"], n_columns: int
) -> sparse.csr_array:
    from scipy import sparse  # only who looks for near-duplicates pays for its import

    ones = np.ones(len(columns), dtype=np.float32)
    matrix = sparse.csr_array((ones, columns, indptr), shape=(len(indptr) - 1, n_columns))
    matrix.sum_duplicates()
    matrix.data[:] = 1
    return matrix

"""Words in which pages print what frames and parameters call by a name of the code."""

from __future__ import annotations

import pandas as pd

INEQUALITIES = {
    "hoeffding": "Hoeffding",
    "empirical_bernstein": "empirical Bernstein",
    "chernoff_kl": "Chernoff (kl)",
    "dirichlet": "Dirichlet",
    "betting": "betting",
}
"""Names of the keys of `saecert.statistics.inequalities.INEQUALITIES`."""
SYMBOLS = {"v_A": "joint loss", "s_A": "sharp loss", "R(f)": "model risk"}
"""Names of what kept frames call by its symbol."""


def worded(name: str) -> str:
    """A label as a page prints it: an inequality or a symbol in words, anything else as it is.

    Examples
    --------
    >>> worded("chernoff_kl"), worded("measured v_A, 2 of each"), worded("coins")
    ('Chernoff (kl)', 'measured joint loss, 2 of each', 'coins')
    """
    if name in INEQUALITIES:
        return INEQUALITIES[name]
    for symbol, words in SYMBOLS.items():
        name = name.replace(symbol, words)
    return name


def in_words(frame: pd.DataFrame) -> pd.DataFrame:
    """A copy whose texts, in cells and in the index, are `worded`; columns keep their names.

    Examples
    --------
    >>> in_words(pd.DataFrame({"inequality": ["dirichlet"], "n": [20]}))
      inequality   n
    0  Dirichlet  20
    """
    texts = [name for name in frame if not pd.api.types.is_numeric_dtype(frame[name])]
    changed = frame.assign(**{str(name): frame[name].map(_word) for name in texts})
    if isinstance(frame.index, pd.RangeIndex):
        return changed
    return changed.rename(index=_word)


def _word(value: object) -> object:
    return worded(value) if isinstance(value, str) else value

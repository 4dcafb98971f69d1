"""Sphinx extension: the sentence under a field is a sentence, also when it has a colon in it."""

from sphinx.application import Sphinx
from sphinx.ext.napoleon import GoogleDocstring, NumpyDocstring


def setup(app: Sphinx) -> dict[str, bool]:
    """Keep napoleon from reading "Losses: one a sequence" as a type and a description.

    No setting does.
    """
    GoogleDocstring._parse_attribute_docstring = NumpyDocstring._consume_to_end
    return {"parallel_read_safe": True}

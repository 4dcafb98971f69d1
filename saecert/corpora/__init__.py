"""Documents to sequences of tokens."""

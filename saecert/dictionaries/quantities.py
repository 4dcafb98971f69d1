"""What is measured of a dictionary in each sequence: names and ranges, read without torch."""

FIDELITY = {"explained variance": (0.0, 1.0), "cosine": (-1.0, 1.0), "relative error": (0.0, 1.0)}
"""What `saecert.dictionaries.fidelity.fidelity` returns, in this order, with its smallest and
largest possible value."""

RIVALS = ("SAE error", "low confidence")
"""What `saecert.dictionaries.rivals.rivals` returns, larger when stranger."""

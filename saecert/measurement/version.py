"""The number that says which measurements belong together; it needs no torch."""

MEASUREMENT_VERSION = 1
"""Raised whenever the code that measures may give other numbers.

What was kept under another one is not read.
"""

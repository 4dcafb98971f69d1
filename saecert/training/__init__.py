"""Recipes for language models and SAEs."""

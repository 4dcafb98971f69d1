"""How `docstring-6l`, the subject that ships with saecert, was trained: ``python -m saecert train`` in a clone."""

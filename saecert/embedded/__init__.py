"""`docstring-6l`: the small language model and SAEs that ship with saecert, and the code that trained them."""

"""Commands of the shell: each module adds one to the parser, and imports what it needs when run."""

"""What a command does when something goes wrong: a line or two, and no traceback unless asked."""

from __future__ import annotations

import argparse
import os
import re
import sys

FORESEEN = (OSError, ValueError, MemoryError, ImportError, RuntimeError)
"""Errors whose message says what is wrong; any other one is a fault of the program."""

_OPTIONS = {
    r"\bn_seq\b": "--n",
    r"\bn_discovery\b": "--n-discovery",
    r"\bn_ctx\b": "--n-ctx",
    r"\bpopulation_size\b": "--population-size",
    r"\ballow_bad_sae=True": "--allow-bad-sae",
    r"^corpus (?=')": "--text ",
    r"\bunknown subject\b": "unknown MODEL",
    r"^subject (?=')": "MODEL ",
    r"set sae\.cfg\.\S+ or pass sae=\{hook_name: \.\.\.\}": 'add "hook_name" to its cfg.json',
    r"pass sae=(\.\.\.)?": "say with --sae where they are",
    r"\bhooks=\['([^']*)'\]": r"--hook '\1'",
    r"\(hooks=\[\.\.\.\]\), halve it \(dtype=\S+\), or use another device": "(--hook), "
    "take a smaller model, or another --device",
    r"load them apart with hooks=\[\.\.\.\]": "name one with --hook",
    r"\bsae=(?=')": "--sae ",
    r"\bsae=": "--sae",
    r"\binequality='([^']*)'": r"--inequality \1",
    r"no text under ('[^']*')": r"no text under \1, say with --column where it is",
    r"\bdevice='([^']*)'": r"--device \1",
    r"\(losses\.take\(": "(in Python losses.take(",
    r"^(delta|alpha|inequality|tolerance|device|seed)\b": r"--\1",
}
"""How the library names a setting, and what it is called in the shell."""


def finish(options: argparse.Namespace) -> int:
    """Exit code of the command in `options`; what goes wrong is told on the standard error."""
    try:
        return options.command(options)
    except KeyboardInterrupt:
        print(f"interrupted{getattr(options, 'resumes', '')}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever reads has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        if getattr(options, "debug", False):
            raise
        print(told(error), file=sys.stderr)
        return 1


def told(error: Exception) -> str:
    """One or two lines about an error."""
    from saecert.untrusted import one_line

    if isinstance(error, FileNotFoundError) and error.filename is not None:
        return f"error: there is no file {one_line(ValueError(error.filename))}"
    message = in_shell_words(one_line(error))
    if isinstance(error, FORESEEN):
        return f"error: {message}"
    kind = type(error).__name__
    return f"error: unexpected {kind}: {message}\nthe same command with --debug shows where"


def in_shell_words(message: str) -> str:
    """A message of the library with the options of the shell for its settings.

    Examples
    --------
    >>> in_shell_words("n_seq takes a whole number of at least 2; got 1")
    '--n takes a whole number of at least 2; got 1'
    """
    for pattern, option in _OPTIONS.items():
        message = re.sub(pattern, option, message)
    return re.sub(r"\ballow=\(([^)]*)\)", _allowed, message)


def _allowed(names: re.Match[str]) -> str:
    """A tuple of checks as options, one each."""
    return " ".join(f"--allow {name}" for name in re.findall(r"[^\s,'\"]+", names[1]))

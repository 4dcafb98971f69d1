"""The parser of the command line: help with examples, and a wrong argument in two lines."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, NoReturn

Commands = argparse._SubParsersAction
"""To which every command is added."""


class Parser(argparse.ArgumentParser):
    """A parser that says what is wrong and where help is, without listing every option.

    Every command has the option ``--debug``: parsers of commands are of this class too.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        text = "on an error show where in the code it arose"
        self.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=text)

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """As in argparse, but what is unknown ends the command that does not know it."""
        options, unknown = super().parse_known_args(args, namespace)
        if unknown:
            known = get_close_matches(unknown[0].split("=")[0], self._option_string_actions, 1)
            hint = f" (did you mean {known[0]}?)" if known else ""
            self.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
        return options, unknown

    def error(self, message: str) -> NoReturn:
        """End with exit code 2 and two lines."""
        self.exit(2, f"error: {message}\nsee: {self.prog} --help\n")


def add_command(
    commands: Commands, name: str, text: str, examples: str = ""
) -> argparse.ArgumentParser:
    """The parser of a new command; `text` says what it does, `examples` stand under its help."""
    shape = argparse.RawDescriptionHelpFormatter
    description = f"{text[0].upper()}{text[1:]}."
    epilog = f"examples:\n{examples}" if examples else None
    return commands.add_parser(
        name, help=text, description=description, epilog=epilog, formatter_class=shape
    )

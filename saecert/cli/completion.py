"""``saecert completion bash | zsh``: a script that completes commands, options and their values.

It is made from the parser itself, so that it cannot be out of date. shtab and argcomplete do the
same; either would be one more pinned package that everybody installs, for some thirty lines.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from saecert.cli.parsing import Commands, add_command

SHELLS = ("bash", "zsh")
EXAMPLES = """\
  eval "$(saecert completion bash)"        # for this shell
  saecert completion bash >> ~/.bashrc     # for every one
  saecert completion zsh >> ~/.zshrc
"""
_NO_FILES = ("HOOK", "NAME", "CHECK", "PROXY", "i/n", "name=value")
"""What options take that is neither listed nor a file."""
_PLACES = ("first", "middle", "last")
_NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
_SCRIPT = """\
_saecert() {{
    local word="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD-1]}}"
    local at="" known="" files="" i
    for ((i = 1; i < COMP_CWORD; i++)); do
        case "$at ${{COMP_WORDS[i]}}" in
        {paths}) at="${{at:+$at }}${{COMP_WORDS[i]}}" ;;
        esac
    done
    case "$at:$before" in
{values}
    *) case "$at" in
{options}
        esac ;;
    esac
    COMPREPLY=($(compgen -W "$known" -- "$word"))
    if [ -n "$files" ] && [[ "$word" != -* ]]; then
        COMPREPLY+=($(compgen -f -- "$word"))
    fi
}}
complete -o filenames -F _saecert saecert
"""
_ZSH = "autoload -U +X compinit bashcompinit && compinit && bashcompinit\n"


def add_completion(commands: Commands, parser: argparse.ArgumentParser) -> None:
    """Add the command to a parser; the script completes what that parser takes when it is run."""
    text = "print a script that lets the shell complete saecert with the tab key"
    command = add_command(commands, "completion", text, EXAMPLES)
    command.add_argument("shell", choices=SHELLS, help="for which shell")

    def tell(options: argparse.Namespace) -> int:
        print(script(parser, options.shell), end="")
        return 0

    command.set_defaults(command=tell, resumes="")


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """The script for a shell of `SHELLS`."""
    commands = _commands(parser)
    known = _known()
    values = []
    options = []
    for name, command in commands.items():
        options.append(f"        {shlex.quote(name)}) {_offer(*_words(name, command, known))} ;;")
        for action in command._actions:
            if not action.option_strings or action.nargs == 0:
                continue
            patterns = "|".join(shlex.quote(f"{name}:{each}") for each in action.option_strings)
            values.append(f"    {patterns}) {_offer(*_taken(name, action, known))} ;;")
    inner = [" ".join(["", *name.split()][-2:]) for name in commands if name]
    body = _SCRIPT.format(
        values="\n".join(values),
        options="\n".join(options),
        paths="|".join(map(shlex.quote, inner)),
    )
    return (_ZSH if shell == "zsh" else "") + body


def _known() -> dict[str, tuple[tuple[str, ...], bool]]:
    """Values of options and positional arguments that the parser does not list, and whether files
    are taken, too; by name, or by command and name."""
    from saecert.reporting.settings import ENDLESS, INSTALLED, PAPER, RANKINGS
    from saecert.statistics.inequalities import INEQUALITIES
    from saecert.subjects.listing import SHIPPED

    pages = sorted(path.stem for path in _NOTEBOOKS.glob("[0-9]*.py"))
    subjects = ((*SHIPPED, *PAPER), True)
    quantities = ("gap", "mismatch", "pool_gap", "proxy", "bound", "sharp", "total_variation")
    return {
        "--hook": (_PLACES, False),
        "measure --hooks": (("all",), False),
        "--device": (("cpu", "cuda", "mps"), False),
        "--dtype": (("float32", "bfloat16"), False),
        "--engine": (("local", "ray"), False),
        "--quantity": (quantities, False),
        "--inequality": (tuple(INEQUALITIES), False),
        "--rank": (RANKINGS, False),
        "--text": ((*INSTALLED, *ENDLESS), True),
        "--corpus": ((*INSTALLED, *ENDLESS), True),
        "--subject": subjects,
        "model": subjects,
        "notebook": (tuple(pages), False),
    }


def _offer(known: Sequence[str], files: bool) -> str:
    """The assignment of what is offered."""
    return f"known={shlex.quote(' '.join(known))}{' files=1' if files else ''}"


def _taken(
    name: str, action: argparse.Action, known: Mapping[str, tuple[tuple[str, ...], bool]]
) -> tuple[tuple[str, ...], bool]:
    """The values that an argument of a command takes, and whether they may be files."""
    if action.choices:
        return tuple(map(str, action.choices)), False
    argument = action.option_strings[0] if action.option_strings else action.dest
    free = action.type is None and action.metavar not in _NO_FILES
    return known.get(f"{name} {argument}") or known.get(argument) or ((), free)


def _commands(
    parser: argparse.ArgumentParser, above: str = ""
) -> dict[str, argparse.ArgumentParser]:
    """A parser and those of its commands, and of theirs, by their words."""
    found = {above: parser}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, command in action.choices.items():
                found |= _commands(command, f"{above} {name}".strip())
    return found


def _words(
    name: str, command: argparse.ArgumentParser, known: Mapping[str, tuple[tuple[str, ...], bool]]
) -> tuple[list[str], bool]:
    """What a command takes where no value is due: its options, and positional arguments."""
    words: list[str] = []
    files = False
    for action in command._actions:
        if action.option_strings:
            words += action.option_strings
        else:
            more, also_files = _taken(name, action, known)
            words += more
            files = files or also_files
    return words, files

"""``saecert completion bash | zsh``: a script that completes commands, options and their values.

It is made from the parser itself, so that it cannot be out of date. shtab and argcomplete do the
same; either would be one more pinned package that everybody installs, for some thirty lines.
"""

from __future__ import annotations

import argparse
import shlex

from saecert.cli.parsing import Commands, add_command

SHELLS = ("bash", "zsh")
EXAMPLES = """\
  eval "$(saecert completion bash)"        # for this shell
  saecert completion bash >> ~/.bashrc     # for every one
  saecert completion zsh >> ~/.zshrc
"""
_VALUES = {
    "--hook": ("first", "middle", "last"),
    "--device": ("cpu", "cuda", "mps"),
    "--quantity": ("gap", "mismatch", "pool_gap", "proxy", "bound", "sharp"),
    "--inequality": ("dirichlet", "betting"),
    "--text": ("docstrings", "python-source"),
}
"""Values of options that take others too."""
_SUBJECTS = {"certify": ("docstring-6l", "smollm2-135m", "gpt2-small", "gemma-2b", "llama-3.1-8b")}
"""First words behind a command."""
_SCRIPT = """\
_saecert() {{
    local word="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD-1]}}" words=""
    case "${{COMP_WORDS[1]}}:$before" in
{values}
    *) case "${{COMP_WORDS[1]}}" in
{options}
        esac ;;
    esac
    [ "$COMP_CWORD" -eq 1 ] && words={commands}
    COMPREPLY=($(compgen -W "$words" -- "$word"))
    if [ "$COMP_CWORD" -gt 1 ] && [[ "$word" != -* ]]; then
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
    values = []
    options = []
    for name, command in commands.items():
        taken = [*_SUBJECTS.get(name, ()), *_words(command)]
        options.append(f"        {name}) words={shlex.quote(' '.join(taken))} ;;")
        for action in command._actions:
            known = action.choices or _VALUES.get(next(iter(action.option_strings), ""))
            if known and action.option_strings:
                patterns = "|".join(f"{name}:{option}" for option in action.option_strings)
                values.append(f"    {patterns}) words={shlex.quote(' '.join(map(str, known)))} ;;")
    names = shlex.quote(" ".join(commands))
    body = _SCRIPT.format(values="\n".join(values), options="\n".join(options), commands=names)
    return (_ZSH if shell == "zsh" else "") + body


def _commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The commands of a parser by name."""
    found: dict[str, argparse.ArgumentParser] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found |= action.choices
    return found


def _words(command: argparse.ArgumentParser) -> list[str]:
    """Options of a command, and the words that its positional arguments take."""
    words: list[str] = []
    for action in command._actions:
        if action.option_strings:
            words += action.option_strings
        elif action.choices:
            words += map(str, action.choices)
    return words

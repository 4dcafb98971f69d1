"""The one entry point: ``python -m saecert run | verify | train``."""

from __future__ import annotations

import argparse
import sys


def main(arguments: list[str] | None = None) -> int:
    """Exit code of the command in `arguments`; each command imports only what it needs."""
    options = _parser().parse_args(arguments)
    try:
        return options.command(options)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m saecert", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    _add_run(commands)
    _add_verify(commands)
    _add_train(commands)
    return parser


def _add_run(commands: argparse._SubParsersAction) -> None:
    run = commands.add_parser(
        "run", help="execute notebooks at other parameters or on another subject"
    )
    add = run.add_argument
    add("notebook", nargs="*", help="name of a notebook, such as 02_four_terms")
    add("--all", action="store_true", help="every notebook")
    add("--subject", metavar="PATH", help="shipped subject, or folder of a model")
    add(
        "-p",
        dest="settings",
        action="append",
        default=[],
        metavar="name=value",
        help="a parameter; may be repeated",
    )
    add(
        "--out",
        metavar="DIR",
        default="",
        help="where executed notebooks, certificates and losses go (runs/<subject>)",
    )
    add(
        "--force",
        action="store_true",
        help="run again what was finished before with the same parameters",
    )
    add(
        "--jobs",
        type=int,
        default=0,
        metavar="N",
        help="pages executed side by side (two where measurements are kept, else one)",
    )
    add("--pages-only", action="store_true", help="save no certificates and losses")
    run.set_defaults(command=_run)


def _add_verify(commands: argparse._SubParsersAction) -> None:
    verify = commands.add_parser("verify", help="recompute a certificate from the losses behind it")
    verify.add_argument("certificate", help="JSON file")
    verify.add_argument("losses", help="NPZ file")
    verify.set_defaults(command=_verify)


def _add_train(commands: argparse._SubParsersAction) -> None:
    train = commands.add_parser(
        "train", help="rebuild the embedded language model and its SAEs from nothing"
    )
    train.add_argument(
        "--work",
        metavar="DIR",
        default="runs/training",
        help="where it works, and resumes if interrupted (%(default)s)",
    )
    train.set_defaults(command=_train)


def _run(options: argparse.Namespace) -> int:
    from saecert.reporting.runner import RunError, run_notebooks

    try:
        if options.all == bool(options.notebook):
            raise RunError("name the notebooks to run, or say --all")
        settings = dict(_pair(text) for text in options.settings)
        if options.subject is not None:
            settings["subject"] = options.subject
        paths = run_notebooks(
            options.notebook,
            settings,
            out=options.out,
            force=options.force,
            jobs=options.jobs,
            pages_only=options.pages_only,
        )
    except RunError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"written to {paths[0] if len(paths) == 1 else paths[0].parent}")
    return 0


def _pair(text: str) -> tuple[str, str]:
    """Name and value of a parameter."""
    from saecert.reporting.parameters import RunError

    name, sign, value = text.partition("=")
    if not sign:
        raise RunError(f"-p takes name=value; got {text!r}")
    return name, value


def _verify(options: argparse.Namespace) -> int:
    from saecert.certificates.certificate import Certificate
    from saecert.records import SequenceLosses

    try:
        certificate = Certificate.load(options.certificate)
        agreeing = certificate.verify(SequenceLosses.load(options.losses))
    except (OSError, ValueError) as error:
        print(f"not verified: {error}", file=sys.stderr)
        return 1
    print(certificate)
    print(f"verified: all {agreeing} values of {options.certificate} follow from {options.losses}")
    return 0


def _train(options: argparse.Namespace) -> int:
    from saecert.training.card import main as train

    print(f"written to {train(options.work)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

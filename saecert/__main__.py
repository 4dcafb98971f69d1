"""Certify a frozen language model through its SAE; python -m saecert is the same."""

from __future__ import annotations

import argparse
import sys

from saecert.cli.certify import add_certify
from saecert.cli.compare import add_compare
from saecert.cli.completion import add_completion
from saecert.cli.doctor import add_doctor
from saecert.cli.errors import finish
from saecert.cli.outputs import losses_beside
from saecert.cli.parsing import Parser
from saecert.measurement.commands import add_measure, add_merge
from saecert.training.command_line import add_train_baselines, add_train_sae


def main(arguments: list[str] | None = None) -> int:
    """Exit code of the command in `arguments`; each command imports only what it needs."""
    return finish(_parser().parse_args(arguments))


def _parser() -> argparse.ArgumentParser:
    start = "begin with: saecert certify docstring-6l, or saecert certify --help for examples"
    parser = Parser(prog="saecert", description=__doc__, epilog=start)
    commands = parser.add_subparsers(required=True, metavar="command")
    add_certify(commands)
    add_compare(commands)
    add_doctor(commands)
    add_completion(commands, parser)
    _add_run(commands)
    _add_verify(commands)
    _add_train(commands)
    add_measure(commands)
    add_merge(commands)
    return parser


def _add_run(commands: argparse._SubParsersAction) -> None:
    run = commands.add_parser(
        "run", help="execute notebooks at other parameters or on another subject"
    )
    add = run.add_argument
    add("notebook", nargs="*", help="name or number of a notebook, such as 02_four_terms or 02")
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
    run.set_defaults(command=_run, resumes=": the same command goes on where it was")


def _add_verify(commands: argparse._SubParsersAction) -> None:
    verify = commands.add_parser("verify", help="recompute a certificate from the losses behind it")
    verify.add_argument("certificate", help="JSON file")
    verify.add_argument("losses", nargs="?", help="NPZ file (of the same name, beside it)")
    verify.set_defaults(command=_verify, resumes="")


def _add_train(commands: argparse._SubParsersAction) -> None:
    train = commands.add_parser(
        "train", help="rebuild the embedded language model and its SAEs, or train SAEs for another"
    )
    train.add_argument(
        "--work",
        metavar="DIR",
        default="runs/training",
        help="where it works, and resumes if interrupted (%(default)s)",
    )
    train.set_defaults(command=_train, resumes=": the same command goes on where it was")
    what = train.add_subparsers(metavar="sae | baselines")
    add_train_sae(what.add_parser("sae", help="SAEs at hook points of any subject"))
    text = "random baselines of SAEs beside their trained twins, for any subject"
    add_train_baselines(what.add_parser("baselines", help=text))


def _run(options: argparse.Namespace) -> int:
    from saecert.reporting.runner import RunError, run_notebooks

    try:
        if options.all and options.notebook:
            raise RunError("both notebooks and --all were given: name the notebooks, or say --all")
        if not options.all and not options.notebook:
            raise RunError("name the notebooks to run, or say --all")
        settings = dict(_pair(text) for text in options.settings)
        subject = settings.get("subject") if options.subject is None else options.subject
        if subject is not None and settings.setdefault("subject", subject) != subject:
            raise RunError("--subject and -p subject= name two subjects: give one of them")
        paths = run_notebooks(
            options.notebook,
            settings,
            out=options.out,
            force=options.force,
            jobs=options.jobs,
            pages_only=options.pages_only,
        )
    except RunError as error:
        _raise_if_asked(options)
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"written to {paths[0] if len(paths) == 1 else paths[0].parent}")
    return 0


def _raise_if_asked(options: argparse.Namespace) -> None:
    """Raise the error that is being handled again if ``--debug`` asks where it arose."""
    if getattr(options, "debug", False):
        raise


def _pair(text: str) -> tuple[str, str]:
    """Name and value of a parameter."""
    from saecert.reporting.parameters import RunError

    name, sign, value = text.partition("=")
    if not (sign and name.strip()):
        raise RunError(f"-p takes name=value; got {text!r}")
    return name, value


def _verify(options: argparse.Namespace) -> int:
    from saecert.certificates.certificate import Certificate
    from saecert.records import SequenceLosses
    from saecert.untrusted import one_line

    losses = options.losses or losses_beside(options.certificate)
    try:
        certificate = Certificate.load(options.certificate)
        agreeing = certificate.verify(SequenceLosses.load(losses))
    except FileNotFoundError as error:
        _raise_if_asked(options)
        what = "give the certificate's JSON file and the NPZ file of its losses"
        print(f"not verified: there is no file {error.filename}: {what}", file=sys.stderr)
        return 1
    except (OSError, ValueError, MemoryError) as error:
        _raise_if_asked(options)
        print(f"not verified: {one_line(error)}", file=sys.stderr)
        return 1
    print(certificate)
    print(f"verified: all {agreeing} values of {options.certificate} follow from {losses}")
    return 0


def _train(options: argparse.Namespace) -> int:
    from saecert.training.commands import train_subject

    try:
        print(f"written to {train_subject(options.work)}")
    except (OSError, ValueError, MemoryError) as error:
        _raise_if_asked(options)
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

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
    run = commands.add_parser(
        "run", help="execute notebooks at other parameters or on another subject"
    )
    run.add_argument("notebook", nargs="*", help="name of a notebook, such as 02_four_terms")
    run.add_argument("--all", action="store_true", help="every notebook")
    run.add_argument("--subject", metavar="PATH", help="shipped subject, or folder of a model")
    run.add_argument(
        "-p",
        dest="settings",
        action="append",
        default=[],
        metavar="name=value",
        help="a parameter; may be repeated",
    )
    run.add_argument(
        "--out", metavar="DIR", default="", help="where executed notebooks go (runs/<subject>)"
    )
    run.add_argument(
        "--force",
        action="store_true",
        help="run again what was finished before with the same parameters",
    )
    run.set_defaults(command=_run)
    verify = commands.add_parser("verify", help="recompute a certificate from the losses behind it")
    verify.add_argument("certificate", help="JSON file")
    verify.add_argument("losses", help="NPZ file")
    verify.set_defaults(command=_verify)
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
    return parser


def _run(options: argparse.Namespace) -> int:
    from saecert.reporting.run import RunError, run_notebooks

    try:
        if options.all == bool(options.notebook):
            raise RunError("name the notebooks to run, or say --all")
        subject = {"subject": options.subject} if options.subject else {}
        settings = dict(_pair(text) for text in options.settings) | subject
        paths = run_notebooks(options.notebook, settings, out=options.out, force=options.force)
        print(f"written to {paths[0] if len(paths) == 1 else paths[0].parent}")
    except RunError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _pair(text: str) -> tuple[str, str]:
    from saecert.reporting.run import RunError

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
    except (OSError, ValueError, MemoryError) as error:
        print(f"not verified: {_one_line(error)}", file=sys.stderr)
        return 1
    print(
        f"{certificate}\nverified: all {agreeing} values of {options.certificate} "
        f"follow from {options.losses}"
    )
    return 0


def _one_line(error: Exception) -> str:
    """An error as a line that a terminal can show: files from anybody are quoted in it."""
    words = " ".join((str(error) or type(error).__name__).split())
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in words)
    return shown if len(shown) <= 1000 else f"{shown[:1000]}..."


def _train(options: argparse.Namespace) -> int:
    from saecert.training.card import main as train

    print(f"written to {train(options.work)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""``saecert compare A.json B.json``: which of two SAEs, layers or pools leaves less behind."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from saecert.cli.outputs import losses_beside
from saecert.cli.parsing import Commands, add_command

if TYPE_CHECKING:
    from saecert.certificates.certificate import Certificate
    from saecert.certificates.comparison import Comparison
    from saecert.records import SequenceLosses

EXAMPLES = """\
  saecert certify docstring-6l --hook first --json first.json
  saecert certify docstring-6l --hook last --json last.json
  saecert compare first.json last.json
  saecert compare first.json last.json --quantity pool_gap --delta 0.01
"""


def add_compare(commands: Commands) -> None:
    """Add the command to a parser."""
    text = "compare two certificates of one text, by their losses"
    command = add_command(commands, "compare", text, EXAMPLES)
    add = command.add_argument
    add("certificates", nargs=2, metavar="JSON", help="what certify --json wrote, twice")
    text = "the losses behind them, in this order (.npz beside each)"
    add("--losses", nargs=2, metavar="NPZ", help=text)
    text = "gap, mismatch, pool_gap, proxy, bound, sharp, total_variation ... (%(default)s)"
    add("--quantity", default="gap", metavar="NAME", help=text)
    text = "how often such a statement may be wrong (%(default)s)"
    add("--delta", type=float, default=0.05, metavar="X", help=text)
    command.set_defaults(command=compare_certificates, resumes="")


def compare_certificates(options: argparse.Namespace) -> int:
    """Exit code 0, when the comparison is printed; both certificates are verified first."""
    from saecert.certificates.comparison import compare

    places = options.losses or [losses_beside(path) for path in options.certificates]
    pairs = zip(options.certificates, places, strict=True)
    (cert_a, losses_a), (cert_b, losses_b) = [_verified(path, str(place)) for path, place in pairs]
    both = (losses_a, losses_b)
    compared = compare(cert_a, cert_b, both, quantity=options.quantity, delta=options.delta)
    print(compared)
    print(reading(compared, options.certificates))
    return 0


def reading(compared: Comparison, paths: list[str]) -> str:
    """What a comparison means, in a sentence; `paths` name the two."""
    names = dict(zip("ab", paths, strict=True))
    if compared.smaller is None:
        return (
            "Neither is shown to be smaller: zero is between the limits. More sequences may tell "
            "them apart."
        )
    return (
        f"{names[compared.smaller]} is smaller on average over the text sampled, not on each "
        "sequence. Another comparison spends a delta of its own."
    )


def _verified(path: str, place: str) -> tuple[Certificate, SequenceLosses]:
    """A certificate that follows from its losses, and these."""
    from saecert.certificates.certificate import Certificate
    from saecert.records import SequenceLosses

    certificate = Certificate.load(path)
    losses = SequenceLosses.load(place)
    try:
        certificate.verify(losses)
    except ValueError as error:
        raise ValueError(f"{path} does not follow from {place}: {error}") from error
    return certificate, losses

"""``saecert certify MODEL``: measure, certify, say what it means, and write it down."""

from __future__ import annotations

import argparse
import shlex
from typing import TYPE_CHECKING, Any

from saecert.cli.outputs import check_outputs, losses_beside
from saecert.cli.parsing import Commands, add_command
from saecert.cli.stages import Stages

if TYPE_CHECKING:
    from saecert.certificates.certificate import Certificate
    from saecert.records import SequenceLosses
    from saecert.reporting.study import Study

EXAMPLES = """\
  saecert certify docstring-6l
  saecert certify docstring-6l --hook last --n 500 --html report.html
  saecert certify ./my-model --sae ./my-sae --text my-texts.jsonl --json out.json
  saecert certify gpt2-small --hook blocks.6.hook_resid_pre --text texts.txt --device cuda
"""
_TEXTS = {
    "sae": ("SAE", "folder, release/id of sae_lens or hf:... (the model's own, under saes/)"),
    "text": ("FILE", ".txt, .jsonl, .csv, .parquet ..., hf:... or 'docstrings'; a shipped model "
     "has its own"),
    "hook": ("HOOK", "hook point, or first, middle, last (middle)"),
    "column": ("NAME", "where JSON objects and tables of FILE hold the text (text)"),
    "device": ("DEVICE", "cpu, cuda, cuda:1 or mps (cpu)"),
}  # fmt: skip
_DEFAULTS = {"column": "text", "device": "cpu"}
_COUNTS = {
    "n": (1000, "certification sequences; 0: all (%(default)s)"),
    "n-discovery": (0, "sequences on which the pool is chosen; 0: all (%(default)s)"),
    "n-ctx": (0, "tokens a sequence; 0: the model's context, at most 128 (%(default)s)"),
    "seed": (0, "of the order in which sequences are read (%(default)s)"),
}
_NUMBERS = {
    "delta": (0.05, "how often such a statement may be wrong (%(default)s)"),
    "alpha": (0.5, "weight of the uniform distribution in every predictor (%(default)s)"),
    "tolerance": (0.1, "largest mean mismatch of the pool on discovery, bits (%(default)s)"),
}
_METHODS = ("fixed", "nested", "in_sample")


def add_certify(commands: Commands) -> None:
    """Add the command to a parser."""
    command = add_command(
        commands, "certify", "certify a model through its SAE, and say what that means", EXAMPLES
    )
    add = command.add_argument
    add("model", metavar="MODEL", help="docstring-6l, gpt2-small, ..., a folder or a GGUF file")
    for name, (metavar, text) in _TEXTS.items():
        add(f"--{name}", default=_DEFAULTS.get(name, ""), metavar=metavar, help=text)
    for name, (count, text) in _COUNTS.items():
        add(f"--{name}", type=int, default=count, metavar="N", help=text)
    for name, (value, text) in _NUMBERS.items():
        add(f"--{name}", type=float, default=value, metavar="X", help=text)
    add("--inequality", default="dirichlet", metavar="NAME", help="such as betting (%(default)s)")
    add("--method", choices=_METHODS, default="fixed", help="how the pool is chosen (%(default)s)")
    text = "length of the list sampled: statements are about that list (with betting)"
    add("--population-size", type=int, metavar="N", help=text)
    text = "a check that may find something, such as near_duplicates; may be repeated"
    add("--allow", action="append", default=[], metavar="CHECK", help=text)
    add("--allow-bad-sae", action="store_true", help="measure an SAE that fails its check")
    add("--json", metavar="FILE", help="write the certificate, and its losses beside it (.npz)")
    add("--html", metavar="FILE", help="write a report of one page with figures")
    add("--quiet", action="store_true", help="print the certificate only")
    command.set_defaults(
        command=certify_model, resumes=": the same command goes on where it was measuring"
    )


def certify_model(options: argparse.Namespace) -> int:
    """Exit code 0, when everything that was asked for is printed and written."""
    from saecert.certificates.meaning import meaning

    check_outputs(options.json, options.html, (options.text, options.model))
    study = _study(options)
    stages = Stages(options.quiet)
    with stages.working():
        losses = _losses(study, options.alpha, stages)
    stages.say(f"certifying {len(losses)} sequences")
    certificate = _certificate(losses, options)
    print(certificate)  # first: whatever becomes of the files, it was measured
    if not options.quiet:
        print(f"\n{meaning(certificate)}")
    write(certificate, losses, options.json, options.html, stages)
    return 0


def write(
    certificate: Certificate,
    losses: SequenceLosses,
    json: str | None,
    html: str | None,
    stages: Stages,
) -> None:
    """Write the certificate with its losses, and the report, where they are asked for."""
    if json is not None:
        beside = losses_beside(json)
        certificate.save(json)
        losses.save(beside)
        again = f"saecert verify {shlex.quote(json)}"
        stages.say(f"written to {json} and {beside}; recompute: {again}")
    if html is not None:
        from saecert.reporting.report import save_report

        save_report(certificate, losses, html)
        stages.say(f"written to {html}")


def _study(options: argparse.Namespace) -> Study:
    """What is measured; every setting is looked at first."""
    from saecert.certificates.checks import check_names
    from saecert.reporting.settings import check_settings, hook_list
    from saecert.reporting.study import open_study
    from saecert.statistics.finite import finite_upper

    names = ("delta", "alpha", "tolerance", "inequality", "seed")
    check_settings({name: getattr(options, name) for name in names})
    check_names(options.allow)
    if options.population_size is not None:
        finite_upper(options.inequality, options.population_size)
    if len(hook_list(options.hook)) > 1 or options.hook == "all":
        raise ValueError(f"--hook takes one hook point, got '{options.hook}': certify one by one")
    return open_study(
        options.model,
        options.sae,
        _text(options),
        options.hook,
        options.n,
        options.n_discovery,
        options.device,
        options.allow_bad_sae,
        n_ctx=options.n_ctx,
        column=options.column,
    )


def _text(options: argparse.Namespace) -> str:
    """The text: a shipped model has one of its own, for another one it must be said."""
    from saecert.reporting.settings import check_settings
    from saecert.subjects.listing import SHIPPED

    if options.text:
        return options.text
    if options.model in SHIPPED:
        return "docstrings"
    check_settings({"subject": options.model, "sae": options.sae})
    raise ValueError(
        "say with --text what the certificate shall be about: a file with one document a line "
        '(.txt) or an object with "text" a line (.jsonl), text that the SAE was not trained on'
    )


def _losses(study: Study, alpha: float, stages: Stages) -> SequenceLosses:
    """Losses at one smoothing weight, each step told."""
    if study.is_kept(alphas=[alpha]):
        stages.say(f"reading what is kept of {study.settings['subject']} at {study.hook_name}")
        return study.losses(alphas=[alpha])
    stages.say(f"loading {study.settings['subject']}")
    hook_name = study.hook_name
    stages.say(f"reading '{study.settings['corpus']}'")
    sample = study.sample
    if sample.n_shared:
        stages.say(f"left out {sample.n_shared} sequences that the discovery split has as well")
    discovery = study.discovery
    n_discovery = 0 if discovery is None else len(discovery)
    stages.say(
        f"measuring at {hook_name}: {n_discovery} discovery sequences to choose on, then "
        f"{len(sample)} to certify, {sample.n_ctx} tokens each"
    )
    return study.losses(alphas=[alpha])


def _certificate(losses: SequenceLosses, options: argparse.Namespace) -> Certificate:
    from saecert.certificates.certificate import certify

    same = ("method", "delta", "alpha", "inequality", "tolerance", "allow", "seed")
    settings: dict[str, Any] = {name: getattr(options, name) for name in same}
    if options.population_size is not None:
        settings["population_size"] = options.population_size
    return certify(losses, **settings)

"""What settings and parameters may be, checked before anything is loaded (no torch)."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from saecert.corpora.docstrings import SPLITS
from saecert.statistics.inequalities import INEQUALITIES
from saecert.subjects.listing import SHIPPED, shipped_hooks

INSTALLED = ("docstrings", "python-source", "docstrings-fresh", "docstrings-old")
"""Sources of text that come with the installed packages."""
ENDLESS = ("random-tokens", "model-samples")
"""Sources that are drawn, and have no end."""
RANKINGS = ("frequency", "energy", "attribution")
"""What latents may be ranked by."""
PAPER = ("gpt2-small", "gemma-2b", "llama-3.1-8b", "llama-3.1-8b-32x", "llama-3-8b")
"""Subjects of the paper, which are loaded from the hub."""
PLACES = ("first", "middle", "last")
"""Words for a hook point among those that have an SAE."""
ALL = "all"
"""The word for all of them."""
DEVICES = re.compile(r"(cpu|mps|cuda)(:\d+)?")


class SettingsError(ValueError):
    """A setting that cannot be what it is; the message says what it may be."""


def check_settings(settings: Mapping[str, Any]) -> None:
    """Nothing, if every setting of a known name has a value that it may have.

    Takes well under a second: no model, no SAE and no text is read.

    Raises
    ------
    SettingsError
        Names the setting, its value and what is allowed.
    """
    for name, value in settings.items():
        check = _CHECKS.get(name)
        if check is not None:
            check(name, value)
    if "subject" in settings:
        _check_saes(settings["subject"], settings.get("sae", ""))
    hook_name = settings.get("hook_name", settings.get("hooks", ""))
    check_hooks(settings.get("subject", ""), settings.get("sae", ""), hook_name)
    for name in ("hook_a", "hook_b"):
        check_hooks(settings.get("subject", ""), settings.get("sae", ""), settings.get(name, ""))


def check_hooks(subject: Any, sae: Any, hook_name: Any) -> None:
    """Nothing, if the hook points named have an SAE, as far as that is known beforehand."""
    known = listed_hooks(str(subject or ""), str(sae or ""))
    words = (*PLACES, ALL)
    unknown = [name for name in hook_list(hook_name) if name not in (*known, *words)]
    if known and unknown:
        raise SettingsError(
            f"no SAE at '{unknown[0]}' for '{subject}'; there are SAEs at {', '.join(known)}"
        )


def hook_list(hook_name: str | Sequence[str]) -> tuple[str, ...]:
    """Hook points in a setting: a name, several separated by commas, or a sequence of names."""
    names = hook_name.split(",") if isinstance(hook_name, str) else hook_name
    return tuple(dict.fromkeys(name.strip() for name in names if name.strip()))


def listed_hooks(subject: str, sae: str = "") -> tuple[str, ...]:
    """Hook points with an SAE, in the order of loading; empty if only loading can tell."""
    return shipped_hooks(subject) if not sae and subject in SHIPPED else ()


def _check_model(name: str, value: Any) -> None:
    _check_text(name, value)
    if not str(value).strip():
        known = ", ".join((*SHIPPED, *PAPER))
        raise SettingsError(f"{name} is empty: give a model folder, or one of {known}")
    _check_subject(name, value)


def _check_subject(name: str, value: Any) -> None:
    _check_text(name, value)
    hub = value in PAPER or value.startswith("hf:")
    if not value or hub or value in SHIPPED:
        return
    folder = Path(value)
    if folder.suffix == ".gguf" and folder.is_file():
        return
    if not folder.is_dir():
        known = ", ".join((*SHIPPED, *PAPER))
        raise SettingsError(
            f"unknown {name} '{value}': no folder of that name, and none of {known}"
        )
    if not (folder / "config.json").is_file() and not any(folder.glob("*.gguf")):
        raise SettingsError(f"{name} '{value}' is no model folder: it has no config.json")


def _check_saes(subject: Any, sae: Any) -> None:
    """Refuse a model folder without SAEs where none are named elsewhere."""
    folder = Path(str(subject or ""))
    local = bool(subject) and (folder / "config.json").is_file()
    if local and not sae and not any((folder / "saes").glob("*/")):
        raise SettingsError(f"'{subject}' has no SAEs under saes/: say with sae= where they are")


def _check_corpus(name: str, value: Any) -> None:
    _check_text(name, value)
    known = (*INSTALLED, *ENDLESS)
    if value in known or value.startswith("hf:"):
        return
    path = Path(value)
    if not path.exists():
        raise SettingsError(f"{name} '{value}': no such file, and none of {', '.join(known)}, hf:")
    if path.is_dir():
        raise SettingsError(f"{name} '{value}' is a folder; give one file of documents")


def _check_corpus_if_any(name: str, value: Any) -> None:
    if value != "":
        _check_corpus(name, value)


def _check_text(name: str, value: Any) -> None:
    if not isinstance(value, (str, Path)):
        raise SettingsError(f"{name} takes text, got {value!r}")
    if any(ord(character) < 32 for character in str(value)):
        raise SettingsError(f"{name} has a control character in it: {str(value)!r}")


def _check_device(name: str, value: Any) -> None:
    if not DEVICES.fullmatch(str(value)):
        raise SettingsError(f"{name} takes 'cpu', 'cuda', 'cuda:1' or 'mps', got {value!r}")


def _open_interval(name: str, value: Any) -> None:
    if not (_is_number(value) and 0 < value < 1):
        raise SettingsError(f"{name} must lie strictly between 0 and 1, got {value!r}")


def _share(name: str, value: Any) -> None:
    if not (_is_number(value) and 0 < value <= 1):
        raise SettingsError(f"{name} must lie above 0 and be at most 1, got {value!r}")


def _positive(name: str, value: Any) -> None:
    if not (_is_number(value) and value > 0):
        raise SettingsError(f"{name} must be a positive number, got {value!r}")


def _not_negative(name: str, value: Any) -> None:
    if not (_is_number(value) and value >= 0):
        raise SettingsError(f"{name} must be a number and not negative, got {value!r}")


def _several(check: Callable[[str, Any], None]) -> Callable[[str, Any], None]:
    def check_all(name: str, values: Any) -> None:
        if isinstance(values, (str, bytes)) or not isinstance(values, Sequence) or not values:
            raise SettingsError(f"{name} takes a list of numbers, got {values!r}")
        for value in values:
            check(name, value)

    return check_all


def _whole(least: int, zero: str = "") -> Callable[[str, Any], None]:
    """A check for whole numbers of at least `least`; 0 as well where it has a meaning."""

    def check(name: str, value: Any) -> None:
        whole = isinstance(value, int) and not isinstance(value, bool)
        if whole and (value >= least or (zero and value == 0)):
            return
        also = f", or 0 {zero}" if zero else ""
        raise SettingsError(f"{name} takes a whole number of at least {least}{also}; got {value!r}")

    return check


def _listed(check: Callable[[str, Any], None], none: bool = False) -> Callable[[str, Any], None]:
    """A check for whole numbers with commas between them, each for itself; none at all if told."""

    def check_text(name: str, value: Any) -> None:
        words = [word.strip() for word in str(value).split(",")]
        if none and words == [""]:
            return
        for word in words:
            if not word.removeprefix("-").isdecimal():
                raise SettingsError(
                    f"{name} takes whole numbers with commas between them, got {value!r}"
                )
            check(name, int(word))

    return check_text


def _one_of(known: Sequence[str]) -> Callable[[str, Any], None]:
    def check(name: str, value: Any) -> None:
        if value not in known:
            raise SettingsError(f"unknown {name} {value!r}; there are {', '.join(known)}")

    return check


def _yes_or_no(name: str, value: Any) -> None:
    if not isinstance(value, bool):
        raise SettingsError(f"{name} takes True or False, got {value!r}")


def _is_number(value: Any) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and math.isfinite(value)


_CHECKS: Mapping[str, Callable[[str, Any], None]] = {
    "subject": _check_model,
    "second_subject": _check_subject,
    "sae": _check_text,
    "corpus": _check_corpus,
    "shifted": _check_corpus,
    "known_text": _check_corpus_if_any,
    "device": _check_device,
    "split": _one_of(tuple(SPLITS)),
    "inequality": _one_of(tuple(INEQUALITIES)),
    "rank": _one_of(RANKINGS),
    "delta": _open_interval,
    "alpha": _open_interval,
    "level": _open_interval,
    "alphas": _several(_open_interval),
    "pool_share": _share,
    "shares": _several(_share),
    "tolerance": _not_negative,
    "eps": _several(_positive),
    "cap": _positive,
    "rate": _positive,
    "goal": _positive,
    "least": _not_negative,
    "sizes": _several(_whole(2)),
    "pools": _several(_whole(1)),
    "components": _several(_whole(1)),
    "n_seq": _whole(2, "for all there are"),
    "n_discovery": _whole(2, "for all there are"),
    "n_calibration": _whole(2, "for all there are"),
    "n_alone": _whole(2),
    "n_known": _whole(2, "for all there are"),
    "n_live": _whole(2),
    "n_pool": _whole(1),
    "n_donors": _whole(1),
    "n_ctx": _whole(2, "for the default"),
    "skip": _whole(0),
    "cut": _whole(2, "to leave all"),
    "draws": _whole(1),
    "draws_wrong": _whole(1),
    "values": _whole(1),
    "resamples": _whole(2),
    "orders": _whole(1),
    "enough": _whole(1),
    "seed": _whole(0),
    "strict": _yes_or_no,
    "allow_bad_sae": _yes_or_no,
    "batch_size": _whole(1),
    "per_sequence": _whole(1),
    "per_wide": _whole(1),
    "one_over_lambda": _listed(_whole(1)),
    "other_l0": _listed(_whole(1), none=True),
    "expansions": _listed(_whole(1)),
    "usual_l0": _whole(1),
    "l0": _whole(1),
    "l1_coefficient": _positive,
    "learning_rate": _open_interval,
    "threshold": _open_interval,
    "share": _share,
    "n_spliced": _whole(2),
    "n_judging": _whole(2),
    "n_aliased": _whole(2),
    "n_cached": _whole(1),
    "n_samples": _whole(1),
    "n_latents": _whole(1),
    "n_features": _whole(2),
    "n_test": _whole(1),
    "n_fresh": _whole(1),
    "n_active": _whole(1),
    "long": _whole(2),
    "short": _whole(2),
    "n_started": _whole(1),
    "n_public": _whole(2),
    "n_public_discovery": _whole(2),
    "small_expansion": _whole(1),
    "one_over_lambda_small": _listed(_whole(1)),
    "d_in": _whole(2),
    "copies": _whole(1),
    "show_text": _yes_or_no,
    "n_pairs": _whole(1),
}

"""What a study can measure besides losses: named arrays by hook point (torch comes late)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from saecert.corpora.corpus import Corpus
    from saecert.subjects.subject import Subject

Arrays = dict[str, np.ndarray]
ByHook = dict[str, Arrays]


@dataclass(frozen=True)
class Measurable:
    """A quantity that `Study.measure` knows by name."""

    measure: Callable[[Subject, Corpus, Sequence[str], Mapping[str, Any]], ByHook]
    """Subject, text, hook points and settings to arrays by hook point."""
    split: str
    """On which split it is measured if not said."""
    by_sequence: bool
    """Whether all its arrays have one row a sequence: fewer sequences are a part of them."""
    chosen_on_discovery: bool = False
    """Whether it is given the discovery split besides, as the setting "discovery"."""

    @property
    def sizes(self) -> tuple[str, ...]:
        """Settings of a study that are part of the request besides the number of sequences."""
        return ("n_discovery",) if self.chosen_on_discovery else ()


def survey(
    subject: Subject, corpus: Corpus, hook_names: Sequence[str], settings: Mapping[str, Any]
) -> ByHook:
    """What discovery says of the latents, and of the directions in which activations vary.

    Arrays: "token_count", "sequence_count", "energy" by latent; "variances" by principal direction;
    the numbers "n_tokens", "n_seq", "l0", "fvu" and "silent".
    """
    from saecert.measurement.survey import survey_layers

    surveys = survey_layers(subject, corpus, hook_names, **_quietly(settings))
    rows = ("token_count", "sequence_count", "energy", "variances", "n_tokens", "n_seq")
    names = (*rows, "l0", "fvu", "silent")
    return {
        hook: {name: np.asarray(getattr(found, name)) for name in names}
        for hook, found in surveys.items()
    }


def fidelity(
    subject: Subject, corpus: Corpus, hook_names: Sequence[str], settings: Mapping[str, Any]
) -> ByHook:
    """Explained variance, cosine similarity and relative error of each sequence."""
    from saecert.dictionaries.fidelity import local_fidelity

    return local_fidelity(subject, corpus, hook_names, **_quietly(settings))


def activity(
    subject: Subject, corpus: Corpus, hook_names: Sequence[str], settings: Mapping[str, Any]
) -> ByHook:
    """ "counts": positions at which each latent is active in each sequence."""
    from saecert.dictionaries.activity import activity as measure

    counts = measure(subject, corpus, hook_names, **_quietly(settings))
    return {hook: {"counts": values} for hook, values in counts.items()}


def rivals(
    subject: Subject, corpus: Corpus, hook_names: Sequence[str], settings: Mapping[str, Any]
) -> ByHook:
    """ "SAE error" and "low confidence" of each sequence: what else could raise an alarm."""
    from saecert.dictionaries.rivals import rivals as measure

    return {hook: measure(subject, corpus, hook, **settings) for hook in hook_names}


def horizon(
    subject: Subject, corpus: Corpus, hook_names: Sequence[str], settings: Mapping[str, Any]
) -> ByHook:
    """KL of predictions 0, 1, 2, ... blocks after an error is spliced in, for each sequence."""
    from saecert.dictionaries.horizon import horizon as measure

    return measure(subject, corpus, hook_names, **_quietly(settings))


def norms(
    subject: Subject, corpus: Corpus, hook_names: Sequence[str], settings: Mapping[str, Any]
) -> ByHook:
    """Norms of activations and codes, coherence, and the cost of splicing at the same tokens."""
    from saecert.dictionaries.norms import norms as measure

    return measure(subject, corpus, hook_names, **_quietly(settings))


def aliases(
    subject: Subject, corpus: Corpus, hook_names: Sequence[str], settings: Mapping[str, Any]
) -> ByHook:
    """ "active": which aliases of the latents are active in each sequence, packed bits."""
    from saecert.dictionaries.aliases import aliases as measure

    return measure(subject, corpus, hook_names, **_quietly(settings))


def alias_counts(
    subject: Subject, corpus: Corpus, hook_names: Sequence[str], settings: Mapping[str, Any]
) -> ByHook:
    """ "n_active": in how many sequences each alias is active; "n_seq", how many there are."""
    from saecert.dictionaries.aliases import alias_counts as measure

    return measure(subject, corpus, hook_names, **_quietly(settings))


def mixing(
    subject: Subject, corpus: Corpus, hook_names: Sequence[str], settings: Mapping[str, Any]
) -> ByHook:
    """ "l0" and "purity" of latents mixed in each of the `blocks` in `settings`."""
    from saecert.dictionaries.mixing import mixing as measure

    return {hook: measure(subject, corpus, hook, **settings) for hook in hook_names}


def divergence(
    subject: Subject, corpus: Corpus, hook_names: Sequence[str], settings: Mapping[str, Any]
) -> ByHook:
    """KL(f || proxy) of smoothed predictions for each of `proxies`, a column for each of `alphas`,
    both in `settings`."""
    from saecert.measurement.divergence import divergence as measure

    return measure(subject, corpus, hook_names, **_quietly(settings))


def spliced(
    subject: Subject, corpus: Corpus, hook_names: Sequence[str], settings: Mapping[str, Any]
) -> ByHook:
    """Losses and KL of the SAE and its pool run in several ways, for each sequence: `splices`,
    `contexts`, `pool` and `alpha` in `settings`."""
    from saecert.dictionaries.spliced import spliced as measure

    given = _quietly(settings)
    splices = [tuple(splice) for splice in given.pop("splices")]  # JSON has lists
    return measure(subject, corpus, hook_names, splices=splices, **given)


def optimality(
    subject: Subject, corpus: Corpus, hook_names: Sequence[str], settings: Mapping[str, Any]
) -> ByHook:
    """How far each SAE is from an optimum of sparse coding: costs by sequence, and by latent."""
    from saecert.dictionaries.optimality import optimality as measure

    return measure(subject, corpus, hook_names, **_quietly(settings))


def usual_optimality(
    subject: Subject, corpus: Corpus, hook_names: Sequence[str], settings: Mapping[str, Any]
) -> ByHook:
    """The same on usual tokens, outliers told apart, and less by latent: of large models."""
    from saecert.dictionaries.usual_optimality import usual_optimality as measure

    return measure(subject, corpus, hook_names, **_quietly(settings))


def wide_limit(
    subject: Subject, corpus: Corpus, hook_names: Sequence[str], settings: Mapping[str, Any]
) -> ByHook:
    """Costs of optimal codes of an SAE's atoms, of other directions, and of the wide limit."""
    from saecert.dictionaries.wide_limit import wide_limit as measure

    return measure(subject, corpus, hook_names, **_quietly(settings))


def phenomena(
    subject: Subject, corpus: Corpus, hook_names: Sequence[str], settings: Mapping[str, Any]
) -> ByHook:
    """Pairs of latents that theory expects, chosen on discovery, and what they do together."""
    from saecert.dictionaries.phenomena import phenomena as measure

    return measure(subject, corpus, hook_names, **_quietly(settings))


def strongest(
    subject: Subject, corpus: Corpus, hook_names: Sequence[str], settings: Mapping[str, Any]
) -> ByHook:
    """Latents that move the loss most, of the SAE and of an untrained one, where each is strongest,
    and tokens that they read and write."""
    from saecert.dictionaries.latents import strongest as measure

    return measure(subject, corpus, hook_names, **_quietly(settings))


def removed(
    subject: Subject, corpus: Corpus, hook_names: Sequence[str], settings: Mapping[str, Any]
) -> ByHook:
    """What removing each of these latents costs, by sequence."""
    from saecert.dictionaries.latents import removed as measure

    return measure(subject, corpus, hook_names, **_quietly(settings))


def document(
    subject: Subject, corpus: Corpus, hook_names: Sequence[str], settings: Mapping[str, Any]
) -> ByHook:
    """Tokens of the "text" in `settings`, with the losses of the model and of a pool at each."""
    from saecert.dictionaries.document import document as measure

    return {hook: measure(subject, corpus, hook, **_quietly(settings)) for hook in hook_names}


def built(
    subject: Subject, corpus: Corpus, hook_names: Sequence[str], settings: Mapping[str, Any]
) -> ByHook:
    """What the function of the library makes that `settings` name as "build", "module:function":
    SAEs that are trained for a page, measured."""
    from saecert.reporting.simulations import function_named

    build = function_named(settings["build"])
    if build is None:
        raise ValueError(f"build='{settings['build']}' names no function of saecert")
    return build(subject, corpus, hook_names, _quietly(settings))


def _quietly(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings, and a progress bar for people only: a page would store it."""
    return {"progress": sys.stderr.isatty(), **settings}


MEASURABLE: Mapping[str, Measurable] = {
    "survey": Measurable(survey, "discovery", False),
    "fidelity": Measurable(fidelity, "certification", True),
    "activity": Measurable(activity, "certification", True),
    "rivals": Measurable(rivals, "certification", True),
    "mixing": Measurable(mixing, "discovery", False),
    "horizon": Measurable(horizon, "certification", True),
    "norms": Measurable(norms, "certification", True),
    "built": Measurable(built, "certification", False),
    "aliases": Measurable(aliases, "certification", True),
    "alias_counts": Measurable(alias_counts, "discovery", False),
    "divergence": Measurable(divergence, "certification", True, chosen_on_discovery=True),
    "spliced": Measurable(spliced, "certification", True, chosen_on_discovery=True),
    "phenomena": Measurable(phenomena, "certification", False, chosen_on_discovery=True),
    "strongest": Measurable(strongest, "discovery", False),
    "removed": Measurable(removed, "certification", True, chosen_on_discovery=True),
    "document": Measurable(document, "discovery", False),
    "optimality": Measurable(optimality, "certification", False, chosen_on_discovery=True),
    "usual_optimality": Measurable(
        usual_optimality, "certification", False, chosen_on_discovery=True
    ),
    "wide_limit": Measurable(wide_limit, "certification", True, chosen_on_discovery=True),
}
"""Quantities by name. A new one is a function here."""

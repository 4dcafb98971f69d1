"""SAEs trained side by side that are probed for labels besides, on the same texts (page 23)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sae_lens import SAE

from saecert.corpora.corpus import Corpus
from saecert.corpora.loading import load_corpus
from saecert.dictionaries.probed import Labelled, can_be_probed, codes_of, labelled, probed
from saecert.dictionaries.quantities import RANDOM_LATENTS
from saecert.subjects.subject import Subject
from saecert.training.compared import activations, compared, place_of, plan_of, quietly, trained

OWN = ("n_discovery", "source")
"""Settings that `saecert.training.compared.compared` does not have."""


def compared_probed(
    subject: Subject, corpus: Corpus, hook_names: Sequence[str], settings: Mapping[str, Any]
) -> dict[str, dict[str, np.ndarray]]:
    """What `saecert.training.compared.compared` has, and scores of sparse probes of the same SAEs.

    Those are named as `saecert.dictionaries.probed.probed` has them. The first axis is the SAE, the
    second the independent unit, in half precision; of a floor there is the mean alone. Texts
    without a label of two values are not probed.

    Parameters
    ----------
    subject, corpus, hook_names
        As for `compared`; probes are scored on `corpus`.
    settings
        As for `compared`; and "n_discovery": sequences on which latents are picked and probes are
        fitted, of the discovery split of "source", the text that `corpus` is of.

    Raises
    ------
    ValueError
        What `compared` refuses, and fewer than two discovery sequences.
    """
    n_discovery = int(settings["n_discovery"])
    if n_discovery < 2:
        raise ValueError(f"n_discovery={n_discovery}: probes are fitted on two sequences or more")
    own = {name: value for name, value in settings.items() if name not in OWN}
    found = compared(subject, corpus, hook_names, own)
    plan = plan_of(own)
    options = {"split": "discovery", "n_ctx": corpus.n_ctx, "bos": corpus.bos}
    discovery = load_corpus(settings["source"], subject, **options)
    discovery = discovery.take(min(n_discovery, len(discovery)))
    data = activations(subject, hook_names, plan.n_cached, plan.seed)
    for hook_name in hook_names:
        texts = labelled(subject, hook_name, [discovery, corpus])
        if not can_be_probed(texts):
            continue
        place = place_of(subject, plan) / hook_name
        with quietly(bool(settings.get("progress"))):
            members = list(trained(*data[hook_name], plan, place, hook_name, subject.name))
        rows = [_scores(texts, member.sae, plan.seed) for member in members]
        found[hook_name] |= {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    return found


def _scores(texts: Sequence[Labelled], sae: SAE, seed: int) -> dict[str, np.ndarray]:
    """Scores of one SAE in half precision, and means of floors."""
    codes = [codes_of(sae, text.acts) for text in texts]
    found = {}
    for name, values in probed(texts, codes, seed).items():
        is_floor = name.endswith(f", {RANDOM_LATENTS}")
        found[name] = np.asarray(values.mean() if is_floor else values, dtype=np.float16)
    return found

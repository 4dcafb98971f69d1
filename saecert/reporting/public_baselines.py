"""Page 20 on the public model: random baselines at one depth of it, as tables and claims.

No torch where everything is kept. What is measured is fixed here, so that no other setting of the
page asks for anything else: a model of 135 million parameters is not run by accident.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from saecert.certificates.certificate import Certificate
from saecert.records import SequenceLosses
from saecert.reporting import random_baselines as baselines
from saecert.reporting import widened
from saecert.reporting.random_baselines import Arrays, Member
from saecert.reporting.study import Study, open_study

HOOK = "blocks.9.hook_resid_post"
"""The depth: a block in the middle."""
CORPUS = "docstrings-fresh"
"""Text that the model cannot have been trained on, of which probes read the discovery split."""
N_SEQ = 80
"""Certification sequences; the model runs with SAEs in it on the first `N_SPLICED`."""
N_SPLICED = 40
SAMPLE = f"n = {N_SEQ}, {N_SPLICED} spliced"
"""The same, for print."""
N_DISCOVERY = 100
"""Sequences on which probes are fitted."""
ALPHA = 0.5
"""Weight of the uniform distribution."""
PLAN = {
    "l0": 32,
    "other_l0": [],
    "sweep_hook": "",
    "shares": [],
    "n_spliced": N_SPLICED,
    "n_discovery": N_DISCOVERY,
    "n_cached": 40_960,
    "n_samples": 102_400,
    "expansion": 4,
    "source": "docstrings",
    "judging": CORPUS,
    "kinds": [["batchtopk", "isotropic"]],
    "autocast": True,
    "edits": False,
    "alpha": ALPHA,
    "pool_share": 1.0,
    "seed": 0,
}
"""Settings of `saecert.training.baseline_plan.Plan`: one BatchTopK SAE and its baselines."""
RECOVERED = "loss recovered"
NOT_MEASURED = "not measured, and the model is not installed (make smollm2)"


@dataclass(frozen=True)
class Public:
    """What was measured of the baselines of the public model."""

    study: Study
    """The model and the text."""
    native: SequenceLosses
    """Losses of the model alone."""
    arrays: Arrays
    """As `saecert.training.random_baselines.random_baselines` has them."""
    besides: Arrays
    """As `saecert.training.random_baselines.packages_and_outliers` has them."""
    members: list[Member]
    """The SAEs: trained, and three baselines."""
    width: float
    """Width of the support of a loss, bits."""


def public_baselines(subject: str, device: str = "cpu") -> Public | None:
    """Baselines at `HOOK` of a public model, kept or measured now; None for "" and, with a line
    that says so, where neither is possible because the model is not installed."""
    if not subject:
        return None
    options = {"n_seq": N_SEQ, "n_discovery": 300, "device": device}
    study = open_study(subject, "", CORPUS, HOOK, **options)
    try:
        arrays, besides = (
            study.measure("built", build=build, **PLAN)
            for build in (baselines.BUILD, baselines.BESIDES)
        )
        native = study.losses(pools=[], controls=False)
    except FileNotFoundError:
        print(f"{subject}: {NOT_MEASURED}")
        return None
    found = baselines.members(arrays, ALPHA, native.n_vocab)
    width = baselines.loss_width(ALPHA, native.n_vocab)
    return Public(study, native, arrays, besides, found, width)


def fit(public: Public) -> pd.DataFrame:
    """Explained variance of held-out activations with and without outlier tokens, and what an SAE
    costs the model: sample means, a row an SAE."""
    table = baselines.means(public.members, public.width)
    held_out = {
        baselines.POOLED: public.besides["with outliers"],
        "without outliers": public.besides["without outliers"],
    }
    costs = [
        baselines.ACTIVE,
        "cosine to start",
        baselines.EXPLAINED,
        baselines.GAP,
        baselines.VARIATION,
    ]
    return pd.concat([pd.DataFrame(held_out, index=table.index), table[costs]], axis=1)


def scores(public: Public) -> pd.DataFrame:
    """What latents are judged by, with means over packages: sample means, a row an SAE, and what a
    dead one scores."""
    table = baselines.means(public.members, public.width)
    judged = table[list(baselines.scores_of(public.members))]
    dead = baselines.floors(public.members, public.arrays).loc[["dead SAE"]]
    macro = baselines.macro_scores(public.members, public.besides)
    macro = macro.rename(columns=baselines.PACKAGE_WORDS)
    return pd.concat([pd.concat([judged, dead]), macro], axis=1)


def differences(
    public: Public,
    made: Mapping[str, tuple[Certificate, SequenceLosses]],
    delta: float,
    inequality: str,
) -> pd.DataFrame:
    """Each baseline less its twin: a row a baseline, columns measure and `ENDS`.

    All limits hold together at `delta`: half of it is for the measures of `all_differences`, a
    quarter for loss recovered, a quarter for means over packages.
    """
    parts = [
        baselines.all_differences(public.members, delta / 2, inequality, public.width),
        pd.concat({RECOVERED: recovered_differences(made, public, delta / 4, inequality)}, axis=1),
        baselines.macro_differences(public.members, public.besides, delta / 4, inequality),
    ]
    return pd.concat(parts, axis=1)


def by_measure(table: pd.DataFrame) -> pd.DataFrame:
    """`differences` as they are printed: a row a measure, columns what is held and `ENDS`."""
    held = {label: label.split(", ")[1] for label in table.index}
    turned = {word: table.loc[label].unstack(sort=False) for label, word in held.items()}
    return pd.concat(turned, axis=1)


def certificates(
    public: Public, delta: float, inequality: str
) -> dict[str, tuple[Certificate, SequenceLosses]]:
    """Certificate and record of every SAE by label, each at `delta`."""
    settings = {"alpha": ALPHA, "delta": delta, "inequality": inequality}
    return baselines.certificates_of(public.native, public.arrays, public.members, settings)


def recovered_differences(
    made: Mapping[str, tuple[Certificate, SequenceLosses]],
    public: Public,
    delta: float,
    inequality: str,
) -> pd.DataFrame:
    """Loss recovered (against zero ablation) of each baseline less its twin's, with limits.

    **Guarantee.** All limits hold together except with probability `delta`, for sequences drawn
    i.i.d.: each is a difference of a lower and an upper limit of `loss_recovered`, all of which
    hold together. Columns `ENDS`; missing where zero ablation is not shown to hurt.
    """
    each = delta / (2 * len(made))
    told = {label: widened.recovered(*one, each, inequality) for label, one in made.items()}
    rows = {}
    for baseline, twin in baselines.twins(public.members):
        a, b = told[baseline.label], told[twin.label]
        ends = zip(a, reversed(b), strict=True)
        rows[baseline.label] = {
            end: x - y for end, (x, y) in zip(baselines.ENDS, ends, strict=True)
        }
    return pd.DataFrame(rows).T


def fixed_beforehand(table: pd.DataFrame | None) -> dict[str, bool | str]:
    """The claims of page 20 about the public model, fixed before any of its numbers was there.

    `table` is that of `saecert.reporting.random_baselines.all_differences`; None where nothing was
    measured. A claim that limits leave open is `saecert.reporting.claims.Undecided`.
    """
    words = (
        "public model, frozen parts explain less",
        "public model, frozen parts change predictions more",
        "public model, limits on mean scores tell no baseline",
    )
    if table is None:
        return dict.fromkeys(words, NOT_MEASURED)
    found = baselines.fixed_beforehand({HOOK: table})
    return dict(zip(words, found.values(), strict=True))

"""A certificate in words, for people to read."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from saecert.certificates.checks import BY_GROUP, CHECKS, short_windows
from saecert.certificates.delta import BEHAVIOUR
from saecert.statistics.rounding import lower_text, nearest_text, probability_text, upper_text
from saecert.untrusted import printable

if TYPE_CHECKING:
    from saecert.certificates.certificate import Certificate

WIDTH = 72
"""Columns at which lines are wrapped: as many as a page of the book shows."""

_TWO_SIDED = {"one-sided gap": "reconstruction gap", "one-sided mismatch": "pool mismatch"}


def source(provenance: Mapping[str, Any]) -> str:
    """What losses are of: subject, hook point and, where it is recorded, which SAE."""
    parts = [str(provenance[key]) for key in ("subject", "hook_name") if key in provenance]
    if parts and provenance.get("quantisation"):
        parts[0] += f", quantised ({provenance['quantisation']})"
    place = " at ".join(parts)
    sae = provenance.get("sae")
    return f"{place}, SAE {sae}" if sae else place


def summary(certificate: Certificate) -> str:
    """The certificate in some twenty lines: limits rounded outwards, means to the nearest."""
    lines = [
        *_heading(certificate),
        *_numbers(certificate),
        *_sentences(certificate),
        *_recovered(certificate),
        *_behaviour(certificate),
        *_concepts(certificate),
        *_joint(certificate),
        *_checks(certificate),
    ]
    return "\n".join(map(_wrapped, lines))


def _wrapped(line: str) -> str:
    return textwrap.fill(printable(line), WIDTH, subsequent_indent="      ", break_on_hyphens=False)


def _heading(c: Certificate) -> list[str]:
    about = source(c.provenance)
    return [
        f"Certificate{' of ' * bool(about)}{about}, in bits per token",
        f"  {_sample(c)}; alpha {c.alpha:g}, delta {probability_text(c.delta)}, "
        f"{c.inequality}; "
        f"pool of {c.k} of {c.d_sae} latents ({c.pool_rule})",
        f"  population: {c.population}",
        *_precision(c.provenance),
        *_bad_sae(c.provenance),
        *_elsewhere(c.provenance),
    ]


def _sample(c: Certificate) -> str:
    """How many sequences, and of what."""
    if c.population_size is not None:
        return f"{c.n_seq} of the {c.population_size} sequences of the list"
    return f"{c.n_seq} groups, one sequence each" if c.unit == "group" else f"{c.n_seq} sequences"


def _precision(provenance: Mapping[str, Any]) -> list[str]:
    """Which model it is about, where that is not the float32 one."""
    processing = str(provenance.get("processing", ""))
    return [f"  model: {processing}"] if "bfloat16" in processing else []


def _bad_sae(provenance: Mapping[str, Any]) -> list[str]:
    """That the SAE failed its check, where it was measured all the same."""
    check = provenance.get("sae_check")
    if not isinstance(check, Mapping) or not check.get("problem"):
        return []
    explained, latents = check.get("explained_variance"), check.get("l0")
    return [
        "  THE SAE FAILED ITS CHECK, and was measured all the same: "
        f"explained variance {explained}, {latents} active latents a token"
    ]


def _elsewhere(provenance: Mapping[str, Any]) -> list[str]:
    """That the SAE was trained at another hook point, where it was measured all the same."""
    own = provenance.get("sae_hook_name")
    return [f"  THE SAE BELONGS AT {own}, by its own metadata"] if own else []


def _numbers(c: Certificate) -> list[str]:
    sharp = {_TWO_SIDED.get(name, name): value for name, value in c.sharp_terms.items()}
    rows = [("", "absolute", "sharp", "gaps: in size, or one-sided")]
    for name, value in c.terms.items():
        own = nearest_text(sharp[name]) if name in sharp else ""
        rows.append((name, nearest_text(value), own, _parts(c) if name == "complexity" else ""))
    rows += [
        ("= bound", upper_text(c.bound), upper_text(c.sharp), "at most, whichever of the three"),
        ("uniform predictor", nearest_text(c.uniform), "", ""),
        ("direct bound", upper_text(c.direct), "", "without any proxy"),
        ("price of explanation", upper_text(c.price), "", "at most, R(pooled) - R(model)"),
    ]
    return [
        f"  {name:<21}{absolute:>8}{own:>7}  {note}".rstrip() for name, absolute, own, note in rows
    ]


def _parts(c: Certificate) -> str:
    """The two parts of complexity, of the sharp bound."""
    parts = c.sharp_complexity.items()
    return ", ".join(f"{name} {nearest_text(bits)}" for name, bits in parts)


def _sentences(c: Certificate) -> list[str]:
    verdict = "vacuous: not shown to be better than uniform"
    if c.non_vacuous:
        verdict = "better than uniform by the sharp bound; the ladder claims nothing"
    if c.verdict:
        share = probability_text(c.statements["ladder"]["delta"])
        verdict = f"better than {c.verdict} (the ladder's own statement, delta {share})"
    bound = upper_text(c.sharp)
    return [
        f"  verdict: {verdict}",
        f"  Model, SAE proxy and pooled proxy lose at most {bound} bits each on average, "
        f"except with probability {probability_text(c.statements['sharp']['delta'])} over samples",
    ]


def _recovered(c: Certificate) -> list[str]:
    """The score as people know it, with its limit."""
    lines = []
    for row in c.recovered:
        point, lower = row["recovered"], row["lower"]
        score = "undefined" if point is None else nearest_text(point, 3)
        limit = "no limit shown" if lower is None else f"at least {lower_text(lower, 3)}"
        against = f"whole SAE against {row['ablation']} ablation"
        lines.append(f"  loss recovered {score} ({limit}), {against}")
    return lines


def _behaviour(c: Certificate) -> list[str]:
    rows = {name: c.statements[name] for name in BEHAVIOUR if name in c.statements}
    lines = []
    for name, row in rows.items():
        label = name.replace("_", " ")
        lines.append(f"  {label:<22}{upper_text(row['upper'], 3):>8}  at most, {row['quantity']}")
    return lines


def _concepts(c: Certificate) -> list[str]:
    return [
        f"  concepts within {row['eps']} bits: {row['k'] or _none_shown(c)}" for row in c.concepts
    ]


def _none_shown(c: Certificate) -> str:
    """That no number of latents was enough may be the sample's fault as well as the SAE's."""
    return f"none shown, not even all {c.d_sae} (SAE too far, or {c.n_seq} {c.unit}s too few)"


def _joint(c: Certificate) -> list[str]:
    groups = c.groups.values()
    spent = ", ".join(f"{' + '.join(names)} {probability_text(total)}" for names, total in groups)
    together = sum(total for _, total in groups)
    return [
        f"  Statements and their delta, each on its own: {spent}",
        f"  All of them at once: {probability_text(together)}"
        + (", which says nothing: give a budget" if together >= 1 else ""),
    ]


def _checks(c: Certificate) -> list[str]:
    every = CHECKS | BY_GROUP
    lines = [
        f"  Let through: {name} = {c.checks[name]:g} ({every[name].partition(':')[0]})"
        for name in c.allow
    ]
    effect, correlation = (c.checks.get(x) for x in ("design_effect", "intraclass_correlation"))
    if effect is not None and correlation is not None:
        lines.append(
            f"  {c.checks['n_groups']} groups: design effect {nearest_text(effect, 1)} "
            f"for the joint loss, intraclass correlation {nearest_text(correlation)} (estimates)"
            + ("; new groups are another population" if c.unit != "group" else "")
        )
    unknown = [name for name, value in c.checks.items() if value is None]
    if short_windows(c.provenance) and "near_duplicates" in unknown:
        unknown.remove("near_duplicates")
        n_ctx = c.provenance["n_ctx"]
        lines.append(
            f"  Not checked, since windows of {n_ctx} tokens are too short to tell: near_duplicates"
        )
    if unknown:
        lines.append(f"  Not checked, for want of a record: {', '.join(unknown)}")
    return lines

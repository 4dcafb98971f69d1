"""What a certificate means and what it does not, in words that need no statistics."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

from saecert.certificates.summary import WIDTH
from saecert.statistics.rounding import lower_text, nearest_text, probability_text, upper_text
from saecert.untrusted import printable

if TYPE_CHECKING:
    from saecert.certificates.certificate import Certificate


@dataclass(frozen=True)
class Meaning:
    """Sentences about one certificate, each limit rounded outwards; printed as two lists."""

    says: list[str]
    """What it means."""
    leaves_open: list[str]
    """What it does not mean."""

    def __str__(self) -> str:
        blocks = (("What this means", self.says), ("What it does not mean", self.leaves_open))
        return "\n\n".join(
            "\n".join([title, *(_item(sentence) for sentence in sentences)])
            for title, sentences in blocks
        )


def meaning(certificate: Certificate) -> Meaning:
    """What a certificate says and leaves open, in plain words."""
    says = [_limit(certificate), _chance(certificate), _use(certificate)]
    says += [_price(certificate), _alone(certificate)]
    return Meaning([sentence for sentence in says if sentence], _leaves_open(certificate))


def _item(sentence: str) -> str:
    text = printable(sentence)
    return textwrap.fill(text, WIDTH, initial_indent="* ", subsequent_indent="  ")


def _limit(c: Certificate) -> str:
    place = c.provenance.get("hook_name", "its hook point")
    if c.provenance.get("bos") and not c.provenance.get("bos_replaced"):
        place += ", at every token but BOS,"
    pool = f"that again with only {c.k} of the {c.d_sae} latents kept"
    if c.k == c.d_sae:
        found = "met the tolerance" if c.tolerance is not None else "was taken"
        pool = f"the same once more, since all {c.k} latents are kept (no smaller pool {found})"
    return (
        f"Averaged over the population ({c.population}), three predictors lose at most "
        f"{upper_text(c.sharp)} bits per token each: the model; the model with the activation at "
        f"{place} replaced by what its SAE makes of it; and {pool}."
    )


def _chance(c: Certificate) -> str:
    delta = c.statements["sharp"]["delta"]
    drawn = "another sample" if c.unit == "sequence" else "a sample of other groups"
    return (
        f"The {c.n_seq} sequences measured are a sample, and {drawn} would have given another "
        f"number. At most a share {probability_text(delta)} of all samples give one that is "
        "too low."
    )


def _use(c: Certificate) -> str:
    guessing = nearest_text(c.uniform)
    if not c.non_vacuous:
        return (
            f"It is vacuous: guessing every token with equal chance loses {guessing} bits, less "
            f"than the limit. The limit is true all the same. {_remedy(c)}"
        )
    if c.verdict in (None, "uniform"):
        return f"That is better than guessing every token with equal chance ({guessing} bits)."
    return (
        f"That is better than guessing every token with equal chance ({guessing} bits). All three "
        f"are also shown to beat the {c.verdict} predictor, a table of counts."
    )


def _remedy(c: Certificate) -> str:
    """What could lower a vacuous limit, if anything can."""
    own = c.means["model risk"]
    if own < c.uniform:
        return "More sequences, a better SAE or a larger pool may lower it."
    return (
        f"The model itself loses {nearest_text(own)} bits on this sample, no less than guessing: "
        "no SAE, pool or number of sequences makes up for that."
    )


def _price(c: Certificate) -> str:
    limit = upper_text(c.price)
    return (
        f"Reading the model through these {c.k} latents alone costs at most {limit} bits per token "
        "more than the model itself loses, on average."
    )


def _alone(c: Certificate) -> str:
    lost = [row for row in c.recovered if row["lower"] is not None]
    score = ""
    if lost:
        score = (
            f" The whole SAE recovers at least {lower_text(lost[0]['lower'], 3)} of the loss that "
            f"{lost[0]['ablation']} ablation costs."
        )
    return (
        f"The model without any SAE loses at most {upper_text(c.direct)} bits: no SAE is needed "
        f"for that. What the SAE adds is what is said of its latents.{score}"
    )


def _leaves_open(c: Certificate) -> list[str]:
    open_points = [
        "It says nothing about what a single latent stands for, nor about any single text or "
        "token: everything above is an average.",
        "It says nothing about other text than that population, and nothing about another model, "
        "SAE, hook point or number of tokens.",
        f"Every predictor was mixed with the uniform distribution (weight {c.alpha:g}). Limits at "
        "another alpha are about other losses, and cannot be compared with these.",
        "Two limits subtracted limit nothing: for what the explanation costs take the price of "
        "explanation.",
        "It holds if every setting was chosen before the certification sequences were looked at. "
        "Repeated with other settings until it looks good, it is worth nothing.",
    ]
    together = sum(total for _, total in c.groups.values())
    if len(c.groups) > 1 and together < 1:
        open_points.append(
            "Each statement has a chance of its own to be wrong; that any of them is wrong has a "
            f"chance of at most {probability_text(together)}."
        )
    elif len(c.groups) > 1:
        open_points.append(
            "Each statement may be wrong on its own. That all of them are true at once is not said."
        )
    if c.inequality == "dirichlet" and c.population_size is None:
        open_points.append(
            "The chance is proved for sequences drawn one independently of another. A finite list "
            "sampled without replacement is another case: see the book's page on assumptions, or "
            "give --population-size with --inequality betting."
        )
    return open_points

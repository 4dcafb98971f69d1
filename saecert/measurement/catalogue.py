"""Proxies by name, made: what `saecert.measurement.named` reads becomes a proxy at a hook point."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from saecert.corpora.corpus import Corpus
from saecert.measurement import controls, proxies
from saecert.measurement.named import KINDS, Spec
from saecert.measurement.proxies import Proxy
from saecert.measurement.ranking import Survey
from saecert.measurement.survey import N_ATTRIBUTION, attribution
from saecert.subjects.subject import Subject


@dataclass(frozen=True)
class Surroundings:
    """Where a proxy by name is built: at a hook point, with what discovery says about it."""

    subject: Subject
    hook_name: str
    discovery: Corpus | None = None
    survey: Survey | None = None

    @property
    def d_sae(self) -> int:
        """Latents of the SAE."""
        return self.subject.sae_at(self.hook_name).cfg.d_sae

    def ranking(self, rule: str) -> np.ndarray:
        """Latents in rank order on discovery."""
        surveyed = self.survey
        if rule == "attribution" and surveyed.attribution is None:
            some = self.discovery.part(0, min(N_ATTRIBUTION, len(self.discovery)))
            sums = attribution(self.subject, some, self.hook_name, progress=False)
            surveyed = replace(surveyed, attribution=sums)
        return surveyed.ranking(rule)


def build(spec: Spec, where: Surroundings) -> Proxy:
    """The proxy that `spec` names. ValueError when it needs a discovery split and there is none.

    The result depends on nothing but the name and the surroundings: it can be made again.
    """
    if spec.needs_discovery and (where.survey is None or where.discovery is None):
        raise ValueError(f"'{spec}' is built from the discovery split: give discovery=")
    proxy = _BUILDERS[spec.kind](spec, where)
    return replace(proxy, name=spec.name)


def _pool(spec: Spec, where: Surroundings) -> Proxy:
    _check_pool(spec, where)
    return proxies.pool(where.ranking(spec["rank"])[: spec["k"]], where.d_sae)


def _pooled(spec: Spec, where: Surroundings) -> Proxy:
    _check_pool(spec, where)
    inner = spec["proxy"]
    order = where.ranking(spec["rank"])
    if inner.kind == "mixed":  # its codes are in rank order already
        if spec["rank"] != "frequency":
            raise ValueError(f"'{spec}': mixed latents are ranked by frequency")
        order = np.arange(where.d_sae)
    pool = proxies.pool(order[: spec["k"]], where.d_sae)
    return controls.pooled(build(inner, where), pool)


def _check_pool(spec: Spec, where: Surroundings) -> None:
    if not 0 < spec["k"] <= where.d_sae:
        raise ValueError(
            f"a pool of {spec['k']} latents does not fit a dictionary of {where.d_sae}: "
            f"sizes go from 1 to {where.d_sae}"
        )


def _donor_codes(spec: Spec, where: Surroundings) -> Proxy:
    donors = where.discovery.take(spec["n"])
    return proxies.donor_codes(where.subject, donors, where.hook_name, spec["seed"])


def _random_decoder(spec: Spec, where: Surroundings) -> Proxy:
    shape = where.subject.sae_at(where.hook_name).W_dec.shape
    return proxies.random_decoder(*shape, spec["seed"], match_norm=spec["match_norm"])


def _mixed(spec: Spec, where: Surroundings) -> Proxy:
    sae = where.subject.sae_at(where.hook_name)
    return controls.mixed(sae, where.ranking("frequency"), spec["block"])


def _random_encoder(spec: Spec, where: Surroundings) -> Proxy:
    place = (where.subject, where.discovery, where.hook_name)
    return controls.random_encoder(*place, where.survey.mean, spec["k"], spec["seed"])


_BUILDERS: dict[str, Callable[[Spec, Surroundings], Proxy]] = {
    "full": lambda spec, where: proxies.full(),
    "zero": lambda spec, where: proxies.zero_ablation(),
    "mean": lambda spec, where: proxies.mean_ablation(where.survey.mean),
    "noise": lambda spec, where: proxies.noise(spec["seed"]),
    "pca": lambda spec, where: proxies.pca(where.survey.mean, where.survey.components(spec["k"])),
    "pool": _pool,
    "shuffled_latents": lambda spec, where: proxies.shuffled_latents(spec["seed"]),
    "permuted_dictionary": lambda spec, where: proxies.permuted_dictionary(
        where.d_sae, spec["seed"]
    ),
    "shuffled_positions": lambda spec, where: proxies.shuffled_positions(spec["seed"]),
    "donor_codes": _donor_codes,
    "random_decoder": _random_decoder,
    "mixed": _mixed,
    "random_encoder": _random_encoder,
    "top": lambda spec, where: proxies.top(spec["k"]),
    "pooled": _pooled,
}
assert set(_BUILDERS) == set(KINDS)

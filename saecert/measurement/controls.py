"""Any proxy in place of the SAE: cut down to a concept pool, and in a record that `certify` takes like an SAE's."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from saecert.measurement.identity import code_of, code_of_proxy
from saecert.measurement.proxies import Proxy, Site
from saecert.records import SequenceLosses

_RIDGE = 1e-4  # share of the mean square of a code; keeps the equations regular where a latent never fires


@dataclass(frozen=True)
class _PooledSite(Site):
    kept: Tensor | None = None

    def decode(self, codes: Tensor, atoms: Tensor | None = None) -> Tensor:
        return super().decode(codes * self.kept.to(codes), atoms)

    def decode_only(self, kept: Tensor) -> Tensor:
        return super().decode_only(kept * self.kept)


def pooled(proxy: Proxy, pool: Proxy) -> Proxy:
    """`proxy` with the latents outside `pool` (of `saecert.measurement.proxies.pool`) set to zero in whatever codes it decodes.

    It is to `proxy` what "pool_<k>" is to "full", and is named "<proxy> pool_<k>". Measure both in one sweep.
    """

    def replaced(site: Site) -> Tensor:
        return proxy.replace(_PooledSite(site.acts, site.sae, site.ids, site.first, pool.kept))

    return Proxy(
        f"{proxy.name} {pool.name}",
        replaced,
        f"{code_of_proxy(proxy)} {code_of(_PooledSite)} {pool.key}",
    )


def as_sae(losses: SequenceLosses, name: str) -> SequenceLosses:
    """A record in which the measured predictor `name` stands where the SAE's reconstruction stood: certify it like an SAE.

    Its "full" is `name`, and its "pool_<k>" are the "<name> pool_<k>" of `pooled`, where those were measured. "clean" is the model as a
    proxy of itself. What was fixed on discovery was fixed for the SAE, so the record has no `discovery`: give `certify` a pool size,
    `d_sae` for none. KeyError for a predictor that was not measured.
    """
    losses.at(name, losses.alphas[0])
    renamed = {"full": name} | {f"pool_{k}": f"{name} pool_{k}" for k in losses.pool_sizes}
    tables = {}
    for table in ("loss", "raw", "total_variation", "top1_disagreement"):
        values = getattr(losses, table)
        others = {
            key: x for key, x in values.items() if key != "full" and not key.startswith("pool_")
        }
        tables[table] = others | {new: values[old] for new, old in renamed.items() if old in values}
    facts = losses.provenance | {"proxy": name}
    # a control may use any latent, so a pool read off the sample has to be all of them; the model itself needs none
    active = losses.active if name == "clean" else np.full_like(losses.active, 255)
    return replace(
        losses,
        **tables,
        active=active,
        outside_firings={},
        outside_energy={},
        discovery=None,
        provenance=facts,
    )


def best_atoms(
    codes: Float[Tensor, "n d_sae"], target: Float[Tensor, "n d_in"]
) -> Float[Tensor, "d_sae d_in"]:
    """Atoms that reconstruct `target` best from given codes, by least squares: the decoder of an encoder that is not trained."""
    gram = codes.T @ codes
    return torch.linalg.solve(
        gram + _RIDGE * gram.diagonal().mean() * torch.eye(len(gram)).to(gram), codes.T @ target
    )

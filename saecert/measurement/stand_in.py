"""A record in which another predictor stands where the SAE stood: certified like an SAE (numpy
only)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from saecert.records import SequenceLosses


def as_sae(losses: SequenceLosses, name: str) -> SequenceLosses:
    """A record in which the measured predictor `name` stands where the SAE's reconstruction stood.

    Its "full" is `name`, and its "pool_<k>" are the "<name> pool_<k>" of
    `saecert.measurement.controls.pooled`, where those were measured. "clean" is the model as a
    proxy of itself. What was fixed on discovery was fixed for the SAE, so the record has no
    `discovery`: give `certify` a pool size, `d_sae` for none. KeyError for a predictor that was not
    measured.
    """
    losses.at(name, losses.alphas[0])
    renamed = {"full": name} | {f"pool_{k}": f"{name} pool_{k}" for k in losses.pool_sizes}
    tables = {}
    for table in ("loss", "raw", "total_variation", "top1_disagreement"):
        values = getattr(losses, table)
        others = {key: x for key, x in values.items() if not _of_sae(key)}
        measured = {new: values[old] for new, old in renamed.items() if old in values}
        tables[table] = others | measured
    # a control may use any latent, so a pool read off the sample has to be all of them; the model
    # itself needs none
    active = losses.active if name == "clean" else np.full_like(losses.active, 255)
    return replace(
        losses,
        **tables,
        active=active,
        outside_firings={},
        outside_energy={},
        discovery=None,
        provenance=losses.provenance | {"proxy": name},
    )


def _of_sae(name: str) -> bool:
    return name == "full" or name.startswith("pool_")

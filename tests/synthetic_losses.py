"""Losses records made on the spot, with losses and truth known exactly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from saecert.records import Discovery, SequenceLosses, smoothed_support

ALPHA = 0.5
N_VOCAB = 4096
LO, HI = smoothed_support(ALPHA, N_VOCAB)


def make_losses(
    clean,
    full=None,
    pools=None,
    *,
    d_sae=16,
    active=None,
    references=None,
    discovery=None,
    provenance=None,
) -> SequenceLosses:
    """A record at alpha = 0.5 from per-sequence losses; `references` maps a name to (losses,
    (lowest, highest)).
    """
    clean = np.asarray(clean, dtype=float)
    n_seq = len(clean)
    loss = {"clean": clean, "full": clean if full is None else full}
    loss |= {f"pool_{k}": values for k, values in (pools or {}).items()}
    references = references or {}
    loss |= {name: values for name, (values, _) in references.items()}
    active = np.ones((n_seq, d_sae), dtype=bool) if active is None else active
    return SequenceLosses(
        alphas=(ALPHA,),
        n_vocab=N_VOCAB,
        loss={name: np.asarray(values, dtype=float)[None] for name, values in loss.items()},
        raw={"clean": clean},
        total_variation={"full": np.zeros(n_seq)},
        top1_disagreement={"full": np.zeros(n_seq)},
        outside_firings={},
        outside_energy={},
        active=np.packbits(active, axis=1),
        d_sae=d_sae,
        l0=np.tile(np.array([0, 2, 3]), (n_seq, 1)),
        ids=np.arange(n_seq, dtype=np.uint64),
        reference_support={name: (support,) for name, (_, support) in references.items()},
        discovery=discovery,
        provenance={
            "population": "made up",
            "subject": "toy",
            "hook_name": "blocks.0.hook_resid_post",
        }
        | (provenance or {}),
    )


def random_losses(n_seq=60, seed=0, n_discovery=40) -> SequenceLosses:
    """Smooth losses of a model, its SAE proxy and pools of 4 and 8 of 16 latents, with references,
    behaviour and discovery.
    """
    rng = np.random.default_rng(seed)
    n_active = rng.integers(0, n_discovery + 1, 16)
    seen = _draw(rng, n_discovery)
    discovery = Discovery(
        rule="frequency",
        order=np.arange(16)[::-1].copy(),
        n_active=n_active,
        n_seq=n_discovery,
        losses=replace(seen, ids=seen.ids + np.uint64(10**6)),
    )
    record = _draw(rng, n_seq)
    shares = np.random.default_rng(seed + 1)
    behaviour = {
        name: {key: shares.beta(*ab, n_seq) for key, ab in _SHARES.items()}
        for name in ("total_variation", "top1_disagreement")
    }
    outside = {
        name: {key: shares.beta(*_SHARES[key], n_seq) for key in ("pool_8", "pool_4")}
        for name in ("outside_firings", "outside_energy")
    }
    return replace(record, discovery=discovery, **behaviour, **outside)


_SHARES = {"full": (1, 30), "pool_8": (2, 20), "pool_4": (4, 10)}


def _draw(rng: np.random.Generator, n_seq: int) -> SequenceLosses:
    clean = rng.uniform(3, 5, n_seq)
    full = clean + rng.uniform(-0.02, 0.1, n_seq)
    pools = {8: full + rng.uniform(-0.01, 0.09, n_seq), 4: full + rng.uniform(0, 1, n_seq)}
    references = {
        "bigram": (clean + rng.uniform(0, 1.4, n_seq), (2.0, 11.0)),
        "unigram": (clean + 5 + rng.uniform(0, 1, n_seq), (3.0, 12.5)),
    }
    active = rng.random((n_seq, 16)) < np.linspace(0.001, 0.5, 16)
    return make_losses(clean, full, pools, references=references, active=active)

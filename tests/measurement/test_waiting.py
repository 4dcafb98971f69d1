"""How often a batch makes the host wait for a device: counted, so that it does not creep up."""

from collections import Counter

import numpy as np
import pytest
import torch
from conftest import D_SAE
from torch.utils._python_dispatch import TorchDispatchMode

from saecert.measurement import sweep
from saecert.measurement.batch import packed_bits
from saecert.measurement.proxies import full, noise, pool, zero_ablation

HOOKS = ("blocks.0.hook_resid_post", "blocks.1.hook_resid_post")
WAITING = {"_local_scalar_dense", "nonzero", "masked_select", "_unique2", "bincount", "equal"}
"""Operations whose result, or its shape, has to be known before the next can be launched."""


class Waits(TorchDispatchMode):
    """Counts operations at which a device would be waited for."""

    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        indices = args[1] if name == "index" else ()
        by_mask = any(index is not None and index.dtype == torch.bool for index in indices)
        if name in WAITING or by_mask:
            self.counts[name] += 1
        return func(*args, **(kwargs or {}))


def waits(subject, corpus, hook_names):
    """Waits by operation while all of a corpus is measured in batches of 4."""
    chosen = [full(), zero_ablation(), noise(0), pool(np.arange(8), D_SAE)]
    with Waits() as counted:
        sweep.sweep(
            subject,
            corpus,
            dict.fromkeys(hook_names, chosen),
            alphas=(0.5,),
            batch_size=4,
            progress=False,
            alone=np.array([], dtype=int),
        )
    return counted.counts


@pytest.mark.parametrize("hook_names", [HOOKS[:1], HOOKS])
def test_a_batch_waits_once_a_hook_point(subject, corpora, hook_names):
    """For the number of active latents, without which pools would decode whole dictionaries."""
    few = waits(subject, corpora["certification"].take(8), hook_names)
    more = waits(subject, corpora["certification"].take(24), hook_names)
    assert more - few == Counter(nonzero=4 * len(hook_names))


@pytest.mark.parametrize("width", [1, 7, 8, 20])
def test_bits_are_packed_as_numpy_packs_them(width):
    rows = torch.rand(5, width, generator=torch.Generator().manual_seed(width)) < 0.4
    expected = np.packbits(rows.numpy(), axis=1)
    np.testing.assert_array_equal(packed_bits(rows).numpy(), expected)

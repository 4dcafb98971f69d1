"""What a measurement is kept under: everything that determines it, and the version of the code that
measures."""

from __future__ import annotations

import hashlib

import numpy as np
import torch

from saecert.corpora.corpus import Corpus
from saecert.measurement.version import MEASUREMENT_VERSION
from saecert.subjects.subject import Subject

__all__ = ["MEASUREMENT_VERSION", "digest", "dtype_name", "identity", "sequences_digest"]


def digest(*parts: object) -> str:
    """Hash of the texts of `parts`, each told apart from the next."""
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:24]


def sequences_digest(corpus: Corpus) -> str:
    """Hash of the tokens of a corpus, in their order, and of whether they start with a BOS that
    keeps its activation."""
    tokens = np.ascontiguousarray(corpus.tokens, dtype=np.int64)
    return digest(hashlib.sha256(tokens.tobytes()).hexdigest(), tokens.shape, bool(corpus.first))


def dtype_name(subject: Subject) -> str:
    """Name of the number type of the model's weights, such as "float32"."""
    return str(next(subject.model.original_model.parameters()).dtype).removeprefix("torch.")


def identity(subject: Subject, corpus: Corpus, hook_name: str = "", *settings: object) -> str:
    """Key of what is measured of `subject` on `corpus` at a hook point.

    It depends on the weights of model and SAE, the tokens, the number type, the kind of device, the
    CPU's instruction set (losses differ between them in their last digits), `settings`, and on
    `MEASUREMENT_VERSION`; on no library's version and on no source code.

    Parameters
    ----------
    subject, corpus
        The model with its SAEs, and the sequences.
    hook_name
        Hook point whose SAE matters; "" for what no SAE changes.
    settings
        Whatever else determines the numbers, as values with a text of their own.
    """
    sae = subject.sae_fingerprint(hook_name) if hook_name else ""
    machine = (subject.device.type, torch.backends.cpu.get_cpu_capability())
    return digest(
        MEASUREMENT_VERSION,
        subject.fingerprint,
        sae,
        hook_name,
        sequences_digest(corpus),
        dtype_name(subject),
        *machine,
        *settings,
    )

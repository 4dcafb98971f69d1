"""What a record says about where its numbers are from: subject, SAE, corpus, and how it was
measured."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt64
from sae_lens import BatchTopKTrainingSAE

from saecert.corpora.corpus import Corpus
from saecert.measurement.circumstances import Circumstances
from saecert.measurement.identity import dtype_name
from saecert.subjects.subject import Subject


def provenance(
    subject: Subject, corpus: Corpus, hook_name: str, measured: Circumstances
) -> dict[str, Any]:
    """Plain JSON values on subject, SAE and corpus, and `measured`: versions, machine and date of
    the measurement."""
    return {
        **about_subject(subject),
        **_about_sae(subject, hook_name),
        **about_corpus(corpus),
        "versions": measured["versions"],
        "measured": measured,
    }


def document_hashes(corpus: Corpus) -> UInt64[np.ndarray, "n_seq"]:
    """Hash of the document behind each sequence."""
    digests = [hashlib.sha256(key.encode()).digest() for key in corpus.keys]
    return np.array([int.from_bytes(digest[:8], "big") for digest in digests], dtype=np.uint64)


def overlap(corpus: Corpus, discovery: Corpus) -> Bool[np.ndarray, "n_seq"]:
    """Whether each sequence of `corpus`, or its document, is in `discovery`, too."""
    same_document = np.isin(document_hashes(corpus), document_hashes(discovery))
    return np.isin(corpus.ids, discovery.ids) | same_document


def about_subject(subject: Subject) -> dict[str, Any]:
    """What a record says about its model."""
    quantised = {"quantisation": subject.quantisation} if subject.quantisation else {}
    return {
        "subject": subject.name,
        "source": subject.source,
        "model_sha256": subject.fingerprint,
        "processing": subject.processing,
        "pretraining": subject.pretraining,
        "dtype": dtype_name(subject),
        **quantised,
    }


def _about_sae(subject: Subject, hook_name: str) -> dict[str, Any]:
    sae = subject.sae_at(hook_name)
    names = getattr(subject, "sae_names", {})
    mismatches = getattr(subject, "hook_mismatches", {})
    stated = {"sae_hook_name": mismatches[hook_name]} if hook_name in mismatches else {}
    return {
        "hook_name": hook_name,
        "sae": names.get(hook_name, hook_name),
        **stated,
        "sae_sha256": subject.sae_fingerprint(hook_name),
        "sae_architecture": sae.cfg.architecture(),
        "sae_training": subject.sae_training,
        "sae_context": subject.context,
        "sae_listed": dict(subject.listed.get(hook_name, {})),
        "batch_threshold": isinstance(sae, BatchTopKTrainingSAE),
    }


def about_corpus(corpus: Corpus) -> dict[str, Any]:
    """What a record says about its corpus."""
    tokens = corpus.tokens.astype(np.int64)
    replaced = {} if corpus.exempt_bos else {"bos_replaced": corpus.bos}
    return {
        "corpus": corpus.name,
        "split": corpus.split,
        "corpus_sha256": hashlib.sha256(tokens.tobytes()).hexdigest(),
        "population": corpus.population,
        "n_ctx": corpus.n_ctx,
        "bos": corpus.bos,
        **replaced,
        **({"n_list": corpus.n_list} if corpus.n_list else {}),
        "n_too_short": corpus.n_too_short,
        "n_similar": corpus.n_similar,
        "notes": list(corpus.notes),
    }

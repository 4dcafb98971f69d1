"""Certificates for SAE-based explanations of frozen language models."""

from importlib import import_module

_HOME = {
    "load_subject": "subjects.loading",
    "Subject": "subjects.subject",
    "load_corpus": "corpora.loading",
    "Corpus": "corpora.corpus",
    "collect": "measurement.collect",
    "collect_layers": "measurement.collect",
    "SequenceLosses": "records",
    "certify": "certificates.certificate",
    "Certificate": "certificates.certificate",
    "certify_stream": "certificates.stopping",
    "compare": "certificates.comparison",
}
__all__ = list(_HOME)


def __getattr__(
    name: str,
) -> object:  # torch is imported only when something that needs it is asked for
    if name not in _HOME:
        raise AttributeError(
            f"module 'saecert' has no attribute '{name}'; it has {', '.join(__all__)}"
        )
    return getattr(import_module(f"saecert.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__

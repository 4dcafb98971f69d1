"""A hub that accepts and never answers."""

import socket
import time

import pytest
from huggingface_hub import constants

from saecert import load_corpus, load_subject
from saecert.corpora import sources


@pytest.fixture
def silent_hub(monkeypatch, tmp_path):
    """A server that accepts connections and says nothing; every request gives up after a second."""
    server = socket.create_server(("127.0.0.1", 0))
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 1)
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 1)
    yield
    server.close()


def test_a_model_on_a_silent_hub(silent_hub):
    start = time.monotonic()
    with pytest.raises(ConnectionError, match="cannot get 'openai-community/gpt2' from http"):
        load_subject("gpt2-small")
    assert time.monotonic() - start < 8


def test_an_sae_on_a_silent_hub(silent_hub, folders):
    start = time.monotonic()
    with pytest.raises(ConnectionError, match="cannot get 'owner/repository'"):
        load_subject(folders["llama"], sae="hf:owner/repository/folder")
    assert time.monotonic() - start < 8


def test_a_dataset_on_a_silent_hub(silent_hub, subject):
    sources.hub_rows.cache_clear()
    start = time.monotonic()
    with pytest.raises(ValueError, match="cannot read 'hf:owner/texts' from the hub"):
        load_corpus("hf:owner/texts", subject)
    assert time.monotonic() - start < 8

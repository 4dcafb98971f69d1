"""A hub that accepts and never answers, or answers first and is silent then."""

import json
import socket
import threading
import time
from contextlib import suppress

import datasets
import pytest
from huggingface_hub import constants

from saecert import load_corpus, load_subject
from saecert.corpora import sources

SOON = 20
"""Seconds: three are usual, and those who ask again and again would go on for more than thirty."""


def impatient(monkeypatch, server, cache):
    """Every request goes to this server, and gives up after a second."""
    endpoint = f"http://127.0.0.1:{server.getsockname()[1]}"
    files = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", files)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 1)
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 1)
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", endpoint)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)


@pytest.fixture
def silent_hub(monkeypatch, tmp_path):
    """A server that accepts connections and says nothing."""
    server = socket.create_server(("127.0.0.1", 0))
    impatient(monkeypatch, server, tmp_path / "hub")
    yield
    server.close()


@pytest.fixture
def tiring_hub(monkeypatch, tmp_path):
    """A server that answers the first requests with what it is given, and no further one.

    It returns the list of paths that it was asked for.
    """
    server = socket.create_server(("127.0.0.1", 0))
    impatient(monkeypatch, server, tmp_path / "hub")
    ended = threading.Event()
    threads: list[threading.Thread] = []

    def started(target, *arguments):
        threads.append(threading.Thread(target=target, args=arguments, daemon=True))
        threads[-1].start()

    def begin(*answers) -> list[str]:
        asked: list[str] = []
        left = list(answers)

        def serve(connection):
            connection.settimeout(0.1)
            with connection:
                while not ended.is_set():
                    with suppress(TimeoutError):
                        request = connection.recv(65536)
                        if not request:
                            return
                        asked.append(request.split()[1].decode())
                        if left:
                            connection.sendall(reply(left.pop(0)))

        def accept():
            with suppress(OSError):  # of a closed server
                while True:
                    started(serve, server.accept()[0])

        started(accept)
        return asked

    yield begin
    ended.set()
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    for thread in threads:
        thread.join(timeout=5)


def reply(value) -> bytes:
    """An answer of the hub."""
    body = json.dumps(value).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


def test_a_model_on_a_silent_hub(silent_hub):
    start = time.monotonic()
    with pytest.raises(ConnectionError, match="cannot get 'openai-community/gpt2' from http"):
        load_subject("gpt2-small")
    assert time.monotonic() - start < SOON


def test_an_sae_on_a_silent_hub(silent_hub, folders):
    start = time.monotonic()
    with pytest.raises(ConnectionError, match="cannot get 'owner/repository'"):
        load_subject(folders["llama"], sae="hf:owner/repository/folder")
    assert time.monotonic() - start < SOON


def test_a_dataset_on_a_silent_hub(silent_hub, subject):
    sources.hub_rows.cache_clear()
    start = time.monotonic()
    with pytest.raises(ValueError, match="cannot read 'hf:owner/texts' from the hub"):
        load_corpus("hf:owner/texts", subject)
    assert time.monotonic() - start < SOON


COMMIT = "0123456789" * 4


def test_a_model_on_a_hub_that_falls_silent(tiring_hub):
    """Its files are known, and none of them comes."""
    info = {"id": "openai-community/gpt2", "sha": COMMIT, "siblings": []}
    files = [{"type": "file", "path": "config.json", "size": 2, "oid": COMMIT}]
    asked = tiring_hub(info, files)
    start = time.monotonic()
    with pytest.raises(ConnectionError, match="cannot get 'openai-community/gpt2' from http"):
        load_subject("gpt2-small")
    assert time.monotonic() - start < SOON
    assert "config.json" in asked[2]


def test_a_dataset_on_a_hub_that_falls_silent(tiring_hub, subject):
    """Its commit is known, and what streams it hears nothing more."""
    sources.hub_rows.cache_clear()
    asked = tiring_hub({"id": "owner/texts", "sha": COMMIT})
    start = time.monotonic()
    with pytest.raises(ValueError, match="cannot read 'hf:owner/texts' from the hub"):
        load_corpus("hf:owner/texts", subject)
    assert time.monotonic() - start < SOON
    assert COMMIT in asked[1]

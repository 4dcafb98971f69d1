"""Getting files from the Hugging Face hub: from the cache or downloaded, never waiting for long."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub import constants, get_session, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

HUB = "hf:"
"""Prefix of what is on the hub: ``hf:owner/repository`` or ``hf:owner/repository/folder``."""
ATTEMPTS = 2
"""How many times the limit of one request a host may be silent before nothing more is asked."""


@contextmanager
def patience() -> Iterator[None]:
    """Requests to the hub give up when nothing arrives for some seconds.

    The client of huggingface_hub waits without end unless told otherwise, and some of its calls
    are not told. The limit is ``HF_HUB_ETAG_TIMEOUT`` or ``HF_HUB_DOWNLOAD_TIMEOUT``, whichever is
    longer (10 seconds each unless set in the environment). Others ask again and again, for minutes:
    once a host has been silent for twice that limit, the next request to it is a ConnectionError.
    """
    seconds = max(constants.HF_HUB_ETAG_TIMEOUT, constants.HF_HUB_DOWNLOAD_TIMEOUT)
    asked: dict[str, float] = {}  # since when each host has not answered

    def limit(request: Any) -> None:
        now = time.monotonic()
        silent = now - asked.setdefault(_host(request), now)
        if silent > ATTEMPTS * seconds:
            raise ConnectionError(f"{_host(request)} has been silent for {silent:.0f} s")
        given = request.extensions.get("timeout", {})
        request.extensions["timeout"] = {
            stage: min(given.get(stage) or seconds, seconds)
            for stage in ("connect", "read", "write", "pool")
        }

    def answered(response: Any) -> None:
        asked.pop(_host(response.request), None)

    client = get_session()
    hooks = client.event_hooks
    client.event_hooks = {
        "request": [*hooks["request"], limit],
        "response": [*hooks["response"], answered],
    }
    try:
        yield
    finally:
        client.event_hooks = hooks


def _host(request: Any) -> str:
    """Name and port."""
    return request.url.netloc.decode()


def fetch(repo: str, *patterns: str, revision: str | None = None) -> Path:
    """Local folder with the files of hub repository `repo` that match any of `patterns`.

    They are taken from the cache, else downloaded. Patterns without a slash are of files at its
    top: many a repository holds a second copy in a folder.

    Raises
    ------
    PermissionError
        A gated repository without a token, or one whose licence its owner has not accepted.
    ValueError
        No such repository or revision.
    ConnectionError
        The hub cannot be reached, or does not answer, and the cache does not have the files.
        All of these in seconds.
    """
    below = None if any("/" in pattern for pattern in patterns) else ["*/*"]
    endpoint = constants.ENDPOINT
    try:
        with patience():
            folder = snapshot_download(
                repo, revision=revision, allow_patterns=list(patterns), ignore_patterns=below
            )
    except GatedRepoError as error:
        raise PermissionError(
            f"'{repo}' is gated: accept its licence at {endpoint}/{repo} and set HF_TOKEN to a "
            f"token of that account ({endpoint}/settings/tokens)"
        ) from error
    except RevisionNotFoundError as error:
        raise ValueError(
            f"'{repo}' has no revision '{revision}': give a branch, a tag or a commit"
        ) from error
    except RepositoryNotFoundError as error:
        raise ValueError(
            f"the hub has no repository '{repo}', or keeps it from the token in HF_TOKEN"
        ) from error
    except (OSError, HTTPError) as error:
        raise ConnectionError(
            f"cannot get '{repo}' from {endpoint}, and the cache lacks files of it: check the "
            "network (HTTPS_PROXY; not HF_HUB_OFFLINE=1), set HF_HOME to a cache that has it or "
            "HF_ENDPOINT to a mirror, or give a local folder"
        ) from error
    return Path(folder)

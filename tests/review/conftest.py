"""One real Argilla server for all review tests, its environment made once and kept in the user's cache.

Tests that need it carry `xdist_group("argilla")`, so that one worker starts it once.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import platformdirs
import pytest

from curate.review import server
from curate.review.environment import ensure_environment
from tests.schemas.conftest import postgres  # noqa: F401  a private PostgreSQL for the tests here

# A server takes half a minute to start and these tests several, so they run only where they are asked for.
if not os.environ.get("PAIRSMITH_TEST_ARGILLA"):
    collect_ignore_glob = ["test_server*", "test_engine*", "test_push*", "test_pull*"]


def argilla_client() -> Any:
    """The module `argilla`; the test is skipped where the extra `review` is not installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the client's own models warn under pydantic's newest versions
        return pytest.importorskip("argilla")


def free_port() -> int:
    """A port that nothing listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def venv() -> Path:
    """The folder of the server's environment, shared by every test run of this user (1 to 2 minutes the first time)."""
    name = f"argilla-tests-{sys.version_info[0]}.{sys.version_info[1]}"
    folder = Path(os.environ.get("PAIRSMITH_TEST_VENV") or Path(platformdirs.user_cache_dir("pairsmith")) / name)
    ensure_environment(folder)
    return folder


@pytest.fixture(scope="session")
def argilla_server(venv: Path) -> Iterator[server.ArgillaServer]:
    """A server of this session's own, on SQLite, on a free port."""
    home = Path(tempfile.mkdtemp(prefix="arg-"))
    try:
        yield server.up(home, port=free_port(), venv=venv)
    finally:
        server.down(home)
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def connect(argilla_server: server.ArgillaServer) -> Iterator[Callable[[str], Any]]:
    """The official client for an API key; its connections are closed after the test."""
    made: list[Any] = []

    def client_for(api_key: str) -> Any:
        made.append(argilla_client().Argilla(api_url=argilla_server.url, api_key=api_key))
        return made[-1]

    yield client_for
    for client in made:
        client.http_client.close()


@pytest.fixture
def client(argilla_server: server.ArgillaServer, connect: Callable[[str], Any]) -> Any:
    """The official client, signed in as the owner."""
    return connect(argilla_server.api_key)


def wait_until(true: Any, timeout_s: float = 90.0) -> None:
    """Until `true()` is; the test fails after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.2)

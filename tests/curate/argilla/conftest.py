"""Real Argilla servers for the review tests. Each is started once; their environment is installed once and kept in the
user's cache."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import platformdirs
import pytest
import sqlalchemy as sa

from curate.argilla import server
from curate.argilla.venv import ensure_environment, find_server_python
from schemas.errors import MissingDependency
from schemas.ports import free_port
from tests.schemas.conftest import postgres  # noqa: F401  a private PostgreSQL for the tests here

DATABASE = os.environ.get("PAIRSMITH_ARGILLA_DATABASE", "SQLite")
assert DATABASE in ("SQLite", "PostgreSQL"), f"PAIRSMITH_ARGILLA_DATABASE is SQLite or PostgreSQL, not {DATABASE}"


START_S = 900.0  # for a server to start on a busy machine
_TIMEOUT_S = 1_200  # the first test of a worker waits for the environment to be installed, by a pip that may compete


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give every test here enough time for the server's environment to be installed, or for two long waits."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            own = item.get_closest_marker("timeout")
            least = max(_TIMEOUT_S, own.args[0] if own and own.args else 0)
            item.add_marker(pytest.mark.timeout(least), append=False)


class _ArgillaLater:
    """The module `argilla`, imported at the first use of a name in it."""

    def __getattr__(self, name: str) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the client's own models warn under pydantic's newest versions
            return getattr(import_module("argilla"), name)


def argilla_client() -> Any:
    """The module `argilla`; skips the file where the extra `review` is not installed. It is not imported yet: these
    files run on one worker, and all workers collect them."""
    if find_spec("argilla") is None:
        pytest.skip("needs pairsmith[review]", allow_module_level=True)
    return _ArgillaLater()


@pytest.fixture(scope="session", autouse=True)
def _import_argilla() -> None:
    """Import it, without its warnings, before any test does."""
    if find_spec("argilla"):
        _ = _ArgillaLater().Argilla


@pytest.fixture(scope="session")
def venv() -> Path:
    """The folder of the server's environment, shared by every test run of this user (1 to 2 minutes the first time)."""
    try:
        find_server_python()
    except MissingDependency as error:
        pytest.skip(str(error))
    name = f"argilla-tests-{sys.version_info[0]}.{sys.version_info[1]}"
    folder = Path(os.environ.get("PAIRSMITH_TEST_VENV") or Path(platformdirs.user_cache_dir("pairsmith")) / name)
    ensure_environment(folder)
    return folder


def empty_database(server_url: str, name: str) -> str:
    """The URL of a new database on the private PostgreSQL server."""
    engine = sa.create_engine(
        sa.make_url(server_url).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT"
    )
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return server_url.replace("/postgres?", f"/{name}?")


@contextmanager
def started(venv: Path, database_url: str | None = None) -> Iterator[server.ArgillaServer]:
    """A separate server on a free port, removed afterwards. The path of its home contains a space, as on macOS."""
    home = Path(tempfile.mkdtemp(prefix="arg -"))
    try:
        yield server.up(home, port=free_port(), database_url=database_url, venv=venv, start_timeout_s=START_S)
    finally:
        server.down(home)
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def argilla_on_sqlite(venv: Path) -> Iterator[server.ArgillaServer]:
    with started(venv) as running:
        yield running


@pytest.fixture(scope="session")
def argilla_on_postgresql(venv: Path, postgres: str) -> Iterator[server.ArgillaServer]:  # noqa: F811
    with started(venv, empty_database(postgres, f"argilla_{uuid.uuid4().hex[:8]}")) as running:
        yield running


@pytest.fixture(scope="session", params=["SQLite", "PostgreSQL"])
def on_each_database(request: pytest.FixtureRequest) -> server.ArgillaServer:
    """A server on one database, then on the other."""
    running: server.ArgillaServer = request.getfixturevalue(f"argilla_on_{request.param.lower()}")
    assert server.status(running.home).database == request.param
    return running


@pytest.fixture(scope="session")
def argilla_server(request: pytest.FixtureRequest) -> server.ArgillaServer:
    """The server for tests that need only one database: SQLite, or PostgreSQL under `make test-postgresql`."""
    running: server.ArgillaServer = request.getfixturevalue(f"argilla_on_{DATABASE.lower()}")
    assert server.status(running.home).database == DATABASE
    return running


@pytest.fixture
def connect(argilla_server: server.ArgillaServer) -> Iterator[Callable[[str], Any]]:
    """Yield a function that returns the official client for an API key; connections are closed after the test."""
    clients: list[Any] = []

    def client_for(api_key: str) -> Any:
        clients.append(argilla_client().Argilla(api_url=argilla_server.url, api_key=api_key))
        return clients[-1]

    yield client_for
    for client in clients:
        client.http_client.close()


@pytest.fixture
def client(argilla_server: server.ArgillaServer, connect: Callable[[str], Any]) -> Any:
    """The official client, signed in as the owner."""
    return connect(argilla_server.api_key)


def wait_until(true: Any, timeout_s: float = 500.0) -> None:
    """Wait until `true()` is true; the test fails after `timeout_s`. On a busy machine, a killed server takes minutes
    to come back."""
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.2)


def child(running: server.ArgillaServer, name: str) -> server.Child:
    """A process of a server: redis, server or worker."""
    return next(one for one in server.status(running.home).children if one.name == name)


@contextmanager
def killed(running: server.ArgillaServer, name: str) -> Iterator[None]:
    """Kill a process of a server with kill -9. Nothing restarts it before the end of the `with`."""
    supervisor, pid = json.loads((running.home / "server.json").read_text())["supervisor"], child(running, name).pid
    assert pid is not None
    os.kill(supervisor, signal.SIGSTOP)
    try:
        os.kill(pid, signal.SIGKILL)
        state = ["ps", "-o", "stat=", "-p", str(pid)]
        wait_until(lambda: subprocess.run(state, capture_output=True, text=True).stdout.startswith("Z"))
        yield
    finally:
        os.kill(supervisor, signal.SIGCONT)

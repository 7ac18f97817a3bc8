"""`pairsmith serve`: what prevents it from starting is reported with a message."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pairsmith.commands import start
from pairsmith.commands.serve import check_reach
from pairsmith.serve.settings import Settings
from pairsmith.serve.workspace import Workspace
from synth.embedded.child import child_environment
from tests.pairsmith.conftest import answer
from tests.serve.conftest import write_project
from tests.serve.served import Served
from tests.synth.loopback import LoopbackTeacher


def test_taken_port_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The message says what to do, before a workspace or a link is created."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert start(["serve", str(tmp_path / "here"), "--no-auth", "--port", str(port)]) == 2
    assert f"port {port} is in use" in capsys.readouterr().err
    assert not (tmp_path / "here").exists()


@pytest.mark.parametrize("words", [["X", "--port", "abc"], ["up", "X", "--port", "abc"], ["X", "--prot", "1"]])
def test_a_wrong_option_is_answered_with_a_command_of_the_help(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever had typed `pairsmith serve X` was sent to the help of `serve up`, which no page mentions."""
    assert start(["serve", *words]) == 2
    assert "Try 'pairsmith serve --help' for help." in capsys.readouterr().err


def test_service_imports_only_what_it_needs() -> None:
    """Curation, generation and training run in job processes, and numeric libraries are loaded with the pages that need
    them. A starting service has no numpy (10 MB), no HTTP client, no gates and no pool (25 MB together)."""
    shown = "import sys, pairsmith.serve.app; print(*sys.modules)"
    begun = subprocess.run(
        [sys.executable, "-P", "-c", shown],
        check=True,
        capture_output=True,
        text=True,
        timeout=200,
        env=child_environment(),
    )
    modules = set(begun.stdout.split())
    assert "pairsmith.serve.app" in modules
    heavy = {"numpy", "aiohttp", "rich", "datasets", "pyarrow", "torch"}
    assert not (heavy | {"curate.gates", "curate.pool", "curate.export.dataset"}) & modules


@pytest.mark.parametrize("words", [["--host", "0.0.0.0", "--no-auth"], ["--no-auth", "--url", "https://a.test"]])
def test_no_auth_is_refused_for_public_addresses(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--no-auth` is refused with a public address or behind a proxy."""
    assert start(["serve", str(tmp_path / "here"), "--port", "0", *words]) == 2
    assert "--no-auth" in capsys.readouterr().err


@pytest.mark.parametrize(
    "url", ["tools.test", "https://", "https://[::1", "https://tools.test:port", "ftp://tools.test"]
)
def test_what_is_no_address_is_refused(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a host no link could be made from it, and impossible brackets or ports ended in a traceback."""
    assert start(["serve", str(tmp_path / "here"), "--port", "0", "--url", url]) == 2
    assert f"--url {url} is not an address. Write it as https://HOST." in capsys.readouterr().err


@pytest.mark.parametrize("url", ["https://tools.test/pairsmith", "http://127.0.0.1:8080/a/", "https://tools.test/?a=1"])
def test_an_address_with_a_path_is_refused(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Behind a proxy that maps a path to the service, each link and redirect would leave that path. The service once
    started, and printed an invitation that led to a page whose links led nowhere."""
    assert start(["serve", str(tmp_path / "here"), "--port", "0", "--url", url]) == 2
    assert f"--url {url} has a path" in capsys.readouterr().err
    check_reach(Settings("127.0.0.1", 0, url="https://tools.test/"))


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="needs a folder in which nobody may write")
@pytest.mark.parametrize("folder", ["/sys/kernel/pairsmith", "/proc/pairsmith"])
def test_unwritable_folder_is_reported(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    """For a folder of another user or a read-only disk the message names the file and what to do."""
    assert start(["serve", folder, "--no-auth", "--port", "0"]) == 6
    printed = capsys.readouterr().err
    assert printed.startswith(f"error: {folder}: it cannot be used (")
    assert "read and write access there" in printed
    assert "Traceback" not in printed


def test_unavailable_database_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The output contains neither the password nor a traceback."""
    words = ["serve", str(tmp_path), "--no-auth", "--port", "0", "--database"]
    assert start([*words, "mysql://ann:s3cr3t@127.0.0.1:1/x"]) == 6
    printed = capsys.readouterr().err
    assert "--database: it does not begin with postgresql://" in printed
    assert start([*words, "postgresql://ann:s3cr3t@127.0.0.1:1/x"]) == 6
    printed += capsys.readouterr().err
    assert "the database reports an error" in printed
    assert "Traceback" not in printed
    assert "s3cr3t" not in printed


@pytest.fixture
def held() -> Iterator[tuple[LoopbackTeacher, threading.Event]]:
    """A teacher that answers, slowly, once the event is set."""
    released = threading.Event()
    with LoopbackTeacher(lambda ask: replace(answer(ask), delay_s=0.5, when=released.is_set)) as teacher:
        yield teacher, released


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_server_stops_gracefully(
    tmp_path: Path, held: tuple[LoopbackTeacher, threading.Event], number: signal.Signals
) -> None:
    """Whatever its jobs are doing, one of them stopped by a user, the server says that they keep running, without a
    traceback. The next server follows the running one to its end, and with `--json-logs` logs its end and each request
    as JSON."""
    workspace, (teacher, released) = Workspace(tmp_path / "space"), held
    for slug in ("one", "two"):
        write_project(workspace, slug, teacher.url)
    with Served(tmp_path / "space") as server:
        server.ask("/api/v1/teachers/allowed", {"url": teacher.url})
        stopped, left = (
            server.ask(f"/api/v1/projects/{slug}/jobs", {"command": "generate"})["id"] for slug in ("one", "two")
        )
        server.job(stopped, "running")
        server.ask(f"/api/v1/jobs/{stopped}/cancel", {})
        server.job(stopped, "stopping", "stopped")
        released.set()
        server.job(stopped, "stopped")
        server.job(left, "running", "done")
        with urllib.request.urlopen(f"{server.url}/api/v1/events", timeout=60) as stream:
            assert stream.readline() == b"retry: 1000\n"
            printed = server.stop(number)
            stream.read()  # raises if the stream is cut off instead of ended
        assert printed.splitlines()[-1] == "stopped; jobs keep running, and the next server takes them over."
        assert "Traceback" not in printed
        assert "ERROR" not in printed
    with Served(tmp_path / "space", "--json-logs") as after:
        after.job(left, "done")
        again = after.ask(f"/api/v1/jobs/{stopped}/continue", {})["id"]
        after.wait_for_output(f"job {again} of one is done")
        entries = [json.loads(line) for line in after.stop(number).splitlines()[2:-1]]
    assert any(line["message"] == f"job {again} of one is done" and line["job"] == again for line in entries)
    asked = next(line for line in entries if line["message"] == f"GET /api/v1/jobs/{left}")
    assert (asked["status"], asked["user"], asked["level"]) == (200, "local", "info")
    assert len(asked["request"]) == 16

"""`pairsmith serve`: what keeps it from starting is a sentence."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from pairsmith.commands import start
from pairsmith.serve.workspace import Workspace
from synth.embedded.child import child_environment
from tests.serve.conftest import write_project
from tests.serve.served import Served
from tests.synth.loopback import LoopbackTeacher


def test_a_port_that_is_taken_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two servers at one port: the command says so with what to do, before it makes a workspace or a link."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert start(["serve", str(tmp_path / "here"), "--no-auth", "--port", str(port)]) == 2
    assert f"port {port} is in use" in capsys.readouterr().err
    assert not (tmp_path / "here").exists()


def test_the_service_holds_what_it_serves_with() -> None:
    """What curates, asks and trains runs in the processes of jobs, and what a page of figures needs comes with that
    page: a service that begins holds no arrays (10 MB), no HTTP client, no gates and no pool (together 25 MB)."""
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
    heavy = {"numpy", "aiohttp", "rich", "datasets", "pyarrow", "torch", "curate.gates", "curate.pool", "curate.export"}
    assert not heavy & modules


@pytest.mark.parametrize("words", [["--host", "0.0.0.0", "--no-auth"], ["--no-auth", "--url", "https://a.test"]])
def test_nobody_signs_in_only_on_this_machine(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An address that others reach, or a proxy before it, is refused where nobody signs in."""
    assert start(["serve", str(tmp_path / "here"), "--port", "0", *words]) == 2
    assert "--no-auth" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="needs a folder in which nobody may write")
def test_a_folder_that_is_shut_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    """Of somebody else's folder or a disk that is read-only it says which file and what to do: it is no defect."""
    assert start(["serve", "/sys/kernel/pairsmith", "--no-auth", "--port", "0"]) == 6
    printed = capsys.readouterr().err
    assert printed.startswith("error: /sys/kernel/pairsmith: it cannot be used (")
    assert "read and write access there" in printed
    assert "Traceback" not in printed


def test_a_database_that_is_away_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The address is named without its password, and no traceback is shown."""
    words = ["--no-auth", "--port", "0", "--database", "postgresql://ann:s3cr3t@127.0.0.1:1/x"]
    assert start(["serve", str(tmp_path), *words]) == 6
    printed = capsys.readouterr().err
    assert "the database reports an error" in printed
    assert "Traceback" not in printed
    assert "s3cr3t" not in printed


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_stops_in_order(tmp_path: Path, slow_teacher: LoopbackTeacher, number: signal.Signals) -> None:
    """Whatever its jobs are doing, one of which was stopped by a person: it says that they go on, and no traceback. The
    next server takes the one that ran to its end, and with `--json-logs` tells of it and of each request in JSON."""
    workspace = Workspace(tmp_path / "space")
    for slug in ("one", "two"):
        write_project(workspace, slug, slow_teacher.url)
    with Served(tmp_path / "space") as server:
        server.ask("/api/v1/teachers/allowed", {"url": slow_teacher.url})
        stopped, left = (
            server.ask(f"/api/v1/projects/{slug}/jobs", {"command": "generate"})["id"] for slug in ("one", "two")
        )
        server.job(stopped, "running")
        server.ask(f"/api/v1/jobs/{stopped}/cancel", {})
        server.job(stopped, "stopped")
        server.job(left, "running", "done")
        with urllib.request.urlopen(f"{server.url}/api/v1/events", timeout=60) as stream:
            assert stream.readline() == b"retry: 1000\n"
            printed = server.stop(number)
            stream.read()  # raises where it is cut, and does not end
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

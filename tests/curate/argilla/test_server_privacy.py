"""Secrets of the shell do not reach the server, its child processes or the disk, and only the owner can read the
server's files."""

from __future__ import annotations

import json
import os
import shutil
import socket
import stat
import sys
import tempfile
import urllib.request
from contextlib import AbstractContextManager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from curate.argilla import launch, server, supervisor
from curate.argilla.launch import restrict_permissions, server_variables
from curate.argilla.probe import is_local_address, public_url
from pairsmith.stages.review import page
from schemas.errors import ReviewError
from schemas.ports import free_port
from tests.curate.argilla.conftest import wait_until
from tests.curate.review.review_project import project
from tests.servers import Handler, handled

CANARY = "sk-FAKE-canary-4711"
SLEEPS = "import time\nopen('of-a-child', 'w').write('x')\ntime.sleep(600)\n"


@pytest.fixture
def fake_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a fake server that only sleeps, so that what `up` starts can be inspected without Argilla."""
    code = tmp_path / "code"
    code.mkdir()
    (code / "serve.py").write_text(SLEEPS)
    (code / "work.py").write_text(SLEEPS)
    monkeypatch.setattr(launch, "SERVER_CODE", code)
    return code


def start(home: Path, host: str = "127.0.0.1") -> list[int]:
    """Start supervisor and children in `home` as `up` does; return their process ids."""
    home.mkdir(exist_ok=True)
    restrict_permissions(home)
    environment = server_variables(home, None, "redis://127.0.0.1:1/0", "hush")
    launch.start_supervisor(Path(sys.executable), environment, home, host, free_port(), "redis://127.0.0.1:1/0")
    wait_until(lambda: (home / "server.json").exists() and (home / "data" / "of-a-child").exists())
    facts = json.loads((home / "server.json").read_text())
    return [facts["supervisor"], *(child["pid"] for child in facts["children"].values())]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_no_secret_of_the_shell_reaches_a_process_or_file(
    tmp_path: Path, fake_server: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key in the environment of `up` is in no file under the home folder and in the environment of neither the
    supervisor nor its children. What the children need (paths, proxies, certificates) is passed on."""
    for name in ("OPENAI_API_KEY", "MY_OWN_THING", "PIP_INDEX_URL", "PGPASSWORD", "ARGILLA_API_KEY"):
        monkeypatch.setenv(name, CANARY)
    monkeypatch.setenv("WEB_CONCURRENCY", "2")
    monkeypatch.setenv("https_proxy", "http://proxy.invalid:3128")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/python/lib")  # some Pythons do not start without it
    home = tmp_path / "home"
    pids = start(home)
    try:
        for pid in pids:
            seen = Path(f"/proc/{pid}/environ").read_bytes().decode()
            assert CANARY not in seen
            assert "WEB_CONCURRENCY" not in seen
            assert "https_proxy=http://proxy.invalid:3128" in seen
            assert "LD_LIBRARY_PATH=/opt/python/lib" in seen
            assert f"PATH={os.environ['PATH']}" in seen
        assert len(pids) == 3
    finally:
        server.down(home)
    for path in home.rglob("*"):
        assert path.is_dir() or CANARY.encode() not in path.read_bytes(), path


CALLS = """
import os, sys, httpx
answer = httpx.get(os.environ["PYTHONPATH"], timeout=200).text
open("heard-from", "w").write(answer)
import time
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("configured", ["", "*"])
def test_worker_can_fork_on_macos(
    configured: str, tmp_path: Path, fake_server: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker forks for each job. On macOS a fork is killed if Objective-C considers it unsafe, unless an
    environment variable allows it, or if it queries the system's proxies, which Python does only if no proxy variable
    is set. So both kinds of variables are set, and a later `up` or `down` leaves the first one in the children's
    configuration."""
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, configured)
    home = tmp_path / "home"
    for pid in start(home)[1:]:
        lines = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
        seen = dict(line.split("=", 1) for line in lines if line)
        assert seen["OBJC_DISABLE_INITIALIZE_FORK_SAFETY"] == "YES"
        with pytest.MonkeyPatch.context() as theirs:
            for name in list(os.environ):
                theirs.delenv(name)
            for name, value in seen.items():
                theirs.setenv(name, value)
            assert urllib.request.getproxies_environment()
    server.down(home)
    restrict_permissions(home)
    assert "OBJC_DISABLE" in (home / "supervisor.json").read_text()


@pytest.mark.parametrize("configured", ["", "intranet.example", "*"])
def test_local_webhooks_use_no_proxy(
    configured: str, tmp_path: Path, fake_server: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A webhook to 127.0.0.1 reaches the local listener, whatever proxy the shell sets for other hosts; the shell's own
    `no_proxy` is kept."""
    (fake_server / "work.py").write_text(CALLS)

    def answering(text: str) -> AbstractContextManager[str]:
        class Answering(Handler):
            def do_GET(self) -> None:
                self.reply(text.encode())

        return handled(Answering)

    home = tmp_path / "home"
    with answering("us") as ours, answering("a proxy") as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy)
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.setenv(name, configured)
        home.mkdir()
        restrict_permissions(home)
        environment = {**server_variables(home, None, "redis://127.0.0.1:1/0", "hush"), "PYTHONPATH": ours}
        launch.start_supervisor(
            Path(sys.executable), environment, home, "127.0.0.1", free_port(), "redis://127.0.0.1:1/0"
        )
        try:
            received = home / "data" / "heard-from"
            wait_until(lambda: received.exists() and received.read_text())
            child = json.loads((home / "supervisor.json").read_text())["children"][-1]
        finally:
            server.down(home)
    assert received.read_text() == "us"
    assert child["environment"]["no_proxy"].split(",")[0] == (configured or "localhost")


def test_local_addresses_are_recognised() -> None:
    """All addresses of this machine are local, and no host name that only begins like one is."""
    for url in ("http://127.0.0.1:6900", "http://localhost:6900/x", "http://[::1]:6900", "http://127.4.5.6"):
        assert is_local_address(url), url
    for url in ("http://127.0.0.1.example.org", "http://192.0.2.1:6900", "https://argilla.example.org//127.0.0.1", "x"):
        assert not is_local_address(url), url
    if own := public_url("0.0.0.0", 6900):  # on a machine with a network
        assert is_local_address(own) or not own.split("//")[1][0].isdigit()


def test_secrets_written_by_an_earlier_version_are_removed(tmp_path: Path) -> None:
    """Earlier versions wrote the whole shell environment into `supervisor.json`. `up` and `down` remove it and keep our
    own variables."""
    ours = {"ARGILLA_DATABASE_URL": "sqlite+aiosqlite:///x", "PYTHONPATH": "/code", "PATH": "/bin"}
    old = {
        "name": "server",
        "argv": ["python"],
        "environment": {**ours, "OPENAI_API_KEY": CANARY, "WEB_CONCURRENCY": "2"},
    }

    def refused_up(home: Path) -> None:
        with pytest.raises(ReviewError, match="was used with SQLite"):
            server.up(home, database_url="postgresql://nowhere/x")

    for call in (server.down, refused_up):
        supervisor.write_json(tmp_path / "supervisor.json", {"facts": {"database": "SQLite"}, "children": [old]})
        call(tmp_path)
        kept = json.loads((tmp_path / "supervisor.json").read_text())
        assert kept["children"][0]["environment"] == ours
        assert kept["facts"] == {"database": "SQLite"}


def test_server_files_are_readable_only_by_their_owner(tmp_path: Path, fake_server: Path) -> None:
    """Even if the home folder existed with mode 0755 and world-readable files, nothing in `data/` and `logs/` is
    accessible to others afterwards, nor are files that a child creates later."""
    home = tmp_path / "home"
    for folder in (home, home / "data", home / "logs", home / "data" / "redis"):
        folder.mkdir(mode=0o755)
    (home / "data" / "argilla.db").write_text("hashes")
    (home / "data" / "argilla.db").chmod(0o644)
    before = os.umask(0o022)
    try:
        start(home)
    finally:
        os.umask(before)
        server.down(home)
    checked = [home / "data", home / "logs", *(home / "data").rglob("*"), *(home / "logs").rglob("*")]
    assert home / "data" / "of-a-child" in checked
    assert home / "logs" / "server.log" in checked
    for path in checked:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


@pytest.mark.parametrize("folder", ["short", "a-folder-of-somebody-on-a-cluster/" * 4])
def test_redis_socket_path_is_short_enough(folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Unix socket path is limited to about a hundred bytes, so a long temporary folder is not used for it."""
    (tmp_path / folder).mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / folder))
    path = Path(server_variables(tmp_path, None, None, "hush")["ARGILLA_REDIS_URL"].removeprefix("unix://"))
    try:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(path))
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    finally:
        shutil.rmtree(path.parent)
    assert not list((tmp_path / folder).iterdir())


def test_server_that_ends_while_starting_is_reported_at_once(tmp_path: Path, fake_server: Path) -> None:
    """If the server process ends while starting, `up` fails at once with its last output, without waiting for the time
    limit."""
    (fake_server / "serve.py").write_text("import sys\nsys.exit('no engine is registered')\n")
    home = tmp_path / "home"
    home.mkdir()
    restrict_permissions(home)
    environment = server_variables(home, None, "redis://127.0.0.1:1/0", "hush")
    port = free_port()
    launch.start_supervisor(Path(sys.executable), environment, home, "127.0.0.1", port, "redis://127.0.0.1:1/0")
    with pytest.raises(ReviewError, match="ended while it was starting: no engine is registered"):
        server._wait_until_ready(home, "127.0.0.1", port, 60, lambda *_: None, already_running=False)
    assert server.status(home).state == "stopped"


def test_unresponsive_server_is_not_restarted_by_up(tmp_path: Path, fake_server: Path) -> None:
    """`up` reports that the server did not answer in time and how to restart it, but stops nothing, because others may
    be using it."""
    home = tmp_path / "home"
    pids = start(home)
    try:
        restart = "`pairsmith review down`, then `pairsmith review up`"
        with pytest.raises(ReviewError, match=rf"did not answer within 1 s.*{restart}"):
            server.up(home, start_timeout_s=1)
        assert [child.pid for child in server.status(home).children] == pids[1:]
    finally:
        server.down(home)


def test_public_server_is_shown_with_its_public_url_and_a_warning(
    tmp_path: Path, fake_server: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The URL shown for annotators elsewhere is not one of this machine only, with a warning that passwords are sent
    unencrypted and that a proxy with TLS is needed. For a local server the message says how to make it reachable."""
    project_ = project(tmp_path)
    for host in "0.0.0.0", "127.0.0.1":
        home = tmp_path / f"home-{host}"
        monkeypatch.setenv("PAIRSMITH_ARGILLA_HOME", str(home))
        start(home, host)
        try:
            url, ((_, warning),) = page(project_, "http://127.0.0.1:6900")
        finally:
            server.down(home)
        if host == "0.0.0.0":
            assert not {"127.0.0.1", "0.0.0.0"} & {urlsplit(url).hostname}
            assert all(part in warning for part in ("unencrypted", "TLS"))
        else:
            assert url == "http://127.0.0.1:6900"
            assert "--host" in warning

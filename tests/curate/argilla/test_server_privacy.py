"""What a shell knows does not reach the server, its children or the disk, and what the server keeps is the owner's."""

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
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a server side that only sleeps, so that what `up` starts is looked at without Argilla itself."""
    code = tmp_path / "code"
    code.mkdir()
    (code / "serve.py").write_text(SLEEPS)
    (code / "work.py").write_text(SLEEPS)
    monkeypatch.setattr(launch, "SERVER_CODE", code)
    return code


def start(home: Path, host: str = "127.0.0.1") -> list[int]:
    """Start supervisor and children in `home` as `up` does; their process ids."""
    home.mkdir(exist_ok=True)
    restrict_permissions(home)
    environment = server_variables(home, None, "redis://127.0.0.1:1/0", "hush")
    launch.start_supervisor(Path(sys.executable), environment, home, host, free_port(), "redis://127.0.0.1:1/0")
    wait_until(lambda: (home / "server.json").exists() and (home / "data" / "of-a-child").exists())
    facts = json.loads((home / "server.json").read_text())
    return [facts["supervisor"], *(child["pid"] for child in facts["children"].values())]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_no_secret_of_the_shell_reaches_a_process_or_a_file(
    tmp_path: Path, stand_in: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key in the environment of `up` is in no file under the home folder, and in the environment of neither
    supervisor nor child; what the children need (paths, proxies, certificates) is there."""
    for name in ("OPENAI_API_KEY", "MY_OWN_THING", "PIP_INDEX_URL", "PGPASSWORD", "ARGILLA_API_KEY"):
        monkeypatch.setenv(name, CANARY)
    monkeypatch.setenv("WEB_CONCURRENCY", "2")
    monkeypatch.setenv("https_proxy", "http://proxy.invalid:3128")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/python/lib")  # without which some Pythons do not start
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
@pytest.mark.parametrize("already", ["", "*"])
def test_what_makes_a_job_die_on_macos_is_out_of_its_way(
    already: str, tmp_path: Path, stand_in: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker forks for each job. There a fork ends that Objective-C finds unsafe, unless a variable lets it be; and
    one that asks the system for its proxies, which Python does only where no variable of the shell speaks of any. A
    later `up` or `down` leaves the variable in the file of what the children get."""
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, already)
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


@pytest.mark.parametrize("already", ["", "intranet.example", "*"])
def test_what_the_worker_tells_this_machine_goes_through_no_proxy(
    already: str, tmp_path: Path, stand_in: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A webhook to 127.0.0.1 reaches who listens there, whatever proxy the shell names for the world outside; what the
    shell itself keeps from it stays so."""
    (stand_in / "work.py").write_text(CALLS)

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
            monkeypatch.setenv(name, already)
        home.mkdir()
        restrict_permissions(home)
        environment = {**server_variables(home, None, "redis://127.0.0.1:1/0", "hush"), "PYTHONPATH": ours}
        launch.start_supervisor(
            Path(sys.executable), environment, home, "127.0.0.1", free_port(), "redis://127.0.0.1:1/0"
        )
        try:
            heard = home / "data" / "heard-from"
            wait_until(lambda: heard.exists() and heard.read_text())
            child = json.loads((home / "supervisor.json").read_text())["children"][-1]
        finally:
            server.down(home)
    assert heard.read_text() == "us"
    assert child["environment"]["no_proxy"].split(",")[0] == (already or "localhost")


def test_an_address_of_this_machine_is_reached_without_a_proxy() -> None:
    """By any of its addresses, and by no name that only begins like one."""
    for url in ("http://127.0.0.1:6900", "http://localhost:6900/x", "http://[::1]:6900", "http://127.4.5.6"):
        assert is_local_address(url), url
    for url in ("http://127.0.0.1.example.org", "http://192.0.2.1:6900", "https://argilla.example.org//127.0.0.1", "x"):
        assert not is_local_address(url), url
    if own := public_url("0.0.0.0", 6900):  # on a machine with a network
        assert is_local_address(own) or not own.split("//")[1][0].isdigit()


def test_what_an_earlier_version_wrote_down_is_taken_out(tmp_path: Path) -> None:
    """`up` and `down` clean the `supervisor.json` that holds a whole shell, and leave what is ours in it."""
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


def test_what_the_server_keeps_is_readable_by_its_owner_alone(tmp_path: Path, stand_in: Path) -> None:
    """Also in a home folder that was there with mode 0755 and holds files that everybody may read: afterwards nothing
    in `data/` and `logs/` is open to others, nor what a child makes there later."""
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
    looked_at = [home / "data", home / "logs", *(home / "data").rglob("*"), *(home / "logs").rglob("*")]
    assert home / "data" / "of-a-child" in looked_at
    assert home / "logs" / "server.log" in looked_at
    for path in looked_at:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


@pytest.mark.parametrize("folder", ["short", "a-folder-of-somebody-on-a-cluster/" * 4])
def test_redis_has_a_socket_wherever_temporary_files_lie(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path of more than some hundred bytes is none that a program can listen at."""
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


def test_a_server_that_ends_while_it_starts_is_not_waited_for(tmp_path: Path, stand_in: Path) -> None:
    """The first end of the server is the answer, with its last words; nobody waits for the time limit."""
    (stand_in / "serve.py").write_text("import sys\nsys.exit('no engine is registered')\n")
    home = tmp_path / "home"
    home.mkdir()
    restrict_permissions(home)
    environment = server_variables(home, None, "redis://127.0.0.1:1/0", "hush")
    port = free_port()
    launch.start_supervisor(Path(sys.executable), environment, home, "127.0.0.1", port, "redis://127.0.0.1:1/0")
    with pytest.raises(ReviewError, match="ended while it was starting: no engine is registered"):
        server._wait_until_ready(home, "127.0.0.1", port, 60, lambda *_: None, already_running=False)
    assert server.status(home).state == "stopped"


def test_a_running_server_that_is_too_busy_to_answer_is_left_to_who_is_at_its_page(
    tmp_path: Path, stand_in: Path
) -> None:
    """Who asks for it is told that it did not answer in time and what starts it anew; nothing is stopped for others."""
    home = tmp_path / "home"
    pids = start(home)
    try:
        with pytest.raises(ReviewError, match=r"did not answer within 1 s.*`pairsmith review down`, then `review up`"):
            server.up(home, start_timeout_s=1)
        assert [child.pid for child in server.status(home).children] == pids[1:]
    finally:
        server.down(home)


def test_a_server_that_others_reach_is_told_with_the_address_that_they_reach(
    tmp_path: Path, stand_in: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is sent to people elsewhere is no address of this machine alone, and beside it stands that passwords go
    there unencrypted and that a proxy with TLS belongs before it; a server for this machine says how to open it."""
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

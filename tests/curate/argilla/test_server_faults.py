"""A server that cannot start is refused with a clear message, before anything is installed or changed."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path

import pytest

from curate.argilla import server, supervisor
from curate.argilla.launch import Options, last_options, remove_leftovers, server_variables
from curate.argilla.probe import fetch_username, identify_program
from curate.argilla.venv import ensure_environment, find_server_python
from schemas.errors import MissingDependency, ReviewError
from schemas.ports import free_port
from tests.curate.argilla.conftest import wait_until
from tests.curate.argilla.small_disk import small_disk
from tests.servers import Handler, handled


@contextmanager
def json_server(answer: str | None) -> Iterator[int]:
    """A loopback HTTP server that answers every path with this JSON, or with 404 if it is None. Yields the port."""

    class Other(Handler):
        def do_GET(self) -> None:
            self.reply((answer or "no").encode(), 404 if answer is None else 200)

    with handled(Other) as url:
        yield int(url.rpartition(":")[2])


def test_port_taken_by_another_program_is_reported(tmp_path: Path) -> None:
    """A taken port is detected before the minutes of installation."""
    with (
        json_server(None) as port,
        pytest.raises(ReviewError, match=f"Port {port} is taken: another program") as caught,
    ):
        server.up(tmp_path, port=port)
    assert caught.value.exit_code == 10
    assert not (tmp_path / "venv").exists()


@pytest.mark.parametrize(
    ("host", "port", "sentence"),
    [
        ("nobody.invalid", 6999, r"'nobody.invalid' is not an address of this machine"),
        ("a..b", 6999, r"'a..b' is not an address of this machine"),
        ("203.0.113.7", 6999, r"'203.0.113.7' is not an address of this machine"),
        ("127.0.0.1", 70_000, r"70000 is not a valid port"),
        ("127.0.0.1", 0, r"0 is not a valid port"),
        ("127.0.0.1", -1, r"-1 is not a valid port"),
    ],
)
def test_invalid_address_is_refused_at_once(tmp_path: Path, host: str, port: int, sentence: str) -> None:
    """Another machine's address, an invalid host name and an invalid port are refused before anything is created. They
    are not remembered: the next start uses the previous options."""
    with pytest.raises(ReviewError, match=sentence):
        server.up(tmp_path / "home", host=host, port=port)
    assert last_options(tmp_path / "home") == Options()
    assert not (tmp_path / "home" / "venv").exists()


def test_argilla_of_another_version_is_reported(tmp_path: Path) -> None:
    """An Argilla of another version is distinguished from our own and from other programs."""
    with json_server('{"version": "1.29.1"}') as port, pytest.raises(ReviewError, match=r"Argilla 1\.29\.1") as caught:
        server.up(tmp_path, port=port)
    assert "pairsmith starts Argilla 2.8.0" in str(caught.value)


def test_server_left_by_an_older_pairsmith_is_reported(tmp_path: Path) -> None:
    """`up` does not present a server of another version of pairsmith as its own, and says how to replace it."""
    supervisor.write_json(tmp_path / "server.json", {"fingerprint": "0123456789ab", "version": "2.7.0", "url": "u"})
    with (tmp_path / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ReviewError, match=r"another version of pairsmith \(argilla-server 2\.7\.0\).*review down"):
            server.up(tmp_path)


def test_no_server_and_another_server_at_the_address_are_distinguished() -> None:
    """There are separate messages for an address without a server and for one with another server."""
    with pytest.raises(ReviewError, match="No Argilla answers"):
        fetch_username(f"http://127.0.0.1:{free_port()}", "key")
    with json_server("<html>") as port, pytest.raises(ReviewError, match="is not Argilla"):
        fetch_username(f"http://127.0.0.1:{port}", "key")
    assert identify_program("127.0.0.1", free_port()) is None


def test_missing_redis_is_reported(tmp_path: Path) -> None:
    """The address given for Redis is tried before anything else is done."""
    with pytest.raises(ReviewError, match="No Redis answers"):
        server.up(tmp_path, port=free_port(), redis_url=f"redis://127.0.0.1:{free_port()}/0")


def test_a_database_of_another_kind_is_refused(tmp_path: Path, venv: Path) -> None:
    """Only SQLite and PostgreSQL are Argilla's databases."""
    with pytest.raises(ReviewError, match="type 'mysql'"):
        server.up(tmp_path, port=free_port(), database_url="mysql://localhost/x", venv=venv)


def write_earlier_config(home: Path, **environment: str) -> None:
    """Write what an earlier `up` left in a home."""
    facts = {"host": "0.0.0.0", "port": 6911, "url": "u", "database": environment.pop("database", "PostgreSQL")}
    config = {"facts": facts, "scratch": None, "children": [{"name": "server", "environment": environment}]}
    supervisor.write_json(home / "supervisor.json", config)


def test_home_keeps_its_type_of_database(tmp_path: Path) -> None:
    """After an `up` with SQLite, PostgreSQL is refused, because all answers would seem lost; no password is shown."""
    write_earlier_config(tmp_path, database="SQLite")
    with pytest.raises(ReviewError, match="was used with SQLite, and PostgreSQL is requested now") as caught:
        server.up(tmp_path, port=free_port(), database_url="postgresql://me:hush@localhost/argilla")
    assert "--database-url" in str(caught.value)
    assert "hush" not in str(caught.value)
    assert not (tmp_path / "venv").exists()


def test_start_options_are_remembered(tmp_path: Path) -> None:
    """After a reboot, `up` without options (as `run` calls it) uses the previous address, database and Redis."""
    assert last_options(tmp_path) == Options()
    url = "postgresql+asyncpg://me:hush@localhost/argilla"
    write_earlier_config(tmp_path, ARGILLA_DATABASE_URL=url, ARGILLA_REDIS_URL="redis://elsewhere:6379/0")
    remembered = Options("0.0.0.0", 6911, "postgresql://me:hush@localhost/argilla", "redis://elsewhere:6379/0")
    assert last_options(tmp_path) == remembered


def test_other_options_for_a_running_server_are_refused(tmp_path: Path) -> None:
    """Another port or host is not ignored: the message says what to do first. The same options connect to the
    server."""
    process = start_supervisor(tmp_path, "import time; time.sleep(600)")
    wait_until(lambda: (tmp_path / "server.json").exists())
    with pytest.raises(ReviewError, match="is already running, with another host and another port"):
        server.up(tmp_path, host="0.0.0.0", port=1)
    with pytest.raises(ReviewError, match="another version of pairsmith"):  # so its options were accepted
        server.up(tmp_path, host="127.0.0.1")
    assert server.down(tmp_path) is True
    process.wait(100)


def test_down_finds_a_server_whose_state_could_not_be_written(tmp_path: Path) -> None:
    """A full disk at the start leaves no `server.json`; the lock names the process to stop."""
    process = start_supervisor(tmp_path, "import time; time.sleep(600)")
    wait_until(lambda: (tmp_path / "server.json").exists())
    (tmp_path / "server.json").unlink()
    assert server.down(tmp_path) is True
    assert process.wait(100) == 0


@contextmanager
def sleeping_process() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("has_just_begun", [True, False])
def test_down_stops_only_the_process_that_holds_the_lock(tmp_path: Path, has_just_begun: bool) -> None:
    """The process id is written to the lock a moment after it is acquired, and `down` waits for it. The id that an
    earlier supervisor left in `server.json` may belong to another program by now."""
    with (
        sleeping_process() as holder,
        sleeping_process() as other,
        ThreadPoolExecutor(1) as aside,
        (tmp_path / "lock").open("a", buffering=1) as lock,
    ):
        fcntl.flock(lock, fcntl.LOCK_EX)
        supervisor.write_json(tmp_path / "server.json", {"supervisor": other.pid})
        if not has_just_begun:
            print(holder.pid, file=lock)
        stopping = aside.submit(server.down, tmp_path)
        if has_just_begun:
            assert not wait([stopping], timeout=1).done, stopping.result()
            print(holder.pid, file=lock)
        wait_until(lambda: holder.poll() is not None or other.poll() is not None)
        is_other_there = other.poll() is None
        fcntl.flock(lock, fcntl.LOCK_UN)
        assert stopping.result() is True
        assert is_other_there


def test_log_size_is_limited(tmp_path: Path) -> None:
    """A process that writes endlessly is given a new log, again and again. Only the last full one is kept beside it."""
    writes = """import os, time
for _ in range(3_000):
    while os.fstat(1).st_size > 6_000_000:  # more only fits into a new log
        time.sleep(0.01)
    print("x" * 10_000, flush=True)
open("ended", "w").close()
time.sleep(600)"""
    process = start_supervisor(tmp_path, writes)
    wait_until((tmp_path / "ended").exists)  # 30 MB are written
    server.down(tmp_path)
    assert process.wait(100) == 0
    assert {path.name for path in (tmp_path / "logs").iterdir()} == {"server.log", "server.1.log"}
    assert (tmp_path / "logs" / "server.1.log").stat().st_size > 5_000_000
    assert sum(path.stat().st_size for path in (tmp_path / "logs").iterdir()) < 13_000_000


# `ps` as POSIX defines it and macOS implements it: an `=` makes the rest of the argument the header of one column.
_PS_OF_POSIX = """#!{python}
import subprocess, sys
arguments, headers = [], []
for before, one in zip(["", *sys.argv[1:]], sys.argv[1:]):
    name, equals, header = one.partition("=") if before == "-o" else (one, "", "")
    arguments.append(name + equals)
    headers += [header] if header else []
done = subprocess.run(["{ps}", *arguments], capture_output=True, text=True)
print(*headers, done.stdout, sep="\\n")
"""


@pytest.mark.parametrize("system", ["this one", "macOS"])
def test_leftovers_of_a_killed_supervisor_are_removed(
    tmp_path: Path, system: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its scratch folder, a Redis of this home that outlived it, and the server's temporary files."""
    if system == "macOS":
        (tmp_path / "bin").mkdir()
        ps = tmp_path / "bin" / "ps"
        ps.write_text(_PS_OF_POSIX.format(python=sys.executable, ps=shutil.which("ps")))
        ps.chmod(0o755)
        monkeypatch.setenv("PATH", f"{ps.parent}{os.pathsep}{os.environ['PATH']}")
    temporary = Path(server_variables(tmp_path, None, "redis://127.0.0.1:1/0", "hush")["TMPDIR"])
    (temporary / "statics").mkdir()
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    left = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(600)", "--unixsocket", str(scratch / "redis.sock")]
    )
    facts = {"host": "127.0.0.1", "port": 1, "database": "SQLite"}
    config = {"facts": facts, "scratch": str(scratch), "children": [{"environment": {}}]}
    supervisor.write_json(tmp_path / "supervisor.json", config)
    remove_leftovers(tmp_path)
    assert left.wait(100) == -signal.SIGTERM
    assert not scratch.exists()
    assert not temporary.exists()


def test_full_disk_at_the_start_is_reported() -> None:
    """With no space on the disk nothing is started, and the message says where and how much is needed."""
    with small_disk("64k") as disk, pytest.raises(ReviewError, match=r"No space left.*Free at least"):
        server.up(disk / "home", port=free_port())


def test_incomplete_environment_is_removed_and_never_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If packages cannot be downloaded there is a message and no `complete` file, and what an earlier attempt left is
    removed."""
    folder = tmp_path / "venv"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").write_text("left by an attempt that was cut off")
    steps: list[str] = []
    with json_server(None) as port:
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{port}/simple")
        monkeypatch.setenv("PIP_RETRIES", "0")
        monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
        monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
        monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
        with pytest.raises(MissingDependency, match="could not be created"):
            ensure_environment(folder, lambda stage, numbers: steps.append(str(numbers["step"])))
    assert steps[0] == "removing an outdated or incomplete environment"
    assert not (folder / "complete").exists()


def test_server_that_never_ran(tmp_path: Path) -> None:
    """There is nothing to report and nothing to stop, and asking creates no file."""
    home = tmp_path / "home"
    assert server.status(home).state == "absent"
    assert server.down(home) is False
    assert server.logs(home) == {}
    assert list(tmp_path.iterdir()) == []


def start_supervisor(home: Path, code: str, most_restarts: int = 1) -> subprocess.Popen[bytes]:
    """Start the real supervisor with one child process that runs `code`."""
    facts = {
        "host": "127.0.0.1",
        "port": free_port(),
        "url": "u",
        "version": "2.8.0",
        "fingerprint": "f",
        "database": "-",
    }
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    one = {"name": "server", "argv": [sys.executable, "-c", code], "environment": environment}
    config = {"facts": facts, "folder": str(home), "children": [one], "most_restarts": most_restarts}
    supervisor.write_json(home / "supervisor.json", config)
    return subprocess.Popen([sys.executable, "-P", supervisor.__file__, str(home)], stdout=subprocess.DEVNULL)


def test_child_that_keeps_failing_stops_the_server_with_its_last_output(tmp_path: Path) -> None:
    """Restarts are limited; then everything stops and `status` shows why."""
    process = start_supervisor(tmp_path, "import sys; sys.exit('the database is locked')")
    assert process.wait(100) == 2
    seen = server.status(tmp_path)
    assert seen.state == "failed"
    assert "ended with status 1, 2 times" in (seen.reason or "")
    assert "the database is locked" in (seen.reason or "")


def test_port_taken_while_starting_stops_at_once(tmp_path: Path) -> None:
    """A port that is taken between the check and the start is not retried but reported."""
    process = start_supervisor(
        tmp_path, "import sys; sys.exit('[Errno 98] error while binding: address already in use')", 5
    )
    assert process.wait(100) == 2
    assert "could not take its port" in (server.status(tmp_path).reason or "")


def test_killed_supervisor_leaves_nothing_running_and_is_reported(tmp_path: Path) -> None:
    """After kill -9 of the supervisor the child ends too, the lock is free, and `status` does not claim that it
    runs."""
    process = start_supervisor(tmp_path, "import time; time.sleep(600)")
    wait_until(lambda: (tmp_path / "server.json").exists())
    pid = json.loads((tmp_path / "server.json").read_text())["children"]["server"]["pid"]
    assert server.status(tmp_path).state == "starting"
    process.send_signal(signal.SIGKILL)
    process.wait(100)
    if sys.platform == "linux":
        wait_until(lambda: not Path(f"/proc/{pid}").exists())
    seen = server.status(tmp_path)
    assert seen.state == "stopped"
    assert "killed" in (seen.reason or "")


def test_checking_for_a_supervisor_does_not_prevent_one_from_starting(tmp_path: Path) -> None:
    """Commands check by taking the lock for a moment: a second check meanwhile finds no supervisor, and one that starts
    waits."""
    with (tmp_path / "lock").open("a") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        assert server.status(tmp_path).state == "absent"
        process = start_supervisor(tmp_path, "import time; time.sleep(600)")
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
    wait_until(lambda: (tmp_path / "server.json").exists())
    assert server.down(tmp_path) is True
    assert process.wait(100) == 0


def test_down_stops_the_child_and_releases_the_lock(tmp_path: Path) -> None:
    """When `down` returns, nothing is running."""
    process = start_supervisor(tmp_path, "import time; time.sleep(600)")
    wait_until(lambda: (tmp_path / "server.json").exists())
    assert server.down(tmp_path) is True
    assert process.wait(100) == 0
    assert server.status(tmp_path).state == "stopped"
    assert server.down(tmp_path) is False


def test_unusable_python_is_replaced_by_one_on_path_or_from_uv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the running Python is too new or cannot create environments, one on PATH that can is preferred, then one that
    uv finds or downloads; uv itself is downloaded if missing. A stub that only reports that nothing is installed is
    skipped. If there is none, the message names the ways out."""

    def program(name: str, script: str) -> Path:
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    finds = "[ $2 = find ] && echo /fetched/python3.13 || true\n"
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(
        MissingDependency, match=r"this is Python 3\.14, there is no working python3\.13.*could not download"
    ):
        find_server_python(running=(3, 14))
    with zipfile.ZipFile(tmp_path / "uv-1.0-py3-none-any.whl", "w") as wheel:
        script = zipfile.ZipInfo("uv-1.0.data/scripts/uv")
        script.external_attr = 0o100755 << 16
        wheel.writestr(script, f"#!/bin/sh\n{finds}")
        wheel.writestr("uv-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: uv\nVersion: 1.0\n")
        wheel.writestr("uv-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("uv-1.0.dist-info/RECORD", "")
    assert find_server_python(running=(3, 14)) == "/fetched/python3.13"
    program("python3.13", "exit 127")
    uv = program("uv", "exit 1")
    with pytest.raises(MissingDependency, match="uv could not download one"):
        find_server_python(running=(3, 14))
    uv.write_text(f"#!/bin/sh\n{finds}")
    assert find_server_python(running=(3, 14)) == "/fetched/python3.13"
    older = program("python3.12", f'PYTHONPATH= exec {sys.executable} "$@"')
    assert find_server_python(running=(3, 14)) == str(older)
    assert find_server_python(running=(3, 12)) == sys.executable
    program("ensurepip.py", "raise ImportError")  # as Debian's Python is without the package python3-venv
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert find_server_python(running=(3, 12)) == str(older)
    older.unlink()
    assert find_server_python(running=(3, 12)) == "/fetched/python3.13"
    uv.write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(MissingDependency, match=r"this is Python 3\.12 without the modules .*could not download"):
        find_server_python(running=(3, 12))

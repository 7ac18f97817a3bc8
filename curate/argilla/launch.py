"""Launching the server: its environment variables, database migration, the owner account, and the supervisor."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from curate.argilla import supervisor
from curate.argilla.probe import LOOPBACK, local_url
from curate.argilla.venv import ARGILLA_VERSION, SERVER_CODE, fingerprint
from schemas.errors import ReviewError
from schemas.files import read_json
from schemas.progress import Progress

OWNER = "pairsmith"
_MIGRATE_TIMEOUT_S = 300.0
_MAX_SOCKET_PATH_BYTES = 100
_TEMPORARY = "data/tmp"
# The variables of the shell that child processes get. This is an allow list, because any other variable may contain a
# secret.
_ALLOWED = {"PATH", "LD_LIBRARY_PATH", "HOME", "LANG", "TZ", "REQUESTS_CA_BUNDLE"}
_ALLOWED |= {name for proxy in ("HTTP", "HTTPS", "ALL", "NO") for name in (f"{proxy}_PROXY", f"{proxy.lower()}_proxy")}
_ALLOWED_PREFIXES = ("LC_", "SSL_CERT_")
_open_private = partial(os.open, mode=0o600)
# Argilla's worker forks for each job while a thread of ours runs; macOS would kill such a fork when it uses
# Objective-C. The other use of Objective-C there, looking up the system's proxies, is avoided by setting NO_PROXY.
_FORK_SAFETY = "OBJC_DISABLE_INITIALIZE_FORK_SAFETY"
_OWN_VARIABLES = {"TMPDIR", "PYTHONPATH", "PYTHONUNBUFFERED", "HF_HUB_DISABLE_TELEMETRY", _FORK_SAFETY}


class Options(NamedTuple):
    """The options a server is started with; None if not given."""

    host: str | None = None
    port: int | None = None
    database_url: str | None = None
    redis_url: str | None = None


def last_options(home: Path) -> Options:
    """Return the options that the server of this home was last started with. The built-in SQLite database and Redis are
    None."""
    config = read_json(home / "supervisor.json")
    if config is None:
        return Options()
    facts, environment = config["facts"], config["children"][-1]["environment"]
    database, redis = environment.get("ARGILLA_DATABASE_URL", ""), environment.get("ARGILLA_REDIS_URL")
    return Options(
        host=facts.get("host"),
        port=facts.get("port"),
        database_url=database.replace("+asyncpg", "", 1) if database.startswith("postgres") else None,
        redis_url=None if config.get("scratch") else redis,
    )


def remove_leftovers(home: Path) -> None:
    """Remove what the last server left behind.

    That is its temporary files, of which Argilla creates 14 MB at each start, and, if its supervisor was killed, its
    scratch folder. Where processes do not die with their parent, its Redis may still run and would write to the same
    file as the next one; it is terminated.
    """
    shutil.rmtree(home / _TEMPORARY, ignore_errors=True)
    config = read_json(home / "supervisor.json")
    scratch = config and config.get("scratch")
    if not scratch:
        return
    # One -o per column: on macOS, as in POSIX, everything after the first `=` would be a single header.
    listed = subprocess.run(["ps", "-A", "-ww", "-o", "pid=", "-o", "command="], capture_output=True, text=True).stdout
    for line in listed.splitlines():
        pid, _, command = line.strip().partition(" ")
        if f"{scratch}/redis.sock" in command:
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGTERM)
    shutil.rmtree(scratch, ignore_errors=True)


def allowed_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the shell's variables that Argilla's processes get: paths, language, time zone, proxies, certificates."""
    return {
        name: value for name, value in environment.items() if name in _ALLOWED or name.startswith(_ALLOWED_PREFIXES)
    }


def restrict_permissions(home: Path) -> None:
    """Make everything in `data/` and `logs/` readable by the owner alone, and remove variables of the shell from
    `supervisor.json`."""
    for folder in (home / "data", home / "logs"):
        folder.mkdir(mode=0o700, exist_ok=True)
        for path in (folder, *folder.rglob("*")):
            if not path.is_symlink():
                with suppress(FileNotFoundError):  # files of the word index and of Redis come and go
                    path.chmod(path.stat().st_mode & 0o700)
    remove_shell_variables(home)


def remove_shell_variables(home: Path) -> None:
    """Remove from `supervisor.json` the shell's variables, including secrets, that an earlier version stored there."""
    config = read_json(home / "supervisor.json")
    if config is None:
        return
    children = [
        {**child, "environment": _without_shell_variables(child.get("environment", {}))} for child in config["children"]
    ]
    if children != config["children"]:
        supervisor.write_json(home / "supervisor.json", {**config, "children": children})


def _without_shell_variables(environment: Mapping[str, str]) -> dict[str, str]:
    own = {name: value for name, value in environment.items() if name in _OWN_VARIABLES or name.startswith("ARGILLA_")}
    return {**allowed_variables(environment), **own}


def server_variables(home: Path, database_url: str | None, redis_url: str | None, auth_secret: str) -> dict[str, str]:
    """Return the environment of every child process: Argilla's settings and the allowed variables of the shell.

    Raises ReviewError if `database_url` is not a PostgreSQL URL.
    """
    for folder in (home / "data" / "redis", home / _TEMPORARY):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if database_url is None:
        database = f"sqlite+aiosqlite:///{home / 'data' / 'argilla.db'}"
    else:
        scheme, _, rest = database_url.partition("://")
        if scheme.split("+")[0] not in ("postgresql", "postgres"):
            raise ReviewError(
                f"The review server does not support databases of type {scheme!r}.",
                fix="Give a URL that starts with postgresql://, or none for SQLite in the home folder.",
            )
        database = f"postgresql+asyncpg://{rest}"
    return {
        **allowed_variables(os.environ),
        "TMPDIR": str(home / _TEMPORARY),
        "PYTHONPATH": str(SERVER_CODE),
        "PYTHONUNBUFFERED": "1",
        "ARGILLA_HOME_PATH": str(home / "data"),
        "ARGILLA_DATABASE_URL": database,
        "ARGILLA_DATABASE_SQLITE_TIMEOUT": "30",
        "ARGILLA_SEARCH_ENGINE": "pairsmith-sql",
        "ARGILLA_REDIS_URL": redis_url or f"unix://{_new_socket_path()}",
        "ARGILLA_AUTH_SECRET_KEY": auth_secret,
        "ARGILLA_CORS_ORIGINS": "[]",  # Argilla's own page has the same origin; no other page may call the API
        "ARGILLA_ENABLE_TELEMETRY": "false",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        _FORK_SAFETY: "YES",
    }


def _proxy_exclusions(environment: Mapping[str, str], host: str) -> dict[str, str]:
    """Return the variables that exclude this machine's addresses from the shell's proxy. Otherwise calls to this
    machine, such as webhooks, would go to the proxy, which would look for them on its own machine."""
    named = [environment[name] for name in ("no_proxy", "NO_PROXY") if environment.get(name)]
    return dict.fromkeys(("no_proxy", "NO_PROXY"), ",".join([*named[:1], *LOOPBACK, host]))


def _new_socket_path() -> Path:
    """Return a path for Redis' socket in a new temporary folder. Socket paths are limited to about 100 bytes, which
    paths under the home folder or TMPDIR may exceed; if TMPDIR is too long, /tmp is used."""
    path = Path(tempfile.mkdtemp(prefix="pairsmith-")) / "redis.sock"
    if len(os.fsencode(path)) > _MAX_SOCKET_PATH_BYTES:
        path.parent.rmdir()
        path = Path(tempfile.mkdtemp(prefix="pairsmith-", dir="/tmp")) / "redis.sock"
    return path


def _run_serve_script(
    python: Path, environment: Mapping[str, str], home: Path, *arguments: str, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    try:
        done = subprocess.run(
            [str(python), str(SERVER_CODE / "serve.py"), *arguments],
            env=dict(environment),
            cwd=home / "data",
            input=stdin,
            capture_output=True,
            text=True,
            umask=supervisor.PRIVATE,
            timeout=_MIGRATE_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired as error:
        raise ReviewError(
            f"The review server's {arguments[0]!r} step took longer than {_MIGRATE_TIMEOUT_S:.0f} s.",
            where=str(home / "data"),
            fix="Check whether another program has locked the database or the machine is overloaded, then try again.",
        ) from error
    (home / "logs").mkdir(exist_ok=True)
    with open(home / "logs" / "migrate.log", "a", encoding="utf-8", opener=_open_private) as log:
        log.write(done.stdout + done.stderr)
    return done


def prepare_database(
    python: Path, environment: Mapping[str, str], credentials: Mapping[str, str], home: Path, progress: Progress
) -> None:
    """Migrate the database, and create the search tables and the owner. Raises ReviewError with the cause if that
    fails."""
    progress("argilla", {"step": "migrating the database"})
    owner = {name: credentials[name] for name in ("username", "password", "api_key")}
    done = _run_serve_script(python, environment, home, "prepare", stdin=json.dumps(owner))
    if done.returncode == 0:
        return
    output = done.stderr + done.stdout
    last = [line for line in output.splitlines() if line.strip()][-1:] or ["no output"]
    where = str(home / "logs" / "migrate.log")
    fix = "Read the log, fix the problem it reports and run the command again."
    if "disk is full" in output or "No space left" in output:
        raise ReviewError("The disk is full.", where=str(home), fix="Free at least 0.1 GB there and try again.")
    if "with another API key" in output:
        raise ReviewError(
            f"The database already has an owner {OWNER!r} with another API key than this home's.",
            where=str(home / "credentials.json"),
            why="It was created from another home folder, so this one could not sign in.",
            fix="Use the home folder that created it (PAIRSMITH_ARGILLA_HOME), or another database.",
        )
    if "could not connect" in output or "onnection refused" in output or "does not exist" in output:
        fix = "Check that the PostgreSQL server is running, that the database exists and that the URL is correct."
    raise ReviewError(f"The review server's database cannot be used: {last[0].strip()[:300]}", where=where, fix=fix)


def store_owner_password(home: Path, password: str) -> None:
    """Store the owner's new password in `credentials.json`."""
    path = home / "credentials.json"
    supervisor.write_json(path, {**json.loads(path.read_text(encoding="utf-8")), "password": password})


def start_supervisor(
    python: Path, environment: dict[str, str], home: Path, host: str, port: int, redis_url: str | None
) -> None:
    """Start the detached supervisor of server, worker and, unless `redis_url` is given, Redis."""
    environment = {**environment, **_proxy_exclusions(environment, host)}
    children: list[dict[str, object]] = []
    scratch: str | None = None
    if redis_url is None:
        valkey = _run_serve_script(python, environment, home, "where-valkey")
        if valkey.returncode != 0:
            raise ReviewError(
                f"No bundled Redis is available for this platform: {valkey.stderr.strip().splitlines()[-1]}",
                fix="Install Redis or Valkey, start it and give its address with --redis-url.",
            )
        socket_path = environment["ARGILLA_REDIS_URL"].removeprefix("unix://")
        scratch = str(Path(socket_path).parent)
        argv = [valkey.stdout.strip(), "--port", "0", "--unixsocket", socket_path, "--unixsocketperm", "700"]
        argv += ["--dir", str(home / "data" / "redis"), "--appendonly", "yes", "--save", ""]
        children.append({"name": "redis", "argv": argv, "environment": environment})
    for name, argv in (("server", ["serve.py", "run", host, str(port)]), ("worker", ["work.py"])):
        command = [str(python), str(SERVER_CODE / argv[0]), *argv[1:]]
        children.append({"name": name, "argv": command, "environment": environment})
    facts = {
        "host": host,
        "port": port,
        "url": local_url(host, port),
        "version": ARGILLA_VERSION,
        "fingerprint": fingerprint(),
        "database": "PostgreSQL" if environment["ARGILLA_DATABASE_URL"].startswith("postgres") else "SQLite",
    }
    (home / "server.json").unlink(missing_ok=True)
    config = {"facts": facts, "folder": str(home / "data"), "scratch": scratch, "children": children}
    supervisor.write_json(home / "supervisor.json", config)
    with open(home / "logs" / "supervisor.log", "ab", opener=_open_private) as log:
        subprocess.run(
            [sys.executable, "-P", str(Path(supervisor.__file__)), str(home), "--detach"],
            env=allowed_variables(os.environ),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=home,
            check=False,  # the caller, which waits for the server, reports a supervisor that has failed
        )

"""A private PostgreSQL server on a Unix socket without a TCP port, which can be stopped and restarted."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Self


def programs() -> Path | None:
    """The folder of initdb and pg_ctl: from PATH, or where Debian installs them; None if they are missing."""
    initdb = shutil.which("initdb")
    if initdb and shutil.which("pg_ctl"):
        return Path(initdb).resolve().parent
    homes = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return homes[-1].parent if homes else None


class Postgres:
    """Use it as `with Postgres() as server:`; it runs until the block ends. `url` is that of its database
    `postgres`."""

    def __init__(self) -> None:
        self._programs = programs()
        assert self._programs is not None, "initdb and pg_ctl are not on this machine"
        # PostgreSQL refuses to run as root, and a socket's path has at most 107 bytes.
        self._home = Path(tempfile.mkdtemp(prefix="pg-"))
        self._as_user: list[str] = []
        self._user = getpass.getuser()
        if os.geteuid() == 0:
            self._as_user, self._user = ["runuser", "-u", "postgres", "--"], "postgres"
            shutil.chown(self._home, "postgres")

    @property
    def url(self) -> str:
        return f"postgresql://{self._user}@/postgres?host={self._home}"

    def start(self) -> None:
        options = f"-c listen_addresses='' -c unix_socket_directories={self._home} -c fsync=off"
        self._run("pg_ctl", "-o", options, "-l", str(self._home / "log"), "-w", "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-m", "immediate", "-w", "stop")

    def __enter__(self) -> Self:
        self._run("initdb", "-A", "trust", "-U", self._user, "--no-sync")
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()
        shutil.rmtree(self._home, ignore_errors=True)

    def _run(self, program: str, *words: str) -> None:
        assert self._programs is not None
        command = [*self._as_user, str(self._programs / program), "-D", str(self._home / "data"), *words]
        done = subprocess.run(command, capture_output=True, text=True, cwd="/", timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr

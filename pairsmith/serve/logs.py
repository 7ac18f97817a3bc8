"""The server's log: lines for a person, or JSON for a machine, and no secret in either."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from collections.abc import Callable, Collection
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from schemas.secret_names import ANYWHERE

BLANK = "***"
within: ContextVar[dict[str, Any]] = ContextVar("within", default={})  # noqa: B039  it is replaced, never changed
"""What every line within a request says of it: its number, who sent it."""

# The shell's own PWD is a folder.
_SECRET_NAME = re.compile(rf"(?!(OLD)?PWD$)(.*?({ANYWHERE.pattern}|HEADERS|DATABASE|DSN))", re.IGNORECASE)
_SECRET_TEXT = (
    re.compile(r"\bps_\w{8}_[\w-]+"),
    re.compile(r"(?<=token=)[\w-]+"),
    re.compile(r"(?<=://)[^/\s@]+(?=@)"),
    re.compile(r"(?<=Bearer )\S+", re.IGNORECASE),
)
_SHORTEST = 6  # what is shorter stands in every other word

Names = Callable[[], Collection[str]]
"""The variables whose values are secret by what somebody has said: those that specs may name."""


def set_up(*, as_json: bool, names: Names = tuple) -> None:
    """Send everything that is logged to standard error, from warnings on; as JSON, requests and jobs too."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Lines(as_json=as_json, names=names))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("pairsmith.serve").setLevel(logging.INFO if as_json else logging.WARNING)


class Lines(logging.Formatter):
    """A record as one line of JSON, or as a line of text with its traceback below it."""

    def __init__(self, *, as_json: bool, names: Names = tuple) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self._as_json, self._names = as_json, names

    def format(self, record: logging.LogRecord) -> str:
        secrets = secret_values(self._names())
        if not self._as_json:
            return without(super().format(record), secrets)
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": without(record.getMessage(), secrets),
            **within.get(),
            **{name: vars(record)[name] for name in ("job", "status", "ms") if name in vars(record)},
        }
        if record.exc_info:
            line["traceback"] = without(self.formatException(record.exc_info), secrets)
        return json.dumps(line, ensure_ascii=False)


def secret_values(names: Collection[str]) -> list[str]:
    """The values of the variables that are secret by their name, by `names`, or as the password of an address; the
    longest first, because one may hold another."""
    named = {value for name, value in os.environ.items() if name in names or _SECRET_NAME.match(name)}
    passwords = {password for value in named if "://" in value and (password := _password(value))}
    return sorted((value for value in named | passwords if len(value) >= _SHORTEST), key=len, reverse=True)


def without(text: str, secrets: Collection[str]) -> str:
    """`text` with secrets blanked: these, and what looks like a key of ours, a token or a password in an address."""
    for secret in secrets:
        text = text.replace(secret, BLANK)
    for pattern in _SECRET_TEXT:
        text = pattern.sub(BLANK, text)
    return text


def _password(url: str) -> str | None:
    try:
        return urlsplit(url).password
    except ValueError:
        return None

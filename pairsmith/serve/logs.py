"""The server's log, as text or as JSON lines, with secrets removed."""

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

MASK = "***"
request_fields: ContextVar[dict[str, Any]] = ContextVar("request_fields", default={})  # noqa: B039  replaced, never mutated
"""Fields added to every log line within a request, such as its id and the user."""

# The shell's own variable PWD is a folder, not a password.
_SECRET_NAME = re.compile(rf"(?!(OLD)?PWD$)(.*?({ANYWHERE.pattern}|HEADERS|DATABASE|DSN))", re.IGNORECASE)
_SECRET_TEXT = (
    re.compile(r"\bps_\w{8}_[\w-]+"),
    re.compile(r"(?<=token=)[\w-]+"),
    re.compile(r"(?<=://)[^/\s@]+(?=@)"),
    re.compile(r"(?<=Bearer )\S+", re.IGNORECASE),
)
_MIN_SECRET_LENGTH = 6  # shorter values would match in ordinary words

Names = Callable[[], Collection[str]]
"""Returns the variables whose values are secret because specs may name them as keys."""


def set_up(*, as_json: bool, names: Names) -> None:
    """Log to standard error, warnings and above; as JSON, requests and jobs too."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LogFormatter(as_json=as_json, names=names))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("pairsmith.serve").setLevel(logging.INFO if as_json else logging.WARNING)


class LogFormatter(logging.Formatter):
    """Formats a record as one line of JSON, or as a line of text with its traceback below it."""

    def __init__(self, *, as_json: bool, names: Names = tuple) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self._as_json, self._names = as_json, names

    def format(self, record: logging.LogRecord) -> str:
        secrets = secret_values(self._names())
        if not self._as_json:
            return mask_secrets(super().format(record), secrets)
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": mask_secrets(record.getMessage(), secrets),
            **request_fields.get(),
            **{name: vars(record)[name] for name in ("job", "status", "ms") if name in vars(record)},
        }
        if record.exc_info:
            line["traceback"] = mask_secrets(self.formatException(record.exc_info), secrets)
        return json.dumps(line, ensure_ascii=False)


def secret_values(names: Collection[str]) -> list[str]:
    """The values of variables that are secret by their name or by `names`, and passwords in URLs among them.

    The longest come first, because one may contain another.
    """
    named = {value for name, value in os.environ.items() if name in names or _SECRET_NAME.match(name)}
    passwords = {password for value in named if "://" in value and (password := _password(value))}
    return sorted((value for value in named | passwords if len(value) >= _MIN_SECRET_LENGTH), key=len, reverse=True)


def mask_secrets(text: str, secrets: Collection[str]) -> str:
    """`text` with secrets masked: the given ones, and anything that looks like an API key of ours, a token or a
    password in a URL."""
    for secret in secrets:
        text = text.replace(secret, MASK)
    for pattern in _SECRET_TEXT:
        text = pattern.sub(MASK, text)
    return text


def _password(url: str) -> str | None:
    try:
        return urlsplit(url).password
    except ValueError:
        return None

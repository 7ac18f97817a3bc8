"""Requests to the service with nothing but the standard library."""

from __future__ import annotations

import json
import re
import secrets
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar, cast
from urllib.parse import quote, urlencode

from schemas.errors import PairsmithError

ROOT = "/api/v1"
_TIMEOUT_S = 60.0
Given = TypeVar("Given")


class ProblemError(PairsmithError):
    """The service says no. `problem` is the whole body of its answer, `status` its HTTP status."""

    def __init__(self, problem: Mapping[str, Any]) -> None:
        super().__init__(problem["what"], where=problem["where"], why=problem["why"], fix=problem["fix"])
        self.problem, self.status = problem, int(problem["status"])


class Http:
    """The service at `url`."""

    def __init__(self, url: str, key: str | None = None, *, timeout_s: float = _TIMEOUT_S) -> None:
        self.url, self._key, self._timeout_s = url.rstrip("/"), key, timeout_s

    def call(self, gives: type[Given], method: str, path: str, at: Sequence[str], **sent: Any) -> Given:
        """The answer: decoded JSON, None for an empty one, bytes for a file. Raises ProblemError, and OSError where
        nothing answers."""
        with self._opened(method, path, at, **sent) as answer:
            content = answer.read()
            decoded: Any = content or None
            if content and answer.headers.get_content_type() == "application/json" and gives is not bytes:
                decoded = json.loads(content)
            return cast(Given, decoded)

    def lines(self, path: str, at: Sequence[str], **sent: Any) -> Iterator[Any]:
        """The events of a stream, each as decoded JSON, until the service ends it."""
        with self._opened("GET", path, at, **sent) as answer:
            for line in answer:
                if line.startswith(b"data: "):
                    yield json.loads(line[6:])

    def _opened(
        self,
        method: str,
        path: str,
        at: Sequence[str],
        *,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str | None] | None = None,
        idempotency_key: str | None = None,
        body: Any = None,
        form: Mapping[str, Any] | None = None,
    ) -> Any:
        url = self.url + ROOT + re.sub(r"{\w+}", "{}", path).format(*(quote(name, safe="") for name in at))
        if given := {name: _plain(value) for name, value in (query or {}).items() if value is not None}:
            url += f"?{urlencode(given)}"
        named = {**(headers or {}), "Idempotency-Key": idempotency_key}
        named["Authorization"] = f"Bearer {self._key}" if self._key else None
        content = None
        if body is not None:
            content, named["Content-Type"] = json.dumps(body).encode(), "application/json"
        if form is not None:
            content, named["Content-Type"] = _multipart(form)
        known = {name: value for name, value in named.items() if value is not None}
        request = urllib.request.Request(url, content, known, method=method)
        try:
            return urllib.request.urlopen(request, timeout=self._timeout_s)
        except urllib.error.HTTPError as error:
            with error:
                raise ProblemError(json.loads(error.read())) from None


def _plain(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value


def _multipart(form: Mapping[str, Any]) -> tuple[bytes, str]:
    """A form; a pair of a name and bytes is a file."""
    mark = secrets.token_hex(16)
    parts = b""
    for name, value in form.items():
        if value is None:
            continue
        file = f'; filename="{quote(value[0])}"' if isinstance(value, tuple) else ""
        content = value[1] if isinstance(value, tuple) else str(value).encode()
        head = f'--{mark}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'
        parts += head.encode() + content + b"\r\n"
    return parts + f"--{mark}--\r\n".encode(), f"multipart/form-data; boundary={mark}"

"""Requests to the service with nothing but the standard library."""

from __future__ import annotations

import inspect
import json
import re
import secrets
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast
from urllib.parse import quote, urlencode

from schemas.errors import PairsmithError

ROOT = "/api/v1"
_TIMEOUT_S = 60.0
_HEADERS = {"idempotency_key", "if_match", "last_event_id"}
_INSIDE = re.compile(r"{(\w+)}")
Given = TypeVar("Given")
Sent = ParamSpec("Sent")


class ProblemError(PairsmithError):
    """The service says no. `problem` is the whole body of its answer, `status` its HTTP status."""

    def __init__(self, problem: Mapping[str, Any]) -> None:
        super().__init__(problem["what"], where=problem["where"], why=problem["why"], fix=problem["fix"])
        self.problem, self.status = problem, int(problem["status"])


class Http:
    """The service at `url`."""

    def __init__(self, url: str, key: str | None = None, *, timeout_s: float = _TIMEOUT_S) -> None:
        self.url, self._key, self._timeout_s = url.rstrip("/"), key, timeout_s

    def opened(self, method: str, path: str, given: Mapping[str, Any]) -> Any:
        """The answer of a call. Raises ProblemError, and OSError where nothing answers."""
        inside = {name: quote(given[name], safe="") for name in _INSIDE.findall(path)}
        url = self.url + ROOT + path.format(**inside)
        named = {name.replace("_", "-"): given.get(name) for name in _HEADERS}
        named["Authorization"] = f"Bearer {self._key}" if self._key else None
        content = None
        if "body" in given:
            content, named["Content-Type"] = json.dumps(given["body"]).encode(), "application/json"
        if "form" in given:
            content, named["Content-Type"] = _multipart(given["form"])
        rest = given.keys() - inside.keys() - _HEADERS - {"self", "body", "form"}
        if query := {name.rstrip("_"): _plain(given[name]) for name in rest if given[name] is not None}:
            url += f"?{urlencode(query)}"
        known = {name: value for name, value in named.items() if value is not None}
        request = urllib.request.Request(url, content, known, method=method)
        try:
            return urllib.request.urlopen(request, timeout=self._timeout_s)
        except urllib.error.HTTPError as error:
            with error:
                raise ProblemError(_problem(error.read(), error.code, self.url)) from None


def _problem(body: bytes, status: int, url: str) -> Mapping[str, Any]:
    """The problem that the service tells, or that something else answers in its place."""
    with suppress(ValueError):
        problem = json.loads(body)
        if isinstance(problem, dict) and {"what", "where", "why", "fix", "status"} <= problem.keys():
            return problem
    why = f"It is no answer of pairsmith's; it begins {body[:80].decode(errors='replace')!r}."
    fix = "Look whether the address is that of `pairsmith serve`, and whether a proxy stands before it that finds none."
    return {"what": f"{url} answers HTTP {status}.", "where": None, "why": why, "fix": fix, "status": status}


def asks(method: str, path: str) -> Callable[[Callable[Sent, Given]], Callable[Sent, Given]]:
    """Makes a call of a signature, which says all that is sent: a parameter that `path` names stands in it, `body` is
    JSON, `form` a form, some are headers, all others the query. What comes is decoded JSON, None for an empty answer,
    bytes where the signature says so, or the events of a stream until the service ends it."""

    def made(signature: Callable[Sent, Given]) -> Callable[Sent, Given]:
        parameters, gives = inspect.signature(signature), signature.__annotations__["return"]

        @wraps(signature)
        def call(*arguments: Sent.args, **named: Sent.kwargs) -> Given:
            given = parameters.bind(*arguments, **named).arguments
            answer = given["self"].opened(method, path, given)
            return cast(Given, _events(answer) if gives == "Iterator[Any]" else _decoded(answer, gives == "bytes"))

        return call

    return made


def _decoded(answer: Any, as_bytes: bool) -> Any:
    with answer:
        content = answer.read() or None
        is_json = answer.headers.get_content_type() == "application/json" and not as_bytes
        return json.loads(content) if content and is_json else content


def _events(answer: Any) -> Iterator[Any]:
    with answer:
        for line in answer:
            if line.startswith(b"data: "):
                yield json.loads(line[6:])


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

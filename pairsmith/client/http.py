"""HTTP requests to the service, with the standard library only."""

from __future__ import annotations

import inspect
import json
import re
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast
from urllib.parse import quote, urlencode

from schemas.errors import PairsmithError, UsageError

ROOT = "/api/v1"
_TIMEOUT_S = 60.0
_SHORT_S = 5.0  # a wait that the client makes itself, when it has sent more requests than it may
_HEADERS = {"idempotency_key", "if_match", "last_event_id"}
_ESCAPED = {ord(mark): quote(mark) for mark in '"\r\n'}  # in the name of a file, as browsers do
_PATH_PARAMETER = re.compile(r"{(\w+)}")
Result = TypeVar("Result")
Params = ParamSpec("Params")


class ProblemError(PairsmithError):
    """The service refused a request. `problem` is the whole response body, `status` its HTTP status."""

    def __init__(self, problem: Mapping[str, Any]) -> None:
        super().__init__(problem["what"], where=problem["where"], why=problem["why"], fix=problem["fix"])
        self.problem, self.status = problem, int(problem["status"])


class Http:
    """A connection to the service at `url`. Raises UsageError for something that is not an address."""

    def __init__(self, url: str, key: str | None = None, *, timeout_s: float = _TIMEOUT_S) -> None:
        if not str(url).startswith(("http://", "https://")):
            raise UsageError(f"{url!r:.80} is not an address.", fix='Write it as "http://127.0.0.1:8660".')
        self.url, self._key, self._timeout_s = url.rstrip("/"), key and key.strip(), timeout_s
        self._opener = urllib.request.build_opener(_Handler)

    def open(self, method: str, path: str, given: Mapping[str, Any]) -> Any:
        """Send a request and return the open response. A request that came too fast after others is sent again when the
        service says. Raises ProblemError, and OSError if the service does not respond."""
        path_values = {name: quote(str(given[name]), safe="") for name in _PATH_PARAMETER.findall(path)}
        url = self.url + ROOT + path.format(**path_values)
        headers = {name.replace("_", "-"): given.get(name) for name in _HEADERS}
        headers["Authorization"] = f"Bearer {self._key}" if self._key else None
        content = None
        if "body" in given:
            content, headers["Content-Type"] = json.dumps(given["body"]).encode(), "application/json"
        if "form" in given:
            content, headers["Content-Type"] = _multipart(given["form"])
        rest = given.keys() - path_values.keys() - _HEADERS - {"self", "body", "form"}
        if query := {name.rstrip("_"): _query_value(given[name]) for name in rest if given[name] is not None}:
            url += f"?{urlencode(query)}"
        known = {name: value for name, value in headers.items() if value is not None}
        request = urllib.request.Request(url, content, known, method=method)
        until_s = time.monotonic() + self._timeout_s
        while True:
            try:
                return self._opener.open(request, timeout=self._timeout_s)
            except urllib.error.HTTPError as error:
                with error:
                    problem = ProblemError(_problem(error.read(), error.code, self.url))
                after = error.headers.get("Retry-After", "")
                wait_s = float(after) if error.code == 429 and after.isdecimal() else _TIMEOUT_S
                if wait_s > _SHORT_S or time.monotonic() + wait_s > until_s:
                    raise problem from None
            time.sleep(wait_s)


class _Handler(urllib.request.HTTPSHandler, urllib.request.HTTPHandler):
    """Reads the response also if the service refused a body before it had received all of it."""

    def do_open(self, http_class: Any, req: Any, **arguments: Any) -> Any:
        def connection(*place: Any, **named: Any) -> Any:
            opened = http_class(*place, **named)
            send = opened.send

            def send_while_received(data: Any) -> None:
                with suppress(BrokenPipeError, ConnectionResetError):
                    send(data)

            opened.send = send_while_received
            return opened

        return super().do_open(connection, req, **arguments)


def _problem(body: bytes, status: int, url: str) -> Mapping[str, Any]:
    """The problem in the service's response, or one that describes the response of something else."""
    with suppress(ValueError):
        problem = json.loads(body)
        if isinstance(problem, dict) and {"what", "where", "why", "fix", "status"} <= problem.keys():
            return problem
    why = f"The response is not from pairsmith; it begins {body[:80].decode(errors='replace')!r}."
    fix = "Check that the address is that of `pairsmith serve`, and that a proxy in front of it can reach it."
    return {"what": f"{url} answers HTTP {status}.", "where": None, "why": why, "fix": fix, "status": status}


def operation(method: str, path: str) -> Callable[[Callable[Params, Result]], Callable[Params, Result]]:
    """Turns a signature into an API call. The signature declares everything that is sent.

    A parameter in `path` becomes part of the URL, `body` is sent as JSON, `form` as a form, some parameters are
    headers, and all others the query. The result is decoded JSON, None for an empty response, bytes (also none) if the
    signature says so, or the events of a stream until the service ends it.
    """

    def decorate(signature: Callable[Params, Result]) -> Callable[Params, Result]:
        parameters, returns = inspect.signature(signature), signature.__annotations__["return"]

        @wraps(signature)
        def call(*arguments: Params.args, **named: Params.kwargs) -> Result:
            given = parameters.bind(*arguments, **named).arguments
            answer = given["self"].open(method, path, given)
            return cast(Result, _events(answer) if returns == "Iterator[Any]" else _decoded(answer, returns == "bytes"))

        return call

    return decorate


def _decoded(answer: Any, as_bytes: bool) -> Any:
    with answer:
        content = answer.read()
        is_json = answer.headers.get_content_type() == "application/json"
        return content if as_bytes else json.loads(content) if content and is_json else content or None


def _events(answer: Any) -> Iterator[Any]:
    """The data of each event; None for a heartbeat."""
    with answer:
        for line in answer:
            if line.startswith(b"data: "):
                yield json.loads(line[6:])
            elif line.startswith(b":"):
                yield None


def _query_value(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value


def _multipart(form: Mapping[str, Any]) -> tuple[bytes, str]:
    """Encode a form; a pair of a file name and bytes (or a text) is a file. Raises UsageError for another object."""
    boundary = secrets.token_hex(16)
    parts = b""
    for name, value in form.items():
        if value is None:
            continue
        file_name, content = value if isinstance(value, tuple) and len(value) == 2 else (None, value)
        if not isinstance(content, str | bytes):
            what = f"the field {name} of the form is of type {type(content).__name__}."
            raise UsageError(what, fix='Pass a text, or a file as ("seeds.jsonl", path.read_bytes()).')
        content = content.encode() if isinstance(content, str) else content
        file = "" if file_name is None else f'; filename="{file_name.translate(_ESCAPED)}"'
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'
        parts += head.encode() + content + b"\r\n"
    return parts + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"

"""The outermost middleware: request id, host check, authentication, rate limits, security headers, audit and
metrics."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy.exc import DataError, DBAPIError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pairsmith.serve import limits, logs, metrics, problems, traces
from pairsmith.serve.access import ALL, Caller, Role
from pairsmith.serve.problems import Refusal
from pairsmith.serve.sessions import cookie_name
from pairsmith.serve.settings import Settings
from pairsmith.serve.state import ServiceState
from schemas.errors import PairsmithError

log = logging.getLogger("pairsmith.serve")
PageOf = Callable[[Request, PairsmithError], Response | None]
"""How an error is shown in a user's browser; returns None for an API client."""

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; worker-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
SECURITY_HEADERS = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}
LOCAL = Caller("local", "local", {ALL: Role.owner})
"""The caller of every request with `--no-auth`, where only this machine has access."""
BACK = "private, no-cache"
"""Cache-Control for a rejected form: it stays in the browser's history, so going back restores what was typed."""
_READS = ("GET", "HEAD", "OPTIONS")
_LOCAL_NAMES = {"localhost", "127.0.0.1", "::1"}


class Edge:
    """The outermost part of the application. It answers every failure itself, so no traceback leaves the server."""

    def __init__(self, app: ASGIApp, *, settings: Settings, state: ServiceState, page: PageOf) -> None:
        self.app, self.settings, self.state, self.page = app, settings, state, page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
        elif scope["method"] == "HEAD":
            with suppress(_HeadSent):
                state = {**scope.get("state", {}), "method": "HEAD"}
                await self._serve({**scope, "method": "GET", "state": state}, receive, _head_of(send))
        else:
            await self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id, began_s, status = secrets.token_hex(8), time.monotonic(), 0
        state = scope.setdefault("state", {})
        state["request_id"], state["caller"] = request_id, Caller()
        state.setdefault("method", scope["method"])  # the method that the client sent
        logs.request_fields.set({"request": request_id})

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                if scope["method"] == "POST" and status >= 400 and "html" in headers.get("content-type", ""):
                    headers.setdefault("Cache-Control", BACK)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
                if self.settings.secure:
                    headers.setdefault("Strict-Transport-Security", "max-age=31536000")
                headers["X-Request-Id"] = request_id
            await send(message)

        try:
            max_bytes = await self._admit(scope, Headers(scope=scope))
            await self.app(scope, _limit_body(max_bytes, receive), send_with_headers)
        except _HeadSent:
            raise
        except (PairsmithError, HTTPException) as raised:
            error = raised if isinstance(raised, PairsmithError) else problems.of_http(raised)
            await self._answer(error, scope)(scope, receive, send_with_headers)
        except DataError:
            error = Refusal(422, "a text contains a character that the database cannot store.", code="not_valid")
            await self._answer(error, scope)(scope, receive, send_with_headers)
        except Exception as raised:
            disk_full = problems.disk_full(raised, self.state.workspace.root)
            if disk_full is None:
                log.exception("request %s: %s %s", request_id, scope["method"], scope["path"])
            if status:
                raise
            await self._answer(disk_full or problems.defect(request_id), scope)(scope, receive, send_with_headers)
        finally:
            self._record_request(scope, status, time.monotonic() - began_s)
            if status and self._is_audited(scope, status):
                await run_in_threadpool(self._audit, scope, status)

    def _answer(self, error: PairsmithError, scope: Scope) -> Response:
        """A page for a user's browser, a problem response for an API client."""
        request = Request(scope)
        return self.page(request, error) or problems.answer_to(request, error)

    async def _admit(self, scope: Scope, headers: Headers) -> int:
        """Identify the caller and return how many bytes the body may have. Raises Refusal."""
        self._check_host(headers.get("host", ""))
        if (
            "\0" in scope["path"] or b"%00" in scope["query_string"]
        ):  # neither file names nor PostgreSQL texts can contain one
            raise Refusal(400, "the address contains a zero byte.", code="not_valid", fix="Remove %00.")
        caller = await run_in_threadpool(caller_of, headers, self.state)
        scope["state"]["caller"] = caller
        logs.request_fields.set({**logs.request_fields.get(), "user": caller.user})
        if caller is not LOCAL:
            who = caller.key or caller.session or address_of(scope)
            self.state.limits.take(who, limits.REQUESTS, "requests")
        max_bytes = limits.max_body_bytes(scope["path"], signed_in=caller.user is not None)
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > max_bytes:
            raise _too_large(max_bytes)
        return max_bytes

    def _check_host(self, host: str) -> None:
        """Raises Refusal for a Host header that is not ours: another site may point its name at this machine (DNS
        rebinding)."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:  # an incomplete IPv6 address
            name = host
        if self.settings.url:
            expected = {urlsplit(self.settings.url).hostname, *(_LOCAL_NAMES if self.settings.loopback else ())}
        elif self.settings.loopback:
            expected = {*_LOCAL_NAMES, self.settings.host}
        else:
            return
        if name not in expected:
            raise Refusal(
                400,
                f"this service is not at the host '{name}'.",
                code="wrong_host",
                why="Another site could point its name here, to act in your name.",
                fix="Start the service with --url and the address at which users reach it.",
            )

    def _record_request(self, scope: Scope, status: int, seconds: float) -> None:
        """Record the request in the metrics, the log and as a span: its route and path, never its query."""
        route, method, now_s = scope.get("route"), scope["state"]["method"], time.time()
        path, name = getattr(route, "path", "none"), getattr(route, "name", "none")
        metrics.request(path, method, status, seconds)
        project = scope.get("path_params", {}).get("project")
        traces.request(name, method, path, status, now_s - seconds, now_s, project)
        log.info("%s %s", method, scope["path"], extra={"status": status, "ms": round(1000 * seconds, 1)})

    def _is_audited(self, scope: Scope, status: int) -> bool:
        """Whether the request is audited: anything that changes something or downloads data, and every refusal."""
        if status in (401, 403):
            return True
        return scope["method"] not in _READS or "download_" in getattr(scope.get("route"), "name", "")

    def _audit(self, scope: Scope, status: int) -> None:
        """Write the request to the audit, or to the log if the database cannot take it."""
        state, route = scope["state"], scope.get("route")
        changed: dict[str, Any] = state.get("changed", {})
        line = {
            "address": address_of(scope),
            "action": changed.get("action") or getattr(route, "name", "none"),
            "project": changed.get("project") or scope.get("path_params", {}).get("project"),
            "target": f"{state['method']} {changed.get('target') or scope['path']}",
            "status": status,
            "request_id": state["request_id"],
            "before": changed.get("before"),
            "after": changed.get("after"),
        }
        try:
            self.state.audit.write(state["caller"], line)
        except DBAPIError as error:
            log.error("the audit cannot be written (%s); this entry is only in the log: %s", error.orig, line)


def caller_of(headers: Headers, state: ServiceState) -> Caller:
    """The caller of a request, by its API key or else its cookie; with a key, cookies are ignored. Raises Refusal."""
    if state.settings.no_auth:
        return LOCAL
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        caller = state.keys.caller(key.strip())
        if caller is None:
            raise Refusal(
                401,
                "the API key is not valid, or no longer valid.",
                code="invalid_api_key",
                fix="Create another.",
            )
        return caller
    try:
        cookies = SimpleCookie(headers.get("cookie", ""))
    except CookieError:
        return Caller()
    cookie = cookies.get(cookie_name(state.settings.secure))
    return (state.sessions.caller(cookie.value) if cookie else None) or Caller()


class _HeadSent(Exception):
    """The head of a response to HEAD has been sent. Its body is not produced: it may be long or endless."""


def _head_of(send: Send) -> Send:
    """Sends the head of a response, then raises _HeadSent."""

    async def head(message: Message) -> None:
        await send(message)
        await send({"type": "http.response.body"})
        raise _HeadSent

    return head


def _too_large(max_bytes: int) -> HTTPException:
    size = f"{max_bytes / 1e6:,.0f} MB" if max_bytes >= 1e6 else f"{max_bytes:,} bytes"
    return HTTPException(413, f"requests of more than {size} are not accepted")


def _limit_body(max_bytes: int, receive: Receive) -> Receive:
    """Receives a body, and raises HTTPException (413) as soon as it exceeds the limit instead of reading on."""
    size = 0

    async def counted() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > max_bytes:
            raise _too_large(max_bytes)
        return message

    return counted


def address_of(scope: Scope) -> str:
    """The address of the client; uvicorn fills it in from a trusted proxy."""
    return str(scope["client"][0]) if scope.get("client") else ""

"""What every request passes through: number, host check, who it is, rates, headers of safety, audit, and figures."""

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
"""How a refusal is shown to a person's browser; None for a program."""

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; worker-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
SAFETY = {
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
"""Everybody, where `--no-auth` lets only this machine in."""
BACK = "private, no-cache"
"""A form that was refused stays in the history of its browser: one goes back to it, to what was typed."""
_READS = ("GET", "HEAD", "OPTIONS")
_LOCAL_NAMES = {"localhost", "127.0.0.1", "::1"}


class Edge:
    """The outermost part of the application. It answers every failure itself: no traceback leaves the server."""

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
        state.setdefault("method", scope["method"])  # as it was sent
        logs.within.set({"request": request_id})

        async def send_safely(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                if scope["method"] == "POST" and status >= 400 and "html" in headers.get("content-type", ""):
                    headers.setdefault("Cache-Control", BACK)
                for name, value in SAFETY.items():
                    headers.setdefault(name, value)
                if self.settings.secure:
                    headers.setdefault("Strict-Transport-Security", "max-age=31536000")
                headers["X-Request-Id"] = request_id
            await send(message)

        try:
            most = await self._check(scope, Headers(scope=scope))
            await self.app(scope, _at_most(most, receive), send_safely)
        except _HeadSent:
            raise
        except (PairsmithError, HTTPException) as raised:
            error = raised if isinstance(raised, PairsmithError) else problems.of_http(raised)
            await self._answer(error, scope)(scope, receive, send_safely)
        except DataError:
            error = Refusal(422, "a text has a character that the database does not keep.", code="not_valid")
            await self._answer(error, scope)(scope, receive, send_safely)
        except Exception as raised:
            no_room = problems.no_room(raised, self.state.workspace.root)
            if no_room is None:
                log.exception("request %s: %s %s", request_id, scope["method"], scope["path"])
            if status:
                raise
            await self._answer(no_room or problems.defect(request_id), scope)(scope, receive, send_safely)
        finally:
            self._tell(scope, status, time.monotonic() - began_s)
            if status and self._is_audited(scope, status):
                await run_in_threadpool(self._audit, scope, status)

    def _answer(self, error: PairsmithError, scope: Scope) -> Response:
        """A page for a person's browser, the API's answer for a program."""
        if page := self.page(Request(scope), error):
            return page
        root, request_id = self.state.workspace.root, scope["state"]["request_id"]
        return problems.answer(error, root, instance=scope["path"], request_id=request_id)

    async def _check(self, scope: Scope, headers: Headers) -> int:
        """Find out who it is; how many bytes they may send. Raises Refusal."""
        self._check_host(headers.get("host", ""))
        if "\0" in scope["path"] or b"%00" in scope["query_string"]:  # no file and no PostgreSQL text has it
            raise Refusal(400, "the address has a zero byte in it.", code="not_valid", fix="Leave %00 out.")
        caller = await run_in_threadpool(caller_of, headers, self.state)
        scope["state"]["caller"] = caller
        logs.within.set({**logs.within.get(), "user": caller.user})
        if caller is not LOCAL:
            who = caller.key or caller.session or address_of(scope)
            self.state.limits.take(who, limits.REQUESTS, "requests")
        most = limits.most_bytes(scope["path"], signed_in=caller.user is not None)
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > most:
            raise _too_large(most)
        return most

    def _check_host(self, host: str) -> None:
        """Refuse a name that is not ours: a page elsewhere may have its own name point to this machine."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:  # half of an IPv6 address
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
                f"this is not the host '{name}'.",
                code="wrong_host",
                why="Another site may have its name point here, to act in your name.",
                fix="Start with --url and the address at which people reach the service.",
            )

    def _tell(self, scope: Scope, status: int, seconds: float) -> None:
        """Count the request, and tell of it in the log and as a span: its route and path, never its query."""
        route, method, now_s = scope.get("route"), scope["state"]["method"], time.time()
        path, name = getattr(route, "path", "none"), getattr(route, "name", "none")
        metrics.request(path, method, status, seconds)
        project = scope.get("path_params", {}).get("project")
        traces.request(name, method, path, status, now_s - seconds, now_s, project)
        log.info("%s %s", method, scope["path"], extra={"status": status, "ms": round(1000 * seconds, 1)})

    def _is_audited(self, scope: Scope, status: int) -> bool:
        """All that changes something, all that leaves the house, and every refusal."""
        if status in (401, 403):
            return True
        return scope["method"] not in _READS or "download" in getattr(scope.get("route"), "name", "")

    def _audit(self, scope: Scope, status: int) -> None:
        """Write it down; in the log where the database cannot take it."""
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
            log.error("the audit cannot be written (%s), so this stands here alone: %s", error.orig, line)


def caller_of(headers: Headers, state: ServiceState) -> Caller:
    """Who sends a request, by a key, or else by a cookie: a request with a key never reads cookies. Raises Refusal."""
    if state.settings.no_auth:
        return LOCAL
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        caller = state.keys.caller(key.strip())
        if caller is None:
            raise Refusal(401, "the API key is not valid (any more).", code="invalid_api_key", fix="Make another.")
        return caller
    try:
        cookies = SimpleCookie(headers.get("cookie", ""))
    except CookieError:
        return Caller()
    held = cookies.get(cookie_name(state.settings.secure))
    return (state.sessions.caller(held.value) if held else None) or Caller()


class _HeadSent(Exception):
    """The head of an answer is sent, and nobody asked for more: its body may be long, or without end."""


def _head_of(send: Send) -> Send:
    """Sends the head of an answer, then raises _HeadSent."""

    async def head(message: Message) -> None:
        await send(message)
        await send({"type": "http.response.body"})
        raise _HeadSent

    return head


def _too_large(most: int) -> HTTPException:
    size = f"{most / 1e6:,.0f} MB" if most >= 1e6 else f"{most:,} bytes"
    return HTTPException(413, f"more than {size} at once are not taken here")


def _at_most(most: int, receive: Receive) -> Receive:
    """A body that ends in a refusal where it is longer, so that nobody reads it to its end."""
    size = 0

    async def counted() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > most:
            raise _too_large(most)
        return message

    return counted


def address_of(scope: Scope) -> str:
    """The address of whoever is connected; uvicorn has put in what a trusted proxy says."""
    return str(scope["client"][0]) if scope.get("client") else ""

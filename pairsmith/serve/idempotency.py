"""`Idempotency-Key`: a POST that is repeated with the same key has one effect, and gets the first response again."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from tempfile import SpooledTemporaryFile
from typing import IO

import sqlalchemy as sa
from python_multipart.multipart import parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pairsmith.serve.access import Caller, Right, Role
from pairsmith.serve.database import answers, row, stamp, write
from pairsmith.serve.edge import address_of
from pairsmith.serve.problems import Refusal
from pairsmith.serve.state import ServiceState
from schemas.records import now

RETENTION = timedelta(hours=24)
_IN_MEMORY = 1_000_000
_MAX_STORED = 1_000_000  # bytes of a response; longer ones are streams and not stored


class Idempotency:
    """Middleware inside `Edge`, which has identified the caller.

    A key counts for its caller and path. Reusing it with another body is refused (422), and so is repeating it while
    the first request is unanswered (409). A caller who has lost a right since is refused (403): the response may show
    what they may no longer see. A refusal has no effect and may have been lifted since (a role was given), so it is not
    stored. Neither are responses with a secret, including session cookies: repeating those is refused, because a secret
    is shown only once.
    """

    def __init__(self, app: ASGIApp, *, state: ServiceState) -> None:
        self.app, self.engine = app, state.engine
        # Requests that an earlier server left unanswered will never be answered.
        write(self.engine, sa.delete(answers).where(answers.c.status.is_(None)))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        key = Headers(scope=scope).get("idempotency-key") if scope["type"] == "http" else None
        if not key or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        if len(key) > 128 or not key.isprintable():
            raise Refusal(400, "an Idempotency-Key has at most 128 printable characters.", code="bad_key")
        caller: Caller = scope["state"]["caller"]
        place = (caller.key or caller.user or address_of(scope), scope["path"][:300], key)
        with SpooledTemporaryFile(_IN_MEMORY) as body:
            sent = await _read(scope, receive, body)
            stored = await run_in_threadpool(self._claim, place, sent)
            if stored is not None:
                await _send_stored(stored, caller, send)
                return
            await self._forward(scope, _replay_body(body, receive), send, place)

    async def _forward(self, scope: Scope, receive: Receive, send: Send, place: tuple[str, str, str]) -> None:
        status, headers = 0, list[tuple[str, str]]()
        body, whole, is_kept = bytearray(), True, False

        async def keep(message: Message) -> None:
            nonlocal whole, is_kept, status, headers
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in message["headers"]]
            elif whole:
                body.extend(message.get("body", b""))
                whole = len(body) <= _MAX_STORED
            is_last = message["type"] == "http.response.body" and not message.get("more_body")
            if is_last and whole and status < 400:
                # Stored before the last chunk is sent: a client may repeat the request once it has the response.
                is_secret = scope["state"].get("once", False) or "set-cookie" in dict(headers)
                kept = {"status": 0, "headers": "[]", "body": b""}
                if not is_secret:
                    start = json.dumps({"headers": headers, "roles": dict(scope["state"]["caller"].roles)})
                    kept = {"status": status, "headers": start, "body": bytes(body)}
                await run_in_threadpool(write, self.engine, sa.update(answers).where(*_matches(place)).values(kept))
                is_kept = True
            await send(message)

        try:
            await self.app(scope, receive, keep)
        finally:
            if not is_kept:
                await run_in_threadpool(write, self.engine, sa.delete(answers).where(*_matches(place)))

    def _claim(self, place: tuple[str, str, str], sent: str) -> sa.RowMapping | None:
        """Claim the key. Returns the row of the first request if it was claimed before. Raises Refusal."""
        caller, route, key = place
        write(self.engine, sa.delete(answers).where(answers.c.at < stamp(now() - RETENTION)))
        with suppress(sa.exc.IntegrityError):
            new = {"caller": caller, "route": route, "key": key, "sent": sent, "at": stamp()}
            write(self.engine, sa.insert(answers).values(new))
            return None
        stored = row(self.engine, sa.select(answers).where(*_matches(place)))
        if stored is None or stored["status"] is None:
            raise Refusal(409, "the first request with this key has not been answered yet.", code="in_progress")
        if stored["sent"] != sent:
            raise Refusal(
                422,
                "this Idempotency-Key was used for another request.",
                code="idempotency_key_reused",
                fix="Use a new key for each request.",
            )
        if stored["status"] == 0:
            raise Refusal(409, "the request was carried out, and its secret is shown only once.", code="shown_once")
        return stored


def _matches(place: tuple[str, str, str]) -> list[sa.ColumnElement[bool]]:
    return [answers.c.caller == place[0], answers.c.route == place[1], answers.c.key == place[2]]


async def _read(scope: Scope, receive: Receive, body: IO[bytes]) -> str:
    """Copy the body of a request, whose length `Edge` limits, to a file. Returns the hash of its query and body,
    without the boundary between the fields of a form: clients choose another one each time. Raises Refusal if the
    client disconnects before its end: the beginning of a form is a form as well."""
    given = parse_options_header(Headers(scope=scope).get("content-type"))[1].get(b"boundary")
    boundary = b"--" + given if given else b""
    digest = hashlib.sha256(scope["query_string"] + b"\n" if scope["query_string"] else b"")
    held = b""  # the end of what was received: a boundary may begin in it
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refusal(499, "the client disconnected before the end of its request.", code="disconnected")
        chunk = message.get("body", b"")
        body.write(chunk)
        *parts, held = (held + chunk).split(boundary) if boundary else (chunk, b"")
        digest.update(b"".join(parts))
        if not message.get("more_body"):
            break
        whole = max(0, len(held) - len(boundary))
        digest.update(held[:whole])
        held = held[whole:]
    digest.update(held)
    body.seek(0)
    return digest.hexdigest()


def _replay_body(body: IO[bytes], receive: Receive) -> Receive:
    ended = False

    async def read() -> Message:
        nonlocal ended
        if ended:
            return await receive()
        chunk = body.read(65_536)
        ended = len(chunk) < 65_536
        return {"type": "http.request", "body": chunk, "more_body": not ended}

    return read


async def _send_stored(stored: sa.RowMapping, caller: Caller, send: Send) -> None:
    """Send a stored response. Raises Refusal if the caller has lost a right since."""
    start = json.loads(stored["headers"])
    start = start if isinstance(start, dict) else {"headers": start, "roles": {}}  # stored by an earlier version
    before = replace(caller, roles={place: Role(role) for place, role in start["roles"].items()})
    if any(before.may(right, place) and not caller.may(right, place) for place in before.roles for right in Right):
        raise Refusal(
            403,
            "the request was carried out, and you have fewer rights now than then.",
            why="Its response may show what you may no longer see.",
            code="rights_lost",
            fix="Ask an owner for the role that you had.",
        )
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in start["headers"]]
    headers.append((b"idempotent-replayed", b"true"))
    await send({"type": "http.response.start", "status": stored["status"], "headers": headers})
    await send({"type": "http.response.body", "body": stored["body"]})

"""`Idempotency-Key`: a POST that is sent again with the same key has one effect, and gets the first answer again."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from datetime import timedelta
from tempfile import SpooledTemporaryFile
from typing import IO

import sqlalchemy as sa
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pairsmith.serve.access import Caller
from pairsmith.serve.database import answers, row, stamp, write
from pairsmith.serve.edge import address_of
from pairsmith.serve.problems import Refusal
from pairsmith.serve.state import ServiceState
from schemas.records import now

KEPT = timedelta(hours=24)
_IN_MEMORY = 1_000_000
_MOST_KEPT = 1_000_000  # bytes of an answer; what is longer is a stream, and is not kept


class Repeats:
    """Stands behind `Edge`, which knows who sends a request.

    The key counts for its sender and path. With another body it is refused (422), and while the first is not answered
    yet, too (409). Nothing is kept of an answer that is a defect, nor of one with a secret, a session's cookie among
    them: there, a second time is refused, because a secret is shown once.
    """

    def __init__(self, app: ASGIApp, *, state: ServiceState) -> None:
        self.app, self.engine = app, state.engine
        # What an earlier server has not answered nobody answers any more.
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
            kept = await run_in_threadpool(self._begin, place, sent)
            if kept is not None:
                await _repeat(kept, send)
                return
            await self._first(scope, _again(body, receive), send, place)

    async def _first(self, scope: Scope, receive: Receive, send: Send, place: tuple[str, str, str]) -> None:
        status, headers = 0, list[tuple[str, str]]()
        body, whole, is_kept = bytearray(), True, False

        async def keep(message: Message) -> None:
            nonlocal whole, is_kept, status, headers
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in message["headers"]]
            elif whole:
                body.extend(message.get("body", b""))
                whole = len(body) <= _MOST_KEPT
            is_last = message["type"] == "http.response.body" and not message.get("more_body")
            if is_last and whole and status < 500 and status != 429:
                # Before its end is sent: who has the answer may send the same again at once.
                once = scope["state"].get("once", False) or "set-cookie" in dict(headers)
                held = (0, "[]", b"") if once else (status, json.dumps(headers), bytes(body))
                await run_in_threadpool(self._keep, place, *held)
                is_kept = True
            await send(message)

        try:
            await self.app(scope, receive, keep)
        finally:
            if not is_kept:
                await run_in_threadpool(self._forget, place)

    def _begin(self, place: tuple[str, str, str], sent: str) -> sa.RowMapping | None:
        """Take the key; the row of the first request if it was taken. Raises Refusal."""
        caller, route, key = place
        write(self.engine, sa.delete(answers).where(answers.c.at < stamp(now() - KEPT)))
        with suppress(sa.exc.IntegrityError):
            new = {"caller": caller, "route": route, "key": key, "sent": sent, "at": stamp()}
            write(self.engine, sa.insert(answers).values(new))
            return None
        kept = row(self.engine, sa.select(answers).where(*_at(place)))
        if kept is None or kept["status"] is None:
            raise Refusal(409, "the first request with this key is not answered yet.", code="in_progress")
        if kept["sent"] != sent:
            raise Refusal(
                422,
                "this Idempotency-Key was used for another request.",
                code="idempotency_key_reused",
                fix="Take a new key for each thing that you ask for.",
            )
        if kept["status"] == 0:
            raise Refusal(409, "it was done, and its secret is shown only once.", code="shown_once")
        return kept

    def _keep(self, place: tuple[str, str, str], status: int, headers: str, body: bytes) -> None:
        write(self.engine, sa.update(answers).where(*_at(place)).values(status=status, headers=headers, body=body))

    def _forget(self, place: tuple[str, str, str]) -> None:
        write(self.engine, sa.delete(answers).where(*_at(place)))


def _at(place: tuple[str, str, str]) -> list[sa.ColumnElement[bool]]:
    return [answers.c.caller == place[0], answers.c.route == place[1], answers.c.key == place[2]]


async def _read(scope: Scope, receive: Receive, body: IO[bytes]) -> str:
    """Put the body of a request, whose length `Edge` counts, into a file; the hash of its query and body."""
    digest = hashlib.sha256(scope["query_string"] + b"\n" if scope["query_string"] else b"")
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            break
        chunk = message.get("body", b"")
        digest.update(chunk)
        body.write(chunk)
        if not message.get("more_body"):
            break
    body.seek(0)
    return digest.hexdigest()


def _again(body: IO[bytes], receive: Receive) -> Receive:
    ended = False

    async def read() -> Message:
        nonlocal ended
        if ended:
            return await receive()
        chunk = body.read(65_536)
        ended = len(chunk) < 65_536
        return {"type": "http.request", "body": chunk, "more_body": not ended}

    return read


async def _repeat(kept: sa.RowMapping, send: Send) -> None:
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in json.loads(kept["headers"])]
    headers.append((b"idempotent-replayed", b"true"))
    await send({"type": "http.response.start", "status": kept["status"], "headers": headers})
    await send({"type": "http.response.body", "body": kept["body"]})

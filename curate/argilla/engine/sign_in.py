"""Throttling of password guessing: after three wrong passwords for a name, each further attempt is delayed, twice as
long each time.

Argilla itself does not limit attempts. Attempts for the same name are processed one after another, so parallel attempts
are no faster; other users are not affected. The correct password, or a quarter of an hour without an attempt, resets
the delay.
"""

import asyncio
import time
from urllib.parse import parse_qs

FREE_TRIES = 3
LONGEST_WAIT_S = 30.0
FORGOTTEN_AFTER_S = 900.0
_MAX_NAMES = 10_000
_MAX_BODY_BYTES = 10_000


class SignInThrottle:
    """ASGI middleware around Argilla's application."""

    def __init__(self, app, sleep=asyncio.sleep):
        self.app, self.sleep = app, sleep
        self.wrong = {}  # name -> [number of wrong passwords, time of the last one]
        self.locks = {}

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http" or scope["method"] != "POST" or not scope["path"].endswith("/api/v1/token"):
            await self.app(scope, receive, send)
            return
        body, more = b"", True
        while more and len(body) <= _MAX_BODY_BYTES:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        if len(body) > _MAX_BODY_BYTES:
            await send({"type": "http.response.start", "status": 413, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        # A form of another type, or one with several names (Argilla takes the last), counts as having an empty name;
        # all such attempts share one queue and one delay.
        names = parse_qs(body.decode(errors="replace")).get("username", ())
        name = names[0] if len(names) == 1 else ""
        self._drop_old_entries()
        async with self.locks.setdefault(name, asyncio.Lock()):
            tries = self.wrong.get(name, [0, 0.0])[0]
            if tries >= FREE_TRIES:
                await self.sleep(min(2.0 ** (tries - FREE_TRIES), LONGEST_WAIT_S))
            await self.app(scope, _replay_body(body, receive), self._recording_outcome(name, tries, send))

    def _recording_outcome(self, name, tries, send):
        async def noted(message):
            if message["type"] == "http.response.start":
                if message["status"] == 401:
                    self.wrong[name] = [tries + 1, time.monotonic()]
                elif message["status"] < 400:
                    self.wrong.pop(name, None)
            await send(message)

        return noted

    def _drop_old_entries(self):
        now = time.monotonic()
        old = [name for name, (_, last) in self.wrong.items() if now - last > FORGOTTEN_AFTER_S]
        if len(self.wrong) > _MAX_NAMES:
            old = list(self.wrong)[: len(self.wrong) // 2]
        for name in old:
            del self.wrong[name]
        for name in [name for name, lock in self.locks.items() if name not in self.wrong and not lock.locked()]:
            del self.locks[name]


def _replay_body(body, receive):
    replayed = False

    async def again():
        nonlocal replayed
        if replayed:
            return await receive()
        replayed = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again

"""The way to a teacher's addresses: one HTTP request, and what comes of it or keeps an answer from coming."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from urllib.parse import urlencode

import aiohttp

from synth.chat_completions import BrokenError, NotConnectedError, TimedOutError, one_line
from synth.connections import Connections, NoConnectionError, Response, tls_failure
from synth.proxy import REFUSALS, by_session, proxy_for, refused_by, secrets_of, session_of
from synth.redaction import secrets_in, without_keys, without_user_info

_FAILURES = (aiohttp.ClientError, NoConnectionError, OSError)


class Wire:
    """What is sent to `urls`, with `key` and `headers`, which are secret, and `params` behind every address, of which
    some are secret too: `shown_suffix` is without these.

    A connection is made within `connect_s`, and an answer begins within `first_byte_s` of when its request was sent.
    `connections` are those to addresses that no proxy stands before; `waits_only`: it is open, and a request there is
    sent and waited for, no more.
    """

    def __init__(self, *, connect_s: float, first_byte_s: float | None) -> None:
        self._connect_s, self._first_byte_s = connect_s, first_byte_s
        self.key, self.headers, self.params = "", dict[str, str](), dict[str, str]()
        self.suffix = self.shown_suffix = ""
        self._secrets: tuple[str, ...] = ()
        self._in_query: re.Pattern[str] | None = None
        self.connections: dict[str, Connections] = {}
        self.proxies: dict[str, str | None] = {}
        self.waits_only = False
        self._session: aiohttp.ClientSession | None = None

    def to(self, key: str, headers: Mapping[str, str], plain: Mapping[str, str], secret: Mapping[str, str]) -> None:
        """Send with these from now on; `plain` and `secret` are the two parts of the parameters."""
        self.key, self.headers, self.params = key, dict(headers), {**plain, **secret}
        self.suffix, self.shown_suffix = (f"?{urlencode(query)}" if query else "" for query in (self.params, plain))
        in_headers = (secret for value in self.headers.values() for secret in secrets_in(value))
        self._secrets = tuple(dict.fromkeys((key, *in_headers, *secret.values())))
        names = "|".join(map(re.escape, secret))
        self._in_query = re.compile(rf"(?<![\w-])((?:{names})=)[^&#\s\"'<>]+") if secret else None

    @property
    def is_open(self) -> bool:
        return self._session is not None

    def open(self, urls: Sequence[str]) -> None:
        """Get ready to send to `urls`. Raises TeacherError for a proxy that cannot be used."""
        if self._session is not None:
            return
        named = {"Content-Type": "application/json", "User-Agent": "pairsmith"}
        if self.key:
            named["Authorization"] = f"Bearer {self.key}"
        proxies = {url: proxy_for(url) for url in urls}
        self._session = session_of({**named, **self.headers}, connect_s=self._connect_s)
        self.proxies, sent = proxies, self._session.headers
        direct = (url for url, proxy in proxies.items() if proxy is None)
        rest = f"/chat/completions{self.suffix}"
        self.connections = {url: Connections(url + rest, sent, connect_s=self._connect_s) for url in direct}
        self.waits_only = self._first_byte_s is None and len(self.connections) == len(proxies)

    async def close(self) -> None:
        """Close the connections. Safe to call twice."""
        if self._session is None:
            return
        for connections in self.connections.values():
            connections.close()
        await self._session.close()
        await asyncio.sleep(0)  # a connection ends in the next turn of the loop
        self._session, self.waits_only = None, False

    async def completion(self, base: str, data: bytes, sent: Callable[[], None]) -> Response:
        """What comes of a request for completions; `sent` is called as it has been handed to the socket."""
        begins = asyncio.timeout(None)

        def goes() -> None:
            if self._first_byte_s is not None:
                begins.reschedule(asyncio.get_running_loop().time() + self._first_byte_s)
            sent()

        def begun() -> None:
            begins.reschedule(None)

        try:
            async with begins:
                return await self._posted(base, data, begun, goes)
        except _FAILURES as error:
            raise self.failure(error, base, late=begins.expired()) from None

    def _posted(
        self, base: str, data: bytes, begun: Callable[[], None], goes: Callable[[], None]
    ) -> Awaitable[Response]:
        if (connections := self.connections.get(base)) is not None:
            return connections.post(data, begun, goes)
        assert self._session is not None
        rest = f"/chat/completions{self.suffix}"
        return by_session(self._session, base, rest, data, None, self.proxies[base], begun, goes)

    async def models(self, base: str, headers: Mapping[str, str] | None = None) -> Response:
        """What comes of asking for the list of models, with `headers` of its own."""
        assert self._session is not None
        try:
            rest = f"/models{self.suffix}"
            return await by_session(self._session, base, rest, None, headers, self.proxies[base])
        except _FAILURES as error:
            raise self.failure(error, base) from None

    def failure(self, error: BaseException, base: str, *, late: bool = False) -> BaseException:
        """What it amounts to that a request to `base` brought no answer; `late`: not in time even to begin one."""
        if not isinstance(error, _FAILURES):
            return error
        if isinstance(error, aiohttp.ServerTimeoutError):
            return NotConnectedError(f"no connection within {self._connect_s:g} s")
        if isinstance(error, aiohttp.ClientHttpProxyError) and error.status in REFUSALS:
            return refused_by(self.proxies[base] or "", base, error.status)
        if (of_tls := tls_failure(base, error)) is not None:
            return of_tls
        if isinstance(error, TimeoutError):
            limit = f"nothing came within {self._first_byte_s:g} s; raise teacher.first_byte_s if it needs longer"
            return TimedOutError(limit) if late else error
        unsent = isinstance(error, aiohttp.ClientConnectorError | NoConnectionError)
        reason = one_line(self.shown(str(error))) or type(error).__name__
        return (NotConnectedError if unsent else BrokenError)(reason)

    def without_secrets(self, text: str) -> str:
        """`text` without what is sent in secret: of the query, also what is too short to be looked for alone."""
        text = text if self._in_query is None else self._in_query.sub(r"\1***", text)
        return without_keys(text, *self._secrets, *secrets_of(*self.proxies.values()))

    def shown(self, text: str) -> str:
        """What a server said, fit for messages and the store."""
        return without_user_info(self.without_secrets(text))

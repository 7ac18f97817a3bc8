"""HTTP to a teacher's addresses: sends one request and returns the response or the error that prevented one."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import urlencode

import aiohttp

from synth.chat.completions import (
    BrokenError,
    NoProxyError,
    NotConnectedError,
    StoppedError,
    TimedOutError,
    UnreadableError,
    one_line,
)
from synth.chat.redaction import extract_secrets, without_keys, without_user_info
from synth.endpoints.connections import Connections, NoConnectionError, Response, tls_failure
from synth.endpoints.proxy import PROXY_REFUSALS, new_session, proxy_for, proxy_refusal, proxy_secrets, send_by_session

# aiohttp's error for a compression that needs a package which is not installed.
_UNREAD_ENCODING = re.compile(r"Can not decode content-encoding: .*\((br|zstd)\).*install `([\w.]+)`")
_FAILURES = (aiohttp.ClientError, NoConnectionError, OSError)


class Wire:
    """Sends requests to `urls` with `key` and `headers`, which are secret, and with `params` in every address, some of
    which are secret too; `shown_suffix` is the query without the secret ones.

    A connection must be made within `connect_s`, and an answer must begin within `first_byte_s` of sending the request.
    `connections` are those to addresses that need no proxy. `is_direct`: it is open, all addresses are direct, and
    there is no limit for the first byte, so that a request is only sent and waited for.
    """

    def __init__(self, *, connect_s: float, first_byte_s: float | None) -> None:
        self._connect_s, self._first_byte_s = connect_s, first_byte_s
        self.key, self.headers, self.params = "", dict[str, str](), dict[str, str]()
        self.suffix = self.shown_suffix = ""
        self._secrets: tuple[str, ...] = ()
        self._secrets_in_query: re.Pattern[str] | None = None
        self.connections: dict[str, Connections] = {}
        self.proxies: dict[str, str | None] = {}
        self.is_direct = False
        self._session: aiohttp.ClientSession | None = None
        self._is_closed = False

    def configure(
        self, key: str, headers: Mapping[str, str], plain: Mapping[str, str], secret: Mapping[str, str]
    ) -> None:
        """Set what is sent from now on; `plain` and `secret` are the two parts of the parameters."""
        self.key, self.headers, self.params = key, dict(headers), {**plain, **secret}
        self.suffix, self.shown_suffix = (f"?{urlencode(query)}" if query else "" for query in (self.params, plain))
        in_headers = (secret for value in self.headers.values() for secret in extract_secrets(value))
        self._secrets = tuple(dict.fromkeys((key, *in_headers, *secret.values())))
        names = "|".join(map(re.escape, secret))
        self._secrets_in_query = re.compile(rf"(?<![\w-])((?:{names})=)[^&#\s\"'<>]+") if secret else None

    @property
    def is_open(self) -> bool:
        return self._session is not None

    def open(self, urls: Sequence[str]) -> None:
        """Prepare to send to `urls`. Raises TeacherError for a proxy that cannot be used, and StoppedError once closed:
        a request that wakes up during the shutdown would open connections that nobody closes."""
        if self._session is not None:
            return
        if self._is_closed:
            raise StoppedError
        defaults = {"Content-Type": "application/json", "User-Agent": "pairsmith"}
        if self.key:
            defaults["Authorization"] = f"Bearer {self.key}"
        proxies = {url: proxy_for(url) for url in urls}
        self._session = new_session({**defaults, **self.headers}, connect_s=self._connect_s)
        self.proxies, sent = proxies, self._session.headers
        direct = (url for url, proxy in proxies.items() if proxy is None)
        path = f"/chat/completions{self.suffix}"
        self.connections = {url: Connections(url + path, sent, connect_s=self._connect_s) for url in direct}
        self.is_direct = self._first_byte_s is None and len(self.connections) == len(proxies)

    async def close(self) -> None:
        """Close the connections for good. Safe to call twice."""
        self._is_closed = True
        if self._session is None:
            return
        for connections in self.connections.values():
            connections.close()
        await self._session.close()
        await asyncio.sleep(0)  # connections close in the next iteration of the loop
        self._session, self.is_direct = None, False

    async def completion(self, base: str, data: bytes, sent: Callable[[], None]) -> Response:
        """Send a request for completions and return the response; `sent` is called when it has been written."""
        first_byte_timeout = asyncio.timeout(None)

        def on_sent() -> None:
            if self._first_byte_s is not None:
                first_byte_timeout.reschedule(asyncio.get_running_loop().time() + self._first_byte_s)
            sent()

        def on_first_byte() -> None:
            first_byte_timeout.reschedule(None)

        try:
            async with first_byte_timeout:
                if (connections := self.connections.get(base)) is not None:
                    return await connections.post(data, on_first_byte, on_sent)
                assert self._session is not None
                rest, proxy = f"/chat/completions{self.suffix}", self.proxies[base]
                return await send_by_session(self._session, base, rest, data, None, proxy, on_first_byte, on_sent)
        except _FAILURES as error:
            raise self.failure(error, base, late=first_byte_timeout.expired()) from None

    async def models(self, base: str, headers: Mapping[str, str] | None = None) -> Response:
        """Ask for the list of models, with additional `headers`."""
        assert self._session is not None
        try:
            path = f"/models{self.suffix}"
            return await send_by_session(self._session, base, path, None, headers, self.proxies[base])
        except _FAILURES as error:
            raise self.failure(error, base) from None

    def failure(self, error: BaseException, base: str, *, late: bool = False) -> BaseException:
        """The error for a request to `base` that brought no response; `late`: none began in time."""
        if not isinstance(error, _FAILURES):
            return error
        if isinstance(error, aiohttp.ServerTimeoutError):
            proxy = self.proxies[base]
            via = f" through the proxy '{without_user_info(proxy)}'" if proxy else ""
            return NotConnectedError(f"no connection within {self._connect_s:g} s{via}")
        if isinstance(error, aiohttp.ClientHttpProxyError) and error.status in PROXY_REFUSALS:
            return proxy_refusal(self.proxies[base] or "", base, error.status)
        if (tls_error := tls_failure(base, error)) is not None:
            return tls_error
        if isinstance(error, TimeoutError):
            limit = f"nothing came within {self._first_byte_s:g} s; raise teacher.first_byte_s if it needs longer"
            return TimedOutError(limit) if late else error
        if isinstance(error, aiohttp.ClientProxyConnectionError):
            return NoProxyError(
                f"no connection to the proxy '{without_user_info(self.proxies[base] or '')}': {error.os_error}"
            )
        if (encoding := _UNREAD_ENCODING.search(str(error))) is not None:
            return UnreadableError(encoding[1], encoding[2], base)
        unsent = isinstance(error, aiohttp.ClientConnectorError | NoConnectionError)
        reason = one_line(self.shown(str(error))) or type(error).__name__
        return (NotConnectedError if unsent else BrokenError)(reason)

    def without_secrets(self, text: str) -> str:
        """`text` without any secret that is sent, including those of the query that are too short to search for."""
        text = text if self._secrets_in_query is None else self._secrets_in_query.sub(r"\1***", text)
        return without_keys(text, *self._secrets, *proxy_secrets(*self.proxies.values()))

    def shown(self, text: str) -> str:
        """`text` from a server, without secrets, for messages and the store."""
        return without_user_info(self.without_secrets(text))

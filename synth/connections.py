"""Open connections to one address of a teacher, for very many requests of one kind.

aiohttp connects, parses and notices what breaks; its session, which builds each request from nothing (address, headers,
cookies, redirects, traces), takes three times as long as all of that, so the part of a request that never changes is
made once.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import TypedDict

import aiohttp
from aiohappyeyeballs import start_connection
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import HttpProcessingError, RawResponseMessage
from aiohttp.streams import StreamReader
from yarl import URL

from schemas.errors import TeacherError
from synth.chat_completions import MOST_BYTES

_KEPT_S = 60.0  # an idle connection is used again; servers and what stands before them close it sooner or later


# Some gateways and firewalls send headers longer, and more of them, than aiohttp takes by itself (8 KB, 128).
class _Limits(TypedDict):
    max_line_size: int
    max_field_size: int
    max_headers: int


LIMITS = _Limits(max_line_size=2**16, max_field_size=2**16, max_headers=1024)
_NO_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "UNKNOWN_PROTOCOL")  # OpenSSL's words
Response = tuple[int, Mapping[str, str], bytes]
Outcome = Response | BaseException
"""An answer, or what kept it from coming."""
Tell = Callable[[Outcome], None]


class NoConnectionError(Exception):
    """Nothing was sent, for no connection could be made; says why."""


class Connection(ResponseHandler):
    """One that calls `tell`, where it is set, with what comes: an answer that is whole at once, as nearly all are,
    needs no coroutine."""

    tell: Tell | None = None
    _reading: asyncio.Task[Response] | None = None

    def send(self, request: bytes) -> None:
        if self._parser is None:  # it reads one answer after another
            self.set_response_params(read_until_eof=True, **LIMITS)
        assert self.transport is not None
        self.transport.write(request)

    async def whole(self, begun: Callable[[], None] | None = None) -> Response:
        """The answer; `begun` is called as its first byte is here."""
        try:
            message, payload = await self.read()
            while 100 <= message.code < 200:  # more is to come
                message, payload = await self.read()
            if begun is not None:
                begun()
            content = payload.read_nowait() if payload.is_eof() else await read_whole(payload)
        except HttpProcessingError as error:
            raise aiohttp.ClientPayloadError(f"the answer is no HTTP: {error.message}") from None
        return message.code, message.headers, content

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        message, payload = data
        if self.tell is not None and message.code >= 200 and payload.is_eof() and payload.exception() is None:
            tell, self.tell = self.tell, None
            tell((message.code, message.headers, payload.read_nowait()))
        else:
            super().feed_data(data, size)
            self._read_on()

    def set_exception(self, exc: BaseException, exc_cause: BaseException | None = None) -> None:
        super().set_exception(exc, exc if exc_cause is None else exc_cause)
        self._read_on()

    def _read_on(self) -> None:
        """Tell by a coroutine what comes in parts, or breaks."""
        if self.tell is None:
            return
        tell, self.tell = self.tell, None

        def read(task: asyncio.Task[Response]) -> None:
            outcome = None if task.cancelled() else task.exception() or task.result()
            if outcome is not None and self._reading is task:  # else it was ended after the last of it had come
                tell(outcome)

        self._reading = asyncio.get_running_loop().create_task(self.whole())
        self._reading.add_done_callback(read)

    def end(self) -> bool:
        """Close it, and tell nothing any more."""
        self.tell, reading, self._reading = None, self._reading, None
        if reading is not None:
            reading.cancel()
        self.abort()
        return True

    def abort(self) -> None:
        """Close it at once. `close` waits until all is sent, and who hangs takes nothing."""
        if self.transport is not None:
            self.transport.abort()
        self.close()


class Connections:
    """What is sent to `url` by POST, as many requests at once as are asked for, each on a connection of its own.

    Nothing is redirected, no cookie is kept, no proxy is asked, and nothing is sent a second time.
    """

    def __init__(self, url: str, headers: Mapping[str, str], *, connect_s: float) -> None:
        to = URL(url)
        self._host, self._port, self._connect_s = to.raw_host, to.port, connect_s
        self._tls = _tls() if to.scheme == "https" else None
        sent = {"Host": to.host_port_subcomponent, "Accept": "*/*", "Accept-Encoding": "gzip, deflate", **headers}
        each = {name.lower(): f"{name}: {value}\r\n" for name, value in sent.items()}  # a later one counts
        self._head = f"POST {to.raw_path_qs} HTTP/1.1\r\n{''.join(each.values())}Content-Length: ".encode()
        self._idle: list[tuple[Connection, float]] = []
        self._closed = False

    async def post(
        self, body: bytes, begun: Callable[[], None] | None = None, sent: Callable[[], None] | None = None
    ) -> Response:
        """Status, headers and body of the answer; `sent` is called as the request goes, `begun` as the answer's first
        byte is here.

        Raises NoConnectionError, and, for one that broke after the request was sent, aiohttp.ClientError or OSError.
        """
        connection = self.kept()
        if connection is None:  # one that waits is false: it is an empty queue
            connection = await self._connected()
        kept = False
        try:
            connection.send(self._request(body))
            if sent is not None:
                sent()
            response = await connection.whole(begun)
            kept = True
        finally:
            self._let_go(connection, kept)
        return response

    def send(self, connection: Connection, body: bytes, tell: Tell) -> None:
        """`post` on a connection that was `kept`: `tell` is called with what comes of it, an answer or what `post`
        would raise. `Connection.end` ends it."""
        connection.tell = partial(self._came, connection, tell)
        connection.send(self._request(body))

    def _came(self, connection: Connection, tell: Tell, response: Outcome) -> None:
        self._let_go(connection, isinstance(response, tuple))
        tell(response)

    def _request(self, body: bytes) -> bytes:
        return b"%b%d\r\n\r\n%b" % (self._head, len(body), body)

    def _let_go(self, connection: Connection, kept: bool) -> None:
        if kept and not (self._closed or connection.should_close):
            self._idle.append((connection, time.monotonic()))
        else:
            connection.abort()

    def close(self) -> None:
        """Close those that wait for the next request, at once: TLS's farewell may last longer than the loop does. None
        waits from then on: who has given up on several requests at the first failure does not wait for the others."""
        self._closed = True
        while self._idle:
            self._idle.pop()[0].abort()

    def kept(self) -> Connection | None:
        """One that is open and waits for the next request."""
        while self._idle:
            connection, since = self._idle.pop()
            # What came unasked, as the 408 of a server that has waited long enough, is no answer to the next request.
            if not connection.should_close and connection.is_connected() and time.monotonic() - since < _KEPT_S:
                return connection
            connection.abort()
        return None

    async def _connected(self) -> Connection:
        loop = asyncio.get_running_loop()
        name = self._host if self._tls else None
        try:
            async with asyncio.timeout(self._connect_s):
                addresses = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
                # Several addresses at once: one of them may lead nowhere, as IPv6 does on some networks.
                open_ = await start_connection(addresses, happy_eyeballs_delay=0.25, interleave=1)
                connecting = loop.create_connection(
                    partial(Connection, loop), sock=open_, ssl=self._tls, server_hostname=name
                )
                return (await connecting)[1]
        except TimeoutError:
            raise NoConnectionError(f"no connection within {self._connect_s:g} s") from None
        except OSError as error:
            if (failure := tls_failure(f"https://{self._host}:{self._port}", error)) is not None:
                raise failure from None
            raise NoConnectionError(f"cannot connect to {self._host}:{self._port}: {error}") from None


async def read_whole(payload: StreamReader) -> bytes:
    """What is left of a body. Raises aiohttp.ClientPayloadError for more than `MOST_BYTES`."""
    blocks, size = [], 0
    while block := await payload.readany():
        blocks.append(block)
        size += len(block)
        if size > MOST_BYTES:
            raise aiohttp.ClientPayloadError(f"the answer is longer than {MOST_BYTES // 2**20} MiB")
    return b"".join(blocks)


def tls_failure(url: str, error: Exception) -> TeacherError | None:
    """The error for a server that is there and whose certificate nobody vouches for, or that speaks no TLS: waiting
    mends neither. None for any other one."""
    cause = getattr(error, "certificate_error", None) or getattr(error, "os_error", None) or error
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ClientConnectorCertificateError):
        url = f"https://{error.host}:{error.port}"  # perhaps the proxy's
    if getattr(cause, "reason", None) in _NO_TLS:
        return TeacherError(
            "What answers at this address speaks plain HTTP, not TLS.",
            where=url,
            fix="Write http:// in teacher.url, or in the variable of the proxy if it is one.",
        )
    if not isinstance(cause, ssl.SSLCertVerificationError):
        return None
    why = cause.verify_message
    return TeacherError(
        f"The certificate of this address is not trusted here ({why}).",
        where=url,
        why="Who answers there may be another than it says, so no key and no prompt is sent.",
        fix="Where a company's proxy or gateway shows a certificate of its own, name the file of its authority (PEM): "
        "export SSL_CERT_FILE=/path/to/authority.pem. Else correct the address, or this machine's clock.",
    )


@cache
def _tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context

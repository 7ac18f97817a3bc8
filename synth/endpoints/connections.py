"""Open connections to one address of a teacher, optimised for a large number of similar requests.

aiohttp's protocol classes connect, parse and detect broken connections. aiohttp's session is not used: it builds each
request from scratch (address, headers, cookies, redirects, traces), which takes three times as long as all of the
rest. Here the constant part of a request is built once.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any

import aiohttp
import orjson
from aiohappyeyeballs import start_connection
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import HttpProcessingError, RawResponseMessage
from aiohttp.streams import StreamReader
from yarl import URL

from schemas.errors import TeacherError
from synth.chat.completions import MAX_ANSWER_BYTES

_MAX_IDLE_S = 60.0  # how long an idle connection may be reused; servers and proxies close idle ones sooner or later
# Some close a connection after each response without announcing it, and a request that was sent on it meanwhile counts
# as lost. After this many in a row that were closed so soon, none is reused for a while, longer each time.
_MAX_CLOSED, _SOON_S, _FIRST_PAUSE_S = 3, 1.0, 30.0
_CLOSED = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, ConnectionError)  # before any byte of a response

# Some gateways and firewalls send longer headers, and more of them, than aiohttp accepts by default (8 KB, 128).
LIMITS: dict[str, Any] = {"max_line_size": 2**16, "max_field_size": 2**16, "max_headers": 1024}
_PLAIN_HTTP_REASONS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "UNKNOWN_PROTOCOL")  # OpenSSL's
# What helps for OpenSSL's reasons to reject a certificate for which an authority's file would not.
_EXPIRED_FIX = "Have the server's certificate renewed, or correct this machine's clock."
_OTHER_NAME_FIX = "Correct the address: the host must be one of the names in the server's certificate."
_CERTIFICATE_FIXES = {9: _EXPIRED_FIX, 10: _EXPIRED_FIX, 62: _OTHER_NAME_FIX, 64: _OTHER_NAME_FIX}
Response = tuple[int, Mapping[str, str], bytes]
Outcome = Response | BaseException
"""A response, or the error that prevented one."""
OutcomeCallback = Callable[[Outcome], None]


class NoConnectionError(Exception):
    """No connection could be made, so nothing was sent. The message says why."""


class Connection(ResponseHandler):
    """A connection that passes the outcome to the callback `on_outcome`, if one is set.

    A response that arrives in one piece, as nearly all do, is delivered without a coroutine.
    """

    on_outcome: OutcomeCallback | None = None
    reused_at: float | None = None  # monotonic time
    _reading: asyncio.Task[Response] | None = None

    def send(self, request: bytes) -> None:
        if self._parser is None:  # set once: the same parser reads all responses of this connection
            self.set_response_params(read_until_eof=True, **LIMITS)
        assert self.transport is not None
        self.transport.write(request)

    async def read_response(self, on_first_byte: Callable[[], None] | None = None) -> Response:
        """Return the response. `on_first_byte` is called when its first byte has arrived."""
        try:
            message, payload = await self.read()
            while 100 <= message.code < 200:  # informational: the final response follows
                message, payload = await self.read()
            if on_first_byte is not None:
                on_first_byte()
            content = payload.read_nowait() if payload.is_eof() else await read_body(payload)
        except HttpProcessingError as error:
            raise aiohttp.ClientPayloadError(f"the answer is not valid HTTP: {error.message}") from None
        return message.code, message.headers, content

    def resume_reading(self, *parser: bool, **options: bool) -> None:
        """Resume if it was paused. aiohttp calls this for every body that is read, and would parse again each time."""
        if self._reading_paused:
            super().resume_reading(*parser, **options)

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        message, payload = data
        if self.on_outcome is not None and message.code >= 200 and payload.is_eof() and payload.exception() is None:
            on_outcome, self.on_outcome = self.on_outcome, None
            on_outcome((message.code, message.headers, payload.read_nowait()))
        else:
            super().feed_data(data, size)
            self._read_in_task()

    def set_exception(self, exc: BaseException, exc_cause: BaseException | None = None) -> None:
        super().set_exception(exc, exc if exc_cause is None else exc_cause)
        self._read_in_task()

    def _read_in_task(self) -> None:
        """Read a response that arrives in several parts, or a failure, in a task that then calls `on_outcome`."""
        if self.on_outcome is None:
            return
        on_outcome, self.on_outcome = self.on_outcome, None

        def read(task: asyncio.Task[Response]) -> None:
            outcome = None if task.cancelled() else task.exception() or task.result()
            if outcome is not None and self._reading is task:  # otherwise `cancel` was called after the last byte
                on_outcome(outcome)

        self._reading = asyncio.get_running_loop().create_task(self.read_response())
        self._reading.add_done_callback(read)

    def cancel(self) -> bool:
        """Close the connection and call `on_outcome` no more. Returns True."""
        self.on_outcome, reading, self._reading = None, self._reading, None
        if reading is not None:
            reading.cancel()
        self.abort()
        return True

    def abort(self) -> None:
        """Close the connection immediately. `close` alone would wait until everything is sent, which a server that
        hangs never accepts."""
        if self.transport is not None:
            self.transport.abort()
        self.close()


class Connections:
    """Sends POST requests to `url`, any number of them at once, each on a connection of its own.

    No redirects, cookies, proxies or resends.
    """

    def __init__(self, url: str, headers: Mapping[str, str], *, connect_s: float) -> None:
        parsed = URL(url)
        self._host, self._port, self._connect_s = parsed.raw_host, parsed.port, connect_s
        self._tls = _tls() if parsed.scheme == "https" else None
        all_headers = {
            "Host": parsed.host_port_subcomponent,
            "Accept": "*/*",
            "Accept-Encoding": "gzip, deflate",
            **headers,
        }
        lines = {
            name.lower(): f"{name}: {value}\r\n" for name, value in all_headers.items()
        }  # the last of duplicates wins
        self._head = f"POST {parsed.raw_path_qs} HTTP/1.1\r\n{''.join(lines.values())}Content-Length: ".encode()
        self._idle: list[tuple[Connection, float]] = []
        self._closed = False
        self._closed_in_a_row, self._reuse_from, self._pause_s = 0, 0.0, _FIRST_PAUSE_S

    async def post(
        self, body: bytes, on_first_byte: Callable[[], None] | None = None, on_sent: Callable[[], None] | None = None
    ) -> Response:
        """Send `body` and return status, headers and body of the response.

        `on_sent` is called when the request has been written, `on_first_byte` when the first byte of the response has
        arrived. Raises NoConnectionError if nothing was sent, and aiohttp.ClientError or OSError for a connection that
        broke after the request was sent.
        """
        connection = self.take_idle()
        if connection is None:  # not "if not connection": a Connection is an empty queue, which is false
            connection = await self._connect()
        reusable = False
        try:
            connection.send(self._request(body))
            if on_sent is not None:
                on_sent()
            response = await connection.read_response(on_first_byte)
            reusable = True
        except _CLOSED:
            self._record_closed(connection)
            raise
        finally:
            self._release(connection, reusable)
        return response

    def send(self, connection: Connection, body: bytes, on_outcome: OutcomeCallback) -> None:
        """Like `post`, on a connection from `take_idle` and without a coroutine: `on_outcome` is called with the
        response or with the exception that `post` would raise. `Connection.cancel` cancels it."""
        connection.on_outcome = partial(self._complete, connection, on_outcome)
        connection.send(self._request(body))

    def _complete(self, connection: Connection, on_outcome: OutcomeCallback, response: Outcome) -> None:
        if isinstance(response, _CLOSED):
            self._record_closed(connection)
        self._release(connection, isinstance(response, tuple))
        on_outcome(response)

    def _record_closed(self, connection: Connection) -> None:
        now = time.monotonic()
        if connection.reused_at is None or now - connection.reused_at > _SOON_S:
            return
        self._closed_in_a_row += 1
        if self._closed_in_a_row >= _MAX_CLOSED and now >= self._reuse_from:
            self._reuse_from, self._pause_s = now + self._pause_s, 2 * self._pause_s

    def _request(self, body: bytes) -> bytes:
        return b"%b%d\r\n\r\n%b" % (self._head, len(body), body)

    def _release(self, connection: Connection, reusable: bool) -> None:
        if reusable and connection.reused_at is not None:
            self._closed_in_a_row = 0
        if reusable and not (self._closed or connection.should_close):
            self._idle.append((connection, time.monotonic()))
        else:
            connection.abort()

    def close(self) -> None:
        """Close all idle connections immediately: a TLS shutdown may take longer than the event loop lives.

        No connection is kept afterwards: after several concurrent requests were abandoned because one of them
        failed, nothing waits for the rest.
        """
        self._closed = True
        while self._idle:
            self._idle.pop()[0].abort()

    def take_idle(self) -> Connection | None:
        """Return an idle connection that is still usable, or None."""
        while self._idle:
            connection, since = self._idle.pop()
            now = time.monotonic()
            # Unsolicited data, such as the 408 of a server that closes an idle connection, answers no later request.
            is_usable = not connection.should_close and connection.is_connected() and now >= self._reuse_from
            if is_usable and now - since < _MAX_IDLE_S:
                connection.reused_at = now
                return connection
            connection.abort()
        return None

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        name = self._host if self._tls else None
        try:
            async with asyncio.timeout(self._connect_s):
                addresses = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
                # Try several addresses in parallel: one may be unreachable, as IPv6 is on some networks.
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
            why = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)
            raise NoConnectionError(f"cannot connect to {self._host}:{self._port}: {why.lower()}") from None


async def read_body(payload: StreamReader) -> bytes:
    """Return the rest of a body. Raises aiohttp.ClientPayloadError if it exceeds `MAX_ANSWER_BYTES`, or breaks off
    before the end of its JSON or events: some servers and gateways close the connection without the last chunk, or
    announce a wrong length."""
    blocks, size = list[bytes](), 0
    try:
        while block := await payload.readany():
            blocks.append(block)
            size += len(block)
            if size > MAX_ANSWER_BYTES:
                raise aiohttp.ClientPayloadError(f"the answer is longer than {MAX_ANSWER_BYTES // 2**20} MiB")
    except aiohttp.ClientPayloadError:
        if size > MAX_ANSWER_BYTES or not _is_complete(b"".join(blocks)):
            raise
    return b"".join(blocks)


def _is_complete(content: bytes) -> bool:
    """Whether a body is a whole JSON object, or a stream of events with its end."""
    if content.rstrip().endswith(b"data: [DONE]"):
        return True
    try:
        return isinstance(orjson.loads(content), dict)
    except orjson.JSONDecodeError:
        return False


def tls_failure(url: str, error: Exception) -> TeacherError | None:
    """Return the error for a server whose certificate is not trusted or that does not speak TLS, which retrying cannot
    fix; None for any other error."""
    cause = getattr(error, "certificate_error", None) or getattr(error, "os_error", None) or error
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ClientConnectorCertificateError):
        url = f"https://{error.host}:{error.port}"  # may be the proxy's address
    if getattr(cause, "reason", None) in _PLAIN_HTTP_REASONS:
        return TeacherError(
            "The server at this address speaks plain HTTP, not TLS.",
            where=url,
            fix="Write http:// in teacher.url, or in the proxy's environment variable if this is the proxy.",
        )
    if not isinstance(cause, ssl.SSLCertVerificationError):
        return None
    why = cause.verify_message
    return TeacherError(
        f"The certificate of this address is not trusted on this machine ({why}).",
        where=url,
        why="The server may not be the one it claims to be, so neither the key nor any prompt is sent.",
        fix=_CERTIFICATE_FIXES.get(cause.verify_code)
        or f"{_unusable_authorities()}If a company proxy or gateway presents its own certificate, name its CA file "
        "(PEM): export SSL_CERT_FILE=/path/to/authority.pem. Otherwise correct the address, or this machine's clock.",
    )


def _unusable_authorities() -> str:
    """Why the file in SSL_CERT_FILE cannot be used, which OpenSSL does not report; empty if it can, or is not set."""
    try:
        ssl.create_default_context(cafile=os.environ.get("SSL_CERT_FILE") or None)
    except OSError as error:
        return f"SSL_CERT_FILE is {os.environ['SSL_CERT_FILE']}, which cannot be used: {error.strerror or error}. "
    return ""


@cache
def _tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context

"""Connections are reused, renewed and read according to HTTP."""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from schemas.errors import TeacherError, Unreachable
from schemas.records import Message, Sampling
from synth.chat.completions import MAX_ANSWER_BYTES
from synth.endpoints.connections import Connections, NoConnectionError, Outcome, _tls, tls_failure
from synth.endpoints.endpoint import Endpoint
from tests.servers import served

Answer = Callable[[int, asyncio.StreamWriter], Awaitable[None]]
_CERTIFICATE = Path(__file__).parent / "self_signed.pem"
_PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def run_in_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @wraps(test)
    def run(**given: Any) -> None:
        asyncio.run(test(**given))

    return run


class Server:
    """Answers each request with what `answer` writes, and counts connections."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.connections = self.requests = 0
        self.heads: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while not writer.is_closing():
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                self.heads.append(head)
                length = next(line for line in head.lower().split("\r\n") if line.startswith("content-length:"))
                await reader.readexactly(int(length.partition(":")[2]))
                self.requests += 1
                await self._answer(self.requests, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def serving(answer: Answer) -> AsyncIterator[tuple[Server, Connections]]:
    server = Server(answer)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    connections = Connections(f"http://127.0.0.1:{port}/v1/chat?a=b%20c", {"X-Own": "1", "accept": "own"}, connect_s=10)
    try:
        yield server, connections
    finally:
        connections.close()
        listening.close()
        await asyncio.sleep(0.05)


def writing(written: bytes, *, closes: bool = False) -> Answer:
    async def answer(number: int, writer: asyncio.StreamWriter) -> None:
        writer.write(written)
        if closes:
            writer.close()

    return answer


@run_in_loop
async def test_sequential_requests_share_a_connection_and_concurrent_ones_do_not() -> None:
    """There are never more connections than concurrent requests, however many requests follow each other."""
    async with serving(writing(_PLAIN)) as (server, connections):
        for _ in range(5):
            assert (await connections.post(b"{}"))[::2] == (200, b"ok")
        assert server.connections == 1
        await asyncio.gather(*(connections.post(b"{}") for _ in range(4)))
        await asyncio.gather(*(connections.post(b"{}") for _ in range(4)))
        assert (server.connections, server.requests) == (4, 13)


@run_in_loop
async def test_request_head_is_complete() -> None:
    """The head has the path, the host, the length and the extra headers. A custom header replaces the default one."""
    async with serving(writing(_PLAIN)) as (server, connections):
        await connections.post("{ü}".encode())
        first, *lines = server.heads[0].strip().split("\r\n")
        assert first == "POST /v1/chat?a=b%20c HTTP/1.1"
        named = [tuple(line.split(": ", 1)) for line in lines]
        host = next(value for name, value in named if name == "Host")
        assert host.startswith("127.0.0.1:")
        assert sorted(named) == sorted(
            [
                ("Host", host),
                ("accept", "own"),
                ("Accept-Encoding", "gzip, deflate"),
                ("X-Own", "1"),
                ("Content-Length", "4"),
            ]
        )


@pytest.mark.parametrize(
    "written",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b"
        % (len(gzip.compress(b"ok", mtime=0)), gzip.compress(b"ok", mtime=0)),
        b"HTTP/1.1 100 Continue\r\n\r\n" + _PLAIN,
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + _PLAIN,
    ],
)
@run_in_loop
async def test_response_is_read_in_every_http_form(written: bytes) -> None:
    """Chunked, compressed, or after an informational response: each is read, and the connection is reused."""
    async with serving(writing(written)) as (server, connections):
        for _ in range(2):
            assert (await connections.post(b"{}"))[::2] == (200, b"ok")
        assert server.connections == 1


@pytest.mark.parametrize("written", [b"HTTP/1.1 200 OK\r\n\r\nok", b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"])
@run_in_loop
async def test_a_connection_that_the_server_ends_is_not_used_again(written: bytes) -> None:
    """A response that ends with its connection is complete, and the next request opens a new one."""
    async with serving(writing(written, closes=True)) as (server, connections):
        for _ in range(2):
            assert (await connections.post(b"{}"))[::2] == (200, b"ok")
        assert server.connections == 2


@run_in_loop
async def test_an_idle_connection_that_was_closed_meanwhile_costs_no_request() -> None:
    """A connection that the server closed between two requests is noticed before the next request is sent."""
    async with serving(writing(_PLAIN, closes=True)) as (server, connections):
        await connections.post(b"{}")
        await asyncio.sleep(0.1)
        assert (await connections.post(b"{}"))[2] == b"ok"
        assert (server.connections, server.requests) == (2, 2)


@pytest.mark.parametrize("in_bulk", [False, True])
@run_in_loop
async def test_connections_are_not_reused_at_a_server_that_closes_each_of_them(
    in_bulk: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without announcing it. A request that was sent on such a connection may have been paid for, and under a cap its
    reservation stays. So this happens three times, not with every second request."""
    monkeypatch.setattr("synth.endpoints.connections._SOON_S", 600)  # on a busy machine
    requests: dict[asyncio.StreamWriter, int] = {}

    async def answer(number: int, writer: asyncio.StreamWriter) -> None:
        requests[writer] = requests.get(writer, 0) + 1
        writer.write(_PLAIN) if requests[writer] == 1 else writer.close()

    async with serving(answer) as (server, connections):
        outcomes: list[Outcome] = []
        for _ in range(12):
            if in_bulk and (connection := connections.take_idle()) is not None:
                arrived = asyncio.get_running_loop().create_future()
                connections.send(connection, b"{}", arrived.set_result)
                outcomes.append(await arrived)
            else:
                outcomes += await asyncio.gather(connections.post(b"{}"), return_exceptions=True)
        assert sum(isinstance(outcome, BaseException) for outcome in outcomes) == 3
        assert server.requests == 12


@run_in_loop
async def test_unsolicited_response_is_not_used_for_the_next_request() -> None:
    """A server may end an idle connection with a message such as 408, which does not answer what is sent afterwards."""
    late = asyncio.Event()

    async def answer(number: int, writer: asyncio.StreamWriter) -> None:
        writer.write(_PLAIN)
        if number == 1:
            await writer.drain()
            await late.wait()
            writer.write(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 4\r\n\r\nlate")

    async with serving(answer) as (server, connections):
        assert (await connections.post(b"{}"))[0] == 200
        (kept, _), *_ = connections._idle
        late.set()
        async with asyncio.timeout(60):
            while not kept.should_close:  # noqa: ASYNC110 no event signals that bytes have arrived
                await asyncio.sleep(0.01)
        assert (await connections.post(b"{}"))[::2] == (200, b"ok")
        assert (server.connections, server.requests) == (2, 2)


@pytest.mark.parametrize(
    "written", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nhalf", b"no HTTP at all\r\n\r\n"]
)
@run_in_loop
async def test_incomplete_response_is_an_error(written: bytes) -> None:
    """A response that breaks off, or is not HTTP, is an error and never a short text. Its connection is closed."""
    async with serving(writing(written, closes=True)) as (server, connections):
        for _ in range(2):
            with pytest.raises(aiohttp.ClientError):
                await connections.post(b"{}")
        assert server.connections == 2


@pytest.mark.slow
@pytest.mark.parametrize("packed", [False, True])
@run_in_loop
async def test_endless_response_is_cut_off(packed: bool) -> None:
    """An endless response, or a few hundred kilobytes that decompress to gigabytes, is abandoned at a size that no
    answer has."""
    packer = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    blank = b" " * 2**22
    pieces = [packer.compress(blank) if packed else blank for _ in range(3 * MAX_ANSWER_BYTES // len(blank))]

    async def answer(number: int, writer: asyncio.StreamWriter) -> None:
        encoding = b"Content-Encoding: gzip\r\n" if packed else b""
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n" + encoding + b"\r\n")
        for piece in filter(None, pieces):
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await writer.drain()

    async with serving(answer) as (_, connections):
        with pytest.raises(aiohttp.ClientPayloadError, match="longer than 128 MiB"):
            await connections.post(b"{}")


@run_in_loop
async def test_cancelled_request_closes_its_connection() -> None:
    """A late response is never read as the response to the next request."""

    asked, given_up = asyncio.Event(), asyncio.Event()

    async def late(number: int, writer: asyncio.StreamWriter) -> None:
        if number == 1:
            asked.set()
            await given_up.wait()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate")
        else:
            writer.write(_PLAIN)

    async with serving(late) as (server, connections):
        posted = asyncio.create_task(connections.post(b"{}"))
        await asked.wait()
        posted.cancel()
        await asyncio.wait([posted])
        assert posted.cancelled()
        given_up.set()
        assert (await connections.post(b"{}"))[2] == b"ok"
        assert server.connections == 2


@pytest.mark.parametrize("in_bulk", [False, True])
@run_in_loop
async def test_cancelled_request_stops_sending(in_bulk: bool) -> None:
    """If a server has stopped reading, a cancelled request keeps neither the connection nor memory."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        connections = Connections(f"http://127.0.0.1:{listening.getsockname()[1]}", {}, connect_s=60)
        body = bytes(2**26)
        if in_bulk:
            connection = await connections._connect()
            connections.send(connection, body, lambda outcome: None)
            server, _ = await loop.sock_accept(listening)
            connection.cancel()
        else:
            posted = asyncio.create_task(connections.post(body))
            server, _ = await loop.sock_accept(listening)
            assert await loop.sock_recv(server, 1)  # sending has begun
            posted.cancel()
            await asyncio.wait([posted])
        with server:
            server.setblocking(False)
            sent = 0
            while data := await loop.sock_recv(server, 2**20):
                sent += len(data)
        assert sent < len(body) // 2


@run_in_loop
async def test_cancelled_connection_reports_no_outcome() -> None:
    """Not even if the last part of the response, or its premature end, was read at the same moment: the caller that
    cancelled it has counted the request by then and would count it twice."""

    async def in_parts(number: int, writer: asyncio.StreamWriter) -> None:
        writer.write(_PLAIN if number % 2 else _PLAIN[:-1])
        await writer.drain()
        if number == 2:
            await asyncio.sleep(0.05)
            writer.write(b"k")
        elif number == 4:
            writer.close()

    async with serving(in_parts) as (server, connections):
        for _ in range(2):
            await connections.post(b"{}")
            connection, outcomes = connections.take_idle(), list[Outcome]()
            assert connection is not None
            connections.send(connection, b"{}", outcomes.append)
            while (reading := connection._reading) is None or not reading.done():  # noqa: ASYNC110 no event signals this
                await asyncio.sleep(0)
            connection.cancel()
            for _ in range(5):
                await asyncio.sleep(0)
            assert outcomes == []
        assert server.requests == 4


@pytest.mark.parametrize("in_bulk", [False, True])
@run_in_loop
async def test_cancelled_request_leaves_no_connection_behind(in_bulk: bool) -> None:
    """Not even if the server hangs and reads no more of it: in a long run such connections would use up all allowed
    ones."""
    body, outcomes = b" " * 2**25, list[Outcome]()
    with socket.create_server(("127.0.0.1", 0)) as hung:
        connections = Connections(f"http://127.0.0.1:{hung.getsockname()[1]}/", {}, connect_s=60)
        connection = await connections._connect()
        closed = connection.closed
        assert closed is not None
        if in_bulk:
            connections.send(connection, body, outcomes.append)
            connection.cancel()
        else:
            connections._idle.append((connection, time.monotonic()))
            posted = asyncio.create_task(connections.post(body))
            await asyncio.sleep(0)
            posted.cancel()
            await asyncio.wait((posted,))
        await asyncio.wait((closed,), timeout=60)
        assert closed.done()
        assert outcomes == []


@run_in_loop
async def test_response_after_closing_leaves_no_connection_behind() -> None:
    """A caller that gives up on several requests at the first failure closes the connections while the others are in
    flight."""
    asked, closed = asyncio.Event(), asyncio.Event()

    async def late(number: int, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await closed.wait()
        writer.write(_PLAIN)

    async with serving(late) as (_, connections):
        posted = asyncio.create_task(connections.post(b"{}"))
        await asked.wait()
        connections.close()
        closed.set()
        assert (await posted)[2] == b"ok"
        assert connections.take_idle() is None


@run_in_loop
async def test_failed_connection_means_nothing_was_sent() -> None:
    """If the server is unreachable or does not speak TLS, no request was lost, and the message says why."""
    async with serving(writing(_PLAIN)) as (server, _):
        refused = Connections("http://127.0.0.1:1/", {}, connect_s=10)
        with pytest.raises(NoConnectionError, match=r"^cannot connect to 127\.0\.0\.1:1: connection refused$"):
            await refused.post(b"{}")
    async with serving(writing(_PLAIN)) as (server, plain):
        tls = Connections(
            f"https://127.0.0.1:{plain._port}/", {}, connect_s=0.2
        )  # the server waits for the end of a request head
        with pytest.raises(NoConnectionError, match=r"no connection within 0\.2 s"):
            await tls.post(b"{}")
        assert server.requests == 0


@asynccontextmanager
async def self_signed() -> AsyncIterator[tuple[Server, str]]:
    shown = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    shown.load_cert_chain(_CERTIFICATE)
    server = Server(writing(_PLAIN))
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=shown) as listening:
        yield server, f"https://localhost:{listening.sockets[0].getsockname()[1]}"


@run_in_loop
async def test_untrusted_certificate_is_an_error_with_the_way_to_trust_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A company's gateway has a certificate from its own authority. The error does not say that the server is
    unreachable, nothing is sent, and the variable it names fixes the problem."""
    async with self_signed() as (server, url):
        for checks in (False, True):
            async with Endpoint(url, "m", key="sk-0123456789abcdef") as endpoint:
                with pytest.raises(TeacherError, match=r"not trusted on this machine .*SSL_CERT_FILE") as caught:
                    await (
                        endpoint.check() if checks else endpoint.ask((Message(role="user", content="a"),), Sampling())
                    )
                assert not isinstance(caught.value, Unreachable)
                assert endpoint.lost == 0
        assert server.requests == 0
        for bad, why in (("/no/such.pem", "No such file"), (__file__, "no certificate")):
            monkeypatch.setenv("SSL_CERT_FILE", bad)
            _tls.cache_clear()
            with pytest.raises(TeacherError, match=f"SSL_CERT_FILE is {bad}, which cannot be used: .*(?i:{why})"):
                await Connections(url, {}, connect_s=60).post(b"{}")
        monkeypatch.setenv("SSL_CERT_FILE", str(_CERTIFICATE))
        _tls.cache_clear()
        trusting = Connections(url, {}, connect_s=60)
        assert (await trusting.post(b"{}"))[::2] == (200, b"ok")
        (kept, _), *_ = trusting._idle
        assert kept.transport is not None
        connected = kept.transport.get_extra_info("socket")
        trusting.close()
        await asyncio.sleep(0)
        assert connected.fileno() == -1  # the end of a loop does not wait for TLS shutdown
    _tls.cache_clear()


@pytest.mark.parametrize(
    ("code", "reason", "fix"),
    [
        (10, "certificate has expired", "certificate renewed, or correct this machine's clock"),
        (62, "Hostname mismatch", "the host must be one of the names in the server's certificate"),
    ],
)
def test_certificate_of_another_host_or_time_has_its_own_fix(code: int, reason: str, fix: str) -> None:
    """An authority's file helps neither for a certificate of another host nor for one that has expired."""
    failure = ssl.SSLCertVerificationError()
    failure.verify_code, failure.verify_message = code, reason
    text = str(tls_failure("https://localhost", failure))
    assert f"({reason})" in text
    assert fix in text
    assert "SSL_CERT_FILE" not in text


@run_in_loop
async def test_https_to_a_plain_http_server_is_an_error_with_the_fix() -> None:
    """Most local servers speak plain HTTP: the error names the wrong scheme instead of an unreachable server."""
    async with served(web.Application()) as address:
        url = address.replace("http://127.0.0.1", "https://localhost")
        for checks in (False, True):
            async with Endpoint(url, "m") as endpoint:
                with pytest.raises(TeacherError, match=r"plain HTTP, not TLS.*Write http://") as caught:
                    await (
                        endpoint.check() if checks else endpoint.ask((Message(role="user", content="a"),), Sampling())
                    )
                assert not isinstance(caught.value, Unreachable)


def test_certificates_are_verified() -> None:
    """A server has to prove its name."""
    tls = Connections("https://example.org/", {}, connect_s=10)._tls
    assert tls is not None
    assert tls.check_hostname
    assert tls.verify_mode == ssl.CERT_REQUIRED

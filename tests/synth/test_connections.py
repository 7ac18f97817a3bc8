"""Connections are kept, renewed and read as HTTP has it."""

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
from synth.chat_completions import MAX_ANSWER_BYTES
from synth.connections import Connections, NoConnectionError, Outcome, _tls
from synth.endpoint import Endpoint
from tests.servers import served

Answer = Callable[[int, asyncio.StreamWriter], Awaitable[None]]
_CERTIFICATE = Path(__file__).parent / "self_signed.pem"
_PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def in_a_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
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


def said(written: bytes, *, closes: bool = False) -> Answer:
    async def answer(number: int, writer: asyncio.StreamWriter) -> None:
        writer.write(written)
        if closes:
            writer.close()

    return answer


@in_a_loop
async def test_requests_after_each_other_share_a_connection_and_those_at_once_do_not() -> None:
    """No more connections than requests at once, however many requests come after each other."""
    async with serving(said(_PLAIN)) as (server, connections):
        for _ in range(5):
            assert (await connections.post(b"{}"))[::2] == (200, b"ok")
        assert server.connections == 1
        await asyncio.gather(*(connections.post(b"{}") for _ in range(4)))
        await asyncio.gather(*(connections.post(b"{}") for _ in range(4)))
        assert (server.connections, server.requests) == (4, 13)


@in_a_loop
async def test_a_request_says_where_it_goes_how_long_it_is_and_what_it_was_told_to() -> None:
    """The head of a request is whole, and a header of one's own stands in place of ours, once."""
    async with serving(said(_PLAIN)) as (server, connections):
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
@in_a_loop
async def test_an_answer_is_read_in_each_form_that_http_has(written: bytes) -> None:
    """In chunks, compressed, after a word that more is to come: each is read, and the next on the same connection."""
    async with serving(said(written)) as (server, connections):
        for _ in range(2):
            assert (await connections.post(b"{}"))[::2] == (200, b"ok")
        assert server.connections == 1


@pytest.mark.parametrize("written", [b"HTTP/1.1 200 OK\r\n\r\nok", b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"])
@in_a_loop
async def test_a_connection_that_the_server_ends_is_not_used_again(written: bytes) -> None:
    """An answer that ends with its connection is whole, and the next request has a connection of its own."""
    async with serving(said(written, closes=True)) as (server, connections):
        for _ in range(2):
            assert (await connections.post(b"{}"))[::2] == (200, b"ok")
        assert server.connections == 2


@in_a_loop
async def test_an_idle_connection_that_was_closed_meanwhile_costs_no_request() -> None:
    """What the server closed between two requests is noticed before the next is sent."""
    async with serving(said(_PLAIN, closes=True)) as (server, connections):
        await connections.post(b"{}")
        await asyncio.sleep(0.1)
        assert (await connections.post(b"{}"))[2] == b"ok"
        assert (server.connections, server.requests) == (2, 2)


@in_a_loop
async def test_what_comes_unasked_is_no_answer_to_the_next_request() -> None:
    """A server that ends an idle connection with a word of its own, as a 408, has not spoken of what is sent then."""
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
            while not kept.should_close:  # noqa: ASYNC110  no event tells that bytes have come
                await asyncio.sleep(0.01)
        assert (await connections.post(b"{}"))[::2] == (200, b"ok")
        assert (server.connections, server.requests) == (2, 2)


@pytest.mark.parametrize(
    "written", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nhalf", b"no HTTP at all\r\n\r\n"]
)
@in_a_loop
async def test_half_an_answer_is_none(written: bytes) -> None:
    """An answer that breaks off, or is no HTTP, is an error and never a short text; its connection is gone."""
    async with serving(said(written, closes=True)) as (server, connections):
        for _ in range(2):
            with pytest.raises(aiohttp.ClientError):
                await connections.post(b"{}")
        assert server.connections == 2


@pytest.mark.slow
@pytest.mark.parametrize("packed", [False, True])
@in_a_loop
async def test_an_answer_without_an_end_fills_no_memory(packed: bool) -> None:
    """A server that goes on for ever, or a few hundred kilobytes that unpack to gigabytes: it is given up at a size
    that no answer has."""
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


@in_a_loop
async def test_a_request_that_is_given_up_takes_its_connection_along() -> None:
    """An answer that comes late is never read as that to the next request."""

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
@in_a_loop
async def test_a_request_that_is_given_up_is_not_sent_on(in_bulk: bool) -> None:
    """A server that has stopped reading keeps no connection, and no memory, for what nobody waits for any more."""
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
            assert await loop.sock_recv(server, 1)  # it is on its way
            posted.cancel()
            await asyncio.wait([posted])
        with server:
            server.setblocking(False)
            sent = 0
            while some := await loop.sock_recv(server, 2**20):
                sent += len(some)
        assert sent < len(body) // 2


@in_a_loop
async def test_a_connection_that_is_ended_tells_nothing_any_more() -> None:
    """Not even where the last part of an answer, or its end too early, has been read in the very same moment: who ended
    it has counted the request by then, and would count it twice."""

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
            while (reading := connection._reading) is None or not reading.done():  # noqa: ASYNC110  no event tells
                await asyncio.sleep(0)
            connection.cancel()
            for _ in range(5):
                await asyncio.sleep(0)
            assert outcomes == []
        assert server.requests == 4


@pytest.mark.parametrize("in_bulk", [False, True])
@in_a_loop
async def test_a_request_that_is_given_up_leaves_no_connection_behind(in_bulk: bool) -> None:
    """Not even where the server has hung and takes no more of it: in a long run they would be all that may be open."""
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


@in_a_loop
async def test_an_answer_that_comes_after_the_end_leaves_no_connection_behind() -> None:
    """Who gives up on several requests at the first failure closes while the others are on their way."""
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


@in_a_loop
async def test_where_no_connection_could_be_made_nothing_was_sent() -> None:
    """A server that is not there, and one that does not speak TLS: no request was lost, and the sentence says why."""
    async with serving(said(_PLAIN)) as (server, _):
        refused = Connections("http://127.0.0.1:1/", {}, connect_s=10)
        with pytest.raises(NoConnectionError, match=r"cannot connect to 127\.0\.0\.1:1: "):
            await refused.post(b"{}")
    async with serving(said(_PLAIN)) as (server, plain):
        tls = Connections(f"https://127.0.0.1:{plain._port}/", {}, connect_s=0.2)  # it waits for the end of a head
        with pytest.raises(NoConnectionError, match=r"no connection within 0\.2 s"):
            await tls.post(b"{}")
        assert server.requests == 0


@asynccontextmanager
async def self_signed() -> AsyncIterator[tuple[Server, str]]:
    shown = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    shown.load_cert_chain(_CERTIFICATE)
    server = Server(said(_PLAIN))
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=shown) as listening:
        yield server, f"https://localhost:{listening.sockets[0].getsockname()[1]}"


@in_a_loop
async def test_a_certificate_that_nobody_vouches_for_is_named_with_the_way_to_trust_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A company's gateway signs with an authority of its own: nobody is told to start a server that is there, nothing
    is sent, asked or listed, and the variable that is named opens the way."""
    async with self_signed() as (server, url):
        for look in (False, True):
            async with Endpoint(url, "m", key="sk-0123456789abcdef") as endpoint:
                with pytest.raises(TeacherError, match=r"not trusted on this machine .*SSL_CERT_FILE") as caught:
                    await (endpoint.check() if look else endpoint.ask((Message(role="user", content="a"),), Sampling()))
                assert not isinstance(caught.value, Unreachable)
                assert endpoint.lost == 0
        assert server.requests == 0
        monkeypatch.setenv("SSL_CERT_FILE", str(_CERTIFICATE))
        _tls.cache_clear()
        trusting = Connections(url, {}, connect_s=60)
        assert (await trusting.post(b"{}"))[::2] == (200, b"ok")
        (kept, _), *_ = trusting._idle
        assert kept.transport is not None
        connected = kept.transport.get_extra_info("socket")
        trusting.close()
        await asyncio.sleep(0)
        assert connected.fileno() == -1  # the end of a loop waits for nobody's farewell
    _tls.cache_clear()


@in_a_loop
async def test_https_of_a_plain_server_is_named() -> None:
    """Most servers on one's own machine speak plain HTTP: the letter too much is told, not that nothing answers."""
    async with served(web.Application()) as address:
        url = address.replace("http://127.0.0.1", "https://localhost")
        for look in (False, True):
            async with Endpoint(url, "m") as endpoint:
                with pytest.raises(TeacherError, match=r"plain HTTP, not TLS.*Write http://") as caught:
                    await (endpoint.check() if look else endpoint.ask((Message(role="user", content="a"),), Sampling()))
                assert not isinstance(caught.value, Unreachable)


def test_certificates_are_looked_at() -> None:
    """A server has to prove its name."""
    tls = Connections("https://example.org/", {}, connect_s=10)._tls
    assert tls is not None
    assert tls.check_hostname
    assert tls.verify_mode == ssl.CERT_REQUIRED

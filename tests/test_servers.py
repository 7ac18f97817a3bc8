"""The servers that tests talk to leave nothing behind: what one test leaves open fails another, hours later."""

from __future__ import annotations

import gc
import socket
import threading
import warnings

from aiohttp import web

from tests.servers import InThread


def port_of(server: InThread) -> tuple[str, int]:
    return "127.0.0.1", int(server.address.rpartition(":")[2])


def left_open() -> list[str]:
    """What the garbage collector finds that nobody closed."""
    with warnings.catch_warnings(record=True) as unclosed:
        warnings.simplefilter("always")
        gc.collect()
    return [str(warning.message) for warning in unclosed]


def test_a_server_that_ends_while_clients_connect_leaves_nothing_open() -> None:
    """Clients that were cancelled go as they came, many at once, and the server's end falls anywhere between."""
    gc.collect()

    def connect(to: tuple[str, int]) -> None:
        for _ in range(10):
            clients = [socket.socket() for _ in range(20)]
            for client in clients:
                client.setblocking(False)
                client.connect_ex(to)
            for client in clients:
                client.close()

    for _ in range(20):
        with InThread(web.Application()) as server:
            connecting = threading.Thread(target=connect, args=(port_of(server),))
            connecting.start()
        connecting.join()
    assert left_open() == []


def test_a_server_ends_though_a_client_reads_nothing_of_a_long_answer() -> None:
    """What was not sent is given up, and so is the connection."""

    async def long(request: web.Request) -> web.Response:
        return web.Response(body=bytes(2**26))

    app = web.Application()
    app.router.add_get("/", long)
    gc.collect()
    with socket.socket() as client, InThread(app) as server:
        client.connect(port_of(server))
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert client.recv(1)
    assert left_open() == []

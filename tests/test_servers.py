"""The test servers leave nothing open: what one test leaves open makes another one fail, hours later."""

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
    """Warnings about unclosed resources that the garbage collector finds."""
    with warnings.catch_warnings(record=True) as unclosed:
        warnings.simplefilter("always")
        gc.collect()
    return [str(warning.message) for warning in unclosed]


def test_server_stopped_while_clients_connect_leaves_nothing_open() -> None:
    """Many clients connect and close at once, as cancelled ones do, and the server may stop at any point in between."""
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


def test_server_stops_although_a_client_reads_no_long_response() -> None:
    """The unsent rest of the response is dropped, and the connection is closed."""

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

"""Local servers for tests: an aiohttp application, in this event loop or in a thread of its own, and a handler for
Python's own HTTP server."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from aiohttp import web


@asynccontextmanager
async def served(app: web.Application) -> AsyncIterator[str]:
    """Serve an application in this event loop. Yields its address."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    listening = socket.create_server(("127.0.0.1", 0))
    await web.SockSite(runner, listening).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        # cleanup() closes only established connections, so accepted ones get the loop iterations they need to get
        # established.
        asyncio.get_running_loop().remove_reader(listening)
        for _ in range(3):
            await asyncio.sleep(0)
        assert runner.server is not None
        transports = [connection.transport for connection in runner.server.connections]
        await runner.cleanup()
        for transport in transports:
            if transport is not None:
                transport.abort()  # close() would wait for a client that reads nothing, and the loop would end first
        await asyncio.sleep(0)


class InThread:
    """An application in a thread of its own, at `address` while the `with` block runs."""

    def __init__(self, app: web.Application) -> None:
        self.address, self._app = "", app

    def __enter__(self) -> Self:
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()
        assert self._ready.wait(120)
        return self

    def __exit__(self, *ended: object) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(120)
        assert not self._thread.is_alive()

    async def _run(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        async with served(self._app) as self.address:
            self._ready.set()
            await self._stopping.wait()


class Handler(BaseHTTPRequestHandler):
    """A handler that reads and writes bodies and logs nothing."""

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def reply(self, body: bytes = b"", status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: Any) -> None:
        pass


class _Threads(ThreadingHTTPServer):
    request_queue_size = 128  # with the default of 5, further simultaneous clients wait seconds for the system's retry


class OnThreads:
    """A server at `url` that answers with `handler`, each request in its own thread, while the `with` block runs."""

    def __init__(self, handler: type[Handler]) -> None:
        self._server = _Threads(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *ended: object) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def handled(handler: type[Handler]) -> Iterator[str]:
    """Serve with `handler`. Yields the address."""
    with OnThreads(handler) as server:
        yield server.url

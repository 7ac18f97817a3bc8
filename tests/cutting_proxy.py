"""A proxy between a client and a server that cuts their connections."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Self

import httpx


class Proxy:
    """`with Proxy(url) as proxy:` forwards connections to `url` and cuts each of them: `seconds` after its first event
    (on a busy machine possibly later), or after `bytes` bytes in one direction, or instead of every second response to
    a request of the method `loses`, which the server has then processed. An attribute that is None never cuts."""

    def __init__(self, url: str) -> None:
        self.seconds: float | None = None
        self.bytes: int | None = None
        self.loses: bytes | None = None
        self.cut = self.lost = self._asked = 0
        self._to = (httpx.URL(url).host, httpx.URL(url).port)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)  # close() alone would still accept one more connection
        self._listening.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        with suppress(ConnectionError), client, socket.create_connection(self._to) as server:  # the server may be gone
            lost = threading.Event()
            back = threading.Thread(target=self._pass_on, args=(server, client, lost), daemon=True)
            back.start()
            self._pass_on(client, server, lost)
            back.join()

    def _pass_on(self, source: socket.socket, target: socket.socket, lost: threading.Event) -> None:
        left = self.bytes
        with suppress(OSError):
            while data := source.recv(65_536):
                if self.loses is not None and data.startswith(self.loses):
                    self._asked += 1
                    if self._asked % 2:
                        lost.set()
                if data.startswith(b"HTTP/") and lost.is_set():
                    self.lost += 1
                    self._cut(source, target)
                    return
                if left is not None and (left := left - len(data)) < 0:
                    self._cut(source, target)
                    return
                target.sendall(data)
                if self.seconds is not None and b"data: " in data:
                    threading.Timer(self.seconds, self._cut, (source, target)).start()
            target.shutdown(socket.SHUT_WR)

    def _cut(self, *both: socket.socket) -> None:
        self.cut += 1
        for one in both:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

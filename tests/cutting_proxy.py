"""A proxy between a client and a server that cuts their connections."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

import httpx


class Proxy:
    """`with Proxy(url) as proxy:` passes connections on to `url` and cuts each `seconds` after its first event, which
    on a busy machine may be late, or after so many bytes of what is sent or answered; or in place of every second
    answer to a request of the method `loses`, which the server has then carried out. None never does."""

    def __init__(self, url: str) -> None:
        self.seconds: float | None = None
        self.bytes: int | None = None
        self.loses: bytes | None = None
        self.cut = self.lost = self._asked = 0
        self._to = (httpx.URL(url).host, httpx.URL(url).port)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"

    def __enter__(self) -> Proxy:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)  # closed, it would not wake who waits for the next client
        self._listening.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._to) as server:
            lost = threading.Event()
            back = threading.Thread(target=self._pass_on, args=(server, client, lost), daemon=True)
            back.start()
            self._pass_on(client, server, lost)
            back.join()

    def _pass_on(self, one: socket.socket, other: socket.socket, lost: threading.Event) -> None:
        left = self.bytes
        with suppress(OSError):
            while some := one.recv(65_536):
                if self.loses is not None and some.startswith(self.loses):
                    self._asked += 1
                    if self._asked % 2:
                        lost.set()
                if some.startswith(b"HTTP/") and lost.is_set():
                    self.lost += 1
                    self._cut(one, other)
                    return
                if left is not None and (left := left - len(some)) < 0:
                    self._cut(one, other)
                    return
                other.sendall(some)
                if self.seconds is not None and b"data: " in some:
                    threading.Timer(self.seconds, self._cut, (one, other)).start()
            other.shutdown(socket.SHUT_WR)

    def _cut(self, *both: socket.socket) -> None:
        self.cut += 1
        for one in both:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

"""Hearing of answers as they are given: a webhook of Argilla's, where the server can reach this machine.

Whether it can is tried and not guessed: the server is asked to call once. Where it does not call, or lets nobody but an
owner ask, nothing is left behind, and the caller goes on looking from time to time. A call says only that there may be
something new; what it holds is not read, so nobody can tell us anything by it.
"""

from __future__ import annotations

import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from curate.argilla.client import Argilla
from schemas.errors import ReviewError

_EVENTS = ["response.created", "response.updated", "response.deleted"]
_PING_TIMEOUT_S = 5.0
_SETTLE_S = 1.0  # somebody who answers quickly is pulled from once, not at every answer
_MAX_BODY_BYTES = 10_000_000

Wait = Callable[[float], bool]
"""Waits so many seconds, or until somebody answered; True if somebody did."""


@contextmanager
def answers_heard(argilla: Argilla, project: str) -> Iterator[Wait | None]:
    """A `Wait` that ends when somebody answered; None where the server cannot reach this machine. A webhook that a
    killed process left on the server for this `project` (its id) and machine is taken away."""
    description = f"pairsmith review pull --watch, project {project} on {socket.gethostname()}"
    called, hook = threading.Event(), None
    with _callback_server(_local_address(argilla.url), called) as url:
        try:
            with suppress(ReviewError):
                _delete_stale_webhooks(argilla, description)
                asked = {"url": url, "events": _EVENTS, "description": description}
                hook = argilla.call("POST", "webhooks", json=asked)["id"]
                argilla.call("POST", f"webhooks/{hook}/ping")
            if hook is None or not called.wait(_PING_TIMEOUT_S):
                yield None
                return

            def wait(seconds: float) -> bool:
                heard = called.wait(seconds)
                if heard:
                    time.sleep(_SETTLE_S)
                called.clear()  # before the look: what comes during it is looked at again
                return heard

            called.clear()
            yield wait
        finally:
            if hook is not None:
                with suppress(ReviewError):
                    argilla.call("DELETE", f"webhooks/{hook}")


def _delete_stale_webhooks(argilla: Argilla, description: str) -> None:
    for old in argilla.call("GET", "webhooks")["items"]:
        if old.get("description") == description:
            argilla.call("DELETE", f"webhooks/{old['id']}")


def _local_address(url: str) -> str:
    """The address of this machine on the way to the server; only there is it listened."""
    where = urlsplit(url)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way:  # nothing is sent
        try:
            way.connect((where.hostname or "127.0.0.1", where.port or 80))
            return str(way.getsockname()[0])
        except OSError:
            return "127.0.0.1"


@contextmanager
def _callback_server(address: str, called: threading.Event) -> Iterator[str]:
    """The URL, which nobody can guess, at which a call sets `called`."""
    path = f"/{secrets.token_urlsafe(24)}"

    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_POST(self) -> None:
            header = self.headers.get("Content-Length", "0")
            length = int(header) if header.isascii() and header.isdecimal() else -1
            known = self.path == path and 0 <= length <= _MAX_BODY_BYTES
            if known:
                self.rfile.read(length)
                called.set()
            self.send_response(200 if known else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            return

    with ThreadingHTTPServer((address, 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://{address}:{server.server_address[1]}{path}"
        finally:
            server.shutdown()

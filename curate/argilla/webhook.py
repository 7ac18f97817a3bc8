"""Notification of new answers through an Argilla webhook, if the server can reach this machine.

Reachability is tested: the server is asked to ping once. If the ping does not arrive, or the server lets only owners
register webhooks, nothing is left behind and the caller keeps polling. A call only signals that there may be new
answers; its content is ignored, so a forged call cannot inject data.
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
_SETTLE_S = 1.0  # collects answers that arrive in quick succession into one pull
_MAX_BODY_BYTES = 10_000_000

Wait = Callable[[float], bool]
"""Waits the given number of seconds or until an answer is submitted; returns True if one was."""


@contextmanager
def listen_for_answers(argilla: Argilla, project: str) -> Iterator[Wait | None]:
    """Yield a `Wait` that returns early when an answer is submitted; None if the server cannot reach this machine.

    `project` is the project's id. A webhook that a killed process left on the server for this project and machine is
    deleted.
    """
    description = f"pairsmith review pull --watch, project {project} on {socket.gethostname()}"
    called, hook = threading.Event(), None
    with _callback_server(_local_address(argilla.url), called) as url:
        try:
            with suppress(ReviewError):
                _delete_stale_webhooks(argilla, description)
                payload = {"url": url, "events": _EVENTS, "description": description}
                hook = argilla.call("POST", "webhooks", json=payload)["id"]
            if hook is None or not _pings(argilla, hook) or not called.wait(_PING_TIMEOUT_S):
                yield None
                return

            def wait(seconds: float) -> bool:
                notified = called.wait(seconds)
                if notified:
                    time.sleep(_SETTLE_S)
                called.clear()  # before the caller pulls, so that a call during the pull triggers another one
                return notified

            called.clear()
            yield wait
        finally:
            if hook is not None:
                hasty = argilla.in_workspace(argilla.workspace)
                hasty.patience_s = 5  # a server that is away would delay its own error, or Ctrl-C, by three minutes
                with suppress(ReviewError):
                    hasty.call("DELETE", f"webhooks/{hook}")


def _pings(argilla: Argilla, hook: str) -> bool:
    """Ask the server to ping once. A server that cannot reach this machine answers 500, which a retry does not
    change."""
    import httpx

    with suppress(httpx.TransportError):
        return bool(argilla.sdk.http_client.post(f"/api/v1/webhooks/{hook}/ping").is_success)
    return False


def _delete_stale_webhooks(argilla: Argilla, description: str) -> None:
    for old in argilla.call("GET", "webhooks")["items"]:
        if old.get("description") == description:
            argilla.call("DELETE", f"webhooks/{old['id']}")


def _local_address(url: str) -> str:
    """Return this machine's address on the route to the server; the callback server listens only there."""
    parts = urlsplit(url)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:  # nothing is sent
        try:
            probe.connect((parts.hostname or "127.0.0.1", parts.port or 80))
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"


@contextmanager
def _callback_server(address: str, called: threading.Event) -> Iterator[str]:
    """Run an HTTP server that sets `called` on each call, and yield its unguessable URL."""
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

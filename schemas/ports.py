"""Sockets for our own servers, and the choice of a port for a program that is slow to start: it must still be free when
the program binds it."""

from __future__ import annotations

import errno
import secrets
import socket
from contextlib import ExitStack, suppress
from pathlib import Path

from schemas.errors import UsageError

_FIRST, _END = 20_000, 32_768
_TRIES = 100
_EPHEMERAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_port() -> int:
    """A free port of this machine, below the range from which the system assigns ephemeral ports. No connection or
    server that lets the system choose can therefore take it in the meantime.

    Falls back to an ephemeral port if all others are taken. Raises OSError if nothing can listen.
    """
    first_ephemeral = int(_EPHEMERAL_RANGE.read_text().split()[0]) if _EPHEMERAL_RANGE.exists() else _END
    end = min(first_ephemeral, _END) if first_ephemeral > _FIRST else _END
    for _ in range(_TRIES):
        with suppress(OSError):
            return _bind_local(_FIRST + secrets.randbelow(end - _FIRST))
    return _bind_local(0)


def _bind_local(port: int) -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", port))
        return int(probe.getsockname()[1])


def bound(host: str, port: int) -> socket.socket:
    """A socket bound to the address (port 0: any free port). Raises OSError, and UnicodeError for an invalid host
    name."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with ExitStack() as on_failure:
        taken = on_failure.enter_context(socket.socket(family, kind, protocol))
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(address)
        on_failure.pop_all()
    return taken


def listening(host: str, port: int) -> socket.socket:
    """`bound` for an address that the user chose. Raises UsageError if nothing can listen there."""
    try:
        return bound(host, port)
    except (OSError, UnicodeError) as error:
        code = getattr(error, "errno", None)
        if code == errno.EADDRINUSE:
            what, fix = f"port {port} is in use.", "Stop the program that uses it, or choose another port with --port."
        elif code == errno.EACCES:
            what, fix = f"port {port} needs administrator rights.", "Choose a port above 1023 with --port."
        else:
            what = f"--host {host!r} is not an address of this machine."
            fix = "Use 127.0.0.1 to serve this machine only, or 0.0.0.0 to serve other machines too."
        raise UsageError(what, fix=fix) from None

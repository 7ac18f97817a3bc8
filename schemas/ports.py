"""Where a server of ours listens, and a port for what takes a while to: chosen now, taken later, and by nobody else
meanwhile."""

from __future__ import annotations

import errno
import secrets
import socket
from contextlib import ExitStack, suppress
from pathlib import Path

from schemas.errors import UsageError

_FIRST, _END = 20_000, 32_768
_TRIES = 100
_GIVEN = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_port() -> int:
    """A port of this machine that nothing listens on, below those that the system gives to whoever asks for any: a
    connection or another server that comes before ours has taken it gets none of these. Where those below are all
    taken, one of these. Raises OSError where nothing can listen."""
    given = int(_GIVEN.read_text().split()[0]) if _GIVEN.exists() else _END
    end = min(given, _END) if given > _FIRST else _END
    for _ in range(_TRIES):
        with suppress(OSError):
            return _bound(_FIRST + secrets.randbelow(end - _FIRST))
    return _bound(0)


def _bound(port: int) -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", port))
        return int(probe.getsockname()[1])


def bound(host: str, port: int) -> socket.socket:
    """A socket at that address (port 0: any free one). Raises OSError, and UnicodeError for what is no name."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with ExitStack() as on_failure:
        taken = on_failure.enter_context(socket.socket(family, kind, protocol))
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(address)
        on_failure.pop_all()
    return taken


def listening(host: str, port: int) -> socket.socket:
    """`bound`, for an address that a person has chosen. Raises UsageError where nothing can listen there."""
    try:
        return bound(host, port)
    except (OSError, UnicodeError) as error:
        code = getattr(error, "errno", None)
        if code == errno.EADDRINUSE:
            what, fix = f"port {port} is taken.", "Stop what listens there, or choose another with --port."
        elif code == errno.EACCES:
            what, fix = f"port {port} is for the administrator.", "Choose one above 1023 with --port."
        else:
            what = f"--host {host!r} is no address of this machine."
            fix = "127.0.0.1 serves this machine, 0.0.0.0 all others too."
        raise UsageError(what, fix=fix) from None

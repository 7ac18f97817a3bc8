"""A port for what takes a while to listen: chosen now, taken later, and by nobody else meanwhile."""

from __future__ import annotations

import secrets
import socket
from contextlib import suppress
from pathlib import Path

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

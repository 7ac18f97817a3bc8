"""A port for what takes a while to listen: chosen now, taken later, and by nobody else meanwhile."""

from __future__ import annotations

import secrets
import socket
from pathlib import Path

_FIRST, _END = 20_000, 32_768
_GIVEN = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_port() -> int:
    """A port of this machine that nothing listens on, below those that the system gives to whoever asks for any: a
    connection or another server that comes before ours has taken it gets none of these."""
    given = int(_GIVEN.read_text().split()[0]) if _GIVEN.exists() else _END
    end = min(given, _END) if given > _FIRST else _END
    while True:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", _FIRST + secrets.randbelow(end - _FIRST)))
            except OSError:
                continue
            return int(probe.getsockname()[1])

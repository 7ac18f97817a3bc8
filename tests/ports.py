"""A port for what takes a while to listen: chosen now, taken later, and by nobody else meanwhile."""

from __future__ import annotations

import random
import socket
from pathlib import Path

_FIRST = 20_000
_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_port() -> int:
    """A port that nothing listens on, below those that the system gives to whoever asks for any: servers and clients of
    other tests, of which there are hundreds a minute, get none of these."""
    end = int(_RANGE.read_text().split()[0]) if _RANGE.exists() else 32_768
    draw = random.SystemRandom()  # `random` is seeded alike in every worker
    while True:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", draw.randrange(_FIRST, end) if end > _FIRST else 0))
            except OSError:
                continue
            port: int = probe.getsockname()[1]
            return port

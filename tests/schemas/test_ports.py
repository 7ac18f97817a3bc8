"""A port for a server that takes minutes to start listening."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from schemas import ports
from schemas.ports import free_port

RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def test_free_port_is_outside_the_ephemeral_range() -> None:
    """Processes that ask the system for any port get another one, however many there are. Two calls may get different
    ports."""
    if RANGE.exists() and int(RANGE.read_text().split()[0]) <= 20_000:
        pytest.skip("this system gives all ports away")
    ports = {free_port() for _ in range(8)}
    assert len(ports) > 1
    with ExitStack() as stack:
        others = {stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in range(200)}
        assert max(ports) < min(others)
        for port in ports:
            stack.enter_context(socket.create_server(("127.0.0.1", port)))


def test_free_port_falls_back_to_the_system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine may have an ephemeral range that leaves only a few ports, all in use: the search ends."""
    first = free_port()
    (given := tmp_path / "range").write_text(f"{first + 1}\t60999\n")
    monkeypatch.setattr(ports, "_EPHEMERAL_RANGE", given)
    monkeypatch.setattr(ports, "_FIRST", first)
    assert free_port() == first
    with socket.create_server(("127.0.0.1", first)):
        assert free_port() != first

"""A port for a server that takes minutes to listen."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from schemas import ports
from schemas.ports import free_port

RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def test_what_others_open_meanwhile_does_not_take_it() -> None:
    """Whoever asks the system for any port gets another, however many do; two that ask for one of these get two."""
    if RANGE.exists() and int(RANGE.read_text().split()[0]) <= 20_000:
        pytest.skip("this system gives all ports away")
    ports = {free_port() for _ in range(8)}
    assert len(ports) > 1
    with ExitStack() as stack:
        others = {stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in range(200)}
        assert max(ports) < min(others)
        for port in ports:
            stack.enter_context(socket.create_server(("127.0.0.1", port)))


def test_where_all_of_them_are_taken_the_system_gives_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine may give away all but a few, which others have: nobody looks for ever."""
    first = free_port()
    (given := tmp_path / "range").write_text(f"{first + 1}\t60999\n")
    monkeypatch.setattr(ports, "_EPHEMERAL_RANGE", given)
    monkeypatch.setattr(ports, "_FIRST", first)
    assert free_port() == first
    with socket.create_server(("127.0.0.1", first)):
        assert free_port() != first

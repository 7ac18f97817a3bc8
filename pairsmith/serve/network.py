"""Outbound network policy: allowed hosts, and no private address behind a public name, checked again on connecting."""

from __future__ import annotations

import os
import re
import socket
import sys
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, NamedTuple
from urllib.parse import urlsplit

IPAddress = IPv4Address | IPv6Address
Resolve = Callable[[str, int], Iterable[str]]
PRIVATE_HOSTS = "PAIRSMITH_PRIVATE_HOSTS"
"""The variable that lists, for a job's process, the hosts with a private address that it may connect to."""
_PORTS = {"http": 80, "https": 443}
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", re.IGNORECASE)
_AMBIGUOUS = re.compile(r"[\s\\\x00-\x1f]")  # characters that programs parse differently


class Host(NamedTuple):
    """The host name and port of an address."""

    name: str
    port: int

    @classmethod
    def read(cls, text: str) -> Host:
        """Parse the output of `str`, or an equivalent that a user wrote. Raises ValueError."""
        name, _, port = text.rpartition(":")
        return cls(name.strip("[]").lower(), int(port))

    def __str__(self) -> str:
        return f"[{self.name}]:{self.port}" if ":" in self.name else f"{self.name}:{self.port}"


def host_of(url: str) -> Host | None:
    """The host and port of an http(s) URL; None for anything else, including a URL with a user name and a name that no
    host can have."""
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError:
        return None
    name = (parts.hostname or "").rstrip(".").lower()
    if (
        parts.scheme not in _PORTS
        or not _can_be_host(name)
        or not port
        or _AMBIGUOUS.search(url)
        or "@" in parts.netloc
    ):
        return None
    return Host(name, port)


def _can_be_host(name: str) -> bool:
    try:
        *_, last = labels = name.encode("idna").decode().split(".")
    except UnicodeError:  # an empty label, or a long one
        return False
    is_name = not last.isdigit() and len(name) <= 253 and all(map(_LABEL.fullmatch, labels))
    return is_name or _is_address(name)


def is_public(address: str) -> bool:
    """Whether an IP address is on the public internet.

    Loopback, private, link-local (metadata services), multicast and reserved addresses are not, also where IPv6 wraps
    an IPv4 address (mapped, 6to4, NAT64, Teredo).
    """
    try:
        ip: IPAddress = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return all(inner.is_global and not inner.is_multicast for inner in (ip, *_embedded_addresses(ip)))


def _embedded_addresses(ip: IPAddress) -> list[IPAddress]:
    """The IPv4 addresses that an IPv6 address contains."""
    if isinstance(ip, IPv4Address):
        return []
    inner: list[IPAddress | None] = [ip.ipv4_mapped, ip.sixtofour, *(ip.teredo or ())]
    number = int(ip)
    if number >> 32 in (0, 0x64_FF9B << 64):  # ::a.b.c.d, and NAT64
        inner.append(IPv4Address(number & 0xFFFF_FFFF))
    return [address for address in inner if address is not None]


def resolve(name: str, port: int) -> list[str]:
    """The IP addresses of a name; empty if it has none."""
    try:
        return sorted({str(row[4][0]) for row in socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)})
    except (OSError, UnicodeError):  # the latter for an empty or a long part of a name
        return []


def is_private(host: Host, lookup: Resolve) -> bool:
    """Whether any address of the host is not public. A name without an address is not private."""
    return any(not is_public(address) for address in lookup(host.name, host.port))


def guard() -> None:
    """Restrict this process to public addresses, this machine itself, and the hosts in `PAIRSMITH_PRIVATE_HOSTS`.

    Without that variable nothing is restricted. A name may resolve to another address now than when the spec was
    checked (DNS rebinding), so resolved addresses are checked again on connecting; a name that is not allowed may not
    resolve to this machine either. A child calls this before it does anything else. Programs that it starts in turn are
    not guarded.
    """
    named = os.environ.get(PRIVATE_HOSTS)
    if named is None:
        return
    hosts = [Host.read(text) for text in named.split()]
    allowed = {address for host in hosts for address in resolve(host.name, host.port)}
    names = {"localhost", *(host.name for host in hosts)}
    sys.modules["uvloop"] = None  # type: ignore[assignment]  # uvloop would resolve names without the function below
    lookup = socket.getaddrinfo

    def checked_getaddrinfo(host: Any, *arguments: Any, **named: Any) -> Any:
        rows = lookup(host, *arguments, **named)
        name = host.decode() if isinstance(host, bytes) else host
        if name is None or name.rstrip(".").lower() in names or _is_address(name):
            return rows
        for row in rows:
            if not is_public(str(row[4][0])):
                raise socket.gaierror(f"{name} resolves to {row[4][0]}, which the service does not allow")
        return rows

    def check_connection(event: str, arguments: tuple[Any, ...]) -> None:
        if event != "socket.connect" or not isinstance(arguments[1], tuple):
            return
        address = str(arguments[1][0])
        if not _is_address(address) or is_public(address) or address in allowed or ip_address(address).is_loopback:
            return
        raise PermissionError(f"the service does not allow connections to {address}, which is not a public address")

    socket.getaddrinfo = checked_getaddrinfo
    sys.addaudithook(check_connection)


def _is_address(text: str) -> bool:
    try:
        ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return True

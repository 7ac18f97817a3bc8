"""What `pairsmith serve` was started with."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address


@dataclass(frozen=True)
class Settings:
    """`url` is the address at which people reach the service, where it is not `http://HOST:PORT`, as behind a proxy.
    `database_url` is a PostgreSQL for the service's tables and jobs; absent: SQLite in the workspace."""

    host: str = "127.0.0.1"
    port: int = 8660
    no_auth: bool = False
    url: str | None = None
    database_url: str | None = None

    @property
    def secure(self) -> bool:
        """Whether browsers reach it over TLS."""
        return (self.url or "").startswith("https://")

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def address(self) -> str:
        """Where a person opens it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return (self.url or f"http://{host}:{self.port}").rstrip("/")

"""The settings of `pairsmith serve`."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address


@dataclass(frozen=True)
class Settings:
    """How the service was started.

    `url` is the address at which users reach the service if it is not `http://HOST:PORT`, for example behind a proxy.
    `database_url` is a PostgreSQL database for the service's tables and jobs; without it, SQLite in the workspace is
    used.
    """

    host: str = "127.0.0.1"
    port: int = 8660
    no_auth: bool = False
    url: str | None = None
    database_url: str | None = None

    @property
    def secure(self) -> bool:
        """Whether browsers reach the service over TLS."""
        return (self.url or "").startswith("https://")

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the service."""
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def address(self) -> str:
        """The URL at which a user opens the service."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return (self.url or f"http://{host}:{self.port}").rstrip("/")

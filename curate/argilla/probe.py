"""Checks of an address: which Argilla version or other program answers there, and whether it accepts our key."""

from __future__ import annotations

import errno
import ipaddress
import json
import socket
import urllib.error
import urllib.request
from collections.abc import Mapping
from urllib.parse import urlsplit

from schemas.errors import ReviewError
from schemas.ports import bound

_DIRECT_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy cannot reach loopback
_PROBE_TIMEOUT_S = 15.0  # Argilla on a busy machine may take some seconds to answer
LOOPBACK = ("localhost", "127.0.0.1", "::1")

UNENCRYPTED_WARNING = (
    "passwords and texts are sent there unencrypted: on a network that is not yours alone, put a TLS proxy in front of"
    " it (`pairsmith docs review`)"
)


def is_local_address(url: str) -> bool:
    """Whether a URL points to this machine, so that the shell's proxy must not be used for it."""
    host = urlsplit(url).hostname or ""
    try:
        address = ipaddress.ip_address(host)
        with socket.socket(socket.AF_INET6 if address.version == 6 else socket.AF_INET, socket.SOCK_DGRAM) as probe:
            if not address.is_loopback:
                probe.bind((host, 0))  # succeeds only for an address of this machine
    except (ValueError, OSError):
        return host == "localhost"
    return True


def local_url(host: str, port: int) -> str:
    """Return the URL that a browser on this machine uses for a server bound to `host`."""
    return _http_url("127.0.0.1" if host in ("0.0.0.0", "::", "") else host, port)


def _http_url(host: str, port: int) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def public_url(host: str, port: int) -> str | None:
    """Return the URL that other machines use for a server bound to `host`; None if it is bound to loopback only."""
    if host in LOOPBACK:
        return None
    if host in ("0.0.0.0", "::", ""):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect(("192.0.2.1", 9))  # sends nothing; selects our address that faces other networks
                host = probe.getsockname()[0]
            except OSError:
                host = socket.gethostname()
    return _http_url(host, port)


def listen_problem(host: str, port: int) -> str | None:
    """Return why no server on this machine can listen at an address; None if one can, or if one already does."""
    if not 1 <= port <= 65535:
        return f"{port} is not a valid port: ports range from 1 to 65535."
    try:
        bound(host, port).close()
    except PermissionError:
        return f"You may not use port {port}: ports below 1024 are reserved for the system."
    except (OSError, UnicodeError) as error:  # UnicodeError: not a valid host name
        if getattr(error, "errno", None) != errno.EADDRINUSE:
            return f"'{host}' is not an address of this machine: {getattr(error, 'strerror', None) or error}."
    return None


def identify_program(host: str, port: int) -> str | None:
    """Return what answers at an address: None if the port is free, e.g. "Argilla 2.8.0", or "another program"."""
    try:
        socket.create_connection(
            (host if host not in ("0.0.0.0", "::", "") else "127.0.0.1", port), _PROBE_TIMEOUT_S
        ).close()
    except OSError:
        return None
    try:
        with _DIRECT_OPENER.open(f"{local_url(host, port)}/api/v1/version", timeout=_PROBE_TIMEOUT_S) as answer:
            return f"Argilla {json.load(answer)['version']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another program"


def fetch_username(url: str, api_key: str, *, timeout_s: float = 10.0, headers: Mapping[str, str] | None = None) -> str:
    """Return the name of the user whose key this is, at the Argilla server at `url`.

    Raises ReviewError if nothing answers, if something other than Argilla answers, or if it refuses the key.
    """
    request = urllib.request.Request(
        f"{url.rstrip('/')}/api/v1/me", headers={**(headers or {}), "X-Argilla-Api-Key": api_key}
    )
    opener = _DIRECT_OPENER if is_local_address(url) else urllib.request.build_opener()
    try:
        with opener.open(request, timeout=timeout_s) as answer:
            username: str = json.load(answer)["username"]
            return username
    except urllib.error.HTTPError as error:
        if error.code == 401:
            raise ReviewError(
                "Argilla refuses the API key.",
                where=url,
                fix="Check the variable that [review] key_env names. The owner's key of pairsmith's own server is in"
                " its credentials.json (`pairsmith review status` shows where).",
            ) from error
        fix = "Read its log."
        if error.code in (403, 404):
            fix = "Check the address. A private Space, or another proxy, may need a header: [review] headers_env."
        raise ReviewError(f"Argilla answers with status {error.code}.", where=url, fix=fix) from error
    except (ValueError, KeyError, TypeError) as error:
        raise ReviewError("The server there is not Argilla.", where=url, fix="Check the address.") from error
    except OSError as error:
        reason = getattr(error, "reason", None) or error
        raise ReviewError(
            f"No Argilla answers: {reason}.",
            where=url,
            fix="Start it with `pairsmith review up`, or check the address.",
        ) from error

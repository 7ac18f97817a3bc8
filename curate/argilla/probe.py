"""Who answers at an address: an Argilla and which, whether it takes our key, or some other program."""

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

_DIRECT_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy never reaches a loopback address
_PROBE_TIMEOUT_S = 15.0  # an Argilla on a busy machine is no other program for taking some seconds to say so
LOOPBACK = ("localhost", "127.0.0.1", "::1")

IN_THE_CLEAR = (
    "passwords and texts go there unencrypted: on a network that is not yours alone, put a proxy with TLS before it"
    " (`pairsmith docs review`)"
)


def is_local_address(url: str) -> bool:
    """Whether an address is one of this machine, to which a proxy of the shell does not lead."""
    host = urlsplit(url).hostname or ""
    try:
        address = ipaddress.ip_address(host)
        with socket.socket(socket.AF_INET6 if address.version == 6 else socket.AF_INET, socket.SOCK_DGRAM) as probe:
            if not address.is_loopback:
                probe.bind((host, 0))  # which only an address of this machine lets us
    except (ValueError, OSError):
        return host == "localhost"
    return True


def local_url(host: str, port: int) -> str:
    """The address a browser on this machine uses for a server bound to `host`."""
    return _http_url("127.0.0.1" if host in ("0.0.0.0", "::", "") else host, port)


def _http_url(host: str, port: int) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def public_url(host: str, port: int) -> str | None:
    """The address that other machines use for a server bound to `host`; None where it is bound to this machine only."""
    if host in LOOPBACK:
        return None
    if host in ("0.0.0.0", "::", ""):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect(("192.0.2.1", 9))  # sends nothing: it asks which of our addresses faces other networks
                host = probe.getsockname()[0]
            except OSError:
                host = socket.gethostname()
    return _http_url(host, port)


def listen_problem(host: str, port: int) -> str | None:
    """Why no server of this machine can be at an address; None if one can, or is there already."""
    if not 1 <= port <= 65535:
        return f"{port} is no port: they go from 1 to 65535."
    try:
        bound(host, port).close()
    except PermissionError:
        return f"Port {port} is not yours to use: below 1024 they are the system's."
    except (OSError, UnicodeError) as error:  # the latter for what is no name
        if getattr(error, "errno", None) != errno.EADDRINUSE:
            return f"'{host}' is no address of this machine: {getattr(error, 'strerror', None) or error}."
    return None


def answering_at(host: str, port: int) -> str | None:
    """None when the port is free, "Argilla 2.8.0" when an Argilla answers there, "another program" otherwise."""
    try:
        socket.create_connection((host if host not in ("0.0.0.0", "::", "") else "127.0.0.1", port), _PROBE_TIMEOUT_S).close()
    except OSError:
        return None
    try:
        with _DIRECT_OPENER.open(f"{local_url(host, port)}/api/v1/version", timeout=_PROBE_TIMEOUT_S) as answer:
            return f"Argilla {json.load(answer)['version']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another program"


def who_am_i(url: str, api_key: str, *, timeout_s: float = 10.0, headers: Mapping[str, str] | None = None) -> str:
    """The user whose key this is, at the Argilla that answers at `url`.

    Raises `ReviewError`, in a sentence each: nothing answers, what answers is no Argilla, or it refuses the key.
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
                fix="Check the variable that [review] key_env names; the owner's key of the embedded server is in its"
                " credentials.json (`pairsmith review status` says where).",
            ) from error
        fix = "Read its log."
        if error.code in (403, 404):
            fix = "Check the address. A private Space, or another proxy, may want a header: [review] headers_env."
        raise ReviewError(f"Argilla answers with status {error.code}.", where=url, fix=fix) from error
    except (ValueError, KeyError, TypeError) as error:
        raise ReviewError("What answers is not an Argilla server.", where=url, fix="Check the address.") from error
    except OSError as error:
        reason = getattr(error, "reason", None) or error
        raise ReviewError(
            f"No Argilla answers: {reason}.",
            where=url,
            fix="Start it with `pairsmith review up`, or check the address.",
        ) from error

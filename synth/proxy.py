"""Which proxy the environment names for an address."""

from __future__ import annotations

from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from schemas.errors import TeacherError
from synth.redaction import without_user_info

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def proxy_for(url: str) -> str | None:
    """The proxy that the environment names for `url`, `ALL_PROXY` where none is named for its scheme; never for this
    machine itself.

    Raises TeacherError, without the password that may stand in it, for one that is no http(s) address: `socks5://`
    would be spoken to as HTTP.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host in _LOOPBACK or proxy_bypass(host):
        return None
    proxies = getproxies()
    name = parts.scheme if parts.scheme in proxies else "all"
    proxy = proxies.get(name)
    if proxy is None:
        return None
    try:
        named = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        usable = named.scheme in ("http", "https") and bool(named.hostname) and named.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise TeacherError(
            f"The proxy '{without_user_info(proxy)}' is not one that can be used.",
            where=f"the environment variable {name.upper()}_PROXY",
            fix="Name one that speaks HTTP, as in http://host:3128, or unset the variable; NO_PROXY leaves hosts out.",
        )
    return named.geturl()

"""Which proxy the environment names for an address, and what is sent through it."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp

from schemas.errors import AuthError, TeacherError
from synth.connections import LIMITS, Response, read_body
from synth.redaction import without_user_info

REFUSALS = (401, 403, 405, 407)  # of a tunnel; what else a proxy says of one may pass
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def secrets_of(*proxies: str | None) -> list[str]:
    """What no error may show of the addresses of proxies: the passwords, and what is sent of them."""
    secrets = []
    for named in (urlsplit(proxy) for proxy in proxies if proxy):
        user, password = unquote(named.username or ""), unquote(named.password or "")
        if password:
            secrets += [password, b64encode(f"{user}:{password}".encode("latin-1", "replace")).decode()]
    return secrets


def proxy_refusal(proxy: str, url: str, status: int) -> AuthError:
    """The error that ends a run where the proxy lets nothing through."""
    fix = "Name user and password in it, as in http://user:password@host:3128." if status == 407 else ""
    return AuthError(
        f"The proxy '{without_user_info(proxy)}' lets no request through to {url} (HTTP {status}).",
        where="the environment variable of the proxy",
        why="No request reaches the teacher.",
        fix=f"{fix} NO_PROXY leaves hosts out.".strip(),
    )


def through_proxy(proxy: str | None, url: str) -> str:
    """For the sentence of a failure: that a proxy stood between, where it may have written the answer itself. What
    comes through a tunnel (https) is the server's."""
    return "" if proxy is None or url.startswith("https:") else f" through the proxy '{without_user_info(proxy)}'"


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


def new_session(headers: Mapping[str, str], *, connect_s: float) -> aiohttp.ClientSession:
    """A session that keeps no cookie. `trace_request_ctx` of a request, where it has one, is called as that goes."""
    traces = aiohttp.TraceConfig()
    traces.on_request_headers_sent.append(_goes)
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect_s),
        headers=headers,
        trace_configs=[traces],
        **LIMITS,
    )


async def _goes(session: object, context: SimpleNamespace, sent: object) -> None:
    if context.trace_request_ctx is not None:
        context.trace_request_ctx()


async def send_by_session(
    session: aiohttp.ClientSession,
    base: str,
    rest: str,
    data: bytes | None,
    headers: Mapping[str, str] | None,
    proxy: str | None,
    begun: Callable[[], None] | None = None,
    sent: Callable[[], None] | None = None,
) -> Response:
    """What comes of a request to an address, through its proxy if it has one: with `data`, or of a GET without. With
    `headers` of its own it asks for a list whose pages are short. `sent` is called as it goes, `begun` as an answer
    begins."""
    method, params = "GET" if data is None else "POST", {"limit": 1000} if headers else None
    through: dict[str, Any] = {"allow_redirects": False, "proxy": proxy, "trace_request_ctx": sent}
    async with session.request(method, base + rest, data=data, headers=headers, params=params, **through) as response:
        if begun is not None:
            begun()
        if proxy is not None and response.status == 407:
            raise proxy_refusal(proxy, base, 407)
        return response.status, response.headers, await read_body(response.content)

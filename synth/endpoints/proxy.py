"""Finds the proxy that the environment sets for an address, and sends requests through it."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping
from contextlib import suppress
from ipaddress import ip_address, ip_network
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp

from schemas.errors import AuthError, TeacherError
from synth.chat.redaction import without_user_info
from synth.endpoints.connections import LIMITS, Response, read_body

PROXY_REFUSALS = (401, 403, 405, 407)  # of a tunnel; other errors of a proxy may be temporary
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def proxy_secrets(*proxies: str | None) -> list[str]:
    """The secrets in proxy addresses that no error may show: the passwords, and the encoded credentials."""
    secrets = []
    for parsed in (urlsplit(proxy) for proxy in proxies if proxy):
        user, password = unquote(parsed.username or ""), unquote(parsed.password or "")
        if password:
            secrets += [password, b64encode(f"{user}:{password}".encode("latin-1", "replace")).decode()]
    return secrets


def proxy_refusal(proxy: str, url: str, status: int) -> AuthError:
    """The error that ends a run because the proxy rejects all requests."""
    fix = "It needs a user and the right password, as in http://user:password@host:3128." if status == 407 else ""
    return AuthError(
        f"The proxy '{without_user_info(proxy)}' rejects requests to {url} (HTTP {status}).",
        where="the environment variable of the proxy",
        why="No request reaches the teacher.",
        fix=f"{fix} To bypass the proxy for a host, add the host to NO_PROXY.".strip(),
    )


def proxy_note(proxy: str | None, url: str) -> str:
    """A note for error messages that a proxy was used and may have written the response itself; empty without a proxy
    and for https, where the response comes through a tunnel."""
    return "" if proxy is None or url.startswith("https:") else f" through the proxy '{without_user_info(proxy)}'"


def proxy_for(url: str) -> str | None:
    """The proxy that the environment sets for `url`, or `ALL_PROXY` if it sets none for its scheme; never for the local
    machine.

    Raises TeacherError, without the password that the address may contain, for anything but an http(s) address: HTTP
    would otherwise be spoken to `socks5://`.
    """
    parts = urlsplit(url)
    host, proxies = parts.hostname or "", getproxies()
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    if host in _LOOPBACK or _is_bypassed(host, port, proxies.get("no", "")):
        return None
    name = parts.scheme if parts.scheme in proxies else "all"
    proxy = proxies.get(name)
    if proxy is None:
        return None
    try:
        parsed = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        usable = parsed.scheme in ("http", "https") and bool(parsed.hostname) and parsed.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise TeacherError(
            f"The proxy '{without_user_info(proxy)}' cannot be used.",
            where=f"the environment variable {name.upper()}_PROXY",
            fix="Use an HTTP proxy, as in http://host:3128, or unset the variable; NO_PROXY lists hosts to bypass.",
        )
    return parsed.geturl()


def _is_bypassed(host: str, port: int | None, no_proxy: str) -> bool:
    """Whether NO_PROXY, or the setting of the system, lists the host: by its name or that of a domain, with or without
    its port, or by a network that its address is in."""
    if proxy_bypass(host):
        return True
    for entry in no_proxy.lower().replace(",", " ").split():
        with suppress(ValueError):
            if ip_address(host) in ip_network(entry, strict=False):
                return True
        with suppress(ValueError):
            listed = urlsplit(f"//{entry.removeprefix('*').lstrip('.')}")
            if entry == "*" or (f".{host}".endswith(f".{listed.hostname}") and listed.port in (None, port)):
                return True
    return False


def new_session(headers: Mapping[str, str], *, connect_s: float) -> aiohttp.ClientSession:
    """A session without cookies. A request's `trace_request_ctx`, if set, is called when its headers have been sent."""
    traces = aiohttp.TraceConfig()
    traces.on_request_headers_sent.append(_on_headers_sent)
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect_s),
        headers=headers,
        trace_configs=[traces],
        **LIMITS,
    )


async def _on_headers_sent(session: object, context: SimpleNamespace, sent: object) -> None:
    if context.trace_request_ctx is not None:
        context.trace_request_ctx()


async def send_by_session(
    session: aiohttp.ClientSession,
    base: str,
    rest: str,
    data: bytes | None,
    headers: Mapping[str, str] | None,
    proxy: str | None,
    on_first_byte: Callable[[], None] | None = None,
    on_sent: Callable[[], None] | None = None,
) -> Response:
    """Send a request to an address, through its proxy if it has one: a POST with `data`, or a GET without. With
    `headers`, which only a list with short pages needs, it asks for a page of 1,000. `on_sent` is called once the
    request has been sent, `on_first_byte` when the response begins."""
    method, params = "GET" if data is None else "POST", {"limit": 1000} if headers else None
    options: dict[str, Any] = {"allow_redirects": False, "proxy": proxy, "trace_request_ctx": on_sent}
    async with session.request(method, base + rest, data=data, headers=headers, params=params, **options) as response:
        if on_first_byte is not None:
            on_first_byte()
        if proxy is not None and response.status == 407:
            raise proxy_refusal(proxy, base, 407)
        return response.status, response.headers, await read_body(response.content)

"""Additions to Argilla's page: a script and a style sheet for pairsmith's queues, and the script of the page that signs
in users of pairsmith's service (enter.py).

Argilla's files are not changed: the two tags that load our files are inserted into the HTML as it is sent.
"""

from pathlib import Path

_ADDED_FILES = {
    "/pairsmith/page.js": "text/javascript",
    "/pairsmith/page.css": "text/css",
    "/pairsmith/enter.js": "text/javascript",
}
_ADDED_HTML = (
    b'<link rel="stylesheet" href="/pairsmith/page.css"><script defer src="/pairsmith/page.js"></script></head>'
)
_HEAD_END = b"</head>"


class PageInjector:
    """ASGI middleware around Argilla's application."""

    def __init__(self, app):
        self.app = app
        self.files = {
            path: (Path(__file__).with_name(Path(path).name).read_bytes(), kind) for path, kind in _ADDED_FILES.items()
        }

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD") or scope["path"].startswith("/api/"):
            await self.app(scope, receive, send)
        elif scope["path"] in self.files:
            body, kind = self.files[scope["path"]]
            headers = [(b"content-type", f"{kind}; charset=utf-8".encode()), (b"cache-control", b"no-cache")]
            await _send_response(send, 200, headers, body)
        else:
            # Request the page uncompressed and never as "not modified", so that the tags can be inserted; it is small.
            headers = (
                [item for item in scope["headers"] if item[0] not in _DROPPED_REQUEST_HEADERS]
                if _is_page(scope)
                else None
            )
            if headers is None:
                await self.app(scope, receive, send)
            else:
                await self.app({**scope, "headers": headers}, receive, _HtmlInjector(send))


_DROPPED_REQUEST_HEADERS = (b"accept-encoding", b"if-none-match", b"if-modified-since")
_DROPPED_RESPONSE_HEADERS = (b"content-length", b"etag", b"last-modified")


def _is_page(scope):
    return any(name == b"accept" and b"text/html" in value for name, value in scope["headers"])


class _HtmlInjector:
    """Forwards a response; an HTML response is buffered until it is complete, and our tags are inserted."""

    def __init__(self, send):
        self.send, self.start, self.body = send, None, b""

    async def __call__(self, message):
        if message["type"] == "http.response.start":
            if dict(message["headers"]).get(b"content-type", b"").startswith(b"text/html"):
                self.start = message
                return
        elif self.start is not None:
            self.body += message.get("body", b"")
            if not message.get("more_body"):
                headers = [item for item in self.start["headers"] if item[0].lower() not in _DROPPED_RESPONSE_HEADERS]
                await _send_response(
                    self.send, self.start["status"], headers, self.body.replace(_HEAD_END, _ADDED_HTML, 1)
                )
            return
        await self.send(message)


async def _send_response(send, status, headers, body):
    length = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*headers, *length]})
    await send({"type": "http.response.body", "body": body})

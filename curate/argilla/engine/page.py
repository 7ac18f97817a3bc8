"""What our server adds to Argilla's page: a script and a style sheet, which act on queues that pairsmith made, and the
script of the page that signs in who comes from pairsmith's service (enter.py).

Argilla's files stay as they are: the two lines that name ours are put into the page as it is sent.
"""

from pathlib import Path

_FILES = {
    "/pairsmith/page.js": "text/javascript",
    "/pairsmith/page.css": "text/css",
    "/pairsmith/enter.js": "text/javascript",
}
_ADDED = b'<link rel="stylesheet" href="/pairsmith/page.css"><script defer src="/pairsmith/page.js"></script></head>'
_END = b"</head>"


class AddedToPage:
    """ASGI middleware around Argilla's application."""

    def __init__(self, app):
        self.app = app
        self.files = {
            path: (Path(__file__).with_name(Path(path).name).read_bytes(), kind) for path, kind in _FILES.items()
        }

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD") or scope["path"].startswith("/api/"):
            await self.app(scope, receive, send)
        elif scope["path"] in self.files:
            body, kind = self.files[scope["path"]]
            headers = [(b"content-type", f"{kind}; charset=utf-8".encode()), (b"cache-control", b"no-cache")]
            await _answer(send, 200, headers, body)
        else:
            # Neither packed nor answered by "not modified": the page is small, and is sent with our lines in it.
            page = [item for item in scope["headers"] if item[0] not in _UNASKED] if _is_page(scope) else None
            if page is None:
                await self.app(scope, receive, send)
            else:
                await self.app({**scope, "headers": page}, receive, _Adding(send))


_UNASKED = (b"accept-encoding", b"if-none-match", b"if-modified-since")
_CHANGED = (b"content-length", b"etag", b"last-modified")


def _is_page(scope):
    return any(name == b"accept" and b"text/html" in value for name, value in scope["headers"])


class _Adding:
    """Sends an answer on; one that is HTML is kept until it is whole, and gets our lines."""

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
                headers = [item for item in self.start["headers"] if item[0].lower() not in _CHANGED]
                await _answer(self.send, self.start["status"], headers, self.body.replace(_END, _ADDED, 1))
            return
        await self.send(message)


async def _answer(send, status, headers, body):
    length = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*headers, *length]})
    await send({"type": "http.response.body", "body": body})

"""A loopback HTTP server that receives Argilla's webhooks, and the check of their signatures."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from tests.servers import Handler, handled


class Event(NamedTuple):
    """One call: its headers in lower case, and the body as received."""

    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def signed_with(self, secret: str) -> bool:
        """Whether the signature is that of the Standard Webhooks specification (HMAC of id, time and body)."""
        text = f"{self.headers['webhook-id']}.{self.headers['webhook-timestamp']}.".encode() + self.body
        digest = hmac.digest(base64.b64decode(secret), text, hashlib.sha256)
        return self.headers["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"


@contextmanager
def listener() -> Iterator[tuple[str, list[Event]]]:
    """Yield the address, and the list to which every received event is appended."""
    events: list[Event] = []

    class Listening(Handler):
        def do_POST(self) -> None:
            events.append(Event({name.lower(): value for name, value in self.headers.items()}, self.body()))
            self.reply()

    with handled(Listening) as url:
        yield f"{url}/", events

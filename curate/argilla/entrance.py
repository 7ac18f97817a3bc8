"""The way into Argilla for somebody who is signed in elsewhere: an account, and a token as its own sign-in gives."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from curate.argilla.client import Argilla
from curate.argilla.people import Person, invite, people
from schemas.errors import ReviewError

VALID_S = 24 * 60 * 60  # as Argilla's own tokens are


def member(argilla: Argilla, name: str) -> Person:
    """The account of this name in the workspace, made and let in where it is missing. Nobody learns its password.

    Raises ReviewError, also for an account that may do more than answer: the way in is for those who answer.
    """
    person = _called(argilla, name)
    if person is None or not person.here:
        invited = invite(argilla, [name])
        if invited.problem:
            raise invited.problem
        person = _called(argilla, name)
    if person is None or person.role != "annotator":
        raise ReviewError(
            f"'{name}' is no account that only answers.", where=argilla.url, fix="Sign in there yourself."
        )
    return person


def _called(argilla: Argilla, name: str) -> Person | None:
    return next((person for person in people(argilla) if person.name == name), None)


def address(url: str, secret: str, person: Person, page: str = "/") -> str:
    """Where a browser is signed in as this person, and led to a page. The token stands behind the #, so that no server
    and no log sees it."""
    claims = {"identity": person.id, "name": person.name, "username": person.name, "role": person.role}
    token = _signed({**claims, "exp": int(time.time()) + VALID_S}, secret)
    return f"{url.rstrip('/')}/pairsmith/enter.html?{urlencode({'to': page})}#{token}"


def _signed(claims: Mapping[str, Any], secret: str) -> str:
    """A JSON Web Token, HS256."""
    head, body = (_packed(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims))
    signature = hmac.digest(secret.encode(), head + b"." + body, hashlib.sha256)
    return b".".join((head, body, _packed(signature))).decode()


def _packed(content: bytes) -> bytes:
    return base64.urlsafe_b64encode(content).rstrip(b"=")

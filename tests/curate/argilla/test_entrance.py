"""The way into Argilla for who is signed in elsewhere: a token that the real server takes, of those who only answer."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest

from curate.argilla.client import Argilla
from curate.argilla.entrance import address, member
from curate.argilla.launch import OWNER
from curate.argilla.people import people
from curate.argilla.server import ArgillaServer
from schemas.errors import ReviewError

# A server may have to be started first, which takes minutes on a busy machine.
pytestmark = pytest.mark.timeout(400)


@pytest.fixture
def argilla(argilla_server: ArgillaServer) -> Iterator[Argilla]:
    workspace = f"w-{uuid.uuid4().hex[:8]}"
    with Argilla(argilla_server.url, argilla_server.api_key, workspace, patience_s=30) as connected:
        yield connected


def test_a_person_comes_in_as_themselves(argilla: Argilla, argilla_server: ArgillaServer) -> None:
    """The account is made once and is in the project's workspace; its token is one that Argilla takes, behind the # of
    an address, and one signed with another secret is none."""
    name = f"Ann Lead ({uuid.uuid4().hex[:8]})"
    person = member(argilla, name)
    assert member(argilla, name).id == person.id
    assert [(one.role, one.here) for one in people(argilla) if one.name == name] == [("annotator", True)]
    secret = json.loads(argilla_server.credentials.read_text())["auth_secret"]
    told = urlsplit(address(argilla.url, secret, person, "/dataset/1/annotation-mode"))
    assert (told.path, told.query) == ("/pairsmith/enter.html", "to=%2Fdataset%2F1%2Fannotation-mode")
    assert httpx.get(f"{argilla.url}{told.path}", timeout=60).text.count("enter.js") == 1

    def me(token: str) -> httpx.Response:
        return httpx.get(f"{argilla.url}/api/v1/me", headers={"Authorization": f"Bearer {token}"}, timeout=60)

    assert me(told.fragment).json()["username"] == name
    assert me(urlsplit(address(argilla.url, "0" * 64, person)).fragment).status_code == 401


def test_nobody_comes_in_as_an_owner(argilla: Argilla) -> None:
    """An account that may do more than answer is not entered, whoever is called like it."""
    with pytest.raises(ReviewError, match="no account that only answers"):
        member(argilla, OWNER)

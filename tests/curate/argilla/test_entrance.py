"""Sign-in to Argilla for users who are signed in elsewhere: as themselves, once, and only from the page that requested
it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from curate.argilla.client import Argilla
from curate.argilla.launch import OWNER
from curate.argilla.people import action, code, member, people
from curate.argilla.server import ArgillaServer
from schemas.errors import ReviewError
from tests.curate.argilla.browser_page import needs_browser, open_browser

# A server may have to be started first, which takes minutes on a busy machine.
pytestmark = pytest.mark.timeout(400)

SERVICE = "http://service.test:8000"


@pytest.fixture
def argilla(argilla_server: ArgillaServer) -> Iterator[Argilla]:
    workspace = f"w-{uuid.uuid4().hex[:8]}"
    with Argilla(argilla_server.url, argilla_server.api_key, workspace, patience_s=30) as connected:
        yield connected


def enter(argilla: Argilla, given: str, origin: str | None = SERVICE) -> httpx.Response:
    """Submit the form with a code and return Argilla's response."""
    headers = {"Origin": origin} if origin else {}
    return httpx.post(action(argilla.url), data={"code": given}, headers=headers, timeout=60)


def test_code_signs_a_user_in_once(argilla: Argilla) -> None:
    """The account is created once and added to the project's workspace. A code returns an Argilla token and the
    requested page, and can be used only once."""
    name = f"Ann Lead ({uuid.uuid4().hex[:8]})"
    person = member(argilla, name)
    assert member(argilla, name).id == person.id
    assert [(one.role, one.here) for one in people(argilla) if one.name == name] == [("annotator", True)]
    given = code(argilla, person, origin=SERVICE, page='/dataset/1/annotation-mode?"><script>')
    entered = enter(argilla, given)
    assert entered.status_code == 200
    assert entered.headers["cache-control"] == "no-store"
    assert 'data-page="/dataset/1/annotation-mode?&quot;&gt;&lt;script&gt;"' in entered.text
    token = entered.text.partition('data-token="')[2].partition('"')[0]
    me = httpx.get(f"{argilla.url}/api/v1/me", headers={"Authorization": f"Bearer {token}"}, timeout=60)
    assert me.json()["username"] == name
    again = enter(argilla, given)
    assert (again.status_code, 'data-token=""' in again.text) == (403, True)


@pytest.mark.parametrize("origin", ["https://elsewhere.test", "http://service.test:8001", "null", None])
def test_code_from_another_origin_is_refused(argilla: Argilla, origin: str | None) -> None:
    """A code that comes from a page of another origin, or without an origin, is refused and invalidated."""
    given = code(argilla, member(argilla, f"bob {uuid.uuid4().hex[:8]}"), origin=SERVICE)
    for sent_from in (origin, SERVICE):
        refused = enter(argilla, given, sent_from)
        assert (refused.status_code, 'data-token=""' in refused.text) == (403, True)


def test_codes_are_only_for_annotators_and_local_pages(argilla: Argilla, argilla_server: ArgillaServer) -> None:
    """An account with more rights than an annotator cannot be entered, even by its name. An annotator cannot request
    codes, and the page must be a path on this server."""
    with pytest.raises(ReviewError, match="not an annotator"):
        member(argilla, OWNER)
    owner = next(one for one in people(argilla) if one.name == OWNER)
    with pytest.raises(ReviewError, match="denies this user access"):
        code(argilla, owner, origin=SERVICE)
    person = member(argilla, f"cid {uuid.uuid4().hex[:8]}")
    for page in ("//elsewhere.test", "/\\elsewhere.test", "https://elsewhere.test"):
        with pytest.raises(ReviewError, match="page must be a path"):
            code(argilla, person, origin=SERVICE, page=page)
    theirs = httpx.get(f"{argilla.url}/api/v1/me", headers={"X-Argilla-Api-Key": argilla_server.api_key}, timeout=60)
    assert theirs.json()["role"] == "owner"  # the key with the right to request codes
    own = argilla.call("GET", f"users/{person.id}")["api_key"]
    asked = {"user_id": person.id, "origin": SERVICE, "page": "/"}
    headers = {"X-Argilla-Api-Key": own}
    response = httpx.post(f"{argilla.url}/api/v1/pairsmith/codes", json=asked, headers=headers, timeout=60)
    assert response.status_code == 403


@needs_browser
def test_browser_is_signed_in_only_by_the_requesting_page(argilla: Argilla, tmp_path: Path) -> None:
    """In a real browser, the form on another site's page leaves the user signed out, and the one on the service's page
    signs them in. The final URL contains no token."""
    name = f"dora {uuid.uuid4().hex[:8]}"
    person = member(argilla, name)

    with open_browser(argilla.url, tmp_path, "entrance") as annotator:
        page = annotator.page

        def come_from(origin: str) -> None:
            given = code(argilla, person, origin=SERVICE, page="/datasets")
            form = f'<form method="post" action="{action(argilla.url)}"><input name="code" value="{given}"><button>Go'
            headers = {"Content-Type": "text/html", "Referrer-Policy": "origin"}
            page.route(f"{origin}/", lambda route: route.fulfill(body=form, headers=headers))
            page.goto(f"{origin}/")
            page.get_by_role("button", name="Go").click()

        come_from("http://elsewhere.test:8000")
        page.get_by_text("This sign-in link is no longer valid").wait_for()
        assert page.evaluate("localStorage.getItem('auth._token.local')") is None
        come_from(SERVICE)
        page.wait_for_url(f"{argilla.url}/datasets*")
        page.wait_for_function("localStorage.getItem('auth._token.local')?.startsWith('Bearer ')")
        page.get_by_text("Your datasets").wait_for()
        assert "." not in page.url.partition("/datasets")[2]

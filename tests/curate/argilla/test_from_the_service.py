"""From a page of `pairsmith serve` to the user's queue in a real Argilla, in a real browser."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import argon2
import pytest

pytest.importorskip("fastapi", reason="needs pairsmith[serve]")

from curate.argilla.client import Argilla
from curate.argilla.launch import OWNER
from curate.argilla.people import people
from curate.argilla.server import ArgillaServer
from schemas.records import Counts, Receipt, now
from schemas.store import Store
from tests.curate.argilla.browser_page import needs_browser, open_browser
from tests.serve.conftest import write_project
from tests.serve.site import Site

# A server may have to be started first, which takes minutes on a busy machine.
pytestmark = [pytest.mark.timeout(900), needs_browser]


def test_button_opens_the_users_queue(
    argilla_server: ArgillaServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One click creates the account, records its owner in the store and in the audit log, and ends in Argilla, signed
    in, with JavaScript; without it there is one more button. No token appears in a URL."""
    monkeypatch.setenv("PAIRSMITH_ARGILLA_HOME", str(argilla_server.home))
    workspace = f"w-{uuid.uuid4().hex[:8]}"
    site = Site(tmp_path / "space", "http://127.0.0.1:9", no_auth=False)
    folder = write_project(site.workspace, "kites", site.teacher)
    with (folder / "pairsmith.toml").open("a") as spec:
        spec.write(f'\n[review]\nworkspace = "{workspace}"\n')
    project = site.workspace.project("kites")
    facts = {"url": argilla_server.url, "pages": [f"{argilla_server.url}/datasets"]}
    with Store.open(Store.url_for(project), write=True) as store:
        store.write(
            Receipt(
                command="review push", ok=True, counts=Counts(), seconds=1, started=now(), spec_hash="h", facts=facts
            )
        )
    state = site.app.state
    state.accounts._hasher = argon2.PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
    user = state.accounts.redeem(state.accounts.first_owner_link(), "ann", "four words are good")
    site.start()
    with open_browser("", tmp_path, "from-the-service") as annotator:
        for script in (True, False):
            _enter(annotator.page.context.browser, site, argilla_server.url, script=script)
    site.stop()
    with Argilla(argilla_server.url, argilla_server.api_key, workspace, patience_s=30) as connected:
        mine = [person for person in people(connected) if person.here and person.name != OWNER]
    assert [(person.name, person.role) for person in mine] == [(f"ann ({user[:8]})", "annotator")]
    with Store.open(Store.url_for(project), write=False) as store:
        assert str(mine[0].id) in store.aliases()[f"serve:{user}"]
    lines = state.audit.page(before=None, limit=5, project="kites", user=user, action="page_argilla")
    assert [line["status"] for line in lines] == [200, 200]
    assert all(str(mine[0].id) in line["target"] for line in lines)


def _enter(browser: Any, site: Site, argilla: str, *, script: bool) -> None:
    context = browser.new_context(base_url=site.url, java_script_enabled=script)
    context.set_default_timeout(120_000)
    state = site.app.state
    [user] = [person["id"] for person in state.accounts.users()]
    token = state.sessions.begin(user, address="", agent="")
    context.add_cookies([{"name": "pairsmith", "value": token, "url": site.url, "httpOnly": True}])
    page = context.new_page()
    seen: list[str] = []
    page.on("request", lambda request: seen.append(request.url))
    page.goto("/p/kites/review")
    page.get_by_role("button", name="Open my queue in Argilla").click()
    if not script:
        page.get_by_role("button", name="Continue to Argilla").click()
        page.wait_for_url(f"{argilla}/api/v1/pairsmith/enter")  # Argilla's own page needs JavaScript
        assert 'data-token="ey' in page.content()
        context.close()
        return
    page.wait_for_url(f"{argilla}/datasets*")
    page.get_by_text("Your datasets").wait_for()
    assert not [address for address in seen if "ey" in address.partition("?")[2] + address.partition("#")[2]]
    context.close()

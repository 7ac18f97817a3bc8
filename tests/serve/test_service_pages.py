"""Pages of the service itself: people, the audit, and what is not there."""

from __future__ import annotations

import re
from html import unescape

import pytest

pytest.importorskip("fastapi", reason="needs pairsmith[serve]")

from pairsmith.serve.access import Role
from tests.serve.people import MINE, PASSWORD, Service

HTML = {"Accept": "text/html"}


def test_a_persons_role_is_what_stands_in_its_fields(service: Service) -> None:
    """Who presses *Set* without a choice changes nothing: least of all does an editor become an owner of everything."""
    owner = service.browser("owner")
    accounts, editor = service.app.state.accounts, service.users["editor"]
    page = owner.get("/people").text
    form = page.partition(f'action="/people/{editor}"')[2].partition("</form>")[0]
    chosen = re.findall(r"<option(?: value=\"([^\"]*)\")? selected>([^<]*)", form)
    assert [value or text for value, text in chosen] == ["editor", MINE]
    assert owner.post(f"/people/{editor}", data={"role": "editor", "project": MINE}).status_code == 303
    assert accounts.roles(editor) == {MINE: Role.editor}


def test_a_role_given_on_a_page_is_audited_as_one_given_over_the_api(service: Service) -> None:
    """Whose role it was where, what it was before and what it is now: both doors write the same line."""
    owner, editor = service.browser("owner"), service.users["editor"]
    assert owner.post(f"/people/{editor}", data={"role": "viewer", "project": MINE}).status_code == 303
    line = service.app.state.audit.page(before=None, limit=1, project=MINE, user=None, action="set role")[0]
    assert (line["action"], line["before"], line["after"]) == ("page_set_role", "editor", "viewer")
    assert editor in line["target"]


def test_an_action_is_found_whichever_way_it_was_done(service: Service) -> None:
    """The audit calls it the same on a page and over the API, in words."""
    service.anonymous().post("/api/v1/sign-in", json={"name": "editor", "password": PASSWORD})
    signing = service.anonymous()
    signing.headers["Sec-Fetch-Site"] = "same-origin"
    signing.post("/sign-in", data={"name": "viewer", "password": PASSWORD})
    owner = service.browser("owner")
    for given in ("sign in", "sign_in"):
        page = owner.get("/audit", params={"action": given}).text
        assert len(re.findall(r"<tr><th scope=\"row\">", page)) == 2
        assert "editor" in page
        assert "viewer" in page


def test_what_is_not_there_names_no_address_of_the_api(service: Service) -> None:
    """A person in a browser is sent to the list of projects, whose button stands below."""
    page = unescape(service.browser("editor").get("/p/none", headers=HTML).text)
    assert "There is no project 'none'." in page
    assert "/api/" not in page
    assert 'href="/">All projects' in page

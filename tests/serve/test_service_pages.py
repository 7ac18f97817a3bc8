"""Pages outside projects: users, the audit log, and missing projects."""

from __future__ import annotations

import re
from html import unescape

import pytest

pytest.importorskip("fastapi", reason="needs pairsmith[serve]")

from pairsmith.serve.access import Role
from tests.serve.people import MINE, PASSWORD, Service

HTML = {"Accept": "text/html"}
ROW = b'{"messages": [{"role": "user", "content": "Where?"}, {"role": "assistant", "content": "Here."}]}\n'


def test_role_form_is_prefilled_with_the_current_role(service: Service) -> None:
    """Pressing *Set* without a choice changes nothing; in particular it does not make an editor an owner of
    everything."""
    owner = service.browser("owner")
    accounts, editor = service.app.state.accounts, service.users["editor"]
    page = owner.get("/people").text
    form = page.partition(f'action="/people/{editor}"')[2].partition("</form>")[0]
    chosen = re.findall(r"<option(?: value=\"([^\"]*)\")? selected>([^<]*)", form)
    assert [value or text for value, text in chosen] == ["editor", MINE]
    assert owner.post(f"/people/{editor}", data={"role": "editor", "project": MINE}).status_code == 303
    assert accounts.roles(editor) == {MINE: Role.editor}


def test_projects_are_listed_by_their_titles(service: Service) -> None:
    """Roles and keys are given for a project by its title, with the slug beside it: a title without Latin letters has
    the slug project-1, which says nothing."""
    owner = service.browser("owner")
    service.app.state.accounts.set_title(MINE, "問い合わせ")
    for path in ("/people", "/keys"):
        assert f'<option value="{MINE}">問い合わせ ({MINE})</option>' in owner.get(path).text, path


def test_role_change_on_a_page_is_audited_like_one_over_the_api(service: Service) -> None:
    """The audit line has the user, the project, the old and the new role."""
    owner, editor = service.browser("owner"), service.users["editor"]
    assert owner.post(f"/people/{editor}", data={"role": "viewer", "project": MINE}).status_code == 303
    line = service.app.state.audit.page(before=None, limit=1, project=MINE, user=None, action="set role")[0]
    assert (line["action"], line["before"], line["after"]) == ("page_set_role", "editor", "viewer")
    assert editor in line["target"]


def test_audit_filter_finds_actions_of_pages_and_api(service: Service) -> None:
    """An action has the same name for pages and API, with spaces or underscores."""
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


def test_looking_at_the_downloads_page_is_not_audited_as_a_download(service: Service) -> None:
    """The audit has a line for data that left the service, over OpenAI's API too, and none for the page that offers
    it."""
    editor, program = service.browser("editor"), service.program("editor")
    file = program.post("/v1/files", data={"purpose": "fine-tune"}, files={"file": ("a.jsonl", ROW)}).json()["id"]
    assert program.get(f"/v1/files/{file}/content").content == ROW
    pages = (f"/p/{MINE}/downloads", f"/api/v1/projects/{MINE}/rows/download?format=jsonl")
    assert [editor.get(page).status_code for page in pages] == [200, 200]
    lines = service.app.state.audit.page(before=None, limit=9, project=None, user=None, action=None)
    downloads = [line["action"] for line in lines if "download" in line["action"]]
    assert downloads == ["download_rows", "openai_download_file"]


def test_missing_project_page_shows_no_api_path(service: Service) -> None:
    """A browser user gets a link to the list of projects instead."""
    page = unescape(service.browser("editor").get("/p/none", headers=HTML).text)
    assert "There is no project 'none'." in page
    assert "/api/" not in page
    assert 'href="/">All projects' in page

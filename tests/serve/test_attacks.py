"""Attempts by users with access to exceed their rights; each of them once worked."""

from __future__ import annotations

import html
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

pytest.importorskip("fastapi", reason="needs pairsmith[serve]")

from starlette.testclient import TestClient

from pairsmith.serve import limits
from pairsmith.serve.access import Role
from pairsmith.serve.api.pages import attachment_headers, encode_cursor
from pairsmith.serve.app import schema_of
from pairsmith.serve.workspace import Workspace
from schemas.store import Store
from tests.serve.conftest import Browse
from tests.serve.people import MINE, OTHER, PASSWORD, SPEC, Service, problem, unlimited

HTML = {"Accept": "text/html"}
SPEC_OF = f"/api/v1/projects/{MINE}/spec"


@pytest.fixture(autouse=True)
def _unlimited(monkeypatch: pytest.MonkeyPatch) -> None:
    unlimited(monkeypatch)


def test_refusals_do_not_reveal_projects(service: Service) -> None:
    """A refusal names no project except the requested one, and a hidden project is refused like a missing one."""
    stranger, editor = service.browser("stranger"), service.browser("editor")
    asked = {"name": "k", "role": "viewer", "project": "none"}
    for refused in (stranger.post("/keys", data=asked, headers=HTML), stranger.post("/api/v1/keys", json=asked)):
        assert refused.status_code == 404
        assert not re.search(rf"\b({MINE}|{OTHER})\b", refused.text)
    job = "/v1/fine_tuning/jobs"
    asked = [{"model": "auto", "training_file": f"project:{slug}"} for slug in ("none", OTHER)]
    problems = [problem(editor.post(job, json=each)) for each in asked]
    assert [each["status"] for each in problems] == [404, 404]
    assert problems[0]["fix"] == problems[1]["fix"]


@pytest.mark.parametrize("path", ["/api/v1/sign-in", "/sign-in"])
def test_repeated_sign_in_does_not_reveal_the_session(service: Service, path: str) -> None:
    """An Idempotency-Key does not store the cookie, neither in the database nor for a repeated request."""
    form: dict[str, Any] = {"json" if path.startswith("/api") else "data": {"name": "viewer", "password": PASSWORD}}
    answers = [service.anonymous().post(path, **form, headers={"Idempotency-Key": "a"}) for _ in range(2)]
    token = answers[0].cookies["pairsmith"]
    assert answers[1].status_code == 409
    assert "set-cookie" not in answers[1].headers
    kept = b"".join(file.read_bytes() for file in service.workspace.serve.glob("service.db*"))
    assert token.encode() not in kept


def test_concurrent_spec_updates_are_refused_except_one(service: Service) -> None:
    """The ETag is checked until the file is written, so no change is lost silently."""
    for attempt in range(8):
        etag = service.browser("editor").get(SPEC_OF).json()["etag"]
        clients = [service.browser("editor") for _ in range(4)]
        at_once = threading.Barrier(len(clients))

        def put(client: TestClient, style: str, etag: str = etag, at_once: threading.Barrier = at_once) -> int:
            at_once.wait()
            change = {"set": {"task.style": style}}
            return int(client.put(SPEC_OF, json=change, headers={"If-Match": etag}).status_code)

        with ThreadPoolExecutor(len(clients)) as pool:
            styles = [f"Style {attempt} {number}." for number in range(len(clients))]
            assert sorted(pool.map(put, clients, styles)) == [200, 412, 412, 412]


@pytest.mark.parametrize(
    "change",
    [
        {"text": SPEC.replace("[task]", f"[task]\nseed = {'9' * 5000}")},
        {"set": {"seeds.0": "a text"}},
        {"set": {"seeds.0": ["a list"]}},
        {"set": {"task": "a text"}},
        {"set": {"seeds": "a text"}},
        {"set": {"seeds.0.path.x": "a text"}},
    ],
)
def test_malformed_specs_are_client_errors(service: Service, change: dict[str, Any]) -> None:
    """A number of 5,000 digits, or a text in place of a table, gives a message, not a server error, and nothing is
    stored."""
    before = (service.workspace.folder(MINE) / "pairsmith.toml").read_text()
    answer = service.browser("editor").put(SPEC_OF, json=change, headers={"If-Match": "*"})
    assert problem(answer)["status"] == 422
    assert (service.workspace.folder(MINE) / "pairsmith.toml").read_text() == before


def test_file_with_too_many_rows_is_refused(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """A 50 MB file can have 25 million rows, each of which takes a thousand bytes of memory. The limit applies to every
    kind of upload."""
    monkeypatch.setattr(limits, "UPLOAD_ROWS", 100)
    editor, owner = service.browser("editor"), service.browser("owner")
    many = b"".join(b"%d\n" % number for number in range(101))
    chats = b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n' * 101
    refused = [
        editor.post(f"/api/v1/projects/{MINE}/seeds", files={"file": ("many.txt", many)}),
        owner.post("/v1/files", files={"file": ("many.jsonl", chats)}, data={"purpose": "fine-tune"}),
        owner.post("/new", data={"name": "many", "style": "x"}, files={"file": ("many.txt", many)}, headers=HTML),
    ]
    for answer in refused:
        assert answer.status_code in (400, 422)
        assert "more than 100 rows" in answer.text
    assert service.workspace.projects() == [MINE, OTHER]
    fewer = b"".join(many.splitlines(keepends=True)[:100])
    assert editor.post(f"/api/v1/projects/{MINE}/seeds", files={"file": ("some.txt", fewer)}).status_code == 201


@pytest.mark.parametrize("path", ["/p/%00", "/api/v1/jobs/a%00b", f"/p/{MINE}/rows?q=a%00b"])
def test_zero_byte_in_a_url_is_refused(service: Service, path: str) -> None:
    """No file name can contain it, and PostgreSQL cannot store it."""
    assert service.browser("owner").get(path).status_code == 400


def test_titles_must_be_printable(service: Service) -> None:
    """Titles with a direction override, a line break or a zero byte, which PostgreSQL cannot store, are refused."""
    for title in ("a\0b", "\u202egnp.exe", "two\nlines", " "):
        assert service.browser("editor").patch(f"/api/v1/projects/{MINE}", json={"title": title}).status_code == 422
    assert service.browser("editor").patch(f"/api/v1/projects/{MINE}", json={"title": "Füchse 狐"}).status_code == 200


def test_argilla_queue_is_opened_only_by_our_form(service: Service) -> None:
    """Opening it creates an account, so a link on another site must not do it, and the audit log records it."""
    reviewer = service.browser("reviewer")
    assert reviewer.get(f"/p/{MINE}/review/argilla").status_code == 405
    del reviewer.headers["X-CSRF-Token"]
    assert reviewer.post(f"/p/{MINE}/review/argilla").status_code == 403
    newest = service.app.state.audit.page(before=None, limit=1, project=None, user=None, action=None)[0]
    assert (newest["action"], newest["status"]) == ("page_argilla", 403)


def test_request_id_is_shown_once(service: Service) -> None:
    """Only in the error message."""
    for path in ("/nowhere", f"/p/{MINE}/run/none/log", f"/p/{MINE}"):
        page = service.browser("viewer").get(path, headers=HTML)
        assert page.text.count(page.headers["x-request-id"]) == 1, path


def test_stream_ends_when_its_readers_rights_change(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the reader is signed out, loses the role or gains a project, the stream ends within seconds, and
    reconnecting authenticates again."""
    from pairsmith.serve.api import streams

    monkeypatch.setattr(streams, "_ACCESS_CHECK_S", 0.05)
    state = service.app.state
    with service.anonymous():  # runs jobs, and with them the hub
        for ends in ("session", "role", "project"):
            viewer = service.browser("viewer")
            with viewer.stream("GET", "/api/v1/events") as stream, closing(stream.iter_lines()) as lines:
                assert next(lines) == "retry: 1000"
                if ends == "session":
                    state.sessions.end_all(service.users["viewer"])
                elif ends == "role":
                    state.accounts.set_role(service.users["viewer"], MINE, None)
                else:
                    service.write_project("third")
                    state.accounts.set_role(service.users["viewer"], "third", "viewer")
                assert not [line for line in lines if line.startswith("event")]


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("stat=accepted", "there is no query parameter 'stat' here."),
        ("state=accepted&State=rejected", "there is no query parameter 'State' here."),
        ("state=accepted&state=rejected", "a query parameter is repeated."),
    ],
)
def test_misspelt_filters_are_refused(service: Service, query: str, says: str) -> None:
    """On each GET of the API: an unknown or repeated parameter is refused with the known ones, not ignored, because it
    would give other rows than were asked for. A stranger learns nothing by it."""
    refused = problem(service.program("viewer").get(f"/api/v1/projects/{MINE}/rows?{query}"))
    assert (refused["status"], refused["what"]) == (422, says)
    paths = [path for path, methods in schema_of(service.app)["paths"].items() if "get" in methods]
    api = [path for path in paths if path.startswith("/api/v1/")]
    owner = service.program("owner")
    for path in api:
        url = re.sub("{[^}]+}", "none", path.replace("{project}", MINE))
        assert owner.get(f"{url}?foo=1").status_code in (404, 422), path
    assert len(api) > 25


def test_project_folders_can_have_almost_any_name(service: Service) -> None:
    """A project created on the command line keeps its name in every link and download. A folder whose name would be cut
    off in a URL is not listed, and the server reports it at start."""
    odd = 'Über uns "q"; a&b'
    for name in (odd, "a#b", "100%", "who?"):
        service.write_project(name)
    owner = service.browser("owner")
    assert [project["name"] for project in owner.get("/api/v1/projects").json()["items"]] == [MINE, OTHER, odd]
    assert service.workspace.hidden() == ["100%", "a#b", "who?"]
    links = re.findall(r'href="(/p/[^"]*)"', owner.get("/", headers=HTML).text)
    assert [html.unescape(link) for link in links] == [f"/p/{slug}" for slug in (MINE, OTHER, odd)]
    assert owner.get(f"/p/{odd}", headers=HTML).status_code == 200
    assert attachment_headers(f"{odd}.zip") == {
        "Content-Disposition": "attachment; filename*=utf-8''" + quote(f"{odd}.zip")
    }
    assert attachment_headers("plain.zip") == {"Content-Disposition": 'attachment; filename="plain.zip"'}


@pytest.mark.parametrize(
    "position", [[1, 2**70], [2**70, 1], [True, 1], [1, True], [1e308, 1], [None, None], ["\0", 1]]
)
def test_forged_cursor_is_refused_or_gives_a_page(service: Service, position: list[Any]) -> None:
    """It never causes a server error."""
    cursor = encode_cursor(position)
    project = service.workspace.project(MINE)
    Store.open(Store.url_for(project)).close()
    for sort in ("asked", "best"):
        answer = service.browser("viewer").get(f"/api/v1/projects/{MINE}/rows", params={"cursor": cursor, "sort": sort})
        assert answer.status_code in (200, 400)


def test_key_for_a_hidden_project_is_refused_like_a_missing_one(service: Service) -> None:
    """Requesting a key does not reveal whether a project exists, on the page or over the API."""
    editor = service.browser("editor")
    for path, how in (("/api/v1/keys", "json"), ("/keys", "data")):
        sent = {slug: {"name": "k", "role": "viewer", "project": slug} for slug in (OTHER, "none")}
        answers = {slug: editor.post(path, **{how: form}, headers=HTML) for slug, form in sent.items()}
        assert {answer.status_code for answer in answers.values()} == {404}
        assert "no member" not in answers[OTHER].text
        assert f"there is no project '{OTHER}'" in html.unescape(answers[OTHER].text).lower()


def test_no_role_can_be_given_for_a_missing_project(service: Service) -> None:
    """Otherwise the role would apply to whoever creates a project of that name later."""
    owner, viewer = service.browser("owner"), service.users["viewer"]
    before = service.app.state.accounts.roles(viewer)
    answer = owner.post(f"/people/{viewer}", data={"role": "owner", "project": "to-come"})
    assert answer.status_code == 404
    assert service.app.state.accounts.roles(viewer) == before


def test_names_must_be_printable_and_unique(service: Service) -> None:
    """A key's name with a direction override, line break or zero byte is refused on the page as over the API, and
    nobody can join under an owner's name in capitals."""
    editor, accounts = service.browser("editor"), service.app.state.accounts
    for name in ("a\0b", "\u202egnp.exe", "two\nlines", " "):
        answer = editor.post("/keys", data={"name": name, "role": "viewer", "project": MINE}, headers=HTML)
        assert answer.status_code in (400, 422), name
    for name in ("OWNER", "Owner"):
        token = accounts.invite(MINE, Role.viewer, None)
        refused = service.anonymous().post("/api/v1/redeem", json={"token": token, "name": name, "password": PASSWORD})
        assert problem(refused)["status"] == 409


@pytest.mark.parametrize(
    "asked",
    [
        {"validation_file": "file-1"},
        {"integrations": [{"type": "wandb", "wandb": {"project": "x"}}]},
        {"n_epoch": 3},
        {"suffix": "a\nb"},
        {"hyperparameters": {"learning_rate_multiplier": 1e308}},
        {"hyperparameters": {"learning_rate_multiplier": 0}},
        {"hyperparameters": {"epochs": 3}},
    ],
)
def test_unsupported_fine_tuning_options_are_refused(service: Service, asked: dict[str, Any]) -> None:
    """No option of an OpenAI client is ignored silently, and a misspelt one does not train with the default."""
    line = b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'
    owner = service.browser("owner")
    file = owner.post("/v1/files", files={"file": ("a.jsonl", line)}, data={"purpose": "fine-tune"}).json()["id"]
    refused = owner.post("/v1/fine_tuning/jobs", json={"model": "embedded", "training_file": file, **asked})
    assert refused.status_code in (400, 422)
    assert problem(refused)["what"]
    assert service.workspace.projects() == [MINE, OTHER]


@pytest.mark.parametrize(
    ("step", "form"),
    [
        ("columns", {"source": "x"}),
        ("columns", {"source": "9" * 5000}),
        ("columns", {"source": "-1"}),
        ("checks", {"least_words": "9" * 5000}),
        ("model", {"epochs": "inf"}),
        ("test", {"answer_tokens": "inf"}),
        ("cap", {"max_usd": "NaN"}),
    ],
)
def test_forged_form_values_are_refused_with_a_message(service: Service, step: str, form: dict[str, str]) -> None:
    """A value that our forms never send is a client error, not a server error, and changes nothing."""
    before = (service.workspace.folder(MINE) / "pairsmith.toml").read_text()
    answer = service.browser("owner").post(f"/p/{MINE}/setup/{step}", data=form, headers=HTML)
    assert answer.status_code in (400, 422)
    assert 'class="problem"' in answer.text
    assert (service.workspace.folder(MINE) / "pairsmith.toml").read_text() == before


def test_audit_page_numbers_are_validated(service: Service) -> None:
    """Neither the page nor a cursor may exceed the database's integers."""
    owner = service.browser("owner")
    for before in ("9" * 30, "-1", "x"):
        assert owner.get("/audit", params={"before": before}, headers=HTML).status_code in (400, 422), before
    assert owner.get("/api/v1/audit", params={"cursor": encode_cursor(10**30)}).status_code == 400


def test_head_is_answered_like_get(service: Service) -> None:
    """Monitoring tools send HEAD: it is answered like GET without a body, for a page, an error, a refusal and an
    endless stream."""
    browser = service.browser("owner")
    for path in (
        "/healthz",
        "/",
        "/p/mine",
        "/p/none",
        "/nothing",
        "/api/v1/projects",
        "/static/page.css",
        "/sign-out",
    ):
        asked, whole = browser.head(path), browser.get(path)
        assert (asked.status_code, asked.content) == (whole.status_code, b"")
        assert asked.headers.get("content-length") == whole.headers.get("content-length")
    with browser.stream("HEAD", "/api/v1/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert stream.read() == b""
    assert service.app.state.limits.running("streams") == 0
    assert service.anonymous().head("/api/v1/projects").status_code == 401
    refused = service.browser("owner").get("/api/v1/audit").json()["items"][0]
    assert refused["target"] == "HEAD /api/v1/projects", "the audit log does not record HEAD"


def test_malformed_host_and_origin_headers_are_refused(service: Service, tmp_path: Path, browse: Browse) -> None:
    """Half of an IPv6 address used to cause a server error, with a traceback in the log for each request."""
    local = browse(Workspace(tmp_path / "own"))
    for host in ("[::1", "[", "127.0.0.1]", "@", ""):
        assert local.get("/healthz", headers={"Host": host}).status_code == 400
    for host in ("[::1]:8660", "LOCALHOST"):
        assert local.get("/healthz", headers={"Host": host}).status_code == 200
    for origin in ("http://[::1", "null", "http://", "127.0.0.1"):
        headers = {"Origin": origin, "Sec-Fetch-Site": ""}
        assert local.post("/api/v1/projects", json={"name": "kites"}, headers=headers).status_code == 403


DEEP_RECORD = '{"a": ' * 900 + "1" + "}" * 900
DEEP_SCHEMA = '{"type": "object", "properties": {"a": ' * 300 + '{"type": "null"}' + "}}" * 300


@pytest.mark.parametrize(
    ("schema", "says"),
    [(DEEP_RECORD, "contains no JSON Schema keywords"), (DEEP_SCHEMA, "nested too deeply")],
    ids=["record", "schema"],
)
def test_deep_schema_of_a_new_project_is_refused(service: Service, schema: str, says: str) -> None:
    """With a message on the page; it was a defect of the service (500)."""
    browser = service.browser("owner")
    form = {"name": "deep", "kind": "extract", "schema": schema, "pasted": "Where is it?"}
    refused = browser.post("/new", data=form, headers=HTML)
    assert refused.status_code == 422
    assert says in refused.text


@pytest.mark.parametrize(
    "schema",
    [
        "schema = " + "{properties = {a = " * 400 + "{type = 'null'}" + "}}" * 400,
        "[schema]\nallOf = " + "[{allOf = " * 100 + "[{type = 'null'}]" + "}]" * 100,
    ],
)
def test_deep_schema_of_a_prompt_is_refused(service: Service, schema: str) -> None:
    text = f"+++\nabout = 'x'\nvariables = {{input = 'x'}}\n{schema}\n+++\n=== user ===\n{{{{ input }}}}\n"
    sent = problem(service.browser("editor").post(f"/api/v1/projects/{MINE}/prompts/deep", json={"text": text}))
    assert (sent["status"], sent["what"]) == (422, "its front matter is nested too deeply.")


def test_many_keys_are_set_at_once(service: Service) -> None:
    """The whole file was written again for each key, so that 3,000 took minutes. At most 1,000 may be sent."""
    editor, headers = service.browser("editor"), {"If-Match": "*"}
    labels = {f"task.labels.label-{n}": "x" for n in range(1000)}
    changed = editor.put(f"{SPEC_OF}?check=1", json={"set": {"task.kind": "classify", **labels}}, headers=headers)
    assert changed.status_code == 422, "1,001 keys"
    del labels["task.labels.label-0"]
    changed = editor.put(f"{SPEC_OF}?check=1", json={"set": {"task.kind": "classify", **labels}}, headers=headers)
    assert changed.status_code == 200, changed.text
    assert len(changed.json()["values"]["task"]["labels"]) == 999

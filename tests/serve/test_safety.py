"""Sign-in and refusals: links, sign-in, sessions, keys, cross-site requests, rate limits, uploads, leaks."""

from __future__ import annotations

import gzip
import io
import json
import logging
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient

from pairsmith.commands.serve import check_owner, check_reach
from pairsmith.serve import access, edge, limits, sessions
from pairsmith.serve import accounts as accounts_module
from pairsmith.serve.access import ALL, Role
from pairsmith.serve.limits import Limits, Rate
from pairsmith.serve.problems import Refusal
from pairsmith.serve.settings import Settings
from pairsmith.serve.workspace import Workspace
from schemas.errors import UsageError
from schemas.records import now
from tests.serve.conftest import Browse
from tests.serve.people import MINE, ORIGIN, PASSWORD, Service, problem, unlimited

SAME = {"Sec-Fetch-Site": "same-origin"}


def signed_in(service: Service, name: str) -> tuple[TestClient, Any]:
    client = service.anonymous()
    return client, client.post("/api/v1/sign-in", json={"name": name, "password": PASSWORD}, headers=SAME)


def test_first_owner_link_works_once_and_expires(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Before the first owner there is no account and no password; a used, a superseded and an expired link create no
    account."""
    service = Service(tmp_path / "space")
    request.addfinalizer(service.close)
    accounts, client = service.app.state.accounts, service.anonymous()
    assert not accounts.has_owner()
    old, new = accounts.first_owner_link(), accounts.first_owner_link()
    body = {"name": "ann", "password": PASSWORD}
    assert problem(client.post("/api/v1/redeem", json={"token": old, **body}))["error"]["code"] == "link_not_usable"
    short = client.post("/api/v1/redeem", json={"token": new, "name": "ann", "password": "short"})
    assert problem(short)["error"]["code"] == "password_length"
    answer = client.post("/api/v1/redeem", json={"token": new, **body})
    assert (answer.status_code, answer.json()["roles"]) == (201, {ALL: "owner"})
    assert accounts.has_owner()
    again = service.anonymous().post("/api/v1/redeem", json={"token": new, "name": "eve", "password": PASSWORD})
    assert again.status_code == 404
    late = accounts.invite(MINE, Role.viewer, "x")
    monkeypatch.setattr(accounts_module, "now", lambda: now() + 8 * sessions.IDLE)
    monkeypatch.setattr(accounts_module, "stamp", lambda: "9999")
    with pytest.raises(Refusal, match="has expired"):
        accounts.redeem(late, "bob", PASSWORD)


def test_public_address_is_refused_until_the_service_has_an_owner() -> None:
    """Otherwise whoever opened it first would own it. Without sign-in only local addresses are allowed."""
    check_reach(Settings(no_auth=True))
    check_reach(Settings(host="0.0.0.0"))
    check_owner(Settings(host="127.0.0.2"), has_owner=False)
    check_owner(Settings(host="0.0.0.0"), has_owner=True)
    with pytest.raises(UsageError, match="has no owner yet"):
        check_owner(Settings(host="0.0.0.0"), has_owner=False)
    for host in ("0.0.0.0", "::", "10.0.0.1", "example.org"):
        with pytest.raises(UsageError, match="--no-auth"):
            check_reach(Settings(host=host, no_auth=True))
    with pytest.raises(UsageError, match="proxy"):
        check_reach(Settings(no_auth=True, url="https://x.example"))


def test_session_is_renewed_on_sign_in_and_ends_on_changes_time_and_sign_out(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A planted session token is not adopted, the previous session ends, and so do sessions after a role change, by age
    and on sign-out; changing the password needs a new CSRF token."""
    unlimited(monkeypatch)
    client = service.anonymous()
    client.cookies.set("pairsmith", "planted-by-somebody-else")
    answer = client.post("/api/v1/sign-in", json={"name": "editor", "password": PASSWORD}, headers=SAME)
    first = answer.cookies["pairsmith"]
    assert first != "planted-by-somebody-else"
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=lax" in cookie.lower()
    client.cookies.set("pairsmith", first)
    token = service.app.state.sessions.caller(first).csrf
    again = client.post(
        "/api/v1/sign-in", json={"name": "editor", "password": PASSWORD}, headers={**SAME, "X-CSRF-Token": token}
    )
    assert again.cookies["pairsmith"] != first
    state = service.app.state
    assert state.sessions.caller(first) is None, "the previous session has not ended"
    token = again.cookies["pairsmith"]
    with state.engine.connect() as connection:
        kept = connection.execute(sa.text("SELECT hash FROM sessions")).scalars().all()
    assert token not in kept
    state.accounts.set_role(service.users["editor"], MINE, Role.viewer)
    assert state.sessions.caller(token) is None
    for wait in (sessions.IDLE, sessions.ABSOLUTE):
        token = state.sessions.begin(service.users["editor"], address="", agent="")
        with monkeypatch.context() as later:
            later.setattr(sessions, "now", lambda wait=wait: now() + wait + wait / 100)
            assert state.sessions.caller(token) is None
    browser = service.browser("owner")
    changed = browser.post("/api/v1/me/password", json={"old": PASSWORD, "new": "four other words then"})
    assert changed.status_code == 200
    browser.headers["X-CSRF-Token"] = changed.json()["csrf"]
    assert browser.post("/api/v1/sign-out").status_code == 204
    assert browser.get("/api/v1/me").status_code == 401


def test_cookie_behind_tls_is_bound_to_the_host(tmp_path: Path, browse: Browse) -> None:
    """The cookie has the prefix `__Host-` and `Secure`, and the browser is told to use TLS only (HSTS)."""
    client = browse(Workspace(tmp_path), Settings(url="https://pairs.example"), url="https://pairs.example")
    token = client.app.state.accounts.first_owner_link()
    answer = client.post("/api/v1/redeem", json={"token": token, "name": "ann", "password": PASSWORD})
    assert answer.headers["set-cookie"].startswith("__Host-pairsmith=")
    assert "Secure" in answer.headers["set-cookie"]
    assert "max-age" in answer.headers["strict-transport-security"]
    assert client.get("/api/v1/me").status_code == 200


def test_unknown_names_and_wrong_passwords_get_the_same_answer(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The response does not reveal who has an account."""
    unlimited(monkeypatch)
    tried = [("editor", "wrong password"), ("nobody", PASSWORD)]
    answers = [
        service.anonymous().post("/api/v1/sign-in", json={"name": name, "password": password})
        for name, password in tried
    ]
    bodies = [{k: v for k, v in problem(answer).items() if k != "request_id"} for answer in answers]
    assert bodies[0] == bodies[1]
    assert {answer.status_code for answer in answers} == {401}


def test_five_sign_in_attempts_per_minute(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sixth attempt is refused, even with the correct password, with the seconds to wait."""
    monkeypatch.setattr(service.app.state.limits, "_clock", lambda: 0.0)  # no slot becomes free during the test
    client = service.anonymous()
    wrong = {"name": "editor", "password": "wrong password"}
    statuses = [client.post("/api/v1/sign-in", json=wrong).status_code for _ in range(5)]
    assert statuses == [401] * 5
    refused = client.post("/api/v1/sign-in", json={"name": "editor", "password": PASSWORD})
    assert problem(refused)["status"] == 429
    assert refused.headers["x-should-retry"] == "false"
    assert 1 <= int(refused.headers["retry-after"]) <= 60


def test_rate_limit_refills() -> None:
    """A token bucket: a burst, then as many requests as the rate allows, for each key separately."""
    clock = [0.0]
    held = Limits(lambda: clock[0])
    for _ in range(3):
        held.take("ann", Rate(1.0, 3), "requests")
    with pytest.raises(Refusal) as refused:
        held.take("ann", Rate(1.0, 3), "requests")
    assert refused.value.retry_after_s == 1
    held.take("bob", Rate(1.0, 3), "requests")
    clock[0] = 1.0
    held.take("ann", Rate(1.0, 3), "requests")


def test_requests_are_rate_limited(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each session and key has its own limit."""
    monkeypatch.setattr(limits, "REQUESTS", Rate(0.001, 3))
    browser = service.browser("editor")
    assert [browser.get("/api/v1/me").status_code for _ in range(4)] == [200, 200, 200, 429]
    assert service.browser("viewer").get("/api/v1/me").status_code == 200


FOREIGN = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "none"},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1.evil.example"},
    {},
]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_cross_site_requests_are_refused(service: Service, headers: dict[str, str]) -> None:
    """Browsers send the cookie automatically, so the request's declared origin decides, even if the CSRF token is
    correct."""
    browser = service.browser("editor")
    del browser.headers["Sec-Fetch-Site"]
    sent = browser.patch(f"/api/v1/projects/{MINE}", json={"title": "Taken"}, headers=headers)
    assert problem(sent)["error"]["code"] == "cross_site"
    assert sent.status_code == 403


def test_refused_form_input_is_shown_again_without_javascript(service: Service) -> None:
    """If the session has ended or changed when one of our forms is sent, the error page shows the input as text to
    copy. No secret is repeated, and nothing that another site sent."""
    browser = service.browser("owner")
    del browser.headers["X-CSRF-Token"]
    typed = {"csrf": "abc", "style": "ten minutes <b>of work</b>", "password": "four words", "seen": "x", "input": " "}
    headers = {"accept": "text/html"}
    assert "of work&lt;/b&gt;</textarea>" in browser.post("/p/mine/setup/style", data=typed, headers=headers).text
    browser.cookies.clear()
    page = browser.post("/p/mine/setup/style", data=typed, headers=headers)
    assert page.status_code == 401
    assert ">ten minutes &lt;b&gt;of work&lt;/b&gt;</textarea>" in page.text
    assert page.text.count("<textarea") == 1
    assert "four words" not in page.text
    elsewhere = browser.post("/p/mine/setup/style", data=typed, headers=headers | {"sec-fetch-site": "cross-site"})
    assert elsewhere.status_code == 401
    assert "ten minutes" not in elsewhere.text


@pytest.mark.parametrize(
    "template", sorted((Path(access.__file__).parent / "templates").glob("*.j2")), ids=lambda path: path.name
)
def test_password_fields_are_never_repeated(template: Path) -> None:
    """The names of fields decide what is not repeated, so every password field must have such a name."""
    fields = re.findall(r"<input[^>]*>", template.read_text(encoding="utf-8"))
    names = [name[1] for field in fields if 'type="password"' in field and (name := re.search('name="([^"]*)"', field))]
    assert [name for name in names if not name.endswith(access._HIDDEN)] == []


def test_passwords_tokens_and_codes_are_not_repeated(service: Service) -> None:
    """When the session has ended, the error page may be seen by another person."""
    browser = service.browser("owner")
    browser.cookies.clear()
    secrets = {"old_password": "the present one", "new_password": "four other words", "token": "inv-1", "code": "of-1"}
    for path in ("/settings/password", "/redeem"):
        page = browser.post(path, data={"csrf": "x", **secrets}, headers={"accept": "text/html"}).text
        assert [value for value in secrets.values() if value in page] == []


def test_browser_caches_only_refused_forms(service: Service) -> None:
    """So that the user can go back to them. Pages that show a key or contain a link, pages requested by GET, and API
    responses are never stored."""
    browser = service.browser("owner")
    csrf = {"csrf": browser.headers["X-CSRF-Token"]}
    link = browser.post("/api/v1/invitations", json={"role": "viewer"}).json()["url"]
    stranger = TestClient(service.app, base_url=ORIGIN, headers=SAME, follow_redirects=False)
    asked = [
        browser.post("/p/mine/setup/cap", data={**csrf, "max_usd": "lots"}),
        stranger.post("/sign-in", data={"name": "nobody", "password": PASSWORD}),
        browser.post("/keys", data={**csrf, "name": "a key"}),
        stranger.post("/redeem", data={"token": link.partition("token=")[2], "name": "x", "password": "short"}),
        browser.get("/p/none"),
        browser.post("/api/v1/projects", json={"name": "!"}),
    ]
    assert [answer.status_code for answer in asked] == [400, 401, 200, 422, 404, 422]
    kept = ["private, no-cache"] * 2 + ["no-store"] * 4
    assert [answer.headers["cache-control"] for answer in asked] == kept


def test_changes_need_the_sessions_csrf_token(service: Service) -> None:
    """The token of another session is refused. For old browsers our own Origin is accepted in place of
    Sec-Fetch-Site."""
    browser, other = service.browser("editor"), service.browser("viewer")
    path, body = f"/api/v1/projects/{MINE}", {"title": "Mine"}
    own = browser.headers.pop("X-CSRF-Token")
    for headers in ({}, {"X-CSRF-Token": ""}, {"X-CSRF-Token": other.headers["X-CSRF-Token"]}):
        assert problem(browser.patch(path, json=body, headers=headers))["error"]["code"] == "csrf"
    assert browser.patch(path, json=body, headers={"X-CSRF-Token": own}).status_code == 200
    del browser.headers["Sec-Fetch-Site"]
    assert browser.patch(path, json=body, headers={"X-CSRF-Token": own, "Origin": ORIGIN}).status_code == 200


def test_without_sign_in_other_sites_and_hosts_are_still_refused(tmp_path: Path, browse: Browse) -> None:
    """With `--no-auth` another site cannot make the browser change anything here, nor reach the service by a host name
    of its own (DNS rebinding)."""
    client = browse(Workspace(tmp_path))
    body = {"name": "p1", "example": "release-notes"}
    refused = client.post("/api/v1/projects", json=body, headers={"Origin": "https://evil.example"})
    assert problem(refused)["error"]["code"] == "cross_site"
    assert client.post("/api/v1/projects", json=body).status_code == 201, "a local program was refused"
    for host in ("evil.example", "127.0.0.1.evil.example", "0.0.0.0", ""):
        assert problem(client.get("/api/v1/me", headers={"Host": host}))["error"]["code"] == "wrong_host"
    for host in ("localhost:8660", "127.0.0.1", "[::1]:8660"):
        assert client.get("/api/v1/me", headers={"Host": host}).status_code == 200


def test_keys_ignore_cookies_and_can_expire_or_be_revoked(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong key with a valid cookie is refused; a revoked, an expired and a modified key give no access; a key is
    shown once and only its hash is stored."""
    unlimited(monkeypatch)
    browser = service.browser("editor")
    assert browser.get("/api/v1/me", headers={"Authorization": "Bearer ps_x"}).status_code == 401
    created = browser.post("/api/v1/keys", json={"name": "ci", "role": "editor", "project": MINE})
    key = created.json()["key"]
    assert re.fullmatch(r"ps_[a-z0-9]{8}_[A-Za-z0-9_-]{43}", key)
    assert key not in browser.get("/api/v1/keys").text
    assert key.encode() not in (service.workspace.serve / "service.db").read_bytes()
    program = service.anonymous()
    program.headers["Authorization"] = f"Bearer {key}"
    assert program.get("/api/v1/me").json()["key"] == created.json()["id"]
    assert program.patch(f"/api/v1/projects/{MINE}", json={"title": "T"}).status_code == 200, "needs no CSRF token"
    assert program.post("/api/v1/keys", json={"name": "more", "role": "viewer", "project": MINE}).status_code == 403
    too_much = browser.post("/api/v1/keys", json={"name": "all", "role": "owner"})
    assert problem(too_much)["error"]["code"] == "not_allowed"
    changed = key[:-1] + ("A" if key[-1] != "A" else "B")
    assert program.get("/api/v1/me", headers={"Authorization": f"Bearer {changed}"}).status_code == 401
    with service.app.state.engine.begin() as connection:
        connection.execute(sa.text("UPDATE keys SET expires = '2000'"))
    assert program.get("/api/v1/me").status_code == 401
    with service.app.state.engine.begin() as connection:
        connection.execute(sa.text("UPDATE keys SET expires = NULL"))
    assert program.get("/api/v1/me").status_code == 200
    assert browser.delete(f"/api/v1/keys/{created.json()['id']}").status_code == 204
    assert program.get("/api/v1/me").status_code == 401


def test_last_owner_cannot_be_removed(service: Service) -> None:
    """Otherwise everyone would be locked out."""
    owner, user = service.browser("owner"), service.users["owner"]
    for answer in (
        owner.put(f"/api/v1/users/{user}/role", json={"project": ALL, "role": "viewer"}),
        owner.put(f"/api/v1/users/{user}/role", json={"project": ALL, "role": None}),
        owner.delete(f"/api/v1/users/{user}"),
    ):
        assert problem(answer)["error"]["code"] == "last_owner"
    assert owner.get("/api/v1/users").status_code == 200


def test_closed_account_loses_access(service: Service) -> None:
    """Its sessions and keys end at once, and it cannot sign in."""
    browser, program = service.browser("editor"), service.program("editor", project=MINE)
    assert service.browser("owner").delete(f"/api/v1/users/{service.users['editor']}").status_code == 204
    assert browser.get("/api/v1/me").status_code == 401
    assert program.get("/api/v1/me").status_code == 401
    assert signed_in(service, "editor")[1].status_code == 401


def test_audit_log_has_changes_and_refusals_and_is_append_only(service: Service) -> None:
    """Each line has the user, action and project, with the hashes of a spec before and after; the database refuses to
    change or delete a line."""
    editor = service.browser("editor")
    spec = editor.get(f"/api/v1/projects/{MINE}/spec")
    put = editor.put(
        f"/api/v1/projects/{MINE}/spec", json={"set": {"train.epochs": 1}}, headers={"If-Match": spec.headers["etag"]}
    )
    assert put.status_code == 200
    assert service.browser("viewer").delete(f"/api/v1/projects/{MINE}").status_code == 403
    lines = service.browser("owner").get("/api/v1/audit").json()["items"]
    by_action = {line["action"]: line for line in lines}
    written = by_action["put_spec"]
    assert (written["name"], written["project"], written["status"]) == ("editor", MINE, 200)
    assert written["before"] == spec.headers["etag"].strip('"')
    assert written["after"] == put.headers["etag"].strip('"')
    assert (by_action["delete_project"]["name"], by_action["delete_project"]["status"]) == ("viewer", 403)
    for change in ("UPDATE audit SET status = 200", "DELETE FROM audit"):
        with pytest.raises(sa.exc.IntegrityError, match="append-only"), service.app.state.engine.begin() as connection:
            connection.execute(sa.text(change))


def test_security_headers_are_on_every_response(service: Service) -> None:
    """Pages, API and errors alike; the content security policy has no `unsafe-`."""
    browser = service.browser("owner")
    for path in ("/", "/healthz", "/api/v1/me", "/nowhere", "/api/v1/projects/none", "/sign-in"):
        answer = browser.get(path)
        for name, value in edge.SECURITY_HEADERS.items():
            assert answer.headers[name] == value, (path, name)
        assert answer.headers["x-request-id"]
    assert "unsafe-" not in edge.CSP


def test_internal_error_shows_no_traceback(
    service: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The user gets a request id, under which the log has the details."""

    def broken(*_: object) -> None:
        raise RuntimeError("canary-of-the-inside")

    monkeypatch.setattr(service.app.state.workspace.__class__, "projects", broken)
    with caplog.at_level(logging.ERROR):
        answer = service.browser("owner").get("/api/v1/projects")
    assert answer.status_code == 500
    assert "canary" not in answer.text
    assert problem(answer)["request_id"] in caplog.text
    assert "canary" in caplog.text


BOMBS = [
    ("nested.jsonl", b'{"text": ' + b"[" * 200_000 + b"]" * 200_000 + b"}"),
    ("utf16.txt", "a kettle\na lamp\n".encode("utf-16")[:-1]),
    ("wide.csv", b"a," * 1_000_000 + b"\n" + b"b," * 1_000_000 + b"\n"),
    ("bom.csv", b"\xef\xbb\xbfwrong\n1\n"),
    ("bytes.txt", bytes(range(256)) * 100),
    ("empty.jsonl", b""),
    ("archive.jsonl", b"PK\x03\x04" + b"\0" * 1000),
    ("fake.parquet", b"PAR1" + b"\0" * 1000),
    ("number.json", b"9" * 100_000),
    ("damaged.csv.gz", gzip.compress(b"text\na fox\n")[:-6]),
    ("twice.csv.gz", gzip.compress(gzip.compress(b"text\na fox\n"))),
]


@pytest.mark.parametrize(("name", "content"), BOMBS, ids=[name for name, _ in BOMBS])
def test_uploads_that_are_not_seeds_are_refused_with_a_message(service: Service, name: str, content: bytes) -> None:
    """Nothing of them is stored, and the spec stays unchanged."""
    folder = service.workspace.folder(MINE)
    before = (folder / "pairsmith.toml").read_bytes()
    sent = service.browser("editor").post(f"/api/v1/projects/{MINE}/seeds", files={"file": (name, io.BytesIO(content))})
    assert sent.status_code == 422, sent.text
    problem(sent)
    assert str(service.workspace.root) not in sent.text
    assert (folder / "pairsmith.toml").read_bytes() == before
    assert not (folder / "seeds" / name).exists()


def test_a_compressed_upload_is_stored_unpacked(service: Service) -> None:
    """The limit holds for what is inside, so that a small file cannot fill the disk."""
    browser, folder = service.browser("editor"), service.workspace.folder(MINE)

    def send(content: bytes) -> Any:
        file = {"file": ("more.csv.GZ", io.BytesIO(gzip.compress(content)))}
        return browser.post(f"/api/v1/projects/{MINE}/seeds", files=file)

    sent = send(b"text\na fox\nan owl\n")
    assert (sent.status_code, sent.json()["path"], sent.json()["rows"]) == (201, "seeds/more.csv", 2), sent.text
    assert (folder / "seeds" / "more.csv").read_bytes() == b"text\na fox\nan owl\n"
    refused = send(b"text\n" + b"x" * limits.UPLOAD_BYTES)
    assert refused.status_code == 413, refused.text
    assert "the unpacked file is larger than 50 MB" in problem(refused)["what"]


NAMES = [
    "../evil.txt",
    "/etc/cron.d/x.txt",
    "..\\x.txt",
    "x.py",
    "x.zip",
    ".hidden.txt",
    "a\0.txt",
    "x.txt/../y",
    "é.txt",
]


@pytest.mark.parametrize("name", NAMES)
def test_upload_names_must_be_plain(service: Service, name: str) -> None:
    """Paths, code and archives are refused."""
    sent = service.browser("editor").post(f"/api/v1/projects/{MINE}/seeds", data={"text": "a", "name": name})
    assert problem(sent)["status"] == 422


def test_compressed_file_with_too_much_content_is_not_read(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Parquet file's metadata gives its uncompressed size, which is checked before unpacking."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from pairsmith.serve.api import seeds

    monkeypatch.setattr(seeds, "_MAX_UNCOMPRESSED", 1_000_000)
    content = io.BytesIO()
    pq.write_table(pa.table({"text": ["x" * 1000] * 5000}), content, use_dictionary=False, compression="zstd")
    assert len(content.getvalue()) < 100_000
    browser, files = service.browser("editor"), {"file": ("x.parquet", content.getvalue())}
    sent = problem(browser.post(f"/api/v1/projects/{MINE}/seeds", files=files))
    assert (sent["status"], sent["fix"]) == (413, "Split it into several files.")
    assert browser.post(f"/p/{MINE}/setup/seeds", files=files).status_code == 413


def test_spreadsheet_is_named_as_one(service: Service) -> None:
    """The API says how to convert it, as the pages do, and not that its name is wrong."""
    sent = service.browser("editor").post(f"/api/v1/projects/{MINE}/seeds", files={"file": ("x.xlsx", b"PK\x03\x04")})
    assert "is a spreadsheet" in problem(sent)["what"]
    assert "CSV UTF-8" in problem(sent)["fix"]


def test_request_bodies_and_projects_are_limited_in_size(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """At most 1 MB per body, checked before and while it is received; less without a session; and a quota per
    project."""
    from pairsmith.serve.api import seeds

    browser = service.browser("editor")
    big = b'{"text": "' + b"x" * 1_100_000 + b'"}'
    headers = {"Content-Type": "application/json", "If-Match": "*"}
    path = f"/api/v1/projects/{MINE}/spec"
    assert problem(browser.put(path, content=big, headers=headers))["status"] == 413
    refused = problem(browser.put(path, content=big, headers=headers))
    assert (refused["what"], bool(refused["fix"])) == ("requests of more than 1 MB are not accepted.", True)
    assert problem(browser.put(path, content=iter([big]), headers=headers))["status"] == 413
    anonymous = service.anonymous()
    for content in (b"x" * 100_000, iter([b"x" * 50_000] * 2)):
        sent = anonymous.post("/api/v1/sign-in", content=content, headers={"Content-Type": "application/json"})
        assert problem(sent)["status"] == 413
    monkeypatch.setattr(seeds.limits, "PROJECT_BYTES", 500)
    full = browser.post(f"/api/v1/projects/{MINE}/seeds", data={"text": "x " * 300, "name": "more.txt"})
    assert problem(full)["error"]["code"] == "quota"


SCRIPT = "<script>alert(1)</script><img src=x onerror=alert(1)>{{7*7}}"


def test_markup_in_texts_is_escaped_on_every_page(service: Service) -> None:
    """Markup in seeds, titles and names is shown as text, and the report is served in a sandbox."""
    browser = service.browser("editor")
    assert browser.patch(f"/api/v1/projects/{MINE}", json={"title": SCRIPT}).status_code == 200
    assert browser.post(f"/api/v1/projects/{MINE}/seeds", data={"text": SCRIPT, "name": "x.txt"}).status_code == 201
    for path in (
        "/",
        f"/p/{MINE}",
        f"/p/{MINE}/setup",
        f"/p/{MINE}/rows?q={SCRIPT}",
        f"/p/{SCRIPT}",
        "/sign-in?next=//x",
    ):
        page = browser.get(path, follow_redirects=True)
        assert page.headers["content-type"].startswith(("text/html", "application/problem+json")), path
        if page.headers["content-type"].startswith("text/html"):
            assert "<script>alert" not in page.text, path
            assert "<img src=x" not in page.text, path
    report = service.workspace.folder(MINE) / "report.html"
    report.write_text(f"<html>{SCRIPT}</html>")
    shown = browser.get(f"/api/v1/projects/{MINE}/report")
    assert shown.headers["content-security-policy"].startswith("sandbox;")
    assert "script-src" not in shown.headers["content-security-policy"]


def test_secrets_are_stored_only_as_hashes(
    service: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Canaries for a password, a key, a session token, an invitation and a teacher's key are searched in every file of
    the workspace, in the log and in every response after the one that showed them."""
    unlimited(monkeypatch)
    monkeypatch.setenv("OPENAI_API_KEY", "canary-teacher-key-7431")
    caplog.set_level(logging.DEBUG)
    owner = service.browser("owner")
    link = owner.post("/api/v1/invitations", json={"role": "viewer"}, headers={"Idempotency-Key": "i1"}).json()["url"]
    token = link.partition("token=")[2]
    secret = "canary password with words"
    guest = service.anonymous()
    assert guest.post("/api/v1/redeem", json={"token": token, "name": "guest", "password": secret}).status_code == 201
    created = owner.post("/api/v1/keys", json={"name": "k", "role": "owner"}, headers={"Idempotency-Key": "k1"}).json()
    session = owner.cookies["pairsmith"]
    teachers = owner.get("/api/v1/teachers").json()
    assert any(row["set"] for row in teachers["items"])
    answers = [owner.get(path).text for path in ("/api/v1/keys", "/api/v1/audit", "/api/v1/sessions", "/metrics", "/")]
    canaries = [token, secret, created["key"], session, guest.cookies["pairsmith"], "canary-teacher-key-7431"]
    service.app.state.engine.dispose()
    with closing(sqlite3.connect(service.workspace.serve / "service.db", timeout=60)) as database:
        database.execute("VACUUM INTO ?", (str(service.workspace.root / "backup.db"),))
    held = {str(path): path.read_bytes() for path in service.workspace.root.rglob("*") if path.is_file()}
    held |= {
        "log": caplog.text.encode(),
        "answers": "".join(answers).encode(),
        "teachers": json.dumps(teachers).encode(),
    }
    leaks = [(where, canary[:12]) for where, body in held.items() for canary in canaries if canary.encode() in body]
    assert not leaks
    print(f"{len(canaries)} canaries, {len(held)} places, 0 found")

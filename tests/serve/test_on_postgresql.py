"""The whole service on a real PostgreSQL: what is stored there, and what only that database refuses."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

pytest.importorskip("fastapi", reason="needs pairsmith[serve]")

from bench.service.postgres import Postgres, programs
from pairsmith.serve.access import Role
from pairsmith.serve.database import open_database
from pairsmith.serve.settings import Settings
from pairsmith.serve.workspace import Workspace
from tests.serve.conftest import write_project
from tests.serve.people import MINE, PASSWORD, Service, problem, staffed, unlimited
from tests.serve.served import Served
from tests.synth.loopback import LoopbackTeacher

CHAT = b'{"messages": [{"role": "user", "content": "a b"}, {"role": "assistant", "content": "c d"}]}\n'


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    if programs() is None:
        pytest.skip("PostgreSQL's programs are not on this machine")
    with Postgres() as server:
        yield server


@pytest.fixture(scope="module")
def service(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("space") / "space"
    with closing(staffed(folder, Settings(database_url=postgres.url))) as service:
        yield service


def test_invitations_sessions_and_role_changes(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link creates an account once, a password starts a session, and removing the role ends it. A zero byte, which
    PostgreSQL cannot store, is refused with a client error wherever it is entered."""
    unlimited(monkeypatch)
    accounts = service.app.state.accounts
    link = {"token": accounts.invite(MINE, Role.viewer, None), "name": "new", "password": PASSWORD}
    answers = [service.anonymous().post("/api/v1/redeem", json=link).status_code for _ in range(2)]
    assert answers == [201, 404]
    signed = service.anonymous()
    assert signed.post("/api/v1/sign-in", json={"name": "new", "password": PASSWORD}).status_code == 200
    assert signed.get(f"/api/v1/projects/{MINE}").status_code == 200
    user = next(row["id"] for row in accounts.users() if row["name"] == "new")
    accounts.set_role(user, MINE, None)
    assert signed.get(f"/api/v1/projects/{MINE}").status_code == 401
    editor = service.browser("editor")
    for path in ("/p/a%00b", f"/p/{MINE}/rows?q=a%00b", "/audit?action=a%00b"):
        assert editor.get(path).status_code == 400
    for path, form in (("/keys", {"name": "a\0b", "project": MINE}), ("/sign-in", {"name": "a\0b", "password": "x"})):
        assert 400 <= editor.post(path, data=form, headers={"Accept": "text/html"}).status_code < 500


def test_concurrent_posts_with_one_idempotency_key_have_one_effect(service: Service) -> None:
    """Of eight simultaneous posts one has an effect; the others get its response, or are told that it is not ready yet.
    A response with a secret is not stored."""
    owner = service.browser("owner")
    at_once = threading.Barrier(8)

    def post(_: int) -> int:
        at_once.wait()
        form = {"files": {"file": ("a.jsonl", CHAT)}, "data": {"purpose": "fine-tune"}}
        sent = owner.build_request("POST", "/v1/files", **form)
        sent.headers["Idempotency-Key"] = "once"
        return int(owner.send(sent).status_code)

    with ThreadPoolExecutor(8) as pool:
        codes = set(pool.map(post, range(8)))
    assert codes <= {200, 409, 422}, "unexpected status (another form boundary is another body)"
    assert len(owner.get("/v1/files").json()["data"]) == 1
    key = {"name": "ci", "role": "viewer", "project": MINE}
    responses = [owner.post("/api/v1/keys", json=key, headers={"Idempotency-Key": "key"}) for _ in range(2)]
    assert [answer.status_code for answer in responses] == [201, 409]
    program = service.anonymous()
    program.headers["Authorization"] = f"Bearer {responses[0].json()['key']}"
    assert program.get(f"/api/v1/projects/{MINE}").status_code == 200
    with service.app.state.engine.connect() as connection:
        kept = connection.execute(sa.text("SELECT * FROM answers")).all()
    assert responses[0].json()["key"] not in str([list(map(str, row)) for row in kept])


def test_audit_log_is_append_only(service: Service, postgres: Postgres) -> None:
    """The database refuses to change or delete a line, with an error; even where an earlier version had created rules
    that ignored such changes silently."""
    engine = service.app.state.engine
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE RULE audit_no_update AS ON UPDATE TO audit DO INSTEAD NOTHING"))
    open_database(service.workspace.serve, postgres.url).dispose()
    assert service.browser("viewer").delete(f"/api/v1/projects/{MINE}").status_code == 403
    lines = service.browser("owner").get("/api/v1/audit").json()["items"]
    assert any((line["action"], line["status"]) == ("delete_project", 403) for line in lines)
    for change in ("UPDATE audit SET status = 200", "DELETE FROM audit", "TRUNCATE audit"):
        with pytest.raises(sa.exc.DBAPIError, match="append-only"), engine.begin() as connection:
            connection.execute(sa.text(change))
    assert len(service.browser("owner").get("/api/v1/audit").json()["items"]) >= len(lines)


def test_second_job_is_refused_and_the_first_can_be_stopped(service: Service) -> None:
    """Jobs are in the same database, and pages read them there."""
    owner, path = service.browser("owner"), f"/api/v1/projects/{MINE}/jobs"
    first = owner.post(path, json={"command": "curate"})
    assert first.status_code == 202
    assert problem(owner.post(path, json={"command": "train"}))["status"] == 409
    assert "queued" in owner.get(f"/p/{MINE}").text.lower()
    assert owner.post(f"/api/v1/jobs/{first.json()['id']}/cancel").json()["state"] == "stopped"


def test_server_runs_a_job_with_postgresql(postgres: Postgres, tmp_path: Path, teacher: LoopbackTeacher) -> None:
    """With `pairsmith serve --database URL`, a job requested over HTTP runs to its end and is still listed by the next
    server; the workspace contains no database of accounts or jobs."""
    workspace = Workspace(tmp_path / "space")
    write_project(workspace, "tiny", teacher.url)
    with Served(tmp_path / "space", "--database", postgres.url) as server:
        server.ask("/api/v1/teachers/allowed", {"url": teacher.url})
        job = server.ask("/api/v1/projects/tiny/jobs", {"command": "generate"})["id"]
        assert server.job(job, "done", "failed")["state"] == "done"
        server.stop()
    with Served(tmp_path / "space", "--database", postgres.url) as server:
        assert [job["state"] for job in server.ask("/api/v1/projects/tiny/jobs")["items"]] == ["done"]
        assert server.ask("/api/v1/projects/tiny/rows")["total"] == 24
    assert not list(workspace.serve.glob("*.db"))

"""The API: specs with ETags that keep their comments, seeds, prompts, cursor pagination, idempotency, problem
responses, jobs."""

from __future__ import annotations

import codecs
import csv
import fcntl
import io
import json
import os
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest

from pairsmith.serve import problems
from pairsmith.serve.access import ALL, Role
from pairsmith.serve.job import ProjectBusy
from pairsmith.serve.network import resolve
from pairsmith.serve.problems import STATUS, Refusal, status_of
from pairsmith.serve.workspace import NoSuchProject
from schemas import errors
from schemas.errors import PairsmithError, SpecError, StoreBusy
from schemas.spec import SeedSource
from synth.sources.seeds import read_seeds
from tests.serve.people import MINE, SPEC, Service, problem, staffed, unlimited


@pytest.fixture(autouse=True)
def _unlimited(monkeypatch: pytest.MonkeyPatch) -> None:
    unlimited(monkeypatch)


def test_spec_update_needs_the_current_etag_and_keeps_comments(service: Service) -> None:
    """Concurrent edits do not overwrite each other; untouched parts stay, including comments; `check` writes
    nothing."""
    editor, path = service.browser("editor"), f"/api/v1/projects/{MINE}/spec"
    file = service.workspace.folder(MINE) / "pairsmith.toml"
    read = editor.get(path)
    assert read.json()["text"] == SPEC
    assert editor.get(path, headers={"Accept": "application/toml"}).text == SPEC
    change = {"set": {"train.epochs": 2}}
    assert problem(editor.put(path, json=change))["status"] == 428
    checked = editor.put(path, json=change, params={"check": "1"})
    assert checked.json()["values"]["train"]["epochs"] == 2
    assert file.read_text() == SPEC
    put = editor.put(path, json=change, headers={"If-Match": f'"an older one", {read.headers["etag"]}'})
    assert put.headers["etag"] == editor.get(path).headers["etag"] != read.headers["etag"]
    assert "# The teacher is here." in file.read_text()
    late = editor.put(path, json={"set": {"train.epochs": 3}}, headers={"If-Match": read.headers["etag"]})
    assert problem(late)["status"] == 412
    wrong = problem(editor.put(path, json={"set": {"train.epochz": 3}}, headers={"If-Match": "*"}))
    assert wrong["errors"][0]["pointer"] == "/train/epochz"
    assert wrong["errors"][0]["line"] > 1
    assert "epochs" in wrong["fix"]
    assert wrong["where"].startswith(f"{MINE}/pairsmith.toml:"), "the message shows the server's own path"
    assert problem(editor.put(path, json={"text": SPEC, "set": {}}, headers={"If-Match": "*"}))["status"] == 422


def test_fenced_keys_are_refused_to_editors_and_allowed_to_owners(service: Service) -> None:
    """The policy applies to every change of a spec, and again when a job starts."""
    path = f"/api/v1/projects/{MINE}/spec"
    for key, value in (
        ("budget.max_usd", 5.0),
        ("teacher.url", "http://anywhere.example/v1"),
        ("seeds.0.path", "/etc/passwd"),
        ("curate.gates.user", ["gates:ours"]),
    ):
        refused = service.browser("editor").put(path, json={"set": {key: value}}, headers={"If-Match": "*"})
        assert problem(refused)["error"]["code"] == "fenced", key
        assert problem(refused)["where"] == key
    owner = service.browser("owner")
    assert owner.put(path, json={"set": {"budget.max_usd": 5.0}}, headers={"If-Match": "*"}).status_code == 200
    allowed = owner.post("/api/v1/teachers/allowed", json={"url": "https://good.example", "key_env": "GOOD_KEY"})
    assert allowed.status_code == 201
    keys = {"teacher.url": "https://good.example/v1", "teacher.key_env": "GOOD_KEY"}
    assert service.browser("editor").put(path, json={"set": keys}, headers={"If-Match": "*"}).status_code == 200
    gone = owner.delete("/api/v1/teachers/allowed", params={"host": "good.example:443", "key_env": "GOOD_KEY"})
    assert gone.status_code == 204
    job = service.browser("editor").post(f"/api/v1/projects/{MINE}/jobs", json={"command": "generate"})
    assert problem(job)["error"]["code"] == "fenced", "the policy was not checked before the job"


def test_the_pages_save_through_the_same_policy(service: Service) -> None:
    """The forms of the pages cannot set anything that the API refuses."""
    editor = service.browser("editor")
    token = editor.headers["X-CSRF-Token"]
    file = service.workspace.folder(MINE) / "pairsmith.toml"
    for step, form in (
        ("teacher", {"teacher": "other", "url": "http://169.254.169.254/v1", "model": "m"}),
        ("teacher", {"teacher": "other", "url": "http://anywhere.example/v1", "model": "m", "key_env": "HOME"}),
        ("cap", {"max_usd": "100000"}),
    ):
        page = editor.post(f"/p/{MINE}/setup/{step}", data={"csrf": token, **form})
        assert page.status_code in (400, 403), (step, form)
        assert file.read_text() == SPEC


def test_seed_files_are_checked_added_to_the_spec_and_removed(service: Service) -> None:
    """A file is stored only if all of it can be parsed; rows that cannot be used are reported by line."""
    editor, path = service.browser("editor"), f"/api/v1/projects/{MINE}/seeds"
    lines = b'{"text": "a vase"}\n{"text": ""}\n{"text": "a bowl"}\n'
    sent = editor.post(path, files={"file": ("more.jsonl", lines)})
    assert sent.status_code == 201
    assert (sent.json()["rows"], sent.json()["kinds"]) == (3, {"input": 2})
    assert sent.json()["problems"][0]["where"].endswith(":2")
    folder = service.workspace.folder(MINE)
    assert (folder / "seeds/more.jsonl").read_bytes() == lines
    assert "# The teacher is here." in (folder / "pairsmith.toml").read_text()
    assert [item["path"] for item in editor.get(path).json()["items"]] == ["seeds.jsonl", "seeds/more.jsonl"]
    assert editor.delete(f"{path}/more.jsonl").status_code == 204
    assert not (folder / "seeds/more.jsonl").exists()
    assert [item["path"] for item in editor.get(path).json()["items"]] == ["seeds.jsonl"]
    assert editor.delete(f"{path}/more.jsonl").status_code == 404


def test_listing_seeds_reads_a_file_once(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list of 100,000 seeds took two seconds of CPU each time. A changed file, or other settings, are read again."""
    reads: list[str] = []

    def counted(sources: Sequence[SeedSource], *given: Any, **more: Any) -> Any:
        reads.extend(source.path for source in sources)
        return read_seeds(sources, *given, **more)

    monkeypatch.setattr("pairsmith.serve.api.seeds.read_seeds", counted)
    editor, path = service.browser("editor"), f"/api/v1/projects/{MINE}/seeds"
    first = editor.get(path).json()
    assert editor.get(path).json() == first
    assert reads == ["seeds.jsonl"]
    file = service.workspace.folder(MINE) / "seeds.jsonl"
    file.write_text(file.read_text() + '{"text": "one more"}\n')
    assert editor.get(path).json()["items"][0]["rows"] == first["items"][0]["rows"] + 1
    assert editor.get(path).status_code == 200
    assert len(reads) == 2
    times = (file.stat().st_atime_ns, file.stat().st_mtime_ns)
    file.write_text(file.read_text().replace("one more", "ONE MORE"))
    os.utime(file, ns=times)  # as a copy that keeps times does
    assert "ONE MORE" in editor.get(path).text


def test_downloads_are_not_sent_row_by_row() -> None:
    """Each chunk goes through a thread: 100,000 of them took thirteen seconds of CPU."""
    from pairsmith.serve.api.row_files import csv_lines, jsonl
    from pairsmith.serve.rows_projection import COLUMNS
    from pairsmith.serve.rows_view import RowView

    values: dict[str, Any] = dict.fromkeys(COLUMNS, "")
    rows = [RowView(**{**values, "input": f"text {number}"}) for number in range(5_000)]
    lines, sheet = list(jsonl(rows)), list(csv_lines(rows))
    assert max(len(lines), len(sheet)) <= 20
    assert len(b"".join(lines).splitlines()) == len("".join(sheet).splitlines()) - 1 == 5_000


def test_example_seeds_of_a_kind_can_be_removed(service: Service) -> None:
    """They are in a file beside the spec. The list named it, but the delete call did not know it, so projects with
    their own seeds were trained on both."""
    owner, path = service.browser("owner"), "/api/v1/projects/orders/seeds"
    assert owner.post("/api/v1/projects", json={"name": "orders", "kind": "extract"}).status_code == 201
    assert owner.post(path, files={"file": ("own.txt", b"2 boxes\n3 lamps\n")}).status_code == 201
    assert [item["path"] for item in owner.get(path).json()["items"]] == ["seeds.jsonl", "seeds/own.txt"]
    assert owner.delete(f"{path}/seeds.jsonl").status_code == 204
    assert [item["path"] for item in owner.get(path).json()["items"]] == ["seeds/own.txt"]
    assert owner.delete(f"{path}/seeds.jsonl").status_code == 404


def test_saved_prompts_are_new_versions(service: Service) -> None:
    """Saving never overwrites a version, starts no job and leaves the spec unchanged. An invalid prompt is refused with
    the number of the wrong line."""
    editor, path = service.browser("editor"), f"/api/v1/projects/{MINE}/prompts"
    spec = service.workspace.folder(MINE) / "pairsmith.toml"
    before = spec.read_bytes()
    text = editor.get(f"{path}/enhance/v1").json()["text"]
    response = editor.post(f"{path}/enhance", json={"text": text})
    assert response.status_code == 201
    number = int(response.json()["version"][1:])
    again = editor.post(f"{path}/enhance", json={"text": text})
    assert again.json()["version"] == f"v{number + 1}"
    wrong = editor.post(f"{path}/enhance", json={"text": "{{ seed"})
    assert problem(wrong)["status"] == 422
    assert str(service.workspace.root) not in wrong.text
    for invalid, reason in (("{{ cycler.__init__ }}", "uses the variable 'cycler'"), ("{{ a b }}", "got 'b'.")):
        changed = text.replace("=== user ===\n", f"=== user ===\n{invalid}\n")
        refused = editor.post(f"{path}/enhance", json={"text": changed})
        assert problem(refused)["status"] == 422
        (error,) = problem(refused)["errors"]
        assert error["line"] == changed[: changed.index(invalid)].count("\n") + 1
        assert reason in error["what"]
    kept = [editor.get(f"{path}/enhance/v{n}") for n in (1, number, number + 1, number + 2)]
    assert [version.status_code for version in kept] == [200, 200, 200, 404]
    assert {version.json()["text"] for version in kept[:3]} == {text}
    assert editor.get("/api/v1/jobs").json()["items"] == []
    assert spec.read_bytes() == before
    assert editor.get(f"{path}/none/v1").status_code == 404


def test_pagination_continues_after_the_cursor(service: Service) -> None:
    """The next page starts after the cursor; an invalid cursor is refused."""
    owner = service.browser("owner")
    for _ in range(3):
        owner.post("/api/v1/invitations", json={"role": "viewer"})
    first = owner.get("/api/v1/audit", params={"limit": 2}).json()
    second = owner.get("/api/v1/audit", params={"limit": 2, "cursor": first["next"]}).json()
    numbers = [line["number"] for line in (*first["items"], *second["items"])]
    assert numbers == sorted(numbers, reverse=True)
    assert len(set(numbers)) == len(numbers) == 3
    for cursor in ("nonsense", "WyJhIl0", "dHJ1ZQ", "OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5", "LTE"):
        assert problem(owner.get("/api/v1/audit", params={"cursor": cursor}))["status"] == 400
    assert problem(owner.get("/api/v1/audit", params={"limit": 0}))["status"] == 422


def test_repeated_post_with_idempotency_key_has_one_effect(service: Service) -> None:
    """With the same key the first response is returned again; the key with another body is refused; a response with a
    secret is not shown twice."""
    owner = service.browser("owner")
    body = {"name": "new", "example": "release-notes"}
    answers = [owner.post("/api/v1/projects", json=body, headers={"Idempotency-Key": "k"}) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [201] * 3
    assert len({answer.text for answer in answers}) == 1
    assert answers[1].headers["idempotent-replayed"] == "true"
    assert answers[1].headers["location"] == "/api/v1/projects/new"
    other = owner.post("/api/v1/projects", json={**body, "name": "newer"}, headers={"Idempotency-Key": "k"})
    assert problem(other)["error"]["code"] == "idempotency_key_reused"
    assert "newer" not in service.workspace.projects()
    second = service.browser("editor").post("/api/v1/projects", json=body, headers={"Idempotency-Key": "k"})
    assert second.status_code == 403, "keys are separate for each user"
    key = {"name": "ci", "role": "viewer"}
    responses = [owner.post("/api/v1/keys", json=key, headers={"Idempotency-Key": "once"}) for _ in range(2)]
    assert responses[0].status_code == 201
    assert problem(responses[1])["error"]["code"] == "shown_once"
    refused = [owner.post("/api/v1/projects", json={"name": "A"}, headers={"Idempotency-Key": "bad"}) for _ in "ab"]
    assert [answer.status_code for answer in refused] == [422] * 2


def test_an_upload_is_repeated_with_its_idempotency_key(service: Service) -> None:
    """A client chooses another boundary between the fields of a form each time: a script that was run again was told
    that its key had been used for another request. Another file still is another request."""
    editor, path = service.browser("editor"), f"/api/v1/projects/{MINE}/seeds"

    def upload(content: bytes, boundary: str) -> httpx.Response:
        kind = f"multipart/form-data; boundary={boundary}"
        head = b'Content-Disposition: form-data; name="file"; filename="a.txt"'
        form = b"--%s\r\n%s\r\n\r\n%s\r\n--%s--\r\n" % (boundary.encode(), head, content, boundary.encode())
        return editor.post(path, content=form, headers={"Idempotency-Key": "up", "Content-Type": kind})

    text = b"a red -- kettle\n" * 50_000
    assert upload(text, "x" * 60).status_code == 201
    assert upload(text, "y" * 8).headers["idempotent-replayed"] == "true"
    assert problem(upload(text + b"b", "x" * 60))["error"]["code"] == "idempotency_key_reused"


def test_a_stored_response_is_not_shown_to_who_has_fewer_rights_now(service: Service) -> None:
    """Who was no longer a member still got the response of an earlier request, for a day: what they were refused
    elsewhere. More rights than then are no reason to refuse."""
    path, accounts, user = f"/api/v1/projects/{MINE}/jobs", service.app.state.accounts, service.users["editor"]

    def repeat(role: Role | None) -> httpx.Response:
        accounts.set_role(user, MINE, role)  # which ends the user's sessions
        headers = {"Idempotency-Key": "lost"}
        return service.browser("editor").post(path, json={"command": "curate"}, headers=headers)

    assert repeat(Role.editor).status_code == 202
    assert repeat(Role.owner).headers["idempotent-replayed"] == "true"
    for role in (Role.viewer, None):
        refused = problem(repeat(role))
        assert (refused["status"], refused["error"]["code"]) == (403, "rights_lost")
    assert repeat(Role.editor).status_code == 202


def test_a_refusal_is_not_repeated_once_its_cause_is_gone(service: Service) -> None:
    """Who had been refused for lack of a role was refused for a day after an owner had given it, and so was who had
    met a busy project, if they repeated the request with its key, as clients do."""
    path, accounts, user = f"/api/v1/projects/{MINE}/jobs", service.app.state.accounts, service.users["viewer"]

    def post() -> httpx.Response:
        headers = {"Idempotency-Key": "later"}
        return service.browser("viewer").post(path, json={"command": "curate"}, headers=headers)

    assert post().status_code == 403
    accounts.set_role(user, MINE, Role.editor)
    started = post()
    assert started.status_code == 202
    assert post().headers["idempotent-replayed"] == "true"


def test_one_job_per_idempotency_key_and_per_project(service: Service) -> None:
    """A second job of a project is refused with 409, a link to the running one, and a header that stops OpenAI clients
    from retrying."""
    editor, path = service.browser("editor"), f"/api/v1/projects/{MINE}/jobs"
    jobs = [editor.post(path, json={"command": "curate"}, headers={"Idempotency-Key": "j"}) for _ in range(2)]
    assert [job.status_code for job in jobs] == [202] * 2
    assert jobs[0].json()["id"] == jobs[1].json()["id"]
    assert jobs[0].headers["location"] == f"/api/v1/jobs/{jobs[0].json()['id']}"
    busy = editor.post(path, json={"command": "train"})
    assert problem(busy)["status"] == 409
    assert busy.headers["x-should-retry"] == "false"
    assert jobs[0].json()["id"] in busy.headers["link"]
    wrong = editor.post(path, json={"command": "rm -rf"})
    assert problem(wrong)["status"] == 400
    job = jobs[0].headers["location"]
    assert editor.get(job).json()["state"] == "queued"
    assert editor.post(f"{job}/cancel").json()["state"] in ("stopping", "stopped")
    assert service.browser("viewer").post(f"{job}/cancel").status_code == 403
    listed = editor.get("/api/v1/jobs").json()["items"]
    assert [row["id"] for row in listed] == [jobs[0].json()["id"]]
    assert service.browser("stranger").get("/api/v1/jobs").json()["items"] == []


def test_deleted_project_is_moved_to_the_trash_unless_busy(service: Service) -> None:
    """Nothing is erased. The slug is free again, and a new project of that name does not see the earlier jobs. A
    stopped job keeps the project busy until its process has ended."""
    owner = service.browser("owner")
    job = owner.post(f"/api/v1/projects/{MINE}/jobs", json={"command": "curate"})
    assert problem(owner.delete(f"/api/v1/projects/{MINE}"))["error"]["code"] == "project_busy"
    owner.post(f"/api/v1/jobs/{job.json()['id']}/cancel")
    hub, folder = service.app.state.jobs.hub, service.app.state.jobs.folder(job.json()["id"])
    hub.publish("job", MINE, f"job:{MINE}", job.json())
    folder.mkdir(parents=True)
    with (folder / "lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert problem(owner.delete(f"/api/v1/projects/{MINE}"))["error"]["code"] == "project_busy"
    assert owner.delete(f"/api/v1/projects/{MINE}").status_code == 204
    assert not hub._states
    assert MINE not in service.workspace.projects()
    (kept,) = (service.workspace.serve / "trash").iterdir()
    assert (kept / "pairsmith.toml").read_text() == SPEC


EVERY = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, PairsmithError)]


@pytest.mark.parametrize("kind", EVERY, ids=lambda kind: kind.__name__)
def test_every_error_has_its_status_and_the_message_of_the_command_line(kind: type[PairsmithError]) -> None:
    """what, where, why and fix are in one body that OpenAI clients understand too."""
    error = kind("it is wrong.", where="a/b.toml:3", why="It would hurt.", fix="Mend it.")
    status = status_of(error)
    assert status == next(STATUS[base] for base in kind.__mro__ if base in STATUS)
    assert 400 <= status < 600
    answer = problems.answer(error, Path("/nowhere"), instance="/x", request_id="r")
    assert answer.status_code == status
    body = problems.Problem.model_validate_json(bytes(answer.body))
    assert (body.what, body.where, body.why, body.fix) == ("it is wrong.", "a/b.toml:3", "It would hurt.", "Mend it.")
    assert body.error.message == body.detail == str(error)
    assert body.exit_code == kind.exit_code
    assert body.kind == kind.__name__
    assert (answer.headers.get("x-should-retry") == "false") == (status in (409, 429, 501, 507))


def test_a_refused_method_is_answered_with_those_of_the_path(service: Service) -> None:
    """`Allow` names them all, as HTTP requires; each method is a route of its own, and the first one was named."""
    for path, methods in (("/api/v1/projects", "GET, HEAD, POST"), (f"/p/{MINE}", "GET, HEAD")):
        refused = service.browser("owner").put(path)
        assert (refused.status_code, refused.headers["allow"]) == (405, methods)


def test_error_status_comes_from_the_nearest_class() -> None:
    """A new error class has the status of its nearest base class."""
    assert status_of(StoreBusy("x.")) == status_of(ProjectBusy("p", "j")) == 409
    assert status_of(NoSuchProject("x.")) == 404
    assert status_of(SpecError("x.")) == 422
    assert status_of(Refusal(418, "x.")) == 418


def test_teachers_are_tested_by_the_name_of_their_key(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """The result is a message that never contains the key's value, and hosts that are not allowed are not contacted."""
    from tests.synth.loopback import LoopbackTeacher

    monkeypatch.setenv("GOOD_KEY", "canary-key")
    editor, owner = service.browser("editor"), service.browser("owner")
    with LoopbackTeacher() as teacher:
        request_body = {"url": teacher.url, "key_env": "GOOD_KEY"}
        assert problem(editor.post("/api/v1/teachers/test", json=request_body))["error"]["code"] == "fenced"
        for key_env in ("GOOD_KEY", "UNSET_KEY"):
            owner.post("/api/v1/teachers/allowed", json={"url": teacher.url, "key_env": key_env})
        tried = editor.post("/api/v1/teachers/test", json=request_body)
        assert tried.status_code == 200
        assert "canary" not in tried.text
        unset = editor.post("/api/v1/teachers/test", json={**request_body, "key_env": "UNSET_KEY"}).json()
        assert unset["says"] == "UNSET_KEY is not set on the server."
    gone = editor.post("/api/v1/teachers/test", json=request_body).json()
    assert not gone["answers"]
    assert gone["says"].endswith(".")


def test_job_rows_reviews_and_files_over_http(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a job over HTTP to rows, a review, receipts and the dataset as a file."""
    from starlette.testclient import TestClient

    from tests.pairsmith.conftest import answer
    from tests.serve.conftest import write_project
    from tests.synth.loopback import LoopbackTeacher

    unlimited(monkeypatch)
    with closing(staffed(tmp_path / "space")) as service, LoopbackTeacher(answer) as teacher, TestClient(service.app):
        write_project(service.workspace, "tiny", teacher.url)
        owner = service.browser("owner")
        service.app.state.policy.allow(teacher.url, "", None)
        for command in ("generate", "curate"):
            job = owner.post("/api/v1/projects/tiny/jobs", json={"command": command})
            assert job.status_code == 202, job.text
            ended = _ended(owner, job.headers["location"])
            assert ended["state"] == "done", ended
        rows = owner.get("/api/v1/projects/tiny/rows", params={"limit": 2}).json()
        assert len(rows["items"]) == 2
        assert rows["next"]
        accepted = owner.get("/api/v1/projects/tiny/rows", params={"state": "accepted"}).json()["items"]
        row = accepted[0]["id"]
        assert owner.get(f"/api/v1/projects/tiny/rows/{row}").json()["input"] == accepted[0]["input"]
        assert owner.get(f"/api/v1/projects/tiny/rows/{row}/candidates").json()["total"] >= 1
        given = owner.post(f"/api/v1/projects/tiny/rows/{row}/reviews", json={"decision": "accept", "seconds": 3})
        assert given.status_code == 201, given.text
        assert owner.get(f"/api/v1/projects/tiny/rows/{row}").json()["reviews"][0]["decision"] == "accept"
        assert problem(owner.post(f"/api/v1/projects/tiny/rows/{row}/reviews", json={"decision": "edit"}))
        service.app.state.accounts.set_role(service.users["reviewer"], "tiny", Role.reviewer)
        reviewer = service.browser("reviewer")
        assert reviewer.get("/api/v1/projects/tiny/rows").status_code == 403
        not_asked = reviewer.post(f"/api/v1/projects/tiny/rows/{row}/reviews", json={"decision": "reject"})
        assert problem(not_asked)["status"] == 404, "a reviewer may answer only rows in the queue"
        receipts = owner.get("/api/v1/projects/tiny/receipts").json()["items"]
        assert [receipt["command"] for receipt in receipts] == ["curate", "generate"]
        (dataset,) = owner.get("/api/v1/projects/tiny/artifacts").json()["items"]
        where = f"/api/v1/projects/tiny/artifacts/{dataset['id']}/download"
        packed = owner.get(where)
        assert packed.content[:2] == b"PK"
        lines = owner.get(where, params={"format": "jsonl", "split": "train"})
        assert lines.status_code == 200
        assert "attachment" in packed.headers["content-disposition"]
        _check_filtered_downloads(owner, "/api/v1/projects/tiny/rows")
        metrics = owner.get("/metrics").text
        assert 'pairsmith_jobs{command="generate",state="done"} 1.0' in metrics
        assert 'pairsmith_store_bytes{project="tiny"}' in metrics
        assert "\npairsmith_sweep_repairs_total " in metrics


def _check_filtered_downloads(owner: httpx.Client, rows: str) -> None:
    some = {"state": "accepted", "split": "train"}
    shown = owner.get(rows, params={**some, "limit": 200}).json()["items"]
    every = owner.get(rows, params={"limit": 200}).json()["items"]
    assert 0 < len(shown) < len(every)
    for wanted, given in ((shown, some), (every, {}), ([], {"q": "nowhere"})):
        lines = owner.get(f"{rows}/download", params=given).text.splitlines()
        assert [json.loads(line) for line in lines] == wanted
        table = owner.get(f"{rows}/download", params={**given, "format": "parquet"})
        assert pq.read_table(io.BytesIO(table.content)).to_pylist() == wanted
        sheet = owner.get(f"{rows}/download", params={**given, "format": "csv"}).content
        assert sheet.startswith(codecs.BOM_UTF8), "without it spreadsheets assume another encoding"
        assert [line["id"] for line in csv.DictReader(io.StringIO(sheet.decode("utf-8-sig")))] == [
            row["id"] for row in wanted
        ]


def _ended(client: Any, path: str) -> dict[str, Any]:
    until = time.monotonic() + 150
    while True:
        job: dict[str, Any] = client.get(path).json()
        if job["state"] in ("done", "failed", "stopped", "waits_for_people"):
            return job
        assert time.monotonic() < until, job
        time.sleep(0.1)


def test_csv_cells_are_no_formulas() -> None:
    """A text that starts like a formula stays text in a spreadsheet."""
    from pairsmith.serve.api.row_files import csv_lines
    from pairsmith.serve.rows_projection import COLUMNS
    from pairsmith.serve.rows_view import RowView

    values: dict[str, Any] = dict.fromkeys(COLUMNS, "")
    row = RowView(**{**values, "input": "=HYPERLINK(1)", "output": "plain", "score": 0.5})
    lines = "".join(csv_lines([row])).splitlines()
    assert lines[1].endswith("'=HYPERLINK(1),plain")


def test_roles_of_all_projects(service: Service) -> None:
    """A role in `*` counts in every project, and a user sees their role in each."""
    service.app.state.accounts.set_role(service.users["viewer"], ALL, Role.editor)
    viewer = service.browser("viewer")
    shown = {row["name"]: row["role"] for row in viewer.get("/api/v1/projects").json()["items"]}
    assert shown == {"mine": "editor", "other": "editor"}


ODD = [
    {"text": "x = " + "[" * 100_000},
    {"text": "a" * 400_000},
    {"text": '[task]\nname = "x"\nstyle = "s"\nseeds = 1'},
    {"set": {"task.style": {"a": [1, {"b": None}]}}},
    {"set": {"": 1}},
    {"set": {"seeds.9.path": "a"}},
    {"set": {"seeds.x.path": "a"}},
    {"set": {"task.name.more": "a"}},
    {"set": {"task.style": None}},
    {"set": {"train.epochs": 10**400}},
]


@pytest.mark.parametrize("change", ODD, ids=lambda change: str(change)[:40])
def test_malformed_specs_are_refused_with_a_message(service: Service, change: dict[str, Any]) -> None:
    """Deep nesting, unknown keys and null inside a value are refused, never a server error; nothing is written."""
    sent = service.browser("editor").put(f"/api/v1/projects/{MINE}/spec", json=change, headers={"If-Match": "*"})
    assert problem(sent)["status"] == 422
    assert (service.workspace.folder(MINE) / "pairsmith.toml").read_text() == SPEC


ALLOWED, KEYS, NEW = "/api/v1/teachers/allowed", "/api/v1/keys", "/api/v1/projects"
SEEDS, STARTED = f"/api/v1/projects/{MINE}/seeds", f"/api/v1/projects/{MINE}/jobs"
WRONG_BODIES: list[tuple[str, Any, str]] = [
    (ALLOWED, {"url": "x"}, "'x' is not the address of a host"),
    (ALLOWED, {"url": "embedded"}, "is not the address of a host"),
    (ALLOWED, {"url": "https://a..b/v1"}, "is not the address of a host"),
    (ALLOWED, {"url": f"https://{'a' * 64}.example/v1"}, "is not the address of a host"),
    (ALLOWED, {"url": f"https://{'a.' * 130}example/v1"}, "is not the address of a host"),
    (ALLOWED, {"url": "https://*.example.com"}, "is not the address of a host"),
    (ALLOWED, {"url": "https://999.1.1.1/v1"}, "is not the address of a host"),
    (ALLOWED, {"url": "https://-/v1"}, "is not the address of a host"),
    (ALLOWED, {"ulr": "https://a.example"}, "there is no such field"),
    (ALLOWED, {"url": "https://a.example", "key_env": "sk-1"}, "expected the name of an environment variable"),
    (KEYS, {"name": "k", "days": True}, "'days' must be a number, not true"),
    (NEW, {"name": "A b"}, "expected at most 63 lowercase letters"),
    (NEW, {"name": "both", "example": "release-notes", "kind": "reply"}, "an example has a kind of its own"),
    (STARTED, {"command": "run", "options": {"cap_usd": True}}, "'cap_usd' must be a number, not true"),
    (STARTED, {"command": "preview", "options": {"seeds": True}}, "'seeds' must be a number, not true"),
    (STARTED, {"command": "preview", "options": {"seeds": 1.5}}, "expected a whole number"),
    (STARTED, {"command": "run", "options": {"cap_usd": 0}}, "expected more than 0."),
    (STARTED, {"command": "run", "options": {"cap_usd": "five"}}, "expected a number"),
    (STARTED, {"command": "run", "options": []}, "expected an object"),
    (STARTED, {"command": "export", "options": {"gguf": "q8_0"}}, "expected a list"),
    (STARTED, {"command": "export", "options": {"gguf": ["q2"]}}, "expected 'f16', 'q8_0' or 'q4_k_m'"),
    (STARTED, {"options": {}}, "it is missing"),
    (KEYS, {"name": ""}, "expected a length of at least 1"),
    (KEYS, {"name": "k", "days": 4000}, "expected at most 3650"),
]
WRONG_FORMS: list[tuple[Any, Any, str]] = [
    ({"text": "a", "kidn": "pair"}, None, "there is no field 'kidn'"),
    (None, [("file", ("a.txt", b"a")), ("file", ("b.txt", b"b"))], "only one file can be sent at a time"),
    ({"kind": "input"}, None, "send either a file or text"),
]


def test_wrong_bodies_are_refused_with_a_sentence(service: Service) -> None:
    """What no server, project or job can be is not stored, and nothing that was sent is dropped without a word. An
    impossible host that was allowed made every job of the workspace fail."""
    browser = service.browser("owner")
    for path, body, words in WRONG_BODIES:
        refused = problem(browser.post(path, json=body))
        assert (refused["status"], words in refused["what"]) == (422, True), (body, refused)
    for data, files, words in WRONG_FORMS:
        refused = problem(browser.post(SEEDS, data=data, files=files))
        assert words in refused["what"], refused
        assert refused["fix"]
    unreadable = browser.post(ALLOWED, content=b'{"url": "https://\xe9"}', headers={"Content-Type": "application/json"})
    assert problem(unreadable)["fix"] == "Send JSON in UTF-8, at most some hundred levels deep."
    for url in ("http://vllm:8000/v1", "https://münchen.example", "http://my_service:8000", "http://[fd00::8]:8000"):
        assert browser.post(ALLOWED, json={"url": url}).status_code == 201, url
    assert resolve("a..b", 443) == resolve("a" * 64, 443) == []


def test_a_spec_in_another_encoding_can_be_replaced(service: Service) -> None:
    """It was a defect (500) for everybody who read it, and nobody could write another one."""
    owner, path = service.browser("owner"), f"/api/v1/projects/{MINE}/spec"
    (service.workspace.folder(MINE) / "pairsmith.toml").write_bytes(SPEC.encode("utf-16"))
    assert problem(owner.get(path))["status"] == 422
    read = owner.get(path, headers={"Accept": "application/toml"})
    put = owner.put(path, json={"text": SPEC}, headers={"If-Match": read.headers["etag"]})
    assert (put.status_code, owner.get(path).json()["text"]) == (200, SPEC)


def test_lone_surrogates_are_refused(service: Service) -> None:
    """JSON can encode a lone surrogate and UTF-8 cannot, so it is refused wherever a text is written to a file or
    table."""
    editor, owner = service.browser("editor"), service.browser("owner")
    raw = {"Content-Type": "application/json", "If-Match": "*"}
    for client, method, path, body in (
        (editor, "PUT", f"/api/v1/projects/{MINE}/spec", '{"set": {"task.style": "\\ud800"}}'),
        (editor, "PUT", f"/api/v1/projects/{MINE}/spec", '{"text": "# \\ud800"}'),
        (editor, "PATCH", f"/api/v1/projects/{MINE}", '{"title": "\\ud800"}'),
        (editor, "POST", f"/api/v1/projects/{MINE}/prompts/enhance", '{"text": "\\ud800"}'),
        (owner, "POST", "/api/v1/keys", '{"name": "\\ud800", "role": "viewer"}'),
        (owner, "POST", "/api/v1/sign-in", '{"name": "\\ud800", "password": "x"}'),
    ):
        sent = client.request(method, path, content=body, headers=raw)
        assert problem(sent)["status"] == 422, path

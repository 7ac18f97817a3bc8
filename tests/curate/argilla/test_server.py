"""The real server: the official client works with it, three users answer, and it recovers from killed processes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import stat
import subprocess
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from curate.argilla import server
from curate.argilla.probe import fetch_username
from curate.argilla.venv import SERVER_CODE
from schemas.errors import ReviewError
from tests.curate.argilla.conftest import DATABASE, argilla_client, child, killed, wait_until
from tests.curate.argilla.webhook_listener import listener

rg = argilla_client()

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

ROWS = 40


def is_up(running: server.ArgillaServer) -> bool:
    with contextlib.suppress(ReviewError):
        return fetch_username(running.url, running.api_key, timeout_s=60) == "pairsmith"
    return False


def settings() -> Any:
    return rg.Settings(
        guidelines="Accept what reads well.",
        fields=[rg.TextField("prompt"), rg.TextField("reply", required=False), rg.ChatField("talk", required=False)],
        questions=[
            rg.LabelQuestion("verdict", labels=["accept", "reject", "edit"]),
            rg.TextQuestion("edited", required=False),
            rg.MultiLabelQuestion("reasons", labels=["too_long", "off_style", "unsafe"], required=False),
            rg.RatingQuestion("stars", values=[1, 2, 3, 4, 5], required=False),
            rg.RankingQuestion("order", values=["first", "second"], required=False),
            rg.SpanQuestion("spans", field="prompt", labels=["noun", "verb"], required=False),
        ],
        metadata=[
            rg.TermsMetadataProperty("topic"),
            rg.IntegerMetadataProperty("length"),
            rg.FloatMetadataProperty("score"),
        ],
        vectors=[rg.VectorField("mini", dimensions=3)],
        distribution=rg.TaskDistribution(min_submitted=2),
    )


def row(number: int) -> Any:
    return rg.Record(
        id=f"row-{number}",
        fields={
            "prompt": f"{'a red fox' if number % 2 else 'a blue whale'} number {number}",
            "talk": [{"role": "user", "content": "hello"}],
        },
        metadata={"topic": "fox" if number % 2 else "whale", "length": number, "score": number / ROWS},
        suggestions=[
            rg.Suggestion("verdict", "accept" if number % 4 else "reject", score=number / ROWS, agent="gate"),
            rg.Suggestion("reasons", ["too_long", "unsafe"], score=[0.1, 0.9], agent="gate"),
            rg.Suggestion("edited", f"better text {number}", agent="teacher"),
        ],
        vectors={"mini": [1.0, number / ROWS, 0.0]},
    )


@pytest.fixture
def dataset(client: Any) -> Any:
    """A dataset for this test only, with `ROWS` records."""
    workspace = rg.Workspace(name=f"w-{uuid.uuid4().hex[:8]}", client=client).create()
    created = rg.Dataset(name="pairs", workspace=workspace, settings=settings(), client=client).create()
    created.records.log([row(number) for number in range(ROWS)], batch_size=ROWS)
    return created


def find_ids(dataset: Any, **query: Any) -> list[str]:
    return [record.id for record in dataset.records(rg.Query(**query))]


def ids_where(true: Any) -> list[str]:
    return [f"row-{number}" for number in range(ROWS) if true(number)]


def test_the_official_client_finds_what_it_logged(client: Any, dataset: Any) -> None:
    """Words, filters on every scope, similarity and the content of a record, through Argilla's own client."""
    assert sorted(find_ids(dataset, query="fox")) == sorted(ids_where(lambda i: i % 2))
    assert find_ids(dataset, query='"number 12" -fox') == ["row-12"]
    conditions = [("metadata.topic", "==", "fox"), ("metadata.length", ">=", 30), ("metadata.score", "<=", 0.9)]
    assert find_ids(dataset, filter=rg.Filter(conditions)) == ids_where(lambda i: i % 2 and 30 <= i <= 36)
    assert find_ids(dataset, filter=rg.Filter(("verdict.suggestion", "==", "reject"))) == ids_where(
        lambda i: i % 4 == 0
    )
    assert find_ids(dataset, filter=rg.Filter(("verdict.score", ">=", 0.9))) == ids_where(lambda i: i >= 36)
    assert len(find_ids(dataset, filter=rg.Filter(("edited.agent", "==", "teacher")))) == ROWS
    assert find_ids(dataset, filter=rg.Filter(("id", "in", ["row-3", "row-4"]))) == ["row-3", "row-4"]
    near = list(dataset.records(rg.Query(similar=rg.Similar("mini", [1.0, 0.5, 0.0])), limit=3))
    assert near[0][0].id == "row-20"
    assert near[0][1] == pytest.approx(1.0, abs=1e-5)
    whole = next(iter(dataset.records(rg.Query(query='"number 7"'), with_vectors=True)))
    assert whole.suggestions["edited"].value == "better text 7"
    assert whole.vectors["mini"] == pytest.approx([1.0, 7 / ROWS, 0.0])


def test_three_users_answer_and_progress_counts_them(connect: Callable[[str], Any], client: Any, dataset: Any) -> None:
    """Responses of three users are returned, two submitted ones complete a record, and each user has a queue of their
    own."""
    people = []
    for place in range(3):
        name, password = f"person-{place}-{uuid.uuid4().hex[:6]}", "long enough password"
        user = rg.User(username=name, password=password, role="annotator", client=client).create()
        user.add_to_workspace(dataset.workspace)
        people.append((user, connect(client.http_client.get(f"/api/v1/users/{user.id}").json()["api_key"])))
    records = {record.id: record for record in dataset.records}
    for place, (user, _) in enumerate(people):
        for number in range(place, 6):
            record = records[f"row-{number}"]
            record.responses.add(
                rg.Response("verdict", "accept" if place else "edit", user_id=user.id, status="submitted")
            )
            if place == 0:
                record.responses.add(rg.Response("edited", f"mine {number}", user_id=user.id, status="submitted"))
    dataset.records.log(list(records.values())[:6], batch_size=6)
    assert dataset.progress() == {"total": ROWS, "completed": 5, "pending": ROWS - 5}
    assert find_ids(dataset, filter=rg.Filter(("status", "==", "completed"))) == [f"row-{i}" for i in range(1, 6)]
    assert find_ids(dataset, filter=rg.Filter(("verdict.response", "==", "edit"))) == [f"row-{i}" for i in range(6)]
    assert len(find_ids(dataset, filter=rg.Filter(("response.status", "==", "pending")))) == ROWS - 6

    http = people[2][1].http_client
    path = f"/api/v1/me/datasets/{dataset.id}"
    assert http.get(f"{path}/metrics").json()["responses"] == {
        "total": ROWS, "submitted": 4, "discarded": 0, "draft": 0, "pending": ROWS - 4,
    }  # fmt: skip
    queue = {
        "filters": {
            "and": [
                {"type": "terms", "scope": {"entity": "response", "property": "status"}, "values": ["pending"]},
                {"type": "terms", "scope": {"entity": "record", "property": "status"}, "values": ["pending"]},
            ]
        }
    }
    page = http.post(f"{path}/records/search", params={"limit": 50, "include": "suggestions"}, json=queue).json()
    waiting = [item["record"]["external_id"] for item in page["items"]]
    assert sorted(waiting) == sorted(ids_where(lambda i: i == 0 or i > 5))
    again = http.post(f"{path}/records/search", params={"limit": 50}, json=queue).json()
    assert [item["record"]["external_id"] for item in again["items"]] == waiting
    assert waiting != sorted(waiting), "each user has their own shuffled order"

    record_id = page["items"][0]["record"]["id"]
    answer = {"values": {"verdict": {"value": "reject"}}, "status": "submitted"}
    assert http.post(f"/api/v1/records/{record_id}/responses", json=answer).status_code == 201
    page = http.post(f"{path}/records/search", params={"limit": 50}, json=queue).json()
    assert record_id not in {item["record"]["id"] for item in page["items"]}
    assert page["total"] == len(waiting) - 1


def test_webhooks_are_called_with_a_signature(client: Any, dataset: Any) -> None:
    """Events of records and answers reach a listener, through Redis and the worker, signed with the webhook's secret; a
    disabled webhook is not called."""
    http = client.http_client
    record = next(iter(dataset.records))
    path = f"/api/v1/records/{record._server_id}/responses"
    with listener() as (url, events):
        hook = rg.Webhook(url=url, events=["response.created", "dataset.updated"], _client=client).create()
        response = {"values": {"verdict": {"value": "accept"}}, "status": "submitted"}
        assert http.post(path, json=response).status_code == 201
        wait_until(lambda: events)
        (event,) = events
        assert event.json["type"] == "response.created"
        assert event.json["data"]["record"]["id"] == str(record._server_id)
        assert event.json["data"]["values"]["verdict"]["value"] == "accept"
        assert event.signed_with(hook.secret)
        assert not event.signed_with("b3RoZXI=")
        hook.enabled = False
        hook.update()
        dataset.guidelines = "Unheard."
        dataset.update()
        hook.enabled = True
        hook.update()
        dataset.guidelines = "Heard."
        dataset.update()
        wait_until(lambda: len(events) > 1)
        assert [event.json["data"]["guidelines"] for event in events[1:]] == ["Heard."]
        hook.delete()
    assert not list(client.webhooks)


def test_worker_imports_argilla_only_for_a_job(venv: Path) -> None:
    """Its import by the worker took as much time of a starting machine as the server's own, and 0.2 GB, also if there
    never was a job."""
    script = "import sys, work; print(*{'argilla_server', 'pairsmith_sql_engine', 'rq'} & {*sys.modules})"
    argv = [venv / "bin" / "python", "-c", script]
    done = subprocess.run(argv, env={"PYTHONPATH": str(SERVER_CODE)}, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["rq"]


def test_changed_number_of_required_answers_reaches_the_worker(dataset: Any) -> None:
    """With one answer of two a record stays pending; when one is enough the worker completes it, and it is pending
    again when two are required."""
    record = next(iter(dataset.records))
    record.responses.add(rg.Response("verdict", "accept", user_id=dataset._client.me.id, status="submitted"))
    dataset.records.log([record], batch_size=1)
    assert dataset.progress()["completed"] == 0
    for needed, completed in ((1, 1), (2, 0)):
        dataset.settings.distribution = rg.TaskDistribution(min_submitted=needed)
        dataset.update()
        wait_until(lambda expected=completed: dataset.progress()["completed"] == expected)
        assert len(find_ids(dataset, filter=rg.Filter(("status", "==", "completed")))) == completed


def test_sorting_metrics_and_refusals_over_http(client: Any, dataset: Any) -> None:
    """What the web page requests and the client cannot: sorting, metadata metrics, and a clear refusal."""
    http, path = client.http_client, f"/api/v1/datasets/{dataset.id}"
    order = {"sort": [{"scope": {"entity": "metadata", "metadata_property": "score"}, "order": "desc"}]}
    page = http.post(f"{path}/records/search", params={"limit": 3}, json=order).json()
    assert [item["record"]["external_id"] for item in page["items"]] == ["row-39", "row-38", "row-37"]
    properties = {
        entry["name"]: entry["id"] for entry in http.get(f"/api/v1/me{path[7:]}/metadata-properties").json()["items"]
    }
    terms = http.get(f"/api/v1/metadata-properties/{properties['topic']}/metrics").json()
    assert {term["term"]: term["count"] for term in terms["values"]} == {"fox": ROWS // 2, "whale": ROWS // 2}
    numbers = http.get(f"/api/v1/metadata-properties/{properties['length']}/metrics").json()
    assert (numbers["min"], numbers["max"]) == (0, ROWS - 1)
    refused = http.post(f"{path}/records/search", json={"query": {"text": {"q": "fox~1"}}})
    assert refused.status_code == 422
    assert "not supported" in refused.text


def test_second_up_connects_to_the_running_server(argilla_server: server.ArgillaServer) -> None:
    """No second server is started, and the first is not disturbed."""
    again = server.up(argilla_server.home)
    assert again.already_running
    assert again.url == argilla_server.url
    wait_until(lambda: server.status(argilla_server.home).state == "running")  # it answers within some seconds
    seen = server.status(argilla_server.home)
    assert (seen.version, seen.database) == ("2.8.0", DATABASE)
    assert [one.name for one in seen.children] == ["redis", "server", "worker"]
    assert sum(child.memory_mib or 0.0 for child in seen.children) > 100
    assert list(
        (argilla_server.home / "data" / "tmp").rglob("statics")
    )  # of the page; elsewhere they would stay behind for good
    assert set(server.logs(argilla_server.home)) >= {"server", "worker", "redis", "supervisor", "migrate"}
    if DATABASE == "SQLite":
        with pytest.raises(ReviewError, match="was used with SQLite, and PostgreSQL is requested now"):
            server.up(argilla_server.home, database_url="postgresql://localhost/argilla")
    with pytest.raises(ReviewError, match="is already running, with another port"):
        server.up(argilla_server.home, port=1)


def test_secrets_are_generated_private_and_not_the_defaults(argilla_server: server.ArgillaServer) -> None:
    """The owner's credentials are generated; files with secrets are readable only by their owner; Argilla's default
    user does not exist."""
    for name in ("credentials.json", "supervisor.json", "server.json"):
        assert stat.S_IMODE((argilla_server.home / name).stat().st_mode) == 0o600, name
    credentials = json.loads(argilla_server.credentials.read_text())
    for text in (str(server.logs(argilla_server.home, 10_000)), repr(argilla_server)):
        assert credentials["password"] not in text
        assert credentials["api_key"] not in text
    with pytest.raises(ReviewError, match="refuses the API key"):
        fetch_username(argilla_server.url, "argilla.apikey")
    arguments = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert credentials["api_key"] not in arguments


def test_pages_of_other_origins_may_not_call_the_server(argilla_server: server.ArgillaServer) -> None:
    """By default Argilla allows every origin, with credentials; our server allows none."""
    headers = {"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "GET"}
    for method in "GET", "OPTIONS":
        answer = httpx.request(method, f"{argilla_server.url}/api/v1/version", headers=headers, timeout=120)
        assert "access-control-allow-origin" not in answer.headers


def test_killed_server_is_restarted_without_losses(argilla_server: server.ArgillaServer, dataset: Any) -> None:
    """After kill -9 the server is started again, nothing is lost, and signed-in users stay signed in."""
    credentials = json.loads(argilla_server.credentials.read_text())
    import urllib.parse
    import urllib.request

    form = urllib.parse.urlencode({"username": credentials["username"], "password": credentials["password"]}).encode()
    with urllib.request.urlopen(f"{argilla_server.url}/api/v1/token", form, timeout=120) as answer:
        token = json.load(answer)["access_token"]
    before = child(argilla_server, "server")
    assert before.pid is not None
    os.kill(before.pid, signal.SIGKILL)
    wait_until(lambda: child(argilla_server, "server").restarts == before.restarts + 1)
    wait_until(lambda: is_up(argilla_server))
    assert child(argilla_server, "server").pid != before.pid
    assert len(list(dataset.records)) == ROWS
    assert len(find_ids(dataset, query="fox")) == ROWS // 2
    request = urllib.request.Request(f"{argilla_server.url}/api/v1/me", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        assert json.load(answer)["username"] == credentials["username"]


def test_killed_redis_is_restarted(argilla_server: server.ArgillaServer, dataset: Any) -> None:
    """After kill -9 of Redis, a request that queues work waits until Redis is running again, and the work is done."""
    record = next(iter(dataset.records))
    record.responses.add(rg.Response("verdict", "accept", user_id=dataset._client.me.id, status="submitted"))
    dataset.records.log([record], batch_size=1)
    change = {"json": {"distribution": {"strategy": "overlap", "min_submitted": 1}}, "timeout": 120}
    changing = partial(dataset._client.http_client.patch, f"/api/v1/datasets/{dataset.id}", **change)
    with ThreadPoolExecutor(1) as aside:
        began_s = time.monotonic()
        with killed(argilla_server, "redis"):
            changed = aside.submit(changing)
            assert not wait([changed], timeout=1).done, changed.result().text
        if changed.result().status_code != 200:  # on a machine that stalled for longer than a restart may take
            assert time.monotonic() - began_s > 10, changed.result().text
            wait_until(lambda: changing().status_code == 200)
    wait_until(lambda: dataset.progress()["completed"] == 1)


def test_port_of_another_home_is_reported(argilla_server: server.ArgillaServer, tmp_path: Path) -> None:
    """A second home on the port of the first: the message says that an Argilla answers there, but not this home's."""
    port = int(argilla_server.url.rpartition(":")[2])
    with pytest.raises(ReviewError, match=r"Argilla 2\.8\.0 answers there.*not started from"):
        server.up(tmp_path / "other", port=port)

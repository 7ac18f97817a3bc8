"""Every operation of the OpenAPI schema, with valid and invalid bodies and parameters, as users of every role."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import product
from pathlib import Path
from threading import Thread
from typing import Any, cast
from unittest import SkipTest

import pytest
import uvicorn
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from jsonschema import validate
from schemathesis import openapi
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

import pairsmith.client
from pairsmith.client import Client, ProblemError
from pairsmith.serve.app import OPENAPI, schema_of
from pairsmith.serve.write_client import files_of
from schemas.errors import PairsmithError
from schemas.expected import PATTERNS
from tests.schemas.test_spec_file import patterns, patterns_of_the_spec
from tests.serve.people import MINE, ORIGIN, Service, staffed, unlimited
from tests.servers import Handler, handled

ROOT = Path(__file__).parents[2]
EXAMPLES = {"owner": 3}  # the owner may do everything; one example each for the others
CHECKS = [not_a_server_error, status_code_conformance, response_schema_conformance]
# They stream endlessly, or remove what the others need.
LEFT_OUT = {"/api/v1/events", "/api/v1/sign-out", "/api/v1/projects/{project}", "/api/v1/users/{user}"}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with closing(staffed(tmp_path_factory.mktemp("space"))) as service:
        yield service


@pytest.fixture
def schema(service: Service) -> Any:
    async def without_jobs(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await service.app(scope, receive, send)
            return
        while True:
            kind = (await receive())["type"]
            await send({"type": f"{kind}.complete"})
            if kind == "lifespan.shutdown":
                return

    loaded = openapi.from_dict(schema_of(service.app))
    loaded.app, loaded.location = without_jobs, OPENAPI
    return loaded


def test_schema_is_served_and_has_unique_operation_ids(service: Service) -> None:
    """It is served without sign-in; each operation has a unique id, which is also the name of the client's function."""
    served = service.anonymous().get(OPENAPI).json()
    assert served == schema_of(service.app)
    names = [operation["operationId"] for path in served["paths"].values() for operation in path.values()]
    assert len(names) == len(set(names)) > 60


def test_every_pattern_has_a_description(service: Service) -> None:
    """No caller is shown a regular expression, and no description is left of one that is gone."""
    assert patterns(schema_of(service.app)) | patterns_of_the_spec() == PATTERNS.keys()


def test_examples_of_request_bodies_are_valid(service: Service) -> None:
    """Each example of the schema is valid under it, and the bodies that programs send have one."""
    served = service.anonymous().get(OPENAPI).json()
    parts = served["components"]["schemas"]
    examples = [(name, example) for name, part in parts.items() for example in part.get("examples", ())]
    for name, example in examples:
        validate(example, {**served, "$ref": f"#/components/schemas/{name}"})
    assert {name for name, _ in examples} >= {"NewProject", "SpecChange", "NewJob", "Answer", "TuningRequest"}
    bodies = [
        each["requestBody"]["content"]
        for path in served["paths"].values()
        for each in path.values()
        if "requestBody" in each
    ]
    sent = {
        body["application/json"]["schema"]["$ref"].rpartition("/")[2] for body in bodies if "application/json" in body
    }
    assert {name for name, _ in examples} <= sent


@pytest.mark.timeout(1800)  # thousands of requests, on a busy machine
@pytest.mark.parametrize("name", ["owner", "editor", "reviewer", "viewer", "stranger", "nobody"])
def test_no_request_causes_server_errors_or_undocumented_responses(
    service: Service, schema: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """0 server errors and 0 undocumented statuses or bodies, for every role."""
    unlimited(monkeypatch)
    headers = {} if name == "nobody" else {"Authorization": service.program(name).headers["Authorization"]}
    tried, wrong = 0, []
    modes = list(GenerationMode) if name == "owner" else [GenerationMode.POSITIVE]
    for operation, mode in product(_operations(schema), modes):

        @settings(
            max_examples=EXAMPLES.get(name, 1),
            deadline=None,
            phases=[Phase.generate],
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case: Any) -> None:
            nonlocal tried
            tried += 1
            if "project" in (case.path_parameters or {}):
                case.path_parameters["project"] = MINE
            case.call_and_validate(base_url=ORIGIN, headers=headers, checks=CHECKS)

        try:
            ask()
        except (SkipTest, Unsatisfiable):
            continue  # there is nothing to test
        except (FailureGroup, Failure) as failure:
            wrong.append(f"{operation.label}: {failure!r} {getattr(failure, 'exceptions', '')}"[:1500])
    print(f"{name}: {tried} requests, {len(wrong)} server errors or undocumented answers")
    assert not wrong, "\n".join(wrong)
    assert tried > 60


def _operations(schema: Any) -> Iterator[Any]:
    for result in schema.get_all_operations():
        operation = result.ok()
        if operation.path not in LEFT_OUT:
            yield operation


def test_client_matches_the_schema(service: Service, tmp_path: Path) -> None:
    """Its calls and types are generated from the schema by a script and have not been edited since."""
    for name, text in files_of(schema_of(service.app)).items():
        file = tmp_path / name
        file.write_text(text)
        subprocess.run(
            [sys.executable, "-m", "ruff", "format", "--quiet", "--config", ROOT / "pyproject.toml", file], check=True
        )
        assert file.read_text() == (ROOT / "pairsmith" / "client" / name).read_text(), (
            f"generate the client again: {name}"
        )


def test_client_works_over_http(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over a real socket: lists, a spec by its ETag, seeds as a file, a job by its idempotency key, and errors with
    their parts."""
    unlimited(monkeypatch)
    key = service.program("owner").headers["Authorization"].removeprefix("Bearer ")
    with serving(service.app) as url:
        client = Client(url, key)
        assert {row["name"] for row in client.projects()["items"]} >= {MINE}
        spec = client.spec(MINE)
        changed = client.put_spec(MINE, {"set": {"train.epochs": 2}}, if_match=spec["etag"])
        assert changed["values"]["train"]["epochs"] == 2
        added = client.add_seeds(MINE, {"file": ("more.txt", b"a vase\na bowl\n")})
        assert added["kinds"] == {"input": 2}
        no_file, no_name = {"file": Path("a.txt")}, {"file": ("ä b.txt", "a")}
        three = {"file": ("a.txt", b"a", "text/plain")}  # as `requests` takes it
        of_type = "file of the form is of type"
        for wrong, words in ((no_file, of_type), (three, of_type), (no_name, "'ä b.txt' is")):
            with pytest.raises(PairsmithError, match=words):
                client.add_seeds(MINE, wrong)
        with pytest.raises(PairsmithError, match="is not an address"):
            Client("127.0.0.1:8660")
        jobs = [client.start_job(MINE, {"command": "curate"}, idempotency_key="k") for _ in range(2)]
        assert jobs[0]["id"] == jobs[1]["id"]
        assert client.rows(MINE, state="accepted")["items"] == []
        assert client.job_log(jobs[0]["id"], from_=0) == client.download_rows(MINE, state="accepted") == b""
        with pytest.raises(ProblemError, match=r"requests of more than 1 MB") as large:  # not `Broken pipe`
            client.put_spec(MINE, {"text": "x" * 20_000_000}, if_match=changed["etag"])
        assert large.value.status == 413
        with pytest.raises(ProblemError, match="there is no project") as refused:
            client.project("nowhere")
        assert refused.value.status == 404
        client.cancel_job(jobs[0]["id"])
        assert client.delete_seeds(MINE, "more.txt") is None
        with pytest.raises(ProblemError) as unsigned:
            Client(url).me()
        assert unsigned.value.status == 401


def test_a_call_that_came_too_soon_is_repeated() -> None:
    """A loop over rows met 429 at its fifty-first call. It is sent again when the service says; a wait of minutes is
    the program's decision."""
    answers = [(429, "0"), (429, "1"), (200, "0"), (429, "181")]

    class Limited(Handler):
        def do_GET(self) -> None:
            status, after = answers.pop(0)
            self.reply(b"{}", status, **{"Retry-After": after})

    with handled(Limited) as url:
        client = Client(url)
        assert client.me() == {}
        with pytest.raises(ProblemError, match="429"):
            client.me()
    assert not answers


def test_waiting_for_a_job_survives_a_service_restart() -> None:
    """Jobs survive a restart of the service, so waiting must too; it used to end with the first refused connection. A
    gateway error from a proxy is ignored, but an error of the service itself ends the wait."""
    answers: list[Any] = [
        {"state": "running"},
        None,
        (502, "<h1>Bad gateway</h1>"),
        {"state": "done"},
        (404, "<h1>no</h1>"),
    ]

    class Restarted(Handler):
        def do_GET(self) -> None:
            if (answer := answers.pop(0)) is None:
                return  # the connection ends without an answer
            status, body = answer if isinstance(answer, tuple) else (200, json.dumps({"id": "one", **answer}))
            self.send_response(status)
            self.send_header("Content-Type", "application/json" if status == 200 else "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

    with handled(Restarted) as url:
        client, job = Client(url), cast(Any, {"id": "one", "state": "queued"})
        assert client.wait(job, every_s=0)["state"] == "done"
        with pytest.raises(ProblemError, match="answers HTTP 404") as stranger:
            client.wait(job, every_s=0)
    assert "not from pairsmith" in str(stranger.value)


def test_events_end_with_the_last_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for events that cannot come: it used to be for ever. Jobs on a second page count, a stream that is
    cut, or that a proxy refuses while the service restarts, is opened again, and a job whose end was never published is
    noticed at a heartbeat."""
    monkeypatch.setattr(pairsmith.client, "_RECONNECT_S", 0)
    ended, going = {"id": "old", "state": "done"}, {"id": "one", "state": "running"}
    first, second = {"items": [ended], "next": "2"}, {"items": [going], "next": None}
    none = {"items": [ended], "next": None}
    cut = f"data: {json.dumps({'data': going})}\n\n"
    end = f"event: anew\ndata: {{}}\n\ndata: {json.dumps({'data': {**going, 'state': 'failed'}})}\n\ndata: never\n\n"
    answers: list[tuple[str, Any]] = [("jobs", none)]
    answers += [("jobs", first), ("jobs?", second), ("events", cut), ("jobs", second), ("events", None)]
    answers += [("jobs", second), ("events", end), ("jobs", none)]
    answers += [("jobs", second), ("events", ": beat\n\ndata: never\n\n"), ("jobs", none), ("jobs", none)]

    class Service(Handler):
        def do_GET(self) -> None:
            (path, answer), is_stream = answers.pop(0), "/events" in self.path
            assert self.path.partition("/v1/")[2].startswith(path)
            text = (answer or "") if is_stream else json.dumps(answer)
            self.reply(text.encode(), 503 if answer is None else 200)

    with handled(Service) as url:
        client = Client(url)
        assert [*client.events()] == []
        assert [event["data"]["state"] for event in client.events()] == ["running", "failed"]
        assert [*client.events()] == []
    assert not answers


@pytest.mark.parametrize("nth", [0, 1], ids=["client", "openai"])
def test_examples_of_the_manual_run(
    service: Service, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], nth: int
) -> None:
    """The code blocks of docs/service.md run unchanged except for the URL and the key."""
    unlimited(monkeypatch)
    key = service.program("owner").headers["Authorization"].removeprefix("Bearer ")
    text = (ROOT / "docs" / "service.md").read_text()
    block = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)[nth]
    with serving(service.app) as url:
        exec(compile(block.replace("http://127.0.0.1:8660", url).replace("ps_...", key), "service.md", "exec"), {})
    assert "queued" in capsys.readouterr().out


@contextmanager
def serving(app: Any) -> Iterator[str]:
    """Serve the application on a local socket, without jobs."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", lifespan="off"))
    thread = Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(120)
        assert not thread.is_alive()

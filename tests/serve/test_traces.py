"""Traces: which spans are sent, how they are related, and that they contain no text and no secret."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pairsmith.serve.access import ALL, Role
from pairsmith.serve.job import JobOptions
from pairsmith.serve.jobs import Jobs
from pairsmith.serve.workspace import Workspace
from schemas import tracing
from tests.pairsmith.conftest import SPEC as TINY
from tests.pairsmith.conftest import SUBJECTS, Project, answer, write_seeds
from tests.serve.collector import Collector
from tests.serve.conftest import ended, write_project
from tests.serve.people import MINE, Service
from tests.synth.loopback import Ask, LoopbackTeacher, Reply, fails

CLIENT, SERVER, ERROR = 3, 2, 2


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """Collects the spans of this process and its children without delay."""
    with Collector() as collecting:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collecting.url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        tracing._tracer.cache_clear()
        yield collecting
        if (tracer := tracing._tracer()) is not None:
            tracer.span_processor.shutdown()  # type: ignore[attr-defined]  # of the SDK's
        tracing._tracer.cache_clear()


def wait_for_span(collector: Collector, name: str) -> dict[str, Any]:
    """Wait for the span of that name and return it."""
    until = time.monotonic() + 60
    while True:
        if spans := [span for span in collector.spans() if span["name"] == name]:
            return spans[-1]
        assert time.monotonic() < until, [span["name"] for span in collector.spans()]
        time.sleep(0.05)


def test_job_is_one_trace_down_to_each_teacher_request(
    workspace: Workspace, teacher: LoopbackTeacher, collector: Collector
) -> None:
    """The trace id is the job's id. The stage in the job's process is a child of the job, and each teacher request a
    child of the stage, with the attributes of the OpenTelemetry conventions for generative AI. No prompt, seed, style
    or answer is contained."""
    write_project(workspace, "tiny", teacher.url)
    jobs = Jobs(workspace)

    async def scene() -> str:
        async with jobs.serving():
            started = await asyncio.to_thread(jobs.start, "tiny", "generate", JobOptions(), "ann")
            assert (await ended(jobs, started.id)).state == "done"
            await asyncio.to_thread(wait_for_span, collector, "pairsmith.job")
            return started.id

    job_id = asyncio.run(scene())
    job, stage = wait_for_span(collector, "pairsmith.job"), wait_for_span(collector, "pairsmith.generate")
    chats = [span for span in collector.spans() if span["name"] == "chat loopback"]
    assert len(chats) == len(teacher.asked) == len(SUBJECTS)
    assert {span["trace"] for span in (job, stage, *chats)} == {job_id}
    assert (job["parent"], stage["parent"]) == ("", job["id"])
    assert {span["parent"] for span in chats} == {stage["id"]}
    assert job["facts"]["pairsmith.job.state"] == "done"
    assert stage["facts"]["pairsmith.rows.rows_in"] == 2 * len(SUBJECTS)
    facts = chats[0]["facts"]
    assert chats[0]["kind"] == CLIENT
    assert facts["gen_ai.operation.name"] == "chat"
    assert facts["gen_ai.provider.name"] == "openai"
    assert facts["gen_ai.request.model"] == "loopback"
    assert facts["gen_ai.request.temperature"] == pytest.approx(0.7)
    assert facts["gen_ai.request.max_tokens"] == 64
    assert facts["gen_ai.request.choice.count"] == 2
    assert facts["gen_ai.response.finish_reasons"] == ["stop", "stop"]
    assert facts["gen_ai.usage.input_tokens"] > 0
    assert facts["gen_ai.usage.output_tokens"] > 0
    assert (facts["server.address"], facts["server.port"]) == (
        "127.0.0.1",
        int(teacher.url.split(":")[2].split("/")[0]),
    )
    everything = b"".join(collector.sent).decode(errors="replace")
    for text in (*SUBJECTS, "richly", "lighthouse", "beside a", "END"):
        assert text not in everything


def test_failed_request_is_an_error_span_with_its_type(tmp_path: Path, collector: Collector) -> None:
    """Each failed attempt is a span with the type of the failure, without the server's message."""

    def throttled_once(ask: Ask) -> Reply:
        return answer(ask) if ask.nth > 1 else fails(429, "sk-canary is too fast", {"Retry-After": "0.1"})

    with LoopbackTeacher(throttled_once) as teacher:
        (tmp_path / "pairsmith.toml").write_text(TINY.format(url=teacher.url))
        write_seeds(tmp_path, SUBJECTS[:2])
        Project(tmp_path).run("generate")
    chats = [span for span in collector.spans() if span["name"] == "chat loopback"]
    failed = [span for span in chats if span["status"] == ERROR]
    assert failed
    assert {span["facts"]["error.type"] for span in failed} == {"throttled"}
    assert {span["says"] for span in chats} == {""}
    assert {span["events"] for span in chats} == {0}
    assert b"sk-canary" not in b"".join(collector.sent)


def test_request_spans_are_named_by_their_route(tmp_path: Path, collector: Collector) -> None:
    """The span has the route, not the URL, because a query may contain a token. Health checks create no span."""
    with closing(Service(tmp_path / "space")) as service:
        service.person("owner", Role.owner, ALL)
        client = service.browser("owner")
        assert client.get("/redeem?token=canary-in-a-query").status_code < 500
        assert client.get("/healthz").status_code == 200
        assert client.get(f"/api/v1/projects/{MINE}").status_code == 200
    span = wait_for_span(collector, "GET /api/v1/projects/{project}")
    assert span["kind"] == SERVER
    assert span["facts"]["http.response.status_code"] == 200
    assert span["facts"]["pairsmith.project"] == MINE
    wait_for_span(collector, "GET /redeem")
    everything = b"".join(collector.sent)
    assert b"canary" not in everything
    assert b"healthz" not in everything


def test_without_an_endpoint_opentelemetry_is_not_imported() -> None:
    """A command that sends no traces does not spend time on importing OpenTelemetry."""
    code = "import sys, synth.endpoints.endpoint, pairsmith.receipts.receipt; from schemas import tracing; " + (
        "assert not tracing.is_on(); print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=Project(Path()).environ()
    )
    assert done.stdout.strip() == "[]"


def test_unreachable_collector_does_not_affect_a_command(tmp_path: Path, teacher: LoopbackTeacher) -> None:
    """The command ends as it does without tracing."""
    (tmp_path / "pairsmith.toml").write_text(TINY.format(url=teacher.url))
    write_seeds(tmp_path, SUBJECTS)
    done = Project(tmp_path).run("generate", OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


def test_unusable_trace_endpoint_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint with an unsupported protocol is reported with a message; the standard variable OTEL_SDK_DISABLED
    turns tracing off."""
    assert tracing.why_not() is None
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    assert "not over grpc" in str(tracing.why_not())
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert tracing.endpoint() is None

"""The service's own spans: one per request and one per job. A job's trace id is the id of the job, so the spans of all
its processes belong to it, whichever server started them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas import tracing

if TYPE_CHECKING:
    from pairsmith.serve.job import Job

_PROBES = ("healthz", "readyz", "metrics")


def parent_of(job_id: str) -> dict[str, str]:
    """The environment variable that sets the parent span of a job's process."""
    return {tracing.PARENT: tracing.traceparent(_trace_ids(job_id))} if tracing.endpoint() else {}


def job_ended(job: Job) -> None:
    """Record the span of a job, from its request until its end."""
    if not tracing.is_on():
        return
    ended = job.ended or job.last_sign_of_life or job.created
    facts = {
        "pairsmith.job.id": job.id,
        "pairsmith.job.command": job.command,
        "pairsmith.job.state": job.state,
        "pairsmith.project": job.project,
        "error.type": str((job.problem or {}).get("kind", "failed")) if job.state == "failed" else None,
    }
    began_s = job.created.timestamp()
    ended_s = max(began_s, ended.timestamp())  # the clock may have been set back
    tracing.record_span("pairsmith.job", began_s, ended_s, facts, failed=job.state == "failed", ids=_trace_ids(job.id))


def request(
    name: str, method: str, route: str, status: int, began_s: float, ended_s: float, project: str | None
) -> None:
    """Record the span of a request: its route, not its URL, which may contain a token."""
    if not tracing.is_on() or name in _PROBES:
        return
    facts = {
        "http.request.method": method,
        "http.route": route,
        "http.response.status_code": status,
        "pairsmith.project": project,
        "error.type": str(status) if status >= 500 else None,
    }
    tracing.record_span(f"{method} {route}", began_s, ended_s, facts, failed=status >= 500, kind="server")


def _trace_ids(job_id: str) -> tuple[int, int]:
    """The trace id and span id of a job."""
    return int(job_id, 16), int(job_id[16:], 16)

"""Prometheus metrics. They contain no user names, project content or keys."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

REGISTRY = CollectorRegistry()
_requests = Counter("pairsmith_requests", "Requests answered", ("route", "method", "status"), registry=REGISTRY)
_seconds = Histogram(
    "pairsmith_request_seconds",
    "Time to answer a request",
    ("route",),
    buckets=(0.005, 0.02, 0.05, 0.1, 0.15, 0.3, 1, 3, 10),
    registry=REGISTRY,
)
_jobs = Gauge("pairsmith_jobs", "The most recent jobs by command and state", ("command", "state"), registry=REGISTRY)
_oldest = Gauge("pairsmith_queue_oldest_seconds", "How long the oldest waiting job has been waiting", registry=REGISTRY)
_silence = Gauge(
    "pairsmith_silence_seconds", "How long the quietest running job has shown no sign of life", registry=REGISTRY
)
REPAIRS = Counter(
    "pairsmith_sweep_repairs", "Jobs put back into their queue after a database outage", registry=REGISTRY
)
_bytes = Gauge("pairsmith_store_bytes", "Size of a project's store file", ("project",), registry=REGISTRY)
_streams = Gauge("pairsmith_streams", "Open event streams", registry=REGISTRY)


def request(route: str, method: str, status: int, seconds: float) -> None:
    """Count a response."""
    _requests.labels(route, method, str(status)).inc()
    _seconds.labels(route).observe(seconds)


def text(
    jobs: list[tuple[str, str]], *, oldest_s: float, silence_s: float, streams: int, stores: Mapping[str, int]
) -> bytes:
    """The metrics page, given the (command, state) of every listed job and the size in bytes of every store."""
    _bytes.clear()
    for project, size in stores.items():
        _bytes.labels(project).set(size)
    _jobs.clear()
    for command, state in jobs:
        _jobs.labels(command, state).inc()
    _oldest.set(oldest_s)
    _silence.set(silence_s)
    _streams.set(streams)
    return generate_latest(REGISTRY)

"""Figures for Prometheus. Nothing in them names a person, a project's content or a key."""

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
_jobs = Gauge("pairsmith_jobs", "The last jobs by what they are doing", ("command", "state"), registry=REGISTRY)
_oldest = Gauge("pairsmith_queue_oldest_seconds", "How long the oldest waiting job waits", registry=REGISTRY)
_silence = Gauge("pairsmith_silence_seconds", "How long the quietest running job says nothing", registry=REGISTRY)
_repairs = Counter("pairsmith_sweep_repairs", "Jobs that a database outage had left, put back", registry=REGISTRY)
_bytes = Gauge("pairsmith_store_bytes", "Size of the store of a project, a file", ("project",), registry=REGISTRY)
_streams = Gauge("pairsmith_streams", "Open event streams", registry=REGISTRY)


def request(route: str, method: str, status: int, seconds: float) -> None:
    """Count an answer."""
    _requests.labels(route, method, str(status)).inc()
    _seconds.labels(route).observe(seconds)


def repaired() -> None:
    """Count a job that the sweep has put back."""
    _repairs.inc()


def text(
    jobs: list[tuple[str, str]], *, oldest_s: float, silence_s: float, streams: int, stores: Mapping[str, int]
) -> bytes:
    """The page for Prometheus, with the (command, state) of every job that is listed, and the bytes of every store."""
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

"""OpenTelemetry spans. They are sent only if the environment names an endpoint; otherwise nothing is imported or sent.

A span carries names and numbers but never user content: no prompt, no answer, no error message, no query string.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
VARIABLES = (
    *ENDPOINTS,
    *(f"OTEL_EXPORTER_OTLP_{name}" for name in ("HEADERS", "TRACES_HEADERS", "CERTIFICATE", "TIMEOUT", "PROTOCOL")),
    *("OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES", "OTEL_TRACES_EXPORTER", "OTEL_SDK_DISABLED"),
    *("OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"),
)
"""The standard OpenTelemetry variables that decide whether and where spans are sent."""
PARENT = "TRACEPARENT"
"""The variable that gives a child process its parent span, in the format of the W3C `traceparent` header."""

Facts = Mapping[str, Any]
Tell = Callable[[Facts], None]
"""Adds attributes to a span; those that are None are left out."""
Kind = Literal["internal", "client", "server"]

_PROTOCOL = "http/protobuf"
_ids: ContextVar[tuple[int, int] | None] = ContextVar("ids", default=None)


def endpoint() -> str | None:
    """The OTLP endpoint that receives spans; None if tracing is not configured or is switched off."""
    if os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or os.environ.get("OTEL_TRACES_EXPORTER") == "none":
        return None
    return next((os.environ[name] for name in ENDPOINTS if os.environ.get(name)), None)


def why_not() -> str | None:
    """Why spans are not sent although an endpoint is configured, as a message for the user; None if nothing prevents
    it."""
    if endpoint() is None:
        return None
    protocol = os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL", _PROTOCOL)
    if protocol != _PROTOCOL:
        return f"no traces are sent: pairsmith exports them over {_PROTOCOL}, not over {protocol}."
    return None if is_on() else "no traces are sent: packages are missing; pip install 'pairsmith[otel]'."


def is_on() -> bool:
    """Whether spans are sent."""
    return _tracer() is not None


@contextmanager
def span(name: str, facts: Facts, kind: Kind = "internal") -> Iterator[Tell]:
    """Open a span for the duration of the block, as a child of the current span.

    An exception marks the span as failed and records only the exception's class.
    """
    tracer = _tracer()
    if tracer is None:
        yield lambda facts: None
        return
    from opentelemetry import trace

    context = None if trace.get_current_span().get_span_context().is_valid else _parent()
    with tracer.start_as_current_span(
        name, context, _kinds()[kind], _known(facts), record_exception=False, set_status_on_exception=False
    ) as opened:
        try:
            yield lambda facts: opened.set_attributes(_known(facts))
        except BaseException as error:
            opened.set_attribute("error.type", str(getattr(error, "word", type(error).__name__)))
            opened.set_status(trace.StatusCode.ERROR)
            raise


def record_span(
    name: str,
    began_s: float,
    ended_s: float,
    facts: Facts,
    *,
    failed: bool,
    kind: Kind = "internal",
    ids: tuple[int, int] | None = None,
) -> None:
    """Record a span that has already ended; both times are seconds since the Unix epoch.

    `ids` are the trace id and span id if they were chosen beforehand, so that child spans could refer to them in the
    meantime.
    """
    tracer = _tracer()
    if tracer is None:
        return
    from opentelemetry import trace
    from opentelemetry.context import Context

    preset = _ids.set(ids)
    try:
        opened = tracer.start_span(
            name, Context(), _kinds()[kind], attributes=_known(facts), start_time=int(began_s * 1e9)
        )
    finally:
        _ids.reset(preset)
    if failed:
        opened.set_status(trace.StatusCode.ERROR)
    opened.end(int(ended_s * 1e9))


def traceparent(ids: tuple[int, int]) -> str:
    """A trace id and span id in the format of the W3C `traceparent` header."""
    return f"00-{ids[0]:032x}-{ids[1]:016x}-01"


def _kinds() -> dict[str, Any]:
    from opentelemetry.trace import SpanKind

    return {"internal": SpanKind.INTERNAL, "client": SpanKind.CLIENT, "server": SpanKind.SERVER}


def _known(facts: Facts) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if value is not None}


def _parent() -> Any:
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({"traceparent": os.environ.get(PARENT, "")})


@cache
def _tracer() -> Tracer | None:
    if endpoint() is None or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL", _PROTOCOL) != _PROTOCOL:
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
    except ModuleNotFoundError:  # the server reports this when it starts, through `why_not`
        return None

    class PresetIdGenerator(RandomIdGenerator):
        def generate_trace_id(self) -> int:
            preset = _ids.get()
            return preset[0] if preset else super().generate_trace_id()

        def generate_span_id(self) -> int:
            preset = _ids.get()
            return preset[1] if preset else super().generate_span_id()

    named = {} if "OTEL_SERVICE_NAME" in os.environ else {"service.name": "pairsmith"}
    # Not the global provider: instrumented libraries would export their own spans, with tokens in URLs for example.
    provider = TracerProvider(resource=Resource.create(named), id_generator=PresetIdGenerator())
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider.get_tracer("pairsmith")

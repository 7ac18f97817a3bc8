"""Spans for OpenTelemetry, where the environment names an endpoint for them; without one nothing is imported or sent.

A span has names and figures, never what somebody wrote: no prompt, no answer, no message of an error, no query of an
address.
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
"""What decides where spans go, and which; the standard's own names."""
PARENT = "TRACEPARENT"
"""The variable in which a process is told the span that its own belong to, as W3C's `traceparent` header."""

Facts = Mapping[str, Any]
Tell = Callable[[Facts], None]
"""Adds attributes to a span; those that are None are left out."""
Kind = Literal["internal", "client", "server"]

_PROTOCOL = "http/protobuf"
_ids: ContextVar[tuple[int, int] | None] = ContextVar("ids", default=None)


def endpoint() -> str | None:
    """Where spans go; None if nobody wants them."""
    if os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or os.environ.get("OTEL_TRACES_EXPORTER") == "none":
        return None
    return next((os.environ[name] for name in ENDPOINTS if os.environ.get(name)), None)


def why_not() -> str | None:
    """What keeps spans from being sent although an endpoint is named, in a sentence; None if nothing does."""
    if endpoint() is None:
        return None
    protocol = os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL", _PROTOCOL)
    if protocol != _PROTOCOL:
        return f"no traces are sent: they go by {_PROTOCOL}, not by {protocol}."
    return None if is_on() else "no traces are sent: packages are missing; pip install 'pairsmith[otel]'."


def is_on() -> bool:
    """Whether spans are sent."""
    return _tracer() is not None


@contextmanager
def span(name: str, facts: Facts, kind: Kind = "internal") -> Iterator[Tell]:
    """A span for the length of the block, within the one that is open. An exception ends it as an error, of which it
    has the class."""
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


def told(
    name: str,
    began_s: float,
    ended_s: float,
    facts: Facts,
    *,
    failed: bool,
    kind: Kind = "internal",
    ids: tuple[int, int] | None = None,
) -> None:
    """A span that is over, between two times since 1970. `ids` are the numbers of its trace and of itself where they
    were settled before, so that others could belong to it meanwhile."""
    tracer = _tracer()
    if tracer is None:
        return
    from opentelemetry import trace
    from opentelemetry.context import Context

    given = _ids.set(ids)
    try:
        opened = tracer.start_span(
            name, Context(), _kinds()[kind], attributes=_known(facts), start_time=int(began_s * 1e9)
        )
    finally:
        _ids.reset(given)
    if failed:
        opened.set_status(trace.StatusCode.ERROR)
    opened.end(int(ended_s * 1e9))


def traceparent(ids: tuple[int, int]) -> str:
    """A trace and span as a header of W3C."""
    return f"00-{ids[0]:032x}-{ids[1]:016x}-01"


def _kinds() -> dict[str, Any]:
    from opentelemetry.trace import SpanKind

    return {"internal": SpanKind.INTERNAL, "client": SpanKind.CLIENT, "server": SpanKind.SERVER}


def _known(facts: Facts) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if value is not None}


def _parent() -> Any:
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({"traceparent": os.environ.get(PARENT, "")})


def close() -> None:
    """Send what is left, and look at the environment again before the next span."""
    if (tracer := _tracer()) is not None:
        tracer.span_processor.shutdown()  # type: ignore[attr-defined]  # of the SDK's
    _tracer.cache_clear()


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
    except ModuleNotFoundError:  # the server says so as it starts, by `why_not`
        return None

    class Settled(RandomIdGenerator):
        def generate_trace_id(self) -> int:
            given = _ids.get()
            return given[0] if given else super().generate_trace_id()

        def generate_span_id(self) -> int:
            given = _ids.get()
            return given[1] if given else super().generate_span_id()

    named = {} if "OTEL_SERVICE_NAME" in os.environ else {"service.name": "pairsmith"}
    # It is not the global one: what libraries would tell of themselves, addresses with tokens say, is nobody's.
    provider = TracerProvider(resource=Resource.create(named), id_generator=Settled())
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider.get_tracer("pairsmith")

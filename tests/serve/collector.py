"""A trace collector on a real port that accepts OTLP over HTTP."""

from __future__ import annotations

from typing import Any

from tests.servers import Handler, OnThreads


class Collector(OnThreads):
    """Use it as `with Collector() as collector:`; it runs until the block ends. `sent` holds the request bodies."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        taken = self.sent

        class Taking(Handler):
            def do_POST(self) -> None:
                taken.append(self.body())
                self.reply()

        super().__init__(Taking)

    def spans(self) -> list[dict[str, Any]]:
        """Return every span so far: name, hexadecimal ids, kind, status, number of events, and attributes."""
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        spans = []
        for body in list(self.sent):
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                for scope in resource.scope_spans:
                    spans += [_read(span) for span in scope.spans]
        return spans


def _read(span: Any) -> dict[str, Any]:
    def value(any_value: Any) -> Any:
        kind = any_value.WhichOneof("value")
        held = getattr(any_value, kind)
        return [value(one) for one in held.values] if kind == "array_value" else held

    return {
        "name": span.name,
        "trace": span.trace_id.hex(),
        "id": span.span_id.hex(),
        "parent": span.parent_span_id.hex(),
        "kind": int(span.kind),
        "status": int(span.status.code),
        "says": span.status.message,
        "events": len(span.events),
        "facts": {fact.key: value(fact.value) for fact in span.attributes},
    }

"""The rows that a record is kept in: what is said elsewhere is left out, and put back by who reads it.

Of a request that is all but its last message (the prompt, its worked examples, earlier turns, the sampling): a row of
`requests`, once for all that share it. Of an answer it is what its columns say, what is at its default, and its text,
where that is the content as it came. Of a pair it is what is empty. Rows of earlier versions hold all of it, and are
read as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import orjson
import sqlalchemy as sa
from pydantic_core import to_json

from schemas.records import Call, Generated, Json, Pair, Record, Sampling, content_id
from schemas.store import tables

SAID = ("key", "attempt", "status", "request_id", "stage", "prompt", "teacher")  # of an answer, by columns of its row
BEFORE = "$before"  # in a request: the id of what stands before its last message
_EMPTY = ("meta", "turns", "reference", "columns")
_MOST = 10_000  # ids that are remembered

# What the body of an answer says: by whether it holds its request, and whether its text is the content as it came.
_KEPT = {
    (first, plain): [name for name in Call.model_fields if name not in {*SAID, other, "text" if plain else ""}]
    for first, other in ((True, "request_of"), (False, "request"))
    for plain in (True, False)
}

_USUAL: tuple[tuple[str, Any], ...] = (("reason", ""), ("transport", "http"), ("facts", {}), ("usage", {}))

Row = tuple[sa.Table, dict[str, Any]]


class Rows:
    """Makes rows of records, and remembers which requests a writer has committed."""

    def __init__(self) -> None:
        self._there: set[str] = set()
        self._sampling: tuple[Sampling | None, Json] = (None, {})  # that of the last pair, and what is set in it
        self._last: tuple[Json, str] = ({}, "")

    def of(self, record: Record) -> Iterator[Row]:
        """Its rows. Raises TypeError for a record that is not kept."""
        if isinstance(record, Call):
            request = record.request
            messages = None if record.request_of is not None or BEFORE in request else request.get("messages")
            if isinstance(messages, list) and len(messages) > 1:
                before = {**request, "messages": messages[:-1]}
                if before != self._last[0]:
                    self._last = before, content_id("request", before)
                id_ = self._last[1]
                if id_ not in self._there:
                    yield tables.requests, {"id": id_, "body": orjson.dumps(before).decode()}
                request = {BEFORE: id_, "messages": messages[-1:]}
            yield tables.calls, {**tables.columns(record)[1], "body": _answer(record, request)}
        elif isinstance(record, Pair):
            yield tables.pairs, {"id": record.id, "seed_id": record.seed_id, "body": self._pair(record)}
        else:
            yield tables.row(record)

    def _pair(self, pair: Pair) -> str:
        """The body of a pair's row, as pydantic writes it without what is empty."""
        fields, origin = pair.__dict__, pair.origin
        body = {name: fields[name] for name in Pair.model_fields if fields[name] or name not in _EMPTY}
        if isinstance(origin, Generated):
            if origin.sampling is not self._sampling[0]:
                said = {name: value for name, value in origin.sampling if value is not None}
                self._sampling = origin.sampling, said
            named = {name: origin.__dict__[name] for name in Generated.model_fields}
            body["origin"] = {**named, "sampling": self._sampling[1]}
        return to_json(body, inf_nan_mode="constants").decode()

    def committed(self, ids: set[str]) -> None:
        """These requests are durable; none need be written again."""
        self._there = ids if len(self._there) > _MOST else self._there | ids

    def forget(self) -> None:
        """Requests may have been deleted."""
        self._there = set()


def _answer(call: Call, request: Json) -> str:
    """The body of an answer's row, as pydantic writes it, without what is at its default; made without a copy of the
    record, of which it is a part."""
    at_once = bool(call.text) and call.text == _content(call)
    fields = call.__dict__
    body = {name: fields[name] for name in _KEPT[call.request_of is None, at_once]}
    if call.request_of is None:
        body["request"] = request
    body["usage"] = {name: tokens for name, tokens in call.usage if tokens}
    for name, usual in _USUAL:
        if body[name] == usual:
            del body[name]
    return to_json(body, inf_nan_mode="constants").decode()


def body_of(said: Sequence[Any], body: str) -> str:
    """The body of an answer with what its columns `SAID` say; what it says itself counts."""
    return f"{orjson.dumps(dict(zip(SAID, said, strict=True)))[:-1].decode()},{body[1:]}"


def whole(call: Call, request: Json | None) -> Call:
    """An answer as it was before it was kept; `request` is what stands before its last message."""
    update: Json = {} if "text" in call.model_fields_set else {"text": _content(call)}
    if request is not None:
        update["request"] = {**request, "messages": [*request["messages"], *call.request["messages"]]}
    return call.model_copy(update=update) if update else call


def _content(call: Call) -> str:
    message = call.raw.get("message")
    content = message.get("content") if isinstance(message, dict) else None
    return content if isinstance(content, str) else ""

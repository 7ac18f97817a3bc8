"""The rows that a record is kept in: what is said elsewhere is left out, and put back by who reads it.

Of a request that is all but its last message (the prompt, its worked examples, earlier turns, the sampling): a row of
`requests`, once for all that share it. Of an answer it is what its columns say, and its text, where that is the content
as it came. Of a pair it is what is empty. Rows of earlier versions hold all of it, and are read as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import orjson
import sqlalchemy as sa

from schemas.records import Call, Generated, Json, Pair, Record, Sampling, content_id
from schemas.store import tables

SAID = ("key", "attempt", "status", "request_id", "stage", "prompt", "teacher")  # of an answer, by columns of its row
BEFORE = "$before"  # in a request: the id of what stands before its last message
_EMPTY = ("meta", "turns", "reference", "columns")
_MOST = 10_000  # ids that are remembered

# What the row of an answer leaves out: by whether it holds its request, and whether its text is the content as it came.
_LEFT_OUT = {
    (first, plain): {*SAID, "request_of" if first else "request", *(("text",) if plain else ())}
    for first in (True, False)
    for plain in (True, False)
}

Row = tuple[sa.Table, dict[str, Any]]


class Rows:
    """Makes rows of records, and remembers which requests a writer has committed."""

    def __init__(self) -> None:
        self._there: set[str] = set()
        self._unset: tuple[Sampling | None, Json] = (None, {})  # of the sampling of the last pair
        self._last: tuple[Json, str] = ({}, "")

    def of(self, record: Record) -> Iterator[Row]:
        """Its rows. Raises TypeError for a record that is not kept."""
        if isinstance(record, Call) and record.request_of is None and BEFORE not in record.request:
            messages = record.request.get("messages")
            if isinstance(messages, list) and len(messages) > 1:
                before = {**record.request, "messages": messages[:-1]}
                if before != self._last[0]:
                    self._last = before, content_id("request", before)
                id_ = self._last[1]
                if id_ not in self._there:
                    yield tables.requests, {"id": id_, "body": orjson.dumps(before).decode()}
                record = record.model_copy(update={"request": {BEFORE: id_, "messages": messages[-1:]}})
        yield tables.row(record, self._left_out(record))

    def _left_out(self, record: Record) -> Any:
        """What of a record its row does not say."""
        if isinstance(record, Call):
            at_once = bool(record.text) and record.text == _content(record)
            return _LEFT_OUT[record.request_of is None, at_once]
        if isinstance(record, Pair):
            empty: Json = {name: True for name in _EMPTY if not getattr(record, name)}
            if isinstance(record.origin, Generated):
                empty["origin"] = {"sampling": self._unset_in(record.origin.sampling)}
            return empty
        return None

    def _unset_in(self, sampling: Sampling) -> Json:
        if sampling is not self._unset[0]:
            self._unset = sampling, {name: True for name, value in sampling if value is None}
        return self._unset[1]

    def committed(self, ids: set[str]) -> None:
        """These requests are durable; none need be written again."""
        self._there = ids if len(self._there) > _MOST else self._there | ids

    def forget(self) -> None:
        """Requests may have been deleted."""
        self._there = set()


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

"""The rows that a record is kept in: what is said elsewhere is left out, and put back by who reads it.

Of a request that is all but its last message (the prompt, its worked examples, earlier turns, the sampling): a row of
`requests`, once for all that share it. Of an answer it is what its columns say, what is at its default, and its text,
where that is the content as it came. Of a pair it is what is empty, and who made it and by which system prompt, but for
the answers that it was made of: a row of `origins`, once for all that share it. Of a candidate it is what its columns
say, of a seed what is at its default. Rows of earlier versions hold all of it, and are read as they are.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import orjson
import sqlalchemy as sa
from pydantic_core import to_json

from schemas.records import Call, Candidate, Generated, Json, Pair, Record, Seed, content_id
from schemas.store import tables

SAID: dict[sa.Table, tuple[str, ...]] = {
    tables.calls: (
        *("key", "attempt", "status", "request_id", "stage", "prompt", "teacher"),
        *("prompt_tokens", "completion_tokens", "usd", "unpriced"),
    ),
    tables.candidates: ("fingerprint", "seed_id", "generator", "sample"),
    tables.pairs: ("seed_id",),
}
"""What columns say and a body leaves out."""
BEFORE = "$before"  # in a request: the id of what stands before its last message
_MADE = '{"$made":"'  # so begins a pair whose origin stands elsewhere, under the 32 digits that follow
_CALLS = ',"calls":'  # at its end: the answers that it was made of
_OF_PAIR = [name for name in Pair.model_fields if name != "seed_id"]
_EMPTY = ("meta", "turns", "reference", "columns")
_MOST = 10_000  # ids that are remembered

_NAMED = frozenset(SAID[tables.calls])

# What the body of an answer says: by whether it holds its request, and whether its text is the content as it came.
_KEPT = {
    (first, plain): [name for name in Call.model_fields if name not in {*_NAMED, other, "text" if plain else ""}]
    for first, other in ((True, "request_of"), (False, "request"))
    for plain in (True, False)
}

_USUAL: Json = {"reason": "", "transport": "http", "facts": {}, "sample": 0}
_NEVER = object()

Row = tuple[sa.Table, dict[str, Any]]


class StoredRows:
    """Makes rows of records, and remembers which requests and origins a writer has committed."""

    def __init__(self) -> None:
        self._there: set[str] = set()
        self._last: tuple[Json, str] = ({}, "")
        self._origins: dict[str, tuple[tuple[Any, ...], str, Json]] = {}  # the last of each generator, its id and body
        self._system = ""  # that of the last pair

    def of(self, record: Record) -> Iterator[Row]:
        """Its rows. Raises TypeError for a record that is not kept."""
        match record:
            case Call():
                yield from self._call(record)
            case Pair():
                yield from self._pair(record)
            case Candidate():
                if record.failure is None:
                    outcome = orjson.dumps({"pair_id": record.pair_id}).decode()
                else:
                    outcome = record.model_dump_json(include={"pair_id", "failure"}, exclude_none=True)
                yield tables.candidates, {**tables.columns(record)[1], "body": outcome}
            case Seed():
                yield tables.seeds, {"id": record.id, "body": seed_body(record)}
            case _:
                yield tables.row(record)

    def _call(self, call: Call) -> Iterator[Row]:
        request = call.request
        messages = None if call.request_of is not None or BEFORE in request else request.get("messages")
        if isinstance(messages, list) and len(messages) > 1:
            before = {**request, "messages": messages[:-1]}
            if before != self._last[0]:
                self._last = before, content_id("request", before)
            id_, last = self._last[1], messages[-1]
            if id_ not in self._there:
                yield tables.requests, {"id": id_, "body": orjson.dumps(before).decode()}
            plain = isinstance(last, dict) and last.keys() == {"role", "content"} and last["role"] == "user"
            request = {BEFORE: id_, "user": last["content"]} if plain else {BEFORE: id_, "messages": [last]}
        yield tables.calls, {**tables.columns(call)[1], "body": _answer(call, request)}

    def _pair(self, pair: Pair) -> Iterator[Row]:
        fields, origin = pair.__dict__, pair.origin
        held = {name: fields[name] for name in _OF_PAIR if fields[name] or name not in _EMPTY}
        if isinstance(origin, Generated):
            recurs, self._system = pair.system == self._system, pair.system  # that of a conversation is its own
            id_, row = self._origin(origin, pair.system if recurs else None)
            if id_ not in self._there:
                yield tables.origins, row
            if recurs:
                del held["system"]
            del held["origin"]
            held = {_MADE[2:-3]: id_, **held, "calls": origin.calls}
        body = to_json(held, inf_nan_mode="constants").decode()
        yield tables.pairs, {"id": pair.id, "seed_id": pair.seed_id, "body": body}

    def _origin(self, origin: Generated, system: str | None) -> tuple[str, Json]:
        """The id and the row of what this pair shares with others."""
        parts = origin.prompt, origin.teacher, origin.sampling, system
        last, id_, row = self._origins.get(origin.generator, ((), "", {}))
        if last != parts:
            sampling = {name: value for name, value in origin.sampling if value is not None}
            named = {name: origin.__dict__[name] for name in Generated.model_fields if name != "calls"}
            held: Json = {"origin": named | {"sampling": sampling}} | ({} if system is None else {"system": system})
            body = to_json(held, inf_nan_mode="constants").decode()
            id_ = content_id("origin", body)
            row = {"id": id_, "body": body}
            self._origins[origin.generator] = parts, id_, row
        return id_, row

    def committed(self, ids: set[str]) -> None:
        """These requests and origins are durable; none need be written again."""
        self._there = ids if len(self._there) > _MOST else self._there | ids

    def forget(self) -> None:
        """Requests and origins may have been deleted."""
        self._there = set()


def _answer(call: Call, request: Json) -> str:
    """The body of an answer's row, as pydantic writes it, without what is at its default; made without a copy of the
    record, of which it is a part."""
    at_once = bool(call.text) and call.text == _content(call)
    fields = call.__dict__
    body = {
        name: value
        for name in _KEPT[call.request_of is None, at_once]
        if (value := fields[name]) != _USUAL.get(name, _NEVER)
    }
    if call.request_of is None:
        body["request"] = request
    usage = call.usage
    if usage.cached_tokens or usage.reasoning_tokens:
        body["usage"] = {name: tokens for name, tokens in usage if tokens}
    else:
        del body["usage"]
    return to_json(body, inf_nan_mode="constants").decode()


def seed_body(seed: Seed) -> str:
    """The body of a seed's row."""
    return seed.model_dump_json(exclude_defaults=True)


def kept(table: sa.Table) -> tuple[sa.Column[Any], ...]:
    """The columns that `body_of` makes a record of."""
    return *(table.c[name] for name in SAID.get(table, ())), table.c.body


def body_of(table: sa.Table, row: Sequence[Any], origin: Callable[[str], tuple[str, str]]) -> str:
    """The whole JSON of a record, from the values of `kept(table)`; what the body says itself counts. `origin` tells
    what an origin says beside the origin of its pairs, and that, each as the beginning of JSON."""
    *values, body = row
    if table is tables.seeds or table not in SAID:
        return str(body)
    fields = dict(zip(SAID[table], values, strict=True))
    if table is tables.calls:
        tokens = {name: fields.pop(name) for name in ("prompt_tokens", "completion_tokens")}
        fields["usd"] = None if fields.pop("unpriced") else fields["usd"]
        fields |= {"usage": tokens, "sample": 0}
    if table is tables.pairs and body.startswith(_MADE):
        beside, origin_part = origin(body[len(_MADE) : (end := len(_MADE) + 32)])
        rest = body[end + 2 : -1]
        at = rest.rindex(_CALLS)
        return f'{orjson.dumps(fields).decode()[:-1]},{beside}{rest[:at]},"origin":{origin_part}{rest[at:]}}}}}'
    return f"{orjson.dumps(fields).decode()[:-1]},{body[1:]}"


class Texts(NamedTuple):
    """What is asked and answered in a pair: all turns with the input, which alone tells the candidates of one input."""

    seed_id: str
    input: str
    asked: str
    output: str


def texts_in(seed_id: str, body: str) -> Texts:
    """The texts in the body of a pair, which is not checked again."""
    held = orjson.loads(body)
    turns = [turn["content"] for turn in held.get("turns") or ()]
    return Texts(seed_id, held["input"], "\n".join([*turns, held["input"]]), held["output"])


def texts_of(pair: Pair) -> Texts:
    return Texts(pair.seed_id, pair.input, pair.asked, pair.output)


def origins_named() -> sa.Select[tuple[str]]:
    """The ids of the origins that pairs have."""
    body = tables.pairs.c.body
    return sa.select(sa.func.substr(body, len(_MADE) + 1, 32)).where(sa.func.substr(body, 1, len(_MADE)) == _MADE)


def origin_parts(body: str) -> tuple[str, str]:
    """What an origin says, as `body_of` asks for it."""
    held = json.loads(body)  # which reads, and writes, every number that a spec may hold
    system = f'"system":{json.dumps(held["system"])},' if "system" in held else ""
    return system, json.dumps(held["origin"])[:-1]


def whole(call: Call, request: Json | None) -> Call:
    """An answer as it was before it was kept; `request` is what stands before its last message."""
    update: Json = {} if "text" in call.model_fields_set else {"text": _content(call)}
    if request is not None:
        kept_part = call.request
        last = [{"role": "user", "content": kept_part["user"]}] if "user" in kept_part else kept_part["messages"]
        update["request"] = {**request, "messages": [*request["messages"], *last]}
    return call.model_copy(update=update) if update else call


def _content(call: Call) -> str:
    message = call.raw.get("message")
    content = message.get("content") if isinstance(message, dict) else None
    return content if isinstance(content, str) else ""

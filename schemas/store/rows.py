"""The stored form of records. Content that is stored elsewhere is left out of a row and put back on reading.

- Request: everything but its last message (the prompt, its worked examples, earlier turns, the sampling) is a row of
  `requests`, stored once for all requests that share it.
- Answer: its columns and fields at their default are left out, and so is its text if it equals the raw content.
- Pair: empty fields are left out. Its origin and system prompt are a row of `origins`, stored once for all pairs that
  share it; only the answers it was made from stay in the pair's row.
- Candidate: its columns are left out.
- Seed: fields at their default are left out.
- Artifact: its members are a column.

Rows of earlier versions contain everything and are still readable.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import cache
from operator import itemgetter
from typing import Any, NamedTuple

import orjson
import sqlalchemy as sa
from pydantic_core import to_json

from schemas.records import Call, Candidate, Generated, Json, Pair, Record, Seed, content_id
from schemas.spooled_seeds import seed_body
from schemas.store import tables

COLUMN_FIELDS: dict[sa.Table, tuple[str, ...]] = {
    tables.calls: (
        *("key", "attempt", "status", "request_id", "stage", "prompt", "teacher"),
        *("prompt_tokens", "completion_tokens", "usd", "unpriced"),
    ),
    tables.candidates: ("fingerprint", "seed_id", "generator", "sample"),
    tables.pairs: ("seed_id",),
    tables.artifacts: ("members",),  # as JSON
}
"""The fields that are stored as columns and left out of the body."""
PREFIX_KEY = "$before"  # in a request: the id of the shared request without its last message
_MADE = '{"$made":"'  # the beginning of a pair whose origin is stored separately, under the 32 digits that follow
_CALLS = ',"calls":'  # at its end: the answers it was made from
_EMPTY = ("meta", "turns", "reference", "columns")
_MOST = 10_000  # maximum number of remembered ids

Row = tuple[Any, ...]


class InsertTarget:
    """A table, and the columns to insert, in order."""

    def __init__(self, table: sa.Table, *names: str) -> None:
        self.table, self.names = table, names


insert_target = cache(InsertTarget)  # one instance per target, because rows are grouped by it
_FIELDS = ("key", "attempt", "status", "request_id", "stage", "teacher", "prompt")
_CALL = itemgetter(*_FIELDS)
_TOKENS = ("prompt_tokens", "completion_tokens", "cached_tokens")
INTO_CALLS = insert_target(tables.calls, *_FIELDS, *_TOKENS, "usd", "unpriced", "body")
_INTO_REQUESTS = insert_target(tables.requests, "id", "body")
INTO_SEEDS = insert_target(tables.seeds, "id", "body")
_INTO_ORIGINS = insert_target(tables.origins, "id", "body")
_INTO_PAIRS = insert_target(tables.pairs, "id", "seed_id", "body")
_INTO_CANDIDATES = insert_target(tables.candidates, "fingerprint", "seed_id", "generator", "sample", "body")


class StoredRows:
    """Builds rows from records, and remembers which requests and origins the writer has committed."""

    def __init__(self) -> None:
        self._stored_ids: set[str] = set()
        self._last: tuple[Json, str] = ({}, "")
        self._origins: dict[str, tuple[tuple[Any, ...], str, str]] = {}  # generator -> (parts, id, body) of the latest
        self._system = ""  # the system prompt of the last pair

    def of(self, records: Iterable[Record]) -> tuple[dict[InsertTarget, list[Row]], set[str]]:
        """The rows of the records, and the ids of the shared requests and origins among them. Raises TypeError for a
        record type that is not stored."""
        rows: dict[InsertTarget, list[Row]] = defaultdict(list)
        requests, origins = dict[str, str](), dict[str, str]()
        for record in records:
            kind: Any = type(record)  # isinstance() on a pydantic model takes longer than building the row
            one: Any = record
            if kind is Call:
                rows[INTO_CALLS].append(self._call(one, requests))
            elif kind is Pair:
                rows[_INTO_PAIRS].append(self._pair(one, origins))
            elif kind is Candidate:
                rows[_INTO_CANDIDATES].append(_slot(one))
            elif kind is Seed:
                rows[INTO_SEEDS].append((one.id, seed_body(one)))
            else:
                table, values = tables.row(record)
                rows[insert_target(table, *values)].append(tuple(values.values()))
        for shared, where in ((requests, _INTO_REQUESTS), (origins, _INTO_ORIGINS)):
            if shared:
                rows[where] = list(shared.items())
        return rows, requests.keys() | origins.keys()

    def _call(self, call: Call, requests: dict[str, str]) -> Row:
        request = call.request
        messages = None if call.request_of is not None or PREFIX_KEY in request else request.get("messages")
        if isinstance(messages, list) and len(messages) > 1:
            before = {**request, "messages": messages[:-1]}
            if before != self._last[0]:
                self._last = before, content_id("request", before)
            id_, last = self._last[1], messages[-1]
            if id_ not in self._stored_ids and id_ not in requests:
                requests[id_] = orjson.dumps(before).decode()
            plain = isinstance(last, dict) and last.keys() == {"role", "content"} and last["role"] == "user"
            request = {PREFIX_KEY: id_, "user": last["content"]} if plain else {PREFIX_KEY: id_, "messages": [last]}
        usage, usd = call.usage, call.usd
        tokens = usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens
        return (*_CALL(call.__dict__), *tokens, usd or 0.0, int(usd is None), _answer(call, request))

    def _pair(self, pair: Pair, origins: dict[str, str]) -> Row:
        fields, origin = pair.__dict__, pair.origin
        more = {name: fields[name] for name in _EMPTY if fields[name]}
        held: Json = {"input": pair.input, "output": pair.output}
        if isinstance(origin, Generated):
            recurs, self._system = pair.system == self._system, pair.system  # a conversation has its own system prompt
            id_, body = self._origin(origin, pair.system if recurs else None)
            if id_ not in self._stored_ids:
                origins[id_] = body
            extra = {} if recurs else {"system": pair.system}
            held = {_MADE[2:-3]: id_, **held, **extra, **more, "calls": origin.calls}
        else:
            held = {**held, "system": pair.system, "origin": origin, **more}
        return pair.id, pair.seed_id, _written(held, pair.meta.values())

    def _origin(self, origin: Generated, system: str | None) -> tuple[str, str]:
        """The id and the body of the part of a pair's origin that other pairs share."""
        parts = origin.prompt, origin.teacher, origin.sampling, system
        last, id_, body = self._origins.get(origin.generator, ((), "", ""))
        if last != parts:
            sampling = {name: value for name, value in origin.sampling if value is not None}
            named = {name: origin.__dict__[name] for name in Generated.model_fields if name != "calls"}
            held: Json = {"origin": named | {"sampling": sampling}} | ({} if system is None else {"system": system})
            body = _as_pydantic(held)
            id_ = content_id("origin", body)
            self._origins[origin.generator] = parts, id_, body
        return id_, body

    def committed(self, ids: set[str]) -> None:
        """Remember that these requests and origins are durable and need not be written again."""
        self._stored_ids = ids if len(self._stored_ids) > _MOST else self._stored_ids | ids

    def forget(self) -> None:
        """Forget all requests and origins, because they may have been deleted."""
        self._stored_ids = set()


def _slot(candidate: Candidate) -> Row:
    if candidate.failure is None:
        outcome = orjson.dumps({"pair_id": candidate.pair_id}).decode()
    else:
        outcome = candidate.model_dump_json(include={"pair_id", "failure"}, exclude_none=True)
    return candidate.fingerprint, candidate.seed_id, candidate.generator, candidate.sample, outcome


def _answer(call: Call, request: Json) -> str:
    """The body of an answer's row as pydantic would write it, without fields at their default. It is built without
    copying the record."""
    first = call.request_of is None
    body: Json = {"request": request} if first else {"request_of": call.request_of}
    body["raw"] = call.raw
    if call.facts:
        body["facts"] = call.facts
    if not call.text or call.text != _content(call):
        body["text"] = call.text
    if call.reason:
        body["reason"] = call.reason
    usage = call.usage
    if usage.cached_tokens or usage.reasoning_tokens:
        body["usage"] = {name: tokens for name, tokens in usage if tokens}
    if call.sample:
        body["sample"] = call.sample
    body["endpoint"] = call.endpoint
    if call.transport != "http":
        body["transport"] = call.transport
    body |= {"seconds": call.seconds, "at": call.at}
    message = call.raw.get("message")
    foreign = message.values() if isinstance(message, dict) else ()
    return _written(body, [*call.raw.values(), *foreign, *call.facts.values()])


def _written(held: Json, foreign: Collection[Any]) -> str:
    """JSON as pydantic writes it, five times as fast.

    orjson writes null for NaN. If the output has more nulls than there are None values in `foreign` (the values
    in `held` that are not ours), pydantic writes it instead.
    """
    try:
        body = orjson.dumps(held, option=orjson.OPT_UTC_Z)
    except TypeError:  # it contains a number of more than 64 bits or a record
        return _as_pydantic(held)
    return body.decode() if body.count(b"null") == list(foreign).count(None) else _as_pydantic(held)


def _as_pydantic(held: Json) -> str:
    return to_json(held, inf_nan_mode="constants").decode()


def body_columns(table: sa.Table) -> tuple[sa.Column[Any], ...]:
    """The columns from which `body_of` rebuilds a record."""
    return *(table.c[name] for name in COLUMN_FIELDS.get(table, ())), table.c.body


def body_of(table: sa.Table, row: Sequence[Any], origin: Callable[[str], tuple[str, str]]) -> str:
    """The full JSON of a record from the values of `body_columns(table)`; fields in the body override columns.

    `origin` maps an origin id to two JSON fragments: the system prompt beside the origin, and the origin
    itself without its closing brace.
    """
    *values, body = row
    if table is tables.seeds or table not in COLUMN_FIELDS:
        return str(body)
    if table is tables.artifacts:
        return f'{{"members":{values[0]},{body[1:]}'
    fields = dict(zip(COLUMN_FIELDS[table], values, strict=True))
    if table is tables.calls:
        tokens = {name: fields.pop(name) for name in ("prompt_tokens", "completion_tokens")}
        fields["usd"] = None if fields.pop("unpriced") else fields["usd"]
        fields |= {"usage": tokens, "sample": 0}
    if table is tables.pairs and body.startswith(_MADE):
        extra, origin_part = origin(body[len(_MADE) : (end := len(_MADE) + 32)])
        rest = body[end + 2 : -1]
        cut = rest.rindex(_CALLS)
        return f'{orjson.dumps(fields).decode()[:-1]},{extra}{rest[:cut]},"origin":{origin_part}{rest[cut:]}}}}}'
    return f"{orjson.dumps(fields).decode()[:-1]},{body[1:]}"


class Texts(NamedTuple):
    """The question and the answer of a pair. `asked` has all turns; `input` alone distinguishes the candidates of one
    input."""

    seed_id: str
    input: str
    asked: str
    output: str


def texts_in(seed_id: str, body: str) -> Texts:
    """The texts in the body of a pair, without validation."""
    held = orjson.loads(body)
    turns = [turn["content"] for turn in held.get("turns") or ()]
    return Texts(seed_id, held["input"], "\n".join([*turns, held["input"]]), held["output"])


def texts_of(pair: Pair) -> Texts:
    return Texts(pair.seed_id, pair.input, pair.asked, pair.output)


def origins_named() -> sa.Select[tuple[str]]:
    """A query for the origin ids that pairs refer to."""
    body = tables.pairs.c.body
    return sa.select(sa.func.substr(body, len(_MADE) + 1, 32)).where(sa.func.substr(body, 1, len(_MADE)) == _MADE)


def origin_parts(body: str) -> tuple[str, str]:
    """The two JSON fragments of an origin that `body_of` needs."""
    held = json.loads(body)  # unlike orjson, json reads and writes every number that a spec may hold
    system = f'"system":{json.dumps(held["system"])},' if "system" in held else ""
    return system, json.dumps(held["origin"])[:-1]


def restored_call(call: Call, request: Json | None) -> Call:
    """A stored answer with the omitted parts restored; `request` is the shared request without its last message."""
    update: Json = {} if "text" in call.model_fields_set else {"text": _content(call)}
    if request is not None:
        own_part = call.request
        last = [{"role": "user", "content": own_part["user"]}] if "user" in own_part else own_part["messages"]
        update["request"] = {**request, "messages": [*request["messages"], *last]}
    return call.model_copy(update=update) if update else call


def _content(call: Call) -> str:
    message = call.raw.get("message")
    content = message.get("content") if isinstance(message, dict) else None
    return content if isinstance(content, str) else ""

"""The rows that a record is kept in: what is said elsewhere is left out, and put back by who reads it.

Of a request that is all but its last message (the prompt, its worked examples, earlier turns, the sampling): a row of
`requests`, once for all that share it. Of an answer it is what its columns say, what is at its default, and its text,
where that is the content as it came. Of a pair it is what is empty, and who made it and by which system prompt, but for
the answers that it was made of: a row of `origins`, once for all that share it. Of a candidate it is what its columns
say, of a seed what is at its default. Rows of earlier versions hold all of it, and are read as they are.
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
_EMPTY = ("meta", "turns", "reference", "columns")
_MOST = 10_000  # ids that are remembered

Row = tuple[Any, ...]


class Into:
    """A table, and the columns that rows of it are given for, in that order."""

    def __init__(self, table: sa.Table, *names: str) -> None:
        self.table, self.names = table, names


into = cache(Into)  # one for each, for rows are gathered by it
_FIELDS = ("key", "attempt", "status", "request_id", "stage", "teacher", "prompt")
_CALL = itemgetter(*_FIELDS)
_TOKENS = ("prompt_tokens", "completion_tokens", "cached_tokens")
INTO_CALLS = into(tables.calls, *_FIELDS, *_TOKENS, "usd", "unpriced", "body")
_INTO_REQUESTS = into(tables.requests, "id", "body")
INTO_SEEDS = into(tables.seeds, "id", "body")
_INTO_ORIGINS = into(tables.origins, "id", "body")
_INTO_PAIRS = into(tables.pairs, "id", "seed_id", "body")
_INTO_CANDIDATES = into(tables.candidates, "fingerprint", "seed_id", "generator", "sample", "body")


class StoredRows:
    """Makes rows of records, and remembers which requests and origins a writer has committed."""

    def __init__(self) -> None:
        self._there: set[str] = set()
        self._last: tuple[Json, str] = ({}, "")
        self._origins: dict[str, tuple[tuple[Any, ...], str, str]] = {}  # the last of each generator, its id and body
        self._system = ""  # that of the last pair

    def of(self, records: Iterable[Record]) -> tuple[dict[Into, list[Row]], set[str]]:
        """The rows of records, and the ids of those among them that others refer to. Raises TypeError for a record that
        is not kept."""
        rows: dict[Into, list[Row]] = defaultdict(list)
        requests, origins = dict[str, str](), dict[str, str]()
        for record in records:
            kind: Any = type(record)  # to ask a model whether something is one of it takes longer than its row
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
                rows[into(table, *values)].append(tuple(values.values()))
        for shared, where in ((requests, _INTO_REQUESTS), (origins, _INTO_ORIGINS)):
            if shared:
                rows[where] = list(shared.items())
        return rows, requests.keys() | origins.keys()

    def _call(self, call: Call, requests: dict[str, str]) -> Row:
        request = call.request
        messages = None if call.request_of is not None or BEFORE in request else request.get("messages")
        if isinstance(messages, list) and len(messages) > 1:
            before = {**request, "messages": messages[:-1]}
            if before != self._last[0]:
                self._last = before, content_id("request", before)
            id_, last = self._last[1], messages[-1]
            if id_ not in self._there and id_ not in requests:
                requests[id_] = orjson.dumps(before).decode()
            plain = isinstance(last, dict) and last.keys() == {"role", "content"} and last["role"] == "user"
            request = {BEFORE: id_, "user": last["content"]} if plain else {BEFORE: id_, "messages": [last]}
        usage, usd = call.usage, call.usd
        tokens = usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens
        return (*_CALL(call.__dict__), *tokens, usd or 0.0, int(usd is None), _answer(call, request))

    def _pair(self, pair: Pair, origins: dict[str, str]) -> Row:
        fields, origin = pair.__dict__, pair.origin
        more = {name: fields[name] for name in _EMPTY if fields[name]}
        held: Json = {"input": pair.input, "output": pair.output}
        if isinstance(origin, Generated):
            recurs, self._system = pair.system == self._system, pair.system  # that of a conversation is its own
            id_, body = self._origin(origin, pair.system if recurs else None)
            if id_ not in self._there:
                origins[id_] = body
            beside = {} if recurs else {"system": pair.system}
            held = {_MADE[2:-3]: id_, **held, **beside, **more, "calls": origin.calls}
        else:
            held = {**held, "system": pair.system, "origin": origin, **more}
        return pair.id, pair.seed_id, _written(held, pair.meta.values())

    def _origin(self, origin: Generated, system: str | None) -> tuple[str, str]:
        """The id and the body of what this pair shares with others."""
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
        """These requests and origins are durable; none need be written again."""
        self._there = ids if len(self._there) > _MOST else self._there | ids

    def forget(self) -> None:
        """Requests and origins may have been deleted."""
        self._there = set()


def _slot(candidate: Candidate) -> Row:
    if candidate.failure is None:
        outcome = orjson.dumps({"pair_id": candidate.pair_id}).decode()
    else:
        outcome = candidate.model_dump_json(include={"pair_id", "failure"}, exclude_none=True)
    return candidate.fingerprint, candidate.seed_id, candidate.generator, candidate.sample, outcome


def _answer(call: Call, request: Json) -> str:
    """The body of an answer's row, as pydantic writes it, without what is at its default; made without a copy of the
    record, of which it is a part."""
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
    others = message.values() if isinstance(message, dict) else ()
    return _written(body, [*call.raw.values(), *others, *call.facts.values()])


def _written(held: Json, others: Collection[Any] = ()) -> str:
    """JSON as pydantic writes it, and five times as fast: by what writes null for NaN, so where it says null oftener
    than there is None among `others` (the values in it that are not ours), pydantic writes it."""
    try:
        body = orjson.dumps(held, option=orjson.OPT_UTC_Z)
    except TypeError:  # a number of more than 64 bits, or a record in it
        return _as_pydantic(held)
    return body.decode() if body.count(b"null") == list(others).count(None) else _as_pydantic(held)


def _as_pydantic(held: Json) -> str:
    return to_json(held, inf_nan_mode="constants").decode()


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

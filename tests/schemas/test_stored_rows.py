"""The rows in which records are stored."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from schemas.records import Artifact, Call, Candidate, Generated, Json, Message, Pair, Record, Sampling, Usage
from schemas.store import Store, tables
from schemas.store.migrate import upgrade_to

SYSTEM_TURN = [{"role": "system", "content": "Write."}]
SAMPLING = Sampling(temperature=0.9)
AT = datetime(2026, 11, 28, 4, 30, tzinfo=UTC)


def call(number: int, raw: Json | None = None, **more: Any) -> Call:
    text = f"An answer of some length, number {number}"
    given = {"index": 0, "finish_reason": "stop", "logprobs": None, "message": {"role": "assistant", "content": text}}
    given = given if raw is None else raw
    request = {"model": "m", "messages": [*SYSTEM_TURN, {"role": "user", "content": f"question {number}"}]}
    usage = Usage(prompt_tokens=3, completion_tokens=4)
    facts = {"request": request, "raw": given, "facts": {"model": "m"}, "text": text if raw is None else ""}
    named = {"key": f"{number:032x}", "attempt": 1, "status": "ok", "request_id": f"r-{number}", "sample": 0}
    same = {"teacher": "m", "endpoint": "http://h/v1", "seconds": 0.125, "usage": usage, "at": AT}
    return Call(**{**named, **facts, **same, **more})


def pair(number: int, **more: Any) -> Pair:
    origin = Generated(
        generator="forward", prompt="p/v1@0", teacher="m", sampling=SAMPLING, calls=((f"{number:032x}", 1),)
    )
    given = {"seed_id": f"{number:032x}", "input": f"question {number}", "output": "An answer", "system": "Write."}
    return Pair(**{**given, "origin": origin, **more})


def records(number: int) -> list[Record]:
    one = pair(number)
    slot = Candidate(fingerprint="f", seed_id=one.seed_id, generator="forward", sample=0, pair_id=one.id)
    return [call(number), one, slot]


def test_answer_pair_and_slot_are_written_with_few_function_calls(tmp_path: Path) -> None:
    """The writer thread makes at most 45 function calls, in Python and C, for the three rows of an answer: it shares a
    processor with the code that sends requests."""
    rows = [records(number) for number in range(2_200)]
    counts = Counter[str]()

    def count(_frame: Any, event: str, _argument: Any) -> None:
        if threading.current_thread().name == "store-writer":
            counts[event] += 1

    def calls_for(batch: list[list[Record]]) -> int:
        counts.clear()
        store.write(*(record for each in batch for record in each))
        return counts["call"] + counts["c_call"]

    threading.setprofile(count)
    try:
        with Store.open(f"sqlite:///{tmp_path / 'pairsmith.db'}") as store:
            calls_for(rows[:100])  # fills caches
            few, many = calls_for(rows[100:200]), calls_for(rows[200:])
    finally:
        threading.setprofile(None)
        sys.setprofile(None)
    assert (many - few) / 1_900 < 45


ODD: list[Json] = [
    {"logprobs": None, "message": {"content": "null and void", "refusal": None}},
    {"logprobs": {"content": [{"logprob": float("nan"), "bytes": None}]}},
    {"logprobs": None, "score": float("-inf")},
    {"id": 2**70, "message": "no object"},
    {"message": {"content": None, "tool_calls": [{"function": {"name": "null", "arguments": None}}]}},
    {"message": {"content": "\u2028\x7f\x00 \ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16")}},
    {},
]


@pytest.mark.parametrize("raw", ODD, ids=range(len(ODD)))
def test_any_response_is_read_back_unchanged(raw: Json, store_url: str) -> None:
    """Numbers that JSON does not have, integers beyond 64 bits, null at any depth, and texts that mention it."""
    later = AT.astimezone(timezone(timedelta(hours=5, minutes=30))) + timedelta(microseconds=7)
    first = call(1, raw, facts={"usage": {"cost": None}, "x": [None]}, at=later)
    second = call(2, raw, request={}, request_of=(first.key, 1), sample=1)
    turns = (Message(role="user", content="null"),)
    odd = pair(3, meta={"n": [None, float("inf")], "raw": {k: str(v) for k, v in raw.items()}}, turns=turns)
    with Store.open(store_url) as store:
        store.write(first, second, odd, pair(4, output="null", meta={"none": None}))
    with Store.open(store_url, write=False) as reader:
        read = [*reader.calls(first.key), *reader.calls(second.key)]
        assert [repr(one.raw) for one in read] == [repr(raw)] * 2  # NaN is not equal to itself
        assert [one.facts for one in read] == [first.facts, second.facts]
        assert [one.at for one in read] == [later, AT]
        assert reader.pairs() == [odd, pair(4, output="null", meta={"none": None})]


@pytest.mark.slow
def test_artifacts_are_listed_without_their_members(tmp_path: Path) -> None:
    """`status` and the pages list every dataset ever made. Sixty of 20,000 rows each took 350 MB, because each was read
    with all of its members; only the latest one is."""
    from schemas.store.latest import latest, listed_artifacts, members_of

    members = tuple((f"{number:032x}", "test" if number % 5 == 0 else "train") for number in range(100))
    facts = {"note": '"members":[["b","test"]]', "nan": float("nan")}
    with Store.open(f"sqlite:///{tmp_path / 's.db'}") as store:
        for number, held in enumerate((members, (), members[:1])):
            store.write(Artifact(id=f"d{number}", kind="dataset", path='"members":[[', members=held, facts=facts))
        statements: list[str] = []
        sa.event.listen(store.engine, "before_cursor_execute", lambda _c, _cursor, sql, *_: statements.append(sql))
        listed = listed_artifacts(store, "dataset")
        assert len(statements) == 1
        assert "members" not in statements[0]
        whole = store.artifacts("dataset")
        assert [artifact.members for artifact, _ in listed] == [(), (), ()]
        assert [rows for _, rows in listed] == [{"test": 20, "train": 80}, {}, {"test": 1}]
        for (artifact, _), known in zip(listed, whole, strict=True):
            assert artifact.model_dump_json() == known.model_copy(update={"members": ()}).model_dump_json()
        newest = latest(store, "dataset")
        assert newest is not None
        assert newest.members == members[:1]
        assert dict(members_of(store)) == {"d0": dict(members), "d2": dict(members[:1])}
        assert [id_ for id_, _ in members_of(store, holding=members[1][0])] == ["d0"]
        statements.clear()
        assert list(members_of(store, ["d2"])) == [("d2", dict(members[:1]))]
        assert len(statements) == 2


def test_members_in_the_json_of_an_older_store_become_a_column(store_url: str) -> None:
    """Artifacts of schema 0010, whose JSON contains their members, are the same after the upgrade, and listed without
    reading them."""
    from schemas.store.latest import listed_artifacts

    facts = {"note": '"members":[["b","test"]]', "big": 2**70, "small": 1e-300}
    members = (("a", "test"), ("b", "train"), ("c", "train"))
    old = [
        Artifact(id="1", kind="dataset", path="d", members=members, facts=facts),
        Artifact(id="2", kind="adapter", path="a"),
    ]
    engine = sa.create_engine(sa.make_url(store_url.replace("postgresql:", "postgresql+psycopg:")))
    upgrade_to(engine, "0010")
    table = sa.table("artifacts", *map(sa.column, ("id", "kind", "body")))
    with engine.begin() as connection:
        for one in old:
            values = {"id": one.id, "kind": one.kind, "body": one.model_dump_json()}
            connection.execute(sa.insert(table), values)
    engine.dispose()
    with Store.open(store_url) as store:
        new = Artifact(id="3", kind="certificate", path="c", members=members[:1])
        store.write(new)
        assert store.artifacts() == [*old, new]
        assert store.artifacts(ids=["2", "3"]) == [old[1], new]
        assert [rows for _, rows in listed_artifacts(store)] == [{"test": 1, "train": 2}, {}, {"test": 1}]
        assert not any('"members":[[' in body for (body,) in store.rows(sa.select(tables.artifacts.c.body)))

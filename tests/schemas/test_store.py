"""The store's guarantees hold on SQLite and on PostgreSQL alike."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from schemas.errors import StoreBusy, StoreError, StoreFull, UsageError
from schemas.money import Cost, Hold
from schemas.project import Project
from schemas.records import (
    Artifact,
    Call,
    Candidate,
    Counts,
    Generated,
    Imported,
    Message,
    Pair,
    Reason,
    Receipt,
    Record,
    RowState,
    Sampling,
    Seed,
    Usage,
    Verdict,
    now,
)
from schemas.reviews import Draw, Review, Sampled
from schemas.spec import Spec
from schemas.store import Store, tables
from schemas.store.erase import Traces, erase, left_in
from schemas.store.failures import refuse_full
from schemas.store.migrate import config, upgrade_to
from schemas.store.opening import sqlite_path, sqlite_url
from tests.ledger_rows import call_index


def seed(text: str, source: str = "seeds.jsonl:1") -> Seed:
    return Seed(kind="input", text=text, source=source)


def call(key: str, attempt: int = 1, **changes: object) -> Call:
    values: dict[str, object] = {
        "status": "ok",
        "request": {"model": "m"},
        "raw": {"message": {"content": "x"}},
        "request_id": f"{key}-{attempt}",
        "sample": 0,
        "teacher": "t",
        "endpoint": "http://127.0.0.1/v1",
        "seconds": 0.1,
    }
    return Call.model_validate({"key": key, "attempt": attempt, **values, **changes})


def pair(output: str) -> Pair:
    origin = Generated(
        generator="forward", prompt="enhance/v1@0", teacher="t", sampling=Sampling(seed=1), calls=(("k", 1),)
    )
    return Pair(seed_id="s", input="a cat", output=output, system="", origin=origin)


def test_every_kind_of_record_comes_back_as_it_was_written(store_url: str) -> None:
    """Every record is read back equal, in the order of writing, after closing and reopening the store."""
    kept = pair("a tabby cat")
    verdict = Verdict(
        pair_id=kept.id, by="gate/length@1", fingerprint="x", keep=None, score=float("nan"), reason="crashed"
    )
    review = Review(pair_id=kept.id, reviewer="ann", decision="edit", edited="a cat", sampling_probability=0.5)
    receipt = Receipt(command="generate", ok=True, counts=Counts(), seconds=1.5, started=now(), spec_hash="h")
    artifact = Artifact(id="a1", kind="dataset", path="dataset", members=((kept.id, "train"),))
    candidate = Candidate(fingerprint="sc", seed_id="s", generator="forward", sample=0, pair_id=kept.id)
    draw = Draw(seed=1, population=40, size=10, frame="f")
    sampled = Sampled(pair_id=kept.id, reason="certify", sampling_probability=0.25, draw=draw, dataset="cats")
    with Store.open(store_url) as store:
        store.set_active_seeds([seed("ö\x1f\n"), seed("b")])
        store.write(call("k", 2), call("k", 1, status="empty"), kept, verdict, review, receipt, artifact, candidate)
        store.write(sampled)
    with Store.open(store_url, write=False) as store:
        assert [s.text for s in store.active_seeds()] == ["ö\x1f\n", "b"]
        assert [c.attempt for c in store.calls("k")] == [1, 2]
        assert call_index(store) == {"k": ((1, "empty"), (2, "ok"))}
        assert store.pairs([kept.id]) == store.pairs() == store.find_pair(kept.id[:6]) == [kept]
        (loaded,) = store.verdicts([kept.id])[kept.id]
        assert loaded.score is not None
        assert loaded.score != loaded.score
        assert loaded.keep is None
        assert store.reviews() == {kept.id: [review]}
        assert store.sampled() == store.sampled([kept.id]) == {kept.id: [sampled]}
        assert store.sampled(["another"]) == {}
        assert store.receipts("generate") == [receipt]
        assert store.artifacts("dataset") == [artifact]
        assert store.candidates("sc") == [candidate]


def test_writing_the_same_record_twice_keeps_one(store_url: str) -> None:
    """Ids are content hashes, so a resumed step may write again what it has already written."""
    with Store.open(store_url) as store:
        for _ in range(2):
            store.write(call("k"), pair("one"), pair("one"))
        assert len(store.pairs()) == len(store.calls("k")) == 1


def test_later_outcome_replaces_the_failure_of_the_same_slot(store_url: str) -> None:
    """A candidate that failed and succeeded in a retry counts once, as a pair."""
    place = {"fingerprint": "x", "seed_id": "s", "generator": "forward", "sample": 0}
    with Store.open(store_url) as store:
        store.write(Candidate.model_validate({**place, "failure": "empty"}))
        store.write(Candidate.model_validate({**place, "pair_id": "p"}))
        assert [c.pair_id for c in store.candidates("x")] == ["p"]


def test_latest_verdict_of_a_step_and_its_settings_counts(store_url: str) -> None:
    """A verdict that could not judge is replaced only by a later one of the same step and settings."""
    first = Verdict(pair_id="p", by="score/reward@1", fingerprint="a", keep=None, reason="crashed")
    other = first.model_copy(update={"fingerprint": "b"})
    later = first.model_copy(update={"keep": True, "score": 1.5, "reason": Reason("scored")})
    with Store.open(store_url) as store:
        store.write(first, other)
        store.write(later)
        assert store.verdicts() == {"p": [later, other]}


def test_every_stored_seed_is_read_back_with_its_id(store_url: str) -> None:
    """Every seed ever read is returned unchanged, including conversations and columns, whatever seeds are active
    now."""
    turns = (Message(role="user", content="Hello"), Message(role="assistant", content="Yes?"))
    conversation = Seed(kind="conversation", messages=turns, source="c.jsonl:1", reference="Bye", split="test")
    columns = Seed(kind="input", text="a heron", source="s.csv:2", columns={"tone": "calm"}, meta={"use": "test"})
    with Store.open(store_url) as store:
        store.set_active_seeds([conversation, columns, seed("a kite")])
        store.set_active_seeds([columns])
        kept = list(store.each_seed())
    assert kept == [conversation, columns, seed("a kite")]
    assert [one.id for one in kept] == [conversation.id, columns.id, seed("a kite").id]


DAMAGED = (
    '{"kind":"input","te',
    '{"kind":"input","source":"s.csv:2"}',
    "[]",
    '{"kind":"input","text":"a kite","source":"s.csv:2","licenze":"CC-BY-4.0"}',
)


@pytest.mark.parametrize("body", DAMAGED)
def test_damaged_seed_is_one_clear_error_however_seeds_are_read(tmp_path: Path, body: str) -> None:
    """A body that was cut short, lost its text, is no object or has an unknown field gives an error about the store,
    not about a line of JSON."""
    with Store.open(f"sqlite:///{tmp_path / 'store.db'}") as store:
        store.set_active_seeds([seed("a heron"), seed("a kite")])
    with contextlib.closing(sqlite3.connect(tmp_path / "store.db")) as database, database:
        database.execute("UPDATE seeds SET body = ? WHERE id = ?", (body, seed("a kite").id))
    with Store.open(f"sqlite:///{tmp_path / 'store.db'}") as store:
        for read in (store.active_seeds, store.each_seed):
            with pytest.raises(StoreError, match="a Seed in it cannot be read"):
                list(read())


def test_seeds_that_left_the_files_are_kept_but_no_longer_active(store_url: str) -> None:
    """The active seeds are exactly those of the last reading, in its order. Older ones stay as history."""
    with Store.open(store_url) as store:
        store.set_active_seeds([seed("a"), seed("b")])
        store.set_active_seeds([seed("c"), seed("a")])
        assert [s.text for s in store.active_seeds()] == ["c", "a"]
        assert {s.text for s in store.each_seed()} == {"a", "b", "c"}
        assert [(s.text, s.id) for s in store.active_seeds()] == [(text, seed(text).id) for text in ("c", "a")]
        store.set_active_seeds([])
        assert list(store.active_seeds()) == []


def test_spending_is_the_sum_over_the_ledger(store_url: str) -> None:
    """Tokens and dollars add up, and the rows of one request with n answers count as one request. A request without
    token counts is counted as such."""
    usage = Usage(prompt_tokens=10, completion_tokens=5)
    with Store.open(store_url) as store:
        assert store.spent() == Cost()
        store.write(call("a", usage=usage, usd=0.25, request_id="r"), call("b", request_id="r"), call("c", usd=0.5))
        assert store.spent() == Cost(requests=2, usage=usage, usd=0.75, uncounted=1)


def test_concurrent_writes_are_all_durable(store_url: str) -> None:
    """Each of 2,000 concurrent writes is in the store when its wait ends."""

    async def write_all(store: Store) -> None:
        await asyncio.gather(*(store.put(call(f"k{i}")) for i in range(2_000)))

    with Store.open(store_url) as store:
        asyncio.run(write_all(store))
        assert len(call_index(store)) == 2_000


def test_a_commit_waits_for_the_disk(tmp_path: Path) -> None:
    """A confirmed row survives a power cut. In a separate process, because commits of tests do not wait (see
    tests/conftest.py)."""
    code = (
        "import sys\n"
        "from schemas.store.opening import engine_of\n"
        "with engine_of(sys.argv[1]).connect() as connection:\n"
        "    print(connection.exec_driver_sql('PRAGMA synchronous').scalar())\n"
    )
    command = [sys.executable, "-c", code, f"sqlite:///{tmp_path / 'p.db'}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert done.stdout == "2\n", "2 is FULL"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a file system that reports no size")
def test_a_file_system_that_reports_no_size_is_not_called_full() -> None:
    """Some network file systems report neither a size nor free space, as /proc does: nothing is known about them."""
    assert shutil.disk_usage("/proc").free == 0
    refuse_full("sqlite:////proc/pairsmith.db")


def test_second_writer_is_refused_and_reader_is_not(store_url: str) -> None:
    """Two processes cannot buy the same answers twice: the second gets an error naming the process that writes."""
    with Store.open(store_url) as store:
        store.write(pair("x"))
        with pytest.raises(StoreBusy, match=f"pid {os.getpid()}"):
            Store.open(store_url)
        with Store.open(store_url, write=False) as reader:
            assert len(reader.pairs()) == 1
            with pytest.raises(UsageError, match="reading only"):
                reader.write(pair("y"))
    Store.open(store_url).close()


def test_a_failed_write_fails_all_later_ones(store_url: str) -> None:
    """After a database error nothing is confirmed any more, so nothing can be lost unnoticed."""
    with Store.open(store_url) as store:
        with pytest.raises(StoreError):
            store.writer.submit(lambda connection: connection.execute(sa.text("not sql"))).result()
        with pytest.raises(StoreError):
            store.write(pair("x"))
        assert store.pairs() == []


def test_migrations_and_tables_agree(store_url: str) -> None:
    """A migrated store and a new one have the same tables, which are exactly those the code uses, and the same
    version."""
    engine = sa.create_engine(sa.make_url(store_url.replace("postgresql:", "postgresql+psycopg:")))

    def inspect_tables() -> tuple[list[Any], set[tuple[str, str, str]]]:
        with engine.connect() as connection:
            inspector = sa.inspect(connection)
            columns = {
                (table, column["name"], f"{column['type']} {column['nullable']} {column['default']}")
                for table in inspector.get_table_names()
                for column in inspector.get_columns(table)
            }
            assert MigrationContext.configure(connection).get_current_revision() == tables.SCHEMA_VERSION
            differences = compare_metadata(MigrationContext.configure(connection), tables.metadata)
            # The comment on a table is the name of the command that wrote last (schemas/store/lock.py).
            return [one for one in differences if one[0] != "remove_table_comment"], columns

    Store.open(store_url).close()
    before = inspect_tables()
    with engine.begin() as connection:
        everything = sa.MetaData()
        everything.reflect(connection)
        everything.drop_all(connection)
    upgrade_to(engine, "head")
    assert before == inspect_tables()
    assert before[0] == []
    engine.dispose()
    assert ScriptDirectory.from_config(config()).get_current_head() == tables.SCHEMA_VERSION


def test_shared_parts_of_requests_are_stored_once_and_answers_read_back_whole(store_url: str) -> None:
    """Answers are read back equal whether this version or an earlier one stored them, and also after they are checked
    again. A text that differs from the raw one is stored separately."""
    shared = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "a cat"}]

    def asked(number: int, text: str) -> Call:
        request = {"model": "m", "messages": [*shared, {"role": "user", "content": f"dog {number}"}], "n": 2}
        raw = {"index": 0, "message": {"role": "assistant", "content": "a dog"}}
        return call(f"k{number}").model_copy(update={"request": request, "raw": raw, "text": text})

    answers = [asked(0, "a dog"), asked(1, "dog"), asked(2, ""), asked(3, "a dog")]
    with Store.open(store_url) as store:
        table, values = _whole_row(answers[3])
        store.writer.submit(lambda connection: connection.execute(sa.insert(table), values) and None).result()
        store.write(*answers[:2])
        store.write(answers[2])
        assert store.count(tables.requests) == 1
        assert [store.calls(one.key) for one in answers] == [[one] for one in answers]
        assert list(store.calls("k0")[0].request) == ["model", "messages", "n"], (
            "the keys keep the order in which they were sent"
        )
        now = [one.model_copy(update={"status": "empty", "text": "", "reason": "empty: no"}) for one in answers]
        asyncio.run(store.judge(*now))
        assert [store.calls(one.key) for one in now] == [[one] for one in now]
        assert store.count(tables.requests) == 1


def test_defaults_are_not_stored_and_rows_are_read_back_equal(store_url: str) -> None:
    """Fields with their default value are not written. Others are: a reason, a transport, reasoning tokens, and a
    logprob that JSON cannot represent."""
    usual = call("usual").model_copy(update={"facts": {}, "usage": Usage(prompt_tokens=3)})
    odd = call("odd").model_copy(
        update={
            "reason": "empty: no",
            "transport": "batch",
            "usage": Usage(prompt_tokens=3, reasoning_tokens=2),
            "facts": {"model": "m"},
            "raw": {"logprobs": [float("-inf")]},
            "usd": None,
        }
    )
    with Store.open(store_url) as store:
        store.write(usual, odd)
        assert [store.calls(one.key) for one in (usual, odd)] == [[usual], [odd]]
        ((body,),) = store.rows(sa.select(tables.calls.c.body).where(tables.calls.c.key == "usual"))
        held = json.loads(body)
        assert not held.keys() & {"reason", "transport", "facts", "key", "attempt", "status", "usage", "usd", "sample"}


def generated_pair(output: str, system: str, **origin: Any) -> Pair:
    given = {"generator": "forward", "prompt": "enhance/v1@0", "teacher": "t", "sampling": Sampling(seed=1)}
    calls = ((output, 1), ('k","calls":', 2))
    return pair(output).model_copy(
        update={"system": system, "origin": Generated(**(given | {"calls": calls} | origin)), "meta": {"calls": [1]}}
    )


def test_shared_origins_of_pairs_are_stored_once_and_pairs_read_back_equal(store_url: str) -> None:
    """The origin of a pair, with its system prompt, is a row shared by many pairs. A system prompt of a single pair is
    stored with the pair. Numbers that JSON cannot represent are read back too."""
    odd = Sampling(temperature=0.5, extra={"top_a": float("inf"), "say": 'a "quoted" word\n'})
    pairs = [
        *(generated_pair(f"one {n}", "Say it.") for n in range(3)),
        *(generated_pair(f"two {n}", f"You are number {n}.") for n in range(3)),
        *(generated_pair(f"back {n}", "Say it.", generator="backward", sampling=odd) for n in range(3)),
        pair("as it stands").model_copy(update={"origin": Imported(source="a.jsonl:1"), "reference": "better"}),
        pair("with a number").model_copy(update={"meta": {"n": float("inf")}}),
    ]
    with Store.open(store_url) as store:
        for one in pairs:
            store.write(one)
        assert store.pairs() == pairs
        assert {
            id_: Pair.model_validate_json(body) for id_, body in store.pair_bodies([p.id for p in pairs]).items()
        } == {p.id: p for p in pairs}
        assert [p["output"] for p in store.skim_pairs([pairs[0].id])] == ["one 0"]
        assert store.pair_texts([p.id for p in pairs]) == {p.id: (p.seed_id, p.input, p.asked, p.output) for p in pairs}
        assert store.count(tables.origins) == 4  # one per direction with the prompt, and one without
    with Store.open(store_url, write=False) as reader:
        assert [p.id for p in reader.find_pair("")] == [p.id for p in pairs]
        with reader.engine.begin() as connection:
            connection.execute(sa.delete(tables.origins))
    with Store.open(store_url, write=False) as reader, pytest.raises(StoreError, match=r"origin .* is missing.*backup"):
        reader.pairs()


def test_rows_of_earlier_versions_are_read_beside_current_ones(store_url: str) -> None:
    """Rows with their complete record, as earlier versions wrote them, are still read."""
    old = [
        generated_pair("old", "Say it."),
        seed("old"),
        call("old", usd=None, usage=Usage(prompt_tokens=7, cached_tokens=2)),
    ]
    slot = {"fingerprint": "f", "generator": "forward", "sample": 0}
    old.append(Candidate(seed_id=old[1].id, pair_id=old[0].id, **slot))
    lost = Candidate(seed_id="lost", failure=Reason("refused", "no"), **slot)
    new = [generated_pair("new", "Say it."), seed("new"), call("new"), lost]
    with Store.open(store_url) as store:
        with store.engine.begin() as connection:
            for record in old:
                table, values = _whole_row(record)
                connection.execute(sa.insert(table), values)
        store.write(*new)
        assert store.pairs() == [old[0], new[0]]
        assert list(store.each_seed()) == [old[1], new[1]]
        assert [*store.calls("old"), *store.calls("new")] == [old[2], new[2]]
        assert store.candidates() == [old[3], new[3]]
        assert [one.get("pair_id") for one in store.skim_candidates("f")] == [old[0].id, None]
        ((body,),) = store.rows(sa.select(tables.candidates.c.body).where(tables.candidates.c.seed_id == "lost"))
        assert json.loads(body).keys() == {"failure"}


def test_erasing_the_last_pair_of_an_origin_erases_the_origin(store_url: str) -> None:
    """A system prompt that only erased pairs had is erased with them. One that other pairs have stays."""
    theirs = [
        generated_pair(f"theirs {n}", "You are Dr. Canary's help.").model_copy(update={"seed_id": "t"})
        for n in range(2)
    ]
    ours = [generated_pair(f"ours {n}", "Say it.") for n in range(2)]
    with Store.open(store_url) as store:
        store.write(*theirs, *ours)
        assert left_in(store, ["Dr. Canary"])
        erase(store, Traces(pairs={one.id for one in theirs}))
        assert not left_in(store, ["Dr. Canary"])
        store.write(*(generated_pair(f"later {n}", "You are here.") for n in range(2)))
        assert store.pairs()[:2] == ours


def test_an_older_store_is_upgraded_with_its_rows_and_a_newer_one_refused(store_url: str) -> None:
    """Opening an older store upgrades its schema and keeps every row. A store of a newer version gives an error with
    the fix."""
    with Store.open(store_url) as store:
        store.write(pair("kept"))
    engine = sa.create_engine(sa.make_url(store_url.replace("postgresql:", "postgresql+psycopg:")))
    upgrade_to(engine, "head")  # already at head: nothing happens
    with Store.open(store_url) as store:
        assert [p.output for p in store.pairs()] == ["kept"]
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(StoreError, match="newer pairsmith"):
        Store.open(store_url)


# A review as written by the code of the first schema, which had neither `ranking` nor `role`.
FIRST_REVIEW = (
    '{"pair_id":"p","reviewer":"ann","decision":"edit","edited":"a cat","reasons":["wrong"],"seconds":4.5,'
    '"sampling_probability":0.5,"simulated":false,"at":"2026-01-02T03:04:05Z"}'
)
FIRST_REVIEW_ID = "d890db4c9beefb3697974e86a718e7ed"


def _whole_row(record: Record) -> tuple[sa.Table, dict[str, Any]]:
    """The row of a record as versions before schema 0008 wrote it: with its whole body."""
    names: dict[type[Record], tuple[sa.Table, tuple[str, ...]]] = {
        Seed: (tables.seeds, ("id",)),
        Call: (tables.calls, ("key", "attempt", "status", "request_id", "stage", "teacher", "prompt", "usd")),
        Pair: (tables.pairs, ("id", "seed_id")),
        Candidate: (tables.candidates, ("fingerprint", "seed_id", "generator", "sample")),
    }
    if type(record) not in names:
        return tables.row(record)
    table, fields = names[type(record)]
    values = {name: getattr(record, name) for name in fields}
    if isinstance(record, Call):
        values |= {"usd": record.usd or 0.0, "unpriced": int(record.usd is None)}
        values |= {
            f"{kind}_tokens": getattr(record.usage, f"{kind}_tokens") for kind in ("prompt", "completion", "cached")
        }
    return table, {**values, "body": record.model_dump_json()}


def _insert_of_first_schema(record: Record) -> tuple[Any, dict[str, Any]]:
    """The statement and the values with which the code of the first schema wrote `record`."""
    table, values = _whole_row(record)
    old_words = {"fingerprint": "scope", "input": "simple", "output": "enhanced"}
    body = values["body"]
    for new, old in old_words.items():
        body = body.replace(f'"{new}":', f'"{old}":').replace(f':"{new}"', f':"{old}"')
    later = {"unpriced", "stage", "teacher", "prompt"} if table is tables.calls else set()
    values = {old_words.get(name, name): value for name, value in values.items() if name not in later} | {"body": body}
    return sa.insert(sa.table(table.name, *map(sa.column, values))), values


def test_a_store_of_the_first_schema_is_upgraded_with_every_row(store_url: str) -> None:
    """Every row of the first schema is there after the upgrade, which also opening for reading performs, and reviews
    keep their ids."""
    engine = sa.create_engine(sa.make_url(store_url.replace("postgresql:", "postgresql+psycopg:")))
    upgrade_to(engine, "0001")
    old = pair("kept")
    rows = [
        old,
        seed("a"),
        call("k"),
        Verdict(pair_id=old.id, by="gate/length@1", fingerprint="x", keep=True, reason="ok"),
    ]
    with engine.begin() as connection:
        assert not sa.inspect(connection).has_table("routed")
        for record in rows:
            connection.execute(*_insert_of_first_schema(record))
        review = {"id": FIRST_REVIEW_ID, "pair_id": "p", "body": FIRST_REVIEW}
        connection.execute(sa.insert(tables.reviews).values(review))
    with Store.open(store_url, write=False) as reader:
        assert reader.pairs() == [old]
    with Store.open(store_url) as store:
        assert store.pairs() == [old]
        assert len(list(store.each_seed())) == len(store.calls("k")) == len(store.verdicts()[old.id]) == 1
        (upgraded,) = store.reviews()["p"]
        assert upgraded.id == FIRST_REVIEW_ID
        store.write(upgraded, Sampled(pair_id=old.id, reason="gold", sampling_probability=1, dataset="d"))
        assert len(store.reviews()["p"]) == 1, "the same review is not stored twice"
        assert list(store.sampled()) == [old.id]
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT version_num FROM alembic_version")) == tables.SCHEMA_VERSION
    engine.dispose()


def test_reading_creates_no_store(store_url: str) -> None:
    """Reading never writes, not even an empty file, which would be mistaken for a store."""
    assert not Store.exists(store_url)
    with pytest.raises(StoreError, match="is empty"):
        Store.open(store_url, write=False)
    assert not Store.exists(store_url)
    if (path := sqlite_path(store_url)) is not None:
        assert not path.exists()
        path.touch()
        assert not Store.exists(store_url), "an empty file, as reading with an earlier version left it, is no store"
        with contextlib.closing(sqlite3.connect(path)) as killed_early:
            killed_early.execute("PRAGMA journal_mode=WAL")
        assert path.stat().st_size > 0
        assert not Store.exists(store_url), "nor is a file whose process was killed before it had created the tables"
    Store.open(store_url).close()
    assert Store.exists(store_url)


WRITING_SCRIPT = """
import sys, itertools
from schemas.store import Store
from schemas.store.opening import sqlite_url
from tests.schemas.test_store import call
with Store.open(sys.argv[1]) as store:
    for i in itertools.count():
        store.write(call(f"k{i}"))
        print(i, flush=True)
"""


@pytest.mark.slow
def test_no_confirmed_row_is_lost_to_kill_9(store_url: str) -> None:
    """Everything confirmed before SIGKILL is there afterwards, and the lock is free."""
    root = Path(__file__).parents[2]
    child = subprocess.Popen(
        [sys.executable, "-c", WRITING_SCRIPT, store_url], stdout=subprocess.PIPE, text=True, cwd=root
    )
    assert child.stdout is not None
    for _ in range(30):
        last = int(child.stdout.readline())
    child.send_signal(signal.SIGKILL)
    rest = child.stdout.read().split()
    child.wait()
    child.stdout.close()
    last = int(rest[-1]) if rest else last
    deadline = time.monotonic() + 100
    while True:
        try:
            store = Store.open(store_url)
            break
        except StoreBusy:  # PostgreSQL notices a dead client only when it next writes to it
            assert time.monotonic() < deadline
            time.sleep(0.1)
    with store:
        assert set(call_index(store)) >= {f"k{i}" for i in range(last + 1)}


def test_full_disk_raises_store_full_and_confirmed_rows_stay(tmp_path: Path) -> None:
    """If SQLite cannot grow its file, writing raises StoreFull, and everything confirmed is intact."""
    url = f"sqlite:///{tmp_path / 'pairsmith.db'}"
    with Store.open(url) as store:
        store.write(pair("kept"))
        store.writer.submit(lambda c: c.execute(sa.text("PRAGMA max_page_count=40")) and None).result()
        with pytest.raises(StoreFull, match="continues where it stopped"):
            store.write(*(call(f"k{i}", request={"text": "x" * 2_000}) for i in range(200)))
    with Store.open(url) as store:
        assert [p.output for p in store.pairs()] == ["kept"]


@pytest.mark.parametrize("content", [b"not a database at all, just text" * 100, b"SQLite format 3\x00garbage" * 50])
def test_file_that_is_no_store_is_reported_and_left_alone(tmp_path: Path, content: bytes) -> None:
    """A foreign or damaged file is reported as such and left unchanged."""
    path = tmp_path / "pairsmith.db"
    path.write_bytes(content)
    with pytest.raises(StoreError, match="not a pairsmith store"):
        Store.open(f"sqlite:///{path}")
    assert path.read_bytes() == content


@pytest.mark.parametrize("url", ["mysql://x/y", "sqlite://", "nonsense", "sqlite:////nowhere/at/all/x.db"])
def test_unusable_url_is_one_clear_error(url: str) -> None:
    """A URL that cannot be a store is rejected before anything is created."""
    with pytest.raises(StoreError) as caught:
        Store.open(url)
    assert caught.value.fix
    assert "\n" not in str(caught.value)


def test_a_password_is_never_shown() -> None:
    """An error about a database does not repeat the password of its URL."""
    with pytest.raises(StoreError) as caught:
        Store.open("postgresql://ann:s3cret@127.0.0.1:1/x")
    assert "s3cret" not in str(caught.value)
    with pytest.raises(StoreError) as caught:
        Store.open("postgresql://127.0.0.1:1/x?user=ann&password=s3cret&sslmode=disable")
    assert "s3cret" not in str(caught.value)
    assert "password=***&sslmode=disable" in str(caught.value)


def test_a_file_is_named_as_people_write_it(tmp_path: Path) -> None:
    """A message about the store of a folder with spaces and accents has no escapes of URLs in it."""
    file = tmp_path / "Über Köln & 50 %" / "pairsmith.db"
    file.parent.mkdir()
    file.touch()
    with pytest.raises(StoreError) as caught:
        Store.open(sqlite_url(file), write=False)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("url", ["postgresql://ann:s3cret@host:none/x", "postgresql://ann:s3cret@[::1/x"])
def test_malformed_database_address_is_one_clear_error(url: str) -> None:
    """An invalid port used to give a traceback that contained the password."""
    with pytest.raises(StoreError, match="neither sqlite:///FILE nor postgresql://") as caught:
        Store.open(url)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql+asyncpg", "postgresql+psycopg2"])
def test_common_variants_of_the_database_address_are_accepted(scheme: str) -> None:
    """Platforms hand out `postgres://`, and an address may name the driver of another application."""
    with pytest.raises(StoreError, match="Connection refused"):
        Store.open(f"{scheme}://ann@127.0.0.1:1/x")


def test_two_schemas_of_one_database_are_two_stores(postgres: str) -> None:
    """Two projects in two schemas can write at the same time and see nothing of each other. Two in one schema cannot,
    however their search paths name it."""
    name = f"s_{uuid.uuid4().hex[:12]}"
    engine = sa.create_engine(sa.make_url(postgres).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    engine.dispose()
    url = postgres.replace("/postgres?", f"/{name}?")
    engine = sa.create_engine(sa.make_url(url).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for schema in ("one", "two", "empty"):
            connection.execute(sa.text(f"CREATE SCHEMA {schema}"))
    engine.dispose()

    def in_schema(path: str) -> str:
        return f"{url}&options=-csearch_path%3D{path}"

    with Store.open(in_schema("one")) as one, Store.open(in_schema("two")) as two:
        one.set_active_seeds([Seed(kind="input", text="a fox", source="x")])
        assert [seed.text for seed in one.active_seeds()] == ["a fox"]
        assert list(two.active_seeds()) == []
        with pytest.raises(StoreBusy, match=f"pid {os.getpid()}"):
            Store.open(in_schema("one"))
        with pytest.raises(StoreBusy):
            Store.open(in_schema("empty,one"))
    with Store.open(in_schema("empty,one"), write=False) as one:
        assert len(one.active_seeds()) == 1


def state(sample: int, **more: object) -> RowState:
    """A row state of the first curation."""
    slot = {"curation": "c1", "generation": "g", "seed_id": "s", "generator": "forward", "sample": sample}
    return RowState.model_validate({**slot, "state": "accepted", **more})


def test_row_states_are_filtered_by_curation_state_code_and_pair(store_url: str) -> None:
    """Row states come in the order of writing, and a slot's later state replaces the earlier one."""
    rejected = state(1, state="rejected", reason=Reason("short", "two words"), step="gate/length@1", pair_id="p1")
    other = state(0, curation="c2")
    with Store.open(store_url) as store:
        store.write(state(1), state(0, pair_id="p0"), other)
        store.write(rejected)
        assert list(store.row_states("c1")) == [rejected, state(0, pair_id="p0")]
        assert list(store.row_states("c1", state="rejected", code="short")) == [rejected]
        assert list(store.row_states("c1", pair_id="p0")) == [state(0, pair_id="p0")]
        assert list(store.row_states("c1", code="long")) == []
        store.delete_row_states(but=["c2"])
        assert (store.count_row_states("c1"), list(store.row_states("c2"))) == (0, [other])


def test_a_table_is_read_page_by_page(store_url: str) -> None:
    """No row is skipped or returned twice at the border of a page."""
    many = [
        Verdict(pair_id=f"p{n}", by="gate/a@1", fingerprint="x", keep=True, reason=Reason("ok")) for n in range(4_100)
    ]
    with Store.open(store_url) as store:
        store.write(*many, many[0].model_copy(update={"fingerprint": "y"}))
        assert [row.verdict() for row in store.verdicts_of_steps([("gate/a@1", "x")])] == many
        assert store.verdict_count() == 4_101


def test_a_store_is_copied_before_it_is_upgraded(tmp_path: Path) -> None:
    """The copy beside the store has everything as it was before the upgrade. A new store needs no copy."""
    path = tmp_path / "pairsmith.db"
    engine = sa.create_engine(f"sqlite:///{path}")
    upgrade_to(engine, "0002")
    with engine.begin() as connection:
        table, values = _whole_row(pair("kept"))
        connection.execute(sa.insert(table).values(values))
    engine.dispose()
    with Store.open(f"sqlite:///{path}") as store:
        assert [p.output for p in store.pairs()] == ["kept"]
    copy = sa.create_engine(f"sqlite:///{path}.before-{tables.SCHEMA_VERSION}")
    with copy.connect() as connection:
        assert connection.scalar(sa.text("SELECT version_num FROM alembic_version")) == "0002"
        assert connection.scalar(sa.text("SELECT count(*) FROM pairs")) == 1
    copy.dispose()
    fresh = tmp_path / "fresh.db"
    Store.open(f"sqlite:///{fresh}").close()
    assert sorted(p.name for p in tmp_path.glob("*before*")) == [f"pairsmith.db.before-{tables.SCHEMA_VERSION}"]
    assert not list(tmp_path.glob("*.partial"))


def test_added_or_corrected_license_is_stored(tmp_path):
    """The latest reading of a seed determines its source and license. It stays the same seed."""
    first, *_, last = seeds = [
        Seed(kind="input", text="a dog", source=source, license=license)
        for source, license in (("a:1", None), ("a:2", "CC0-1.0"), ("b:1", "CC-BY-NC-4.0"))
    ]
    with Store.open(f"sqlite:///{tmp_path / 'pairsmith.db'}") as store:
        for seed in seeds:
            store.set_active_seeds([seed])
            assert list(store.active_seeds()) == [seed]
        assert list(store.each_seed()) == [last]
    assert first.id == last.id


@pytest.mark.parametrize("name", ["a?b", "a%20b", "a b#c", "\u00e4\u00f6"])
def test_a_project_folder_may_have_any_name(tmp_path, name):
    """The store is a file in that folder and nowhere else, although `?` and `%` have a meaning in URLs."""
    folder = tmp_path / name
    folder.mkdir()
    url = Store.url_for(project_in(folder))
    assert not Store.exists(url)
    with Store.open(url) as store:
        store.write(Seed(kind="input", text="a", source="x"))
    assert Store.exists(url)
    assert (folder / "pairsmith.db").is_file()
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_reading_after_close_leaves_no_connection_open(tmp_path: Path) -> None:
    """A result reads its rows when they are asked for, perhaps after its store was closed. SQLite removes the files
    next to a store when its last connection is closed."""
    with Store.open(f"sqlite:///{tmp_path / 'pairsmith.db'}") as store:
        store.write(*(asked := [seed(f"text {n}") for n in range(3)]))
    assert sorted(one.text for one in list(store.each_seed())) == [one.text for one in asked]
    assert list(tmp_path.glob("*.db-*")) == []


def test_a_relative_url_means_a_file_in_the_project(tmp_path, monkeypatch):
    """It does not mean the current folder of the command, where everything would be bought again."""
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path)
    project = project_in(tmp_path / "project", store={"url": "sqlite:///own.db"})
    with Store.open(Store.url_for(project)):
        assert (tmp_path / "project" / "own.db").is_file()
    monkeypatch.setenv("MY_STORE", "sqlite:///other.db")
    named = project_in(tmp_path / "project", store={"url_env": "MY_STORE"})
    assert Store.url_for(named).endswith("project/other.db")
    for driver in ("pysqlite", "aiosqlite"):  # another application may name the same file like this
        own = project_in(tmp_path / "project", store={"url": f"sqlite+{driver}:///own.db"})
        assert Store.url_for(own) == Store.url_for(project)
    absolute = f"sqlite:///{tmp_path / 'else.db'}"
    assert Store.url_for(project_in(tmp_path / "project", store={"url": absolute})) == absolute
    away = project_in(tmp_path, store={"url": "postgresql://me@host/db"})
    assert Store.url_for(away) == "postgresql://me@host/db"


def project_in(folder, **tables):
    spec = {
        "task": {"name": "t", "style": "s"},
        "seeds": [{"path": "seeds.txt"}],
        "evaluate": {"checks": [{"name": "a", "pattern": "a"}, {"name": "b", "pattern": "b"}]},
        **tables,
    }
    return Project(folder, Spec.model_validate(spec))


def test_leak_of_an_older_store_is_read_as_contamination(store_url: str) -> None:
    """What earlier versions called a leak is read, counted and searched as contamination. A user's own reason of that
    name stays."""
    engine = sa.create_engine(sa.make_url(store_url.replace("postgresql:", "postgresql+psycopg:")))
    upgrade_to(engine, "0005")
    step = {"fingerprint": "x", "keep": False, "reason": Reason("leak", "near-duplicate of test seed s")}
    slot = {"curation": "c", "generation": "g", "seed_id": "s", "generator": "forward", "state": "rejected"}
    reason = Reason("leak", "of a name")
    receipt = Receipt(
        command="curate", ok=True, counts=Counts(rows_in=2, rejected=2), reasons={"leak": 1, "short": 1}, seconds=1.0,
        started=now(), spec_hash="", facts={"steps": {"gate/a@1": {}, "pool/leak@1": {"rejected": 1}}},
    )  # fmt: skip
    gated = receipt.model_copy(update={"facts": {"steps": {"gate/user:mine@1": {}}}})
    rows: list[Record] = [
        Verdict.model_validate({"pair_id": "p", "by": "pool/leak@1", **step}),
        Verdict.model_validate({"pair_id": "p", "by": "gate/user:mine@1", **step}),
        RowState.model_validate({**slot, "sample": 0, "step": "pool/leak@1", "reason": reason}),
        RowState.model_validate({**slot, "sample": 1, "step": "gate/user:mine@1", "reason": reason}),
        receipt,
        gated,
    ]
    with engine.begin() as connection:
        for record in rows:
            table, values = _whole_row(record)
            connection.execute(sa.insert(table).values(values))
    engine.dispose()
    with Store.open(store_url) as store:
        verdicts = store.verdicts()["p"]
        assert [(v.by, v.reason.code) for v in verdicts] == [
            ("pool/contamination@1", "contamination"),
            ("gate/user:mine@1", "leak"),
        ]
        assert [row.verdict() for row in store.verdicts_of_steps([("pool/contamination@1", "x")])] == verdicts[:1]
        (state,) = store.row_states("c", code="contamination")
        assert (state.sample, state.step, str(state.reason)) == (0, "pool/contamination@1", "contamination: of a name")
        assert [s.sample for s in store.row_states("c", code="leak")] == [1]
        old, own = store.receipts("curate")
        assert old.reasons == {"contamination": 1, "short": 1}
        assert list(old.facts["steps"]) == ["gate/a@1", "pool/contamination@1"]
        assert own.reasons == {"leak": 1, "short": 1}


def test_older_store_distinguishes_unknown_costs_from_free_ones(store_url: str) -> None:
    """Earlier versions wrote 0 if there was no price. That becomes unknown, in the ledger and in receipts, except for
    requests to this machine. Calls with a price keep it, and each row has its teacher."""
    engine = sa.create_engine(sa.make_url(store_url.replace("postgresql:", "postgresql+psycopg:")))
    upgrade_to(engine, "0006")
    usage, away = Usage(prompt_tokens=3, completion_tokens=2), "https://api.example.com/v1"
    raw = {"message": {"content": '{"usd":0.0,"request_id":1}'}}
    old = [
        call("free", usage=usage),
        call("priced", usage=usage, usd=0.5, endpoint=away),
        call("unknown", usage=usage, endpoint=away, raw=raw),
        call("second of n", endpoint=away, raw=raw),
    ]
    with engine.begin() as connection:
        for record in old:
            table, values = _whole_row(record)
            then = {name: v for name, v in values.items() if name not in ("unpriced", "stage", "teacher", "prompt")}
            connection.execute(sa.insert(sa.table(table.name, *map(sa.column, then))), then)
        for sent in (0, 2):
            spent = Receipt(
                command="generate", ok=True, counts=Counts(), calls_sent=sent, seconds=1.0, started=now(), spec_hash=""
            )
            table, values = _whole_row(spent)
            connection.execute(sa.insert(sa.table(table.name, *map(sa.column, values))), values)
    engine.dispose()
    with Store.open(store_url) as store:
        assert [store.calls(record.key)[0].usd for record in old] == [0.0, 0.5, None, 0.0]
        assert store.calls("unknown")[0].raw == raw
        assert [receipt.usd for receipt in store.receipts()] == [0.0, None]
        (cost,) = store.costs()
        assert (cost.teacher, cost.usd, cost.unpriced, cost.total) == ("t", 0.5, 1, None)


def test_a_hold_counts_until_it_is_closed(store_url: str) -> None:
    """The amount reserved for a request without an answer is reported beside what was spent, until its cost is
    known."""
    hold = Hold(id="h", usd=0.25, stage="generate", teacher="t", prompt="p")
    with Store.open(store_url) as store:
        store.write(hold, call("a", usd=0.5, stage="generate", prompt="p"))
        (cost,) = store.costs()
        assert (cost.usd, cost.reserved, cost.lost, cost.total) == (0.5, 0.25, 1, None)
        store.write(hold.model_copy(update={"open": False}))
        assert store.spent().total == 0.5


def test_answer_arriving_with_the_mark_of_its_request_counts_once(store_url: str) -> None:
    """An answer may arrive between the mark of the requests in flight and the rows of the same commit. Soon its request
    no longer counts as unanswered, although nothing else is written."""
    hold, in_flight, written = Hold(id="h", usd=None), [2], threading.Event()

    def mark() -> Hold:
        now = hold.model_copy(update={"requests": in_flight[0]})
        if not written.is_set():
            in_flight[0] = 1
            store.append(call("a", usd=0.5))
            written.set()
        return now

    with Store.open(store_url) as store:
        store.mark(mark)
        deadline = time.monotonic() + 60
        while (store.spent().requests, store.spent().lost) != (1, 1):
            assert time.monotonic() < deadline
            time.sleep(0.02)

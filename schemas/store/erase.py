"""Taking a source or a person out of a store for good: every record that holds their texts, and the file's free pages.

Records are only ever added elsewhere. Here they are deleted, but for what a call has cost, what else quotes a text says
`[erased]` instead, and a SQLite file is written anew, so that no free page and no write-ahead log holds what was there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import sqlalchemy as sa

from schemas.failpoints import failpoint
from schemas.records import Pair, Seed, file_of
from schemas.reviews import first_drawn
from schemas.store import tables
from schemas.store.latest import key_again
from schemas.store.opening import sqlite_path
from schemas.store.reading import IN
from schemas.store.rows import BEFORE, origins_named
from schemas.store.store import Store

ERASED = "[erased]"
LEAST = 8  # characters of a text that is looked for elsewhere: a shorter one stands in texts of others, too
_QUOTING = (tables.receipts, tables.artifacts, tables.verdicts, tables.row_states, tables.candidates)


@dataclass
class Traces:
    """What belongs to a source or a person: seeds and pairs by id, reviews by id, and their texts and names. `shared`
    are those of the texts that rows of others hold as well."""

    seeds: set[str] = field(default_factory=set)
    pairs: set[str] = field(default_factory=set)
    reviews: set[str] = field(default_factory=set)
    calls: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)
    texts: set[str] = field(default_factory=set)
    shared: set[str] = field(default_factory=set)

    @property
    def searched(self) -> list[str]:
        """The texts and names that are looked for, the longest first."""
        return [text for text in self.quoted if text not in self.shared - self.names]

    @property
    def quoted(self) -> list[str]:
        """The same with those that are `shared`: a file that holds one may hold a row of it."""
        return sorted({text for text in self.texts | self.names if len(text) >= LEAST}, key=len, reverse=True)


def of_source(store: Store, source: str) -> Traces:
    """What was read from `source` (`seeds.jsonl`, one row of it, `seeds.jsonl:14`, or a folder of files, `notes`), and
    all that was made of it."""
    own = [seed for seed in store.seeds(active=False) if any(_is_from(place, source) for place in _places(seed))]
    traces = Traces(seeds={seed.id for seed in own})
    traces.texts.update(text for seed in own for text in _texts_of(seed))
    _with_pairs(traces, store._by_id(Pair, tables.pairs, tables.pairs.c.seed_id, traces.seeds))
    return _with_shared(store, traces)


def of_person(store: Store, person: str) -> Traces:
    """What a reviewer said, by id or by name, and the texts that it made."""
    every = [review for reviews in store.reviews().values() for review in reviews]
    ids = {person} | {review.reviewer for review in every if review.name == person}
    ids |= {name for name, reviewer in store.aliases().items() if reviewer in ids}
    own = [review for review in every if review.reviewer in ids or review.name == person]
    traces = Traces(reviews={review.id for review in own}, names=ids | {review.who for review in own} if own else set())
    traces.texts.update(review.edited for review in own if review.edited)
    edited = [pair for pair in store.find_pair("") if pair.origin.by == "edited"]
    mine = {pair.id for pair in edited if pair.origin.by == "edited" and pair.origin.review_id in traces.reviews}
    while more := {p.id for p in edited if p.origin.by == "edited" and p.origin.parent_id in mine} - mine:
        mine |= more
    _with_pairs(traces, [pair for pair in edited if pair.id in mine], inputs=False)
    return _with_shared(store, traces)


def _texts_of(seed: Seed) -> Iterator[str]:
    yield from (seed.body, seed.reference or "", *(turn.content for turn in seed.turns), *seed.columns.values())


def _with_shared(store: Store, traces: Traces) -> Traces:
    """A text that is all of an input, an output or a column of somebody else's row, or of what another has made of a
    row, is theirs as well: looking for a label or a product's name would take the answers of all who have it."""
    seeds = (seed for seed in store.seeds(active=False) if seed.id not in traces.seeds)
    pairs = (store._read(Pair, body) for body in store._body_pages(tables.pairs))
    texts = (text for seed in seeds for text in _texts_of(seed))
    answers = (text for pair in pairs if pair.id not in traces.pairs for text in (pair.input, pair.output))
    reviews = (review for reviews in store.reviews().values() for review in reviews if review.edited)
    theirs = (review for review in reviews if review.id not in traces.reviews and review.pair_id not in traces.pairs)
    edits = (review.edited for review in theirs)
    traces.shared.update(text for text in chain(texts, answers, edits) if text in traces.texts)
    return traces


def _places(seed: Seed) -> list[str]:
    return [seed.source, *(str(place["source"]) for place in seed.meta.get("also", ()) if "source" in place)]


def _is_from(place: str, source: str) -> bool:
    folder = source.rstrip("/") or source
    return source in (place, file_of(place)) or (folder != "" and place.startswith(f"{folder}/"))


def _with_pairs(traces: Traces, pairs: Iterable[Pair], *, inputs: bool = True) -> None:
    for pair in pairs:
        traces.pairs.add(pair.id)
        traces.texts.add(pair.output)
        if inputs:
            traces.texts.update([pair.input, pair.reference or ""])
        if pair.origin.by == "generated":
            traces.calls.update(of for key, _ in pair.origin.calls for of in (key, key_again(key)))


def erase(store: Store, traces: Traces) -> dict[str, int]:
    """Delete all that `traces` names, and what quotes it; how many records of each table went or were changed."""
    spellings = _spellings(traces.searched)
    calls, requests = _quoting_calls(store, traces, spellings)
    # Queues and people's answers are found by it, and it holds no text.
    first = first_drawn(record for records in store.sampled().values() for record in records)
    deleted: dict[str, int] = {}

    def work(connection: sa.Connection) -> None:
        if sqlite_path(store.url) is not None:  # what is deleted is gone with the commit, whatever ends us after it
            connection.exec_driver_sql("PRAGMA secure_delete = ON")
        for table, column, values in (
            (tables.seeds, tables.seeds.c.id, traces.seeds),
            (tables.pairs, tables.pairs.c.id, traces.pairs),
            (tables.candidates, tables.candidates.c.seed_id, traces.seeds),
            (tables.row_states, tables.row_states.c.seed_id, traces.seeds),
            (tables.row_states, tables.row_states.c.pair_id, traces.pairs),
            (tables.verdicts, tables.verdicts.c.pair_id, traces.pairs),
            (tables.reviews, tables.reviews.c.pair_id, traces.pairs),
            (tables.reviews, tables.reviews.c.id, traces.reviews),
            (tables.sampled, tables.sampled.c.pair_id, traces.pairs),
            (tables.calls, tables.calls.c.request_id, calls),
            (tables.requests, tables.requests.c.id, requests),
        ):
            wanted = sorted(values)
            for at in range(0, len(wanted), IN):
                rows = _paid() if table is tables.calls else sa.delete(table)
                rows = rows.where(column.in_(wanted[at : at + IN]))
                if table is tables.sampled and first:
                    rows = rows.where(table.c.id != first.id)
                gone = connection.execute(rows).rowcount
                deleted[table.name] = deleted.get(table.name, 0) + gone
        connection.execute(sa.delete(tables.origins).where(tables.origins.c.id.not_in(origins_named())))
        for name in traces.names:
            named = tables.aliases.c.body.contains(json.dumps(name, ensure_ascii=False), autoescape=True)
            gone = connection.execute(sa.delete(tables.aliases).where(named)).rowcount
            deleted["aliases"] = deleted.get("aliases", 0) + gone
        for table in _QUOTING:
            deleted[f"{table.name} changed"] = _replace(connection, table, spellings)

    store._write().submit(work).result()
    failpoint("mid_erase")
    _write_anew(store)
    return {name: count for name, count in deleted.items() if count}


def _paid() -> sa.Update:
    """A call becomes what was paid for it: a cap counts that, and nothing is an answer under its key any more."""
    c = tables.calls.c
    key = sa.literal("erased ") + sa.cast(c.position, sa.Text)
    return sa.update(tables.calls).values(key=key, status="declined", body="{}")


def _quoting_calls(store: Store, traces: Traces, spellings: Sequence[str]) -> tuple[set[str], set[str]]:
    """The requests whose question or answer holds one of the texts, all answers to which go; and what stood before the
    last message of such alone."""
    c, r = tables.calls.c, tables.requests.c
    before = [str(id_) for (id_,) in store._rows(sa.select(r.id))]
    quoting = {id_ for id_ in before if _quotes(store._rows(sa.select(r.body).where(r.id == id_))[0][0], spellings)}
    holding: set[str] = set()
    left: dict[str, str] = {}
    for (position,) in store._rows(sa.select(c.position).order_by(c.position)):
        ((key, request_id, body),) = store._rows(sa.select(c.key, c.request_id, c.body).where(c.position == position))
        id_ = json.loads(body).get("request", {}).get(BEFORE, "")
        if key in traces.calls or id_ in quoting or _quotes(body, spellings):
            holding.add(request_id)
        left[request_id] = id_ or left.get(request_id, "")
    kept = {id_ for request_id, id_ in left.items() if request_id not in holding}
    return holding, set(before) - kept


def _quotes(body: str, spellings: Sequence[str]) -> bool:
    return any(text in body for text in spellings)


def _replace(connection: sa.Connection, table: sa.Table, spellings: Sequence[str]) -> int:
    c, changed = table.c, 0
    for position, body in connection.execute(sa.select(c.position, c.body)).all():
        without = body
        for text in spellings:
            without = without.replace(text, ERASED)
        if without != body:
            connection.execute(sa.update(table).where(c.position == position).values(body=without))
            changed += 1
    return changed


def _spellings(texts: Iterable[str]) -> list[str]:
    """Texts as JSON holds them: once, in a string in a string, and with other letters escaped; the longest first."""
    spelt: set[str] = set()
    for text in texts:
        for escaped in (False, True):
            once = json.dumps(text, ensure_ascii=escaped)[1:-1]
            spelt |= {once, json.dumps(once, ensure_ascii=escaped)[1:-1]}
    return sorted(spelt, key=len, reverse=True)


def _write_anew(store: Store) -> None:
    """Give back the pages that were deleted from, and empty the write-ahead log. On a disk without room for a second
    copy the pages stay, overwritten; `left_in` looks at the bytes."""
    if sqlite_path(store.url) is None:
        return
    with store._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        with suppress(sa.exc.OperationalError):
            connection.execute(sa.text("VACUUM"))
        connection.execute(sa.text("PRAGMA wal_checkpoint(TRUNCATE)"))


def left_in(store: Store, texts: Sequence[str]) -> int:
    """In how many records, or anywhere in the bytes of a SQLite store, one of the texts still stands."""
    spellings = _spellings(texts)
    count = sum(
        any(text in body for text in spellings)
        for table in tables.metadata.sorted_tables
        if "body" in table.c
        for (body,) in store._rows(sa.select(table.c.body))
    )
    path = sqlite_path(store.url)
    if path is None:
        return count
    files = [path, *(path.with_name(path.name + end) for end in ("-wal", "-shm"))]
    return count + sum(holds(file, texts) for file in files)


def holds(path: Path, texts: Sequence[str]) -> bool:
    """Whether one of the texts stands in a file, as it is or as JSON spells it."""
    if not path.is_file() or not texts:
        return False
    content = path.read_bytes()
    every = {text.encode("utf-8", "surrogatepass") for text in [*texts, *_spellings(texts)]}
    return any(text in content for text in every)

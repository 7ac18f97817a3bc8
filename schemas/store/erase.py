"""Permanently erases a source or a reviewer from a store: every record that holds their texts, and the file's free
pages.

Everywhere else records are only added. Here they are deleted, except for the cost of calls. Where other records quote a
text, it is replaced by `[erased]`. A SQLite file is rewritten, so that no free page and no write-ahead log holds the
old content.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain

import sqlalchemy as sa

from schemas.failpoints import failpoint
from schemas.progress import Progress, reporting, unseen
from schemas.records import Pair, Seed, file_of
from schemas.reviews import first_drawn
from schemas.store import tables
from schemas.store.latest import probe_key
from schemas.store.opening import sqlite_path
from schemas.store.reading import IN, PAGE
from schemas.store.rows import PREFIX_KEY, origins_named
from schemas.store.store import Store
from schemas.streamed import batched
from schemas.text_search import LEAST, FileSearch, TextSearch, json_spellings

ERASED = "[erased]"
_QUOTING = (tables.receipts, tables.artifacts, tables.verdicts, tables.row_states, tables.candidates)


@dataclass
class Traces:
    """Everything that belongs to a source or a reviewer: seeds, pairs and reviews by id, and their texts and names.
    `shared` are the texts that other people's rows contain as well."""

    seeds: set[str] = field(default_factory=set)
    pairs: set[str] = field(default_factory=set)
    reviews: set[str] = field(default_factory=set)
    calls: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)
    texts: set[str] = field(default_factory=set)
    shared: set[str] = field(default_factory=set)

    @property
    def searched(self) -> list[str]:
        """The texts and names to search for, longest first."""
        kept = self.shared - self.names
        return [text for text in self.quoted if text not in kept]

    @property
    def quoted(self) -> list[str]:
        """The same including the `shared` texts: a file that contains one may contain an erased row."""
        return sorted({text for text in self.texts | self.names if len(text) >= LEAST}, key=len, reverse=True)


def traces_of_source(store: Store, source: str, progress: Progress = unseen) -> Traces:
    """Everything read from `source` (`seeds.jsonl`, a single row `seeds.jsonl:14`, or a folder of files, `notes`), and
    everything derived from it."""
    seeds = reporting(store.each_seed(), progress, "seeds")
    of_source = [seed for seed in seeds if any(_is_from(place, source) for place in _places(seed))]
    traces = Traces(seeds={seed.id for seed in of_source})
    traces.texts.update(text for seed in of_source for text in _texts_of(seed))
    _add_pairs(traces, store.by_id(Pair, tables.pairs, tables.pairs.c.seed_id, traces.seeds))
    return _mark_shared(store, traces, progress)


def traces_of_reviewer(store: Store, person: str, progress: Progress = unseen) -> Traces:
    """The reviews by a reviewer, given by id or name, and the texts they produced."""
    all_reviews = [review for reviews in store.reviews().values() for review in reviews]
    ids = {person} | {review.reviewer for review in all_reviews if review.name == person}
    ids |= {name for name, reviewer in store.aliases().items() if reviewer in ids}
    theirs = [review for review in all_reviews if review.reviewer in ids or review.name == person]
    traces = Traces(
        reviews={review.id for review in theirs},
        names=ids | {review.who for review in theirs} if theirs else set(),
    )
    traces.texts.update(review.edited for review in theirs if review.edited)
    edited = [pair for pair in store.pages(Pair, tables.pairs) if pair.origin.by == "edited"]
    own_edits = {pair.id for pair in edited if pair.origin.by == "edited" and pair.origin.review_id in traces.reviews}
    while more := {p.id for p in edited if p.origin.by == "edited" and p.origin.parent_id in own_edits} - own_edits:
        own_edits |= more
    _add_pairs(traces, [pair for pair in edited if pair.id in own_edits], inputs=False)
    return _mark_shared(store, traces, progress)


def _texts_of(seed: Seed) -> Iterator[str]:
    yield from (seed.body, seed.reference or "", *(turn.content for turn in seed.turns), *seed.columns.values())
    yield from seed.meta.get("rejected", ())


def _mark_shared(store: Store, traces: Traces, progress: Progress) -> Traces:
    """Mark the texts that are an entire input, output, column or edit of other rows. They belong to those rows as well:
    searching for a label or a product name would erase the answers of every row that has it."""
    seeds = (seed for seed in store.each_seed() if seed.id not in traces.seeds)
    pairs = reporting(store.pages(Pair, tables.pairs), progress, "pairs")
    texts = (text for seed in seeds for text in _texts_of(seed))
    answers = (text for pair in pairs if pair.id not in traces.pairs for text in (pair.input, pair.output))
    reviews = (review for reviews in store.reviews().values() for review in reviews if review.edited)
    others = (review for review in reviews if review.id not in traces.reviews and review.pair_id not in traces.pairs)
    edits = (review.edited for review in others)
    traces.shared.update(text for text in chain(texts, answers, edits) if text in traces.texts)
    return traces


def _places(seed: Seed) -> list[str]:
    return [seed.source, *(str(place["source"]) for place in seed.meta.get("also", ()) if "source" in place)]


def _is_from(place: str, source: str) -> bool:
    folder = source.rstrip("/") or source
    return source in (place, file_of(place)) or (folder != "" and place.startswith(f"{folder}/"))


def _add_pairs(traces: Traces, pairs: Iterable[Pair], *, inputs: bool = True) -> None:
    for pair in pairs:
        traces.pairs.add(pair.id)
        traces.texts.add(pair.output)
        if inputs:
            traces.texts.update([pair.input, pair.reference or ""])
        if pair.origin.by == "generated":
            traces.calls.update(key for key, _ in pair.origin.calls)


def erase(store: Store, traces: Traces) -> dict[str, int]:
    """Delete everything in `traces` and replace quotes of it; returns how many records of each table were deleted or
    changed."""
    search = TextSearch(json_spellings(traces.searched))
    calls, requests = _quoting_calls(store, traces, search)
    # Queues and reviews are located by it, and it contains no text.
    first = first_drawn(record for records in store.sampled().values() for record in records)
    deleted: dict[str, int] = {}

    def work(connection: sa.Connection) -> None:
        if sqlite_path(store.url) is not None:  # deleted data is overwritten at the commit, whatever happens next
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
            for some in batched(sorted(values), IN):
                rows = _reduce_to_cost() if table is tables.calls else sa.delete(table)
                rows = rows.where(column.in_(some))
                if table is tables.sampled and first:
                    rows = rows.where(table.c.id != first.id)
                removed = connection.execute(rows).rowcount
                deleted[table.name] = deleted.get(table.name, 0) + removed
        connection.execute(sa.delete(tables.origins).where(tables.origins.c.id.not_in(origins_named())))
        for name in traces.names:
            named = tables.aliases.c.body.contains(json.dumps(name, ensure_ascii=False), autoescape=True)
            removed = connection.execute(sa.delete(tables.aliases).where(named)).rowcount
            deleted["aliases"] = deleted.get("aliases", 0) + removed
        for table in _QUOTING:
            deleted[f"{table.name} changed"] = _replace(connection, table, search)

    store.writer.submit(work).result()
    failpoint("mid_erase")
    _rewrite_file(store)
    return {name: count for name, count in deleted.items() if count}


def _reduce_to_cost() -> sa.Update:
    """The update that reduces a call to its cost: the budget cap counts it, and its key no longer leads to an
    answer."""
    c = tables.calls.c
    key = sa.literal("erased ") + sa.cast(c.position, sa.Text)
    return sa.update(tables.calls).values(key=key, status="declined", body="{}")


def _quoting_calls(store: Store, traces: Traces, search: TextSearch[str]) -> tuple[set[str], set[str]]:
    """The requests whose question or answer contains one of the texts, all of whose answers are erased, and the ids of
    the shared request prefixes that only they use."""
    c, r = tables.calls.c, tables.requests.c
    before, quoting = set[str](), set[str]()
    for id_, body in store.row_pages((r.id, r.body)):
        before.add(id_)
        if search.occurring(body):
            quoting.add(id_)
    affected: set[str] = set()
    left: dict[str, str] = {}
    for key, request_id, body in store.row_pages((c.key, c.request_id, c.body)):
        id_ = json.loads(body).get("request", {}).get(PREFIX_KEY, "")
        if key in traces.calls or id_ in quoting or search.occurring(body):
            affected.add(request_id)
            traces.calls.add(probe_key(key))  # its repetition, which is stored later and may itself be repeated
        left[request_id] = id_ or left.get(request_id, "")
    kept = {id_ for request_id, id_ in left.items() if request_id not in affected}
    return affected, before - kept


def _replace(connection: sa.Connection, table: sa.Table, search: TextSearch[str]) -> int:
    c, changed, last = table.c, 0, -1
    page = sa.select(c.position, c.body).order_by(c.position).limit(PAGE)
    while rows := connection.execute(page.where(c.position > last)).all():
        for position, body in rows:
            without = body
            for text in search.occurring(body):
                without = without.replace(text, ERASED)
            if without != body:
                connection.execute(sa.update(table).where(c.position == position).values(body=without))
                changed += 1
        last = rows[-1].position
    return changed


def _rewrite_file(store: Store) -> None:
    """Release the pages with deleted data and truncate the write-ahead log. On a disk without room for a second copy
    the pages stay, overwritten; `left_in` checks the bytes."""
    if sqlite_path(store.url) is None:
        return
    with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        with suppress(sa.exc.OperationalError):
            connection.execute(sa.text("VACUUM"))
        connection.execute(sa.text("PRAGMA wal_checkpoint(TRUNCATE)"))


def left_in(store: Store, texts: Sequence[str]) -> int:
    """The number of records that still contain one of the texts, plus the number of files of a SQLite store whose bytes
    do."""
    search = TextSearch(json_spellings(texts))
    count = sum(
        bool(search.occurring(body))
        for table in tables.metadata.sorted_tables
        if "body" in table.c
        for (body,) in store.row_pages((table.c.body,))
    )
    path = sqlite_path(store.url)
    if path is None:
        return count
    in_files = FileSearch(texts)
    return count + sum(in_files.in_file(path.with_name(path.name + end)) for end in ("", "-wal", "-shm"))

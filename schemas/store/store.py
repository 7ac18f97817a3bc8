"""Opening, writing and reading the store.

SQLite runs in WAL mode with `synchronous=FULL`, so a confirmed row survives a power cut. Every read returns records in
the order in which they were first written.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Sequence
from concurrent.futures import Future
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Self

import orjson
import sqlalchemy as sa

from schemas.errors import PairsmithError, StoreBusy, StoreError, StoreFull, UsageError
from schemas.gate_verdicts import StepName, UnvalidatedVerdict, decode_verdict, decode_verdicts
from schemas.money import Cost, Hold, total
from schemas.progress import Progress, Say, log_message, unseen
from schemas.project import Project
from schemas.records import Artifact, Call, Candidate, Json, Pair, Receipt, Record, RowState, Seed, Verdict
from schemas.reviews import Alias, Review, Sampled, follow_aliases, resolve_alias
from schemas.store import tables
from schemas.store.active_seeds import ActiveSeeds, active_ids, each_seed, set_active
from schemas.store.budget import Budget
from schemas.store.costs import costs_of, queries
from schemas.store.failures import explained
from schemas.store.judged import GATES, has_any_step, store_judged
from schemas.store.lock import last_writer_of, note_writer, writer_lock, writer_of
from schemas.store.opening import (
    check_place,
    check_version,
    close_connections,
    copy_for_reading,
    empty_store,
    engine_of,
    has_tables,
    is_older,
    is_writable,
    sqlite_file,
    sqlite_path,
    sqlite_url,
)
from schemas.store.reading import Reading
from schemas.store.rows import PREFIX_KEY, Texts, restored_call, texts_in, texts_of
from schemas.store.writer import Mark, Revisable, Writer, mark_judged
from schemas.temporary_folders import temporary_folder


def _upgrade_for_reader(engine: sa.Engine, url: str, say: Say) -> None:
    """Upgrade the store, because a reader needs the new tables too, unless a writer does so first."""
    try:
        with writer_lock(sqlite_path(url), engine, url, say, upgrades=True):
            check_version(engine, url, upgrade=True, say=say)
    except StoreBusy:
        if is_older(engine):
            raise


class Store(Reading):
    """A project's records. Open it with `Store.open` in a `with` statement, so that the last group is committed. `path`
    is its SQLite file, also while a copy of it is read."""

    def __init__(
        self, engine: sa.Engine, url: str, path: Path | None, writer: Writer | None, closing: contextlib.ExitStack
    ) -> None:
        super().__init__(engine, url)
        self.path, self._writer, self._closing = path, writer, closing
        self.budget: Budget | None = None
        self._last_prefix: tuple[str, Json] = ("", {})  # the shared request that was read last
        self._step_lists: dict[str, list[StepName]] = {}

    def capped(self, *, project_usd: float | None = None, command_usd: float | None = None) -> Store:
        """The store with caps on further spending through its ledger: the project's in total, the command's in addition
        to earlier spending. They apply to all code that sends requests."""
        self.budget = None
        if project_usd is not None or command_usd is not None:
            self.budget = Budget(self.spent(), project_usd=project_usd, command_usd=command_usd)
        return self

    @staticmethod
    def url_for(project: Project) -> str:
        """The store's URL: `store.url`, the value of the variable named by `store.url_env`, or `pairsmith.db` beside
        the spec. The path of a SQLite file is relative to the project's folder, like every path of the spec."""
        url = (store := project.spec.store).url
        if store.url_env and not (url := os.environ.get(store.url_env)):
            raise StoreError(
                f"the environment variable {store.url_env} is not set.",
                where="store.url_env",
                fix=f"Set it to the store's URL: export {store.url_env}=postgresql://USER@HOST/DATABASE",
            )
        file = "pairsmith.db" if url is None else sqlite_file(url)
        return str(url) if file is None else sqlite_url(project.folder.resolve() / file)

    @classmethod
    def exists(cls, url: str) -> bool:
        """Whether its tables exist: a process that is killed early leaves a file without tables."""
        if (path := sqlite_path(url)) is not None:
            return has_tables(path)
        engine = engine_of(url)
        try:
            return sa.inspect(engine).has_table("alembic_version")
        except Exception as error:
            raise explained(error, url) from None
        finally:
            engine.dispose()

    @classmethod
    def open(cls, url: str, *, write: bool = True, say: Say = log_message) -> Store:
        """Open the store; with `write`, create it if missing. An older schema is upgraded, which takes the writer lock.

        A SQLite store with an older schema is copied first, to `FILE.before-` and the number of the new schema. What
        cannot be written in its place is read from a copy. `say` gets what it waits for. Raises StoreBusy (another
        writer), StoreFull, StoreError (unreachable, damaged, of a newer pairsmith), MissingDependency (no driver).
        """
        check_place(path := sqlite_path(url))
        if not write and path is not None and not path.exists():
            raise empty_store(url)  # connecting would create the file
        copied = not write and path is not None and not is_writable(path)
        try:
            return cls._open(url, path, say, write=write, copied=copied)
        except StoreFull:
            if write or path is None:
                raise
            return cls._open(url, path, say, write=write, copied=True)

    @classmethod
    def _open(cls, url: str, path: Path | None, say: Say, *, write: bool, copied: bool) -> Store:
        closing = contextlib.ExitStack()
        try:
            if copied and path is not None and path.is_file():
                folder = closing.enter_context(temporary_folder())
                url = sqlite_url(copy_for_reading(path, folder))
            engine = engine_of(url)
            closing.callback(close_connections, engine)
            still_held = closing.enter_context(writer_lock(path, engine, url, say)) if write else None
            if not write and is_older(engine):
                _upgrade_for_reader(engine, url, say)
            check_version(engine, url, upgrade=write, say=say)
            writer = None
            if still_held is not None:
                note_writer(engine)
                writer = Writer(engine, url, still_held, say)
                closing.callback(writer.close)
            return cls(engine, url, path, writer, closing)
        except Exception as error:
            closing.close()
            raise (error if isinstance(error, PairsmithError) else explained(error, url)) from None

    @property
    def url(self) -> str:
        """Its URL, as it was opened."""
        return self._url

    @property
    def current_writer(self) -> str:
        """A description of the process that is writing to it; empty if there is none."""
        return writer_of(self.path, self.engine)

    @property
    def last_writer(self) -> tuple[str, datetime] | None:
        """The command that last wrote to it, and when it began; None if it is still writing, or if that is unknown."""
        return last_writer_of(self.path, self.engine)

    def closing(self) -> Callable[[], None]:
        """A function that does what `close` does, without a reference to the store."""
        return self._closing.close

    def close(self) -> None:
        """Commit what is queued and release the writer lock."""
        self._closing.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def append(self, *records: Record) -> Future[None]:
        """Queue records as one atomic group; the future resolves when they are durable, or with a StoreError.

        An existing record stays unchanged, except that a Candidate and a RowState replace the earlier one of their
        slot, and a Seed its earlier reading, with its source and license. For Verdicts the latest counts.
        """
        return self.writer.submit(records)

    async def put(self, *records: Record) -> None:
        """`append`, awaited."""
        await self.writer.submit_here(records)

    def put_revisable(self, records: Sequence[Record]) -> tuple[Revisable, asyncio.Future[None]]:
        """`put` for records that may be replaced until the writer takes them; await the future."""
        work = Revisable(records)
        return work, self.writer.submit_here(work)

    def write(self, *records: Record) -> None:
        """`append`, blocking."""
        self.append(*records).result()

    def mark(self, mark: Mark) -> None:
        """`Writer.mark`: record what is in flight, so that it is known even if the process is killed."""
        self.writer.mark(mark)

    async def judge(self, *calls: Call) -> None:
        """Update the status, text and reason of stored answers after they were judged; durable on return."""
        await self.writer.submit_here(partial(mark_judged, calls))

    def set_active_seeds(self, seeds: Sequence[Seed], progress: Progress = unseen) -> None:
        """Store `seeds` as they were just read, and make exactly these, in this order, the seeds of the project."""
        set_active(self, seeds, lambda work: self.writer.submit(work).result(), progress)

    @property
    def writable(self) -> bool:
        return self._writer is not None

    @property
    def writer(self) -> Writer:
        """Raises UsageError if the store is open for reading only."""
        if self._writer is None:
            raise UsageError("this store is open for reading only.")
        return self._writer

    def active_seeds(self) -> ActiveSeeds:
        """The seeds of the latest reading in order, read a page at a time on each iteration."""
        return ActiveSeeds(self)

    def seeds_by_id(self, ids: Iterable[str]) -> dict[str, Seed]:
        """id -> the seed, among all that were ever read."""
        return {id_: self.read(Seed, body) for id_, body in self.bodies(tables.seeds, ids)}

    def each_seed(self) -> Iterator[Seed]:
        """Every seed ever read, one page in memory at a time, not validated again; for processing very many."""
        return each_seed(self)

    def each_answer(self) -> Iterator[tuple[str, int, str]]:
        """(key, attempt, status) of every call, by attempt, with one page in memory at a time."""
        c = tables.calls.c
        yield from map(tuple, self.each_row(sa.select(c.key, c.attempt, c.status).order_by(c.attempt)))

    def calls(self, key: str) -> list[Call]:
        """The answers of one key by attempt, each with its request."""
        c = tables.calls.c
        calls = map(self._restore, self.records(Call, tables.calls, c.key == key, order=c.attempt))
        return [call if call.request_of is None else self._with_request(call, *call.request_of) for call in calls]

    def call(self, key: str, attempt: int) -> Call | None:
        """One answer with its request."""
        return next((call for call in self.calls(key) if call.attempt == attempt), None)

    def _with_request(self, call: Call, key: str, attempt: int) -> Call:
        first = self.call(key, attempt)
        assert first is not None, "a request is written with its first answer"
        return call.model_copy(update={"request": first.request})

    def _restore(self, call: Call) -> Call:
        """An answer with the parts that its row leaves out."""
        if (id_ := call.request.get(PREFIX_KEY)) is None:
            return restored_call(call, None)
        if id_ != self._last_prefix[0]:
            ((body,),) = self.rows(sa.select(tables.requests.c.body).where(tables.requests.c.id == id_))
            self._last_prefix = id_, orjson.loads(body)
        return restored_call(call, self._last_prefix[1])

    def costs(self) -> list[Cost]:
        """The cost of the ledger by stage, teacher and prompt, with what is reserved for unanswered requests."""
        calls, holds = queries()
        return costs_of(list(self.rows(calls)), list(self.rows(holds)))

    def holds(self, ids: Iterable[str]) -> dict[str, Hold]:
        """id -> the hold, in its current state."""
        return {id_: self.read(Hold, body) for id_, body in self.bodies(tables.holds, ids)}

    def spent(self) -> Cost:
        """The sum of `costs`."""
        return total(self.costs())

    def candidates(self, fingerprint: str | None = None) -> list[Candidate]:
        """The outcomes of one generation (`Candidate.fingerprint`), or of all."""
        return list(self.each_candidate(fingerprint))

    def each_candidate(self, fingerprint: str | None = None) -> Iterator[Candidate]:
        """`candidates`, with one page in memory at a time."""
        return self.pages(Candidate, tables.candidates, fingerprint=fingerprint)

    def skim_candidates(self, fingerprint: str) -> Iterator[Json]:
        """`each_candidate` as JSON, not validated again; for processing very many."""
        return self._json_pages(tables.candidates, fingerprint=fingerprint)

    def active_seed_ids(self) -> Container[str]:
        return active_ids(self)

    def count_candidates(self, fingerprints: Iterable[str]) -> int:
        """The number of slots in these generations."""
        return self.count(tables.candidates, tables.candidates.c.fingerprint.in_(list(fingerprints)))

    def pairs(self, ids: Iterable[str] | None = None) -> list[Pair]:
        """All pairs, or those of `ids`."""
        return list(self.by_id(Pair, tables.pairs, tables.pairs.c.id, ids))

    def pair_bodies(self, ids: Iterable[str]) -> dict[str, str]:
        """id -> the pair as JSON, for validation elsewhere."""
        return dict(self.bodies(tables.pairs, ids))

    def pair_texts(self, ids: Iterable[str]) -> dict[str, Texts]:
        """id -> the question and answer of the pair; the rest is not read."""
        c, texts, others = tables.pairs.c, dict[str, Texts](), list[str]()
        for id_, seed_id, body in self.rows_with(sa.select(c.id, c.seed_id, c.body), c.id, ids):
            try:
                texts[id_] = texts_in(seed_id, body)
            except (ValueError, KeyError):  # damaged, or with a number that only pydantic can read
                others.append(id_)
        return texts | {pair.id: texts_of(pair) for pair in self.pairs(others)}

    def find_pair(self, prefix: str) -> list[Pair]:
        """Pairs whose id begins with `prefix`."""
        return self.records(Pair, tables.pairs, tables.pairs.c.id.startswith(prefix, autoescape=True))

    async def put_gate_verdicts(self, steps: Sequence[StepName], rows: Sequence[tuple[str, str]]) -> None:
        """Store gate verdicts, one row per pair: its id and the body (`schemas.gate_verdicts.body_of`)."""
        await self.writer.submit_here(partial(store_judged, steps=steps, rows=rows))

    def verdicts(self, pair_ids: Iterable[str] | None = None) -> dict[str, list[Verdict]]:
        """pair id -> its verdicts, the latest for every (by, fingerprint), ordered by each step's first verdict."""
        c = tables.verdicts.c
        query = sa.select(c.position, c.pair_id, c.by, c.fingerprint, c.body).order_by(c.position)
        rows = self.rows(query) if pair_ids is None else self.rows_with(query, c.pair_id, pair_ids)
        latest: dict[str, dict[StepName, Verdict]] = {}
        for _, pair_id, by, name, body in sorted(rows, key=lambda row: int(row[0])):
            by_step = latest.setdefault(pair_id, {})
            if by == GATES:
                decoded = decode_verdicts(pair_id, self._step_list(name), body)
                by_step.update((one.step, one.verdict()) for one in decoded)
            else:
                by_step[by, name] = self.read(Verdict, body)
        return {pair_id: list(by_step.values()) for pair_id, by_step in latest.items()}

    def verdict_count(self) -> int:
        """The number of verdicts ever stored; they are only ever added."""
        c = tables.verdicts.c
        groups = sa.select(c.fingerprint, sa.func.count()).where(c.by == GATES).group_by(c.fingerprint)
        more = sum((len(self._step_list(name)) - 1) * rows for name, rows in self.rows(groups))
        return self.count(tables.verdicts) + int(more)

    def verdicts_of_steps(self, steps: Collection[StepName]) -> Iterator[UnvalidatedVerdict]:
        """All verdicts of these steps, in the order they were written; of two on the same pair, the later counts. They
        are not validated again; for counting very many."""
        self._load_step_lists()
        c, condition = tables.verdicts.c, has_any_step(self._step_lists, list(steps))
        for pair_id, by, name, body in self.row_pages((c.pair_id, c.by, c.fingerprint, c.body), condition):
            if by == GATES:
                decoded = decode_verdicts(pair_id, self._step_lists[name], body)
                yield from (one for one in decoded if one.step in steps)
            else:
                yield decode_verdict(pair_id, (by, name), body)

    def _step_list(self, name: str) -> list[StepName]:
        if name not in self._step_lists:
            self._load_step_lists()
        return self._step_lists[name]

    def _load_step_lists(self) -> None:
        rows = self.rows(sa.select(tables.step_lists.c.id, tables.step_lists.c.body))
        self._step_lists = {id_: [(by, fingerprint) for by, fingerprint in orjson.loads(body)] for id_, body in rows}

    def row_states(
        self, curation: str, *, state: str | None = None, code: str | None = None, pair_id: str | None = None
    ) -> Iterator[RowState]:
        """The decisions of a curation in pool order, with one page in memory at a time; `code` is the reason's."""
        return self.pages(RowState, tables.row_states, curation=curation, state=state, code=code, pair_id=pair_id)

    def skim_row_states(self, curation: str) -> Iterator[Json]:
        """`row_states` as JSON, not validated again; for totals over very many."""
        return self._json_pages(tables.row_states, curation=curation)

    def skim_pairs(self, ids: Iterable[str]) -> Iterator[Json]:
        """`pairs` as JSON, in any order, not validated and without ids; for totals over very many."""
        return (orjson.loads(body) for _, body in self.bodies(tables.pairs, ids))

    def count_row_states(self, curation: str) -> int:
        """The number of slots that a curation has decided."""
        return self.count(tables.row_states, tables.row_states.c.curation == curation)

    def delete_row_states(self, *, but: Collection[str]) -> None:
        """Delete the row states of every curation that is not in `but`."""
        delete = sa.delete(tables.row_states).where(tables.row_states.c.curation.not_in(list(but)))

        def forget(connection: sa.Connection) -> None:
            connection.execute(delete)

        self.writer.submit(forget).result()

    def reviews(self, pair_ids: Iterable[str] | None = None, *, as_stored: bool = False) -> dict[str, list[Review]]:
        """pair id -> its reviews, in order of arrival. A review by a name or an account with an alias is returned under
        its reviewer, with its id unchanged, unless `as_stored`."""
        known, by_pair = {} if as_stored else self.aliases(), dict[str, list[Review]]()
        for review in self.by_id(Review, tables.reviews, tables.reviews.c.pair_id, pair_ids):
            by_pair.setdefault(review.pair_id, []).append(resolve_alias(review, known))
        return by_pair

    def aliases(self) -> dict[str, str]:
        """`name` of each alias -> the `reviewer` it belongs to."""
        return follow_aliases({alias.name: alias.reviewer for alias in self.records(Alias, tables.aliases)})

    def review_count(self) -> int:
        """The number of reviews. They are only ever added or erased, so the number identifies the state of review."""
        return self.count(tables.reviews)

    def sampled(self, pair_ids: Iterable[str] | None = None) -> dict[str, list[Sampled]]:
        """pair id -> why it was sampled for review, one record per reason, oldest first."""
        by_pair: dict[str, list[Sampled]] = {}
        for sampled in self.by_id(Sampled, tables.sampled, tables.sampled.c.pair_id, pair_ids):
            by_pair.setdefault(sampled.pair_id, []).append(sampled)
        return by_pair

    def receipts(self, command: str | None = None) -> list[Receipt]:
        """Receipts, oldest first."""
        c = tables.receipts.c
        return self.records(Receipt, tables.receipts, *(() if command is None else (c.command == command,)))

    def artifacts(self, kind: str | None = None, *, ids: Collection[str] | None = None) -> list[Artifact]:
        """Artifacts, oldest first, all or those of `ids`. `latest.listed_artifacts` reads them without members."""
        c = tables.artifacts.c
        where = [*([] if kind is None else [c.kind == kind]), *([] if ids is None else [c.id.in_(ids)])]
        return self.records(Artifact, tables.artifacts, *where)

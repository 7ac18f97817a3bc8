"""A search engine for argilla-server 2.8 that is answered by SQL over Argilla's own database, SQLite or PostgreSQL.

The records, responses and vectors are read where Argilla stores them. What lies inside its JSON columns (metadata,
suggestions) and, on PostgreSQL, the words of each field, is kept in tables of ours by triggers, in the same
transaction as Argilla's write; `pairsmith_sql_tables` makes them. On SQLite the words lie in an FTS5 file beside the
database, brought up to date from a list of changed records, so nothing here can disagree with what Argilla stores.

Semantics follow Argilla's Elasticsearch engine. Known differences: fuzzy words, phrase slop, response filters on
text, ranking and span questions and unknown properties are refused in a sentence instead of matching nothing;
`get_dataset_user_progress` counts the responses of that user only; text search on PostgreSQL is not ranked.

This module runs under the server's own pins, imports nothing but them, and has no parent package.
"""

import asyncio
import functools
import json
import logging
import re
import sqlite3
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, time
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import sqlalchemy as sa
from argilla_server.database import database_url_sync
from argilla_server.enums import (
    MetadataPropertyType,
    QuestionType,
    RecordSortField,
    RecordStatus,
    ResponseStatus,
    SimilarityOrder,
    SortOrder,
)
from argilla_server.errors.future import UnprocessableEntityError
from argilla_server.models import (
    Dataset,
    Field,
    MetadataProperty,
    Question,
    Record,
    Response,
    Suggestion,
    User,
    Vector,
    VectorSettings,
)
from argilla_server.search_engine.base import (
    AndFilter,
    Filter,
    FloatMetadataMetrics,
    IntegerMetadataMetrics,
    MetadataFilterScope,
    MetadataMetrics,
    Order,
    RangeFilter,
    RecordFilterScope,
    ResponseFilterScope,
    SearchEngine,
    SearchResponseItem,
    SearchResponses,
    SuggestionFilterScope,
    TermsFilter,
    TermsMetrics,
    TextQuery,
)
from argilla_server.settings import settings
from sqlalchemy.dialects.postgresql import JSONB, TSQUERY, TSVECTOR

ENGINE_NAME = "pairsmith-sql"
_LOGGER = logging.getLogger("argilla.search")
_MAX_TERMS = 2**14
_LARGE_PRIME = 2_147_483_647
_FILTERED_QUESTIONS = {QuestionType.rating, QuestionType.label_selection, QuestionType.multi_label_selection}

_records, _responses, _vectors = Record.__table__, Response.__table__, Vector.__table__
_values = sa.table(
    "pairsmith_values",
    sa.column("record_id", sa.Uuid()),
    sa.column("source", sa.Uuid()),
    sa.column("facet", sa.Text()),
    sa.column("word", sa.Text()),
    sa.column("number", sa.Float()),
)
_words = sa.table(
    "pairsmith_words",
    sa.column("record_id", sa.Uuid()),
    sa.column("dataset_id", sa.Uuid()),
    sa.column("field", sa.Text()),
    sa.column("words", TSVECTOR()),
)


# ---- where the words lie, and connections ----------------------------------------------------------------------------


def words_file() -> Path | None:
    """The FTS5 file beside Argilla's SQLite database; None on PostgreSQL."""
    database = sa.make_url(settings.database_url).database
    return Path(database).with_suffix(".words.db") if settings.database_is_sqlite and database else None


@functools.cache
def search_connections() -> sa.Engine:
    """Reads run in threads on connections of their own, so one slow search never holds up Argilla's event loop."""
    if settings.database_is_sqlite:
        engine = sa.create_engine(database_url_sync(), connect_args={"timeout": settings.database_sqlite_timeout})
    else:
        engine = sa.create_engine(database_url_sync(), pool_size=4, max_overflow=8, pool_pre_ping=True)

    @sa.event.listens_for(engine, "connect")
    def _ready(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        if settings.database_is_sqlite:
            cursor.execute("PRAGMA cache_size = -65536")
            cursor.execute("PRAGMA temp_store = MEMORY")
            cursor.execute("ATTACH DATABASE ? AS words", (str(words_file()),))
        else:
            cursor.execute("SET jit = off")
            connection.commit()
        cursor.close()

    return engine


# ---- text queries ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Phrase:
    """Words that stand next to each other; `prefix`: the last may go on."""

    text: str
    prefix: bool = False


@dataclass(frozen=True)
class _Not:
    inner: Any


@dataclass(frozen=True)
class _Pair:
    joint: str  # AND or OR
    left: Any
    right: Any


_HAS_WORD = re.compile(r"[^\W_]")
_ONE_SIGN_WORDS = re.compile("([\u3040-\u309f\u3400-\u9fff])")


_TOKEN = re.compile(
    r"""(?P<minus>-*)(?:"(?P<phrase>[^"]*)"(?P<slop>~\d+)?
                     |(?P<open>\()
                     |(?P<word>(?:\\.|[^\s+|()"~\\-])(?:\\.|[^\s+|()"~\\])*)(?P<fuzz>~\d+)?)
       |(?P<close>\))|(?P<either>\|)|.""",
    re.VERBOSE | re.DOTALL,
)


def parse_text(query: str) -> _Phrase | _Not | _Pair | None:
    """Elasticsearch's simple query string with AND as the default: `a b`, `a | b`, `-a`, `"a b"`, `a*`, `( )`, `\\`.

    Operators bind from left to right, as there; unbalanced quotes and brackets are ignored; None when no word is left.
    """
    node: Any = None
    joint = "AND"
    outer: list[tuple] = []  # (node, joint, negated) around each open bracket

    def add(item: Any, negated: bool) -> None:
        nonlocal node, joint
        if item is not None:
            item = _Not(item) if negated else item
            node = item if node is None else _Pair(joint, node, item)
        joint = "AND"

    def close() -> None:
        nonlocal node, joint
        inner = node
        node, joint, negated = outer.pop()
        add(inner, negated)

    for token in _TOKEN.finditer(query):
        tilde = token["slop"] or token["fuzz"]
        if tilde:
            raise UnprocessableEntityError(
                f"This Argilla server searches without Elasticsearch: fuzzy words and phrase slop ({tilde}) are not"
                " supported. Leave out the ~ and the number; word* matches the beginning of a word."
            )
        negated = len(token["minus"] or "") % 2 == 1
        if token["open"]:
            outer.append((node, joint, negated))
            node, joint = None, "AND"
        elif token["close"]:
            if outer:
                close()
        elif token["either"]:
            joint = "OR"
        elif token["phrase"] is not None:
            add(_phrase(token["phrase"], prefix=False), negated)
        elif token["word"] is not None:
            word = re.sub(r"\\(.)", r"\1", token["word"])
            add(_phrase(word.rstrip("*"), prefix=word.endswith("*")), negated)
    while outer:
        close()
    return node


def _phrase(text: str, prefix: bool) -> _Phrase | None:
    return _Phrase(text, prefix) if _HAS_WORD.search(text) else None


def fts5_query(node: Any) -> str | None:
    """The whole query in FTS5's syntax, or None where that cannot say it (a negation with nothing to take it from)."""
    if isinstance(node, _Phrase):
        quoted = _ONE_SIGN_WORDS.sub(r" \1 ", node.text).replace('"', '""')
        return f'"{quoted}"' + (" *" if node.prefix else "")
    if isinstance(node, _Not):
        return None
    left = fts5_query(node.left)
    if node.joint == "AND" and isinstance(node.right, _Not):
        inner = fts5_query(node.right.inner)
        return f"({left} NOT {inner})" if left and inner else None
    right = fts5_query(node.right)
    return f"({left} {node.joint} {right})" if left and right else None


# ---- the words of each record on SQLite -----------------------------------------------------------------------------

_WORDS_LOCK = threading.Lock()


def _field_text(value: Any) -> str:
    if isinstance(value, list):
        text = "\n".join(
            f"{turn.get('role', '')} {turn.get('content', '')}" for turn in value if isinstance(turn, dict)
        )
    else:
        text = "" if value is None else str(value)
    return _ONE_SIGN_WORDS.sub(r" \1 ", text)


def bring_words_up_to_date(dataset_id: UUID) -> list[str]:
    """Index every record of the dataset that changed since the last call; the names of the fields, in column order.

    SQLite only. Crash-safe: the words and the number of the last change they hold are one transaction.
    """
    key, table = dataset_id.hex, f"words_{dataset_id.hex}"
    with _WORDS_LOCK, search_connections().connect() as reader:
        fields = [
            name
            for name, kind in reader.execute(
                sa.select(Field.name, Field.settings["type"].as_string())
                .where(Field.dataset_id == dataset_id)
                .order_by(Field.inserted_at, Field.name)
            )
            if kind != "image"
        ]
        changed = sa.text(
            "SELECT seq, record_id FROM pairsmith_changes WHERE dataset_id = :d AND seq > :s ORDER BY seq"
        )
        writer = sqlite3.connect(words_file(), timeout=30, isolation_level=None)
        try:
            known = writer.execute("SELECT name FROM sqlite_master WHERE name = 'datasets'").fetchone()
            if known is None:
                writer.execute("PRAGMA journal_mode = WAL")
                writer.executescript(
                    "BEGIN IMMEDIATE;"
                    "CREATE TABLE IF NOT EXISTS datasets (dataset_id TEXT PRIMARY KEY, seq INTEGER, columns TEXT);"
                    "CREATE TABLE IF NOT EXISTS docs (doc INTEGER PRIMARY KEY, record_id TEXT UNIQUE);"
                    "COMMIT;"
                )
            seq, columns = writer.execute(
                "SELECT seq, columns FROM datasets WHERE dataset_id = ?", (key,)
            ).fetchone() or (0, None)
            if columns == json.dumps(fields) and reader.execute(changed, {"d": key, "s": seq}).first() is None:
                return fields
            writer.execute("PRAGMA synchronous = OFF")  # it can be made again from Argilla's tables
            writer.execute("BEGIN IMMEDIATE")
            seq, columns = writer.execute(
                "SELECT seq, columns FROM datasets WHERE dataset_id = ?", (key,)
            ).fetchone() or (0, None)
            if columns != json.dumps(fields):
                seq = 0
                writer.execute(f"DROP TABLE IF EXISTS {table}")
                if fields:
                    names = ", ".join(f"c{place}" for place in range(len(fields)))
                    writer.execute(
                        f"CREATE VIRTUAL TABLE {table} USING fts5({names}, tokenize = 'unicode61 remove_diacritics 0')"
                    )
            rows = reader.execute(changed, {"d": key, "s": seq}).all()
            for start in range(0, len(rows), 500):
                batch = rows[start : start + 500]
                marks = ", ".join("?" * len(batch))
                stored = reader.exec_driver_sql(
                    f"SELECT id, fields FROM records WHERE id IN ({marks})", tuple(row.record_id for row in batch)
                ).all()
                gone = [(row.record_id,) for row in batch]
                writer.executemany(
                    f"DELETE FROM {table} WHERE rowid = (SELECT doc FROM docs WHERE record_id = ?)", gone
                )
                writer.executemany("INSERT OR IGNORE INTO docs (record_id) VALUES (?)", [(row.id,) for row in stored])
                places = ", ".join("?" * (len(fields) + 1))
                docs = dict(
                    writer.execute(
                        f"SELECT record_id, doc FROM docs WHERE record_id IN ({marks})",
                        [row.record_id for row in batch],
                    ).fetchall()
                )
                writer.executemany(
                    f"INSERT INTO {table} (rowid, {', '.join(f'c{i}' for i in range(len(fields)))}) VALUES ({places})",
                    [
                        (docs[row.id], *(_field_text(values.get(name)) for name in fields))
                        for row in stored
                        for values in [json.loads(row.fields)]
                    ],
                )
            writer.execute(
                "INSERT OR REPLACE INTO datasets (dataset_id, seq, columns) VALUES (?, ?, ?)",
                (key, rows[-1].seq if rows else seq, json.dumps(fields)),
            )
            writer.execute("COMMIT")
        finally:
            writer.close()
    return fields


# ---- the engine -----------------------------------------------------------------------------------------------------


@SearchEngine.register(engine_name=ENGINE_NAME)
class SQLSearchEngine(SearchEngine):
    """Made once per request by Argilla; holds nothing, so `close` has nothing to do."""

    @classmethod
    async def new_instance(cls) -> "SQLSearchEngine":
        return cls()

    async def close(self) -> None:
        return None

    async def ping(self) -> bool:
        return await asyncio.to_thread(_ping)

    async def info(self) -> dict:
        return {"name": ENGINE_NAME, "database": search_connections().dialect.name, "elasticsearch": False}

    # The database is the index: what Argilla commits is found by the next search.

    async def create_index(self, dataset: Dataset) -> None:
        return None

    async def configure_metadata_property(self, dataset: Dataset, metadata_property: MetadataProperty) -> None:
        return None

    async def configure_index_vectors(self, vector_settings: VectorSettings) -> None:
        return None

    async def partial_record_update(self, record: Record, **update: Any) -> None:
        return None

    async def delete_records(self, dataset: Dataset, records: Iterable[Record]) -> None:
        return None

    async def update_record_response(self, response: Response) -> None:
        return None

    async def delete_record_response(self, response: Response) -> None:
        return None

    async def update_record_suggestion(self, suggestion: Suggestion) -> None:
        return None

    async def delete_record_suggestion(self, suggestion: Suggestion) -> None:
        return None

    async def index_records(self, dataset: Dataset, records: Iterable[Record]) -> None:
        """Index the words now, so that the first search after a large push is quick; that search retries a failure."""
        if settings.database_is_sqlite:
            try:
                await asyncio.to_thread(bring_words_up_to_date, dataset.id)
            except (sa.exc.SQLAlchemyError, sqlite3.Error):
                _LOGGER.exception("the words of new records could not be indexed; the next search tries again")

    async def delete_index(self, dataset: Dataset) -> None:
        if settings.database_is_sqlite:
            await asyncio.to_thread(_forget_words, dataset.id)

    async def get_dataset_progress(self, dataset: Dataset) -> dict:
        """`{"total": n, "pending": n, "completed": n}`, by the status of the records; {} for a draft."""
        if dataset.is_draft:
            return {}
        return await asyncio.to_thread(_count_records, dataset.id)

    async def get_dataset_user_progress(self, dataset: Dataset, user: User) -> dict:
        """`{"total": n, "submitted": n, ...}`, by the status of that user's own responses; {} for a draft."""
        if dataset.is_draft:
            return {}
        return await asyncio.to_thread(_count_responses, dataset.id, user.id)

    async def compute_metrics_for(self, metadata_property: MetadataProperty) -> MetadataMetrics:
        """How often each term occurs, most frequent first, or the smallest and largest number."""
        return await asyncio.to_thread(
            _metadata_metrics, metadata_property.dataset_id, metadata_property.name, metadata_property.type
        )

    async def search(
        self,
        dataset: Dataset,
        query: TextQuery | str | None = None,
        filter: Filter | None = None,
        sort: list[Order] | None = None,
        offset: int = 0,
        limit: int = 100,
        user_id: UUID | str | None = None,
    ) -> SearchResponses:
        """Records that match, and how many in all.

        Without `sort` a user gets an order of their own that stays the same between calls, and without a user the
        records come by relevance and then as they were added. `score` is None when a sort is given.
        """
        user = UUID(str(user_id)) if user_id else None
        asked = _Search(dataset.id, query, filter)
        return await asyncio.to_thread(asked.page, sort or [], offset, limit, user)

    async def similarity_search(
        self,
        dataset: Dataset,
        vector_settings: VectorSettings,
        value: list[float] | None = None,
        record: Record | None = None,
        query: TextQuery | str | None = None,
        filter: Filter | None = None,
        max_results: int = 100,
        order: SimilarityOrder = SimilarityOrder.most_similar,
        threshold: float | None = None,
    ) -> SearchResponses:
        """The exact nearest records by cosine; a score is (1 + cosine) / 2, for the least similar of the opposite vector.

        The record that was asked for is left out.
        """
        if bool(value) == bool(record):
            raise ValueError("Must provide either vector value or record to compute the similarity search")
        if record is not None:
            value = record.vector_value_by_vector_settings(vector_settings)
        if not value:
            raise ValueError("Cannot find a vector value to apply with provided info")
        sign = -1.0 if order == SimilarityOrder.least_similar else 1.0
        asked = _Search(dataset.id, query, filter) if query or filter else None
        excluded = record.id if record is not None else None
        found = await asyncio.to_thread(
            _nearest, vector_settings.id, sign * np.asarray(value, np.float32), excluded, asked, max_results
        )
        items = [
            SearchResponseItem(record_id=record_id, score=score)
            for record_id, score in found
            if threshold is None or score >= threshold
        ]
        return SearchResponses(items=items, total=len(found))


def _ping() -> bool:
    try:
        with search_connections().connect() as connection:
            connection.execute(sa.select(_values.c.facet).limit(1))
        return True
    except sa.exc.SQLAlchemyError:
        _LOGGER.exception("the search engine's tables cannot be read")
        return False


def _forget_words(dataset_id: UUID) -> None:
    words = words_file()
    if words is None or not words.exists():
        return
    with _WORDS_LOCK:
        writer = sqlite3.connect(words, timeout=30, isolation_level=None)
        try:
            if writer.execute("SELECT 1 FROM sqlite_master WHERE name = 'datasets'").fetchone():
                writer.execute(f"DROP TABLE IF EXISTS words_{dataset_id.hex}")
                writer.execute("DELETE FROM datasets WHERE dataset_id = ?", (dataset_id.hex,))
        finally:
            writer.close()


def _count_records(dataset_id: UUID) -> dict:
    by_status = sa.select(_records.c.status, sa.func.count()).where(_records.c.dataset_id == dataset_id)
    with search_connections().connect() as connection:
        counts = {status.value: count for status, count in connection.execute(by_status.group_by(_records.c.status))}
    return {"total": sum(counts.values()), **counts}


def _count_responses(dataset_id: UUID, user_id: UUID) -> dict:
    by_status = (
        sa.select(_responses.c.status, sa.func.count())
        .join(_records, _records.c.id == _responses.c.record_id)
        .where(_responses.c.user_id == user_id, _records.c.dataset_id == dataset_id)
        .group_by(_responses.c.status)
    )
    with search_connections().connect() as connection:
        counts = {status.value: count for status, count in connection.execute(by_status)}
    return {"total": sum(counts.values()), **counts}


def _metadata_metrics(dataset_id: UUID, name: str, kind: MetadataPropertyType) -> MetadataMetrics:
    here = [_values.c.source == dataset_id, _values.c.facet == name]
    with search_connections().connect() as connection:
        if kind == MetadataPropertyType.terms:
            count = sa.func.count()
            counted = connection.execute(
                sa.select(_values.c.word, count)
                .where(*here, _values.c.word.is_not(None))
                .group_by(_values.c.word)
                .order_by(count.desc(), _values.c.word)
            ).all()
            terms = [TermsMetrics.TermCount(term=word, count=times) for word, times in counted[:_MAX_TERMS]]
            return TermsMetrics(total=sum(times for _, times in counted), values=terms)
        low, high = (
            connection.scalar(sa.select(which(_values.c.number)).where(*here, _values.c.number.is_not(None)))
            for which in (sa.func.min, sa.func.max)
        )
    if kind == MetadataPropertyType.integer:
        return IntegerMetadataMetrics(min=None if low is None else int(low), max=None if high is None else int(high))
    return FloatMetadataMetrics(min=low, max=high)


class _Search:
    """One question to one dataset: the words and filters it asks for, as conditions on `records`."""

    def __init__(self, dataset_id: UUID, query: TextQuery | str | None, filter: Filter | None) -> None:
        self.dataset_id = dataset_id
        self.query = TextQuery(q=query) if isinstance(query, str) else query
        self.filter = filter
        self.connection: sa.Connection
        self.hits: sa.FromClause | None = None

    # -- answers

    def page(self, sort: list[Order], offset: int, limit: int, user: UUID | None) -> SearchResponses:
        with self._open() as connection:
            where = self._conditions()
            source = self._source()
            orders = []
            for order in sort:
                key = self._sort_key(order.scope, order.order)
                orders.append((key.desc() if order.order == SortOrder.desc else key.asc()).nulls_last())
            score: Any = sa.null() if sort else sa.literal(1.0)
            if not sort and self.hits is not None:
                score = self.hits.c.relevance
            if not sort and user is not None:
                score = score * _chance(connection.dialect.name, user)
            if not sort and (self.hits is not None or user is not None):
                orders = [sa.desc("score")]
            elif not sort:
                orders = [_records.c.inserted_at]
            chosen = (
                sa.select(_records.c.id, score.label("score"))
                .select_from(source)
                .where(*where)
                .order_by(*orders, _records.c.id)
                .limit(limit)
                .offset(offset)
            )
            rows = connection.execute(chosen).all()
            if offset == 0 and len(rows) < limit:
                total = len(rows)
            else:
                total = connection.scalar(sa.select(sa.func.count()).select_from(source).where(*where)) or 0
        return SearchResponses(
            items=[SearchResponseItem(record_id=record_id, score=value) for record_id, value in rows], total=total
        )

    def matching(self) -> list[UUID]:
        """The id of every record that matches, in no order."""
        with self._open() as connection:
            where = self._conditions()
            source = self._source()
            return list(connection.scalars(sa.select(_records.c.id).select_from(source).where(*where)))

    def _source(self) -> sa.FromClause:
        return _records if self.hits is None else _records.join(self.hits, self.hits.c.record_id == _records.c.id)

    # -- conditions

    def _open(self) -> sa.Connection:
        self.fields: list[str] = []
        if self.query is not None and settings.database_is_sqlite:
            self.fields = bring_words_up_to_date(self.dataset_id)
        self.connection = search_connections().connect()
        return self.connection

    def _conditions(self) -> list:
        conditions = [_records.c.dataset_id == self.dataset_id]
        if self.query is not None:
            conditions += self._text(self.query)
        if self.filter is not None:
            conditions.append(self._filter(self.filter))
        return conditions

    def _text(self, query: TextQuery) -> list:
        node = parse_text(query.q)
        if node is None:
            return [sa.false()]
        if self.connection.dialect.name == "postgresql":
            return [self._words(node, lambda phrase: self._phrase_postgresql(phrase, query.field))]
        if query.field is not None and query.field not in self.fields:
            return [sa.false()]  # an image has no words
        match = fts5_query(node)
        if match is not None:
            self.hits = self._hits(match, query.field).subquery("hits")
            return []
        hits = lambda phrase: self._hits(fts5_query(phrase), query.field).subquery()  # noqa: E731
        return [self._words(node, lambda phrase: sa.select(hits(phrase).c.record_id))]

    def _words(self, node: Any, records_with: Callable[[_Phrase], Any]) -> Any:
        if isinstance(node, _Phrase):
            return _records.c.id.in_(records_with(node))
        if isinstance(node, _Not):
            return sa.not_(self._words(node.inner, records_with))
        sides = [self._words(node.left, records_with), self._words(node.right, records_with)]
        return sa.and_(*sides) if node.joint == "AND" else sa.or_(*sides)

    def _hits(self, match: str | None, field: str | None) -> Any:
        table = f"words_{self.dataset_id.hex}"
        if field is not None:
            match = f"c{self.fields.index(field)} : ({match})"
        return (
            sa.text(
                f"SELECT d.record_id AS record_id, -bm25({table}) AS relevance"
                f" FROM words.{table} JOIN words.docs d ON d.doc = {table}.rowid WHERE {table} MATCH :match"
            )
            .bindparams(sa.bindparam("match", match, unique=True))
            .columns(record_id=sa.Uuid(), relevance=sa.Float())
        )

    def _phrase_postgresql(self, phrase: _Phrase, field: str | None) -> Any:
        asked = sa.func.phraseto_tsquery("simple", _ONE_SIGN_WORDS.sub(r" \1 ", phrase.text))
        if phrase.prefix:
            asked = sa.cast(sa.func.nullif(sa.cast(asked, sa.Text()), "") + ":*", TSQUERY())
        found = sa.select(_words.c.record_id).where(
            _words.c.dataset_id == self.dataset_id, _words.c.words.op("@@")(asked)
        )
        return found if field is None else found.where(_words.c.field == field)

    def _filter(self, filter: Filter) -> Any:
        if isinstance(filter, AndFilter):
            return sa.and_(sa.true(), *(self._filter(part) for part in filter.filters))
        scope = filter.scope
        if isinstance(scope, RecordFilterScope):
            return self._record_filter(filter, RecordSortField(scope.property))
        if isinstance(scope, MetadataFilterScope):
            kind = self._metadata_type(scope.metadata_property)
            return self._value_filter(filter, self.dataset_id, scope.metadata_property, kind != "terms")
        if isinstance(scope, SuggestionFilterScope):
            question_id, facet, numeric = self._suggestion(scope)
            return self._value_filter(filter, question_id, facet, numeric)
        if isinstance(scope, ResponseFilterScope):
            if scope.question:
                return self._answer_filter(filter, scope)
            if scope.property == "status" and isinstance(filter, TermsFilter):
                return self._response_status_filter(filter.values, scope.user)
        raise UnprocessableEntityError(f"This Argilla server cannot filter by {scope}.")

    def _record_filter(self, filter: TermsFilter | RangeFilter, name: RecordSortField) -> Any:
        column = _records.c[name.value]
        if isinstance(filter, TermsFilter):
            if name == RecordSortField.status:
                return column.in_([RecordStatus(value) for value in filter.values if value in set(RecordStatus)])
            if name == RecordSortField.id:
                return column.in_([found for value in filter.values if (found := _uuid(value)) is not None])
            if name == RecordSortField.external_id:
                return column.in_(filter.values)
            return column.in_([_moment(value) for value in filter.values])
        if name in (RecordSortField.inserted_at, RecordSortField.updated_at):
            return _between(column, filter, _moment, lambda value: _moment(value, end=True))
        if name == RecordSortField.external_id:
            return _between(column, filter, str, str)
        raise UnprocessableEntityError(f"This Argilla server cannot filter a record's {name.value} by a range.")

    def _value_filter(self, filter: TermsFilter | RangeFilter, source: UUID, facet: str, numeric: bool) -> Any:
        column = _values.c.number if numeric else _values.c.word
        convert = _number if numeric else str
        if isinstance(filter, TermsFilter):
            condition = column.in_([convert(value) for value in filter.values])
        else:
            condition = _between(column, filter, convert, convert)
        found = sa.select(_values.c.record_id).where(_values.c.source == source, _values.c.facet == facet, condition)
        # Argilla asks for terms: a list that holds the value twice is one record all the same, so IN and not a join.
        return _records.c.id.in_(found.where(column.is_not(None)))

    def _answer_filter(self, filter: TermsFilter | RangeFilter, scope: ResponseFilterScope) -> Any:
        answer, numeric = self._answers(scope.question or "")
        convert = _number if numeric else str
        if isinstance(filter, TermsFilter):
            condition = answer.in_([convert(value) for value in filter.values])
        else:
            condition = _between(answer, filter, convert, convert)
        theirs = [_responses.c.user_id == scope.user.id] if scope.user else []
        return sa.exists().where(_responses.c.record_id == _records.c.id, condition, *theirs)

    def _response_status_filter(self, values: list[str], user: User | None) -> Any:
        theirs = [_responses.c.user_id == user.id] if user else []
        statuses = [ResponseStatus(value) for value in values if value in set(ResponseStatus)]
        either = []
        if statuses:
            either.append(
                _records.c.id.in_(sa.select(_responses.c.record_id).where(_responses.c.status.in_(statuses), *theirs))
            )
        if "pending" in values:
            either.append(_records.c.id.not_in(sa.select(_responses.c.record_id).where(*theirs)))
        return sa.or_(sa.false(), *either)

    # -- order

    def _sort_key(self, scope: Any, order: SortOrder) -> Any:
        """One value a record; of a list the smallest when ascending and the largest when descending."""
        if isinstance(scope, RecordFilterScope):
            column = _records.c[RecordSortField(scope.property).value]
            return sa.cast(column, sa.String()) if scope.property == RecordSortField.status else column
        if isinstance(scope, ResponseFilterScope):
            theirs = [_responses.c.user_id == scope.user.id] if scope.user else []
            if scope.question:
                answer, numeric = self._answers(scope.question)
                key: Any = sa.func.avg(answer) if numeric else sa.func.min(answer)
            else:
                key = sa.func.min(sa.cast(_responses.c.status, sa.String()))
            return (
                sa.select(key)
                .where(_responses.c.record_id == _records.c.id, *theirs)
                .correlate(_records)
                .scalar_subquery()
            )
        if isinstance(scope, MetadataFilterScope):
            source, facet = self.dataset_id, scope.metadata_property
            numeric = self._metadata_type(facet) != "terms"
        else:
            source, facet, numeric = self._suggestion(scope)
        column = _values.c.number if numeric else _values.c.word
        which = sa.func.max if order == SortOrder.desc else sa.func.min
        return (
            sa.select(which(column))
            .where(_values.c.record_id == _records.c.id, _values.c.source == source, _values.c.facet == facet)
            .correlate(_records)
            .scalar_subquery()
        )

    # -- what the dataset's settings say

    def _metadata_type(self, name: str) -> str:
        kind = self.connection.scalar(
            sa.select(MetadataProperty.settings["type"].as_string()).where(
                MetadataProperty.dataset_id == self.dataset_id, MetadataProperty.name == name
            )
        )
        if kind is None:
            raise UnprocessableEntityError(f"This dataset has no metadata property `{name}`.")
        return kind

    def _question(self, name: str) -> tuple:
        found = self.connection.execute(
            sa.select(Question.id, Question.settings["type"].as_string()).where(
                Question.dataset_id == self.dataset_id, Question.name == name
            )
        ).first()
        if found is None:
            raise UnprocessableEntityError(f"This dataset has no question `{name}`.")
        return found[0], QuestionType(found[1])

    def _suggestion(self, scope: SuggestionFilterScope) -> tuple:
        question_id, kind = self._question(scope.question)
        facet = scope.property if scope.property in ("score", "agent", "type") else "value"
        if facet == "value":
            _refuse_unfiltered(scope.question, kind)
        return question_id, facet, facet == "score" or (facet == "value" and kind == QuestionType.rating)

    def _answers(self, question: str) -> tuple:
        """The answers to a question inside `responses.values`, an element a row, and whether they are numbers."""
        _, kind = self._question(question)
        _refuse_unfiltered(question, kind)
        if self.connection.dialect.name == "sqlite":
            path = f'$."{question}".value'
            answer = sa.func.json_each(_responses.c["values"], path).table_valued("value").c.value
        else:
            value = sa.cast(_responses.c["values"], JSONB())[question]["value"]
            as_list = sa.case((sa.func.jsonb_typeof(value) == "array", value), else_=sa.func.jsonb_build_array(value))
            answer = sa.func.jsonb_array_elements_text(as_list).table_valued("value").c.value
        numeric = kind == QuestionType.rating
        return sa.cast(answer, sa.Float() if numeric else sa.Text()), numeric


def _refuse_unfiltered(question: str, kind: QuestionType) -> None:
    if kind not in _FILTERED_QUESTIONS:
        raise UnprocessableEntityError(
            f"Question `{question}` is of type {kind.value}; Argilla filters and sorts by the answers to rating, label"
            " and multi-label questions only."
        )


def _between(column: Any, filter: RangeFilter, low: Callable[[Any], Any], high: Callable[[Any], Any]) -> Any:
    conditions = [] if filter.ge is None else [column >= low(filter.ge)]
    return sa.and_(sa.true(), *conditions, *([] if filter.le is None else [column <= high(filter.le)]))


def _number(value: Any) -> float:
    try:
        return float(value)
    except ValueError:
        raise UnprocessableEntityError(f"`{value}` is not a number.") from None


def _uuid(value: str) -> UUID | None:
    try:
        return UUID(value)
    except ValueError:
        return None


def _moment(value: Any, end: bool = False) -> datetime:
    """A time as Argilla stores it, UTC without a zone; `end`: a date alone means the last moment of that day."""
    if isinstance(value, (int, float)):
        return datetime.fromtimestamp(value / 1000, UTC).replace(tzinfo=None)
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        raise UnprocessableEntityError(f"`{value}` is not a date or time in ISO 8601, such as 2026-03-31.") from None
    if end and len(str(value)) <= len("2026-03-31"):
        moment = datetime.combine(moment.date(), time.max)
    return moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)


def _chance(dialect: str, user: UUID) -> Any:
    """A number in [0, 1) for each record that is the same whenever this user asks, and unrelated to other users'."""
    seed = user.int
    if dialect == "postgresql":
        hashed = sa.func.uuid_hash_extended(_records.c.id, sa.literal(seed % 2**62, sa.BigInteger()))
        return sa.cast(hashed.op("&")(sa.literal(2**52 - 1, sa.BigInteger())), sa.Float()) / float(2**52)
    a, b, c, d = (seed >> shift & 0x3FFFFFFF | 1 for shift in (0, 31, 62, 93))
    row = f"records.rowid % {_LARGE_PRIME}"
    product = f"((({row} * {a} + {b}) % {_LARGE_PRIME}) * (({row} * {c} + {d}) % {_LARGE_PRIME})) % {_LARGE_PRIME}"
    return sa.literal_column(f"({product}) / {float(_LARGE_PRIME)!r}", sa.Float())


# ---- similarity -----------------------------------------------------------------------------------------------------


@dataclass
class _Vectors:
    """The unit vectors of one vector setting, a row a record, as of `stamp` = (how many, last change)."""

    stamp: tuple
    ids: list[UUID]
    unit: np.ndarray


_VECTORS: dict[UUID, _Vectors] = {}
_VECTORS_LOCK = threading.Lock()


def _vectors_of(settings_id: UUID) -> _Vectors:
    """From memory if nothing changed since; otherwise only the changed rows are read again."""
    here = _vectors.c.vector_settings_id == settings_id
    with _VECTORS_LOCK, search_connections().connect() as connection:
        stamp = tuple(
            connection.execute(sa.select(sa.func.count(), sa.func.max(_vectors.c.updated_at)).where(here)).one()
        )
        known = _VECTORS.get(settings_id)
        if known is not None and known.stamp == stamp:
            return known
        rows: dict[UUID, np.ndarray] = {}
        changed = sa.select(_vectors.c.record_id, _vectors.c.value).where(here)
        if known is not None and known.stamp[1] is not None:
            present = set(connection.scalars(sa.select(_vectors.c.record_id).where(here)))
            rows = {key: row for key, row in zip(known.ids, known.unit, strict=True) if key in present}
            changed = changed.where(_vectors.c.updated_at >= known.stamp[1])
        for record_id, value in connection.execution_options(yield_per=2000).execute(changed):
            vector = np.asarray(value, np.float32)
            length = float(np.linalg.norm(vector))
            rows[record_id] = vector / length if length else vector
        unit = np.stack(list(rows.values())) if rows else np.zeros((0, 0), np.float32)
        _VECTORS[settings_id] = fresh = _Vectors(stamp, list(rows), unit)
        return fresh


def _nearest(
    settings_id: UUID, value: np.ndarray, excluded: UUID | None, asked: _Search | None, limit: int
) -> list[tuple]:
    known = _vectors_of(settings_id)
    if not known.ids:
        return []
    scores = (1.0 + known.unit @ (value / (np.linalg.norm(value) or 1.0))) / 2.0
    admitted = None if asked is None else set(asked.matching())
    found: list[tuple] = []
    for place in np.argsort(-scores, kind="stable"):
        record_id = known.ids[place]
        if record_id != excluded and (admitted is None or record_id in admitted):
            found.append((record_id, float(np.clip(scores[place], 0.0, 1.0))))
            if len(found) == limit:
                break
    return found

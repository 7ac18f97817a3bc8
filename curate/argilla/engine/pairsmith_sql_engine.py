"""A search engine for argilla-server 2.8 that is answered by SQL over Argilla's own database, SQLite or PostgreSQL.

The database is the index. Records, responses and vectors are read where Argilla stores them. What lies inside its
JSON columns (metadata, suggestions) and, on PostgreSQL, the words of each record are kept in tables of ours by
triggers, in the same transaction as Argilla's write; `search_sqlite.sql` and `search_postgresql.sql` say what is
added, all of it named pairsmith_*, and `prepare` adds it. On SQLite the words lie in an FTS5 file beside the database,
brought up to date before each text search from a list of changed records. So an answer never disagrees with what
Argilla stores.

Every search is conditions on `records`. In an order that was asked for, it is two statements: one counts, the other
walks an index as far as the page needs. Otherwise each match gets a score, and one statement counts and sorts them.

Semantics follow Argilla's Elasticsearch engine. What differs: fuzzy words, phrase slop, and filters or sorts by the
answers to text, ranking and span questions are refused in a sentence, where Elasticsearch fails or finds nothing;
`get_dataset_user_progress` counts the responses of that user only; similarity is exact; text search on PostgreSQL is
not ranked; a metadata string longer than 1,000 bytes is not found by a filter.

This is one module without a parent package: it runs in the server's own environment, under the server's pins, and
imports nothing else of this project.
"""

import asyncio
import functools
import hashlib
import html
import json
import logging
import re
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from itertools import islice
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
from sqlalchemy.dialects.postgresql import JSONB, TSVECTOR

ENGINE_NAME = "pairsmith-sql"
_LOGGER = logging.getLogger("argilla.search")

_records, _responses, _vectors = Record.__table__, Response.__table__, Vector.__table__
_values = sa.table(
    "pairsmith_values",
    sa.column("record_id", sa.Uuid()),
    sa.column("source", sa.Uuid()),
    sa.column("facet", sa.Text()),
    sa.column("place", sa.Integer()),
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


# ---- what Argilla calls ---------------------------------------------------------------------------------------------


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
        return {"name": ENGINE_NAME, "database": _connections().dialect.name, "elasticsearch": False}

    # What Argilla commits is found by the next search, so there is nothing to do when it tells of a change.

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
                await asyncio.to_thread(_update_word_index, dataset.id)
            except (sa.exc.SQLAlchemyError, sqlite3.Error):
                _LOGGER.exception("the words of new records could not be indexed; the next search tries again")

    async def delete_index(self, dataset: Dataset) -> None:
        """Give back what is held of a dataset that is gone."""
        await asyncio.to_thread(_delete_dataset_index, dataset.id)

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
        records come by relevance or, without words to be relevant to, as they were added. `score` is None when a sort
        is given.
        """
        user = UUID(str(user_id)) if user_id else None
        return await asyncio.to_thread(_page, dataset.id, query, filter, sort or [], offset, limit, user)

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
        """The nearest records by cosine, exactly; a score is (1 + cosine) / 2, for the least similar of -vector.

        The record that was asked for is left out.
        """
        if bool(value) == bool(record):
            raise ValueError("Must provide either vector value or record to compute the similarity search")
        if record is not None:
            value = record.vector_value_by_vector_settings(vector_settings)
        if not value:
            raise ValueError("Cannot find a vector value to apply with provided info")
        if len(value) != vector_settings.dimensions:
            raise UnprocessableEntityError(
                f"Vector `{vector_settings.name}` has {vector_settings.dimensions} numbers, not {len(value)}."
            )
        excluded = None if record is None else record.id
        asked = np.asarray(value, np.float32) * (-1 if order == SimilarityOrder.least_similar else 1)
        hits = await asyncio.to_thread(
            _nearest, dataset.id, vector_settings.id, asked, excluded, query, filter, max_results
        )
        items = [
            SearchResponseItem(record_id=record_id, score=score)
            for record_id, score in hits
            if threshold is None or score >= threshold
        ]
        return SearchResponses(items=items, total=len(hits))


# ---- counts ---------------------------------------------------------------------------------------------------------


def _ping() -> bool:
    try:
        with _connections().connect() as connection:
            connection.execute(sa.select(_values.c.facet).limit(1))
        return True
    except sa.exc.SQLAlchemyError:
        _LOGGER.exception("the search engine's tables cannot be read")
        return False


def _count_records(dataset_id: UUID) -> dict:
    by_status = sa.select(_records.c.status, sa.func.count()).where(_records.c.dataset_id == dataset_id)
    return _counts_by_status(by_status.group_by(_records.c.status))


def _count_responses(dataset_id: UUID, user_id: UUID) -> dict:
    here = sa.select(_records.c.id).where(_records.c.dataset_id == dataset_id)
    by_status = sa.select(_responses.c.status, sa.func.count()).where(_responses.c.user_id == user_id)
    return _counts_by_status(by_status.where(_responses.c.record_id.in_(here)).group_by(_responses.c.status))


def _counts_by_status(by_status: sa.Select) -> dict:
    with _connections().connect() as connection:
        counts = {status.value: count for status, count in connection.execute(by_status)}
    return {"total": sum(counts.values()), **counts}


_MAX_TERMS = 2**14  # as many as Elasticsearch's engine lists


def _metadata_metrics(dataset_id: UUID, name: str, kind: MetadataPropertyType) -> MetadataMetrics:
    here = [_values.c.source == dataset_id, _values.c.facet == name]
    with _connections().connect() as connection:
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


# ---- one search -----------------------------------------------------------------------------------------------------


def _page(
    dataset_id: UUID,
    query: TextQuery | str | None,
    filter: Filter | None,
    sort: list[Order],
    offset: int,
    limit: int,
    user: UUID | None,
) -> SearchResponses:
    with _open_search(dataset_id, query, filter) as asked:
        if sort:
            return asked.sorted_page(sort, offset, limit, score=None)
        if user is None and not asked.ranks:
            as_added = [Order(RecordFilterScope(RecordSortField.inserted_at), SortOrder.asc)]
            return asked.sorted_page(as_added, offset, limit, score=1.0)
        return asked.scored_page(offset, limit, user)


@contextmanager
def _open_search(dataset_id: UUID, query: TextQuery | str | None, filter: Filter | None) -> "Iterator[_Search]":
    query = TextQuery(q=query) if isinstance(query, str) else query
    fields = _update_word_index(dataset_id) if query is not None and settings.database_is_sqlite else []
    with _connections().connect() as connection:
        yield _Search(connection, dataset_id, query, filter, fields)


@dataclass(frozen=True)
class _Search:
    """What one search asks of one dataset. `fields`: those with words, in the order of their FTS5 columns (SQLite)."""

    connection: sa.Connection
    dataset_id: UUID
    query: TextQuery | None
    filter: Filter | None
    fields: list[str]

    @property
    def ranks(self) -> bool:
        """Whether the words asked for give each match a relevance."""
        return self.query is not None and self._on_sqlite

    @property
    def _on_sqlite(self) -> bool:
        return self.connection.dialect.name == "sqlite"

    # -- answers

    def sorted_page(self, sort: list[Order], offset: int, limit: int, score: float | None) -> SearchResponses:
        """Counted by one statement, listed by another, which stops at the end of the page where an index has its order.

        The index of values lists only records that have the value, and those without come last: when it does not fill
        the page, every match is sorted.
        """
        where = self._conditions()
        total = self.connection.scalar(sa.select(sa.func.count()).select_from(_records).where(*where)) or 0
        if offset >= total:
            return SearchResponses(items=[], total=total)
        matching = sa.select(_records.c.id, sa.literal(score).label("score")).where(*where).limit(limit).offset(offset)
        rows: Any = []
        values = self._value_source(sort[0].scope)
        if values is not None:
            column, here = values
            along = matching.join_from(_values, _records, _records.c.id == _values.c.record_id)
            along = along.where(*here, column.is_not(None), _is_first_of_list(column, sort[0].order))
            keys = [_ordered(column, sort[0].order)]
            for order in sort[1:]:
                along, key = self._add_sort_key(along, order)
                keys.append(key)
            rows = self.connection.execute(along.order_by(*keys, _records.c.id)).all()
        if len(rows) < min(limit, total - offset):
            keys = [self._sort_key(order) for order in sort]
            rows = self.connection.execute(matching.order_by(*keys, _records.c.id)).all()
        return _search_responses(rows, total)

    def scored_page(self, offset: int, limit: int, user: UUID | None) -> SearchResponses:
        """By relevance where the words give one, for a user times that user's chance; listed and counted at once."""
        chance = sa.literal(1.0)
        if self.ranks:
            hits = self._hits().subquery("hits")
            if user is not None:
                chance = _random_number("sqlite", user, "hits.doc")
            matching = sa.select(hits.c.record_id.label("id"), (hits.c.relevance * chance).label("score"))
            if self.filter is not None:
                matching = matching.where(
                    hits.c.record_id.in_(sa.select(_records.c.id).where(*self._conditions(words=False)))
                )
        else:
            if user is not None:
                chance = _random_number(self.connection.dialect.name, user, "records.rowid")
            matching = sa.select(_records.c.id, chance.label("score")).where(*self._conditions())
        scored = matching.cte("found").prefix_with("MATERIALIZED")
        count = sa.select(sa.func.count()).select_from(scored)
        listed = sa.select(scored.c.id, scored.c.score, count.scalar_subquery().label("total"))
        listed = listed.order_by(scored.c.score.desc(), scored.c.id).limit(limit).offset(offset)
        rows = self.connection.execute(listed).all()
        if not rows and offset > 0:
            return _search_responses(rows, self.connection.scalar(count) or 0)
        return _search_responses(rows, rows[0].total if rows else 0)

    def matching(self, among: list[UUID] | None = None) -> set[UUID]:
        """The id of every record that matches (`among`: of these)."""
        where = self._conditions() + ([] if among is None else [_records.c.id.in_(among)])
        return set(self.connection.scalars(sa.select(_records.c.id).where(*where)))

    # -- conditions

    def _conditions(self, words: bool = True) -> list:
        conditions = [_records.c.dataset_id == self.dataset_id]
        if words and self.query is not None:
            hits = self._hits().subquery("hits")
            conditions.append(_records.c.id.in_(sa.select(hits.c.record_id)))
        if self.filter is not None:
            conditions.append(self._filter(self.filter))
        return conditions

    def _hits(self) -> Any:
        """record_id of each record whose words match; on SQLite also doc (its number) and relevance."""
        field, node = self.query.field, _parse_text(self.query.q)
        if not self._on_sqlite:
            ids = sa.select(_words.c.record_id).where(
                _words.c.dataset_id == self.dataset_id, _words.c.field == (field or "")
            )
            matches = sa.false() if node is None else _words.c.words.op("@@")(_tsquery(node))
            return ids.where(matches)
        if node is None or (field and field not in self.fields):  # no word is asked for, or of a picture
            nothing = [sa.null().cast(sa.Uuid()).label("record_id"), sa.literal(0).label("doc")]
            return sa.select(*nothing, sa.literal(0.0).label("relevance")).where(sa.false())
        table = f"words_{self.dataset_id.hex}"
        column = f"c{self.fields.index(field)} : " if field else ""
        return (
            sa.text(
                f"SELECT d.record_id AS record_id, d.doc AS doc, -bm25({table}) AS relevance"
                f" FROM words.{table} CROSS JOIN words.docs d ON d.doc = {table}.rowid WHERE {table} MATCH :match"
            )
            .bindparams(sa.bindparam("match", _fts5_query(node, column), unique=True))
            .columns(record_id=sa.Uuid(), doc=sa.Integer(), relevance=sa.Float())
        )

    def _filter(self, filter: Filter) -> Any:
        if isinstance(filter, AndFilter):
            return sa.and_(sa.true(), *(self._filter(part) for part in filter.filters))
        scope = filter.scope
        if isinstance(scope, RecordFilterScope):
            return _record_filter(filter, RecordSortField(scope.property))
        if isinstance(scope, ResponseFilterScope):
            if scope.question:
                return self._answer_filter(filter, scope)
            if scope.property != "status" or isinstance(filter, RangeFilter):
                raise UnprocessableEntityError(
                    "Argilla filters responses by the answers to a question, or by terms of their status."
                )
            return _response_status_filter(filter.values, scope.user)
        column, here = self._value_source(scope)
        ids = sa.select(_values.c.record_id).where(*here, _value_condition(filter, column))
        # A list may hold several of the values asked for and is one record all the same, so IN and not a join.
        return _records.c.id.in_(ids.where(column.is_not(None)))

    def _answer_filter(self, filter: TermsFilter | RangeFilter, scope: ResponseFilterScope) -> Any:
        source, answer = self._answer_source(scope.question)
        theirs = [_responses.c.user_id == scope.user.id] if scope.user else []
        answers = sa.select(sa.literal(1)).select_from(source).where(_responses.c.record_id == _records.c.id, *theirs)
        return answers.where(_value_condition(filter, answer)).correlate(_records).exists()

    # -- order

    def _sort_key(self, order: Order) -> Any:
        """One value a record, none last; of a list the smallest when ascending and the largest when descending."""
        scope = order.scope
        if isinstance(scope, RecordFilterScope):
            column = _records.c[RecordSortField(scope.property).value]
            if scope.property == RecordSortField.status:
                column = sa.cast(column, sa.String())  # by its name, not by its place in PostgreSQL's enumeration
            key = _ordered(column, order.order)
            return key.nulls_last() if scope.property == RecordSortField.external_id else key
        if isinstance(scope, ResponseFilterScope):
            source, key = _responses, sa.func.min(sa.cast(_responses.c.status, sa.String()))
            if scope.question:
                source, answer = self._answer_source(scope.question)
                key = (sa.func.avg if isinstance(answer.type, sa.Float) else sa.func.min)(answer)
            here = [_responses.c.user_id == scope.user.id] if scope.user else []
            keys = sa.select(key).select_from(source).where(_responses.c.record_id == _records.c.id, *here)
        else:
            column, here = self._value_source(scope)
            which = sa.func.max if order.order == SortOrder.desc else sa.func.min
            keys = sa.select(which(column)).where(_values.c.record_id == _records.c.id, *here)
        return _ordered(keys.correlate(_records).scalar_subquery(), order.order).nulls_last()

    def _add_sort_key(self, listed: Any, order: Order) -> tuple:
        """A list with a further key. PostgreSQL would look a value up for each record of the first key's whole group,
        which may be a quarter of them; to read all at once, before, takes a tenth less."""
        values = None if self._on_sqlite else self._value_source(order.scope)
        if values is None:
            return listed, self._sort_key(order)
        column, here = values
        keys = sa.select(_values.c.record_id, column.label("key"))
        keys = keys.where(*here, column.is_not(None), _is_first_of_list(column, order.order))
        keys = keys.cte().prefix_with("MATERIALIZED")
        listed = listed.outerjoin(keys, keys.c.record_id == _records.c.id)
        return listed, _ordered(keys.c.key, order.order).nulls_last()

    # -- what the dataset's settings say

    def _value_source(self, scope: Any) -> tuple | None:
        """The column of `pairsmith_values` that a scope is about and the conditions that find its rows; else None."""
        if isinstance(scope, MetadataFilterScope):
            source, facet = self.dataset_id, scope.metadata_property
            kind = self.connection.scalar(
                sa.select(MetadataProperty.settings["type"].as_string()).where(
                    MetadataProperty.dataset_id == self.dataset_id, MetadataProperty.name == facet
                )
            )
            if kind is None:
                raise UnprocessableEntityError(f"This dataset has no metadata property `{facet}`.")
            numeric = kind != MetadataPropertyType.terms
        elif isinstance(scope, SuggestionFilterScope):
            source, kind = self._question(scope.question)
            facet = scope.property if scope.property in ("score", "agent", "type") else "value"
            if facet == "value":
                _refuse_unfilterable(scope.question, kind)
            numeric = facet == "score" or (facet == "value" and kind == QuestionType.rating)
        else:
            return None
        here = [_values.c.source == source, _values.c.facet == facet]
        return _values.c.number if numeric else _values.c.word, here

    def _question(self, name: str) -> tuple[UUID, QuestionType]:
        question = self.connection.execute(
            sa.select(Question.id, Question.settings["type"].as_string()).where(
                Question.dataset_id == self.dataset_id, Question.name == name
            )
        ).first()
        if question is None:
            raise UnprocessableEntityError(f"This dataset has no question `{name}`.")
        return question[0], QuestionType(question[1])

    def _answer_source(self, question: str) -> tuple:
        """Where the answers to a question are, an element a row, and such an element: a number for a rating."""
        _, kind = self._question(question)
        _refuse_unfilterable(question, kind)
        rating = kind == QuestionType.rating
        if self._on_sqlite:
            elements = sa.func.json_each(_responses.c["values"], f'$."{question}".value').table_valued("value")
            answer = elements.c.value
        else:
            value = sa.func.pairsmith_readable(_responses.c["values"], type_=JSONB())[question]["value"]
            as_list = sa.case((sa.func.jsonb_typeof(value) == "array", value), else_=sa.func.jsonb_build_array(value))
            elements = sa.func.jsonb_array_elements(as_list).table_valued(sa.column("value", JSONB()))
            text = elements.c.value.op("#>>")(sa.literal_column("'{}'"))
            # PostgreSQL may look at the responses of another dataset first, whose question of this name is no rating.
            number = sa.func.jsonb_typeof(elements.c.value) == "number"
            answer = sa.case((number, sa.cast(text, sa.Float()))) if rating else text
        return _responses.join(elements, sa.true()), sa.cast(answer, sa.Float() if rating else sa.Text())


def _search_responses(rows: Any, total: int) -> SearchResponses:
    return SearchResponses(items=[SearchResponseItem(record_id=row.id, score=row.score) for row in rows], total=total)


def _ordered(key: Any, order: SortOrder) -> Any:
    return key.desc() if order == SortOrder.desc else key.asc()


def _is_first_of_list(column: Any, order: SortOrder) -> Any:
    """Whether a value is its record's only one, or comes before all others of its list."""
    other = _values.alias("other")
    theirs = other.c[column.name]
    before = theirs > column if order == SortOrder.desc else theirs < column
    beaten = (
        sa.select(sa.literal(1))
        .where(*(other.c[name] == _values.c[name] for name in ("record_id", "source", "facet")))
        .where(sa.or_(before, sa.and_(theirs == column, other.c.place < _values.c.place)))
        .correlate(_values)
        .exists()
    )
    return sa.or_(_values.c.place == -1, ~beaten)


def _random_number(dialect: str, user: UUID, row_number: str) -> Any:
    """A number in [0, 1) for each record that is the same whenever this user asks, and unrelated to other users'."""
    if dialect == "postgresql":
        hashed = sa.func.uuid_hash_extended(_records.c.id, sa.literal(user.int % 2**62, sa.BigInteger()))
        return sa.cast(hashed.op("&")(sa.literal(2**52 - 1, sa.BigInteger())), sa.Float()) / float(2**52)
    prime = 2**31 - 1
    a, b, c, d = (user.int >> shift & 0x3FFFFFFF | 1 for shift in (0, 31, 62, 93))
    row = f"{row_number} % {prime}"
    product = f"((({row} * {a} + {b}) % {prime}) * (({row} * {c} + {d}) % {prime})) % {prime}"
    return sa.literal_column(f"({product}) / {float(prime)!r}", sa.Float())


# ---- filters --------------------------------------------------------------------------------------------------------


_FILTERABLE_QUESTIONS = {QuestionType.rating, QuestionType.label_selection, QuestionType.multi_label_selection}


def _refuse_unfilterable(question: str, kind: QuestionType) -> None:
    if kind not in _FILTERABLE_QUESTIONS:
        raise UnprocessableEntityError(
            f"Question `{question}` is of type {kind.value}; Argilla filters and sorts by the answers to rating, label"
            " and multi-label questions only."
        )


def _record_filter(filter: TermsFilter | RangeFilter, name: RecordSortField) -> Any:
    column = _records.c[name.value]
    if isinstance(filter, TermsFilter):
        if name == RecordSortField.status:
            return column.in_([RecordStatus(value) for value in filter.values if value in set(RecordStatus)])
        if name == RecordSortField.id:
            return column.in_([id_ for value in filter.values if (id_ := _parse_uuid(value)) is not None])
        if name == RecordSortField.external_id:
            return column.in_(filter.values)
        return column.in_([_parse_time(value) for value in filter.values])
    if name in (RecordSortField.inserted_at, RecordSortField.updated_at):
        return _between(column, filter, _parse_time, functools.partial(_parse_time, end=True))
    if name == RecordSortField.external_id:
        return _between(column, filter, str, str)
    raise UnprocessableEntityError(f"This Argilla server cannot filter a record's {name.value} by a range.")


def _response_status_filter(values: list[str], user: User | None) -> Any:
    theirs = [_responses.c.user_id == user.id] if user else []
    statuses = [ResponseStatus(value) for value in values if value in set(ResponseStatus)]
    answered = sa.select(_responses.c.record_id).where(_responses.c.status.in_(statuses), *theirs)
    either = [_records.c.id.in_(answered)] if statuses else []
    if "pending" in values:  # Argilla's word for: no response yet
        any_of_theirs = sa.select(sa.literal(1)).where(_responses.c.record_id == _records.c.id, *theirs)
        either.append(~any_of_theirs.correlate(_records).exists())
    return sa.or_(sa.false(), *either)


def _value_condition(filter: TermsFilter | RangeFilter, column: Any) -> Any:
    convert = _parse_number if isinstance(column.type, sa.Float) else str
    if isinstance(filter, TermsFilter):
        return column.in_([convert(value) for value in filter.values])
    return _between(column, filter, convert, convert)


def _between(column: Any, filter: RangeFilter, low: Callable[[Any], Any], high: Callable[[Any], Any]) -> Any:
    conditions = [] if filter.ge is None else [column >= low(filter.ge)]
    return sa.and_(sa.true(), *conditions, *([] if filter.le is None else [column <= high(filter.le)]))


def _parse_number(value: Any) -> float:
    try:
        return float(value)
    except ValueError:
        raise UnprocessableEntityError(f"`{value}` is not a number.") from None


def _parse_uuid(value: str) -> UUID | None:
    try:
        return UUID(value)
    except ValueError:
        return None


def _parse_time(value: Any, end: bool = False) -> datetime:
    """A time as Argilla stores it, UTC without a zone; `end`: a date alone means the last moment of that day."""
    try:
        if isinstance(value, (int, float)):
            return datetime.fromtimestamp(value / 1000, UTC).replace(tzinfo=None)
        moment = datetime.fromisoformat(str(value))
        if end and len(str(value)) <= len("2026-03-31"):
            moment = datetime.combine(moment.date(), time.max)
        return moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)
    except (ValueError, OverflowError, OSError):
        raise UnprocessableEntityError(f"`{value}` is not a date or time in ISO 8601, such as 2026-03-31.") from None


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
class _Compound:
    joint: str  # AND or OR
    parts: tuple


_MAX_WORDS, _MAX_DEPTH, _MAX_QUERY_CHARACTERS = 200, 20, 5_000
_HAS_WORD = re.compile(r"[^\W_]")
_SINGLE_CHARACTER_WORDS = re.compile("([\u3040-\u309f\u3400-\u9fff])")
_PUNCTUATION = re.compile(r"[!-/:-@\[-`{-~]")
_TOKEN = re.compile(
    r"""(?P<minus>-*+)(?:"(?P<phrase>[^"]*)"(?P<slop>~\d+)?
                     |(?P<open>\()
                     |(?P<word>(?:\\.|[^\s+|()"~\\-])(?:\\.|[^\s+|()"~\\])*)(?P<fuzz>~\d+)?)
       |(?P<close>\))|(?P<either>\|)|-++|.""",  # a run of signs is read once, so a search takes time as it is long
    re.VERBOSE | re.DOTALL,
)


def _parse_text(query: str) -> Any:
    """Elasticsearch's simple query string with AND as the default: `a b`, `a | b`, `-a`, `"a b"`, `a*`, `( )`, `\\`.

    Operators bind from left to right, as there; unbalanced quotes and brackets are ignored; None when no word is left.
    """
    if len(query) > _MAX_QUERY_CHARACTERS:
        raise UnprocessableEntityError(
            f"A search on this Argilla server may have at most {_MAX_QUERY_CHARACTERS:,} characters. Search for fewer words."
        )
    node: Any = None
    joint = "AND"
    outer: list[tuple] = []  # (node, joint, negated) around each open bracket
    words = 0

    def add(item: Any, negated: bool) -> None:
        nonlocal node, joint
        if item is not None:
            item = _Not(item) if negated else item
            if isinstance(node, _Compound) and node.joint == joint:
                node = _Compound(joint, (*node.parts, item))
            else:
                node = item if node is None else _Compound(joint, (node, item))
        joint = "AND"

    def close() -> None:
        nonlocal node, joint
        inner = node
        node, joint, negated = outer.pop()
        add(inner, negated)

    for token in _TOKEN.finditer(query.replace("\0", " ")):
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
            words += 1
        elif token["word"] is not None:
            word = re.sub(r"\\(.)", r"\1", token["word"])
            add(_phrase(word.rstrip("*"), prefix=word.endswith("*")), negated)
            words += 1
        if words > _MAX_WORDS or len(outer) > _MAX_DEPTH:
            raise UnprocessableEntityError(
                f"A search on this Argilla server may have at most {_MAX_WORDS} words, and {_MAX_DEPTH} brackets within"
                " one another. Search for fewer words."
            )
    while outer:
        close()
    return node


def _phrase(text: str, prefix: bool) -> _Phrase | None:
    return _Phrase(text, prefix) if _HAS_WORD.search(text) else None


def _split_characters(text: str) -> str:
    """Han and Hiragana signs as words of their own, as Elasticsearch's standard analyzer has them."""
    return _SINGLE_CHARACTER_WORDS.sub(r" \1 ", text)


def _render_query(node: Any, phrase: Callable[[_Phrase], str], negation: str, joints: dict[str, str]) -> str:
    """A query in the syntax of a database."""
    if isinstance(node, _Phrase):
        return phrase(node)
    if isinstance(node, _Not):
        return f"({negation} {_render_query(node.inner, phrase, negation, joints)})"
    return "(" + joints[node.joint].join(_render_query(part, phrase, negation, joints) for part in node.parts) + ")"


_MATCH_ALL_WORD = (
    "pairsmitheveryrecord"  # a word that every record has: FTS5 can take records away, but only from others
)


def _fts5_query(node: Any, column: str) -> str:
    def phrase(asked: _Phrase) -> str:
        quoted = _split_characters(asked.text).replace('"', '""')
        return f'{column}"{quoted}"' + (" *" if asked.prefix else "")

    return _render_query(node, phrase, f"{_MATCH_ALL_WORD} NOT", {"AND": " AND ", "OR": " OR "})


_MAX_WORD_BYTES = 2000  # PostgreSQL's own limit is 2,046


def _tsquery(node: Any) -> Any:
    def phrase(asked: _Phrase) -> str:
        words = _PUNCTUATION.sub(" ", _split_characters(asked.text)).split()
        if any(len(word.encode()) > _MAX_WORD_BYTES for word in words):
            raise UnprocessableEntityError(f"A word of a search may have {_MAX_WORD_BYTES} bytes.")
        return "(" + " <-> ".join(f"'{word}'" for word in words) + (":*)" if asked.prefix else ")")

    return sa.func.to_tsquery("simple", _render_query(node, phrase, "!", {"AND": " & ", "OR": " | "}))


# ---- words on SQLite ------------------------------------------------------------------------------------------------


_WORDS_LOCK = threading.Lock()
_QUEUE_MARK, _HOUSE_STYLE_FIELD = (
    "pairsmith",
    "rules",
)  # the mark of a queue of ours, and its field that repeats the house style


def _words_file() -> Path | None:
    """The FTS5 file beside Argilla's SQLite database; None on PostgreSQL."""
    database = sa.make_url(settings.database_url).database
    return Path(database).with_suffix(".words.db") if settings.database_is_sqlite and database else None


def _update_word_index(dataset_id: UUID) -> list[str]:
    """Index every record of the dataset that changed since the last call; the names of the fields, in column order.

    Crash-safe: the words and the number of the last change they hold are one transaction.
    """
    key, table = dataset_id.hex, f"words_{dataset_id.hex}"
    with _WORDS_LOCK, _connections().connect() as reader, closing(_open_words_file()) as writer:
        described = reader.execute(
            sa.select(Field.name, Field.settings)
            .join(Dataset, Dataset.id == Field.dataset_id)
            .where(Field.dataset_id == dataset_id)
            .where(sa.or_(Field.name != _HOUSE_STYLE_FIELD, Dataset.metadata_[_QUEUE_MARK].as_string().is_(None)))
            .order_by(Field.inserted_at, Field.name)
        )
        marked_up = {name: bool(one.get("use_markdown")) for name, one in described if one.get("type") != "image"}
        fields = list(marked_up)
        columns = ", ".join([*(f"c{place}" for place in range(len(fields))), "every"])
        definition = f"fts5({columns}, tokenize = 'unicode61 remove_diacritics 0')"
        shape = json.dumps([definition, marked_up])
        changed = sa.text(
            "SELECT seq, record_id FROM pairsmith_changes WHERE dataset_id = :key AND seq > :seq ORDER BY seq"
        )

        def known() -> tuple[int, str | None]:
            row = writer.execute("SELECT seq, made FROM datasets WHERE dataset_id = ?", (key,)).fetchone()
            return row or (0, None)

        seq, as_made = known()
        if as_made == shape and reader.execute(changed, {"key": key, "seq": seq}).first() is None:
            return fields
        writer.execute("BEGIN IMMEDIATE")
        seq, as_made = known()  # another process may have been quicker
        if as_made != shape:
            seq = 0
            writer.execute(f"DROP TABLE IF EXISTS {table}")
            writer.execute(f"CREATE VIRTUAL TABLE {table} USING {definition}")
        rows = reader.execute(changed, {"key": key, "seq": seq}).all()
        for start in range(0, len(rows), 500):
            ids = [row.record_id for row in rows[start : start + 500]]
            marks = ", ".join("?" * len(ids))
            stored = reader.exec_driver_sql(f"SELECT id, fields FROM records WHERE id IN ({marks})", tuple(ids)).all()
            writer.executemany("INSERT OR IGNORE INTO docs (record_id) VALUES (?)", [(row.id,) for row in stored])
            docs = dict(writer.execute(f"SELECT record_id, doc FROM docs WHERE record_id IN ({marks})", ids).fetchall())
            writer.executemany(f"DELETE FROM {table} WHERE rowid = ?", [(doc,) for doc in docs.values()])
            gone = docs.keys() - {row.id for row in stored}
            writer.executemany("DELETE FROM docs WHERE record_id = ?", [(record_id,) for record_id in gone])
            writer.executemany(
                f"INSERT INTO {table} (rowid, {columns}) VALUES ({', '.join('?' * (len(fields) + 2))})",
                [
                    (
                        docs[row.id],
                        *(_field_text(values.get(name), marked_up[name]) for name in fields),
                        _MATCH_ALL_WORD,
                    )
                    for row in stored
                    for values in [json.loads(row.fields)]
                ],
            )
        writer.execute(
            "INSERT OR REPLACE INTO datasets (dataset_id, seq, made) VALUES (?, ?, ?)",
            (key, rows[-1].seq if rows else seq, shape),
        )
        writer.execute("COMMIT")
    return fields


def read_ahead() -> None:
    """Bring the words of every dataset up to date and the vectors of the newest settings into memory, so that the first
    search after a start need not."""
    try:
        with _connections().connect() as connection:
            datasets = connection.scalars(sa.select(Dataset.id)).all() if settings.database_is_sqlite else []
            newest = sa.select(VectorSettings.dataset_id, VectorSettings.id).order_by(VectorSettings.inserted_at.desc())
            vectors = connection.execute(newest.limit(_MAX_VECTOR_SETTINGS)).all()
    except sa.exc.SQLAlchemyError:
        _LOGGER.exception("nothing could be read ahead; the first search does it")
        return
    words = [functools.partial(_update_word_index, id_) for id_ in datasets]
    for work in [*words, *(functools.partial(_load_vectors, *of) for of in reversed(vectors))]:
        try:
            work()
        except (sa.exc.SQLAlchemyError, sqlite3.Error):
            _LOGGER.exception("words or vectors could not be read ahead; the next search tries again")


def _open_words_file() -> sqlite3.Connection:
    """A connection to the FTS5 file, which is made if it is not there."""
    writer = sqlite3.connect(_words_file(), timeout=30, isolation_level=None)
    writer.execute("PRAGMA synchronous = NORMAL")  # a power failure may cost the last changes, which are indexed again
    if writer.execute("SELECT 1 FROM sqlite_master WHERE name = 'datasets'").fetchone() is None:
        writer.execute("PRAGMA journal_mode = WAL")
        writer.executescript(
            "BEGIN IMMEDIATE;"
            "CREATE TABLE IF NOT EXISTS datasets (dataset_id TEXT PRIMARY KEY, seq INTEGER, made TEXT);"
            "CREATE TABLE IF NOT EXISTS docs (doc INTEGER PRIMARY KEY, record_id TEXT UNIQUE);"
            "COMMIT;"
        )
    return writer


# As pairsmith_read in search_postgresql.sql: a tag within a line parts no word, any other does.
_INLINE_TAG = re.compile(
    r"</?(?:a|b|code|del|em|i|ins|mark|s|small|span|strong|sub|sup|u)(?:\s[^<>]*)?>", re.IGNORECASE
)
_TAG = re.compile(r"</?[A-Za-z][^<>]*>")


def _field_text(value: Any, marked_up: bool) -> str:
    """The words of a field as they are read: of Markdown without its HTML."""
    if isinstance(value, list):
        turns = [turn for turn in value if isinstance(turn, dict)]
        value = "\n".join(f"{turn.get('role', '')} {turn.get('content', '')}" for turn in turns)
    text = "" if value is None else str(value)
    if marked_up:
        text = html.unescape(_TAG.sub(" ", _INLINE_TAG.sub("", text)))
    return _split_characters(text.encode("utf-8", "replace").decode("utf-8"))  # half a surrogate pair cannot be stored


# ---- vectors --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Vectors:
    """The unit vectors of one vector setting, a row a record (`ids` in hexadecimal), as of `stamp` = (how many, last
    change).

    Not `settled`: a transaction that began before the last change may still bring an earlier one.
    """

    stamp: tuple
    settled: bool
    ids: list[str]
    unit: np.ndarray


_VECTOR_CACHE: dict[tuple[UUID, UUID], _Vectors] = {}  # by dataset and vector setting
_VECTOR_CACHE_LOCK = threading.Lock()
_MAX_VECTOR_SETTINGS = 8  # settings whose vectors are kept in memory, those last asked for
_SETTLE_TIME = timedelta(minutes=1)
_FIRST_CANDIDATES = 1000


def _load_vectors(dataset_id: UUID, settings_id: UUID) -> _Vectors:
    """From memory if nothing changed since; otherwise only what may have changed is read again."""
    here = _vectors.c.vector_settings_id == settings_id
    # In hexadecimal: 100,000 UUIDs take longer to make than to read.
    record_id = sa.func.replace(sa.cast(_vectors.c.record_id, sa.String()), "-", "")
    with _VECTOR_CACHE_LOCK, _connections().connect() as connection:

        def read(*since: Any) -> tuple[list[str], np.ndarray]:
            ids: list[str] = []
            parts: list[np.ndarray] = []
            changed = sa.select(record_id, sa.cast(_vectors.c.value, sa.Text)).where(here, *since)
            for rows in connection.execution_options(yield_per=5000).execute(changed).partitions():
                ids += (id_ for id_, _ in rows)
                numbers = ",".join(value[1:-1] for _, value in rows)  # of JSON lists, without the brackets
                parts.append(np.fromstring(numbers, np.float32, sep=",").reshape(len(rows), -1))
            if not ids:
                return [], np.zeros((0, 0), np.float32)
            vectors = np.concatenate(parts)
            lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
            return ids, vectors / np.where(lengths == 0.0, 1.0, lengths)

        last = sa.func.max(_vectors.c.updated_at)
        stamp = tuple(connection.execute(sa.select(sa.func.count(), last).where(here)).one())
        known = _VECTOR_CACHE.pop((dataset_id, settings_id), None)
        if known is not None and known.settled and known.stamp == stamp:
            _VECTOR_CACHE[dataset_id, settings_id] = known  # the last one asked for stands last
            return known
        settled = stamp[1] is None or datetime.now(UTC).replace(tzinfo=None) - stamp[1] > _SETTLE_TIME
        ids: list[str] = []
        unit = np.zeros((0, 0), np.float32)
        if known is not None and known.ids:
            present = set(connection.scalars(sa.select(record_id).where(here)))
            rows = {key: row for key, row in zip(known.ids, known.unit, strict=True) if key in present}
            rows.update(zip(*read(_vectors.c.updated_at >= known.stamp[1] - _SETTLE_TIME), strict=True))
            ids, unit = list(rows), np.stack(list(rows.values())) if rows else unit
        if len(ids) != stamp[0]:
            ids, unit = read()
        _VECTOR_CACHE[dataset_id, settings_id] = fresh = _Vectors(stamp, settled, ids, unit)
        while len(_VECTOR_CACHE) > _MAX_VECTOR_SETTINGS:
            del _VECTOR_CACHE[next(iter(_VECTOR_CACHE))]
        return fresh


def _nearest(
    dataset_id: UUID,
    settings_id: UUID,
    value: np.ndarray,
    excluded: UUID | None,
    query: TextQuery | str | None,
    filter: Filter | None,
    limit: int,
) -> list[tuple[UUID, float]]:
    """(record id, score) of the `limit` nearest that match, nearest first.

    What is asked for is checked for the nearest records first, and for every record only when too few of those match.
    """
    known = _load_vectors(dataset_id, settings_id)
    if not known.ids:
        return []
    scores = np.clip((1.0 + known.unit @ (value / (np.linalg.norm(value) or 1.0))) / 2.0, 0.0, 1.0)
    order = np.argsort(-scores, kind="stable")

    left_out = excluded.hex if excluded else ""

    def nearest() -> Iterator[tuple[str, float]]:
        return ((known.ids[place], float(scores[place])) for place in order if known.ids[place] != left_out)

    hits = nearest()
    if query or filter:
        with _open_search(dataset_id, query, filter) as asked:
            first = [UUID(id_) for id_, _ in islice(nearest(), max(_FIRST_CANDIDATES, 4 * limit))]
            admitted = asked.matching(first)
            if len(admitted) < limit and len(first) < len(known.ids):
                admitted = asked.matching()
        ids = {id_.hex for id_ in admitted}
        hits = (item for item in hits if item[0] in ids)
    return [(UUID(id_), score) for id_, score in islice(hits, limit)]


# ---- connections ----------------------------------------------------------------------------------------------------


@functools.cache
def _connections() -> sa.Engine:
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
            cursor.execute("ATTACH DATABASE ? AS words", (str(_words_file()),))
        else:
            cursor.execute("SET jit = off")  # compiling takes longer than any of these statements
            cursor.execute("SET work_mem = '32MB'")  # so that 100,000 ids are hashed and sorted in memory
            connection.commit()
        cursor.close()

    return engine


def _delete_dataset_index(dataset_id: UUID) -> None:
    with _VECTOR_CACHE_LOCK:
        for key in [key for key in _VECTOR_CACHE if key[0] == dataset_id]:
            del _VECTOR_CACHE[key]
    if settings.database_is_sqlite:
        key = {"key": dataset_id.hex}
        with _WORDS_LOCK, _connections().begin() as connection, closing(_open_words_file()) as writer:
            records = connection.execute(
                sa.text("SELECT record_id FROM pairsmith_changes WHERE dataset_id = :key"), key
            )
            writer.execute("BEGIN IMMEDIATE")
            writer.execute(f"DROP TABLE IF EXISTS words_{dataset_id.hex}")
            writer.execute("DELETE FROM datasets WHERE dataset_id = ?", (dataset_id.hex,))
            writer.executemany("DELETE FROM docs WHERE record_id = ?", [(row.record_id,) for row in records])
            writer.execute("COMMIT")
            connection.execute(sa.text("DELETE FROM pairsmith_changes WHERE dataset_id = :key"), key)


# ---- tables ---------------------------------------------------------------------------------------------------------


def prepare() -> bool:
    """Make the engine's own tables, triggers and indexes unless all of them exist; True if they were (re)made.

    Call it after Argilla's migrations, while no server runs: a migration of Argilla may rebuild a table on SQLite,
    which drops the triggers on it, and then everything of ours is made anew from what Argilla stores; so it is when
    this version says other tables than the one that made them.
    """
    engine = sa.create_engine(database_url_sync())
    postgresql = engine.dialect.name == "postgresql"
    script = Path(__file__).with_name(f"search_{engine.dialect.name}.sql").read_text(encoding="utf-8")
    wanted = set(
        re.findall(r"^CREATE (TABLE|INDEX|TRIGGER|FUNCTION) (pairsmith_\w+\b)(?! PARTITION)", script, re.MULTILINE)
    )
    made_from = hashlib.sha256(script.encode()).hexdigest()
    with engine.begin() as connection:
        present = _existing_objects(connection)
        if present == wanted and connection.exec_driver_sql("SELECT script FROM pairsmith_made").scalar() == made_from:
            return False
        for kind, name in sorted(present, key=lambda item: ["TRIGGER", "FUNCTION", "INDEX", "TABLE"].index(item[0])):
            on = f" ON {'suggestions' if 'suggestion' in name else 'records'}" if kind == "TRIGGER" else ""
            connection.exec_driver_sql(f"DROP {kind} IF EXISTS {name}" + (f"{on} CASCADE" if postgresql else ""))
        for statement in re.split(r"^--$", script, flags=re.MULTILINE):
            connection.exec_driver_sql(statement.replace("%", "%%") if postgresql else statement)
        connection.execute(sa.text("INSERT INTO pairsmith_made (script) VALUES (:script)"), {"script": made_from})
    words = _words_file()
    if words is not None:
        for path in (words, Path(f"{words}-wal"), Path(f"{words}-shm")):
            path.unlink(missing_ok=True)
    return True


def _existing_objects(connection: sa.Connection) -> set[tuple[str, str]]:
    """(kind, name) of every object of ours that exists."""
    if connection.dialect.name == "sqlite":
        rows = connection.exec_driver_sql(
            "SELECT upper(type), name FROM sqlite_master WHERE name LIKE 'pairsmith\\_%' ESCAPE '\\'"
        )
    else:
        rows = connection.exec_driver_sql(
            "SELECT CASE WHEN relkind IN ('r', 'p') THEN 'TABLE' ELSE 'INDEX' END, relname::text FROM pg_class"
            " WHERE relkind IN ('r', 'p', 'i', 'I') AND relname LIKE 'pairsmith\\_%%' AND relname NOT LIKE '%%_pkey'"
            "  AND NOT relispartition AND relnamespace = current_schema()::regnamespace"
            " UNION SELECT 'TRIGGER', tgname::text FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid"
            "  WHERE tgname LIKE 'pairsmith\\_%%' AND relnamespace = current_schema()::regnamespace"
            " UNION SELECT 'FUNCTION', proname::text FROM pg_proc"
            "  WHERE proname LIKE 'pairsmith\\_%%' AND pronamespace = current_schema()::regnamespace"
        )
    return {(kind, name) for kind, name in rows}

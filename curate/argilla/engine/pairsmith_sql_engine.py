"""A search engine for argilla-server 2.8 that uses SQL on Argilla's own database, SQLite or PostgreSQL.

The database is the index. Records, responses and vectors are read where Argilla stores them. Triggers copy the contents
of its JSON columns (metadata, suggestions) and, on PostgreSQL, the words of each record into our own tables, in the
same transaction as Argilla's write. `search_sqlite.sql` and `search_postgresql.sql` define these objects, all named
pairsmith_*, and `prepare` creates them. On SQLite the words are in an FTS5 file beside the database, which is updated
before each text search from a list of changed records. Search results therefore always agree with what Argilla stores.

Every search is a set of conditions on `records`. With a requested sort order it takes two statements: one counts, the
other walks an index as far as the page needs. Otherwise each match gets a score, and a single statement counts and
sorts the matches.

The semantics follow Argilla's Elasticsearch engine, with these differences: fuzzy words, phrase slop, and filters or
sorts by the answers to text, ranking and span questions are refused with an explanation, where Elasticsearch fails or
finds nothing; `get_dataset_user_progress` counts that user's own responses only; similarity is exact; text search on
PostgreSQL is not ranked; metadata strings longer than 1,000 bytes cannot be filtered.

This module has no parent package: it runs in the server's own environment, with the server's pinned versions, and
imports nothing else from this project.
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


# ---- Argilla's interface --------------------------------------------------------------------------------------------


@SearchEngine.register(engine_name=ENGINE_NAME)
class SQLSearchEngine(SearchEngine):
    """Argilla's search engine interface. Argilla creates an instance per request; it has no state."""

    @classmethod
    async def new_instance(cls) -> "SQLSearchEngine":
        return cls()

    async def ping(self) -> bool:
        return await asyncio.to_thread(_ping)

    async def info(self) -> dict:
        return {"name": ENGINE_NAME, "database": _connections().dialect.name, "elasticsearch": False}

    async def _ignore(self, *_: Any, **__: Any) -> None:
        """Do nothing: the next search finds whatever Argilla has committed."""

    create_index = configure_metadata_property = configure_index_vectors = partial_record_update = _ignore
    delete_records = update_record_response = delete_record_response = _ignore
    update_record_suggestion = delete_record_suggestion = close = _ignore

    async def index_records(self, dataset: Dataset, records: Iterable[Record]) -> None:
        """Index the words now, so that the first search after a large push is fast. If this fails, that search tries
        again."""
        if settings.database_is_sqlite:
            try:
                await asyncio.to_thread(_update_word_index, dataset.id)
            except (sa.exc.SQLAlchemyError, sqlite3.Error):
                _LOGGER.exception("the words of new records could not be indexed; the next search tries again")

    async def delete_index(self, dataset: Dataset) -> None:
        """Delete the word index and cached vectors of a deleted dataset."""
        await asyncio.to_thread(_delete_dataset_index, dataset.id)

    async def get_dataset_progress(self, dataset: Dataset) -> dict:
        """Return `{"total": n, "pending": n, "completed": n}`, counting records by status; {} for a draft."""
        if dataset.is_draft:
            return {}
        by_status = sa.select(_records.c.status, sa.func.count()).where(_records.c.dataset_id == dataset.id)
        return await asyncio.to_thread(_counts, by_status.group_by(_records.c.status))

    async def get_dataset_user_progress(self, dataset: Dataset, user: User) -> dict:
        """Return `{"total": n, "submitted": n, ...}`, counting that user's own responses by status; {} for a draft."""
        if dataset.is_draft:
            return {}
        dataset_records = sa.select(_records.c.id).where(_records.c.dataset_id == dataset.id)
        by_status = sa.select(_responses.c.status, sa.func.count()).where(_responses.c.user_id == user.id)
        by_status = by_status.where(_responses.c.record_id.in_(dataset_records))
        return await asyncio.to_thread(_counts, by_status.group_by(_responses.c.status))

    async def compute_metrics_for(self, metadata_property: MetadataProperty) -> MetadataMetrics:
        """Return how often each term occurs, most frequent first, or the smallest and largest number."""
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
        """Return one page of the matching records, and the total number of matches.

        Without `sort`, each user gets a random order of their own that is stable between calls. Without a user, records
        are sorted by relevance, or if there is no text query, by time of insertion. `score` is None if a sort is given.
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
        """Return the nearest records by exact cosine similarity. A score is (1 + cosine) / 2; for `least_similar`, of
        the negated vector.

        The given `record` itself is left out.
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
        target = np.asarray(value, np.float32) * (-1 if order == SimilarityOrder.least_similar else 1)
        hits = await asyncio.to_thread(
            _nearest, dataset.id, vector_settings.id, target, excluded, query, filter, max_results
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


def _counts(by_status: sa.Select) -> dict:
    with _connections().connect() as connection:
        counts = {status.value: count for status, count in connection.execute(by_status)}
    return {"total": sum(counts.values()), **counts}


_MAX_TERMS = 2**14  # the same limit as Argilla's Elasticsearch engine


def _metadata_metrics(dataset_id: UUID, name: str, kind: MetadataPropertyType) -> MetadataMetrics:
    conditions = [_values.c.source == dataset_id, _values.c.facet == name]
    with _connections().connect() as connection:
        if kind == MetadataPropertyType.terms:
            count = sa.func.count()
            counted = connection.execute(
                sa.select(_values.c.word, count)
                .where(*conditions, _values.c.word.is_not(None))
                .group_by(_values.c.word)
                .order_by(count.desc(), _values.c.word)
            ).all()
            terms = [TermsMetrics.TermCount(term=word, count=times) for word, times in counted[:_MAX_TERMS]]
            return TermsMetrics(total=sum(times for _, times in counted), values=terms)
        low, high = (
            connection.scalar(sa.select(which(_values.c.number)).where(*conditions, _values.c.number.is_not(None)))
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
    with _open_search(dataset_id, query, filter) as search:
        if sort:
            return search.sorted_page(sort, offset, limit, score=None)
        if user is None and not search.ranks:
            oldest_first = [Order(RecordFilterScope(RecordSortField.inserted_at), SortOrder.asc)]
            return search.sorted_page(oldest_first, offset, limit, score=1.0)
        return search.scored_page(offset, limit, user)


@contextmanager
def _open_search(dataset_id: UUID, query: TextQuery | str | None, filter: Filter | None) -> "Iterator[_SearchRequest]":
    query = TextQuery(q=query) if isinstance(query, str) else query
    fields = _update_word_index(dataset_id) if query is not None and settings.database_is_sqlite else []
    with _connections().connect() as connection:
        yield _SearchRequest(connection, dataset_id, query, filter, fields)


@dataclass(frozen=True)
class _SearchRequest:
    """One search in one dataset. `fields`: the fields with words, in the order of their FTS5 columns (SQLite only)."""

    connection: sa.Connection
    dataset_id: UUID
    query: TextQuery | None
    filter: Filter | None
    fields: list[str]

    @property
    def ranks(self) -> bool:
        """Whether matches have a relevance: there is a text query, and the database is SQLite."""
        return self.query is not None and self._on_sqlite

    @property
    def _on_sqlite(self) -> bool:
        return self.connection.dialect.name == "sqlite"

    # -- results

    def sorted_page(self, sort: list[Order], offset: int, limit: int, score: float | None) -> SearchResponses:
        """Return a page in the given order. One statement counts; another lists, and stops at the end of the page if an
        index provides the order.

        The index of values contains only records that have the value; the others come last. If it does not fill the
        page, all matches are sorted instead.
        """
        where = self._conditions()
        total = self.connection.scalar(sa.select(sa.func.count()).select_from(_records).where(*where)) or 0
        if offset >= total:
            return SearchResponses(items=[], total=total)
        matching = sa.select(_records.c.id, sa.literal(score).label("score")).where(*where).limit(limit).offset(offset)
        rows: Any = []
        values = self._value_source(sort[0].scope)
        if values is not None:
            column, value_conditions = values
            indexed = matching.join_from(_values, _records, _records.c.id == _values.c.record_id)
            indexed = indexed.where(*value_conditions, column.is_not(None), _is_first_of_list(column, sort[0].order))
            keys = [_ordered(column, sort[0].order), *map(self._sort_key, sort[1:])]
            rows = self.connection.execute(indexed.order_by(*keys, _records.c.id)).all()
        if len(rows) < min(limit, total - offset):
            keys = [self._sort_key(order) for order in sort]
            rows = self.connection.execute(matching.order_by(*keys, _records.c.id)).all()
        return _search_responses(rows, total)

    def scored_page(self, offset: int, limit: int, user: UUID | None) -> SearchResponses:
        """Return a page by descending score: the relevance if there is one, times the user's random number if there is
        a user. One statement lists and counts."""
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
        """Return the ids of all matching records, or of those in `among`."""
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
        """Select the record_id of each record whose words match; on SQLite also doc (its row number) and relevance."""
        field, node = self.query.field, _parse_text(self.query.q)
        if not self._on_sqlite:
            ids = sa.select(_words.c.record_id).where(
                _words.c.dataset_id == self.dataset_id, _words.c.field == (field or "")
            )
            matches = sa.false() if node is None else _words.c.words.op("@@")(_tsquery(node))
            return ids.where(matches)
        if node is None or (field and field not in self.fields):  # no words in the query, or the field is an image
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
        column, value_conditions = self._value_source(scope)
        ids = sa.select(_values.c.record_id).where(*value_conditions, _value_condition(filter, column))
        # IN rather than a join: a list with several of the requested values is still one record.
        return _records.c.id.in_(ids.where(column.is_not(None)))

    def _answer_filter(self, filter: TermsFilter | RangeFilter, scope: ResponseFilterScope) -> Any:
        source, answer = self._answer_source(scope.question)
        by_user = [_responses.c.user_id == scope.user.id] if scope.user else []
        answers = sa.select(sa.literal(1)).select_from(source).where(_responses.c.record_id == _records.c.id, *by_user)
        return answers.where(_value_condition(filter, answer)).correlate(_records).exists()

    # -- order

    def _sort_key(self, order: Order) -> Any:
        """Return the sort key: one value per record, missing ones last. For a list, the smallest value if ascending,
        the largest if descending."""
        scope = order.scope
        if isinstance(scope, RecordFilterScope):
            column = _records.c[RecordSortField(scope.property).value]
            if scope.property == RecordSortField.status:
                column = sa.cast(column, sa.String())  # by name, not by the order of PostgreSQL's enumeration
            key = _ordered(column, order.order)
            return key.nulls_last() if scope.property == RecordSortField.external_id else key
        if isinstance(scope, ResponseFilterScope):
            source, key = _responses, sa.func.min(sa.cast(_responses.c.status, sa.String()))
            if scope.question:
                source, answer = self._answer_source(scope.question)
                key = (sa.func.avg if isinstance(answer.type, sa.Float) else sa.func.min)(answer)
            conditions = [_responses.c.user_id == scope.user.id] if scope.user else []
            keys = sa.select(key).select_from(source).where(_responses.c.record_id == _records.c.id, *conditions)
        else:
            column, conditions = self._value_source(scope)
            which = sa.func.max if order.order == SortOrder.desc else sa.func.min
            keys = sa.select(which(column)).where(_values.c.record_id == _records.c.id, *conditions)
        return _ordered(keys.correlate(_records).scalar_subquery(), order.order).nulls_last()

    # -- the dataset's settings

    def _value_source(self, scope: Any) -> tuple | None:
        """Return the column of `pairsmith_values` for a scope and the conditions that select its rows; None for scopes
        that are not stored there."""
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
        conditions = [_values.c.source == source, _values.c.facet == facet]
        return _values.c.number if numeric else _values.c.word, conditions

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
        """Return a source of the answers to a question with one element per row, and the expression for an element,
        which is a number for a rating."""
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
            # PostgreSQL may first read responses of another dataset, where the question of this name is not a rating.
            number = sa.func.jsonb_typeof(elements.c.value) == "number"
            answer = sa.case((number, sa.cast(text, sa.Float()))) if rating else text
        return _responses.join(elements, sa.true()), sa.cast(answer, sa.Float() if rating else sa.Text())


def _search_responses(rows: Any, total: int) -> SearchResponses:
    return SearchResponses(items=[SearchResponseItem(record_id=row.id, score=row.score) for row in rows], total=total)


def _ordered(key: Any, order: SortOrder) -> Any:
    return key.desc() if order == SortOrder.desc else key.asc()


def _is_first_of_list(column: Any, order: SortOrder) -> Any:
    """Condition that a value is its record's only one, or the first of its list in this order."""
    other = _values.alias("other")
    other_value = other.c[column.name]
    before = other_value > column if order == SortOrder.desc else other_value < column
    preceded = (
        sa.select(sa.literal(1))
        .where(*(other.c[name] == _values.c[name] for name in ("record_id", "source", "facet")))
        .where(sa.or_(before, sa.and_(other_value == column, other.c.place < _values.c.place)))
        .correlate(_values)
        .exists()
    )
    return sa.or_(_values.c.place == -1, ~preceded)


def _random_number(dialect: str, user: UUID, row_number: str) -> Any:
    """Return a pseudo-random number in [0, 1) for each record, stable for a user and unrelated to other users'
    numbers."""
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
    by_user = [_responses.c.user_id == user.id] if user else []
    statuses = [ResponseStatus(value) for value in values if value in set(ResponseStatus)]
    answered = sa.select(_responses.c.record_id).where(_responses.c.status.in_(statuses), *by_user)
    alternatives = [_records.c.id.in_(answered)] if statuses else []
    if "pending" in values:  # in Argilla this means: no response yet
        any_response = sa.select(sa.literal(1)).where(_responses.c.record_id == _records.c.id, *by_user)
        alternatives.append(~any_response.correlate(_records).exists())
    return sa.or_(sa.false(), *alternatives)


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
    """Parse a time into Argilla's storage format, UTC without a time zone. `end`: a date alone means the last moment of
    that day."""
    try:
        if isinstance(value, (int, float)):
            return datetime.fromtimestamp(value / 1000, UTC).replace(tzinfo=None)
        moment = datetime.fromisoformat(str(value))
        if end and len(str(value)) <= len("2026-03-31"):
            moment = datetime.combine(moment.date(), time.max)
        return moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)
    except (ValueError, OverflowError, OSError):
        raise UnprocessableEntityError(f"`{value}` is not an ISO 8601 date or time, such as 2026-03-31.") from None


# ---- text queries ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Phrase:
    """Adjacent words; `prefix`: the last one may be the beginning of a longer word."""

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
       |(?P<close>\))|(?P<either>\|)|-++|.""",  # a run of - is consumed at once, so parsing takes linear time
    re.VERBOSE | re.DOTALL,
)


def _parse_text(query: str) -> Any:
    """Parse Elasticsearch's simple query string with AND as the default: `a b`, `a | b`, `-a`, `"a b"`, `a*`, `( )`,
    `\\`.

    As in Elasticsearch, operators are left-associative. Unbalanced quotes and brackets are ignored. Returns None if no
    word is left. Raises UnprocessableEntityError for fuzzy words, phrase slop and queries that are too long.
    """
    if len(query) > _MAX_QUERY_CHARACTERS:
        raise UnprocessableEntityError(
            f"A search on this Argilla server may have at most {_MAX_QUERY_CHARACTERS:,} characters. Use fewer words."
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
                f"This Argilla server does not use Elasticsearch: fuzzy words and phrase slop ({tilde}) are not"
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
                f"A search on this Argilla server may have at most {_MAX_WORDS} words and {_MAX_DEPTH} levels of"
                " brackets. Use fewer words."
            )
    while outer:
        close()
    return node


def _phrase(text: str, prefix: bool) -> _Phrase | None:
    return _Phrase(text, prefix) if _HAS_WORD.search(text) else None


def _split_characters(text: str) -> str:
    """Separate Han and Hiragana characters into single words, as Elasticsearch's standard analyzer does."""
    return _SINGLE_CHARACTER_WORDS.sub(r" \1 ", text)


def _render_query(node: Any, phrase: Callable[[_Phrase], str], negation: str, joints: dict[str, str]) -> str:
    """Render a parsed query in a database's full-text syntax."""
    if isinstance(node, _Phrase):
        return phrase(node)
    if isinstance(node, _Not):
        return f"({negation} {_render_query(node.inner, phrase, negation, joints)})"
    return "(" + joints[node.joint].join(_render_query(part, phrase, negation, joints) for part in node.parts) + ")"


_MATCH_ALL_WORD = "pairsmitheveryrecord"  # a word in every record, because NOT in FTS5 needs a left operand


def _fts5_query(node: Any, column: str) -> str:
    def phrase(query: _Phrase) -> str:
        quoted = _split_characters(query.text).replace('"', '""')
        return f'{column}"{quoted}"' + (" *" if query.prefix else "")

    return _render_query(node, phrase, f"{_MATCH_ALL_WORD} NOT", {"AND": " AND ", "OR": " OR "})


_MAX_WORD_BYTES = 2000  # PostgreSQL's own limit is 2,046


def _tsquery(node: Any) -> Any:
    def phrase(query: _Phrase) -> str:
        words = _PUNCTUATION.sub(" ", _split_characters(query.text)).split()
        if any(len(word.encode()) > _MAX_WORD_BYTES for word in words):
            raise UnprocessableEntityError(f"A search word may have at most {_MAX_WORD_BYTES} bytes.")
        return "(" + " <-> ".join(f"'{word}'" for word in words) + (":*)" if query.prefix else ")")

    return sa.func.to_tsquery("simple", _render_query(node, phrase, "!", {"AND": " & ", "OR": " | "}))


# ---- words on SQLite ------------------------------------------------------------------------------------------------


_WORDS_LOCK = threading.Lock()
_QUEUE_MARK = "pairsmith"  # the metadata key that marks our queues
_HOUSE_STYLE_FIELD = "rules"  # their field with the house style, which is not indexed


def _words_file() -> Path | None:
    """Return the path of the FTS5 file beside Argilla's SQLite database; None on PostgreSQL."""
    database = sa.make_url(settings.database_url).database
    return Path(database).with_suffix(".words.db") if settings.database_is_sqlite and database else None


def _update_word_index(dataset_id: UUID) -> list[str]:
    """Index every record of the dataset that changed since the last call; return the names of the fields in column
    order.

    Crash-safe: the words and the number of the last indexed change are written in one transaction.
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
        seq, as_made = known()  # another process may have updated it meanwhile
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
    """Update the word index of every dataset and load the vectors of the newest settings, so that the first search
    after a start does not have to."""
    try:
        with _connections().connect() as connection:
            datasets = connection.scalars(sa.select(Dataset.id)).all() if settings.database_is_sqlite else []
            newest = sa.select(VectorSettings.dataset_id, VectorSettings.id).order_by(VectorSettings.inserted_at.desc())
            vectors = connection.execute(newest.limit(_MAX_VECTOR_SETTINGS)).all()
    except sa.exc.SQLAlchemyError:
        _LOGGER.exception("words and vectors could not be read ahead; the first search will read them")
        return
    words = [functools.partial(_update_word_index, id_) for id_ in datasets]
    for work in [*words, *(functools.partial(_load_vectors, *key) for key in reversed(vectors))]:
        try:
            work()
        except (sa.exc.SQLAlchemyError, sqlite3.Error):
            _LOGGER.exception("words or vectors could not be read ahead; the next search tries again")


def _open_words_file() -> sqlite3.Connection:
    """Connect to the FTS5 file, which is created if it does not exist."""
    writer = sqlite3.connect(_words_file(), timeout=30, isolation_level=None)
    writer.execute("PRAGMA synchronous = NORMAL")  # changes lost in a power failure are indexed again
    if writer.execute("SELECT 1 FROM sqlite_master WHERE name = 'datasets'").fetchone() is None:
        writer.execute("PRAGMA journal_mode = WAL")
        writer.executescript(
            "BEGIN IMMEDIATE;"
            "CREATE TABLE IF NOT EXISTS datasets (dataset_id TEXT PRIMARY KEY, seq INTEGER, made TEXT);"
            "CREATE TABLE IF NOT EXISTS docs (doc INTEGER PRIMARY KEY, record_id TEXT UNIQUE);"
            "COMMIT;"
        )
    return writer


# As in pairsmith_read (search_postgresql.sql): inline tags do not separate words, all other tags do.
_INLINE_TAG = re.compile(
    r"</?(?:a|b|code|del|em|i|ins|mark|s|small|span|strong|sub|sup|u)(?:\s[^<>]*)?>", re.IGNORECASE
)
_TAG = re.compile(r"</?[A-Za-z][^<>]*>")


def _field_text(value: Any, marked_up: bool) -> str:
    """Return the text of a field as displayed, with Markdown's HTML tags removed, ready for indexing."""
    if isinstance(value, list):
        turns = [turn for turn in value if isinstance(turn, dict)]
        value = "\n".join(f"{turn.get('role', '')} {turn.get('content', '')}" for turn in turns)
    text = "" if value is None else str(value)
    if marked_up:
        text = html.unescape(_TAG.sub(" ", _INLINE_TAG.sub("", text)))
    return _split_characters(text.encode("utf-8", "replace").decode("utf-8"))  # lone surrogates cannot be stored


# ---- vectors --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Vectors:
    """The unit vectors of one vector setting, one row per record (`ids` in hexadecimal), as of `stamp` = (number, last
    change).

    Not `settled`: a transaction that began before the last change may still commit a change with an earlier time.
    """

    stamp: tuple
    settled: bool
    ids: list[str]
    unit: np.ndarray


_VECTOR_CACHE: dict[tuple[UUID, UUID], _Vectors] = {}  # by dataset and vector setting
_VECTOR_CACHE_LOCK = threading.Lock()
_MAX_VECTOR_SETTINGS = 8  # settings whose vectors are kept in memory: the most recently used ones
_SETTLE_TIME = timedelta(minutes=1)
_FIRST_CANDIDATES = 1000


def _load_vectors(dataset_id: UUID, settings_id: UUID) -> _Vectors:
    """Return the vectors from the cache if nothing changed; otherwise reread only those that may have changed."""
    in_settings = _vectors.c.vector_settings_id == settings_id
    # In hexadecimal, because constructing 100,000 UUID objects takes longer than reading them.
    record_id = sa.func.replace(sa.cast(_vectors.c.record_id, sa.String()), "-", "")
    with _VECTOR_CACHE_LOCK, _connections().connect() as connection:

        def read(*since: Any) -> tuple[list[str], np.ndarray]:
            ids: list[str] = []
            parts: list[np.ndarray] = []
            changed = sa.select(record_id, sa.cast(_vectors.c.value, sa.Text)).where(in_settings, *since)
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
        stamp = tuple(connection.execute(sa.select(sa.func.count(), last).where(in_settings)).one())
        known = _VECTOR_CACHE.pop((dataset_id, settings_id), None)
        if known is not None and known.settled and known.stamp == stamp:
            _VECTOR_CACHE[dataset_id, settings_id] = known  # move to the end as most recently used
            return known
        settled = stamp[1] is None or datetime.now(UTC).replace(tzinfo=None) - stamp[1] > _SETTLE_TIME
        ids: list[str] = []
        unit = np.zeros((0, 0), np.float32)
        if known is not None and known.ids:
            present = set(connection.scalars(sa.select(record_id).where(in_settings)))
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
    """Return (record id, score) of the `limit` nearest matching records, nearest first.

    Query and filter are applied to the nearest records first, and to all records only if too few of those match.
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
        with _open_search(dataset_id, query, filter) as search:
            first = [UUID(id_) for id_, _ in islice(nearest(), max(_FIRST_CANDIDATES, 4 * limit))]
            matching = search.matching(first)
            if len(matching) < limit and len(first) < len(known.ids):
                matching = search.matching()
        ids = {id_.hex for id_ in matching}
        hits = (item for item in hits if item[0] in ids)
    return [(UUID(id_), score) for id_, score in islice(hits, limit)]


# ---- connections ----------------------------------------------------------------------------------------------------


@functools.cache
def _connections() -> sa.Engine:
    """Return the engine's own connection pool. Reads run in threads on these connections, so that a slow search does
    not block Argilla's event loop."""
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
    """Create the engine's own tables, triggers and indexes unless all of them exist; True if they were (re)created.

    Call it after Argilla's migrations, while no server runs. On SQLite, a migration may rebuild a table, which drops
    its triggers; then all our objects are created again from Argilla's data. The same happens if the SQL script has
    changed since they were created.
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
    """Return (kind, name) of each of our existing database objects."""
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

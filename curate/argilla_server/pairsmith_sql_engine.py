"""A search engine for argilla-server 2.8 that is answered by SQL over Argilla's own database, SQLite or PostgreSQL.

The records, responses and vectors are read where Argilla stores them. What lies inside its JSON columns (metadata,
suggestions) and, on PostgreSQL, the words of each field, is kept in tables of ours by triggers, in the same
transaction as Argilla's write; `pairsmith_sql_tables` makes them. On SQLite the words lie in an FTS5 file beside the
database, brought up to date from a list of changed records, so nothing here can disagree with what Argilla stores.

Semantics follow Argilla's Elasticsearch engine. Known differences: fuzzy words, phrase slop, response filters on
text, ranking and span questions and unknown properties are refused in a sentence instead of matching nothing;
`get_dataset_user_progress` counts the responses of that user only; text search on PostgreSQL is not ranked.

This folder's modules run under the server's own pins, import nothing but them, and have no parent package.
"""

import asyncio
import logging
import sqlite3
from collections.abc import Iterable
from typing import Any
from uuid import UUID

import numpy as np
import sqlalchemy as sa
from argilla_server.enums import (
    MetadataPropertyType,
    SimilarityOrder,
)
from argilla_server.models import (
    Dataset,
    MetadataProperty,
    Record,
    Response,
    Suggestion,
    User,
    VectorSettings,
)
from argilla_server.search_engine.base import (
    Filter,
    FloatMetadataMetrics,
    IntegerMetadataMetrics,
    MetadataMetrics,
    Order,
    SearchEngine,
    SearchResponseItem,
    SearchResponses,
    TermsMetrics,
    TextQuery,
)
from argilla_server.settings import settings
from pairsmith_sql_search import Search
from pairsmith_sql_tables import VALUES
from pairsmith_sql_vectors import nearest
from pairsmith_sql_words import bring_words_up_to_date, forget_words, search_connections

ENGINE_NAME = "pairsmith-sql"
_LOGGER = logging.getLogger("argilla.search")
_MAX_TERMS = 2**14

_records, _responses = Record.__table__, Response.__table__


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
            await asyncio.to_thread(forget_words, dataset.id)

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
        asked = Search(dataset.id, query, filter)
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
        """The nearest records by cosine, exactly; a score is (1 + cosine) / 2, for the least similar of -vector.

        The record that was asked for is left out.
        """
        if bool(value) == bool(record):
            raise ValueError("Must provide either vector value or record to compute the similarity search")
        if record is not None:
            value = record.vector_value_by_vector_settings(vector_settings)
        if not value:
            raise ValueError("Cannot find a vector value to apply with provided info")
        sign = -1.0 if order == SimilarityOrder.least_similar else 1.0
        asked = Search(dataset.id, query, filter) if query or filter else None
        excluded = record.id if record is not None else None
        found = await asyncio.to_thread(
            nearest, vector_settings.id, sign * np.asarray(value, np.float32), excluded, asked, max_results
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
            connection.execute(sa.select(VALUES.c.facet).limit(1))
        return True
    except sa.exc.SQLAlchemyError:
        _LOGGER.exception("the search engine's tables cannot be read")
        return False


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
    here = [VALUES.c.source == dataset_id, VALUES.c.facet == name]
    with search_connections().connect() as connection:
        if kind == MetadataPropertyType.terms:
            count = sa.func.count()
            counted = connection.execute(
                sa.select(VALUES.c.word, count)
                .where(*here, VALUES.c.word.is_not(None))
                .group_by(VALUES.c.word)
                .order_by(count.desc(), VALUES.c.word)
            ).all()
            terms = [TermsMetrics.TermCount(term=word, count=times) for word, times in counted[:_MAX_TERMS]]
            return TermsMetrics(total=sum(times for _, times in counted), values=terms)
        low, high = (
            connection.scalar(sa.select(which(VALUES.c.number)).where(*here, VALUES.c.number.is_not(None)))
            for which in (sa.func.min, sa.func.max)
        )
    if kind == MetadataPropertyType.integer:
        return IntegerMetadataMetrics(min=None if low is None else int(low), max=None if high is None else int(high))
    return FloatMetadataMetrics(min=low, max=high)

"""One search as one SQL statement: words, filters and order over Argilla's tables.

Runs under the server's own pins, like pairsmith_sql_engine, and has no parent package.
"""

from collections.abc import Callable
from datetime import UTC, datetime, time
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from argilla_server.enums import (
    QuestionType,
    RecordSortField,
    RecordStatus,
    ResponseStatus,
    SortOrder,
)
from argilla_server.errors.future import UnprocessableEntityError
from argilla_server.models import (
    MetadataProperty,
    Question,
    Record,
    Response,
    User,
)
from argilla_server.search_engine.base import (
    AndFilter,
    Filter,
    MetadataFilterScope,
    Order,
    RangeFilter,
    RecordFilterScope,
    ResponseFilterScope,
    SearchResponseItem,
    SearchResponses,
    SuggestionFilterScope,
    TermsFilter,
    TextQuery,
)
from argilla_server.settings import settings
from pairsmith_sql_tables import VALUES, WORDS
from pairsmith_sql_text import Not, Phrase, fts5_query, parse_text, spaced
from pairsmith_sql_words import bring_words_up_to_date, search_connections
from sqlalchemy.dialects.postgresql import JSONB, TSQUERY

_LARGE_PRIME = 2_147_483_647
_FILTERED_QUESTIONS = {QuestionType.rating, QuestionType.label_selection, QuestionType.multi_label_selection}

_records, _responses = Record.__table__, Response.__table__


class Search:
    """One question to one dataset: the words and filters it asks for, as conditions on `records`."""

    def __init__(self, dataset_id: UUID, query: TextQuery | str | None, filter: Filter | None) -> None:
        self.dataset_id = dataset_id
        self.query = TextQuery(q=query) if isinstance(query, str) else query
        self.filter = filter
        self.connection: sa.Connection
        self.match: str | None = None  # the whole text query, where FTS5 can say it

    # -- answers

    def page(self, sort: list[Order], offset: int, limit: int, user: UUID | None) -> SearchResponses:
        with self._open() as connection:
            where = self._conditions()
            if self.match is not None and not sort:
                return self._ranked(where, offset, limit, user)
            where += self._matched()
            chance = sa.literal(1.0) if user is None else _chance(connection.dialect.name, user, "records.rowid")
            keys = [self._sort_key(order.scope, order.order).label(f"key_{place}") for place, order in enumerate(sort)]
            if not sort:
                # Only what the order needs: the queue's index does not hold inserted_at.
                keys = [_records.c.inserted_at.label("key_0")] if user is None else []
            score = sa.null() if sort else chance
            found: Any = sa.select(_records.c.id, score.label("score"), *keys).where(*where)
            in_index_order = self.query is None and self.filter is None and not _has_values(sort)
            columns = found.selected_columns
            if not in_index_order:  # every match is looked at anyway: once for the page and the total together
                found = found.cte("found").prefix_with("MATERIALIZED")
                columns = found.c
            orders = []
            for place, key in enumerate(keys):
                descending = bool(sort) and sort[place].order == SortOrder.desc
                column = columns[key.name]
                orders.append((column.desc() if descending else column.asc()).nulls_last())
            if not keys:
                orders = [columns.score.desc()]
            orders.append(columns.id.asc())
            total = sa.select(sa.func.count()).select_from(_records).where(*where)
            if not in_index_order:
                total = sa.select(sa.func.count()).select_from(found)
                found = sa.select(found.c.id, found.c.score, total.scalar_subquery().label("total")).add_cte(found)
            rows = connection.execute(found.order_by(*orders).limit(limit).offset(offset)).all()
            if in_index_order or (not rows and offset > 0):
                counted = connection.scalar(total) or 0
            else:
                counted = rows[0].total if rows else 0
        return _responses_of(rows, counted)

    def _ranked(self, where: list, offset: int, limit: int, user: UUID | None) -> SearchResponses:
        """By relevance, for a user times that user's chance; the words decide which records are looked at."""
        hits = self._hits(self.match, self.query.field if self.query else None).subquery("hits")
        score = hits.c.relevance
        if user is not None:
            score = score * _chance("sqlite", user, "hits.doc")
        found: Any = sa.select(hits.c.record_id.label("id"), hits.c.doc, score.label("score"))
        if self.filter is None:
            total = sa.select(sa.func.count()).select_from(hits)
            order = [sa.desc("score"), hits.c.doc]
        else:
            found = (
                found.where(hits.c.record_id.in_(sa.select(_records.c.id).where(*where)))
                .cte("found")
                .prefix_with("MATERIALIZED")
            )
            total = sa.select(sa.func.count()).select_from(found)
            order = [found.c.score.desc(), found.c.doc]
            found = sa.select(found.c.id, found.c.score, total.scalar_subquery().label("total"))
        rows = self.connection.execute(found.order_by(*order).limit(limit).offset(offset)).all()
        if self.filter is None or (not rows and offset > 0):
            return _responses_of(rows, self.connection.scalar(total) or 0)
        return _responses_of(rows, rows[0].total if rows else 0)

    def matching(self) -> list[UUID]:
        """The id of every record that matches, in no order."""
        with self._open() as connection:
            where = self._conditions()
            return list(connection.scalars(sa.select(_records.c.id).where(*where, *self._matched())))

    def _matched(self) -> list:
        if self.match is None:
            return []
        hits = self._hits(self.match, self.query.field if self.query else None).subquery("hits")
        return [_records.c.id.in_(sa.select(hits.c.record_id))]

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
            self.match = match
            return []
        hits = lambda phrase: self._hits(fts5_query(phrase), query.field).subquery()  # noqa: E731
        return [self._words(node, lambda phrase: sa.select(hits(phrase).c.record_id))]

    def _words(self, node: Any, records_with: Callable[[Phrase], Any]) -> Any:
        if isinstance(node, Phrase):
            return _records.c.id.in_(records_with(node))
        if isinstance(node, Not):
            return sa.not_(self._words(node.inner, records_with))
        sides = [self._words(node.left, records_with), self._words(node.right, records_with)]
        return sa.and_(*sides) if node.joint == "AND" else sa.or_(*sides)

    def _hits(self, match: str | None, field: str | None) -> Any:
        table = f"words_{self.dataset_id.hex}"
        if field is not None:
            match = f"c{self.fields.index(field)} : ({match})"
        return (
            sa.text(
                f"SELECT d.record_id AS record_id, d.doc AS doc, -bm25({table}) AS relevance"
                f" FROM words.{table} CROSS JOIN words.docs d ON d.doc = {table}.rowid WHERE {table} MATCH :match"
            )
            .bindparams(sa.bindparam("match", match, unique=True))
            .columns(record_id=sa.Uuid(), doc=sa.Integer(), relevance=sa.Float())
        )

    def _phrase_postgresql(self, phrase: Phrase, field: str | None) -> Any:
        asked = sa.func.phraseto_tsquery("simple", spaced(phrase.text))
        if phrase.prefix:
            asked = sa.cast(sa.func.nullif(sa.cast(asked, sa.Text()), "") + ":*", TSQUERY())
        found = sa.select(WORDS.c.record_id).where(WORDS.c.dataset_id == self.dataset_id, WORDS.c.words.op("@@")(asked))
        return found if field is None else found.where(WORDS.c.field == field)

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
        column = VALUES.c.number if numeric else VALUES.c.word
        convert = _number if numeric else str
        if isinstance(filter, TermsFilter):
            condition = column.in_([convert(value) for value in filter.values])
        else:
            condition = _between(column, filter, convert, convert)
        found = sa.select(VALUES.c.record_id).where(VALUES.c.source == source, VALUES.c.facet == facet, condition)
        # Argilla asks for terms: a list that holds the value twice is one record all the same, so IN and not a join.
        return _records.c.id.in_(found.where(column.is_not(None)))

    def _answer_filter(self, filter: TermsFilter | RangeFilter, scope: ResponseFilterScope) -> Any:
        source, answer, numeric = self._answers(scope.question or "")
        convert = _number if numeric else str
        if isinstance(filter, TermsFilter):
            condition = answer.in_([convert(value) for value in filter.values])
        else:
            condition = _between(answer, filter, convert, convert)
        theirs = [_responses.c.user_id == scope.user.id] if scope.user else []
        found = sa.select(sa.literal(1)).select_from(source).where(_responses.c.record_id == _records.c.id, condition)
        return found.where(*theirs).correlate(_records).exists()

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
            source, key = _responses, sa.func.min(sa.cast(_responses.c.status, sa.String()))
            if scope.question:
                source, answer, numeric = self._answers(scope.question)
                key = sa.func.avg(answer) if numeric else sa.func.min(answer)
            found = sa.select(key).select_from(source).where(_responses.c.record_id == _records.c.id, *theirs)
            return found.correlate(_records).scalar_subquery()
        if isinstance(scope, MetadataFilterScope):
            source, facet = self.dataset_id, scope.metadata_property
            numeric = self._metadata_type(facet) != "terms"
        else:
            source, facet, numeric = self._suggestion(scope)
        column = VALUES.c.number if numeric else VALUES.c.word
        which = sa.func.max if order == SortOrder.desc else sa.func.min
        return (
            sa.select(which(column))
            .where(VALUES.c.record_id == _records.c.id, VALUES.c.source == source, VALUES.c.facet == facet)
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
        """Where the answers to a question are, an element a row; such an element; whether it is a number."""
        _, kind = self._question(question)
        _refuse_unfiltered(question, kind)
        if self.connection.dialect.name == "sqlite":
            path = f'$."{question}".value'
            elements = sa.func.json_each(_responses.c["values"], path).table_valued("value")
        else:
            value = sa.cast(_responses.c["values"], JSONB())[question]["value"]
            as_list = sa.case((sa.func.jsonb_typeof(value) == "array", value), else_=sa.func.jsonb_build_array(value))
            elements = sa.func.jsonb_array_elements_text(as_list).table_valued("value")
        source = _responses.join(elements, sa.true())
        numeric = kind == QuestionType.rating
        return source, sa.cast(elements.c.value, sa.Float() if numeric else sa.Text()), numeric


def _has_values(sort: list[Order]) -> bool:
    """Whether an order asks for more than the columns of a record, which an index holds in order."""
    return any(not isinstance(order.scope, RecordFilterScope) for order in sort)


def _responses_of(rows: Any, total: int) -> SearchResponses:
    return SearchResponses(items=[SearchResponseItem(record_id=row.id, score=row.score) for row in rows], total=total)


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


def _chance(dialect: str, user: UUID, row_number: str) -> Any:
    """A number in [0, 1) for each record that is the same whenever this user asks, and unrelated to other users'."""
    seed = user.int
    if dialect == "postgresql":
        hashed = sa.func.uuid_hash_extended(_records.c.id, sa.literal(seed % 2**62, sa.BigInteger()))
        return sa.cast(hashed.op("&")(sa.literal(2**52 - 1, sa.BigInteger())), sa.Float()) / float(2**52)
    a, b, c, d = (seed >> shift & 0x3FFFFFFF | 1 for shift in (0, 31, 62, 93))
    row = f"{row_number} % {_LARGE_PRIME}"
    product = f"((({row} * {a} + {b}) % {_LARGE_PRIME}) * (({row} * {c} + {d}) % {_LARGE_PRIME})) % {_LARGE_PRIME}"
    return sa.literal_column(f"({product}) / {float(_LARGE_PRIME)!r}", sa.Float())

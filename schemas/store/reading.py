"""Queries of a store: its rows or the records in them, with one page in memory at a time."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

import orjson
import sqlalchemy as sa
from pydantic import ValidationError

from schemas.errors import StoreError
from schemas.records import Json, Record
from schemas.store import tables
from schemas.store.failures import explained, shown
from schemas.store.rows import body_columns, body_of, origin_parts
from schemas.streamed import batched

R = TypeVar("R", bound=Record)
IN = 500  # ids in one IN (...) list
# A bound parameter, because a list inside a statement would stay in memory until the garbage collector runs.
SOME: sa.BindParameter[Any] = sa.bindparam("some", expanding=True)
_FIRST: sa.BindParameter[Any] = sa.bindparam("first")
_LAST: sa.BindParameter[Any] = sa.bindparam("last")
PAGE = 2_000  # records read at once where a table is streamed


class Reading:
    """The query methods of a `Store`. Every database failure becomes an error that names the store."""

    def __init__(self, engine: sa.Engine, url: str) -> None:
        self.engine, self._url = engine, url
        self._origins: dict[str, tuple[str, str]] = {}

    def count(self, table: sa.Table, *where: sa.ColumnElement[bool]) -> int:
        ((count,),) = self.rows(sa.select(sa.func.count()).select_from(table).where(*where))
        return int(count)

    def rows(self, query: Any, **given: Any) -> Sequence[Any]:
        try:
            with self.engine.connect() as connection:
                return connection.execute(query, given).all()
        except sa.exc.DBAPIError as error:
            raise explained(error, self._url) from None

    def pages(self, record: type[R], table: sa.Table, **wanted: str | None) -> Iterator[R]:
        """The records whose columns equal `wanted` (None: any value), read page by page; rows appended meanwhile are
        included."""
        return (self.read(record, body) for body in self._body_pages(table, **wanted))

    def _json_pages(self, table: sa.Table, **wanted: str | None) -> Iterator[Json]:
        return (orjson.loads(body) for body in self._body_pages(table, **wanted))

    def _body_pages(self, table: sa.Table, **wanted: str | None) -> Iterator[str]:
        same = (table.c[name] == value for name, value in wanted.items() if value is not None)
        return (self.full_body(table, row) for row in self.row_pages(body_columns(table), sa.true(), *same))

    def full_body(self, table: sa.Table, row: Sequence[Any]) -> str:
        """The full JSON of a record from the values of `body_columns(table)`."""
        return body_of(table, row, self._origin)

    def _origin(self, id_: str) -> tuple[str, str]:
        if id_ not in self._origins:
            c = tables.origins.c
            self._origins |= {name: origin_parts(body) for name, body in self.rows(sa.select(c.id, c.body))}
        if id_ not in self._origins:
            raise StoreError(
                f"the origin {id_}, which pairs in it refer to, is missing.",
                where=shown(self._url),
                fix="Restore the store from a backup.",
            )
        return self._origins[id_]

    def bodies(self, table: sa.Table, ids: Iterable[str]) -> Iterator[tuple[str, str]]:
        """(id, full JSON) of the rows with these ids, in any order."""
        for id_, *row in self.rows_with(sa.select(table.c.id, *body_columns(table)), table.c.id, ids):
            yield str(id_), self.full_body(table, row)

    def rows_with(self, query: Any, column: sa.Column[Any], ids: Iterable[str]) -> Iterator[Any]:
        """The rows of a query with one of these ids in a column, in any order."""
        for some in batched(sorted(set(ids)), IN):
            yield from self.rows(query.where(column.in_(SOME)), some=some)

    def row_pages(self, columns: Sequence[sa.Column[Any]], *wanted: sa.ColumnElement[bool]) -> Iterator[Any]:
        # First the positions, 8 bytes each: without an index that ends in the position, every page would sort all rows.
        c, last = columns[0].table.c, -1
        query = sa.select(c.position).where(*wanted).order_by(c.position)
        page = sa.select(*columns).order_by(c.position)
        while places := self.positions(query.where(c.position > last)):
            for some in batched(places, PAGE):
                yield from self.rows_at(page, c.position, some)
            last = places[-1]

    def rows_at(self, query: Any, position: sa.Column[Any], places: Sequence[int]) -> Sequence[Any]:
        """The rows of a query at these positions. They are nearly always consecutive, and a list of them would cost
        more than the rows."""
        first, last = min(places), max(places)
        if last - first + 1 == len(places):
            return self.rows(query.where(position.between(_FIRST, _LAST)), first=first, last=last)
        return self.rows(query.where(position.in_(SOME)), some=places)

    def positions(self, query: Any) -> array[int]:
        """Integers as an array, without an object for each."""
        return array("q", (place for (place,) in self.each_row(query)))

    def each_row(self, query: Any) -> Iterator[Any]:
        """The rows of a query with one page in memory at a time, in the state when the first is read."""
        try:
            with self.engine.connect() as connection:
                for part in connection.execution_options(yield_per=PAGE).execute(query).partitions():
                    yield from part
        except sa.exc.DBAPIError as error:
            raise explained(error, self._url) from None

    def records(self, record: type[R], table: sa.Table, *where: sa.ColumnElement[bool], order: Any = None) -> list[R]:
        query = (
            sa.select(*body_columns(table))
            .where(sa.true(), *where)
            .order_by(table.c.position if order is None else order)
        )
        return [self.read(record, self.full_body(table, row)) for row in self.rows(query)]

    def read(self, record: type[R], body: str) -> R:
        try:
            return record.model_validate_json(body)
        except ValidationError as invalid:
            first = invalid.errors()[0]
            newer = first["type"] in ("extra_forbidden", "literal_error", "union_tag_invalid")
            raise StoreError(
                f"a {record.__name__} in it cannot be read: {'.'.join(map(str, first['loc']))}: {first['msg']}.",
                where=shown(self._url),
                fix="A newer pairsmith wrote it: upgrade pairsmith." if newer else "Restore the store from a backup.",
            ) from None

    def by_id(self, record: type[R], table: sa.Table, column: sa.Column[Any], ids: Iterable[str] | None) -> Iterator[R]:
        if ids is None:
            yield from self.records(record, table)
            return
        rows = self.rows_with(sa.select(table.c.position, table.c.id, *body_columns(table)), column, ids)
        for _, id_, *row in sorted(rows, key=lambda row: int(row[0])):
            read = self.read(record, self.full_body(table, row))
            read.__dict__["id"] = str(id_)  # the cached property; computing it takes as long as reading
            yield read

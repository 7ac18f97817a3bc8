"""The rows of a project as a table with pages, search, sorting and counts: `views/<slug>.db`.

It is a projection of the project's store and may be deleted at any time: the next request rebuilds it. It holds the
slots of the last curation with its decisions, then those that were generated since. It follows the store by position,
so nothing is read when nothing is new. Only one page of rows is in memory at a time.
"""

from __future__ import annotations

import base64
import binascii
import logging
import sqlite3
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock, Thread
from typing import Any, Literal, NamedTuple, get_args

import orjson

from pairsmith.serve.readers import Readers
from pairsmith.serve.rows_projection import COLUMNS, connect, row_positions, separate_unspaced, update_view
from pairsmith.serve.workspace import Workspace
from schemas.errors import UsageError
from schemas.store import Store
from schemas.store.since import Ends, ends

_LOG = logging.getLogger(__name__)
LIMIT, MOST = 50, 200  # rows per page: default and maximum
COUNTED = 10_000  # the most search results that are counted
_CHUNK = 100
_MAX_CACHED = 64  # how many counts are cached
_MANY = 10_000  # slots from which on bringing a view up to date may take seconds
_WAIT_S = 0.5
Sort = Literal["asked", "newest", "best", "worst", "longest", "shortest"]
# What a page is sorted by, before the place; each has an index.
_KEYS: dict[Sort, tuple[str, str]] = {
    "asked": ("", ""),
    "newest": ("", "DESC"),
    "best": ("coalesce(score, -1e300)", "DESC"),
    "worst": ("coalesce(score, 1e300)", ""),
    "longest": ("words", "DESC"),
    "shortest": ("words", ""),
}
SORTS: tuple[Sort, ...] = get_args(Sort)


@dataclass(frozen=True)
class Filters:
    """Which rows to select; None is any. `reason` is a code; `q` are words of the input or output, matched as
    prefixes."""

    state: str | None = None
    reason: str | None = None
    step: str | None = None
    split: str | None = None
    generator: str | None = None
    reviewed: bool | None = None
    q: str | None = None

    def given(self) -> dict[str, Any]:
        """The filters that are set, by name."""
        return {name: value for name, value in vars(self).items() if value not in (None, "")}


ALL = Filters()


@dataclass(frozen=True)
class RowView:
    """A slot with its texts.

    `id` is that of its pair, or of the slot if generation failed. `reason` is the explanation of `code`, and `reviewed`
    the number of review answers.
    """

    id: str
    pair_id: str | None
    seed_id: str
    generation: str
    generator: str
    sample: int
    state: str
    code: str | None
    reason: str | None
    step: str | None
    score: float | None
    split: str | None
    flags: list[str]
    words: int
    reviewed: int
    input: str
    output: str | None


class RowsPage(NamedTuple):
    """A page of rows.

    `next` is the cursor of the next page, None on the last one. `total` is the number of matching rows, a lower bound
    if `capped`.
    """

    rows: list[RowView]
    next: str | None
    total: int
    capped: bool


@dataclass(frozen=True)
class RowFacets:
    """Counts of rows by each property, under all filters except the one on that property.

    `all` counts the unfiltered rows by state. If `capped`, only the first COUNTED search results are counted.
    """

    total: int
    capped: bool
    all: dict[str, int]
    state: dict[str, int]
    reason: dict[str, int]
    step: dict[str, int]
    split: dict[str, int]
    generator: dict[str, int]
    reviewed: dict[str, int]


_CUBE = ("state", "reason", "step", "split", "generator", "reviewed")
_FIXED = "state, code, step, split, generator"  # what no answer changes
_Cube = list[tuple[Any, ...]]


class RowsView:
    """The rows of every project of a workspace. Thread-safe."""

    def __init__(self, workspace: Workspace) -> None:
        self.readers = Readers(workspace)
        self._workspace = workspace
        self._lock = Lock()
        self._locks: dict[str, Lock] = {}
        self._synced: dict[str, tuple[Store, Ends]] = {}
        self._updating: dict[str, tuple[Thread, int]] = {}  # with the last receipt at its start
        self._cubes: OrderedDict[tuple[Any, ...], _Cube] = OrderedDict()

    # Reading

    def is_ready(self, slug: str) -> bool:
        """Whether the rows can be read at once. If not, they are being brought up to date by a thread of their own,
        which takes ten seconds for 100,000 rows of another curation: a page shows that instead of waiting."""
        store = self.readers.store(slug)
        if store is None or (now := ends(store)).candidates < _MANY or self._is_synced(slug, store, now):
            return True
        with self._lock:
            thread, receipts = self._updating.get(slug, (None, -1))
            # Rows that were added since without a receipt are few. With another thread for them, no page would be shown
            # during a long run.
            if thread is None or not (thread.is_alive() or receipts == now.receipts):
                thread = Thread(target=self._update_beside, args=(slug, store), daemon=True)
                self._updating[slug] = (thread, now.receipts)
                thread.start()
        thread.join(_WAIT_S)
        return not thread.is_alive()

    def page(
        self, slug: str, filters: Filters = ALL, sort: Sort = "asked", cursor: str | None = None, limit: int = LIMIT
    ) -> RowsPage:
        """The page of rows after `cursor`. Raises UsageError for an invalid cursor."""
        view = self._view(slug)
        if view is None:
            return RowsPage([], None, 0, False)
        with closing(view):
            limit = max(1, min(limit, MOST))
            cube, capped = self._cube(slug, view, filters.q)
            total = sum(line[-1] for line in cube if _matches(line, filters))
            many = total * total > limit * sum(line[-1] for line in cube) and not filters.q
            records = _select(view, filters, sort, _decode_cursor(cursor, sort) if cursor else None, limit + 1, many)
            rows = [_row_from(row[2:]) for row in records[:limit]]
            more = _encode_cursor(sort, *records[limit - 1][:2]) if len(records) > limit else None
        return RowsPage(rows, more, total, capped)

    def facets(self, slug: str, filters: Filters = ALL) -> RowFacets:
        """The counts that are shown beside a page."""
        view = self._view(slug)
        if view is None:
            return RowFacets(0, False, *({} for _ in range(7)))
        with closing(view):
            cube, capped = self._cube(slug, view, filters.q)
            without_query = self._cube(slug, view, None)[0] if filters.q else cube
        by = [
            _count_by((line for line in cube if _matches(line, filters, without=name)), at)
            for at, name in enumerate(_CUBE)
        ]
        total = sum(line[-1] for line in cube if _matches(line, filters))
        return RowFacets(total, capped, _count_by(without_query, 0), *by)

    def counts(self, slug: str) -> dict[str, int] | None:
        """The number of rows by state; None while the rows are being brought up to date, or if the disk has no room for
        that."""
        try:
            return self.facets(slug).all if self.is_ready(slug) else None
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
                raise
            return None

    def row(self, slug: str, row_id: str) -> RowView | None:
        """The row with this id; if two slots share a pair, the accepted one. None if there is none."""
        return next(iter(self._where(slug, "id = ? ORDER BY state = 'accepted' DESC, place LIMIT 1", row_id)), None)

    def candidates(self, slug: str, row: RowView) -> list[RowView]:
        """All slots of the row's input, including the row itself."""
        where = "seed_id = ? AND generation = ? AND generator = ? ORDER BY sample LIMIT 64"
        return list(self._where(slug, where, row.seed_id, row.generation, row.generator))

    def each(self, slug: str, filters: Filters) -> Iterator[RowView]:
        """Every row that matches the filters, with few in memory at a time: whoever reads them may be slow."""
        view, after = self._view(slug), None
        if view is None:
            return
        with closing(view):
            while records := _select(view, filters, "asked", after, _CHUNK):
                yield from (_row_from(row[2:]) for row in records)
                after = records[-1][:2]

    def _where(self, slug: str, where: str, *values: str) -> list[RowView]:
        view = self._view(slug)
        if view is None:
            return []
        with closing(view):
            return list(map(_row_from, view.execute(f"SELECT {', '.join(COLUMNS)} FROM rows WHERE {where}", values)))

    def _cube(self, slug: str, view: sqlite3.Connection, q: str | None) -> tuple[_Cube, bool]:
        """The rows counted by all properties at once: a few hundred lines from which every other count follows."""
        about = dict(view.execute("SELECT name, value FROM about"))
        words = _fts_query(q)
        if words is None:  # an answer changes one row, and must not count all of them again
            all_rows = self._cached((slug, about["of"], about["candidates"]), partial(_count, view, _FIXED))
            answered = _count(view, _FIXED, "WHERE reviewed > 0")
            of_line = {line[:-1]: line[-1] for line in answered}
            left = ((*line[:-1], 0, line[-1] - of_line.get(line[:-1], 0)) for line in all_rows)
            return [*(line for line in left if line[-1]), *((*line[:-1], 1, line[-1]) for line in answered)], False
        where = f"WHERE place IN (SELECT rowid FROM texts WHERE texts MATCH ? LIMIT {COUNTED + 1})"
        cube = self._cached((slug, about["stamp"], q), partial(_count, view, f"{_FIXED}, reviewed > 0", where, words))
        return cube, sum(line[-1] for line in cube) > COUNTED

    def _cached(self, key: tuple[Any, ...], count: Callable[[], _Cube]) -> _Cube:
        with self._lock:
            if key in self._cubes:
                self._cubes.move_to_end(key)
                return self._cubes[key]
        counted = count()
        with self._lock:
            self._cubes[key] = counted
            while len(self._cubes) > _MAX_CACHED:
                self._cubes.popitem(last=False)
        return counted

    # Following the store

    def _view(self, slug: str) -> sqlite3.Connection | None:
        """A connection to the up-to-date view; None if nothing has been written yet."""
        store = self.readers.store(slug)
        if store is None:
            return None
        if not self._is_synced(slug, store, ends(store)):
            self._update(slug, store)
        return connect(self._path(slug))

    def _path(self, slug: str) -> Path:
        return self._workspace.serve / "views" / f"{slug}.db"

    def _is_synced(self, slug: str, store: Store, now: Ends) -> bool:
        known, then = self._synced.get(slug, (None, now))
        return known is store and row_positions(then) == row_positions(now) and self._path(slug).exists()

    def forget(self, slug: str) -> None:
        """Delete the view of a project that is gone, after any update in progress, which would write it again."""
        path = self._path(slug)
        with self._lock_of(slug):
            for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
                path.with_name(name).unlink(missing_ok=True)
            self._synced.pop(slug, None)
            self._updating.pop(slug, None)

    def _lock_of(self, slug: str) -> Lock:
        with self._lock:
            return self._locks.setdefault(slug, Lock())

    def _update_beside(self, slug: str, store: Store) -> None:
        try:
            self._update(slug, store)
        except Exception:  # the next page tries again itself and shows why it cannot
            _LOG.exception("listing the rows of %s failed", slug)

    def _update(self, slug: str, store: Store) -> None:
        with self._lock_of(slug):
            now = ends(store)  # another thread may have updated the view meanwhile
            update_view(store, self._path(slug), now)
            self._synced[slug] = (store, now)


# Selecting


def _count(view: sqlite3.Connection, by: str, where: str = "", *values: str) -> _Cube:
    return view.execute(f"SELECT {by}, count(*) FROM rows {where} GROUP BY {by}", values).fetchall()


def _row_from(values: tuple[Any, ...]) -> RowView:
    named = zip(COLUMNS, values, strict=True)
    return RowView(*(value.split() if name == "flags" else value for name, value in named))


def _select(
    view: sqlite3.Connection,
    filters: Filters,
    sort: Sort,
    after: tuple[Any, ...] | None,
    limit: int,
    many: bool = False,
) -> list[tuple[Any, ...]]:
    """The (sort key, place, *columns) of the rows after `after`.

    `many` means that many rows match. Then scanning in sort order and skipping rows is faster than sorting the matching
    ones.
    """
    key, direction = _KEYS[sort]
    where, values, words = list[str](), list[Any](), None
    for name, value in filters.given().items():
        if name == "reviewed":
            where.append("reviewed > 0" if value else "reviewed = 0")
        elif name == "q":
            words = _fts_query(value)
        else:
            where.append(f"{'+' if many else ''}{'code' if name == 'reason' else name} = ?")
            values.append(value)
    place, source = "place", "rows"
    if words is not None and key:
        where.append("place IN (SELECT rowid FROM texts WHERE texts MATCH ?)")
        values.append(words)
    elif words is not None:  # the index returns them in the order of their places
        place, source = "texts.rowid", "texts JOIN rows ON rows.place = texts.rowid"
        where.append("texts MATCH ?")
        values.append(words)
    if after is not None:
        sign = "<" if direction else ">"
        where.append(f"({key}, place) {sign} (?, ?)" if key else f"{place} {sign} ?")
        values += list(after) if key else [after[1]]
    order = f"{key} {direction}, place {direction}" if key else f"{place} {direction}"
    columns = ", ".join(f"rows.{column}" for column in COLUMNS)
    sql = f"SELECT {key or '0'}, rows.place, {columns} FROM {source}"
    sql += f" WHERE {' AND '.join(where)}" if where else ""
    return view.execute(f"{sql} ORDER BY {order} LIMIT ?", [*values, limit]).fetchall()


def _matches(line: tuple[Any, ...], filters: Filters, without: str = "") -> bool:
    """Whether a line of the cube passes the filters, ignoring the filter `without`."""
    for name, value in zip(_CUBE, line, strict=False):
        wanted = getattr(filters, name)
        if name != without and wanted not in (None, "") and (bool(value) if name == "reviewed" else value) != wanted:
            return False
    return True


def _count_by(lines: Iterable[tuple[Any, ...]], at: int) -> dict[str, int]:
    """The number of rows by value of the property `at`, the most frequent value first."""
    counts: dict[str, int] = {}
    for line in lines:
        value = ("yes" if line[at] else "no") if at == _CUBE.index("reviewed") else line[at]
        if value is not None:
            counts[value] = counts.get(value, 0) + line[-1]
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _fts_query(q: str | None) -> str | None:
    """The query in FTS5 syntax: every word is a quoted prefix, never an operator. None for no query; one without a
    letter or digit matches nothing."""
    if not (q := (q or "").strip()):
        return None
    phrases = []
    for word in q.split():
        tokens = " ".join(separate_unspaced(word).replace('"', " ").split())
        if any(character.isalnum() for character in tokens):
            phrases.append(f'"{tokens}"*')
    return " AND ".join(phrases) or '""'


def _encode_cursor(*position: Any) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(position)).decode().rstrip("=")


def _decode_cursor(cursor: str, sort: Sort) -> tuple[float, int]:
    """The sort key and place in a cursor. In another order, the key is one of something else: no row may follow it."""
    try:
        given, key, place = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if given != sort or not 0 <= place < 2**63:
            raise ValueError("not a valid place")
        return float(key), int(place)
    except (binascii.Error, ValueError, TypeError, OverflowError):
        what = "this is not a cursor for rows in this order."
        raise UsageError(what, where="cursor", fix="Start from the first page.") from None

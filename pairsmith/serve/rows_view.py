"""The rows of a project as a table that can be paged, searched, sorted and counted: `views/<slug>.db`.

It is a projection of the project's store and may be deleted at any time; the next page makes it again. It holds the
slots of the last curation as that decided them, then those that were generated since, and follows the store by
position: nothing new costs nothing. In memory is a page of rows at a time.
"""

from __future__ import annotations

import base64
import binascii
import sqlite3
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from threading import Lock
from typing import Any, Literal, NamedTuple, get_args

import orjson

from pairsmith.serve.readers import Readers
from pairsmith.serve.rows_projection import COLUMNS, connected, follow, rows_of, spaced
from pairsmith.serve.workspace import Workspace
from schemas.errors import UsageError
from schemas.store import Store
from schemas.store.since import Ends, ends

LIMIT, MOST = 50, 200  # rows of a page
COUNTED = 10_000  # rows that a search counts
_CHUNK = 2_000
_KEPT = 64  # counts that are remembered
Sort = Literal["asked", "newest", "best", "worst", "longest", "shortest"]
# What a page is ordered by, before the place; each has an index.
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
    """Which rows; None is any. `reason` is a code, `q` are words that input or output have, each from its beginning."""

    state: str | None = None
    reason: str | None = None
    step: str | None = None
    split: str | None = None
    generator: str | None = None
    reviewed: bool | None = None
    q: str | None = None

    def given(self) -> dict[str, Any]:
        """Those that are set, by name."""
        return {name: value for name, value in vars(self).items() if value not in (None, "")}


ALL = Filters()


@dataclass(frozen=True)
class RowShown:
    """A slot with its texts. `id` is that of its pair, or of the slot where generation failed; `reason` is the sentence
    behind `code`, `reviewed` the number of answers that people gave."""

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
    """Rows, the cursor of the next page (None: there is none) and how many there are in all, `capped` if at least so
    many."""

    rows: list[RowShown]
    next: str | None
    total: int
    capped: bool


@dataclass(frozen=True)
class FacetsShown:
    """Counts of rows by each property, under the filters other than the one by that property. `all` counts by state
    what no filter was put on; `capped`: only the first COUNTED rows that were found are counted."""

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
_Cube = list[tuple[Any, ...]]


class RowsView:
    """The rows of every project of a workspace. Safe to call from several threads."""

    def __init__(self, workspace: Workspace) -> None:
        self.readers = Readers(workspace)
        self._workspace = workspace
        self._lock = Lock()
        self._locks: dict[str, Lock] = {}
        self._seen: dict[str, tuple[Store, Ends]] = {}
        self._cubes: OrderedDict[tuple[Any, ...], tuple[_Cube, bool]] = OrderedDict()

    # Reading

    def page(
        self,
        slug: str,
        filters: Filters = ALL,
        sort: Sort = "asked",
        cursor: str | None = None,
        limit: int = LIMIT,
    ) -> RowsPage:
        """A page of rows behind `cursor`. Raises UsageError for a cursor that is none."""
        view = self._view(slug)
        if view is None:
            return RowsPage([], None, 0, False)
        with closing(view):
            limit = max(1, min(limit, MOST))
            cube, capped = self._cube(slug, view, filters.q)
            total = sum(line[-1] for line in cube if _matches(line, filters))
            many = total * total > limit * sum(line[-1] for line in cube) and not filters.q
            records = _select(view, filters, sort, _read_cursor(cursor) if cursor else None, limit + 1, many)
            rows = [_shown(row[2:]) for row in records[:limit]]
            more = _cursor(records[limit - 1][:2]) if len(records) > limit else None
        return RowsPage(rows, more, total, capped)

    def facets(self, slug: str, filters: Filters = ALL) -> FacetsShown:
        """The counts beside a page."""
        view = self._view(slug)
        if view is None:
            return FacetsShown(0, False, *({} for _ in range(7)))
        with closing(view):
            cube, capped = self._cube(slug, view, filters.q)
            whole = self._cube(slug, view, None)[0] if filters.q else cube
        by = [
            _counted((line for line in cube if _matches(line, filters, without=name)), at)
            for at, name in enumerate(_CUBE)
        ]
        total = sum(line[-1] for line in cube if _matches(line, filters))
        return FacetsShown(total, capped, _counted(whole, 0), *by)

    def row(self, slug: str, row_id: str) -> RowShown | None:
        """The row of that id; of two slots with one pair the one that was accepted."""
        return next(iter(self._where(slug, "id = ? ORDER BY state = 'accepted' DESC, place LIMIT 1", row_id)), None)

    def candidates(self, slug: str, row: RowShown) -> list[RowShown]:
        """All slots of the input of a row, itself among them."""
        where = "seed_id = ? AND generation = ? AND generator = ? ORDER BY sample LIMIT 64"
        return list(self._where(slug, where, row.seed_id, row.generation, row.generator))

    def each(self, slug: str, filters: Filters) -> Iterator[RowShown]:
        """Every row that the filters let pass, a page in memory at a time."""
        view, after = self._view(slug), None
        if view is None:
            return
        with closing(view):
            while records := _select(view, filters, "asked", after, _CHUNK):
                yield from (_shown(row[2:]) for row in records)
                after = records[-1][:2]

    def _where(self, slug: str, where: str, *values: str) -> list[RowShown]:
        view = self._view(slug)
        if view is None:
            return []
        with closing(view):
            return list(map(_shown, view.execute(f"SELECT {', '.join(COLUMNS)} FROM rows WHERE {where}", values)))

    def _cube(self, slug: str, view: sqlite3.Connection, q: str | None) -> tuple[_Cube, bool]:
        """Rows counted by all their properties at once: a few hundred lines, from which every count follows."""
        (stamp,) = view.execute("SELECT value FROM about WHERE name = 'stamp'").fetchone()
        key = (slug, stamp, q or "")
        with self._lock:
            if key in self._cubes:
                self._cubes.move_to_end(key)
                return self._cubes[key]
        words = _words(q)
        where = (
            "" if words is None else f"WHERE place IN (SELECT rowid FROM texts WHERE texts MATCH ? LIMIT {COUNTED + 1})"
        )
        group = "state, code, step, split, generator, reviewed > 0"
        sql = f"SELECT {group}, count(*) FROM rows {where} GROUP BY {group}"
        cube = view.execute(sql, () if words is None else (words,)).fetchall()
        counted = (cube, words is not None and sum(line[-1] for line in cube) > COUNTED)
        with self._lock:
            self._cubes[key] = counted
            while len(self._cubes) > _KEPT:
                self._cubes.popitem(last=False)
        return counted

    # Following the store

    def _view(self, slug: str) -> sqlite3.Connection | None:
        """A connection to the view as the store is now; None where nothing has been written yet."""
        store = self.readers.store(slug)
        if store is None:
            return None
        path, now = self._workspace.serve / "views" / f"{slug}.db", ends(store)
        seen = self._seen.get(slug)
        if seen is None or seen[0] is not store or rows_of(seen[1]) != rows_of(now) or not path.exists():
            with self._lock:
                one_at_a_time = self._locks.setdefault(slug, Lock())
            with one_at_a_time:
                now = ends(store)  # another thread may have followed further meanwhile
                follow(store, path, now)
                self._seen[slug] = (store, now)
        return connected(path)


# Selecting


def _shown(values: tuple[Any, ...]) -> RowShown:
    named = zip(COLUMNS, values, strict=True)
    return RowShown(*(value.split() if name == "flags" else value for name, value in named))


def _select(
    view: sqlite3.Connection,
    filters: Filters,
    sort: Sort,
    after: tuple[Any, ...] | None,
    limit: int,
    many: bool = False,
) -> list[tuple[Any, ...]]:
    """(sort key, place, the columns) of rows behind `after`. `many` rows are let pass: then it is quicker to walk along
    the order and leave rows out than to sort those that are let pass."""
    key, way = _KEYS[sort]
    where, values, words = list[str](), list[Any](), None
    for name, value in filters.given().items():
        if name == "reviewed":
            where.append("reviewed > 0" if value else "reviewed = 0")
        elif name == "q":
            words = _words(value)
        else:
            where.append(f"{'+' if many else ''}{'code' if name == 'reason' else name} = ?")
            values.append(value)
    place, source = "place", "rows"
    if words is not None and key:
        where.append("place IN (SELECT rowid FROM texts WHERE texts MATCH ?)")
        values.append(words)
    elif words is not None:  # the index has them in the order of their places
        place, source = "texts.rowid", "texts JOIN rows ON rows.place = texts.rowid"
        where.append("texts MATCH ?")
        values.append(words)
    if after is not None:
        sign = "<" if way else ">"
        where.append(f"({key}, place) {sign} (?, ?)" if key else f"{place} {sign} ?")
        values += list(after) if key else [after[1]]
    order = f"{key} {way}, place {way}" if key else f"{place} {way}"
    columns = ", ".join(f"rows.{column}" for column in COLUMNS)
    sql = f"SELECT {key or '0'}, rows.place, {columns} FROM {source}"
    sql += f" WHERE {' AND '.join(where)}" if where else ""
    return view.execute(f"{sql} ORDER BY {order} LIMIT ?", [*values, limit]).fetchall()


def _matches(line: tuple[Any, ...], filters: Filters, without: str = "") -> bool:
    for name, value in zip(_CUBE, line, strict=False):
        wanted = getattr(filters, name)
        if name != without and wanted not in (None, "") and (bool(value) if name == "reviewed" else value) != wanted:
            return False
    return True


def _counted(lines: Iterable[tuple[Any, ...]], at: int) -> dict[str, int]:
    """value of the property `at` -> rows, the most frequent first."""
    counts: dict[str, int] = {}
    for line in lines:
        value = ("yes" if line[at] else "no") if at == _CUBE.index("reviewed") else line[at]
        if value is not None:
            counts[value] = counts.get(value, 0) + line[-1]
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _words(q: str | None) -> str | None:
    """The query as FTS5 takes it: every word as text, never as an operator, from its beginning; None without a word."""
    phrases = []
    for word in (q or "").split():
        tokens = " ".join(spaced(word).replace('"', " ").split())
        if any(letter.isalnum() for letter in tokens):
            phrases.append(f'"{tokens}"*')
    return " AND ".join(phrases) if phrases else None


def _cursor(after: tuple[Any, ...]) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(after)).decode().rstrip("=")


def _read_cursor(cursor: str) -> tuple[Any, ...]:
    try:
        key, place = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if not 0 <= place < 2**63:
            raise ValueError("no place of a table")
        return float(key), int(place)
    except (binascii.Error, ValueError, TypeError, OverflowError):
        raise UsageError("this is not a cursor of rows.", where="cursor", fix="Begin at the first page.") from None

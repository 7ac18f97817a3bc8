"""What was added to a store after a position: for a projection that follows the store without rereading it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

import sqlalchemy as sa

from schemas.money import Cost
from schemas.store import tables
from schemas.store.costs import costs_of, queries
from schemas.store.rows import body_columns
from schemas.store.store import Store

_PAGE = 2_000


class Ends(NamedTuple):
    """The last position of each table that is followed; -1 for an empty table. Reading it is practically free."""

    seeds: int
    candidates: int
    calls: int
    holds: int
    reviews: int
    aliases: int
    sampled: int
    receipts: int
    artifacts: int


@cache
def _ends() -> sa.Select[Any]:
    """Built once: it is used for every page, and building the query takes longer than running it."""
    of = (getattr(tables, name) for name in Ends._fields)
    last = (sa.select(sa.func.coalesce(sa.func.max(table.c.position), -1)).scalar_subquery() for table in of)
    return sa.select(*last)


def ends(store: Store) -> Ends:
    """The positions up to which the store has been written."""
    ((*places,),) = store.rows(_ends())
    return Ends(*map(int, places))


def costs_since(store: Store, before: Ends) -> list[Cost]:
    """What was added to the ledger since `before`, by stage, teacher and prompt."""
    calls, holds = queries(before.calls, before.holds)
    return costs_of(list(store.rows(calls)), list(store.rows(holds)))


def since(
    store: Store, table: sa.Table, position: int, columns: Sequence[str], *, until: int, **wanted: str
) -> Iterator[list[Any]]:
    """The `columns` (the position first) of the rows after `position` up to `until`, in order, with one page in memory
    at a time."""
    c = table.c
    query = sa.select(c.position, *(c[name] for name in columns)).order_by(c.position).limit(_PAGE)
    query = query.where(c.position <= until)
    for name, value in wanted.items():
        query = query.where(c[name] == value)
    while rows := store.rows(query.where(c.position > position)):
        yield from (list(row) for row in rows)
        position = int(rows[-1][0])


def newest(store: Store, table: sa.Table, count: int) -> list[str]:
    """The last `count` records as JSON, newest first."""
    query = sa.select(*body_columns(table)).order_by(table.c.position.desc()).limit(count)
    return [store.full_body(table, row) for row in store.rows(query)]


def active_among(store: Store, seed_ids: Iterable[str]) -> set[str]:
    """The given seeds that the project has now."""
    c = tables.seeds.c
    return {str(id_) for (id_,) in store.rows_with(sa.select(c.id).where(c.active >= 0), c.id, seed_ids)}


def active_seeds(store: Store) -> tuple[int, int]:
    """The number of seeds that the project has now, and the sum of their positions, which changes when the seeds do."""
    c = tables.seeds.c
    ((count, places),) = store.rows(
        sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(c.position), 0)).where(c.active >= 0)
    )
    return int(count), int(places)


def newest_fingerprints(store: Store) -> dict[str, str]:
    """generator -> the fingerprint of its latest candidate."""
    c = tables.candidates.c
    last = sa.select(c.generator, c.fingerprint, sa.func.max(c.position).label("last")).group_by(
        c.generator, c.fingerprint
    )
    ordered = sorted(store.rows(last), key=lambda row: int(row[2]))
    return {str(generator): str(fingerprint) for generator, fingerprint, _ in ordered}

"""The seeds that a project has now, among all that were ever read, in the order of their latest reading."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import overload

import orjson
import sqlalchemy as sa

from schemas.errors import NoWork
from schemas.id_map import IdMap
from schemas.progress import Progress, reporting
from schemas.records import Json, Seed
from schemas.spooled_seeds import seed_bodies, seed_from_body
from schemas.store import tables
from schemas.store.reading import Reading
from schemas.store.rows import INTO_SEEDS
from schemas.store.writer import Work, insert
from schemas.streamed import Streamed, batched

_PAGE = 2_000  # seeds compared or written at a time


def set_active(store: Reading, seeds: Sequence[Seed], write: Callable[[Work], None], progress: Progress) -> None:
    """The implementation of `Store.set_active_seeds`; `write` makes a piece of work durable."""
    if _are_active(store, seeds):
        return  # unchanged: writing it again would take longer than everything else in a resumed run
    ((last,),) = store.rows(sa.select(sa.func.max(tables.seeds.c.position)))
    ids = bytearray()
    for page in batched(reporting(seed_bodies(seeds), progress, "store", len(seeds)), _PAGE):
        write(partial(_insert_page, page))
        ids += bytes.fromhex("".join(id_ for id_, _ in page))
    write(partial(_mark_active, ids, last or 0))


def _are_active(store: Reading, seeds: Sequence[Seed]) -> bool:
    """Whether exactly these seeds, with this content and in this order, are the seeds of the project."""
    c, places = tables.seeds.c, _active_places(store)
    if len(places) != len(seeds):
        return False
    for page, bodies in zip(batched(places, _PAGE), batched(seed_bodies(seeds), _PAGE), strict=True):
        at = dict(map(tuple, store.rows_at(sa.select(c.position, c.body), c.position, page)))
        if [at[place] for place in page] != [body for _, body in bodies]:
            return False
    return True


def _active_places(store: Reading, containing: str = "") -> array[int]:
    """The positions of the seeds that the project has now, in their order; with `containing`, of those whose stored
    JSON contains this text."""
    c = tables.seeds.c
    query = sa.select(c.position).where(c.active >= 0).order_by(c.active)
    return store.positions(query.where(c.body.contains(containing, autoescape=True)) if containing else query)


def each_seed(store: Reading) -> Iterator[Seed]:
    """Every seed that was ever read, with its stored id."""
    c, last = tables.seeds.c, -1
    query = sa.select(c.position, c.id, c.body).order_by(c.position).limit(_PAGE)
    while page := store.rows(query.where(c.position > last)):
        yield from (seed_from_body(id_, body) or store.read(Seed, body) for _, id_, body in page)
        last = page[-1][0]


def _insert_page(rows: Sequence[tuple[str, str]], connection: sa.Connection) -> None:
    insert(connection, INTO_SEEDS, rows)


def _mark_active(ids: bytearray, before: int, connection: sa.Connection) -> None:
    """Make exactly these stored seeds the seeds of the project; `ids` has 16 bytes per id. `before` is the last
    position before they were written."""
    c, seeds = tables.seeds.c, sa.update(tables.seeds)
    connection.execute(seeds.where(c.active >= 0).values(active=-1))
    after = sa.select(sa.func.count(), sa.func.max(c.position)).where(c.position > before)
    count, last = connection.execute(after).one()
    if 16 * count == len(ids) and last == before + count:  # all are new and stored in order
        connection.execute(seeds.where(c.position > before).values(active=c.position - (before + 1)))
        return
    by_id = seeds.where(c.id == sa.bindparam("id_")).values(active=sa.bindparam("place"))
    for start in range(0, len(ids), 16 * _PAGE):
        page = range(start, min(start + 16 * _PAGE, len(ids)), 16)
        connection.execute(by_id, [{"id_": ids[at : at + 16].hex(), "place": at // 16} for at in page])


def active_ids(store: Reading) -> IdMap:
    """The ids of the seeds that the project has now, each with its place among them."""
    ids, c = IdMap(), tables.seeds.c
    for id_, place in store.each_row(sa.select(c.id, c.active).where(c.active >= 0)):
        ids[id_] = place
    return ids


def slots_by_seed(store: Reading, fingerprint: str) -> Iterator[tuple[str, str, int, Json]]:
    """The slots of a generation for the seeds that the project has now, ordered by seed and sample: seed, generator,
    sample, and the outcome as JSON."""
    c, seeds = tables.candidates.c, tables.seeds.c
    # A lookup per row, because SQLite would hold a list of all active seeds in memory during the query.
    active = sa.exists().where(seeds.id == c.seed_id, seeds.active >= 0)
    seed_id = c.seed_id if store.engine.dialect.name == "sqlite" else c.seed_id.collate("C")
    query = sa.select(c.seed_id, c.generator, c.sample, c.body).where(c.fingerprint == fingerprint, active)
    for id_, generator, sample, outcome in store.each_row(query.order_by(seed_id, c.sample)):
        yield id_, generator, sample, orjson.loads(outcome)


class ActiveSeeds(Streamed[Seed]):
    """The seeds of a project in order, not validated again; it keeps 8 bytes per seed in memory."""

    def __init__(self, store: Reading, containing: str = "") -> None:
        self._store, self._places = store, _active_places(store, containing)

    def containing(self, text: str) -> ActiveSeeds:
        """Those of the seeds whose stored JSON contains `text`; the others are not read."""
        return ActiveSeeds(self._store, text)

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, place: int) -> Seed: ...
    @overload
    def __getitem__(self, place: slice) -> list[Seed]: ...
    def __getitem__(self, place: int | slice) -> Seed | list[Seed]:
        if isinstance(place, slice):
            return list(self._read(self._places[place]))
        for seed in self._read(array("q", (self._places[place],))):
            return seed
        raise NoWork("a seed was erased while the seeds were being read.", fix="Run the command again.")

    def __iter__(self) -> Iterator[Seed]:
        return self._read(self._places)

    def _read(self, places: Sequence[int]) -> Iterator[Seed]:
        c = tables.seeds.c
        for page in batched(places, _PAGE):
            rows = self._store.rows_at(sa.select(c.position, c.id, c.body), c.position, page)
            at = {place: (id_, body) for place, id_, body in rows}
            for place in page:
                if (row := at.get(place)) is not None:  # it was not erased meanwhile
                    yield seed_from_body(*row) or self._store.read(Seed, row[1])

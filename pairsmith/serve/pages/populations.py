"""The populations of reviews that pages count. Reading one takes half a minute of CPU for 100,000 rows, so it is read
by a thread of its own, once, and kept until anything but reviews changes."""

from __future__ import annotations

from collections import OrderedDict
from concurrent.futures import Future
from dataclasses import dataclass, replace
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any, NamedTuple

from pairsmith.serve.pages.figures import Snapshot
from schemas.progress import discard_message
from schemas.store import Store
from schemas.store.since import active_seeds, ends

if TYPE_CHECKING:  # imports numpy
    from curate.review.population import Population

_MANY = 10_000  # candidates from which on reading may take seconds
_WAIT_S = 0.5
_MAX_KEPT = 4


class _Places(NamedTuple):
    """What moves on during a run and changes little until its receipt."""

    candidates: int
    reviews: tuple[int, int]  # the last position, and their number
    seeds: tuple[int, int]


@dataclass(eq=False)
class _Reading:
    """A population that is being read, or was. `of` is what it belongs to. `facts` are the last that were counted."""

    of: object
    places: _Places
    population: Future[Population]
    facts: tuple[Snapshot, dict[str, Any]] | None = None

    def is_current(self, now: _Places) -> bool:
        reviews = now.reviews if self.population.result().depends_on_reviews else self.places.reviews
        return self.places._replace(reviews=reviews) == now._replace(reviews=reviews)


class ReviewFacts:
    """The state of each project's review. Thread-safe."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._counted: OrderedDict[str, _Reading] = OrderedDict()
        self._begun: dict[str, _Reading] = {}

    def of(self, now: Snapshot, store: Store) -> dict[str, Any] | None:
        """What `pairsmith review status --json` says of the review; None while very many rows are being read for it.

        During a run they may be those of a moment ago. Raises PairsmithError as that command does."""
        reading = self._reading(now, store)
        if reading is None:
            return None
        if reading.facts is None or reading.facts[0] is not now:  # a snapshot is the same object until anything changes
            from pairsmith.review_status import status_of

            reading.facts = now, status_of(now.project, store, reading.population.result())
        return reading.facts[1]

    def _reading(self, now: Snapshot, store: Store) -> _Reading | None:
        runs = sum(not receipt.command.startswith("review") for receipt in now.receipts)
        last = ends(store)
        of, reviews = (now.project, now.inputs, store, runs), (last.reviews, store.review_count())
        places = _Places(last.candidates, reviews, active_seeds(store))
        with self._lock:
            counted, begun = self._counted.get(now.slug), self._begun.get(now.slug)
            if counted and counted.of == of and counted.is_current(places):
                self._counted.move_to_end(now.slug)
                return counted
            if begun is None or begun.of != of:
                begun = self._begun[now.slug] = _Reading(of, places, Future())
                Thread(target=_read, args=(begun.population, now, store), daemon=True).start()
        try:
            begun.population.result(_WAIT_S if places.candidates >= _MANY else None)
        except TimeoutError:
            return counted if counted and counted.of == of else None
        finally:
            if begun.population.done():
                self._keep(now.slug, begun)
        return begun

    def _keep(self, slug: str, begun: _Reading) -> None:
        with self._lock:
            if self._begun.get(slug) is begun:
                del self._begun[slug]
                if begun.population.exception() is None:
                    self._counted[slug] = begun
                    self._counted.move_to_end(slug)
            while len(self._counted) > _MAX_KEPT:
                self._counted.popitem(last=False)


def _read(into: Future[Population], now: Snapshot, store: Store) -> None:
    from pairsmith.stages.review import judged_population

    try:
        population = judged_population(now.project, store, discard_message)
        # what the status does not read takes half of the memory
        into.set_result(replace(population, inputs={}, scores={}, rejected={}, doubted=()))
    except BaseException as error:  # raised again for whoever waits for the population
        into.set_exception(error)

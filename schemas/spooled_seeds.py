"""The stored form of a seed, and seeds that were read but are not in a store yet. These are spooled to a temporary
file, because there may be very many."""

from __future__ import annotations

import tempfile
import weakref
from abc import abstractmethod
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator

import orjson

from schemas.identity import assembled
from schemas.records import Seed
from schemas.streamed import Streamed

_IN_MEMORY = 1 << 20  # bytes; anything beyond goes to disk
_PAGE = 1_000  # seeds read at a time
_ID = 32
_DEFAULTS = dict(Seed(kind="input", text="", source="").__dict__)
_ALL_FIELDS = set(_DEFAULTS)


def seed_body(seed: Seed) -> str:
    """A seed in its stored form: the fields that differ from their default, in field order."""
    return seed.model_dump_json(exclude_defaults=True)


def seed_from_body(id_: str, body: str | bytes) -> Seed | None:
    """The seed of a body written by `seed_body`, with the given id and without validation.

    None if the body needs validation, because it holds messages or is damaged.
    """
    try:
        values = orjson.loads(body)
        is_complete = values["kind"] and values["source"] and values["text"] and values.keys() <= _ALL_FIELDS
    except (ValueError, KeyError, TypeError):
        return None
    return assembled(Seed, {**_DEFAULTS, **values, "id": id_}, _ALL_FIELDS) if is_complete else None


def seed_bodies(seeds: Iterable[Seed]) -> Iterator[tuple[str, str]]:
    """The id and the body of each seed."""
    if isinstance(seeds, WrittenSeeds):
        return seeds.bodies()
    return ((seed.id, seed_body(seed)) for seed in seeds)


class WrittenSeeds(Streamed[Seed]):
    """A sequence of seeds that already has their bodies, so that they need not be built again."""

    @abstractmethod
    def bodies(self) -> Iterator[tuple[str, str]]:
        """The ids and bodies, as `seed_bodies` returns them."""


class SpooledSeeds(WrittenSeeds):
    """A sequence of seeds that keeps only 8 bytes of each in memory. Seeds can be replaced by others of their kind, but
    this is meant for few of them. `kinds` counts the seeds of each kind."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115  closed with this object
        weakref.finalize(self, self._file.close)
        self._starts, self._at_end = array("q", [0]), True
        self._replaced: dict[int, Seed] = {}
        self.kinds: Counter[str] = Counter()

    def append(self, seed: Seed) -> None:
        """Add a seed at the end."""
        if not self._at_end:
            self._file.seek(0, 2)
            self._at_end = True
        line = f"{seed.id}{seed_body(seed)}\n".encode()
        self._file.write(line)
        self._starts.append(self._starts[-1] + len(line))
        self.kinds[seed.kind] += 1

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __setitem__(self, place: int, seed: Seed) -> None:
        self._replaced[place] = seed

    def __iter__(self) -> Iterator[Seed]:
        for first in range(0, len(self), _PAGE):
            yield from self._seeds_between(first, min(first + _PAGE, len(self)))

    def bodies(self) -> Iterator[tuple[str, str]]:
        for first in range(0, len(self), _PAGE):
            for place, line in enumerate(self._lines_between(first, min(first + _PAGE, len(self))), first):
                other = self._replaced.get(place)
                yield (line[:_ID].decode(), line[_ID:].decode()) if other is None else (other.id, seed_body(other))

    def _select(self, places: range) -> list[Seed]:
        return [seed for place in places for seed in self._seeds_between(place, place + 1)]

    def _seeds_between(self, first: int, end: int) -> list[Seed]:
        return [
            self._replaced.get(place) or _seed(line)
            for place, line in enumerate(self._lines_between(first, end), first)
        ]

    def _lines_between(self, first: int, end: int) -> list[bytes]:
        self._file.seek(self._starts[first])
        self._at_end = False
        return self._file.read(self._starts[end] - self._starts[first]).splitlines()


def _seed(line: bytes) -> Seed:
    id_, body = line[:_ID].decode(), line[_ID:]
    if (seed := seed_from_body(id_, body)) is None:
        seed = Seed.model_validate_json(body)
        seed.__dict__["id"] = id_  # the cached property
    return seed

"""Seeds as they are written, and those that were read and are not in a store yet: in a temporary file, for there may
be very many."""

from __future__ import annotations

import tempfile
import weakref
from abc import abstractmethod
from array import array
from collections.abc import Iterable, Iterator
from typing import overload

import orjson

from schemas.identity import assembled
from schemas.records import Seed
from schemas.streamed import Streamed

_IN_MEMORY = 1 << 20  # bytes; more of them go to the disk
_PAGE = 1_000  # seeds that are read at once
_ID = 32
_AT_DEFAULT = dict(Seed(kind="input", text="", source="").__dict__)
_EVERY = set(_AT_DEFAULT)


def seed_body(seed: Seed) -> str:
    """A seed as it is written: what is not at its default, in the order of the fields."""
    return seed.model_dump_json(exclude_defaults=True)


def seed_of_body(id_: str, body: str | bytes) -> Seed | None:
    """The seed of a body that was written by `seed_body`, not checked again, with the id that it has; None for one that
    has to be: it holds messages, or is damaged."""
    try:
        held = orjson.loads(body)
        whole = held["kind"] and held["source"] and held["text"] and held.keys() <= _EVERY
    except (ValueError, KeyError, TypeError):
        return None
    return assembled(Seed, {**_AT_DEFAULT, **held, "id": id_}, _EVERY) if whole else None


def seed_bodies(seeds: Iterable[Seed]) -> Iterator[tuple[str, str]]:
    """The id of each seed, and its body."""
    if isinstance(seeds, WrittenSeeds):
        return seeds.bodies()
    return ((seed.id, seed_body(seed)) for seed in seeds)


class WrittenSeeds(Streamed[Seed]):
    """A list of seeds that has their bodies, which are not made of them again."""

    @abstractmethod
    def bodies(self) -> Iterator[tuple[str, str]]:
        """What `seed_bodies` gives."""


class SpooledSeeds(WrittenSeeds):
    """A list of seeds of which 8 bytes each are in memory. A seed may be replaced, which is meant for few."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115  it goes with this object
        weakref.finalize(self, self._file.close)
        self._starts, self._at_end = array("q", [0]), True
        self._replaced: dict[int, Seed] = {}

    def append(self, seed: Seed) -> None:
        """Put one more behind the others."""
        if not self._at_end:
            self._file.seek(0, 2)
            self._at_end = True
        line = f"{seed.id}{seed_body(seed)}\n".encode()
        self._file.write(line)
        self._starts.append(self._starts[-1] + len(line))

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __setitem__(self, place: int, seed: Seed) -> None:
        self._replaced[place] = seed

    def __iter__(self) -> Iterator[Seed]:
        for first in range(0, len(self), _PAGE):
            yield from self._some(first, min(first + _PAGE, len(self)))

    def bodies(self) -> Iterator[tuple[str, str]]:
        for first in range(0, len(self), _PAGE):
            for place, line in enumerate(self._lines(first, min(first + _PAGE, len(self))), first):
                other = self._replaced.get(place)
                yield (line[:_ID].decode(), line[_ID:].decode()) if other is None else (other.id, seed_body(other))

    @overload
    def __getitem__(self, place: int) -> Seed: ...
    @overload
    def __getitem__(self, place: slice) -> list[Seed]: ...
    def __getitem__(self, place: int | slice) -> Seed | list[Seed]:
        places = range(len(self))[place]
        if isinstance(places, int):
            return self._some(places, places + 1)[0]
        return [self[number] for number in places]

    def _some(self, first: int, end: int) -> list[Seed]:
        return [self._replaced.get(place) or _seed(line) for place, line in enumerate(self._lines(first, end), first)]

    def _lines(self, first: int, end: int) -> list[bytes]:
        self._file.seek(self._starts[first])
        self._at_end = False
        return self._file.read(self._starts[end] - self._starts[first]).splitlines()


def _seed(line: bytes) -> Seed:
    id_, body = line[:_ID].decode(), line[_ID:]
    if (seed := seed_of_body(id_, body)) is None:
        seed = Seed.model_validate_json(body)
        seed.__dict__["id"] = id_  # where the cached id lies
    return seed

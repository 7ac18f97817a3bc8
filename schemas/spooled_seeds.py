"""Seeds that were read and are not in a store yet: in a temporary file, for there may be very many."""

from __future__ import annotations

import tempfile
import weakref
from array import array
from collections.abc import Iterator
from typing import overload

from schemas.records import Seed
from schemas.streamed import Streamed

_IN_MEMORY = 1 << 20  # bytes; more of them go to the disk
_PAGE = 1_000  # seeds that are read at once
_ID = 32


class SpooledSeeds(Streamed[Seed]):
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
        line = seed.id.encode() + seed.model_dump_json(exclude_defaults=True).encode() + b"\n"
        self._file.write(line)
        self._starts.append(self._starts[-1] + len(line))

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __setitem__(self, place: int, seed: Seed) -> None:
        self._replaced[place] = seed

    def __iter__(self) -> Iterator[Seed]:
        for first in range(0, len(self), _PAGE):
            yield from self._some(first, min(first + _PAGE, len(self)))

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
        self._file.seek(self._starts[first])
        self._at_end = False
        lines = self._file.read(self._starts[end] - self._starts[first]).splitlines()
        return [self._replaced.get(place) or _seed(line) for place, line in enumerate(lines, first)]


def _seed(line: bytes) -> Seed:
    seed = Seed.model_validate_json(line[_ID:])
    seed.__dict__["id"] = line[:_ID].decode()  # where the cached id lies
    return seed
